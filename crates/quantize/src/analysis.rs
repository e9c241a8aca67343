//! How far a quantized graph is from its float source, value by value.

use crate::samples::{Samples, spread};
use lowbit_ir::{Def, Engine, Error, Graph, Node, Result, ValueId, check_float_mode};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::iter::successors;

/// The error of one value over some samples, with the errors of all that was computed before it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ValueError {
    /// The value, by its source's name.
    pub value: String,
    /// What computes it in the float graph.
    pub op: String,
    /// Signal to quantization noise, in decibels; infinite without noise, which JSON has as null.
    pub sqnr_db: f64,
    /// Cosine of the angle between the two.
    pub cosine: f64,
    /// Greatest difference of an element.
    pub max_error: f64,
}

/// The error of a multiply-accumulate layer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LayerError {
    /// Name of the layer's node.
    pub node: String,
    /// Its operator.
    pub op: String,
    /// The value that was compared: its result, or that of the activation in its kernel.
    pub value: String,
    /// Signal to quantization noise, in decibels; infinite without noise, which JSON has as null.
    pub sqnr_db: f64,
    /// Cosine of the angle between the two.
    pub cosine: f64,
    /// Greatest difference of an element.
    pub max_error: f64,
}

/// The errors of the multiply-accumulate layers, in the order of the float graph.
///
/// A layer's own result may exist within a kernel only; then the first value behind it that was compared stands for it.
pub fn of_layers(float: &Graph, errors: &[ValueError]) -> Vec<LayerError> {
    let users = float.users();
    let by_value: HashMap<&str, &ValueError> = errors.iter().map(|e| (e.value.as_str(), e)).collect();
    let layers = float.nodes().filter(|(_, n)| n.op.is_layer());
    let error = |node: &Node| {
        let behind = |v: &ValueId| float.node(users.only(*v)?).outputs.first().copied();
        let mut values = successors(node.outputs.first().copied(), behind);
        let e = values.find_map(|v| by_value.get(float.value(v).name.as_str()))?;
        Some(LayerError {
            node: node.name.clone(),
            op: node.op.name().to_string(),
            value: e.value.clone(),
            sqnr_db: e.sqnr_db,
            cosine: e.cosine,
            max_error: e.max_error,
        })
    };
    layers.filter_map(|(_, node)| error(node)).collect()
}

/// Compares the values that both graphs know by name, on up to `limit` samples (0: all); in the order of the float graph.
///
/// Integers are compared as the reals they stand for.
pub fn compare(
    float: &Graph,
    quantized: &Graph,
    engine: &dyn Engine,
    samples: &dyn Samples,
    limit: usize,
) -> Result<Vec<ValueError>> {
    check_float_mode()?;
    let pairs: Vec<(ValueId, ValueId)> = float
        .nodes()
        .flat_map(|(_, n)| n.outputs.iter().copied())
        .filter_map(|v| Some((v, quantized.find(&float.value(v).name)?)))
        .filter(|(v, q)| float.ty(*v).dtype.is_float() && is_comparable(quantized, *q))
        .collect();
    let (ours, theirs): (Vec<ValueId>, Vec<ValueId>) = pairs.iter().copied().unzip();
    let mut reference = engine.load(float, &ours)?;
    let mut run = engine.load(quantized, &theirs)?;
    let mut sums = vec![Sums::default(); pairs.len()];
    for i in spread(samples.len(), limit) {
        let sample = samples.sample(i)?;
        let expected = reference.run(&sample)?;
        let found = run.run(&sample)?;
        for ((sum, a), b) in sums.iter_mut().zip(&expected.taps).zip(&found.taps) {
            let (a, b) = (a.floats()?, b.reals()?);
            if a.len() != b.len() {
                return Err(Error::new(format!("expected {} elements, found {}", a.len(), b.len())));
            }
            a.iter().zip(b.iter()).for_each(|(a, b)| sum.add(f64::from(*a), f64::from(*b)));
        }
    }
    let describe = |(v, sum): (ValueId, Sums)| {
        let op = float.producer(v).map_or("", |n| float.node(n).op.name());
        sum.error(&float.value(v).name, op)
    };
    Ok(ours.into_iter().zip(sums).map(describe).collect())
}

/// The values with the least signal to noise, worst first.
pub fn worst(errors: &[ValueError], count: usize) -> Vec<ValueError> {
    let mut sorted = errors.to_vec();
    sorted.sort_by(|a, b| a.sqnr_db.total_cmp(&b.sqnr_db));
    sorted.truncate(count);
    sorted
}

/// The layers with the least signal to noise, worst first.
pub fn worst_layers(float: &Graph, errors: &[ValueError], count: usize) -> Vec<LayerError> {
    let mut layers = of_layers(float, errors);
    layers.sort_by(|a, b| a.sqnr_db.total_cmp(&b.sqnr_db));
    layers.truncate(count);
    layers
}

fn is_comparable(g: &Graph, v: ValueId) -> bool {
    let value = g.value(v);
    matches!(value.def, Def::Node(..)) && (value.ty.dtype.is_float() || value.ty.is_quantized())
}

#[derive(Debug, Clone, Copy, Default)]
struct Sums {
    signal: f64,
    found: f64,
    product: f64,
    noise: f64,
    max_error: f64,
}

impl Sums {
    fn add(&mut self, a: f64, b: f64) {
        let difference = a - b;
        self.signal += a * a;
        self.found += b * b;
        self.product += a * b;
        self.noise += difference * difference;
        self.max_error = self.max_error.max(difference.abs());
    }

    fn error(&self, value: &str, op: &str) -> ValueError {
        // The squares of the least and greatest floats fit in f64, their products do not.
        let norms = self.signal.sqrt() * self.found.sqrt();
        let cosine = match (self.signal == 0.0, self.found == 0.0) {
            (false, false) => self.product / norms,
            // Nothing is like nothing, and unlike anything else.
            (true, true) => 1.0,
            (true, false) | (false, true) => 0.0,
        };
        ValueError {
            value: value.to_string(),
            op: op.to_string(),
            sqnr_db: if self.noise == 0.0 { f64::INFINITY } else { 10.0 * (self.signal / self.noise).log10() },
            cosine,
            max_error: self.max_error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(pairs: &[(f64, f64)]) -> ValueError {
        let mut sums = Sums::default();
        pairs.iter().for_each(|(a, b)| sums.add(*a, *b));
        sums.error("x", "Conv")
    }

    #[test]
    fn nothing_is_not_like_something() {
        let lost = error(&[(1.0, 0.0), (2.0, 0.0)]);
        assert_eq!((lost.sqnr_db, lost.cosine), (0.0, 0.0));
        assert_eq!((error(&[(0.0, 0.0)]).sqnr_db, error(&[(0.0, 0.0)]).cosine), (f64::INFINITY, 1.0));
        assert_eq!(error(&[(0.0, 1.0)]).cosine, 0.0);
    }

    #[test]
    fn the_cosine_of_tiny_and_huge_values_is_one_too() {
        for size in [1e-45, 1e-38, 1.0, 3e38] {
            let same = error(&[(size, size), (-size, -size)]);
            assert!((same.cosine - 1.0).abs() < 1e-9, "{size}: {same:?}");
        }
    }
}
