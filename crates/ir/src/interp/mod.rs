//! The interpreter: the slow, exact, readable specification of every operator, float and integer.
//!
//! What docs/arithmetic.md says in prose, these files say in code, standing on the crate `arithmetic`; everything
//! faster is tested against them bit for bit. One file per family of operators. Types and attributes were checked by
//! [`infer`](crate::infer) before a family is called, so the families compute and do not check again.
//! f16 and bf16 values are widened to f32, and the result of an operator is rounded once, at its end.

mod boxes;
mod elementwise;
mod grid_sample;
mod lookup;
mod mac;
mod movement;
mod norm;
mod pool;
mod positions;
mod quant;
mod recurrent;
mod resize;
mod room;
mod run;
#[cfg(test)]
mod tests;

pub use elementwise::{binary_f32, unary_f32};
pub use resize::nearest_positions;
pub use room::{workspace, workspace_beyond};
pub use run::Interpreter;

use crate::infer::infer;
use crate::{Customs, Error, Op, Result, Tensor, Type, catching};

/// Most elements of one result: what is larger is taken for a mistake before memory is asked for.
pub const MOST_ELEMENTS: usize = 1 << 31;

/// Computes one node: its outputs from its inputs.
///
/// `outputs` are the declared types of the outputs, as for [`infer`]; where their shapes are known they must be what
/// comes out. It may be empty for operators whose output types follow from their inputs.
pub fn eval(op: &Op, inputs: &[Option<&Tensor>], outputs: &[Type], customs: &Customs) -> Result<Vec<Tensor>> {
    let types: Vec<Option<&Type>> = inputs.iter().map(|t| t.map(Tensor::ty)).collect();
    let inferred = infer(op, &types, outputs, customs)?;
    check_declared(&inferred, outputs)?;
    for ty in &inferred {
        if ty.shape.count().is_none_or(|n| n > MOST_ELEMENTS) {
            return Err(Error::new(format!("expected an output of at most {MOST_ELEMENTS} elements, found {ty}")));
        }
    }
    if !inferred.is_empty() && inferred.iter().all(|ty| ty.shape.count() == Some(0)) {
        return inferred.into_iter().map(|ty| Tensor::from_bytes(ty, Default::default())).collect();
    }
    if let Op::Custom(id) = op {
        return custom(&id.0, inputs, &inferred, customs);
    }
    if let Op::Recurrent(r) = op {
        return recurrent::run(r, inputs, inferred);
    }
    if let Op::Split { axis, sizes } = op {
        return movement::split(*axis, sizes, operand(inputs, 0)?, inferred);
    }
    if let Op::TopK(t) = op {
        return lookup::top_k(t, operand(inputs, 0)?, inferred);
    }
    let Some(ty) = inferred.into_iter().next() else { return Ok(Vec::new()) };
    one(op, inputs, ty).map(|t| vec![t])
}

/// The operators of one output.
fn one(op: &Op, inputs: &[Option<&Tensor>], ty: Type) -> Result<Tensor> {
    let x = |i| operand(inputs, i);
    let bias = inputs.get(2).copied().flatten();
    match op {
        Op::Conv(c) => mac::conv(c, x(0)?, x(1)?, bias, ty),
        Op::MatMul(m) => mac::matmul(m, x(0)?, x(1)?, bias, ty),
        Op::BatchNorm { epsilon } => norm::batch_norm(*epsilon, x(0)?, [x(1)?, x(2)?, x(3)?, x(4)?], ty),
        Op::LayerNorm { epsilon, .. } => norm::layer_norm(*epsilon, x(0)?, x(1)?, bias, ty),
        Op::Softmax { axis } => norm::softmax(*axis, x(0)?, ty),
        Op::Relu => elementwise::relu(x(0)?, ty),
        Op::Clip { min, max } => elementwise::clip(*min, *max, x(0)?, ty),
        Op::Unary(f) => elementwise::unary(*f, x(0)?, ty),
        Op::Binary(f) => elementwise::binary(*f, x(0)?, x(1)?, ty),
        Op::Where => elementwise::select(x(0)?, x(1)?, x(2)?, ty),
        Op::Cast { .. } => elementwise::cast(x(0)?, ty),
        Op::MaxPool(p) => pool::max_pool(p, x(0)?, ty),
        Op::AvgPool(p) => pool::avg_pool(p, x(0)?, ty),
        Op::GlobalAvgPool => pool::global_avg_pool(x(0)?, ty),
        Op::Reduce(r) => pool::reduce(r, x(0)?, ty),
        Op::CumSum(c) => pool::cum_sum(c, x(0)?, ty),
        Op::Concat { axis } => movement::concat(*axis, inputs, ty),
        Op::Slice(axes) => movement::slice(axes, x(0)?, ty),
        Op::Pad(p) => movement::pad(p, x(0)?, ty),
        Op::Reshape { .. } | Op::Flatten { .. } | Op::Squeeze { .. } | Op::Unsqueeze { .. } => {
            Tensor::from_bytes(ty, x(0)?.bytes().clone())
        }
        Op::Transpose { perm } => movement::transpose(perm, x(0)?, ty),
        Op::Gather { axis } => lookup::gather(*axis, x(0)?, x(1)?, ty),
        Op::GatherElements { axis } => lookup::gather_elements(*axis, x(0)?, x(1)?, ty),
        Op::GatherNd { batch_dims } => lookup::gather_nd(*batch_dims, x(0)?, x(1)?, ty),
        Op::ScatterElements { axis, reduction } => lookup::scatter_elements(*axis, *reduction, x(0)?, x(1)?, x(2)?, ty),
        Op::ScatterNd { reduction } => lookup::scatter_nd(*reduction, x(0)?, x(1)?, x(2)?, ty),
        Op::Expand { .. } => movement::expand(x(0)?, ty),
        Op::Resize(r) => resize::resize(r, x(0)?, ty),
        Op::GridSample(g) => grid_sample::grid_sample(g, x(0)?, x(1)?, ty),
        Op::RoiAlign(r) => boxes::roi_align(r, x(0)?, x(1)?, x(2)?, ty),
        Op::NonMaxSuppression(n) => boxes::non_max_suppression(n, x(0)?, x(1)?, ty),
        Op::Identity | Op::Simulate(_) => Ok(x(0)?.clone()),
        Op::Quantize { rounding } => quant::quantize(*rounding, x(0)?, ty),
        Op::Dequantize => Tensor::from_floats(ty, x(0)?.reals()?.into_owned()),
        Op::Requantize(r) => quant::requantize(r, x(0)?, ty),
        Op::QAdd(r) => quant::add(r, x(0)?, x(1)?, ty),
        Op::QMul(r) => quant::mul(r, x(0)?, x(1)?, ty),
        Op::QAvgPool(q) => quant::avg_pool(q, x(0)?, ty),
        Op::Table => quant::table(x(0)?, x(1)?, ty),
        Op::Split { .. } | Op::Recurrent(_) | Op::TopK(_) | Op::Custom(_) => {
            Err(Error::new(format!("{} has more than one output", op.name())))
        }
    }
}

fn operand<'a>(inputs: &[Option<&'a Tensor>], i: usize) -> Result<&'a Tensor> {
    inputs.get(i).copied().flatten().ok_or_else(|| Error::new(format!("input {i} is missing")))
}

fn check_declared(inferred: &[Type], declared: &[Type]) -> Result<()> {
    if declared.is_empty() {
        return Ok(());
    }
    if declared.len() != inferred.len() {
        return Err(Error::new(format!("expected {} outputs, found {}", inferred.len(), declared.len())));
    }
    for (found, ty) in inferred.iter().zip(declared) {
        let sizes =
            || found.shape.0.iter().zip(&ty.shape.0).all(|(a, b)| b.known().is_none_or(|n| a.known() == Some(n)));
        let same = found.dtype == ty.dtype && found.quant == ty.quant && found.shape.rank() == ty.shape.rank();
        if !same || !sizes() {
            return Err(Error::new(format!("expected an output {ty} as declared, found {found}"))
                .hint("infer the types again with infer::refresh"));
        }
    }
    Ok(())
}

fn custom(name: &str, inputs: &[Option<&Tensor>], inferred: &[Type], customs: &Customs) -> Result<Vec<Tensor>> {
    let given: Vec<&Tensor> = inputs.iter().copied().flatten().collect();
    let own = customs.get(name)?;
    let results = catching("the operator", || own.run(&given))?;
    let same = results.len() == inferred.len() && results.iter().zip(inferred).all(|(t, ty)| t.ty() == ty);
    if !same {
        let list = |types: &mut dyn Iterator<Item = &Type>| types.map(Type::to_string).collect::<Vec<_>>().join(", ");
        return Err(Error::new(format!(
            "the custom operator '{name}' announced {} and gave {}",
            list(&mut inferred.iter()),
            list(&mut results.iter().map(Tensor::ty))
        )));
    }
    // Whoever reads these results takes their range for true.
    for (i, result) in results.iter().enumerate() {
        if let Some(q) = &result.ty().quant {
            result.check_range(q).map_err(|e| {
                e.context(format!("checking result {i} of the custom operator '{name}'"))
                    .hint("limit the results, or announce the range that they have")
            })?;
        }
    }
    Ok(results)
}

/// Integers as a tensor, checked against the storage type and, if quantized, against qmin..=qmax: nothing wraps.
fn integers(ty: Type, data: &[i64]) -> Result<Tensor> {
    let (lo, hi) = match &ty.quant {
        Some(q) => (q.qmin, q.qmax),
        None => ty.dtype.range().unwrap_or((i64::MIN, i64::MAX)),
    };
    if let Some(i) = data.iter().position(|v| !(lo..=hi).contains(v)) {
        let bad = data.get(i).copied().unwrap_or(0);
        return Err(Error::new(format!("element {i} is {bad}, outside the range {lo}..{hi} of {ty}"))
            .hint("a wider type, such as an i64 accumulator, or fewer bits in the operands"));
    }
    Tensor::from_ints(ty, data)
}
