//! Whether integers keep to the range that their type declares.
//!
//! What is proven of a graph, [`bounds`](crate::bounds) foremost, takes qmin..=qmax of every operand for true. So nothing
//! may get a quantized type whose integers could leave its range: [`check_node`] says of every operator why its results
//! do not, constants are looked at ([`Tensor::first_outside`]), and whoever runs a graph checks the inputs and what
//! operators of the user's give.

use crate::op::facts::Results;
use crate::{Error, Graph, Node, Op, Result, Tensor, Type};

/// Refuses a node whose results could leave the range of their type although its operands keep to theirs.
///
/// Types and arity are checked before. Accumulators are left to [`bounds::check`](crate::bounds::check), which sums.
pub fn check_node(g: &Graph, node: &Node) -> Result<()> {
    match &node.op {
        Op::Table => table(g, node),
        Op::Relu => relu(g, node),
        op => match op.facts().results {
            // Proven or refused by the bounds of accumulators.
            Results::Sums => Ok(()),
            // One of their operands' integers, of the same type, or a bound or border within the result's range.
            Results::Elements => Ok(()),
            // Not quantized.
            Results::Computed => Ok(()),
            // Limited to the range of their result; those of the user's operators are checked when they have run, by the
            // interpreter, which compiled programs call for them.
            Results::Integers => Ok(()),
        },
    }
}

/// Results are entries: of a constant those that are there, of any other all that its type allows.
fn table(g: &Graph, node: &Node) -> Result<()> {
    let (Some(entries), Some(&y)) = (node.input(1), node.outputs.first()) else { return Ok(()) };
    let (lo, hi) = range(g.ty(y));
    let outside = match g.constant(entries) {
        Some(tensor) => tensor.first_outside(lo, hi)?,
        None => {
            let (least, most) = range(g.ty(entries));
            [least, most].into_iter().find(|end| !(lo..=hi).contains(end))
        }
    };
    let Some(bad) = outside else { return Ok(()) };
    let name = &g.value(entries).name;
    let expected = format!("expected entries of the table '{name}' in the range {lo}..{hi} of its result");
    Err(match g.constant(entries) {
        Some(_) => Error::new(format!("{expected}, found {bad}"))
            .hint("limit the entries, or declare the range that they have"),
        None => Error::new(format!("{expected}, found one that is computed and can be {bad}"))
            .hint("a constant table, or a result whose range is all of its storage"),
    })
}

/// max(q, zero point) is a zero point above qmax, where the type has such a one.
fn relu(g: &Graph, node: &Node) -> Result<()> {
    let Some(q) = node.outputs.first().and_then(|y| g.ty(*y).quant.as_ref()) else { return Ok(()) };
    match q.zero_point.iter().find(|z| i64::from(**z) > q.qmax) {
        Some(zero) => Err(Error::new(format!(
            "expected a zero point of at most {}, the greatest integer of the result's range {}..{}, found {zero}",
            q.qmax, q.qmin, q.qmax
        ))
        .hint("every real of this type is negative: a range that has its zero point in it, or no Relu")),
        None => Ok(()),
    }
}

/// The integers of a type: of its storage, and of its range if it is quantized.
fn range(ty: &Type) -> (i64, i64) {
    let (lo, hi) = ty.dtype.range().unwrap_or((i64::MIN, i64::MAX));
    ty.quant.as_ref().map_or((lo, hi), |q| (q.qmin.max(lo), q.qmax.min(hi)))
}

/// Refuses a constant with integers outside of its range.
pub fn check_constant(tensor: &Tensor) -> Result<()> {
    // That floats are not quantized is another matter.
    let Some(q) = tensor.ty().quant.as_ref().filter(|_| !tensor.dtype().is_float()) else { return Ok(()) };
    match tensor.first_outside(q.qmin, q.qmax)? {
        Some(bad) => Err(Error::new(format!("it contains {bad}, outside of its range {}..{}", q.qmin, q.qmax))
            .hint("limit the integers, or declare the range that they have")),
        None => Ok(()),
    }
}
