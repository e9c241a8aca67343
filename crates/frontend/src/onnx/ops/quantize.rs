//! QuantizeLinear and DequantizeLinear: their parameters become types.

use super::dynamic;
use crate::build::{Builder, Item};
use crate::onnx::node::Site;
use crate::onnx::notes::Notes;
use crate::onnx::tensor;
use lowbit_arithmetic::Rounding;
use lowbit_ir::op::Binary;
use lowbit_ir::{DType, Dim, Error, Granularity, Op, Quant, Result, Shape, Tensor, Type, ValueId, bail};

/// QuantizeLinear: (x, scale, zero_point?).
pub fn quantize(site: &mut Site<'_>) -> Result<()> {
    let x = site.input(0)?;
    let shape = site.shape(&x);
    site.ignore(&["saturate"]);
    if let Some(precision) = site.int("precision")?
        && precision != 0
        && precision != i64::from(tensor::code(DType::F32))
    {
        bail!("only division in f32 is supported (attribute 'precision')");
    }
    let stated = site.int("output_dtype")?.filter(|t| *t != 0);
    let stated = stated.map(|t| tensor::dtype(i32::try_from(t).unwrap_or(0))).transpose()?;
    let zero = match site.maybe(2)? {
        Some(zero) if is_computed(site, 2)? => {
            // Its type alone is known.
            Some(Tensor::from_ints(Type::plain(site.ty(&zero).dtype, Vec::new()), &[0])?)
        }
        _ => site.constant(2, "zero point")?,
    };
    let dtype = match (zero.as_ref().map(Tensor::dtype), stated) {
        (Some(zero), Some(stated)) if zero != stated => {
            bail!("expected a zero point of the 'output_dtype' {stated}, found {zero}")
        }
        (zero, stated) => zero.or(stated).unwrap_or(DType::U8),
    };
    if is_computed(site, 1)? {
        return dynamic::quantize_by(site, dtype);
    }
    let quant = quant(site, dtype, zero, &shape)?;
    let quant = site.file.notes.range(site.first_output(), dtype, quant);
    let rounding = site.file.notes.rounding(&site.name)?.unwrap_or(Rounding::HalfEven);
    site.finish_as(Op::Quantize { rounding }, &[Some(x)], 1, &[Type::quantized(dtype, shape, quant)])
}

/// DequantizeLinear: (q, scale, zero_point?). A constant gets the parameters as its type.
pub fn dequantize(site: &mut Site<'_>) -> Result<()> {
    let q = site.input(0)?;
    let ty = site.ty(&q);
    if let Some(to) = site.int("output_dtype")?.filter(|t| *t != 0)
        && !site.converts_to(to)?.is_float()
    {
        bail!("expected a float output_dtype, found code {to}");
    }
    if is_computed(site, 1)? {
        return dynamic::dequantize(site);
    }
    let zero = site.constant(2, "zero point")?;
    if zero.as_ref().is_some_and(|z| z.dtype() != ty.dtype) {
        bail!("expected a zero point of the operand's type, {}", ty.dtype);
    }
    let quant = quant(site, ty.dtype, zero, &ty.shape)?;
    let in_blocks = matches!(quant.granularity, Granularity::Block { .. });
    if let (Item::Value(v), None, false) = (&q, &ty.quant, in_blocks)
        && way_of_meaning(site.builder, *v, &quant).is_err()
    {
        return spelled_out(site, &q, &quant);
    }
    let quant = site.file.notes.range(site.input_name(0), ty.dtype, quant);
    let q = with_meaning(site.builder, q, quant)?;
    site.finish(Op::Dequantize, &[&q])
}

/// The reals of integers that something else than a Quantize computes, as the operator is defined: in floats.
fn spelled_out(site: &mut Site<'_>, q: &Item, quant: &Quant) -> Result<()> {
    let dims = match quant.granularity {
        Granularity::Channel { axis } => {
            let rank = site.shape(q).rank();
            (0..rank).map(|i| if i == axis { quant.scale.len() } else { 1 }).collect()
        }
        Granularity::Tensor | Granularity::Block { .. } => Vec::new(),
    };
    let counts = site.step("counts", Op::Cast { to: DType::F32 }, &[q])?;
    let zeros: Vec<f32> = quant.zero_point.iter().map(|z| *z as f32).collect();
    let centred = match zeros.iter().all(|z| *z == 0.0) {
        true => counts,
        false => {
            let zeros = site.known("zeros", Tensor::from_f32(&dims, zeros)?);
            site.step("centred", Op::Binary(Binary::Sub), &[&counts, &zeros])?
        }
    };
    let scales = site.known("scales", Tensor::from_f32(&dims, quant.scale.to_vec())?);
    site.finish(Op::Binary(Binary::Mul), &[&centred, &scales])
}

/// Whether operand `i` is known only while running.
fn is_computed(site: &Site<'_>, i: usize) -> Result<bool> {
    Ok(match site.maybe(i)? {
        Some(Item::Value(v)) => site.builder.dequantized(v)?.is_none(),
        Some(Item::Const(..) | Item::Sizes(_)) | None => false,
    })
}

/// The integers with a quantized type: a constant and an input take it over, computed ones must have it already.
pub fn with_meaning(builder: &mut Builder, q: Item, quant: Quant) -> Result<Item> {
    let ty = builder.ty(&q);
    match (q, ty.quant) {
        (Item::Const(name, t), _) => Ok(Item::Const(name, t.with_quant(Some(quant)))),
        (Item::Value(v), None) => {
            give_meaning(builder, v, &quant)?;
            Ok(Item::Value(v))
        }
        (Item::Value(v), Some(found)) if same(&found, &quant) => Ok(Item::Value(v)),
        (Item::Value(_), Some(found)) => {
            bail!("expected the parameters that made the integers, {found}; found {quant}")
        }
        (Item::Sizes(s), _) => bail!("expected integers that stand for reals, found the sizes {s}"),
    }
}

/// Operands of one result: where one stands for reals, the integers of the others that nothing is said of do so by the same
/// parameters, as far as these do not depend on a place, or are those of as many channels.
pub fn alike(builder: &mut Builder, mut operands: Vec<Item>) -> Result<Vec<Item>> {
    let types: Vec<Type> = operands.iter().map(|item| builder.ty(item)).collect();
    let Some((like, quant)) = types.iter().find_map(|ty| Some((ty, ty.quant.as_ref()?))) else { return Ok(operands) };
    let fits = |ty: &Type| match quant.granularity {
        Granularity::Tensor => true,
        Granularity::Channel { axis } => {
            let channels = ty.shape.0.get(axis).and_then(Dim::known);
            ty.shape.rank() == like.shape.rank() && channels == Some(quant.scale.len())
        }
        Granularity::Block { .. } => false,
    };
    for (item, ty) in operands.iter_mut().zip(&types) {
        // What is computed has its meaning from the model's input on, where channels may lie elsewhere.
        let known = quant.is_per_tensor() || matches!(item, Item::Const(..));
        if ty.quant.is_none() && ty.dtype == like.dtype && !matches!(item, Item::Sizes(_)) && known && fits(ty) {
            *item = with_meaning(builder, item.clone(), quant.clone())?;
        }
    }
    Ok(operands)
}

/// Plain integers mean reals from the model's input on, through all that only hands them on.
fn give_meaning(builder: &mut Builder, v: ValueId, quant: &Quant) -> Result<()> {
    for v in way_of_meaning(builder, v, quant)? {
        let ty = builder.graph.ty(v).clone();
        builder.graph.set_ty(v, Type { quant: Some(quant.clone()), ..ty });
    }
    Ok(())
}

/// All values between these integers and the model's input.
fn way_of_meaning(builder: &Builder, v: ValueId, quant: &Quant) -> Result<Vec<ValueId>> {
    let mut way = vec![v];
    let mut at = v;
    while let Some(node) = builder.graph.producer(at).map(|id| builder.graph.node(id)) {
        let hands_on = matches!(
            node.op,
            Op::MaxPool(_)
                | Op::Reshape { .. }
                | Op::Flatten { .. }
                | Op::Squeeze { .. }
                | Op::Unsqueeze { .. }
                | Op::Transpose { .. }
                | Op::Slice(_)
                | Op::Expand { .. }
                | Op::Split { .. }
                | Op::Gather { .. }
                | Op::GatherElements { .. }
                | Op::GatherNd { .. }
                | Op::Identity
        );
        let (true, true, Some(x)) = (hands_on, quant.is_per_tensor(), node.input(0)) else {
            bail!(
                "expected integers that were quantized or that the model is given, found those of {}",
                node.op.name()
            );
        };
        // The other parts of what is split are such integers too.
        way.extend(node.outputs.iter().copied().chain([x]));
        at = x;
    }
    Ok(way)
}

/// A Quantize that the file spells in several nodes: (x, scale, zero_point), the type's storage in the notes.
pub fn quantize_stand_in(
    builder: &mut Builder,
    notes: &Notes,
    node: &str,
    operands: &[Option<Item>],
    outputs: &[String],
) -> Result<Vec<Item>> {
    let [Some(x), parameters @ ..] = operands else { bail!("expected an operand of the Quantize in the metadata") };
    let name = outputs.first().map_or("", String::as_str);
    let dtype = notes.types.get(name).and_then(|t| t.dtype.as_ref()).map(|d| d.parse::<DType>()).transpose()?;
    let zero = parameters.get(1).and_then(Option::as_ref).map(|z| builder.ty(z).dtype);
    let Some(dtype) = dtype.or(zero) else {
        bail!("expected the storage type of '{name}' in the metadata, found none")
    };
    let quant = noted_quant(notes, name, dtype, parameters)?;
    let declared = Type::quantized(dtype, builder.ty(x).shape, quant);
    let rounding = notes.rounding(node)?.unwrap_or(Rounding::HalfEven);
    builder.emit(node, Op::Quantize { rounding }, &[Some(x.clone())], outputs, &[declared])
}

/// A Dequantize that the file spells in several nodes: (q, scale, zero_point).
pub fn dequantize_stand_in(
    builder: &mut Builder,
    notes: &Notes,
    node: &str,
    names: &[String],
    operands: &[Option<Item>],
    outputs: &[String],
) -> Result<Vec<Item>> {
    let [Some(q), parameters @ ..] = operands else { bail!("expected an operand of the Dequantize in the metadata") };
    let dtype = builder.ty(q).dtype;
    let quant = noted_quant(notes, names.first().map_or("", String::as_str), dtype, parameters)?;
    let q = with_meaning(builder, q.clone(), quant)?;
    builder.emit(node, Op::Dequantize, &[Some(q)], outputs, &[])
}

fn noted_quant(notes: &Notes, name: &str, dtype: DType, parameters: &[Option<Item>]) -> Result<Quant> {
    let constant = |i: usize| match parameters.get(i) {
        Some(Some(Item::Const(_, t))) => Ok(Some(t)),
        Some(Some(Item::Sizes(_) | Item::Value(_))) => Err(Error::new("expected constant scales and zero points")),
        Some(None) | None => Ok(None),
    };
    let Some(scale) = constant(0)? else { bail!("expected a scale, found none") };
    let scale = scale.floats()?;
    let zeros = constant(1)?.map_or_else(|| Ok(vec![0; scale.len()]), Tensor::ints)?;
    let zeros = zeros.iter().map(|z| i32::try_from(*z)).collect::<Result<Vec<i32>, _>>();
    let zero_point = zeros.map_err(|e| Error::new(format!("expected zero points in i32: {e}")))?.into();
    let axis = notes.types.get(name).and_then(|t| t.axis);
    let granularity = axis.map_or(Granularity::Tensor, |axis| Granularity::Channel { axis });
    let (qmin, qmax) = dtype.range().ok_or_else(|| Error::new(format!("expected an integer type, found {dtype}")))?;
    let quant = Quant { scale: scale.as_ref().into(), zero_point, qmin, qmax, granularity };
    Ok(notes.range(name, dtype, quant))
}

/// The same meaning of the integers; the range in use may be narrower where a Relu or Clip came between.
fn same(a: &Quant, b: &Quant) -> bool {
    a.scale == b.scale && a.zero_point == b.zero_point && (a.granularity == b.granularity || a.is_per_tensor())
}

/// The parameters of either node: scale is operand 1.
fn quant(site: &mut Site<'_>, dtype: DType, zero: Option<Tensor>, shape: &Shape) -> Result<Quant> {
    let Some((qmin, qmax)) = dtype.range().filter(|_| dtype.is_integer()) else {
        bail!("expected integers to stand for reals, found {dtype}");
    };
    let scale = site.constant(1, "scale")?.ok_or_else(|| Error::new("expected a scale, found none"))?;
    let values = scale.floats()?.into_owned();
    if let Some(bad) = values.iter().find(|s| !(s.is_normal() && **s > 0.0)) {
        return Err(Error::new(format!("expected positive, normal scales, found {bad:?}")).at_value(site.input_name(1)));
    }
    let granularity = granularity(site, &scale, shape)?;
    let zeros = match zero {
        None => vec![0; values.len()],
        Some(z) if z.count() == values.len() => z.ints()?,
        Some(z) => bail!("expected as many zero points as scales ({}), found {}", values.len(), z.count()),
    };
    let narrow = |z: &i64| i32::try_from(*z).map_err(|_| Error::new(format!("expected zero points in i32, found {z}")));
    let zero_point = zeros.iter().map(narrow).collect::<Result<Vec<i32>>>()?.into();
    Ok(Quant { scale: values.into(), zero_point, qmin, qmax, granularity })
}

fn granularity(site: &mut Site<'_>, scale: &Tensor, shape: &Shape) -> Result<Granularity> {
    let axis = site.int("axis")?.unwrap_or(1);
    let block = site.int("block_size")?.unwrap_or(0);
    let dim = |axis: usize| shape.0.get(axis).and_then(lowbit_ir::Dim::known);
    match (scale.dims(), block) {
        ([], _) | ([1], 0) => Ok(Granularity::Tensor),
        ([n], 0) => {
            let axis = shape.axis(axis)?;
            match dim(axis) {
                Some(size) if size == *n => Ok(Granularity::Channel { axis }),
                _ => bail!("expected one scale for each of axis {axis} of {shape}, found {n}"),
            }
        }
        (dims, 1..) => {
            let axis = shape.axis(axis)?;
            let size = usize::try_from(block).unwrap_or(usize::MAX);
            let mut expected = shape.require()?;
            if let Some(d) = expected.get_mut(axis) {
                *d = d.div_ceil(size);
            }
            match expected == dims {
                true => Ok(Granularity::Block { axis, size }),
                false => bail!("expected scales of sizes {expected:?} for blocks of {size}, found {dims:?}"),
            }
        }
        (dims, _) => bail!("expected one scale, one a channel or blocks of them, found sizes {dims:?}"),
    }
}
