//! Type and shape inference: the types of a node's outputs from those of its inputs.
//!
//! This is where attributes and operands are checked; the interpreter trusts what passed here. Open dimensions stay
//! symbols wherever arithmetic on them can be told (`dims.rs`), so a batch `N` comes through a whole network.
//! One file per family of operators, the same families as in [`crate::interp`].

pub mod batch;
mod dims;
mod elementwise;
mod lookup;
mod mac;
mod movement;
mod pool;
mod quant;
mod recurrent;
mod sample;
#[cfg(test)]
mod tests;

pub use dims::broadcast;
pub use mac::{accumulator_scales, depth, macs, outputs_per_input, weight_axis};
pub(crate) use movement::slice_range;
pub use pool::reduced_axes;

use crate::suggest::did_you_mean;
use crate::{Customs, Def, Dim, Error, Graph, Op, Result, Shape, Type, ValueId};
use std::collections::HashMap;
use std::sync::Arc;

/// The types of the outputs of `op` applied to operands of these types.
///
/// `declared` are the node's present output types, empty for a new node. `Quantize`, `Requantize`, `QAdd`, `QMul`,
/// `QAvgPool` and `Table` take dtype and quantization from there; an integer `Conv` or `MatMul` takes the dtype and
/// range of its accumulator from there, if given (default: all of i32).
pub fn infer(op: &Op, inputs: &[Option<&Type>], declared: &[Type], customs: &Customs) -> Result<Vec<Type>> {
    let operands = Operands::new(op, inputs)?;
    let x = |i| operands.get(i);
    let bias = operands.optional(2);
    let target = declared.first();
    let one = match op {
        Op::Conv(c) => mac::conv(c, x(0)?, x(1)?, bias, target),
        Op::MatMul(m) => mac::matmul(m, x(0)?, x(1)?, bias, target),
        Op::BatchNorm { epsilon } => elementwise::batch_norm(*epsilon, x(0)?, &operands.given()),
        Op::LayerNorm { axis, epsilon } => elementwise::layer_norm(*axis, *epsilon, x(0)?, x(1)?, bias),
        Op::Softmax { axis } => elementwise::softmax(*axis, x(0)?),
        Op::Recurrent(r) => return recurrent::recurrent(r, operands.types),
        Op::Relu => elementwise::relu(x(0)?),
        Op::Clip { min, max } => elementwise::clip(*min, *max, x(0)?),
        Op::Unary(f) => elementwise::unary(*f, x(0)?),
        Op::Binary(f) => elementwise::binary(*f, x(0)?, x(1)?),
        Op::Where => elementwise::select(x(0)?, x(1)?, x(2)?),
        Op::Cast { to } => elementwise::cast(*to, x(0)?),
        Op::MaxPool(p) => pool::max_pool(p, x(0)?),
        Op::AvgPool(p) => pool::avg_pool(p, x(0)?),
        Op::GlobalAvgPool => pool::global_avg_pool(x(0)?),
        Op::Reduce(r) => pool::reduce(r, x(0)?),
        Op::CumSum(c) => pool::cum_sum(c, x(0)?),
        Op::Concat { axis } => movement::concat(*axis, &operands.given()),
        Op::Split { axis, sizes } => return movement::split(*axis, sizes, x(0)?),
        Op::Slice(axes) => movement::slice(axes, x(0)?),
        Op::Pad(p) => movement::pad(p, x(0)?),
        Op::Reshape { dims } => movement::reshape(dims, x(0)?),
        Op::Flatten { axis } => movement::flatten(*axis, x(0)?),
        Op::Squeeze { axes } => movement::squeeze(axes, x(0)?),
        Op::Unsqueeze { axes } => movement::unsqueeze(axes, x(0)?),
        Op::Transpose { perm } => movement::transpose(perm, x(0)?),
        Op::Gather { axis } => lookup::gather(*axis, x(0)?, x(1)?),
        Op::GatherElements { axis } => lookup::gather_elements(*axis, x(0)?, x(1)?),
        Op::GatherNd { batch_dims } => lookup::gather_nd(*batch_dims, x(0)?, x(1)?),
        Op::ScatterElements { axis, reduction } => lookup::scatter_elements(*axis, *reduction, x(0)?, x(1)?, x(2)?),
        Op::ScatterNd { reduction } => lookup::scatter_nd(*reduction, x(0)?, x(1)?, x(2)?),
        Op::TopK(t) => return lookup::top_k(t, x(0)?),
        Op::Expand { dims } => movement::expand(dims, x(0)?),
        Op::Resize(r) => sample::resize(r, x(0)?),
        Op::GridSample(_) => sample::grid_sample(x(0)?, x(1)?),
        Op::RoiAlign(r) => sample::roi_align(r, x(0)?, x(1)?, x(2)?),
        Op::NonMaxSuppression(n) => sample::non_max_suppression(n, x(0)?, x(1)?),
        Op::Identity => Ok(x(0)?.clone()),
        Op::Quantize { .. } => quant::quantize(x(0)?, target),
        Op::Dequantize => quant::dequantize(x(0)?),
        Op::Requantize(_) => quant::requantize(x(0)?, target),
        Op::QAdd(_) | Op::QMul(_) => quant::element_by_element(x(0)?, x(1)?, target),
        Op::QAvgPool(q) => quant::avg_pool(q, x(0)?, target),
        Op::Table => quant::table(x(0)?, x(1)?, target),
        Op::Simulate(_) => elementwise::float("input", x(0)?).cloned(),
        Op::Custom(id) => return customs.get(&id.0)?.infer(&operands.given()),
    }?;
    if one.shape.0.iter().all(|d| d.known().is_some()) && one.shape.count().is_none() {
        return Err(Error::new(format!("the output {one} has more elements than can be counted")));
    }
    Ok(vec![one])
}

/// Adds a node with inferred types and one output, both called `name`.
pub fn apply(g: &mut Graph, name: &str, op: Op, inputs: &[Option<ValueId>]) -> Result<ValueId> {
    add(g, name, op, inputs, &[])
}

/// [`apply`] for operators that need their output type declared, such as `Quantize`; its shape is inferred.
pub fn apply_as(g: &mut Graph, name: &str, op: Op, inputs: &[Option<ValueId>], declared: Type) -> Result<ValueId> {
    add(g, name, op, inputs, &[declared])
}

fn add(g: &mut Graph, name: &str, op: Op, inputs: &[Option<ValueId>], declared: &[Type]) -> Result<ValueId> {
    let types: Vec<Option<&Type>> = inputs.iter().map(|v| v.map(|v| g.ty(v))).collect();
    let inferred = infer(&op, &types, declared, &Customs::default()).map_err(|e| e.at_node(name))?;
    let [ty] = inferred.as_slice() else {
        return Err(Error::new(format!("expected an operator of one output, found {} outputs", inferred.len()))
            .at_node(name)
            .hint("add it with Graph::add_node"));
    };
    let node = g.add_node(name, op, inputs.to_vec(), &[(name, ty.clone())]);
    g.node(node).outputs.first().copied().ok_or_else(|| Error::new("the node has no output").at_node(name))
}

/// Infers every type again, in order, from the types of inputs and constants. On an error nothing has changed.
pub fn refresh(g: &mut Graph, customs: &Customs) -> Result<()> {
    let types = infer_all(g, customs, &HashMap::new())?;
    for (v, ty) in types {
        g.set_ty(v, ty);
    }
    Ok(())
}

/// Gives open dimensions of inputs their sizes, and may change a known first dimension, if it is a batch ([`batch`]).
///
/// A symbol that is bound at one input is bound everywhere. Inputs that are not listed keep their types.
pub fn bind(g: &Graph, shapes: &[(&str, Vec<usize>)]) -> Result<Graph> {
    bind_with(g, shapes, &Customs::default())
}

/// [`bind`] for graphs with operators of the user's.
pub fn bind_with(g: &Graph, shapes: &[(&str, Vec<usize>)], customs: &Customs) -> Result<Graph> {
    let mut symbols: Bindings = HashMap::new();
    let mut bound = g.clone();
    let mut changed = Vec::new();
    for (name, dims) in shapes {
        let input = input_named(g, name)?;
        let first = g.ty(input).shape.0.first().and_then(Dim::known);
        if first.is_some() && first != dims.first().copied() {
            changed.push(input);
        }
        let ty = g.ty(input);
        bind_dims(ty, dims, true, &mut symbols).map_err(|e| e.at_value(*name))?;
        bound.set_ty(input, ty.with_shape(dims.clone()));
    }
    if let Some(input) = changed.first()
        && let Some(why) = batch::fixed(g, &changed, customs)
    {
        let found = shapes.iter().find(|(name, _)| *name == g.value(*input).name);
        let found = found.map_or(Shape::default(), |(_, dims)| Shape::known(dims));
        return Err(Error::new(format!(
            "expected the shape {}, found {found}: its first dimension is no batch that may change ({why})",
            g.ty(*input).shape
        ))
        .at_value(&g.value(*input).name)
        .hint("give samples of the full shape, or export the model with an open batch"));
    }
    for &input in &g.inputs {
        let ty = bound.ty(input);
        let shape = Shape(ty.shape.0.iter().map(|d| substitute(d, &symbols)).collect());
        let ty = ty.with_shape(shape);
        bound.set_ty(input, ty);
    }
    refresh(&mut bound, customs).map_err(|e| e.context("binding the shapes of the inputs"))?;
    Ok(bound)
}

/// Sizes of symbols.
pub type Bindings = HashMap<Arc<str>, usize>;

/// Matches the sizes of a value against its type, and notes what its symbols stand for.
///
/// With `free_batch`, a known first dimension may differ.
pub fn bind_dims(ty: &Type, dims: &[usize], free_batch: bool, symbols: &mut Bindings) -> Result<()> {
    let differs = || Error::new(format!("expected the shape {}, found {}", ty.shape, Shape::known(dims)));
    if ty.shape.rank() != dims.len() {
        return Err(differs());
    }
    for (i, (dim, &size)) in ty.shape.0.iter().zip(dims).enumerate() {
        match dim {
            Dim::Known(known) if *known == size || (free_batch && i == 0) => {}
            Dim::Known(_) => return Err(differs()),
            Dim::Symbol(s) => match symbols.insert(s.clone(), size) {
                Some(before) if before != size => {
                    return Err(Error::new(format!("the dimension {s} is {before} elsewhere and {size} here"))
                        .hint("equal symbols are equal sizes; give all inputs consistent shapes"));
                }
                Some(_) | None => {}
            },
        }
    }
    Ok(())
}

fn substitute(dim: &Dim, symbols: &Bindings) -> Dim {
    match dim {
        Dim::Known(n) => Dim::Known(*n),
        Dim::Symbol(s) => symbols.get(s).map_or_else(|| dim.clone(), |n| Dim::Known(*n)),
    }
}

fn input_named(g: &Graph, name: &str) -> Result<ValueId> {
    let names = || g.inputs.iter().map(|v| g.value(*v).name.as_str());
    let found = g.inputs.iter().find(|v| g.value(**v).name == name);
    found.copied().ok_or_else(|| {
        let all: Vec<&str> = names().collect();
        let near = did_you_mean(name, all.iter().copied());
        Error::new(format!("no input is named '{name}'{near}")).hint(format!("the inputs are {}", all.join(", ")))
    })
}

/// The inferred type of every node output, with the types of some inputs replaced.
fn infer_all(g: &Graph, customs: &Customs, replaced: &HashMap<ValueId, Type>) -> Result<HashMap<ValueId, Type>> {
    let mut types = replaced.clone();
    for (_, node) in g.nodes() {
        let inferred = {
            let of = |v: ValueId| types.get(&v).unwrap_or(g.ty(v));
            let inputs: Vec<Option<&Type>> = node.inputs.iter().map(|v| v.map(of)).collect();
            let declared: Vec<Type> = node.outputs.iter().map(|v| g.ty(*v).clone()).collect();
            infer(&node.op, &inputs, &declared, customs).map_err(|e| {
                let operands: Vec<String> =
                    node.operands().map(|v| format!("'{}' {}", g.value(v).name, of(v))).collect();
                e.at_node(&node.name).context(format!("inferring {} of {}", node.op.name(), operands.join(", ")))
            })?
        };
        if inferred.len() != node.outputs.len() {
            return Err(Error::new(format!(
                "expected {} outputs of {}, found {}",
                inferred.len(),
                node.op.name(),
                node.outputs.len()
            ))
            .at_node(&node.name));
        }
        types.extend(node.outputs.iter().copied().zip(inferred));
    }
    types.retain(|v, _| matches!(g.value(*v).def, Def::Node(..)));
    Ok(types)
}

/// The operands of a node, their number checked.
struct Operands<'a> {
    name: &'static str,
    types: &'a [Option<&'a Type>],
}

impl<'a> Operands<'a> {
    fn new(op: &Op, types: &'a [Option<&'a Type>]) -> Result<Self> {
        let (least, most) = op.arity();
        if types.len() > most || types.len() < least {
            let expected = match most {
                usize::MAX => format!("at least {least}"),
                most if most == least => format!("{least}"),
                most => format!("{least} to {most}"),
            };
            return Err(Error::new(format!("expected {expected} inputs of {}, found {}", op.name(), types.len())));
        }
        let all = most == usize::MAX;
        let needed = if all { types.len() } else { least };
        if let Some(i) = types.iter().take(needed).position(Option::is_none) {
            return Err(Error::new(format!("input {i} of {} is missing", op.name())));
        }
        Ok(Operands { name: op.name(), types })
    }

    fn get(&self, i: usize) -> Result<&'a Type> {
        self.optional(i).ok_or_else(|| Error::new(format!("input {i} of {} is missing", self.name)))
    }

    fn optional(&self, i: usize) -> Option<&'a Type> {
        self.types.get(i).copied().flatten()
    }

    fn given(&self) -> Vec<&'a Type> {
        self.types.iter().copied().flatten().collect()
    }
}
