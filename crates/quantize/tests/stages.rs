//! Every stage alone, and what a user can put in its place.

mod common;

use common::{Random, graph, only_integers, ops, outputs, run_pipeline};
use lowbit_ir::interp::Interpreter;
use lowbit_ir::pass::StopAfter;
use lowbit_ir::{Kind, Op, Request, Result};
use lowbit_quantize::calibrate::{apply, observe};
use lowbit_quantize::observe::{Range, Seen};
use lowbit_quantize::{
    Config, Decision, Observer, Observers, Options, Passes, Phase, Prepare, Realizers, Refinements, Rules, Spec, Stats,
    analysis, annotate, calibrate, prepare, quantize, realize,
};

const NET: &str = r#"
graph "net" {
  input %x: f32[1x3x6x6]
  const %w1: f32[4x3x3x3] = random
  const %b1: f32[4] = random
  const %w2: f32[4x1x3x3] = random
  const %w3: f32[5x4x1x1] = random
  %c1 = Conv(%x, %w1, %b1) {pads [1, 1, 1, 1]}
  %r1 = Clip(%c1) {min 0, max 6}
  %c2 = Conv(%r1, %w2) {pads [1, 1, 1, 1], group 4}
  %s = HardSwish(%c2)
  %y = Conv(%s, %w3)
  output %y
}
"#;

#[test]
fn stages_run_alone_and_the_qdq_graph_enters_realize_again() {
    let g = graph(NET);
    let samples = Random(3).samples(&g, 8);
    let options = Options { config: Config { refinements: vec![], ..Config::default() }, ..Options::default() };
    let whole = run_pipeline(&g, &options, &samples).unwrap();
    let mut by_hand = g.clone();
    let _ = prepare(&mut by_hand, &mut Prepare::default(), &mut ()).unwrap();
    annotate(&mut by_hand, &options).unwrap();
    calibrate(&mut by_hand, &options, &Interpreter::default(), &samples).unwrap();
    by_hand.sweep();
    // A QDQ graph that went through a file is prepared again before it is realized.
    let mut again = lowbit_ir::text::parse(&lowbit_ir::text::print(&by_hand)).unwrap();
    let _ = prepare(&mut again, &mut Prepare::default(), &mut ()).unwrap();
    realize(&mut again, &options.config, &Realizers::standard()).unwrap();
    lowbit_ir::verify::verify(&again).unwrap();
    assert_eq!(ops(&again), ops(&whole.integer));
    for sample in &samples {
        assert_eq!(outputs(&again, sample), outputs(&whole.integer, sample));
    }
}

#[test]
fn statistics_of_parts_merge_to_those_of_the_whole() {
    let mut g = graph(NET);
    let samples = Random(3).samples(&g, 9);
    annotate(&mut g, &Options::default()).unwrap();
    let see = |part: &[Vec<lowbit_ir::Tensor>]| observe(&g, &Interpreter::default(), &part.to_vec(), 0).unwrap();
    let whole = see(&samples);
    let mut merged = Stats::default();
    for part in [&samples[5..], &samples[..2], &samples[2..5]] {
        merged.merge(&see(part));
    }
    assert_eq!(whole.samples, 9);
    // Merged statistics have no order, so they know no moving averages; of all else they are the whole's.
    let mut unordered = Stats::default();
    unordered.merge(&whole);
    assert!(unordered == merged);
    let (mut a, mut b) = (g.clone(), g.clone());
    assert_eq!(
        apply(&mut a, &whole, &Observers::standard()).unwrap(),
        apply(&mut b, &merged, &Observers::standard()).unwrap()
    );
    assert_eq!(a, b);
}

#[test]
fn a_rule_of_the_users_replaces_the_standard_one() {
    let g = graph(NET);
    let samples = Random(3).samples(&g, 4);
    // Depthwise layers get wider weights, all others 4 bits.
    let rules = Rules::standard().override_op("Conv", |call, cx| {
        let depthwise = matches!(&call.op, Op::Conv(c) if c.group > 1);
        let x = cx.simulate_input(call.data()?)?;
        let w = cx.simulate(call.weight(), Kind::Weight, Spec::bits(if depthwise { 8 } else { 4 }))?;
        cx.keep(call, [x, w])
    });
    let q = run_pipeline(&g, &Options { rules, ..Options::default() }, &samples).unwrap();
    assert!(only_integers(&q.integer));
    let greatest = |name: &str| {
        let v = q.integer.find(&format!("{name}.q")).unwrap();
        q.integer.constant(v).unwrap().ints().unwrap().into_iter().map(i64::abs).max()
    };
    assert_eq!((greatest("w1"), greatest("w2"), greatest("w3")), (Some(7), Some(127), Some(7)));
    assert!(q.report.layers.iter().all(|l| l.rule == "override Conv"));
}

#[test]
fn a_rule_that_declines_is_told_in_the_report() {
    let g = graph(NET);
    let rules = Rules::standard().override_op("HardSwish", |_, _| Ok(Decision::Float("I want it so".into())));
    let q = run_pipeline(&g, &Options { rules, ..Options::default() }, &Random(3).samples(&g, 4)).unwrap();
    let left: Vec<_> = q.report.left_float.iter().map(|l| (&*l.node, &*l.reason, &*l.rule)).collect();
    assert_eq!(left, [("s", "I want it so", "override HardSwish")]);
    assert_eq!(q.report.integer_macs_percent, 100.0);
}

#[test]
fn a_rule_goes_by_any_name_of_its_operator() {
    let g = graph(NET);
    let rules = Rules::standard().override_op("nn.conv2d", |_, _| Ok(Decision::Float("as asked".into())));
    let q = run_pipeline(&g, &Options { rules, ..Options::default() }, &Random(3).samples(&g, 1)).unwrap();
    assert!(q.report.left_float.iter().any(|l| l.op == "Conv" && l.rule == "override Conv" && l.reason == "as asked"));
}

#[test]
fn a_rule_for_no_operator_is_refused() {
    let g = graph(NET);
    let rules = Rules::standard().override_op("Cnv", |_, _| Ok(Decision::Float("never asked".into())));
    let e = run_pipeline(&g, &Options { rules, ..Options::default() }, &Random(3).samples(&g, 1)).unwrap_err();
    assert!(e.to_string().contains("'Cnv', which does not exist (did you mean 'Conv'?)"), "{e}");
}

#[test]
fn bias_correction_brings_the_means_back() {
    let g = graph(NET);
    let samples = Random(3).samples(&g, 16);
    // At 3 bits the weights are coarse enough for means to move.
    let with = |refinements: Vec<String>| {
        let config = Config { weight: Spec::bits(3), refinements, ..Config::default() };
        let q = run_pipeline(&g, &Options { config, ..Options::default() }, &samples).unwrap();
        let mean = |g: &lowbit_ir::Graph| {
            let mut sums = vec![0.0f64; 5];
            for sample in &samples {
                for (i, y) in outputs(g, sample)[0].iter().enumerate() {
                    sums[i / 36] += f64::from(*y);
                }
            }
            sums
        };
        mean(&g).iter().zip(mean(&q.qdq)).map(|(a, b)| (a - b).abs()).sum::<f64>()
    };
    let none = with(vec![]);
    // The local form corrects each layer as if those before were exact, so what they still get wrong remains; the
    // sequential form sees it, and leaves the mean of the last layer wrong by the rounding of its bias alone.
    let (local, sequential) = (with(vec!["bias-correction".into()]), with(vec!["bias-correction-sequential".into()]));
    assert!(local < none, "{local} from {none}");
    assert!(sequential < 0.1 * none, "{sequential} from {none}");
}

#[test]
fn comparison_finds_every_value_by_name() {
    let g = graph(NET);
    let samples = Random(3).samples(&g, 4);
    let q = run_pipeline(&g, &Options::default(), &samples).unwrap();
    let errors = analysis::compare(&q.float, &q.integer, &Interpreter::default(), &samples, 0).unwrap();
    let names: Vec<&str> = errors.iter().map(|e| e.value.as_str()).collect();
    assert_eq!(names, ["r1", "c2", "s", "y"]);
    for e in &errors {
        assert!(e.sqnr_db > 25.0 && e.cosine > 0.99, "{e:?}");
    }
    assert_eq!(analysis::worst(&errors, 1)[0].sqnr_db, errors.iter().map(|e| e.sqnr_db).fold(f64::INFINITY, f64::min));
}

#[test]
fn a_watch_stops_after_any_pass_or_stage() {
    let g = graph(NET);
    let samples = Random(3).samples(&g, 2);
    let names: Vec<&str> = lowbit_quantize::pass_names();
    for name in &names {
        let mut stop = StopAfter::new(name, &names).unwrap();
        let done = quantize(g.clone(), &Options::default(), &Interpreter::default(), &samples, &mut stop).unwrap();
        assert!(done.is_none(), "{name} did not stop it");
    }
}

/// Panics.
struct Luckless;

impl Observer for Luckless {
    fn name(&self) -> &str {
        "luckless"
    }

    fn range(&self, _: &Seen, _: &Request) -> Result<Range> {
        panic!("bad luck")
    }
}

#[test]
fn a_panic_in_what_is_the_users_is_an_error_that_names_it() {
    let g = graph(NET);
    let samples = Random(3).samples(&g, 2);
    let named = |text: &str| Options { config: Config::from_toml(text).unwrap(), ..Options::default() };
    let observers = Observers::standard().with(Luckless);
    let cases = [
        (
            Options { rules: Rules::standard().override_op("Conv", |_, _| panic!("bad luck")), ..Options::default() },
            "node 'y': the rule panicked: bad luck",
        ),
        (Options { observers, ..named("input.observer = 'luckless'") }, "value 'x': the observer panicked: bad luck"),
        (
            Options {
                passes: Passes::default().at(Phase::Annotated, "luckless", |_| panic!("bad luck")),
                ..Options::default()
            },
            "the pass panicked: bad luck",
        ),
        (
            Options {
                refinements: Refinements::standard().with("luckless", |_, _| panic!("bad luck")),
                config: Config { refinements: vec!["luckless".into()], ..Config::default() },
                ..Options::default()
            },
            "the refinement panicked: bad luck",
        ),
        (
            Options {
                realizers: Realizers::standard().override_op("Conv", |_, _, _| panic!("bad luck")),
                ..Options::default()
            },
            "node 'c1': the realize function panicked: bad luck",
        ),
    ];
    for (options, why) in cases {
        let error = run_pipeline(&g, &options, &samples).unwrap_err().to_string();
        assert!(error.contains(why) && error.contains("should return an error instead"), "{why}: {error}");
    }
}
