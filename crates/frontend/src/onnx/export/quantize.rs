//! Quantize and Dequantize as ONNX says them, or as several nodes where it cannot.
//!
//! QuantizeLinear makes integers of 8 bits (opset 13), 4 and 16 bits (21) and 2 bits (25), always of the type's full
//! range and rounded half to even. A narrower range gets a Clip before, or with scales by channel Max and Min; 32-bit integers are made by Div, Round, Clip,
//! Cast and Add, which other runtimes then compute in f32.

use super::{Spelled, Writer, int};
use crate::onnx::tensor;
use lowbit_arithmetic::Rounding;
use lowbit_ir::{DType, Error, Granularity, Node, Quant, Result, Tensor, Type, ValueId, bail};

/// The oldest opset with QuantizeLinear or DequantizeLinear of this type.
pub fn opset_of(ty: &Type) -> i64 {
    let by_width = match ty.dtype {
        DType::I16 | DType::U16 | DType::I4 | DType::U4 => 21,
        DType::I2 | DType::U2 => 25,
        DType::I8 | DType::U8 | DType::I32 | DType::I64 => 13,
        DType::F32 | DType::F16 | DType::BF16 | DType::Bool => 13,
    };
    match ty.quant.as_ref().map(|q| q.granularity) {
        Some(Granularity::Block { .. }) => by_width.max(21),
        Some(Granularity::Channel { .. } | Granularity::Tensor) | None => by_width,
    }
}

impl Writer<'_> {
    pub fn quantize(&mut self, node: &Node, rounding: Rounding, x: ValueId, y: ValueId) -> Result<()> {
        let ty = self.graph.ty(y);
        let q = ty.quant()?;
        if rounding != Rounding::HalfEven {
            self.note(node).rounding = Some(rounding.to_string());
        }
        let x = self.name(x);
        match ty.dtype {
            DType::I8 | DType::U8 | DType::I16 | DType::U16 | DType::I4 | DType::U4 | DType::I2 | DType::U2 => {
                self.quantize_linear(node, x, y, ty, q)
            }
            DType::I32 => self.quantize_wide(node, x, y, q),
            DType::I64 | DType::F32 | DType::F16 | DType::BF16 | DType::Bool => {
                bail!("ONNX cannot quantize to {}", ty.dtype)
            }
        }
    }

    fn quantize_linear(&mut self, node: &Node, x: String, y: ValueId, ty: &Type, q: &Quant) -> Result<()> {
        let (scale, zero) = self.parameters(y, q, ty.dtype)?;
        let attributes = granularity(q, &ty.shape)?;
        if ty.dtype.range() == Some((q.qmin, q.qmax)) {
            self.write(node, "QuantizeLinear", vec![x, scale, zero], attributes);
            return Ok(());
        }
        // Clip takes one number for all channels, so bounds of each channel's own are spelled as a maximum and a minimum.
        let along = match q.granularity {
            _ if q.is_per_tensor() => Vec::new(),
            Granularity::Channel { axis } => {
                (0..ty.shape.rank()).map(|a| if a == axis { q.scale.len() } else { 1 }).collect()
            }
            Granularity::Tensor | Granularity::Block { .. } => {
                bail!(
                    "expected scales of a tensor or of channels for integers in {}..{}, which ONNX has no type for",
                    q.qmin,
                    q.qmax
                )
            }
        };
        let bounds = |b: i64| {
            let reals = q.scale.iter().zip(q.zero_point.iter());
            let reals = reals.map(|(s, z)| lowbit_arithmetic::dequantize_wide(b, *s, i64::from(*z)));
            Tensor::from_f32(&along, reals.collect())
        };
        let low = self.constant(&format!("{}.low", node.name), &bounds(q.qmin)?);
        let high = self.constant(&format!("{}.high", node.name), &bounds(q.qmax)?);
        let mut spelled = spelled(node, "Quantize", vec![x.clone(), scale.clone(), zero.clone()]);
        let clipped = match q.is_per_tensor() {
            true => self.step(&mut spelled, "clip", "Clip", vec![x, low, high], Vec::new()),
            false => {
                let raised = self.step(&mut spelled, "raised", "Max", vec![x, low], Vec::new());
                self.note_storage(y);
                self.step(&mut spelled, "clip", "Min", vec![raised, high], Vec::new())
            }
        };
        self.last(spelled, node, "QuantizeLinear", vec![clipped, scale, zero], attributes);
        Ok(())
    }

    /// round(x / scale) limited before the conversion to integers, which ONNX leaves undefined outside of i32.
    fn quantize_wide(&mut self, node: &Node, x: String, y: ValueId, q: &Quant) -> Result<()> {
        let ([_], [z]) = (&*q.scale, &*q.zero_point) else {
            bail!("expected one scale for integers of 32 bits, found {}", q.scale.len());
        };
        let (scale, zero) = self.parameters(y, q, DType::I32)?;
        // The largest f32 below 2^31 is the last whose conversion is defined.
        let bound = |b: i64| (b.saturating_sub(i64::from(*z)) as f32).clamp(-2_147_483_648.0, 2_147_483_520.0);
        let low = self.constant(&format!("{}.low", node.name), &Tensor::scalar(bound(q.qmin)));
        let high = self.constant(&format!("{}.high", node.name), &Tensor::scalar(bound(q.qmax)));
        let mut spelled = spelled(node, "Quantize", vec![x.clone(), scale.clone(), zero.clone()]);
        let ratio = self.step(&mut spelled, "ratio", "Div", vec![x, scale], Vec::new());
        let rounded = self.step(&mut spelled, "rounded", "Round", vec![ratio], Vec::new());
        let clipped = self.step(&mut spelled, "clip", "Clip", vec![rounded, low, high], Vec::new());
        let to = int("to", i64::from(tensor::code(DType::I32)));
        let integer = self.step(&mut spelled, "integer", "Cast", vec![clipped], vec![to]);
        self.last(spelled, node, "Add", vec![integer, zero], Vec::new());
        self.note_storage(y);
        Ok(())
    }

    pub fn dequantize(&mut self, node: &Node, x: ValueId) -> Result<()> {
        let ty = self.graph.ty(x);
        let q = ty.quant()?;
        let name = self.name(x);
        let shifted = q.zero_point.iter().any(|z| *z != 0);
        let direct = match ty.dtype {
            DType::I8 | DType::U8 | DType::I16 | DType::U16 | DType::I4 | DType::U4 | DType::I2 | DType::U2 => true,
            // ONNX's 32-bit integers have no zero point, and of 64 bits it has none at all.
            DType::I32 => !shifted,
            DType::I64 => false,
            DType::F32 | DType::F16 | DType::BF16 | DType::Bool => bail!("expected integers, found {ty}"),
        };
        let (scale, zero) = self.parameters(x, q, ty.dtype)?;
        if direct {
            let zero = if ty.dtype == DType::I32 { String::new() } else { zero };
            self.write(node, "DequantizeLinear", vec![name, scale, zero], granularity(q, &ty.shape)?);
            return Ok(());
        }
        // The arithmetic below broadcasts along the last axis only.
        match q.granularity {
            Granularity::Tensor => {}
            Granularity::Channel { axis } if axis + 1 == ty.shape.rank() => {}
            Granularity::Channel { .. } | Granularity::Block { .. } => {
                bail!("ONNX cannot dequantize {ty} along any but the last axis")
            }
        }
        let mut spelled = spelled(node, "Dequantize", vec![name.clone(), scale.clone(), zero.clone()]);
        let centred = self.step(&mut spelled, "centred", "Sub", vec![name, zero], Vec::new());
        let to = int("to", i64::from(tensor::code(DType::F32)));
        let real = self.step(&mut spelled, "real", "Cast", vec![centred], vec![to]);
        self.last(spelled, node, "Mul", vec![real, scale], Vec::new());
        self.note_storage(x);
        Ok(())
    }

    /// Storage type and axis of a value whose type no QuantizeLinear or DequantizeLinear states.
    fn note_storage(&mut self, v: ValueId) {
        let value = self.graph.value(v);
        let Some(q) = &value.ty.quant else { return };
        let axis = match q.granularity {
            Granularity::Channel { axis } => Some(axis),
            Granularity::Tensor | Granularity::Block { .. } => None,
        };
        let dtype = Some(value.ty.dtype.name().to_string());
        let note = crate::onnx::notes::TypeNote { qmin: q.qmin, qmax: q.qmax, dtype, axis };
        self.notes.types.insert(value.name.clone(), note);
    }

    /// Initializers of the parameters of a value, the same for all nodes that quantize or dequantize it.
    fn parameters(&mut self, v: ValueId, q: &Quant, dtype: DType) -> Result<(String, String)> {
        if let Some(names) = self.parameters.get(&v) {
            return Ok(names.clone());
        }
        let dims = match q.granularity {
            Granularity::Tensor => Vec::new(),
            Granularity::Channel { .. } => vec![q.scale.len()],
            Granularity::Block { axis, size } => {
                let mut dims = self.graph.ty(v).shape.require()?;
                let blocks =
                    dims.get_mut(axis).ok_or_else(|| Error::new("expected blocks along an axis of the shape"))?;
                *blocks = blocks.div_ceil(size);
                dims
            }
        };
        let base = self.graph.value(v).name.clone();
        let zeros: Vec<i64> = q.zero_point.iter().map(|z| i64::from(*z)).collect();
        let scale = self.constant(&format!("{base}.scale"), &Tensor::from_f32(&dims, q.scale.to_vec())?);
        let zero = Tensor::from_ints(Type::plain(dtype, dims), &zeros)?;
        let zero = match dtype == DType::I32 && zeros.iter().all(|z| *z == 0) && self.graph.constant(v).is_some() {
            // A bias: nothing would read its zero point.
            true => String::new(),
            false => self.constant(&format!("{base}.zero_point"), &zero),
        };
        self.parameters.insert(v, (scale.clone(), zero.clone()));
        Ok((scale, zero))
    }
}

fn spelled(node: &Node, op: &'static str, inputs: Vec<String>) -> Spelled {
    Spelled { name: node.name.clone(), op, inputs, steps: Vec::new() }
}

fn granularity(q: &Quant, shape: &lowbit_ir::Shape) -> Result<Vec<super::AttributeProto>> {
    let axis_of = |axis: usize| match axis < shape.rank() {
        true => Ok(int("axis", axis as i64)),
        false => Err(Error::new(format!("expected scales along an axis of {shape}, found axis {axis}"))),
    };
    Ok(match q.granularity {
        Granularity::Tensor => Vec::new(),
        Granularity::Channel { axis } => vec![axis_of(axis)?],
        Granularity::Block { axis, size } => vec![axis_of(axis)?, int("block_size", size as i64)],
    })
}
