//! The error of quantizing in two parts: of what is beyond the integers, and of what is rounded among them.
//!
//! Of a real x, in the units of the integers, whose scale is s and zero point z, the integer nearest to x / s + z may lie
//! outside of qmin..=qmax: then x is *clipped*, else it is *rounded*.
//! So x is clipped where it is below s * (qmin - z - 1/2) or above s * (qmax - z + 1/2).
//! Every element is one or the other, and its squared error counts for that part alone: the parts add up to the whole,
//! without a term in which both had a share.
//!
//! Energies are means over all elements of all samples, in squared units of the reference's value.

use super::Sums;
use crate::calibrate::source;
use crate::config::Rounding;
use crate::equalize::Factors;
use crate::prepare::linear::InputMap;
use lowbit_ir::tensor::entries;
use lowbit_ir::{Customs, Error, Graph, Node, Op, Quant, Result, Tensor, Type, ValueId, interp};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// A mean squared error, taken apart; the first two are all of it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Parts {
    /// What elements beyond the integers have of it.
    pub clipping: f64,
    /// What all others have of it.
    pub rounding: f64,
    /// The share of elements that are beyond, 0..=100.
    pub clipped_percent: f64,
}

/// What quantizing one tensor does to it, and nothing else: the reference's floats against the same floats quantized.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TensorError {
    /// Its place among them.
    pub order: usize,
    /// The value, by its name in the reference.
    pub value: String,
    /// `input`, of what enters the model, `weight` or `activation`.
    pub kind: String,
    /// What it is read by, of weights; what computes it, of activations; empty of what enters the model.
    pub node: String,
    /// The integers, as `u8` or `i4`.
    pub dtype: String,
    /// Signal to noise, in decibels; infinite without noise, which JSON has as null.
    pub sqnr_db: f64,
    /// Greatest difference of an element.
    pub max_error: f64,
    /// Mean squared error, in squared units of the value.
    pub mse: f64,
    /// The same in two parts.
    pub parts: Parts,
}

impl TensorError {
    pub(super) fn new(value: &str, kind: &str, node: &str, ty: &Type, sums: &Sums) -> TensorError {
        TensorError {
            order: 0,
            value: value.to_owned(),
            kind: kind.to_owned(),
            node: node.to_owned(),
            dtype: ty.dtype.to_string(),
            sqnr_db: sums.sqnr_db(),
            max_error: sums.max_error,
            mse: sums.mse(),
            parts: sums.parts(),
        }
    }
}

/// Where integers end, for every scale: the reals beyond which another integer than those there are would be nearest.
#[derive(Debug, Clone)]
pub(super) struct Ends<'a> {
    quant: &'a Quant,
    of: Vec<(f64, f64)>,
}

impl<'a> Ends<'a> {
    pub(super) fn of(quant: &'a Quant) -> Ends<'a> {
        let ends = |(scale, zero): (&f32, &i32)| {
            let real = |q: i64, half: f64| f64::from(*scale) * (q as f64 - f64::from(*zero) + half);
            (real(quant.qmin, -0.5), real(quant.qmax, 0.5))
        };
        Ends { quant, of: quant.scale.iter().zip(&*quant.zero_point).map(ends).collect() }
    }

    /// For every element of a tensor of these sizes whether it is beyond.
    pub(super) fn beyond(&self, dims: &[usize], elements: impl Iterator<Item = f64>) -> Vec<bool> {
        let outside = |(x, entry): (f64, usize)| self.of.get(entry).is_some_and(|(low, high)| x < *low || x > *high);
        elements.zip(entries(self.quant, dims)).map(outside).collect()
    }
}

/// What these floats become as the type says, which has their sizes.
pub(super) fn quantize(floats: &Tensor, ty: &Type, rounding: Rounding) -> Result<Tensor> {
    let op = Op::Quantize { rounding };
    let found = interp::eval(&op, &[Some(floats)], std::slice::from_ref(ty), &Customs::default())?;
    found.into_iter().next().ok_or_else(|| Error::new("expected a quantized value, found none"))
}

/// The error of the weights of a layer of the reference, as the same layer of the other graph has them, with their
/// integers' type; none where they are not constants, or stay as they are. `factors` says what the other graph has
/// multiplied the channels of a value by, by its name.
///
/// Scales by block became one for each channel in a graph of integers: what is told is of what the layer computes with.
///
/// # Errors
///
/// The name of weights that are quantized there, and whose floats are not here: of other sizes, say.
pub(super) fn weights(
    (reference, node): (&Graph, &Node),
    (other, theirs): (&Graph, &Node),
    factors: &dyn Fn(&str) -> Option<Factors>,
) -> Result<Option<(String, Type, Sums)>, String> {
    let constant = |g: &Graph, n: &Node| -> Option<ValueId> {
        let w = n.input(1)?;
        source(g, w).or(Some(w)).filter(|w| g.constant(*w).is_some())
    };
    let Some(quantized) = constant(other, theirs).filter(|w| other.ty(*w).is_quantized()) else { return Ok(None) };
    let missing = || other.value(quantized).name.clone();
    let ours = constant(reference, node).filter(|w| reference.ty(*w).dtype.is_float()).ok_or_else(missing)?;
    let (Some(floats), Some(integers)) = (reference.constant(ours), other.constant(quantized)) else {
        return Err(missing());
    };
    let (Some(quant), true) = (&integers.ty().quant, floats.dims() == integers.dims()) else { return Err(missing()) };
    let of = |v: Option<ValueId>| v.and_then(|v| factors(&reference.value(v).name)).map(|f| f.channels);
    let (into, out) = (of(node.input(0)), of(node.outputs.first().copied()));
    let map = InputMap::new(&node.op, floats.dims());
    let factor = |i: usize| {
        let (output, input) = map.of(i);
        let at = |f: &Option<Vec<f64>>, c: usize| f.as_ref().map_or(Some(1.0), |f| f.get(c).copied());
        Some(at(&out, output)? / at(&into, input)?)
    };
    let floats_of = floats.floats().map_err(|_| missing())?;
    let factors: Vec<f64> = (0..floats_of.len()).map(factor).collect::<Option<_>>().ok_or_else(missing)?;
    let reals = integers.reals().map_err(|_| missing())?;
    let scaled = floats_of.iter().zip(&factors).map(|(x, f)| f64::from(*x) * f);
    let beyond = Ends::of(quant).beyond(floats.dims(), scaled);
    let mut sums = Sums::default();
    for (((x, q), f), beyond) in floats_of.iter().zip(reals.iter()).zip(&factors).zip(beyond) {
        sums.add(f64::from(*x), f64::from(*q) / f, beyond);
    }
    Ok(Some((reference.value(ours).name.clone(), integers.ty().clone(), sums)))
}

/// The nodes of a graph by name.
pub(super) fn by_name(g: &Graph) -> HashMap<&str, &Node> {
    g.nodes().map(|(_, n)| (n.name.as_str(), n)).collect()
}
