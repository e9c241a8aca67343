//! What users put in place of ours, and get wrong: an error that names it, at once.

mod common;

use common::{Random, graph, outputs, run_pipeline};
use lowbit_ir::{Graph, Kind, ValueId};
use lowbit_quantize::{Annotator, Call, Config, Decision, Options, Passes, Phase, Refinements, Rules, Spec};

const LAYERS: &str = r#"
graph "layers" {
  input %x: f32[1x2x4x4]
  const %w1: f32[3x2x1x1] = random
  const %w2: f32[2x3x1x1] = random
  %c1 = Conv(%x, %w1)
  %r1 = Relu(%c1)
  %y = Conv(%r1, %w2)
  output %y
}
"#;

fn error(options: Options) -> String {
    let g = graph(LAYERS);
    run_pipeline(&g, &options, &Random(1).samples(&g, 2)).unwrap_err().to_string()
}

fn of_rule(rule: impl Fn(&Call, &mut Annotator) -> lowbit_ir::Result<Decision> + Send + Sync + 'static) -> String {
    error(Options { rules: Rules::standard().override_op("Conv", rule), ..Options::default() })
}

#[test]
fn what_a_rule_asks_wrongly_is_refused_by_node_and_rule() {
    // A graph of more values than the one that is annotated.
    let mut foreign = Graph::new("foreign");
    let ids: Vec<ValueId> = (0..200)
        .map(|i| foreign.add_input(&format!("v{i}"), lowbit_ir::Type::f32([1usize].as_slice().to_vec())))
        .collect();
    let last = ids[ids.len() - 1];
    let cases = [
        (
            of_rule(move |_, cx| cx.simulate(last, Kind::Input, Spec::default()).map(|_| Decision::Integer)),
            "of the graph",
        ),
        (of_rule(move |call, cx| cx.keep(call, [last])), "of the graph"),
        (of_rule(move |_, cx| cx.simulate_joined(last).map(|_| Decision::Integer)), "of the graph"),
        (
            of_rule(|call, cx| cx.simulate(call.data(), Kind::Weight, Spec::bits(8)).map(|_| Decision::Integer)),
            "expected a constant for Kind::Weight",
        ),
        (
            of_rule(|call, cx| {
                cx.simulate(call.data(), Kind::Input, Spec::default().observer("mimax")).map(|_| Decision::Integer)
            }),
            "no observer is named 'mimax' (did you mean 'minmax'?)",
        ),
    ];
    for (error, why) in cases {
        assert!(error.contains(why), "{why}: {error}");
        assert!(error.contains("node 'y'") && error.contains("'override Conv'"), "{why}: {error}");
    }
}

#[test]
fn a_pass_that_makes_another_model_is_refused_by_name_at_every_phase() {
    let phases = [
        Phase::Imported,
        Phase::Prepared,
        Phase::Equalized,
        Phase::Annotated,
        Phase::Calibrated,
        Phase::Refined,
        Phase::Realized,
    ];
    type Change = fn(&mut Graph);
    let changes: [(&str, Change); 4] = [
        ("outputs to stay 'y' f32[1x2x4x4], found none", |g| g.outputs.clear()),
        ("inputs to stay 'x' f32[1x2x4x4], found none", |g| *g = Graph::new("empty")),
        ("found 'z' f32[1x2x4x4]", |g| {
            let y = g.outputs[0];
            g.rename(y, "z");
        }),
        ("found 'x' f32[1x2x4x4], 'more' f32[3]", |g| {
            g.add_input("more", lowbit_ir::Type::f32(vec![3usize]));
        }),
    ];
    for phase in phases {
        for (why, change) in changes {
            let pass = move |g: &mut Graph| {
                change(g);
                Ok(true)
            };
            let error = error(Options { passes: Passes::default().at(phase, "wrong", pass), ..Options::default() });
            assert!(error.contains("'wrong'") && error.contains(why), "{phase:?}: {error}");
        }
    }
}

#[test]
fn a_refinement_that_makes_another_model_is_refused_by_name() {
    let refinements = Refinements::standard().with("wrong", |g, _| {
        g.outputs.clear();
        Ok(Vec::new())
    });
    let config = Config { refinements: vec!["wrong".into(), "bias-correction".into()], ..Config::default() };
    let error = error(Options { refinements, config, ..Options::default() });
    assert!(error.contains("'wrong'") && error.contains("outputs to stay 'y'"), "{error}");
}

#[test]
fn a_pass_on_the_imported_graph_comes_before_prepare() {
    let g = graph(&LAYERS.replace("%r1 = Relu(%c1)", "%i = Identity(%c1)\n  %r1 = Relu(%i)"));
    let samples = Random(1).samples(&g, 2);
    // Prepare takes the Identity away; what the file has is still there.
    let pass = |g: &mut Graph| {
        assert!(g.find("i").is_some());
        let w = g.find("w2").unwrap();
        let t = g.constant(w).unwrap();
        let doubled = t.floats().unwrap().iter().map(|w| 2.0 * w).collect();
        let t = lowbit_ir::Tensor::from_f32(t.dims(), doubled)?;
        g.set_const(w, t);
        Ok(true)
    };
    let passes = Passes::default().at(Phase::Imported, "double", pass);
    let q = run_pipeline(&g, &Options { passes, ..Options::default() }, &samples).unwrap();
    for (a, b) in outputs(&g, &samples[0])[0].iter().zip(&outputs(&q.float, &samples[0])[0]) {
        assert!((2.0 * a - b).abs() <= 1e-5 * b.abs().max(1.0), "{a} {b}");
    }
}
