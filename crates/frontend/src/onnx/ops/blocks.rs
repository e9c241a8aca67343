//! MatMulNBits: a product with weights that are packed integers with a scale a block.

use crate::build::Item;
use crate::onnx::node::Site;
use lowbit_ir::op::MatMul;
use lowbit_ir::{DType, Error, Granularity, Op, Quant, Result, Tensor, Type, bail};

/// How the file packs weights [n, k].
struct Packing {
    n: usize,
    k: usize,
    /// Elements a block, of which there are `blocks` in a row.
    size: usize,
    blocks: usize,
    bits: usize,
}

/// MatMulNBits: (a, packed, scales, zero points?, order of the columns?, bias?).
pub fn matmul(site: &mut Site<'_>) -> Result<()> {
    // How exactly a machine may compute; here it is f32, or what quantization makes of it.
    site.ignore(&["accuracy_level"]);
    if site.int("weight_prepacked")?.unwrap_or(0) != 0 {
        bail!("weights packed for one device ('weight_prepacked') are not supported; export the model without it");
    }
    let a = site.input(0)?;
    let packing = packing(site)?;
    if site.maybe(4)?.is_some() {
        bail!("an order of the columns (operand g_idx) is not supported; export the weights without reordering");
    }
    let bias = site.maybe(5)?;
    let weights = weights(site, &packing)?;
    site.finish_as(Op::MatMul(MatMul { trans_b: true }), &[Some(a), Some(weights), bias], 1, &[])
}

fn packing(site: &mut Site<'_>) -> Result<Packing> {
    let mut number = |name: &str, default: i64| -> Result<usize> {
        let found = site.int(name)?.unwrap_or(default);
        let size = usize::try_from(found).ok().filter(|n| (1..=1 << 31).contains(n));
        size.ok_or_else(|| Error::new(format!("expected a positive '{name}', found {found}")))
    };
    let (n, k, size, bits) = (number("N", 0)?, number("K", 0)?, number("block_size", 0)?, number("bits", 4)?);
    if !matches!(bits, 2 | 4 | 8) {
        bail!("expected weights of 2, 4 or 8 bits, found {bits}");
    }
    if (size * bits) % 8 != 0 {
        bail!("expected blocks of whole bytes, found {size} elements of {bits} bits");
    }
    Ok(Packing { n, k, size, blocks: k.div_ceil(size), bits })
}

impl Packing {
    fn dtype(&self) -> DType {
        match self.bits {
            2 => DType::U2,
            4 => DType::U4,
            _ => DType::U8,
        }
    }

    fn largest(&self) -> i64 {
        (1 << self.bits) - 1
    }
}

/// The weights as floats: packed integers of a type that says what they stand for, dequantized.
fn weights(site: &mut Site<'_>, p: &Packing) -> Result<Item> {
    let packed = site.constant(1, "weight")?.ok_or_else(|| Error::new("expected packed weights, found none"))?;
    let scales = site.known_floats(2, "scales")?.ok_or_else(|| Error::new("expected scales, found none"))?;
    let row = p.size * p.bits / 8;
    if packed.dtype() != DType::U8 || p.n.checked_mul(p.blocks * row) != Some(packed.count()) {
        bail!("expected bytes [{}, {}, {row}], found {}", p.n, p.blocks, packed.ty());
    }
    if p.n.checked_mul(p.blocks) != Some(scales.len()) {
        bail!("expected {} scales, found {}", p.n * p.blocks, scales.len());
    }
    if let Some(bad) = scales.iter().find(|s| !(s.is_normal() || **s == 0.0)) {
        return Err(Error::new(format!("expected normal scales, found {bad:?}")).at_value(site.input_name(2)));
    }
    let zeros = zeros(site, p)?;
    let name = format!("{}.weight", site.name);
    let name = site.builder.fresh(&name);
    match zeros {
        Zeros::Integers(zeros) => {
            let q = integers(site, p, &packed, scales, zeros)?;
            site.step("weight.real", Op::Dequantize, &[&Item::Const(name.into(), q)])
        }
        Zeros::Floats(zeros) => {
            // Zero points between integers have no quantized type; the weights are the floats they stand for.
            site.room_for(DType::I64, &[p.n, p.k])?;
            let q = unpacked(p, &packed)?;
            let real = |(i, q): (usize, i64)| {
                let block = i / p.k * p.blocks + i % p.k / p.size;
                (q as f32 - zeros[block]) * scales[block]
            };
            let reals = q.into_iter().enumerate().map(real).collect();
            Ok(Item::Const(name.into(), Tensor::from_f32(&[p.n, p.k], reals)?))
        }
    }
}

enum Zeros {
    Integers(Vec<i64>),
    Floats(Vec<f32>),
}

/// One zero point a block: packed as the weights are, floats, or the middle if none are given.
fn zeros(site: &mut Site<'_>, p: &Packing) -> Result<Zeros> {
    let count = p.n * p.blocks;
    let Some(t) = site.constant(3, "zero points")? else {
        return Ok(Zeros::Integers(vec![1 << (p.bits - 1); count]));
    };
    if t.dtype().is_float() {
        let zeros = t.floats()?.into_owned();
        if zeros.len() != count {
            bail!("expected {count} zero points, found {}", zeros.len());
        }
        let whole = |z: &f32| z.fract() == 0.0 && (0.0..=p.largest() as f32).contains(z);
        return Ok(match zeros.iter().all(whole) {
            true => Zeros::Integers(zeros.iter().map(|z| *z as i64).collect()),
            false => Zeros::Floats(zeros),
        });
    }
    let row = (p.blocks * p.bits).div_ceil(8);
    if t.dtype() != DType::U8 || p.n.checked_mul(row) != Some(t.count()) {
        bail!("expected bytes [{}, {row}] of packed zero points, found {}", p.n, t.ty());
    }
    // Every row starts at a byte.
    let each = 8 / p.bits * row;
    let all = Tensor::from_bytes(Type::plain(p.dtype(), vec![p.n, each]), t.bytes().clone())?.ints()?;
    Ok(Zeros::Integers(all.chunks(each).flat_map(|row| row.iter().take(p.blocks).copied()).collect()))
}

/// The integers [n, k], without what fills the last block of a row.
fn unpacked(p: &Packing, packed: &Tensor) -> Result<Vec<i64>> {
    let row = p.blocks * p.size;
    let all = Tensor::from_bytes(Type::plain(p.dtype(), vec![p.n, row]), packed.bytes().clone())?.ints()?;
    Ok(all.chunks(row).flat_map(|row| row.iter().take(p.k).copied()).collect())
}

/// The constant with its quantized type. Where the file's form is ours, it shares the file's bytes.
fn integers(
    site: &mut Site<'_>,
    p: &Packing,
    packed: &Tensor,
    mut scales: Vec<f32>,
    mut zeros: Vec<i64>,
) -> Result<Tensor> {
    let plain = Type::plain(p.dtype(), vec![p.n, p.k]);
    let as_is = p.k == p.blocks * p.size && scales.iter().all(|s| *s > 0.0);
    let tensor = match as_is {
        true => Tensor::from_bytes(plain, packed.bytes().clone())?,
        false => {
            site.room_for(DType::I64, &[p.n, p.k])?;
            let mut q = unpacked(p, packed)?;
            // A negative scale is a positive one of mirrored integers, and one of 0 makes all of them the zero point.
            for (i, q) in q.iter_mut().enumerate() {
                let block = i / p.k * p.blocks + i % p.k / p.size;
                match scales[block] {
                    0.0 => *q = zeros[block],
                    s if s < 0.0 => *q = p.largest() - *q,
                    _ => {}
                }
            }
            for (s, z) in scales.iter_mut().zip(&mut zeros) {
                match *s {
                    0.0 => *s = 1.0,
                    negative if negative < 0.0 => (*s, *z) = (-negative, p.largest() - *z),
                    _ => {}
                }
            }
            Tensor::from_ints(plain, &q)?
        }
    };
    let quant = Quant {
        scale: scales.into(),
        zero_point: zeros.iter().map(|z| *z as i32).collect(),
        qmin: 0,
        qmax: p.largest(),
        granularity: Granularity::Block { axis: 1, size: p.size },
    };
    Ok(tensor.with_quant(Some(quant)))
}
