//! Sums, products and functions of elements.

use super::settle::{self, Sink};
use super::{Outcome, Realize, operand, wide};
use crate::prepare::rewrite;
use lowbit_arithmetic::{AddRescale, activation};
use lowbit_ir::op::Unary;
use lowbit_ir::{Graph, NodeId, Op, Result, Tensor, Type, ValueId, interp};

pub fn add(g: &mut Graph, id: NodeId, cx: &mut Realize) -> Result<Outcome> {
    let is_wide = |v: Option<ValueId>| operand::narrow(g, v).is_err();
    // Whoever reads the sum itself reads it wide, so that it needs no scale of a Quantize behind it.
    let read_wide = rewrite::output(g.node(id)).is_some_and(|y| settle::sinks(g, y, cx).1);
    if cx.wide && (read_wide || is_wide(g.node(id).input(0)) || is_wide(g.node(id).input(1))) {
        return wide::add(g, id, cx);
    }
    pair(g, id, cx, |a, b, out, cx| AddRescale::new(cx.rescale.method, a, b, out).is_ok(), Op::QAdd)
}

pub fn mul(g: &mut Graph, id: NodeId, cx: &mut Realize) -> Result<Outcome> {
    let possible =
        |a, b, out, cx: &Realize| lowbit_arithmetic::Rescale::for_product(cx.rescale.method, a, b, out).is_ok();
    pair(g, id, cx, possible, Op::QMul)
}

fn pair(
    g: &mut Graph,
    id: NodeId,
    cx: &mut Realize,
    possible: impl Fn(f32, f32, f32, &Realize) -> bool,
    op: fn(lowbit_ir::op::Rescale) -> Op,
) -> Result<Outcome> {
    let node = g.node(id);
    let (a, b) = match (operand::narrow(g, node.input(0)), operand::narrow(g, node.input(1))) {
        (Ok(a), Ok(b)) => (a, b),
        (Err(why), _) | (_, Err(why)) => return Ok(Outcome::Float(why)),
    };
    settle::per_sink(g, id, cx, |g, sink, cx| {
        let scale = |ty: &Type| ty.quant.as_ref().and_then(|q| q.scale.first().copied()).unwrap_or(0.0);
        let fits = possible(scale(g.ty(a)), scale(g.ty(b)), scale(&sink.ty), cx);
        Ok(fits.then(|| (op(cx.rescale_to(sink)), vec![a, b])))
    })
}

pub fn table(g: &mut Graph, id: NodeId, f: Unary, cx: &mut Realize) -> Result<Outcome> {
    let x = match operand::narrow(g, g.node(id).input(0)) {
        Ok(x) => x,
        Err(why) => return Ok(Outcome::Float(why)),
    };
    let name = g.node(id).name.clone();
    settle::per_sink(g, id, cx, |g, sink, _| {
        let entries = entries(g.ty(x), f, sink)?;
        let table = g.add_const(&format!("{name}.table"), entries);
        Ok(Some((Op::Table, vec![x, table])))
    })
}

/// quantize(f(dequantize(q))) for every q of the input's type, by the functions that everybody computes with.
fn entries(x: &Type, f: Unary, sink: &Sink) -> Result<Tensor> {
    let (from, to) = (x.quant()?.affine()?, sink.ty.quant()?.affine()?);
    let mut table = vec![0; activation::table_len(&from)];
    activation::table(&from, &to, sink.rounding, |x| interp::unary_f32(f, x), &mut table);
    let table: Vec<i64> = table.into_iter().map(i64::from).collect();
    Tensor::from_ints(Type::plain(sink.ty.dtype, vec![table.len()]), &table)
}
