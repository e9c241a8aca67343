//! MultiHeadAttention and Attention of ONNX Runtime, which know other masks than ONNX's Attention.

use super::attention::{Attention, apart, attend, default_scale, position, together, window};
use crate::build::Item;
use crate::onnx::node::Site;
use lowbit_ir::op::{Binary, MatMul};
use lowbit_ir::{DType, Op, Result, Tensor, bail};

/// What both have.
struct Attributes {
    heads: i64,
    scale: Option<f32>,
    /// What a masked score is lowered by.
    filter: f32,
    causal: bool,
}

fn attributes(site: &mut Site<'_>) -> Result<Attributes> {
    let heads = site.int("num_heads")?.unwrap_or(0);
    if heads <= 0 {
        bail!("expected a positive 'num_heads', found {heads}");
    }
    // 0 is as good as none.
    let scale = Some(site.float("scale", 0.0)?).filter(|s| *s != 0.0);
    let filter = site.float("mask_filter_value", -10_000.0)?;
    Ok(Attributes { heads, scale, filter, causal: site.flag("unidirectional", false)? })
}

/// MultiHeadAttention: (query, key, value, bias?, mask?, addend?, past key?, past value?) -> (y, key?, value?).
pub fn multi_head(site: &mut Site<'_>) -> Result<()> {
    let attributes = attributes(site)?;
    let (Some(mut q), Some(mut k), Some(mut v)) = (site.maybe(0)?, site.maybe(1)?, site.maybe(2)?) else {
        bail!("packed queries, keys and values are not supported; export the model with three operands")
    };
    if [&q, &k, &v].into_iter().any(|x| !matches!(site.shape(x).rank(), 3 | 4)) {
        bail!("packed keys and values are not supported; export the model with three operands");
    }
    if site.maybe(8)?.is_some() || site.maybe(9)?.is_some() {
        bail!("buffers of the past that are shared or follow beams are not supported; export the model without them");
    }
    if let Some(bias) = site.maybe(3)? {
        let mut from = 0;
        for (name, x) in [("q", &mut q), ("k", &mut k), ("v", &mut v)] {
            if site.shape(x).rank() != 3 {
                bail!("expected operands of three dimensions beside a bias, found {}", site.shape(x));
            }
            let size = site.known_size(x, 2)? as i64;
            let part = site.part(&format!("{name}.bias"), &bias, 0, (from, from + size, 1))?;
            *x = site.binary(&format!("{name}.biased"), Binary::Add, x, &part)?;
            from += size;
        }
    }
    let heads = Some(attributes.heads);
    let q = apart(site, "q", q, heads)?;
    let (mut k, mut v) = (apart(site, "k", k, heads)?, apart(site, "v", v, heads)?);
    let mut before = 0;
    match (site.maybe(6)?, site.maybe(7)?) {
        (None, None) => {}
        (Some(key), Some(value)) => {
            before = past_length(site, &key, &attributes)?;
            k = site.joined("key", 2, &[&key, &k])?;
            v = site.joined("value", 2, &[&value, &v])?;
        }
        _ => bail!("expected past keys and values together, found one of them"),
    }
    let (mask, addend) = (site.maybe(4)?, site.maybe(5)?);
    let y = finish(site, &attributes, [q, k.clone(), v.clone()], mask, addend, before)?;
    site.give(1, k)?;
    site.give(2, v)?;
    site.give(0, y)
}

/// Attention: (x, weights, bias?, mask?, past?, addend?) -> (y, past and present?), the weights of queries, keys and
/// values side by side.
pub fn attention(site: &mut Site<'_>) -> Result<()> {
    let attributes = attributes(site)?;
    if site.flag("do_rotary", false)? || site.flag("past_present_share_buffer", false)? {
        bail!("rotation and shared buffers of the past inside of Attention are not supported; export without them");
    }
    let (x, weights, bias) = (site.input(0)?, site.input(1)?, site.maybe(2)?);
    if site.maybe(6)?.is_some() {
        bail!("a length of the past as an operand is not supported; export the model without it");
    }
    let columns = site.known_size(&weights, -1)? as i64;
    let sizes = match site.ints("qkv_hidden_sizes")? {
        Some(sizes) => sizes,
        None => vec![columns / 3; 3],
    };
    let total = sizes.iter().try_fold(0i64, |n, s| if *s > 0 { n.checked_add(*s) } else { None });
    if sizes.len() != 3 || total != Some(columns) {
        bail!("expected three sizes that sum to the {columns} columns of the weights, found {sizes:?}");
    }
    let operands: Vec<&Item> = [Some(&x), Some(&weights), bias.as_ref()].into_iter().flatten().collect();
    let projected = site.step("projected", Op::MatMul(MatMul::default()), &operands)?;
    let mut parts = Vec::new();
    let mut from = 0;
    for (name, size) in ["q", "k", "v"].into_iter().zip(sizes) {
        let part = site.part(&format!("{name}.part"), &projected, -1, (from, from + size, 1))?;
        parts.push(apart(site, name, part, Some(attributes.heads))?);
        from += size;
    }
    let Ok([q, mut k, mut v]) = <[Item; 3]>::try_from(parts) else { bail!("expected three parts") };
    let mut before = 0;
    if let Some(past) = site.maybe(4)? {
        let mut half = |name: &str, at: i64| -> Result<Item> {
            let half = site.part(&format!("{name}.past"), &past, 0, (at, at + 1, 1))?;
            site.step(&format!("{name}.before"), Op::Squeeze { axes: vec![0] }, &[&half])
        };
        let (key, value) = (half("key", 0)?, half("value", 1)?);
        before = past_length(site, &key, &attributes)?;
        k = site.joined("key", 2, &[&key, &k])?;
        v = site.joined("value", 2, &[&value, &v])?;
    }
    if site.outputs() > 1 {
        let (key, value) = (site.widened("key.row", &k, &[0])?, site.widened("value.row", &v, &[0])?);
        let present = site.joined("present", 0, &[&key, &value])?;
        site.give(1, present)?;
    }
    let (mask, addend) = (site.maybe(3)?, site.maybe(5)?);
    let y = finish(site, &attributes, [q, k, v], mask, addend, before)?;
    site.give(0, y)
}

/// The known number of past keys, which only a causal mask asks for.
fn past_length(site: &Site<'_>, key: &Item, attributes: &Attributes) -> Result<i64> {
    if attributes.causal { Ok(site.known_size(key, 2)? as i64) } else { Ok(0) }
}

/// The weighted values as [batch, length, hidden].
fn finish(
    site: &mut Site<'_>,
    attributes: &Attributes,
    [q, k, v]: [Item; 3],
    mask: Option<Item>,
    addend: Option<Item>,
    before: i64,
) -> Result<Item> {
    let scale = match attributes.scale {
        Some(scale) => scale,
        None => default_scale(site, &q)?,
    };
    let allowed = match attributes.causal {
        true => {
            let sizes = (site.known_size(&q, 2)?, site.known_size(&k, 2)?);
            let offset = position(site, "offset", before)?;
            window(site, sizes, &offset, Some(0), None)?
        }
        false => None,
    };
    let lowered = match mask {
        Some(mask) => Some((kept(site, &mask, &k)?, attributes.filter)),
        None => None,
    };
    let attention = Attention { q, k, v, scale, softcap: 0.0, allowed, added: addend, lowered, zero_rows: false };
    let attended = attend(site, attention)?;
    together(site, "y", &attended.y)
}

/// What a mask of integers keeps: where it is positive. A mask of one axis is the number of keys that count, or their ends
/// and then their begins.
fn kept(site: &mut Site<'_>, mask: &Item, k: &Item) -> Result<Item> {
    let shape = site.shape(mask);
    let dtype = site.ty(mask).dtype;
    if !dtype.is_integer() {
        bail!("expected a mask of integers, found {}", site.ty(mask));
    }
    match shape.rank() {
        1 => keys_between(site, mask, k),
        2 | 3 => {
            let zero = Tensor::from_ints(lowbit_ir::Type::plain(dtype, Vec::new()), &[0])?;
            let zero = site.known("zero", zero);
            let kept = site.binary("kept.flat", Binary::Greater, mask, &zero)?;
            let axes: &[i64] = if shape.rank() == 2 { &[1, 2] } else { &[1] };
            site.widened("kept", &kept, axes)
        }
        _ => bail!("expected a mask of one to three dimensions, found {shape}"),
    }
}

fn keys_between(site: &mut Site<'_>, ends: &Item, k: &Item) -> Result<Item> {
    let (given, batch) = (site.known_size(ends, 0)?, site.known_size(k, 0)?);
    if given != batch && given != 2 * batch {
        bail!("expected a mask of {batch} ends, or as many begins after them, found {given} numbers");
    }
    let keys = site.known_size(k, 2)?;
    site.room_for(DType::I64, &[keys])?;
    let positions = Tensor::from_i64(&[keys], (0..keys as i64).collect())?;
    let positions = site.known("positions", positions);
    let numbers = site.converted("numbers", ends, DType::I64)?;
    let column = |site: &mut Site<'_>, name: &str, from: usize| -> Result<Item> {
        let part = site.part(&format!("{name}.flat"), &numbers, 0, (from as i64, (from + batch) as i64, 1))?;
        site.widened(name, &part, &[1, 2, 3])
    };
    let end = column(site, "end", 0)?;
    let before_end = site.binary("before_end", Binary::Less, &positions, &end)?;
    if given == batch {
        return Ok(before_end);
    }
    let begin = column(site, "begin", batch)?;
    let too_early = site.binary("too_early", Binary::Less, &positions, &begin)?;
    let late_enough = site.unary("late_enough", lowbit_ir::op::Unary::Not, &too_early)?;
    site.binary("between", Binary::And, &before_end, &late_enough)
}
