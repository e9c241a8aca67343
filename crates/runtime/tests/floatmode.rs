//! A host process that left another float environment behind: what computes floats on its thread refuses, with a way out,
//! before anything is computed. A run is the exception: it sets the default environment itself.
#![cfg(target_arch = "x86_64")]

use lowbit::Model;
use lowbit::data::Dataset;
use lowbit_compile::{Target, compile};
use lowbit_ir::interp::Interpreter;
use lowbit_ir::{Engine, Graph, Tensor, text};
use lowbit_quantize::{
    Config, Options, Prepare, Refine, analysis, annotate, calibrate, equalize, prepare, quantize, realize, refine,
};
use lowbit_runtime::Session;

/// MXCSR after reset.
const DEFAULT: u32 = 0x1f80;

/// Flush-to-zero and denormals-are-zero, and the three other directions of rounding.
const MODES: [(&str, u32); 5] = [("ftz", 0x8000), ("daz", 0x40), ("down", 0x2000), ("up", 0x4000), ("zero", 0x6000)];

fn set(mxcsr: u32) {
    // SAFETY: ldmxcsr reads four bytes of a local, in which only control bits are set that every x86-64 has, with all
    // exceptions masked.
    unsafe { std::arch::asm!("ldmxcsr [{}]", in(reg) &mxcsr, options(nostack, preserves_flags)) };
}

/// What `f` gives in an environment.
fn under<R>(mode: u32, f: impl FnOnce() -> R) -> R {
    set(DEFAULT | mode);
    let result = f();
    set(DEFAULT);
    result
}

fn model() -> Graph {
    let weights = (0..12).map(|i| format!("{}", (i * 7 % 11) as f32 / 13.0 - 0.4)).collect::<Vec<_>>().join(", ");
    let source = format!(
        "graph \"g\" {{\n  input %x: f32[1x3]\n  const %w: f32[3x4] = [{weights}]\n  %h = MatMul(%x, %w)\n  %y = Sigmoid(%h)\n  output %y\n}}\n"
    );
    text::parse(&source).unwrap()
}

fn samples() -> Vec<Vec<Tensor>> {
    (0..4).map(|i| vec![Tensor::from_f32(&[1, 3], vec![0.3 * i as f32, -0.7, 0.1]).unwrap()]).collect()
}

#[test]
fn everything_that_computes_floats_refuses_another_environment() {
    let (config, engine) = (Config::default(), Interpreter::default());
    let (float, samples, options) = (model(), samples(), Options::default());
    let quantized = quantize(float.clone(), &options, &engine, &samples, &mut ()).unwrap().unwrap();
    let mut annotated = float.clone();
    annotate(&mut annotated, &options).unwrap();
    let stats = calibrate::observe(&annotated, &engine, &samples, 0).unwrap();
    let file = lowbit_frontend::export(&float).unwrap();
    let target = Target::isa("scalar").unwrap();
    let cx = Refine { float: &float, engine: &engine, samples: &samples, limit: 0 };

    type Entry<'a> = Box<dyn Fn() -> lowbit_ir::Result<()> + 'a>;
    let entries: Vec<(&str, Entry)> = vec![
        ("quantize", Box::new(|| quantize(float.clone(), &options, &engine, &samples, &mut ()).map(drop))),
        ("prepare", Box::new(|| prepare(&mut float.clone(), &mut Prepare::default(), &mut ()).map(|_flow| ()))),
        ("equalize", Box::new(|| equalize(&mut float.clone(), &config, &engine, &samples).map(drop))),
        ("annotate", Box::new(|| annotate(&mut float.clone(), &options).map(drop))),
        ("calibrate", Box::new(|| calibrate(&mut annotated.clone(), &options, &engine, &samples).map(drop))),
        ("calibrate::observe", Box::new(|| calibrate::observe(&annotated, &engine, &samples, 0).map(drop))),
        (
            "calibrate::apply",
            Box::new(|| calibrate::apply(&mut annotated.clone(), &stats, &options.observers).map(drop)),
        ),
        ("refine", Box::new(|| refine(&mut quantized.qdq.clone(), &options, &cx).map(drop))),
        ("realize", Box::new(|| realize(&mut quantized.qdq.clone(), &config, &options.realizers).map(drop))),
        ("compare", Box::new(|| analysis::compare(&float, &quantized.integer, &engine, &samples, 0).map(drop))),
        ("compile", Box::new(|| compile(&quantized.integer, &target).map(drop))),
        ("interpret", Box::new(|| engine.load(&float, &[]).map(drop))),
        ("load", Box::new(|| lowbit_frontend::load_bytes(file.clone().into(), None, &Default::default()).map(drop))),
    ];
    for (name, entry) in entries {
        entry().unwrap_or_else(|e| panic!("{name} in the default environment: {e}"));
        for (mode, bits) in MODES {
            let result = under(bits, &entry);
            let error = result.expect_err(&format!("{name} in the environment {mode}")).to_string();
            assert!(
                error.contains("round to nearest even") && error.contains("try: reset the mode"),
                "{name}: {error}"
            );
        }
    }
}

/// What a user calls: it gives the bits of the default environment, or says why not.
#[test]
fn whatever_a_user_calls_is_right_or_refused() {
    let demo = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../demo");
    let model = Model::load(demo.join("model.onnx")).unwrap();
    let preprocess = model.stored_preprocess().unwrap();
    let open = |spec: &str| Dataset::open(spec, &model.inputs(), preprocess.as_ref()).unwrap();
    let (images, noise) = (open(&demo.join("test").display().to_string()), open("random"));
    let config = || Config { samples: 4, io: lowbit_quantize::config::Io::Int8, ..Config::default() };
    let quantize = || model.quantize(lowbit::Quantize::default().data(&images).config(config()));
    let int8 = quantize().unwrap().model;
    let (float, lowered) = (model.lowered().unwrap().0, int8.lowered().unwrap().0);
    let inputs: Vec<Tensor> = images.sample(0).unwrap().inputs.into_iter().map(|(_, t)| t).collect();
    let engine = lowbit::Compiled::new(Target::host(), 2).unwrap();
    let programs = std::sync::Arc::new(lowbit::Programs::of(&int8, Target::host()).unwrap());
    let integers = lowbit::model::entering(&lowered, &inputs).unwrap().into_owned();
    // What a window of samples has read ahead in the default environment tells nothing of another.
    let ahead = |data: &Dataset| lowbit::prefetch::Prefetch::new(data, 3).get(1).map(|s| format!("{:?}", s.inputs));

    type Call<'a> = Box<dyn Fn() -> lowbit_ir::Result<String> + 'a>;
    let calls: Vec<(&str, Call)> = vec![
        ("load", Box::new(|| Model::load(demo.join("model.onnx")).map(|m| format!("{:?}", m.graph())))),
        ("an image", Box::new(|| images.sample(1).map(|s| format!("{:?}", s.inputs)))),
        ("images read ahead", Box::new(|| ahead(&images))),
        ("noise", Box::new(|| noise.sample(1).map(|s| format!("{:?}", s.inputs)))),
        ("what enters", Box::new(|| lowbit::model::entering(&lowered, &inputs).map(|t| format!("{t:?}")))),
        ("lower", Box::new(|| int8.lowered().map(|(g, _)| format!("{g:?}")))),
        ("quantize", Box::new(|| quantize().map(|q| format!("{:?}", q.integer)))),
        (
            "statistics",
            Box::new(|| model.calibrate(lowbit::Quantize::default().data(&images)).map(|s| format!("{s:?}"))),
        ),
        ("compile", Box::new(|| int8.compile(Target::host()).map(|_| String::new()))),
        ("run", Box::new(|| lowbit::Sessions::new(programs.clone(), 2)?.run(&integers).map(|o| format!("{o:?}")))),
        (
            "evaluate",
            Box::new(|| {
                let samples = lowbit::prefetch::Prefetch::new(&images, 3);
                lowbit::evaluate::evaluate(&lowered, Some(&float), &engine, &samples, None).map(|e| format!("{e:?}"))
            }),
        ),
        (
            "compare",
            Box::new(|| {
                lowbit::compare::compare_graphs(&float, &lowered, &engine, &images, 2).map(|c| format!("{c:?}"))
            }),
        ),
        ("simulate", Box::new(|| int8.simulated()?.lowered().map(|(g, _)| format!("{g:?}")))),
    ];
    let mut refused = Vec::new();
    for (name, call) in calls {
        let expected = call().unwrap_or_else(|e| panic!("{name} in the default environment: {e}"));
        for (mode, bits) in MODES {
            match under(bits, &call) {
                Ok(found) => assert!(found == expected, "{name} gives something else in the environment {mode}"),
                Err(e) => {
                    let error = e.to_string();
                    assert!(
                        error.contains("round to nearest even") && error.contains("try: reset the mode"),
                        "{error}"
                    );
                    refused.push(name);
                }
            }
        }
    }
    // A session's own run needs nothing of its caller.
    assert!(!refused.contains(&"run") && refused.contains(&"an image") && refused.contains(&"what enters"));
}

#[test]
fn a_run_has_its_own_environment() {
    let program = compile(&model(), &Target::isa("scalar").unwrap()).unwrap();
    let mut session = Session::new(program).unwrap();
    let inputs = &samples()[1];
    let expected = session.run(inputs).unwrap();
    for (mode, bits) in MODES {
        assert_eq!(under(bits, || session.run(inputs)).unwrap(), expected, "{mode}");
    }
}
