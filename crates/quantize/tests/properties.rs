//! What must hold of any network: random small ones through the whole pipeline, over the interpreter.

mod common;

use common::{Random, only_integers, outputs, run_pipeline};
use lowbit_ir::interp::Interpreter;
use lowbit_ir::op::{Binary, Conv, Pool, Unary};
use lowbit_ir::{Engine, Graph, Op, Type, ValueId, infer};
use lowbit_quantize::{Config, Options, Prepare, prepare};
use proptest::prelude::*;

/// One step of a random network; it keeps the shape [1, 4, 6, 6].
#[derive(Debug, Clone, Copy)]
enum Step {
    Conv {
        kernel: usize,
        depthwise: bool,
        bias: bool,
    },
    BatchNorm {
        negative: bool,
    },
    Relu,
    Clip,
    MaxPool,
    AvgPool,
    Table(usize),
    /// With the value this many steps ago.
    Add(usize),
    Mul(usize),
    ConcatSplit(usize),
    ConstantAdd,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (prop_oneof![Just(1usize), Just(3)], any::<bool>(), any::<bool>())
            .prop_map(|(kernel, depthwise, bias)| Step::Conv { kernel, depthwise, bias }),
        1 => any::<bool>().prop_map(|negative| Step::BatchNorm { negative }),
        2 => Just(Step::Relu),
        1 => Just(Step::Clip),
        1 => Just(Step::MaxPool),
        1 => Just(Step::AvgPool),
        2 => (0usize..4).prop_map(Step::Table),
        2 => (1usize..4).prop_map(Step::Add),
        1 => (1usize..4).prop_map(Step::Mul),
        1 => (1usize..4).prop_map(Step::ConcatSplit),
        1 => Just(Step::ConstantAdd),
    ]
}

const CHANNELS: usize = 4;

fn network(steps: &[Step], seed: u64) -> Graph {
    let mut random = Random(seed);
    let mut g = Graph::new("random");
    let mut values = vec![g.add_input("x", Type::f32(vec![1, CHANNELS, 6, 6]))];
    for (i, step) in steps.iter().enumerate() {
        let v = add_step(&mut g, &mut random, &values, *step, &format!("s{i}"));
        values.push(v);
    }
    // A last layer, so that something stays integer whatever the steps.
    let w = g.add_const("last.weight", random.tensor(&[3, CHANNELS, 1, 1], 0.5));
    let conv = Op::Conv(Conv { strides: vec![1, 1], pads: vec![0; 4], dilations: vec![1, 1], group: 1 });
    let y = infer::apply(&mut g, "y", conv, &[values.last().copied(), Some(w)]).unwrap();
    g.outputs = vec![y];
    g.sweep();
    g
}

fn add_step(g: &mut Graph, random: &mut Random, values: &[ValueId], step: Step, name: &str) -> ValueId {
    let x = values[values.len() - 1];
    let earlier = |n: usize| values[values.len().saturating_sub(n + 1)];
    let pool = |pads: usize| Pool {
        kernel: vec![3, 3],
        strides: vec![1, 1],
        pads: vec![pads; 4],
        dilations: vec![1, 1],
        ceil_mode: false,
        count_include_pad: false,
    };
    let mut constant = |g: &mut Graph, what: &str, dims: &[usize], scale: f32, shift: f32| {
        let t = random.tensor(dims, scale);
        let data = t.floats().unwrap().iter().map(|x| x + shift).collect();
        g.add_const(&format!("{name}.{what}"), lowbit_ir::Tensor::from_f32(dims, data).unwrap())
    };
    let (op, inputs) = match step {
        Step::Conv { kernel, depthwise, bias } => {
            let group = if depthwise { CHANNELS } else { 1 };
            let w = constant(g, "weight", &[CHANNELS, CHANNELS / group, kernel, kernel], 0.5, 0.0);
            let b = bias.then(|| constant(g, "bias", &[CHANNELS], 0.3, 0.0));
            let op = Conv { strides: vec![1, 1], pads: vec![kernel / 2; 4], dilations: vec![1, 1], group };
            (Op::Conv(op), [Some(x), Some(w)].into_iter().chain(b.map(Some)).collect::<Vec<_>>())
        }
        Step::BatchNorm { negative } => {
            let sign = if negative { -1.0 } else { 1.0 };
            let gamma = constant(g, "gamma", &[CHANNELS], 0.5, sign);
            let beta = constant(g, "beta", &[CHANNELS], 0.5, 0.0);
            let mean = constant(g, "mean", &[CHANNELS], 0.5, 0.0);
            let variance = constant(g, "variance", &[CHANNELS], 0.3, 1.0);
            let operands = [x, gamma, beta, mean, variance];
            (Op::BatchNorm { epsilon: 1e-3 }, operands.map(Some).to_vec())
        }
        Step::Relu => (Op::Relu, vec![Some(x)]),
        Step::Clip => (Op::Clip { min: -0.25, max: 1.0 }, vec![Some(x)]),
        Step::MaxPool => (Op::MaxPool(pool(1)), vec![Some(x)]),
        Step::AvgPool => (Op::AvgPool(pool(1)), vec![Some(x)]),
        Step::Table(i) => {
            let f = [Unary::Sigmoid, Unary::Silu, Unary::LeakyRelu { alpha: 0.1 }, Unary::Tanh][i];
            (Op::Unary(f), vec![Some(x)])
        }
        Step::Add(n) => (Op::Binary(Binary::Add), vec![Some(x), Some(earlier(n))]),
        Step::Mul(n) => (Op::Binary(Binary::Mul), vec![Some(x), Some(earlier(n))]),
        Step::ConstantAdd => {
            let c = constant(g, "c", &[6, 6], 0.5, 0.0);
            (Op::Binary(Binary::Add), vec![Some(x), Some(c)])
        }
        Step::ConcatSplit(n) => {
            let joined = format!("{name}.joined");
            let both = infer::apply(g, &joined, Op::Concat { axis: 1 }, &[Some(x), Some(earlier(n))]).unwrap();
            let axes = vec![lowbit_ir::op::SliceAxis { axis: 1, start: 2, end: 2 + CHANNELS as i64, step: 1 }];
            (Op::Slice(axes), vec![Some(both)])
        }
    };
    infer::apply(g, name, op, &inputs).unwrap()
}

/// For every value that is quantized in both forms: the greatest difference in steps, given the same input integers.
fn steps_apart(qdq: &Graph, integer: &Graph, sample: &[lowbit_ir::Tensor]) -> f32 {
    let pairs: Vec<(ValueId, ValueId)> = integer
        .values()
        .filter(|(_, v)| v.ty.is_quantized() && v.ty.dtype.bits() <= 16)
        .filter_map(|(id, v)| Some((qdq.find(&format!("{}.q", v.name))?, id)))
        .collect();
    // A BatchNorm in front of the last layer is folded into it, and then nothing narrow stands between.
    let folded = qdq.nodes().filter(|(_, n)| !matches!(n.op, Op::Quantize { .. } | Op::Dequantize)).count() == 1;
    assert!(folded || !pairs.is_empty(), "the two forms have no narrow value in common");
    let (a, b): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
    let run = |g: &Graph, taps: &[ValueId]| Interpreter::default().load(g, taps).unwrap().run(sample).unwrap().taps;
    let mut worst = 0.0f32;
    for (a, b) in run(qdq, &a).iter().zip(run(integer, &b)) {
        let step = a.ty().quant.as_ref().unwrap().scale[0];
        for (x, y) in a.reals().unwrap().iter().zip(b.reals().unwrap().iter()) {
            worst = worst.max((x - y).abs() / step);
        }
    }
    worst
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn prepare_keeps_what_the_graph_computes(steps in prop::collection::vec(step(), 1..9), seed: u64) {
        let g = network(&steps, seed);
        let mut prepared = g.clone();
        let _ = prepare(&mut prepared, &mut Prepare::default(), &mut ()).unwrap();
        let sample = &Random(seed ^ 1).samples(&g, 1)[0];
        let (before, after) = (outputs(&g, sample), outputs(&prepared, sample));
        let largest = before[0].iter().fold(1e-3f32, |m, x| m.max(x.abs()));
        for (a, b) in before[0].iter().zip(&after[0]) {
            prop_assert!((a - b).abs() <= 1e-4 * largest, "{a} became {b}");
        }
    }

    #[test]
    fn one_step_networks_are_integers_within_one_step(first in step(), seed: u64) {
        // One operator between quantized values: the integer form differs from the simulated one by rounding alone.
        let g = network(&[first], seed);
        let samples = Random(seed ^ 1).samples(&g, 3);
        let q = run_pipeline(&g, &Options::default(), &samples).unwrap();
        prop_assert!(only_integers(&q.integer), "{:?}", q.report.left_float);
        for sample in &samples {
            let worst = steps_apart(&q.qdq, &q.integer, sample);
            prop_assert!(worst <= 1.0001, "{worst} steps apart");
        }
    }

    #[test]
    fn any_network_becomes_integers(steps in prop::collection::vec(step(), 1..9), seed: u64, narrow: bool) {
        let g = network(&steps, seed);
        let samples = Random(seed ^ 1).samples(&g, 3);
        let output = if narrow { lowbit_quantize::config::Output::Narrow } else { lowbit_quantize::config::Output::Wide };
        let options = Options { config: Config { output, ..Config::default() }, ..Options::default() };
        let q = run_pipeline(&g, &options, &samples).unwrap();
        prop_assert!(only_integers(&q.integer), "{:?}", q.report.left_float);
        // Names of the source survive wherever the value does.
        let names = |g: &Graph| g.outputs.iter().map(|v| g.value(*v).name.clone()).collect::<Vec<_>>();
        prop_assert_eq!(names(&g), names(&q.qdq));
        prop_assert_eq!(names(&g), names(&q.integer));
    }
}
