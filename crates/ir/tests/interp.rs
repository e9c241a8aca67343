//! Properties of inference and interpreter: every operator against its definition written another way, shapes against
//! results, and no panic whatever the attributes.
#![allow(clippy::indexing_slicing)]

use lowbit_ir::infer::infer;
use lowbit_ir::interp::eval;
use lowbit_ir::op::*;
use lowbit_ir::{Customs, DType, Dim, Op, Quant, Result, Shape, Tensor, Type};
use proptest::collection::vec;
use proptest::prelude::*;
use strum::IntoEnumIterator;

fn run(op: &Op, inputs: &[&Tensor]) -> Result<Vec<Tensor>> {
    let inputs: Vec<Option<&Tensor>> = inputs.iter().map(|t| Some(*t)).collect();
    eval(op, &inputs, &[], &Customs::default())
}

fn one(op: &Op, inputs: &[&Tensor]) -> Tensor {
    run(op, inputs).unwrap().remove(0)
}

/// Small integers from a counter: floats of them add and multiply exactly.
fn data(count: usize, seed: u64, low: i64, high: i64) -> Vec<i64> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) as i64
    };
    (0..count).map(|_| low + next().rem_euclid(high - low + 1)).collect()
}

fn floats(dims: &[usize], values: &[i64]) -> Tensor {
    Tensor::from_f32(dims, values.iter().map(|v| *v as f32).collect()).unwrap()
}

fn quantized(dtype: DType, dims: &[usize], zero: i32, values: &[i64]) -> Tensor {
    let (lo, hi) = dtype.range().unwrap();
    let ty = Type::quantized(dtype, dims.to_vec(), Quant::per_tensor(0.5, zero, lo, hi));
    Tensor::from_ints(ty, values).unwrap()
}

/// All coordinates of a shape in row-major order.
fn coordinates(dims: &[usize]) -> Vec<Vec<usize>> {
    dims.iter().fold(vec![vec![]], |all, n| {
        all.iter().flat_map(|c| (0..*n).map(move |i| [c.as_slice(), &[i]].concat())).collect()
    })
}

fn flat(dims: &[usize], at: &[usize]) -> usize {
    dims.iter().zip(at).fold(0, |n, (d, c)| n * d + c)
}

/// The element at signed coordinates, or `None` outside.
fn at(values: &[i64], dims: &[usize], c: &[i64]) -> Option<i64> {
    let inside: Option<Vec<usize>> =
        c.iter().zip(dims).map(|(c, d)| usize::try_from(*c).ok().filter(|c| c < d)).collect();
    inside.map(|c| values[flat(dims, &c)])
}

#[derive(Debug, Clone)]
struct Window {
    image: Vec<usize>,
    kernel: Vec<usize>,
    strides: Vec<usize>,
    pads: Vec<usize>,
    dilations: Vec<usize>,
}

fn window() -> impl Strategy<Value = Window> {
    (1usize..=3).prop_flat_map(|n| {
        let axis = |r: std::ops::Range<usize>| vec(r, n);
        (axis(1..6), axis(1..4), axis(1..4), vec(0usize..3, 2 * n), axis(1..3))
            .prop_map(|(image, kernel, strides, pads, dilations)| Window { image, kernel, strides, pads, dilations })
    })
}

impl Window {
    /// Where tap `k` of output position `o` reads.
    fn source(&self, o: &[usize], k: &[usize]) -> Vec<i64> {
        let step = |i: usize| (o[i] * self.strides[i] + k[i] * self.dilations[i]) as i64 - self.pads[i] as i64;
        (0..self.image.len()).map(step).collect()
    }

    /// The number of positions along each axis, by trying them out.
    fn positions(&self, ceil: bool) -> Vec<usize> {
        let axis = |i: usize| {
            let span = (self.kernel[i] - 1) * self.dilations[i] + 1;
            let begin = self.pads[i];
            let padded = self.image[i] + begin + self.pads[i + self.image.len()];
            let whole = |start: usize| start + span <= padded;
            // A partial window continues the last whole one and starts before the padding at the end.
            let partial = |start: usize| {
                ceil && start >= self.strides[i]
                    && start + span - padded < self.strides[i]
                    && start < self.image[i] + begin
            };
            (0..100).map(|o| o * self.strides[i]).filter(|start| whole(*start) || partial(*start)).count()
        };
        (0..self.image.len()).map(axis).collect()
    }

    /// Pools refuse padding that whole windows fit into.
    fn padded_less_than_windows(mut self) -> Self {
        let n = self.image.len();
        for (i, pad) in self.pads.iter_mut().enumerate() {
            *pad %= (self.kernel[i % n] - 1) * self.dilations[i % n] + 1;
        }
        self
    }

    fn pool(&self, ceil_mode: bool, count_include_pad: bool) -> Pool {
        let Window { kernel, strides, pads, dilations, .. } = self.clone();
        Pool { kernel, strides, pads, dilations, ceil_mode, count_include_pad }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn convolution_is_its_definition(
        w in window(), n in 1usize..3, groups in 1usize..3, ins in 1usize..4, outs in 1usize..4,
        seed: u64, zx in 0i32..256, zw in -5i32..5, with_bias: bool,
    ) {
        let x_dims = [&[n, groups * ins][..], &w.image].concat();
        let w_dims = [&[groups * outs, ins][..], &w.kernel].concat();
        let xs = data(x_dims.iter().product(), seed, 0, 255);
        let ws = data(w_dims.iter().product(), seed ^ 1, -127, 127);
        let bias = data(groups * outs, seed ^ 2, -1000, 1000);
        let op = Op::Conv(Conv {
            strides: w.strides.clone(), pads: w.pads.clone(), dilations: w.dilations.clone(), group: groups,
        });
        let b_dims = [groups * outs];
        let qx = quantized(DType::U8, &x_dims, zx, &xs);
        let qw = quantized(DType::I8, &w_dims, zw, &ws);
        let qb = quantized(DType::I32, &b_dims, 0, &bias).with_quant(Some(Quant::accumulator([0.25].into(), None, DType::I32)));
        // The same numbers as floats: every partial sum is an integer below 2^24, so f32 is exact.
        let fx = floats(&x_dims, &xs.iter().map(|v| v - i64::from(zx)).collect::<Vec<_>>());
        let fw = floats(&w_dims, &ws.iter().map(|v| v - i64::from(zw)).collect::<Vec<_>>());
        let fb = floats(&b_dims, &bias);
        let (ints, reals) = match with_bias {
            true => (run(&op, &[&qx, &qw, &qb]), run(&op, &[&fx, &fw, &fb])),
            false => (run(&op, &[&qx, &qw]), run(&op, &[&fx, &fw])),
        };
        prop_assert_eq!(ints.is_ok(), reals.is_ok());
        let (Ok(ints), Ok(reals)) = (ints, reals) else { return Ok(()) };
        let y_dims = ints[0].dims().to_vec();
        prop_assert_eq!(&y_dims, &[&[n, groups * outs][..], &w.positions(false)].concat());
        let mut expected = Vec::new();
        for y in coordinates(&y_dims) {
            let (o, place) = (y[1], &y[2..]);
            let mut sum = if with_bias { bias[o] } else { 0 };
            for k in coordinates(&w_dims[1..]) {
                let channel = (o / outs * ins + k[0]) as i64;
                let source = [&[y[0] as i64, channel][..], &w.source(place, &k[1..])].concat();
                let weight = ws[flat(&w_dims, &[&[o][..], &k].concat())] - i64::from(zw);
                sum += at(&xs, &x_dims, &source).map_or(0, |x| x - i64::from(zx)) * weight;
            }
            expected.push(sum);
        }
        prop_assert_eq!(&ints[0].ints().unwrap(), &expected);
        prop_assert_eq!(reals[0].f32s().unwrap().iter().map(|v| *v as i64).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn matrix_product_is_its_definition(
        batch in vec(1usize..3, 0..3), ones in any::<(u8, u8)>(), m in 1usize..4, k in 1usize..5, n in 1usize..4,
        trans_b: bool, seed: u64, za in -9i32..9,
    ) {
        // Each operand's batch axes are the common ones, some of them 1.
        let thin = |mask: u8| -> Vec<usize> {
            batch.iter().enumerate().map(|(i, d)| if mask >> i & 1 == 1 { 1 } else { *d }).collect()
        };
        let (a_batch, b_batch) = (thin(ones.0), thin(ones.1));
        let a_dims = [a_batch.as_slice(), &[m, k]].concat();
        let b_dims = [b_batch.as_slice(), &if trans_b { [n, k] } else { [k, n] }].concat();
        let a = data(a_dims.iter().product(), seed, -128, 127);
        let b = data(b_dims.iter().product(), seed ^ 1, -128, 127);
        let op = Op::MatMul(MatMul { trans_b });
        let y = one(&op, &[&quantized(DType::I8, &a_dims, za, &a), &quantized(DType::I8, &b_dims, 0, &b)]);
        let f = one(&op, &[&floats(&a_dims, &a.iter().map(|v| v - i64::from(za)).collect::<Vec<_>>()), &floats(&b_dims, &b)]);
        let mut expected = Vec::new();
        for c in coordinates(y.dims()) {
            let (lead, row, column) = (&c[..c.len() - 2], c[c.len() - 2], c[c.len() - 1]);
            let of = |own: &[usize], i: usize, j: usize| -> Vec<usize> {
                lead.iter().zip(own).map(|(c, d)| if *d == 1 { 0 } else { *c }).chain([i, j]).collect()
            };
            let term = |i: usize| {
                let right = if trans_b { of(&b_batch, column, i) } else { of(&b_batch, i, column) };
                (a[flat(&a_dims, &of(&a_batch, row, i))] - i64::from(za)) * b[flat(&b_dims, &right)]
            };
            expected.push((0..k).map(term).sum::<i64>());
        }
        prop_assert_eq!(&y.ints().unwrap(), &expected);
        prop_assert_eq!(f.f32s().unwrap().iter().map(|v| *v as i64).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn pooling_is_its_definition(w in window(), n in 1usize..3, c in 1usize..3, ceil: bool, include: bool, seed: u64) {
        let dims = [&[n, c][..], &w.image].concat();
        let xs = data(dims.iter().product(), seed, -100, 100);
        let w = w.padded_less_than_windows();
        let p = w.pool(ceil, include);
        let (x, q) = (floats(&dims, &xs), quantized(DType::I8, &dims, 5, &xs));
        let Ok(max) = run(&Op::MaxPool(p.clone()), &[&x]) else { return Ok(()) };
        let avg = one(&Op::AvgPool(p.clone()), &[&x]);
        prop_assert_eq!(max[0].dims(), [&[n, c][..], &w.positions(ceil)].concat());
        let qmax = one(&Op::MaxPool(p.clone()), &[&q]);
        let padded: Vec<i64> = (0..w.image.len()).map(|i| (w.image[i] + w.pads[i + w.image.len()]) as i64).collect();
        for (i, y) in coordinates(max[0].dims()).iter().enumerate() {
            let (mut seen, mut count) = (Vec::new(), 0);
            for k in coordinates(&w.kernel) {
                let place = w.source(&y[2..], &k);
                let source = [&[y[0] as i64, y[1] as i64][..], &place].concat();
                let value = at(&xs, &dims, &source);
                seen.extend(value);
                // Taps in the padding before always lie in it: the window starts there.
                let counted = place.iter().zip(&padded).all(|(p, end)| p < end);
                count += usize::from(if include { counted } else { value.is_some() });
            }
            if seen.is_empty() {
                prop_assert_eq!(max[0].f32s().unwrap()[i], f32::NEG_INFINITY);
                prop_assert_eq!(qmax.ints().unwrap()[i], -128);
                continue;
            }
            let largest = *seen.iter().max().unwrap();
            prop_assert_eq!(max[0].f32s().unwrap()[i], largest as f32);
            prop_assert_eq!(qmax.ints().unwrap()[i], largest);
            prop_assert_eq!(avg.f32s().unwrap()[i], seen.iter().sum::<i64>() as f32 / count as f32);
        }
    }

    #[test]
    fn moves_are_index_formulas(
        dims in vec(1usize..5, 1..4), seed: u64,
        begins in vec(-2i64..4, 4), ends in vec(-2i64..4, 4),
        cuts in vec((-7i64..7, -7i64..7, prop::sample::select(vec![-3i64, -2, -1, 1, 2, 3])), 4),
    ) {
        let xs = data(dims.iter().product(), seed, -8, 7);
        let rank = dims.len();
        for dtype in [DType::F32, DType::I8, DType::I64, DType::I4, DType::F16] {
            let ty = Type::plain(dtype, dims.clone());
            let x = match dtype.is_float() {
                true => Tensor::from_floats(ty, xs.iter().map(|v| *v as f32).collect()).unwrap(),
                false => Tensor::from_ints(ty, &xs).unwrap(),
            };
            let value = |t: &Tensor, i: usize| t.reals().unwrap()[i] as i64;

            let perm: Vec<usize> = (0..rank).map(|i| (i + seed as usize % rank) % rank).collect();
            let y = one(&Op::Transpose { perm: perm.clone() }, &[&x]);
            for (i, c) in coordinates(y.dims()).iter().enumerate() {
                let mut source = vec![0; rank];
                perm.iter().zip(c).for_each(|(p, c)| source[*p] = *c);
                prop_assert_eq!(value(&y, i), xs[flat(&dims, &source)]);
            }

            let pad = Pad { begins: begins[..rank].to_vec(), ends: ends[..rank].to_vec(), mode: PadMode::Constant(3.) };
            if let Ok(y) = run(&Op::Pad(pad), &[&x]) {
                for (i, c) in coordinates(y[0].dims()).iter().enumerate() {
                    let source: Vec<i64> = c.iter().zip(&begins).map(|(c, b)| *c as i64 - b).collect();
                    prop_assert_eq!(value(&y[0], i), at(&xs, &dims, &source).unwrap_or(3));
                }
            }

            let axes = cuts.iter().take(rank).enumerate();
            let slice = axes.map(|(axis, (start, end, step))| SliceAxis { axis: axis as i64, start: *start, end: *end, step: *step });
            let y = one(&Op::Slice(slice.collect()), &[&x]);
            // Walk from the start while before the end; ONNX limits the start to an element, where numpy gives none.
            let chosen: Vec<Vec<usize>> = dims.iter().zip(&cuts).map(|(n, (start, end, step))| {
                let n = *n as i64;
                let from_end = |p: i64| if p < 0 { p + n } else { p };
                let (mut p, end) = (from_end(*start), from_end(*end).clamp(-1, n));
                p = if *step > 0 { p.max(0) } else { p.clamp(0, n - 1) };
                let mut list = Vec::new();
                while (*step > 0 && p < end) || (*step < 0 && p > end && p >= 0) {
                    list.push(p as usize);
                    p += step;
                }
                list
            }).collect();
            prop_assert_eq!(y.dims(), chosen.iter().map(Vec::len).collect::<Vec<_>>());
            for (i, c) in coordinates(y.dims()).iter().enumerate() {
                let source: Vec<usize> = c.iter().zip(&chosen).map(|(c, list)| list[*c]).collect();
                prop_assert_eq!(value(&y, i), xs[flat(&dims, &source)]);
            }
        }
    }

    #[test]
    fn pairs_broadcast_as_numpy(dims in vec(1usize..4, 0..4), masks: (u8, u8), drop in 0usize..3, seed: u64) {
        let thin = |mask: u8| -> Vec<usize> {
            dims.iter().enumerate().map(|(i, d)| if mask >> i & 1 == 1 { 1 } else { *d }).collect()
        };
        let a_dims = thin(masks.0);
        let b_dims = thin(masks.1)[drop.min(dims.len())..].to_vec();
        let (a, b) = (data(a_dims.iter().product(), seed, -99, 99), data(b_dims.iter().product(), seed ^ 1, -99, 99));
        let y = one(&Op::Binary(Binary::Sub), &[&floats(&a_dims, &a), &floats(&b_dims, &b)]);
        for (i, c) in coordinates(y.dims()).iter().enumerate() {
            let of = |own: &[usize], values: &[i64]| {
                let c: Vec<usize> = c[c.len() - own.len()..].iter().zip(own).map(|(c, d)| if *d == 1 { 0 } else { *c }).collect();
                values[flat(own, &c)]
            };
            prop_assert_eq!(y.f32s().unwrap()[i] as i64, of(&a_dims, &a) - of(&b_dims, &b));
        }
    }
}

// ---- any operator, any attributes ----

fn attribute() -> impl Strategy<Value = usize> {
    prop_oneof![8 => 0usize..4, 1 => Just(usize::MAX), 1 => Just(1 << 40)]
}

fn signed() -> impl Strategy<Value = i64> {
    prop_oneof![8 => -4i64..5, 1 => Just(i64::MIN), 1 => Just(i64::MAX), 1 => Just(1 << 40)]
}

fn real() -> impl Strategy<Value = f32> {
    prop_oneof![4 => -2f32..3.0, 1 => prop::sample::select(vec![f32::NAN, f32::INFINITY, -f32::INFINITY, 0.0, 1e-45, 1e38])]
}

fn any_pool() -> impl Strategy<Value = Pool> {
    (1usize..4).prop_flat_map(|n| {
        let list = |n| vec(prop_oneof![9 => 1usize..4, 1 => attribute()], n);
        let pads = vec(prop_oneof![9 => 0usize..2, 1 => attribute()], 2 * n);
        (list(n), list(n), pads, list(n), any::<(bool, bool)>()).prop_map(
            |(kernel, strides, pads, dilations, (ceil_mode, count_include_pad))| Pool {
                kernel,
                strides,
                pads,
                dilations,
                ceil_mode,
                count_include_pad,
            },
        )
    })
}

fn any_pad() -> impl Strategy<Value = Pad> {
    let mode = prop_oneof![
        real().prop_map(PadMode::Constant),
        Just(PadMode::Reflect),
        Just(PadMode::Edge),
        Just(PadMode::Wrap)
    ];
    let amounts = (1usize..5).prop_flat_map(|n| (vec(signed(), n), vec(signed(), n)));
    (amounts, mode).prop_map(|((begins, ends), mode)| Pad { begins, ends, mode })
}

fn any_grid() -> impl Strategy<Value = GridSample> {
    let mode = prop::sample::select(GridMode::iter().collect::<Vec<_>>());
    let padding = prop::sample::select(GridPadding::iter().collect::<Vec<_>>());
    (mode, padding, any::<bool>()).prop_map(|(mode, padding, align_corners)| GridSample {
        mode,
        padding,
        align_corners,
    })
}

fn any_roi() -> impl Strategy<Value = RoiAlign> {
    let mode = prop::sample::select(RoiMode::iter().collect::<Vec<_>>());
    (mode, attribute(), attribute(), attribute(), real(), any::<bool>()).prop_map(
        |(mode, height, width, sampling, scale, half_pixel)| RoiAlign {
            mode,
            height,
            width,
            sampling,
            scale,
            half_pixel,
        },
    )
}

fn any_op() -> impl Strategy<Value = Op> {
    let conv =
        any_pool().prop_map(|p| Op::Conv(Conv { strides: p.strides, pads: p.pads, dilations: p.dilations, group: 1 }));
    let coordinates =
        prop_oneof![
            Just(Coordinates::HalfPixel),
            Just(Coordinates::PytorchHalfPixel),
            Just(Coordinates::AlignCorners),
            Just(Coordinates::Asymmetric),
            Just(Coordinates::HalfPixelSymmetric),
            (vec(real(), 1..5), vec(real(), 1..5), real())
                .prop_map(|(begins, ends, outside)| Coordinates::Crop(Crop { begins, ends, outside })),
        ];
    let mode = prop::sample::select(vec![
        ResizeMode::Linear,
        ResizeMode::Cubic { a: -0.75 },
        ResizeMode::Nearest(Nearest::Floor),
        ResizeMode::Nearest(Nearest::Ceil),
        ResizeMode::Nearest(Nearest::RoundPreferCeil),
        ResizeMode::Nearest(Nearest::RoundPreferFloor),
    ]);
    let resize =
        (vec(real(), 0..5), prop::option::of(vec(attribute(), 1..5)), mode, coordinates, any::<(bool, bool)>());
    let kind = prop::sample::select(ReduceKind::iter().collect::<Vec<_>>());
    let reduction = || prop::sample::select(Scatter::iter().collect::<Vec<_>>());
    let slice = vec((signed(), signed(), signed(), signed()), 0..4);
    let mut unary = Unary::all();
    unary.extend([
        Unary::Elu { alpha: 1. },
        Unary::Selu { alpha: 1.5, gamma: 1.25 },
        Unary::Celu { alpha: 0.5 },
        Unary::ThresholdedRelu { alpha: 0.25 },
        Unary::LeakyRelu { alpha: 0.1 },
        Unary::HardSigmoid { alpha: 0.2, beta: 0.5 },
    ]);
    let unary = prop::sample::select(unary);
    let dtype = prop::sample::select(DType::ALL.to_vec());
    prop_oneof![
        conv,
        any::<bool>().prop_map(|trans_b| Op::MatMul(MatMul { trans_b })),
        real().prop_map(|epsilon| Op::BatchNorm { epsilon }),
        (signed(), real()).prop_map(|(axis, epsilon)| Op::LayerNorm { axis, epsilon }),
        signed().prop_map(|axis| Op::Softmax { axis }),
        Just(Op::Relu),
        (real(), real()).prop_map(|(min, max)| Op::Clip { min, max }),
        unary.prop_map(Op::Unary),
        prop::sample::select(Binary::all()).prop_map(Op::Binary),
        Just(Op::Where),
        dtype.prop_map(|to| Op::Cast { to }),
        any_pool().prop_map(Op::MaxPool),
        any_pool().prop_map(Op::AvgPool),
        Just(Op::GlobalAvgPool),
        (kind, vec(signed(), 0..3), any::<bool>()).prop_map(|(kind, axes, keep_dims)| Op::Reduce(Reduce {
            kind,
            axes,
            keep_dims
        })),
        signed().prop_map(|axis| Op::Concat { axis }),
        (signed(), vec(attribute(), 0..3)).prop_map(|(axis, sizes)| Op::Split { axis, sizes }),
        slice.prop_map(|s| Op::Slice(
            s.into_iter().map(|(axis, start, end, step)| SliceAxis { axis, start, end, step }).collect()
        )),
        any_pad().prop_map(Op::Pad),
        vec(signed(), 0..5).prop_map(|dims| Op::Reshape { dims }),
        signed().prop_map(|axis| Op::Flatten { axis }),
        vec(signed(), 0..3).prop_map(|axes| Op::Squeeze { axes }),
        vec(signed(), 0..3).prop_map(|axes| Op::Unsqueeze { axes }),
        vec(attribute(), 0..5).prop_map(|perm| Op::Transpose { perm }),
        signed().prop_map(|axis| Op::Gather { axis }),
        signed().prop_map(|axis| Op::GatherElements { axis }),
        attribute().prop_map(|batch_dims| Op::GatherNd { batch_dims }),
        (signed(), reduction()).prop_map(|(axis, reduction)| Op::ScatterElements { axis, reduction }),
        reduction().prop_map(|reduction| Op::ScatterNd { reduction }),
        (signed(), attribute(), any::<(bool, bool)>()).prop_map(|(axis, k, (largest, sorted))| Op::TopK(TopK {
            axis,
            k,
            largest,
            sorted
        })),
        (signed(), any::<(bool, bool)>()).prop_map(|(axis, (exclusive, reverse))| Op::CumSum(CumSum {
            axis,
            exclusive,
            reverse
        })),
        vec(attribute(), 0..5).prop_map(|dims| Op::Expand { dims }),
        resize.prop_map(|(scales, sizes, mode, coordinates, (antialias, exclude_outside))| Op::Resize(Resize {
            scales,
            sizes,
            mode,
            coordinates,
            antialias,
            exclude_outside
        })),
        any_grid().prop_map(Op::GridSample),
        any_roi().prop_map(Op::RoiAlign),
        (attribute(), real(), prop::option::of(real()), any::<bool>()).prop_map(|(most, iou, score, center)| {
            Op::NonMaxSuppression(NonMaxSuppression { most, iou, score, center })
        }),
        Just(Op::Identity),
        Just(Op::Dequantize),
    ]
}

/// A small tensor of any kind, with special floats among its values.
fn any_tensor() -> impl Strategy<Value = Tensor> {
    let kind = prop_oneof![3 => Just(DType::F32), 1 => prop::sample::select(DType::ALL.to_vec())];
    (kind, vec(0usize..5, 0..5), any::<u64>(), any::<bool>()).prop_map(|(dtype, dims, seed, quantize)| {
        let count = dims.iter().product();
        let special = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -0.0, f32::MAX, 1e-42];
        let Some((lo, hi)) = dtype.range() else {
            let value = |v: i64| special.get((v + 20) as usize).copied().unwrap_or(v as f32 / 4.);
            let values = data(count, seed, -20, 20).into_iter().map(value).collect();
            return Tensor::from_floats(Type::plain(dtype, dims), values).unwrap();
        };
        let values = data(count, seed, lo.max(-5), hi.min(5));
        let quant = (quantize && dtype != DType::Bool).then(|| Quant::per_tensor(0.5, 1, lo, hi));
        Tensor::from_ints(Type { dtype, shape: dims.into(), quant }, &values).unwrap()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60_000))]

    /// Nothing panics, and what inference says of an open batch is what comes out for this one.
    #[test]
    fn inference_and_results_agree(op in any_op(), tensors in vec(any_tensor(), 1..4), alike: bool) {
        let (least, most) = op.arity();
        // Operands alike get past the type checks more often.
        let pick = |i: usize| if alike { &tensors[0] } else { &tensors[i % tensors.len()] };
        let operands: Vec<&Tensor> = (0..least.max(tensors.len().min(most))).map(pick).collect();
        let result = run(&op, &operands);

        let given: Vec<Option<&Type>> = operands.iter().map(|t| Some(t.ty())).collect();
        let inferred = infer(&op, &given, &[], &Customs::default());
        if let Ok(result) = &result {
            let types: Vec<Type> = result.iter().map(|t| t.ty().clone()).collect();
            prop_assert_eq!(&types, &inferred.unwrap());
        }

        let symbol = |t: &Tensor| {
            let open = |(i, d): (usize, &usize)| if i == 0 { Dim::Symbol(format!("N{d}").into()) } else { Dim::Known(*d) };
            Type { shape: Shape(t.dims().iter().enumerate().map(open).collect()), ..t.ty().clone() }
        };
        let open: Vec<Type> = operands.iter().map(|t| symbol(t)).collect();
        let open: Vec<Option<&Type>> = open.iter().map(Some).collect();
        if let (Ok(open), Ok(result)) = (infer(&op, &open, &[], &Customs::default()), &result) {
            prop_assert_eq!(open.len(), result.len());
            for (ty, tensor) in open.iter().zip(result) {
                prop_assert_eq!(ty.dtype, tensor.dtype());
                prop_assert_eq!(ty.shape.rank(), tensor.dims().len());
                for (dim, size) in ty.shape.0.iter().zip(tensor.dims()) {
                    let plain = match dim {
                        Dim::Known(n) => Some(*n),
                        Dim::Symbol(s) => s.strip_prefix('N').and_then(|n| n.parse().ok()),
                    };
                    // Other symbols are formulas; they stand for whatever came out.
                    prop_assert!(plain.is_none_or(|n| n == *size), "{:?}: {} is {}", op, dim, size);
                }
            }
        }
    }
}
