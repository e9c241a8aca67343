//! How large accumulators can get: proven from the actual weights and the input's range, channel by channel.
//!
//! For one output channel the accumulator is bias + sum over k of (x_k - zx) * (w_k - zw). The weights are known and
//! each x_k is free within the input type's qmin..=qmax, so the exact extremes are the bias plus the sum of each term's
//! own extremes. Padded taps contribute 0. Two variable operands are both free within their types.
//! That values keep to the ranges of their types is shown by [`ranges`], which [`check`] asks for every node and constant.

use crate::infer::{depth, outputs_per_input, weight_axis};
use crate::op::Layer;
use crate::{DType, Def, Error, Granularity, Graph, Node, NodeId, Op, Quant, Result, Shape, Tensor, Type, ranges};

/// What the sums of one multiply-accumulate node can reach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MacBound {
    /// Smallest and largest accumulator per output channel, bias included; one entry for all channels if the second
    /// operand is no constant.
    pub channels: Vec<(i64, i64)>,
    /// Smallest and largest product (x - zx) * (w - zw).
    pub product: (i64, i64),
    /// Number of products in a sum.
    pub depth: usize,
}

impl MacBound {
    /// Smallest and largest accumulator over all channels.
    pub fn range(&self) -> (i64, i64) {
        self.channels.iter().fold((0, 0), |(lo, hi), c| (lo.min(c.0), hi.max(c.1)))
    }

    /// Bits of the narrowest two's complement integer that holds every accumulator.
    pub fn bits_needed(&self) -> u32 {
        let (lo, hi) = self.range();
        bits_needed(lo, hi)
    }

    /// Whether every accumulator lies in the type's range: qmin..=qmax if quantized, else all of its storage.
    pub fn fits(&self, ty: &Type) -> bool {
        self.first_outside(ty).is_none()
    }

    fn first_outside(&self, ty: &Type) -> Option<(usize, (i64, i64))> {
        let storage = ty.dtype.range().unwrap_or((0, 0));
        let (lo, hi) = ty.quant.as_ref().map_or(storage, |q| (q.qmin.max(storage.0), q.qmax.min(storage.1)));
        self.channels.iter().copied().enumerate().find(|(_, (low, high))| *low < lo || *high > hi)
    }
}

/// Bits of the narrowest two's complement integer that holds every value of `low..=high`.
pub fn bits_needed(low: i64, high: i64) -> u32 {
    let magnitude = |v: i64| if v < 0 { !v } else { v };
    65 - magnitude(low).leading_zeros().min(magnitude(high).leading_zeros())
}

/// The bounds of all integer multiply-accumulates, or one error that names all whose accumulator could overflow.
///
/// They rest on the ranges of types, so a graph whose values could leave those is refused first.
pub fn check(g: &Graph) -> Result<Vec<(NodeId, MacBound)>> {
    for (_, value) in g.values() {
        if let Def::Const(tensor) = &value.def {
            ranges::check_constant(tensor).map_err(|e| e.at_value(&value.name))?;
        }
    }
    for (_, node) in g.nodes() {
        ranges::check_node(g, node).map_err(|e| e.at_node(&node.name))?;
    }
    let mut bounds = Vec::new();
    let mut wrong: Vec<(&str, String)> = Vec::new();
    for (id, node) in g.nodes() {
        if let Err(e) = average(g, node) {
            wrong.push((&node.name, e.message().to_string()));
        }
        match bound(g, node) {
            Ok(None) => {}
            Ok(Some(b)) => {
                let overflow = node.outputs.first().and_then(|v| b.first_outside(g.ty(*v)).zip(Some(g.ty(*v))));
                if let Some(((channel, (low, high)), ty)) = overflow {
                    let (name, bits) = (ty.dtype, b.bits_needed());
                    let range = ty.quant.as_ref().map_or(String::new(), |q| format!(" in {}..{}", q.qmin, q.qmax));
                    wrong.push((
                        &node.name,
                        format!(
                            "channel {channel} can reach {low}..{high}, its accumulator is {name}{range}; {bits} bits are needed"
                        ),
                    ));
                }
                bounds.push((id, b));
            }
            Err(e) => wrong.push((&node.name, e.message().to_string())),
        }
    }
    let hint = "an i64 accumulator for these layers, or fewer bits for their weights or inputs";
    match wrong.as_slice() {
        [] => Ok(bounds),
        [(node, message)] => Err(Error::new(message.clone()).at_node(*node).hint(hint)),
        all => {
            let lines: Vec<String> =
                all.iter().map(|(node, message)| format!("\n  node '{node}': {message}")).collect();
            Err(Error::new(format!("{} accumulators could overflow:{}", all.len(), lines.concat())).hint(hint))
        }
    }
}

/// The bound of a node, or `None` if it is no multiply-accumulate of integers.
pub fn bound(g: &Graph, node: &Node) -> Result<Option<MacBound>> {
    let (Some(x), Some(w)) = (node.input(0), node.input(1)) else { return Ok(None) };
    let (x_ty, w_ty) = (g.ty(x), g.ty(w));
    let (Some(axis), Some(xq), Some(wq)) = (weight_axis(&node.op, &w_ty.shape), &x_ty.quant, &w_ty.quant) else {
        return Ok(None);
    };
    if [x_ty, w_ty].iter().any(|ty| ty.dtype == DType::I64) {
        return Err(Error::new(format!("operands of 64 bits have no bound in 64 bits, found {x_ty} and {w_ty}")));
    }
    let input = Inputs::new(&node.op, x_ty, xq, &w_ty.shape)?;
    let depth = depth(&node.op, &w_ty.shape.require()?).unwrap_or(usize::MAX);
    let mut sums = match g.constant(w) {
        Some(w) => from_weights(&rows(&node.op, w, axis)?, depth, &input),
        None => from_types(depth, w_ty, wq, &input.any()),
    }?;
    if let Some(bias) = node.input(2) {
        let all = g.ty(bias).quant.as_ref().map(|q| (q.qmin, q.qmax)).or(g.ty(bias).dtype.range()).unwrap_or((0, 0));
        let known = g.constant(bias).map(Tensor::ints).transpose()?;
        for (i, c) in sums.channels.iter_mut().enumerate() {
            let (low, high) = match &known {
                // One entry stands for all channels of two variable operands.
                Some(b) if sums.one_for_all => {
                    (b.iter().copied().min().unwrap_or(0), b.iter().copied().max().unwrap_or(0))
                }
                Some(b) => b.get(i).map_or(all, |b| (*b, *b)),
                None => all,
            };
            *c = (c.0 + i128::from(low), c.1 + i128::from(high));
        }
    }
    sums.narrow().map(Some)
}

/// Smallest and largest sum that an integer average makes of a window; `None` for other operators, and where the window
/// is still open.
pub fn average(g: &Graph, node: &Node) -> Result<Option<(i64, i64)>> {
    let (Op::QAvgPool(pool), Some(x)) = (&node.op, node.input(0)) else { return Ok(None) };
    let ty = g.ty(x);
    let sizes = match &pool.pool {
        Some(pool) => Some(pool.kernel.clone()),
        None => ty.shape.0.iter().skip(2).map(crate::Dim::known).collect(),
    };
    let Some(sizes) = sizes else { return Ok(None) };
    let taps = sizes.iter().try_fold(1i128, |n, size| n.checked_mul(*size as i128));
    let q = ty.quant()?;
    let zero = i128::from(q.affine()?.zero_point);
    // A window may lie in the padding with some of its taps, which add nothing.
    let (low, high) = ((i128::from(q.qmin) - zero).min(0), (i128::from(q.qmax) - zero).max(0));
    let sum = |most: i128| taps.and_then(|taps| i64::try_from(taps.checked_mul(most)?).ok());
    match (sum(low), sum(high)) {
        (Some(low), Some(high)) => Ok(Some((low, high))),
        (None, _) | (_, None) => Err(Error::new(format!("the sum of a window of {sizes:?} of {ty} can leave 64 bits"))),
    }
}

/// What is known of the first operand: one entry, or one a channel, of which each output channel reads a single one.
struct Inputs {
    all: Vec<Input>,
    /// Output channels that read one input channel; 0 if there is one entry.
    share: usize,
}

impl Inputs {
    fn new(op: &Op, ty: &Type, q: &Quant, w: &Shape) -> Result<Self> {
        let share = match (&*q.zero_point, q.granularity, outputs_per_input(op, w)) {
            ([_], ..) => 0,
            ([_, _, ..], Granularity::Channel { axis: 1 }, Some(share)) => share,
            _ => return Err(Error::new(format!("expected an input with one zero point, found {ty}"))),
        };
        Ok(Inputs { all: q.zero_point.iter().map(|zero| Input::new(op, q, *zero)).collect(), share })
    }

    /// What an output channel reads.
    fn of(&self, output: usize) -> Result<&Input> {
        let at = output.checked_div(self.share).unwrap_or(0);
        self.all.get(at).ok_or_else(|| Error::new(format!("expected a zero point for output channel {output}")))
    }

    /// What any output channel can read.
    fn any(&self) -> Input {
        let all = self.all.iter().copied();
        let joined = |a: Input, b: Input| Input { centred: join(a.centred, b.centred) };
        all.reduce(joined).unwrap_or(Input { centred: (0, 0) })
    }
}

/// What is known of one channel of the first operand, or of all.
#[derive(Clone, Copy)]
struct Input {
    /// Range of x - zx; with padding, 0 is in it.
    centred: (i128, i128),
}

impl Input {
    fn new(op: &Op, q: &Quant, zero: i32) -> Self {
        let zero = i128::from(zero);
        let (low, high) = (i128::from(q.qmin), i128::from(q.qmax));
        let with_zero = (low.min(zero), high.max(zero));
        let padded = match op.layer() {
            Some(Layer::Conv(c)) => c.pads.iter().any(|p| *p > 0),
            Some(Layer::MatMul(_)) | None => false,
        };
        let (low, high) = if padded { with_zero } else { (low, high) };
        Input { centred: (low - zero, high - zero) }
    }
}

/// What counts of the weights of one output channel, less their zero point: no copy of them is kept, for there are many.
#[derive(Clone, Copy)]
struct Row {
    channel: usize,
    /// Sum of those above zero.
    positive: i128,
    /// Sum of those below.
    negative: i128,
    /// Least and greatest; none of none.
    ends: Option<(i128, i128)>,
}

impl Row {
    fn new(channel: usize) -> Self {
        Row { channel, positive: 0, negative: 0, ends: None }
    }

    /// Adds weights as they are stored, with their zero point.
    fn add<T: Stored>(&mut self, weights: &[T], zero: i32) {
        for chunk in weights.chunks(CHUNK) {
            let part = T::part(chunk, zero);
            let ends = (i128::from(part.least), i128::from(part.greatest));
            self.ends = Some(self.ends.map_or(ends, |found| join(found, ends)));
            self.positive += i128::from(part.positive);
            self.negative += i128::from(part.all - part.positive);
        }
    }
}

/// So many differences of 32 bits keep to 64, and a part of them for every lane of bytes to 16.
const CHUNK: usize = 1 << 10;

/// What counts of some weights less their zero point.
struct Part {
    all: i64,
    /// Sum of those above zero.
    positive: i64,
    least: i64,
    greatest: i64,
}

/// Lines of a matrix whose columns are gathered at a time.
const LINES: usize = 64;

/// How weights are stored.
trait Stored: Copy + Into<i64> {
    /// What counts of a chunk, which is not empty.
    fn part(chunk: &[Self], zero: i32) -> Part {
        let none = Part { all: 0, positive: 0, least: i64::MAX, greatest: i64::MIN };
        chunk.iter().map(|w| (*w).into() - i64::from(zero)).fold(none, |part, w| Part {
            all: part.all + w,
            positive: part.positive + w.max(0),
            least: part.least.min(w),
            greatest: part.greatest.max(w),
        })
    }
}

impl Stored for i64 {}

impl Stored for i8 {
    fn part(chunk: &[i8], zero: i32) -> Part {
        part_of_bytes(chunk, zero)
    }
}

impl Stored for u8 {
    fn part(chunk: &[u8], zero: i32) -> Part {
        part_of_bytes(chunk, zero)
    }
}

/// The same in 16 bits, of which vectors hold most: a byte less a zero point that is one has 10, and a lane adds 64.
fn part_of_bytes<T: Copy + Into<i16>>(chunk: &[T], zero: i32) -> Part {
    const LANES: usize = 16;
    let zero = zero as i16;
    let (mut all, mut positive) = ([0i16; LANES], [0i16; LANES]);
    let (mut least, mut greatest) = ([i16::MAX; LANES], [i16::MIN; LANES]);
    let (whole, rest) = chunk.as_chunks::<LANES>();
    let mut add = |(lane, w): (usize, &T)| {
        let w = (*w).into() - zero;
        all[lane] += w;
        positive[lane] += w.max(0);
        least[lane] = least[lane].min(w);
        greatest[lane] = greatest[lane].max(w);
    };
    whole.iter().for_each(|part| part.iter().enumerate().for_each(&mut add));
    rest.iter().enumerate().for_each(&mut add);
    let sum = |lanes: [i16; LANES]| lanes.into_iter().map(i64::from).sum();
    Part {
        all: sum(all),
        positive: sum(positive),
        least: least.into_iter().map(i64::from).fold(i64::MAX, i64::min),
        greatest: greatest.into_iter().map(i64::from).fold(i64::MIN, i64::max),
    }
}

fn rows(op: &Op, w: &Tensor, axis: usize) -> Result<Vec<Row>> {
    let q = w.ty().quant()?;
    match q.granularity {
        Granularity::Block { .. } => {
            return Err(Error::new(format!(
                "the accumulator of block-quantized weights has no bound yet, found {}",
                w.ty()
            )));
        }
        Granularity::Tensor | Granularity::Channel { .. } => {}
    }
    let byte = q.zero_point.iter().all(|zero| (-128..=255).contains(zero));
    match w.dtype() {
        DType::I8 if byte => rows_of::<i8>(op, w.i8s().unwrap_or_default(), w, axis),
        DType::U8 if byte => rows_of::<u8>(op, w.bytes(), w, axis),
        _ => rows_of::<i64>(op, &w.ints()?, w, axis),
    }
}

/// The rows of a tensor with these integers.
fn rows_of<T: Stored>(op: &Op, data: &[T], w: &Tensor, axis: usize) -> Result<Vec<Row>> {
    let q = w.ty().quant()?;
    let zero = |channel: usize| {
        let entry = if q.is_per_tensor() { 0 } else { channel };
        q.zero_point.get(entry).copied().unwrap_or(0)
    };
    let dims = w.dims();
    let part = |from: usize, count: usize| data.get(from..from + count).unwrap_or_default();
    // A channel's weights lie side by side, at `from`.
    let contiguous = |channel: usize, from: usize, count: usize| {
        let mut row = Row::new(channel);
        row.add(part(from, count), zero(channel));
        row
    };
    if let Op::Conv(_) = op {
        let (outs, depth) = (dims.first().copied().unwrap_or(0), dims.iter().skip(1).product());
        return Ok((0..outs).map(|o| contiguous(o, o * depth, depth)).collect());
    }
    let (columns, k, batch): (usize, usize, usize) = match *dims {
        [k] => (1, k, 1),
        [ref batch @ .., a, b] if axis + 1 == dims.len() => (b, a, batch.iter().product()),
        [ref batch @ .., a, b] => (a, b, batch.iter().product()),
        [] => return Err(Error::new(format!("expected a matrix, found {}", w.ty()))),
    };
    let turned = axis + 1 != dims.len();
    let of = |b: usize| -> Vec<Row> {
        let start = b * k * columns;
        if turned {
            return (0..columns).map(|n| contiguous(n, start + n * k, k)).collect();
        }
        let mut rows: Vec<Row> = (0..columns).map(Row::new).collect();
        // A few lines at a time, which stay in the nearest cache while their columns are gathered.
        let mut column: Vec<T> = Vec::with_capacity(LINES);
        for first in (0..k).step_by(LINES) {
            let lines = part(start + first * columns, LINES.min(k - first) * columns);
            for row in &mut rows {
                column.clear();
                column.extend(lines.iter().skip(row.channel).step_by(columns).copied());
                row.add(&column, zero(row.channel));
            }
        }
        rows
    };
    Ok((0..batch).flat_map(of).collect())
}

/// Bounds that may still be too wide for i64.
struct Sums {
    channels: Vec<(i128, i128)>,
    product: (i128, i128),
    depth: usize,
    one_for_all: bool,
}

impl Sums {
    fn narrow(self) -> Result<MacBound> {
        let wide = |v: i128| Error::new(format!("a sum can reach {v}, which leaves 64 bits"));
        let narrow = |v: i128| i64::try_from(v).map_err(|_| wide(v));
        let pair = |(low, high): (i128, i128)| Ok((narrow(low)?, narrow(high)?));
        Ok(MacBound {
            channels: self.channels.into_iter().map(pair).collect::<Result<_>>()?,
            product: pair(self.product)?,
            depth: self.depth,
        })
    }
}

/// Smallest and largest a * b for a fixed a, or for a in a range.
fn times(a: i128, (low, high): (i128, i128)) -> (i128, i128) {
    ((a * low).min(a * high), (a * low).max(a * high))
}

fn join(a: (i128, i128), b: (i128, i128)) -> (i128, i128) {
    (a.0.min(b.0), a.1.max(b.1))
}

fn plus(a: (i128, i128), b: (i128, i128)) -> (i128, i128) {
    (a.0 + b.0, a.1 + b.1)
}

fn from_weights(rows: &[Row], depth: usize, inputs: &Inputs) -> Result<Sums> {
    let count = rows.iter().map(|r| r.channel + 1).max().unwrap_or(0);
    let mut channels: Vec<Option<(i128, i128)>> = vec![None; count];
    let mut product: Option<(i128, i128)> = None;
    for row in rows {
        let input = inputs.of(row.channel)?;
        // Terms of weights with one sign have their extremes at the same end of the input's range.
        let sum = plus(times(row.positive, input.centred), times(row.negative, input.centred));
        if let Some((least, greatest)) = row.ends {
            let terms = join(times(least, input.centred), times(greatest, input.centred));
            product = Some(product.map_or(terms, |p| join(p, terms)));
        }
        if let Some(channel) = channels.get_mut(row.channel) {
            *channel = Some(channel.map_or(sum, |c| join(c, sum)));
        }
    }
    Ok(Sums {
        channels: channels.into_iter().map(Option::unwrap_or_default).collect(),
        product: product.unwrap_or_default(),
        depth,
        one_for_all: false,
    })
}

fn from_types(depth: usize, w: &Type, q: &Quant, input: &Input) -> Result<Sums> {
    let ends = (i128::from(q.qmin), i128::from(q.qmax));
    let none = || Error::new(format!("expected a zero point, found none in {w}"));
    let zeros = q.zero_point.iter().map(|z| (ends.0 - i128::from(*z), ends.1 - i128::from(*z)));
    let centred = zeros.reduce(join).ok_or_else(none)?;
    let over = |w: (i128, i128), x: (i128, i128)| join(times(w.0, x), times(w.1, x));
    let product = over(centred, input.centred);
    let depth_wide = depth as i128;
    Ok(Sums { channels: vec![(product.0 * depth_wide, product.1 * depth_wide)], product, depth, one_for_all: true })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ValueId;
    use crate::infer::apply;
    use crate::op::{Conv, MatMul};

    fn constant(
        g: &mut Graph,
        name: &str,
        dtype: DType,
        dims: &[usize],
        (scale, zero): (f32, i32),
        data: &[i64],
    ) -> ValueId {
        let (lo, hi) = dtype.range().unwrap();
        let ty = Type::quantized(dtype, dims.to_vec(), Quant::per_tensor(scale, zero, lo, hi));
        g.add_const(name, Tensor::from_ints(ty, data).unwrap())
    }

    fn matmul(x: Quant, weights: &[i64], bias: Option<&[i64]>) -> Graph {
        let mut g = Graph::new("g");
        let k = weights.len() / 2;
        let x = g.add_input("x", Type::quantized(DType::U8, vec![1, k], x));
        let w = constant(&mut g, "w", DType::I8, &[2, k], (1., 0), weights);
        let bias = bias.map(|b| constant(&mut g, "b", DType::I32, &[2], (1., 0), b));
        let y = apply(&mut g, "y", Op::MatMul(MatMul { trans_b: true }), &[Some(x), Some(w), bias]).unwrap();
        g.outputs.push(y);
        g
    }

    #[test]
    fn bounds_by_hand() {
        let g = matmul(Quant::per_tensor(1., 10, 0, 255), &[1, -2, 3, 100, 100, 0], Some(&[5, -7]));
        let (_, b) = check(&g).unwrap().remove(0);
        // x - zx in -10..245.
        assert_eq!(b.channels, [(5 - 10 - 490 - 30, 5 + 245 + 20 + 735), (-7 - 2000, -7 + 49000)]);
        assert_eq!((b.product, b.depth), ((-1000, 24500), 3));
        assert_eq!(b.bits_needed(), 17);
    }

    #[test]
    fn averages_by_hand() {
        use crate::op::{Pool, QAvgPool, Rescale};
        let of = |dims: &[usize], kernel: Option<usize>| {
            let mut g = Graph::new("g");
            let quant = Quant::per_tensor(1., 10, 0, 255);
            let x = g.add_input("x", Type::quantized(DType::U8, dims.to_vec(), quant.clone()));
            let pool = kernel.map(|k| Pool {
                kernel: vec![k],
                strides: vec![1],
                pads: vec![0; 2],
                dilations: vec![1],
                ceil_mode: false,
                count_include_pad: false,
            });
            let op = Op::QAvgPool(QAvgPool { pool, rescale: Rescale::default() });
            let ty = Type::quantized(DType::U8, vec![], quant);
            let y = crate::infer::apply_as(&mut g, "y", op, &[Some(x)], ty).unwrap();
            g.outputs.push(y);
            check(&g).and_then(|_| average(&g, g.nodes().next().unwrap().1))
        };
        assert_eq!(of(&[1, 2, 5], None).unwrap(), Some((-50, 1225)));
        assert_eq!(of(&[1, 2, 5], Some(3)).unwrap(), Some((-30, 735)));
        let error = of(&[1, 1, usize::MAX / 8], None).unwrap_err().to_string();
        assert!(error.contains("node 'y'") && error.contains("can leave 64 bits"), "{error}");
    }

    #[test]
    fn padding_contributes_zero() {
        // Every input is at least 5 above the zero point, but a padded tap is 0.
        let of = |pad| {
            let mut g = Graph::new("g");
            let x = g.add_input("x", Type::quantized(DType::U8, vec![1, 1, 4], Quant::per_tensor(1., 0, 5, 6)));
            let w = constant(&mut g, "w", DType::I8, &[1, 1, 2], (1., 0), &[1, 1]);
            let conv = Conv { strides: vec![1], pads: vec![pad, 0], dilations: vec![1], group: 1 };
            apply(&mut g, "y", Op::Conv(conv), &[Some(x), Some(w)]).unwrap();
            check(&g).unwrap().remove(0).1.channels
        };
        assert_eq!(of(0), [(10, 12)]);
        assert_eq!(of(1), [(0, 12)]);
    }

    #[test]
    fn variable_operands_are_bounded_by_their_types() {
        let mut g = Graph::new("g");
        let ty = |dims: Vec<usize>| Type::quantized(DType::I8, dims, Quant::per_tensor(1., 0, -128, 127));
        let (a, b) = (g.add_input("a", ty(vec![2, 3])), g.add_input("b", ty(vec![3, 4])));
        apply(&mut g, "y", Op::MatMul(MatMul::default()), &[Some(a), Some(b)]).unwrap();
        let (_, bound) = check(&g).unwrap().remove(0);
        assert_eq!(bound.channels, [(-3 * 128 * 127, 3 * 128 * 128)]);
    }

    #[test]
    fn every_overflow_is_named_at_once() {
        let mut g = Graph::new("g");
        let wide = |dims: Vec<usize>| Type::quantized(DType::I16, dims, Quant::per_tensor(1., 0, -32768, 32767));
        let (a, b) = (g.add_input("a", wide(vec![1, 2])), g.add_input("b", wide(vec![2, 1])));
        for name in ["first", "second"] {
            apply(&mut g, name, Op::MatMul(MatMul::default()), &[Some(a), Some(b)]).unwrap();
        }
        let error = check(&g).unwrap_err().to_string();
        assert!(error.contains("'first'") && error.contains("'second'") && error.contains("33 bits"), "{error}");
        assert!(error.contains("try: an i64 accumulator"));
    }

    #[test]
    fn widths() {
        assert_eq!(
            [(0, 0), (-1, 0), (0, 1), (-128, 127), (0, 128), (-129, 0)].map(|(l, h)| bits_needed(l, h)),
            [1, 1, 2, 8, 9, 9]
        );
        assert_eq!(bits_needed(i64::MIN, i64::MAX), 64);
    }
}
