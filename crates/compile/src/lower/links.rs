//! Functions of one element after another, in one step.

use super::{Layout, Lower, elementwise as each};
use crate::fuse::{ElementChain, limits};
use lowbit_ir::{DType, Granularity, NodeId, Op, Result, ValueId};
use lowbit_kernels::elementwise;
use lowbit_runtime::Kind;
use lowbit_runtime::program::{AccumulatorRow, Link, Links, LinksFrom, LinksTo, Other};

/// Elements of a block: what is read, what is between the functions, and their other operands are in the nearest cache
/// together.
const BLOCK: usize = 1024;

/// Where the numbers of an operand are, before they have a place.
#[derive(Clone, Copy)]
enum Form {
    Full,
    Number(usize),
    Row,
}

/// Lowers a chain, or its nodes one by one where an operand is repeated in a way that no row has.
pub fn lower(cx: &mut Lower<'_>, chain: &ElementChain) -> Result<()> {
    match linked(cx, chain)? {
        Some(kind) => cx.step(&chain.nodes, kind, 0),
        None => return chain.nodes.iter().try_for_each(|id| cx.node(*id, cx.g.node(*id))),
    }
    Ok(())
}

fn linked(cx: &mut Lower<'_>, chain: &ElementChain) -> Result<Option<Kind>> {
    let g = cx.g;
    let dims = cx.dims(chain.output)?;
    let functions = functions(cx, chain);
    if dims.contains(&0) || functions.is_empty() {
        return Ok(None);
    }
    let others: Vec<Option<ValueId>> = functions.iter().map(|f| f.other).collect();
    let full = others.iter().flatten().copied().filter(|v| g.ty(*v).shape == g.ty(chain.output).shape);
    let channels = channels(cx, chain)?;
    let layout = match channels {
        None => return Ok(None),
        Some(Some(axis)) if axis == 1 && (3..=4).contains(&dims.len()) => Layout::ChannelsLast,
        Some(Some(_)) => Layout::Plain,
        Some(None) => cx.common(&full.chain([chain.input]).collect::<Vec<_>>()),
    };
    let order = layout.order(&dims);
    let by_channel = channels.flatten().is_some();
    // The shortest rows, of which the most make a block: scales of channels are a row.
    let found = (0..=order.len()).rev().find_map(|split| {
        let scales_fit = !by_channel || split + 1 == order.len();
        let forms = others.iter().map(|v| v.map(|v| form(cx, v, layout, &order, split)));
        // An operand that is not there has no form to lack.
        let forms: Vec<Option<Option<Form>>> = forms.collect();
        let fits = scales_fit && forms.iter().all(|f| !matches!(f, Some(None)));
        fits.then(|| (split, forms.into_iter().map(Option::flatten).collect::<Vec<_>>()))
    });
    let Some((split, forms)) = found else { return Ok(None) };
    let (rows, n): (usize, usize) = (order[..split].iter().product(), order[split..].iter().product());
    // Rows that are the same for all are written down as often as a block has rows, if they are known.
    let known = |(v, form): (&Option<ValueId>, &Option<Form>)| match (v, form) {
        (Some(v), Some(Form::Row)) => g.constant(*v).is_some(),
        (Some(_) | None, Some(Form::Full | Form::Number(_) | Form::Row) | None) => true,
    };
    let block = match others.iter().zip(&forms).all(known) {
        true => (BLOCK / n).clamp(1, rows),
        false => 1,
    };
    let from = from(cx, chain, block)?;
    let mut links = Vec::new();
    for (function, form) in functions.iter().zip(&forms) {
        let other = match (function.other, *form) {
            (Some(v), Some(form)) => Some(placed(cx, v, form, layout, block)?),
            (Some(_) | None, Some(_) | None) => None,
        };
        let Some(link) = link(cx, function, other)? else { return Ok(None) };
        links.push(link);
    }
    let to = match g.ty(chain.output).dtype {
        DType::F32 => LinksTo::Float,
        _ => LinksTo::Bytes(cx.row(elementwise::QUANTIZE8)?, g.ty(chain.output).quant()?.affine()?),
    };
    let x = cx.place(chain.input, layout)?;
    let y = cx.define(chain.output, layout)?;
    Ok(Some(Kind::Links(Links { from, x, links, to, y, rows, n, block })))
}

/// A function of floats in a chain.
struct Function {
    node: NodeId,
    /// What it reads besides what the chain goes through.
    other: Option<ValueId>,
    /// Whether that is its first operand.
    other_first: bool,
}

fn functions(cx: &Lower<'_>, chain: &ElementChain) -> Vec<Function> {
    let mut now = chain.input;
    let mut out = Vec::new();
    for id in &chain.nodes {
        let node = cx.g.node(*id);
        match (&node.op, node.input(0), node.input(1)) {
            (Op::Dequantize | Op::Quantize { .. }, ..) => {}
            (_, Some(a), Some(b)) if a == now => out.push(Function { node: *id, other: Some(b), other_first: false }),
            (_, Some(a), Some(_)) => out.push(Function { node: *id, other: Some(a), other_first: true }),
            (_, _, None) | (_, None, _) => out.push(Function { node: *id, other: None, other_first: false }),
        }
        now = node.outputs.first().copied().unwrap_or(now);
    }
    out
}

/// The axis along which the scales of accumulators differ, if it does not matter or can be last in memory; `None` for
/// what no kernel makes floats.
fn channels(cx: &Lower<'_>, chain: &ElementChain) -> Result<Option<Option<usize>>> {
    let ty = cx.g.ty(chain.input);
    if ty.dtype == DType::F32 {
        return Ok(Some(None));
    }
    let (quant, rank) = (ty.quant()?, ty.shape.rank());
    if quant.zero_point.iter().any(|z| *z != 0) {
        return Ok(None);
    }
    Ok(match quant.granularity {
        _ if quant.is_per_tensor() => Some(None),
        Granularity::Channel { axis } if axis + 1 == rank || (axis == 1 && (3..=4).contains(&rank)) => Some(Some(axis)),
        Granularity::Tensor | Granularity::Channel { .. } | Granularity::Block { .. } => None,
    })
}

/// What makes floats of the input.
fn from(cx: &mut Lower<'_>, chain: &ElementChain, block: usize) -> Result<LinksFrom> {
    let ty = cx.g.ty(chain.input);
    let row = match ty.dtype {
        DType::F32 => return Ok(LinksFrom::Float),
        DType::I64 => AccumulatorRow::Wide(cx.row(elementwise::DEQUANTIZE_WIDE)?),
        _ => AccumulatorRow::Narrow(cx.row(elementwise::DEQUANTIZE_ACC)?),
    };
    let quant = ty.quant()?;
    let (scales, step) = match quant.is_per_tensor() {
        true => (quant.scale.to_vec(), 0),
        false => (quant.scale.repeat(block), 1),
    };
    Ok(LinksFrom::Accumulator { row, scale: cx.out.constants.numbers(&scales), step })
}

/// How an operand lies to rows of the axes from `split` on.
fn form(cx: &Lower<'_>, v: ValueId, layout: Layout, order: &[usize], split: usize) -> Option<Form> {
    let d = cx.g.ty(v).shape.dims()?;
    let alike = d.len() == order.len();
    // Of another rank, or as a row that is written down, it has the order of the result only if there is none to have.
    let plain = d.iter().filter(|n| **n != 1).count() <= 1;
    let d: Vec<usize> = std::iter::repeat_n(1, order.len().checked_sub(d.len())?).chain(d).collect();
    let d = layout.order(&d);
    let one = |d: &[usize]| d.iter().all(|n| *n == 1);
    if alike && d == order {
        return Some(Form::Full);
    }
    if !alike && !plain {
        return None;
    }
    let kept = d.iter().zip(order).take_while(|(d, n)| d == n).count().min(split);
    if one(&d[kept..]) {
        return Some(Form::Number(order[kept..split].iter().product()));
    }
    (one(&d[..split]) && d[split..] == order[split..] && plain).then_some(Form::Row)
}

/// Where an operand is.
fn placed(cx: &mut Lower<'_>, v: ValueId, form: Form, layout: Layout, block: usize) -> Result<Other> {
    let alike = |cx: &Lower<'_>| cx.g.ty(v).shape.dims().is_some_and(|d| d.iter().filter(|n| **n != 1).count() <= 1);
    // What has one axis of more than one element lies alike in both layouts.
    let own = if alike(cx) { Layout::Plain } else { layout };
    Ok(match (form, cx.g.constant(v)) {
        (Form::Full, _) => Other::Full(cx.place(v, layout)?),
        (Form::Number(rows), _) => Other::Number(cx.place(v, own)?, rows),
        (Form::Row, Some(known)) => {
            let row = known.floats()?.repeat(block);
            Other::Block(cx.out.constants.numbers(&row))
        }
        (Form::Row, None) => Other::Block(cx.place(v, own)?),
    })
}

/// The kernel for a function; `None` if there is none.
fn link(cx: &Lower<'_>, function: &Function, other: Option<Other>) -> Result<Option<Link>> {
    let node = cx.g.node(function.node);
    Ok(match (&node.op, other) {
        (Op::Binary(f), Some(other)) => match each::binary(*f) {
            Some(f) => {
                let row = cx.row(elementwise::BINARY)?;
                Some(Link::Binary { row, f, other, other_first: function.other_first })
            }
            None => None,
        },
        (Op::Unary(f), _) => match each::unary(*f) {
            Some(f) => Some(Link::Unary(cx.row(elementwise::UNARY)?, f)),
            None => None,
        },
        (op, _) => match limits(op) {
            Some((lo, hi)) => Some(Link::Clamp(cx.row(elementwise::CLAMP)?, lo, hi)),
            None => None,
        },
    })
}
