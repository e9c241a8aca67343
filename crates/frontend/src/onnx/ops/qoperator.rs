//! Operators on integers, QLinearConv and its kin: Dequantize, the float operator and Quantize, so that files of this
//! form go the way of all others.
//!
//! ConvInteger and MatMulInteger know no scales: they are sums of integers here as there.

use super::dynamic::{columns, counted_from};
use super::quantize::with_meaning;
use super::{mac, pool};
use crate::build::Item;
use crate::onnx::node::Site;
use lowbit_arithmetic::Rounding;
use lowbit_ir::op::{Binary, MatMul, Reduce, ReduceKind, Unary};
use lowbit_ir::{DType, Dim, Error, Granularity, Op, Quant, Result, Shape, Tensor, Type, bail, infer};

/// QLinearConv: (x, scale, zero, w, scale, zero, y's scale, y's zero, bias?), the bias at the scale of the sums.
pub fn conv(site: &mut Site<'_>) -> Result<()> {
    channels_first(site)?;
    let x = real(site, "x", 0, None)?;
    let w = real(site, "w", 3, Some(0))?;
    let op = mac::convolution(site, &x.item, &w.item)?;
    let bias = bias(site, 8, &op, &x, &w)?;
    narrow(site, op, &[Some(x.item), Some(w.item), bias], 6, x.integers.dtype)
}

/// QLinearMatMul: (a, scale, zero, b, scale, zero, y's scale, y's zero).
pub fn matmul(site: &mut Site<'_>) -> Result<()> {
    let a = real(site, "a", 0, None)?;
    let columns = site.shape(&site.input(3)?).rank().checked_sub(1);
    let b = real(site, "b", 3, columns)?;
    narrow(site, Op::MatMul(MatMul::default()), &[Some(a.item), Some(b.item)], 6, a.integers.dtype)
}

/// QGemm: (a, scale, zero, b, scale, zero, c?, y's scale?, y's zero?); without y's scale the result is a float.
pub fn gemm(site: &mut Site<'_>) -> Result<()> {
    let (trans_a, trans_b) = (site.flag("transA", false)?, site.flag("transB", false)?);
    let alpha = site.float("alpha", 1.0)?;
    if alpha != 1.0 {
        bail!("attribute 'alpha' {alpha} is not supported; multiply it into the scale of b");
    }
    let mut a = real(site, "a", 0, None)?;
    let columns = usize::from(!trans_b);
    let b = real(site, "b", 3, Some(columns))?;
    for (name, operand) in [("a", &a), ("b", &b)] {
        let shape = &operand.integers.shape;
        if shape.rank() != 2 {
            bail!("expected operand {name} of two dimensions, found {shape}");
        }
    }
    if trans_a {
        a.item = site.step("turned", Op::Transpose { perm: vec![1, 0] }, &[&a.item])?;
    }
    let op = Op::MatMul(MatMul { trans_b });
    let bias = bias(site, 6, &op, &a, &b)?;
    let operands = [Some(a.item), Some(b.item), bias];
    match site.maybe(7)? {
        Some(_) => narrow(site, op, &operands, 7, a.integers.dtype),
        None => {
            let _ = site.maybe(8)?;
            site.finish_as(op, &operands, 1, &[])
        }
    }
}

/// ConvInteger: (x, w, x's zero?, w's zero?), sums as they are.
pub fn conv_integer(site: &mut Site<'_>) -> Result<()> {
    let (x, w) = (counted_from(site, 0, 2, None)?, counted(site, 1, 3, Some(0))?);
    let op = mac::convolution(site, &x, &w)?;
    site.finish(op, &[&x, &w])
}

/// MatMulInteger: (a, b, a's zero?, b's zero?), sums as they are.
pub fn matmul_integer(site: &mut Site<'_>) -> Result<()> {
    let (a, b) = (counted_from(site, 0, 2, None)?, counted(site, 1, 3, columns(site, 1)?)?);
    site.finish(Op::MatMul(MatMul::default()), &[&a, &b])
}

/// QLinearAdd and QLinearMul: (a, scale, zero, b, scale, zero, y's scale, y's zero).
pub fn binary(site: &mut Site<'_>) -> Result<()> {
    let f = if site.op_type() == "QLinearMul" { Binary::Mul } else { Binary::Add };
    let (a, b) = (real(site, "a", 0, None)?, real(site, "b", 3, None)?);
    narrow(site, Op::Binary(f), &[Some(a.item), Some(b.item)], 6, a.integers.dtype)
}

/// QLinearConcat: (y's scale, y's zero, then x, scale, zero of each operand).
pub fn concat(site: &mut Site<'_>) -> Result<()> {
    let Some(axis) = site.int("axis")? else { bail!("expected attribute 'axis', found none") };
    let (given, mut operands, mut dtype) = (site.operands(), Vec::new(), DType::U8);
    for (k, i) in (2..given).step_by(3).enumerate() {
        let x = real(site, &format!("x{k}"), i, None)?;
        dtype = x.integers.dtype;
        operands.push(Some(x.item));
    }
    if operands.is_empty() {
        bail!("expected operands to join, found none");
    }
    narrow(site, Op::Concat { axis }, &operands, 0, dtype)
}

/// QLinearGlobalAveragePool: (x, scale, zero, y's scale, y's zero).
pub fn global_average(site: &mut Site<'_>) -> Result<()> {
    channels_first(site)?;
    unary_of(site, |_, _| Ok(Op::GlobalAvgPool))
}

/// QLinearAveragePool: (x, scale, zero, y's scale, y's zero).
pub fn average(site: &mut Site<'_>) -> Result<()> {
    channels_first(site)?;
    unary_of(site, |site, x| {
        let pool = pool::attributes(site, x)?;
        // Where padding counts, this operator of ONNX Runtime's counts all of a window, also beyond the padding.
        Ok(Op::AvgPool(pool::whole_windows(pool, &site.shape(x))?))
    })
}

/// QLinearSigmoid and QLinearLeakyRelu: (x, scale, zero, y's scale, y's zero).
pub fn function(site: &mut Site<'_>) -> Result<()> {
    unary_of(site, |site, _| {
        Ok(Op::Unary(match site.op_type() {
            "QLinearLeakyRelu" => Unary::LeakyRelu { alpha: site.float("alpha", 0.01)? },
            _ => Unary::Sigmoid,
        }))
    })
}

/// QLinearSoftmax: (x, scale, zero, y's scale, y's zero); attribute `opset` says which Softmax is meant.
pub fn softmax(site: &mut Site<'_>) -> Result<()> {
    unary_of(site, |site, x| {
        let old = site.int("opset")?.unwrap_or(13) < 13;
        let axis = site.int("axis")?.unwrap_or(if old { 1 } else { -1 });
        let shape = site.shape(x);
        let after = shape.axis(axis)? + 1;
        if old && shape.0.iter().skip(after).any(|d| *d != Dim::Known(1)) {
            bail!("Softmax of opset 12 over several axes of {shape} is not supported; export with opset 13 or newer");
        }
        Ok(Op::Softmax { axis })
    })
}

/// QLinearReduceMean: (x, scale, zero, y's scale, y's zero).
pub fn mean(site: &mut Site<'_>) -> Result<()> {
    unary_of(site, |site, _| {
        let axes = site.ints("axes")?.unwrap_or_default();
        Ok(Op::Reduce(Reduce { kind: ReduceKind::Mean, axes, keep_dims: site.flag("keepdims", true)? }))
    })
}

/// QLinearWhere: (condition, x, scale, zero, y, scale, zero, result's scale, result's zero).
pub fn select(site: &mut Site<'_>) -> Result<()> {
    let condition = site.input(0)?;
    let (x, y) = (real(site, "x", 1, None)?, real(site, "y", 4, None)?);
    narrow(site, Op::Where, &[Some(condition), Some(x.item), Some(y.item)], 7, x.integers.dtype)
}

fn unary_of(site: &mut Site<'_>, op: impl FnOnce(&mut Site<'_>, &Item) -> Result<Op>) -> Result<()> {
    let x = real(site, "x", 0, None)?;
    let op = op(site, &x.item)?;
    narrow(site, op, &[Some(x.item)], 3, x.integers.dtype)
}

fn channels_first(site: &mut Site<'_>) -> Result<()> {
    match site.flag("channels_last", false)? {
        false => Ok(()),
        true => bail!("attribute 'channels_last' 1 is not supported; quantize the model with channels first"),
    }
}

/// An operand as a real, and the type of the integers behind it.
struct Real {
    item: Item,
    integers: Type,
}

/// Operand `i`, whose scale and zero point are the two after it; with `axis` there may be one of each a channel.
fn real(site: &mut Site<'_>, suffix: &str, i: usize, axis: Option<usize>) -> Result<Real> {
    let q = site.input(i)?;
    let ty = site.ty(&q);
    let scale = scales(site, i + 1)?;
    let quant = meaning(site, scale, i + 2, &ty, axis)?;
    let q = with_meaning(site.builder, q, quant)?;
    let integers = site.ty(&q);
    Ok(Real { item: site.step(suffix, Op::Dequantize, &[&q])?, integers })
}

/// Whether the zero point in operand `i` is known; it is where it is left out.
pub fn known_zero(site: &Site<'_>, i: usize) -> Result<bool> {
    Ok(match site.maybe(i)? {
        None | Some(Item::Const(..)) => true,
        Some(Item::Value(v)) => site.builder.dequantized(v)?.is_some(),
        Some(Item::Sizes(_)) => false,
    })
}

/// Operand `i` of an operator that knows no scales, as integers that count: of scale 1, unless they have one. Their zero
/// point is operand `zero`.
pub fn counted(site: &mut Site<'_>, i: usize, zero: usize, axis: Option<usize>) -> Result<Item> {
    let q = site.input(i)?;
    let ty = site.ty(&q);
    let zeros = site.constant(zero, "zero point")?.map_or(1, |z| z.count());
    let quant = meaning(site, vec![1.0; zeros], zero, &ty, axis)?;
    match &ty.quant {
        Some(found) if matches!(q, Item::Value(_)) => match found.zero_point == quant.zero_point {
            true => Ok(q),
            false => bail!("expected the zero point that made the integers, {found}; found {quant}"),
        },
        Some(_) | None => with_meaning(site.builder, q, quant),
    }
}

fn scales(site: &Site<'_>, i: usize) -> Result<Vec<f32>> {
    let scale = site.constant(i, "scale")?.ok_or_else(|| Error::new("expected a scale, found none"))?;
    let values = scale.floats()?.into_owned();
    match values.iter().find(|s| !(s.is_normal() && **s > 0.0)) {
        Some(bad) => {
            Err(Error::new(format!("expected positive, normal scales, found {bad:?}")).at_value(site.input_name(i)))
        }
        None => Ok(values),
    }
}

/// The parameters of integers of type `ty`; the zero point is operand `zero`, 0 if left out.
fn meaning(site: &Site<'_>, scale: Vec<f32>, zero: usize, ty: &Type, axis: Option<usize>) -> Result<Quant> {
    let Some((qmin, qmax)) = ty.dtype.range().filter(|_| ty.dtype.is_integer()) else {
        bail!("expected integers to stand for reals, found {}", ty.dtype);
    };
    let zeros = site.constant(zero, "zero point")?;
    if let Some(found) = zeros.as_ref().map(Tensor::dtype).filter(|d| *d != ty.dtype) {
        bail!("expected a zero point of the integers' type, {}, found {found}", ty.dtype);
    }
    let mut zeros = zeros.map_or_else(|| Ok(vec![0]), |z| z.ints())?;
    if let ([one], true) = (zeros.as_slice(), scale.len() > 1) {
        zeros = vec![*one; scale.len()];
    }
    let channels = axis.and_then(|a| ty.shape.0.get(a)).and_then(Dim::known);
    let granularity = match (scale.len(), axis) {
        (1, _) => Granularity::Tensor,
        (n, Some(axis)) if channels == Some(n) => Granularity::Channel { axis },
        (n, Some(axis)) => bail!("expected one scale, or one for each of axis {axis} of {}, found {n}", ty.shape),
        (n, None) => bail!("expected one scale, found {n}"),
    };
    if zeros.len() != scale.len() {
        bail!("expected as many zero points as scales ({}), found {}", scale.len(), zeros.len());
    }
    let narrow = |z: &i64| i32::try_from(*z).map_err(|_| Error::new(format!("expected zero points in i32, found {z}")));
    let zero_point = zeros.iter().map(narrow).collect::<Result<Vec<i32>>>()?.into();
    Ok(Quant { scale: scale.into(), zero_point, qmin, qmax, granularity })
}

/// The bias in operand `i`: integers at the scale of the sums.
fn bias(site: &mut Site<'_>, i: usize, op: &Op, x: &Real, w: &Real) -> Result<Option<Item>> {
    let Some(q) = site.maybe(i)? else { return Ok(None) };
    let ty = site.ty(&q);
    if ty.dtype != DType::I32 {
        bail!("expected a bias of i32, found {ty}");
    }
    let (scale, per_channel) = infer::accumulator_scales(op, &x.integers, &w.integers)?;
    let quant = Quant::accumulator(scale, per_channel.then_some(0), DType::I32);
    // Some writers give a row where the operator takes a vector.
    let q = match (q, ty.shape.dims().as_deref()) {
        (q, Some([1, n])) => {
            let dims = vec![i64::try_from(*n).unwrap_or(-1)];
            site.step("row", Op::Reshape { dims }, &[&q])?
        }
        (q, _) => q,
    };
    let q = with_meaning(site.builder, q, quant)?;
    site.step("bias", Op::Dequantize, &[&q]).map(Some)
}

/// The result as integers, whose scale and zero point are operands `scale` and the one after it. The file's name goes to
/// the real that they stand for, which is whom realized integers are named after; unless the model gives them out.
fn narrow(site: &mut Site<'_>, op: Op, operands: &[Option<Item>], scale: usize, dtype: DType) -> Result<()> {
    let dtype = site.constant(scale + 1, "zero point")?.map_or(dtype, |z| z.dtype());
    let name = site.output_name(0);
    let (real, integers) = match site.builder.results.contains(&name) {
        true => (site.builder.fresh(&format!("{name}.real")), name),
        false => {
            let integers = site.builder.fresh(&format!("{name}.q"));
            (name, integers)
        }
    };
    let given = operands.iter().rposition(Option::is_some).map_or(0, |i| i + 1);
    let node = site.name.clone();
    let y = site.builder.emit(&node, op, operands.get(..given).unwrap_or_default(), &[real], &[])?.pop();
    let y = y.ok_or_else(|| Error::new("expected one output"))?;
    let shape: Shape = site.shape(&y);
    let scale_values = scales(site, scale)?;
    let quant = meaning(site, scale_values, scale + 1, &Type::plain(dtype, shape.clone()), None)?;
    let quantize = Op::Quantize { rounding: Rounding::HalfEven };
    let declared = Type::quantized(dtype, shape, quant);
    let q = site.builder.emit(&format!("{node}.quantize"), quantize, &[Some(y)], &[integers], &[declared])?.pop();
    site.set(0, q.ok_or_else(|| Error::new("expected one output"))?);
    Ok(())
}
