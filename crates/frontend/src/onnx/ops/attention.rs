//! Attention, spelled out: scores of queries and keys, masks, Softmax, weighted values; and RotaryEmbedding.

use crate::build::Item;
use crate::build::compose::known_from;
use crate::build::sizes::Size;
use crate::onnx::node::Site;
use lowbit_ir::op::{Binary, Pad, PadMode, ReduceKind, Unary};
use lowbit_ir::{DType, Dim, Op, Result, Tensor, bail};

/// What every operator of this family comes down to.
pub struct Attention {
    /// [batch, heads, queries, size].
    pub q: Item,
    /// [batch, heads or a divisor of them, keys, size].
    pub k: Item,
    /// [batch, as the keys, keys, size of values].
    pub v: Item,
    /// What the scores are multiplied by.
    pub scale: f32,
    /// The scores' limit; 0 for none.
    pub softcap: f32,
    /// Which pairs of query and key there are, as bools that broadcast to [batch, heads, queries, keys].
    pub allowed: Option<Item>,
    /// What is added to the scores, broadcast alike.
    pub added: Option<Item>,
    /// Which pairs are not lowered by this number, as bools that broadcast alike.
    pub lowered: Option<(Item, f32)>,
    /// Whether a query that no key is allowed for gets zeros, which is ONNX's rule.
    pub zero_rows: bool,
}

/// The result [batch, heads, queries, size of values], and what is on the way to it.
pub struct Attended {
    pub y: Item,
    /// Scores as the product gives them, limited, masked, and as probabilities.
    pub stages: [Item; 4],
}

/// Attention of ONNX: (q, k, v, mask?, past key?, past value?, valid keys?) -> (y, key?, value?, scores?).
pub fn attention(site: &mut Site<'_>) -> Result<()> {
    // Everything is f32 here.
    site.ignore(&["softmax_precision"]);
    let softcap = site.float("softcap", 0.0)?;
    let (q, mut k, mut v) = (site.input(0)?, site.input(1)?, site.input(2)?);
    let flat = site.shape(&q).rank() == 3;
    let (heads, key_heads) = (site.int("q_num_heads")?, site.int("kv_num_heads")?);
    let mut q = apart(site, "q", q, heads)?;
    k = apart(site, "k", k, key_heads)?;
    v = apart(site, "v", v, key_heads)?;
    let past = match (site.maybe(4)?, site.maybe(5)?) {
        (None, None) => None,
        (Some(key), Some(value)) => {
            k = site.joined("key", 2, &[&key, &k])?;
            v = site.joined("value", 2, &[&value, &v])?;
            Some(key)
        }
        _ => bail!("expected past keys and values together, found one of them"),
    };
    let scale = match site.has("scale") {
        true => site.float("scale", 1.0)?,
        false => default_scale(site, &q)?,
    };
    let valid = site.maybe(6)?;
    if valid.is_some() && past.is_some() {
        bail!("expected either a past or the number of valid keys, found both");
    }
    let (mut allowed, added) = masks(site, &k)?;
    for rule in [frontier(site, &q, &k, past.as_ref(), valid.as_ref())?, padding(site, &k, valid.as_ref())?] {
        allowed = both(site, allowed, rule)?;
    }
    q = grouped_check(site, q, &k)?;
    let attended = attend(
        site,
        Attention { q, k: k.clone(), v: v.clone(), scale, softcap, allowed, added, lowered: None, zero_rows: true },
    )?;
    let mode = site.int("qk_matmul_output_mode")?.unwrap_or(0);
    match usize::try_from(mode).ok().and_then(|mode| attended.stages.get(mode)) {
        Some(stage) => site.give(3, stage.clone())?,
        None => bail!("expected 'qk_matmul_output_mode' in 0..=3, found {mode}"),
    }
    site.give(1, k)?;
    site.give(2, v)?;
    let y = if flat { together(site, "y", &attended.y)? } else { attended.y };
    site.give(0, y)
}

/// [batch, length, heads * size] as [batch, heads, length, size]; what has four axes stays as it is.
pub fn apart(site: &mut Site<'_>, suffix: &str, x: Item, heads: Option<i64>) -> Result<Item> {
    let shape = site.shape(&x);
    match (shape.rank(), heads) {
        (4, _) => return Ok(x),
        (3, Some(1..)) => {}
        (3, found) => bail!("expected the number of heads of {shape}, found {found:?}"),
        _ => bail!("expected three or four dimensions, found {shape}"),
    }
    let heads = heads.unwrap_or(1);
    let hidden = site.known_size(&x, 2)? as i64;
    if hidden % heads != 0 {
        bail!("expected {hidden} numbers to divide into {heads} heads");
    }
    let split =
        site.step(&format!("{suffix}.split"), Op::Reshape { dims: vec![0, 0, heads, hidden / heads] }, &[&x])?;
    site.turned(&format!("{suffix}.heads"), &split, &[0, 2, 1, 3])
}

/// The way back from [`apart`].
pub fn together(site: &mut Site<'_>, suffix: &str, x: &Item) -> Result<Item> {
    let turned = site.turned(&format!("{suffix}.turned"), x, &[0, 2, 1, 3])?;
    let sizes = site.sizes_of(&turned);
    let [batch, length, heads, size] = &sizes[..] else { bail!("expected four dimensions, found {sizes:?}") };
    site.reshape(suffix, &turned, &[batch.clone(), length.clone(), heads.times(size)])
}

/// 1 / sqrt(size of a head).
pub fn default_scale(site: &Site<'_>, q: &Item) -> Result<f32> {
    match site.known_size(q, -1)? {
        0 => bail!("expected heads of a size, found 0"),
        size => Ok((1.0 / (size as f64).sqrt()) as f32),
    }
}

/// The queries, if their heads are a multiple of those of the keys.
fn grouped_check(site: &Site<'_>, q: Item, k: &Item) -> Result<Item> {
    let (heads, groups) = (site.known_size(&q, 1)?, site.known_size(k, 1)?);
    match groups > 0 && heads % groups == 0 {
        true => Ok(q),
        false => bail!("expected query heads in multiples of the {groups} key heads, found {heads}"),
    }
}

/// The mask operand: of bools what is allowed, of floats what is added. What it lacks to all keys is forbidden.
fn masks(site: &mut Site<'_>, k: &Item) -> Result<(Option<Item>, Option<Item>)> {
    let Some(mut mask) = site.maybe(3)? else { return Ok((None, None)) };
    let ty = site.ty(&mask);
    let (own, keys) = (ty.shape.0.last().cloned(), site.shape(k).0.get(2).cloned());
    if let (24.., Some(Dim::Known(own)), Some(Dim::Known(keys))) = (site.opset, own, keys)
        && own < keys
    {
        let rank = ty.shape.rank();
        let mut ends = vec![0; rank];
        ends[rank - 1] = (keys - own) as i64;
        let value = if ty.dtype == DType::Bool { 0.0 } else { f32::NEG_INFINITY };
        let pad = Pad { begins: vec![0; rank], ends, mode: PadMode::Constant(value) };
        mask = site.step("mask", Op::Pad(pad), &[&mask])?;
    }
    Ok(if ty.dtype == DType::Bool { (Some(mask), None) } else { (None, Some(mask)) })
}

/// What all of two masks allow.
pub fn both(site: &mut Site<'_>, a: Option<Item>, b: Option<Item>) -> Result<Option<Item>> {
    match (a, b) {
        (Some(a), Some(b)) => site.binary("allowed", Binary::And, &a, &b).map(Some),
        (a, b) => Ok(a.or(b)),
    }
}

/// Which keys a query sees by its position: none behind it if causal, and those of a window (opset 25).
fn frontier(
    site: &mut Site<'_>,
    q: &Item,
    k: &Item,
    past: Option<&Item>,
    valid: Option<&Item>,
) -> Result<Option<Item>> {
    let causal = site.flag("is_causal", false)?;
    let mut bounds = Vec::new();
    for (name, default) in [("left_window_size", -1), ("right_window_size", -1)] {
        match site.int(name)?.unwrap_or(default) {
            n @ -1..=0x7fff_ffff => bounds.push(n),
            n => bail!("expected '{name}' to be -1 or a number of positions, found {n}"),
        }
    }
    let [left, right] = bounds[..] else { bail!("expected two bounds") };
    let after = match (causal, right) {
        (true, _) => Some(0),
        (false, -1) => None,
        (false, right) => Some(right),
    };
    if after.is_none() && left < 0 {
        return Ok(None);
    }
    let queries = site.known_size(q, 2)?;
    // The position of the first query among the keys.
    let offset = match (past, valid) {
        (Some(past), _) => position(site, "offset", site.known_size(past, 2)? as i64)?,
        (None, Some(valid)) => {
            let count = position(site, "queries", queries as i64)?;
            let valid = per_batch(site, valid)?;
            site.binary("offset", Binary::Sub, &valid, &count)?
        }
        (None, None) => position(site, "offset", 0)?,
    };
    let keys = site.known_size(k, 2)?;
    window(site, (queries, keys), &offset, after, (left >= 0).then_some(left))
}

/// For each query and key whether the key is at most `after` positions after and `before` positions before it.
pub fn window(
    site: &mut Site<'_>,
    (queries, keys): (usize, usize),
    offset: &Item,
    after: Option<i64>,
    before: Option<i64>,
) -> Result<Option<Item>> {
    let count = site.room_for(DType::I64, &[queries, keys])?;
    let ahead = (0..count).map(|at| (at % keys) as i64 - (at / keys) as i64).collect();
    let ahead = Tensor::from_i64(&[queries, keys], ahead)?;
    let ahead = site.known("ahead", ahead);
    let mut allowed = None;
    if let Some(after) = after {
        let by = position(site, "after", after + 1)?;
        let end = site.binary("end", Binary::Add, offset, &by)?;
        let rule = site.binary("before_end", Binary::Less, &ahead, &end)?;
        allowed = both(site, allowed, Some(rule))?;
    }
    if let Some(before) = before {
        let by = position(site, "before", before + 1)?;
        let begin = site.binary("begin", Binary::Sub, offset, &by)?;
        let rule = site.binary("after_begin", Binary::Greater, &ahead, &begin)?;
        allowed = both(site, allowed, Some(rule))?;
    }
    Ok(allowed)
}

/// A position as a constant.
pub fn position(site: &mut Site<'_>, suffix: &str, n: i64) -> Result<Item> {
    let n = Tensor::from_i64(&[], vec![n])?;
    Ok(site.known(suffix, n))
}

/// The number of valid keys of each sample as [batch, 1, 1, 1].
fn per_batch(site: &mut Site<'_>, valid: &Item) -> Result<Item> {
    let valid = site.converted("valid.integers", valid, DType::I64)?;
    site.widened("valid", &valid, &[1, 2, 3])
}

/// Keys beyond the valid ones are padding.
fn padding(site: &mut Site<'_>, k: &Item, valid: Option<&Item>) -> Result<Option<Item>> {
    let Some(valid) = valid else { return Ok(None) };
    let keys = site.known_size(k, 2)?;
    site.room_for(DType::I64, &[keys])?;
    let positions = Tensor::from_i64(&[keys], (0..keys as i64).collect())?;
    let positions = site.known("positions", positions);
    let valid = per_batch(site, valid)?;
    site.binary("no_padding", Binary::Less, &positions, &valid).map(Some)
}

/// Spells it out.
pub fn attend(site: &mut Site<'_>, a: Attention) -> Result<Attended> {
    let (heads, groups) = (site.known_size(&a.q, 1)?, site.known_size(&a.k, 1)?);
    let sizes = site.sizes_of(&a.q);
    // Queries of one group of keys stand under each other, so that no key is repeated.
    let under = |s: &[Size]| {
        let rows = s[2].times(&Size::Known((heads / groups.max(1)) as i64));
        [s[0].clone(), Size::Known(groups as i64), rows, s[3].clone()]
    };
    let q = match heads == groups {
        true => a.q.clone(),
        false => site.reshape("q.grouped", &a.q, &under(&sizes))?,
    };
    let mut product = site.product("product", &q, &a.k, true)?;
    let mut each = sizes.clone();
    each[3] = site.sizes_of(&product)[3].clone();
    if heads != groups {
        product = site.reshape("product.heads", &product, &each)?;
    }
    let scores = site.scaled("scores", &product, a.scale)?;
    let limited = match a.softcap {
        cap if cap > 0.0 && cap.is_finite() => {
            let inner = site.with_number("inner", Binary::Div, &scores, cap)?;
            let curve = site.unary("curve", Unary::Tanh, &inner)?;
            site.scaled("limited", &curve, cap)?
        }
        0.0 => scores.clone(),
        cap => bail!("expected a 'softcap' of at least 0, found {cap}"),
    };
    let masked = masked(site, &limited, &a)?;
    let mut weights = site.step("weights", Op::Softmax { axis: -1 }, &[&masked])?;
    if a.zero_rows {
        weights = without_empty_rows(site, weights, a.allowed.as_ref(), a.added.as_ref())?;
    }
    let p = match heads == groups {
        true => weights.clone(),
        false => site.reshape("weights.grouped", &weights, &under(&each))?,
    };
    let mut y = site.product("values", &p, &a.v, false)?;
    if heads != groups {
        each[3] = site.sizes_of(&y)[3].clone();
        y = site.reshape("values.heads", &y, &each)?;
    }
    Ok(Attended { y, stages: [scores, limited, masked, weights] })
}

fn minus_infinity(site: &mut Site<'_>) -> Item {
    site.known("never", Tensor::scalar(f32::NEG_INFINITY))
}

fn masked(site: &mut Site<'_>, scores: &Item, a: &Attention) -> Result<Item> {
    let mut sum = match &a.added {
        Some(added) => site.binary("sum", Binary::Add, scores, added)?,
        None => scores.clone(),
    };
    if let Some((kept, by)) = &a.lowered {
        // A choice, so that no value has to hold both numbers of this size and scores.
        let low = site.with_number("low", Binary::Add, &sum, *by)?;
        sum = site.chosen("lowered", kept, &sum, &low)?;
    }
    match &a.allowed {
        Some(allowed) => {
            let never = minus_infinity(site);
            site.chosen("masked", allowed, &sum, &never)
        }
        None => Ok(sum),
    }
}

/// Zeros for a query that no key is allowed for. Where masks are known, so is whether there is one.
fn without_empty_rows(
    site: &mut Site<'_>,
    weights: Item,
    allowed: Option<&Item>,
    added: Option<&Item>,
) -> Result<Item> {
    let kept = match (allowed, added) {
        (None, None) => return Ok(weights),
        (Some(allowed), None) if has_full_rows(allowed)? => return Ok(weights),
        (Some(allowed), None) => allowed.clone(),
        (_, Some(added)) => {
            let never = minus_infinity(site);
            let bias = match allowed {
                Some(allowed) => site.chosen("bias", allowed, added, &never)?,
                None => added.clone(),
            };
            let largest = site.reduced("largest", ReduceKind::Max, &[-1], &bias)?;
            let some = site.binary("some", Binary::Greater, &largest, &never)?;
            if matches!(&some, Item::Const(_, t) if t.ints()?.iter().all(|t| *t != 0)) {
                return Ok(weights);
            }
            some
        }
    };
    let zero = site.known("zero", Tensor::scalar(0.0));
    site.chosen("weights.kept", &kept, &weights, &zero)
}

/// Whether a known mask allows something in every row.
fn has_full_rows(mask: &Item) -> Result<bool> {
    let Item::Const(_, t) = mask else { return Ok(false) };
    let row = t.dims().last().copied().unwrap_or(1).max(1);
    Ok(t.ints()?.chunks(row).all(|row| row.iter().any(|t| *t != 0)))
}

/// RotaryEmbedding of ONNX: (x, cosines, sines, positions?), x being [batch, heads, length, size] or [batch, length,
/// hidden].
pub fn rotary(site: &mut Site<'_>) -> Result<()> {
    let (x, cos, sin) = (site.input(0)?, site.input(1)?, site.input(2)?);
    let positions = site.maybe(3)?;
    rotate(site, x, [cos, sin], positions)
}

/// RotaryEmbedding of ONNX Runtime: (x, positions, cosines, sines), the positions of all or that of the first.
pub fn rotary_with_offset(site: &mut Site<'_>) -> Result<()> {
    let (x, mut positions, cos, sin) = (site.input(0)?, site.input(1)?, site.input(2)?, site.input(3)?);
    if site.float("scale", 1.0)? != 1.0 || site.flag("is_packed_batching", false)? {
        bail!("expected 'scale' 1 and no packed batches, which have no meaning of their own here");
    }
    if site.shape(&positions).dims() == Some(vec![1]) {
        let axis = if site.shape(&x).rank() == 4 { 2 } else { 1 };
        let length = site.known_size(&x, axis)?;
        site.room_for(DType::I64, &[length])?;
        let all = Tensor::from_i64(&[1, length], (0..length as i64).collect())?;
        let all = site.known("steps", all);
        positions = site.binary("positions", Binary::Add, &positions, &all)?;
    }
    rotate(site, x, [cos, sin], Some(positions))
}

/// Rotates pairs of numbers of each head by angles whose cosines and sines are given, by position or for each element.
fn rotate(site: &mut Site<'_>, x: Item, angles: [Item; 2], positions: Option<Item>) -> Result<()> {
    let interleaved = site.flag("interleaved", false)?;
    let (heads, part) = (site.int("num_heads")?.unwrap_or(0), site.int("rotary_embedding_dim")?.unwrap_or(0));
    let shape = site.shape(&x);
    // The axis of the heads, along which angles do not differ.
    let (split, axis) = match shape.rank() {
        4 => (x, 1),
        3 => {
            let hidden = site.known_size(&x, 2)? as i64;
            let size = match (heads, part) {
                (1.., _) if hidden % heads == 0 => hidden / heads,
                // ONNX Runtime takes the size of heads from the angles.
                (0, 0) => 2 * site.known_size(&angles[0], -1)? as i64,
                _ => bail!("expected 'num_heads' to divide {hidden}, found {heads}"),
            };
            if size == 0 || hidden % size != 0 {
                bail!("expected {hidden} numbers in heads of {size}");
            }
            (site.step("split", Op::Reshape { dims: vec![0, 0, hidden / size, size] }, &[&x])?, 2)
        }
        _ => bail!("expected three or four dimensions, found {shape}"),
    };
    let size = site.known_size(&split, -1)? as i64;
    let turned = if part == 0 { size } else { part };
    if turned <= 0 || turned > size || turned % 2 != 0 {
        bail!("expected an even number of up to {size} numbers to rotate, found {turned}");
    }
    let [cos, sin] = angles;
    let cos = angle(site, "cos", cos, positions.as_ref(), (axis, turned / 2))?;
    let sin = angle(site, "sin", sin, positions.as_ref(), (axis, turned / 2))?;
    let (first, second) = match interleaved {
        true => ((0, turned, 2), (1, turned, 2)),
        false => ((0, turned / 2, 1), (turned / 2, turned, 1)),
    };
    let (a, b) = (site.part("a", &split, -1, first)?, site.part("b", &split, -1, second)?);
    let (ca, sb) = (site.binary("ca", Binary::Mul, &cos, &a)?, site.binary("sb", Binary::Mul, &sin, &b)?);
    let real = site.binary("real", Binary::Sub, &ca, &sb)?;
    let (sa, cb) = (site.binary("sa", Binary::Mul, &sin, &a)?, site.binary("cb", Binary::Mul, &cos, &b)?);
    let imaginary = site.binary("imaginary", Binary::Add, &sa, &cb)?;
    let mut y = match interleaved {
        true => {
            let real = site.widened("real.column", &real, &[4])?;
            let imaginary = site.widened("imaginary.column", &imaginary, &[4])?;
            let pairs = site.joined("pairs", 4, &[&real, &imaginary])?;
            let mut sizes = site.sizes_of(&split);
            sizes[3] = Size::Known(turned);
            site.reshape("turned", &pairs, &sizes)?
        }
        false => site.joined("turned", -1, &[&real, &imaginary])?,
    };
    if turned < size {
        let rest = site.part("rest", &split, -1, (turned, size, 1))?;
        y = site.joined("whole", -1, &[&y, &rest])?;
    }
    if shape.rank() == 3 {
        let sizes: Vec<Size> = shape.0.iter().map(Size::from).collect();
        y = site.reshape("y", &y, &sizes)?;
    }
    site.give(0, y)
}

/// Cosines or sines of each position, spread over the heads.
fn angle(
    site: &mut Site<'_>,
    name: &str,
    table: Item,
    positions: Option<&Item>,
    (axis, count): (i64, i64),
) -> Result<Item> {
    let each = match positions {
        Some(positions) => site.step(name, Op::Gather { axis: 0 }, &[&table, positions])?,
        None => table,
    };
    let shape = site.shape(&each);
    if shape.rank() != 3 || known_from(&shape, 2)? != [count as usize] {
        bail!("expected {name} as [batch, length, {count}], found {shape}");
    }
    site.widened(&format!("{name}.heads"), &each, &[axis])
}
