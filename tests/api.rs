//! The public interface as a user meets it: programs shared, sessions by name, data sets as samples.

use lowbit::data::{Dataset, InputSpec, Preprocess, npy};
use lowbit::quantization::Samples;
use lowbit::{Config, Model, Passes, Phase, Program, Quantize, Session, Spec, Target, Tensor};
use lowbit_ir::{DType, Type};
use std::path::Path;
use std::sync::Arc;

fn tensor(values: [f32; 2]) -> Tensor {
    Tensor::from_floats(Type::plain(DType::F32, vec![1, 2]), values.to_vec()).unwrap()
}

fn difference() -> Arc<Program> {
    let text =
        "graph \"g\" {\n  input %left: f32[Nx2]\n  input %right: f32[Nx2]\n  %y = Sub(%left, %right)\n  output %y\n}\n";
    Model::from(lowbit_ir::text::parse(text).unwrap()).compile(Target::host()).unwrap()
}

#[test]
fn inputs_go_by_name_in_any_order() {
    let program = difference();
    let (left, right) = (tensor([5.0, 7.0]), tensor([1.0, 2.0]));
    let mut session = program.session().threads(2);
    for _ in 0..2 {
        let by_name = session.run([("right", &right), ("left", &left)]).unwrap();
        assert_eq!(by_name[0].floats().unwrap().as_ref(), [4.0, 5.0]);
    }
    // Owned names and tensors, as a sample has them.
    let owned = vec![("left".to_string(), right.clone()), ("right".to_string(), left.clone())];
    assert_eq!(session.run(owned).unwrap()[0].floats().unwrap().as_ref(), [-4.0, -5.0]);
    let in_order = session.run_in_order(&[left.clone(), right.clone()]).unwrap();
    assert_eq!(in_order, Session::new(program).unwrap().run(&[left, right]).unwrap());
}

#[test]
fn wrong_names_are_told_with_the_right_ones() {
    let program = difference();
    let x = tensor([1.0, 2.0]);
    let cases: [(&[(&str, &Tensor)], &str); 4] = [
        (&[("left", &x)], "found none for 'right'"),
        (&[], "found none for 'left', 'right'"),
        (&[("left", &x), ("rigth", &x)], "no input is named 'rigth' (did you mean 'right'?)"),
        (&[("left", &x), ("right", &x), ("left", &x)], "input 'left' is given twice"),
    ];
    for (inputs, expected) in cases {
        let e = program.session().run(inputs.iter().copied()).unwrap_err().to_string();
        assert!(e.contains(expected) && e.contains("'left' f32[1x2], 'right' f32[1x2]"), "{e}");
    }
}

#[test]
fn threads_share_a_program() {
    let program = difference();
    let run = |n: f32| program.session().run([("left", tensor([n, 0.0])), ("right", tensor([1.0, 1.0]))]).unwrap();
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..3u8).map(|n| scope.spawn(move || run(f32::from(n)))).collect();
        for (n, thread) in threads.into_iter().enumerate() {
            assert_eq!(thread.join().unwrap()[0].floats().unwrap()[0], n as f32 - 1.0);
        }
    });
}

/// Sessions of one program on threads of their own, with pools of several sizes, in any order of the inputs, errors of some
/// of them in between: nobody sees what another one does.
#[test]
fn sessions_at_once_give_what_each_gives_alone() {
    let model = Model::load("demo/model.onnx").unwrap();
    let images = Dataset::open("demo/test", &model.inputs(), model.stored_preprocess().unwrap().as_ref()).unwrap();
    let config = Config { samples: 8, ..Config::default() };
    let int8 = model.quantize(Quantize::default().data(&images).config(config)).unwrap().model;
    let inputs: Vec<Vec<Tensor>> = (0..6).map(|i| Samples::sample(&images, i).unwrap()).collect();
    let wrong = [tensor([1.0, 2.0])];
    for program in [model.compile(Target::host()).unwrap(), int8.compile(Target::host()).unwrap()] {
        let alone: Vec<Vec<Tensor>> =
            inputs.iter().map(|x| program.session().threads(1).run_in_order(x).unwrap()).collect();
        std::thread::scope(|scope| {
            for t in 0..5usize {
                let (program, inputs, alone, wrong) = (&program, &inputs, &alone, &wrong);
                scope.spawn(move || {
                    let mut session = program.session().threads(1 + t % 3);
                    for round in 0..20 {
                        let i = (7 * t + 5 * round) % inputs.len();
                        if (round + t) % 6 == 0 {
                            assert!(session.run_in_order(wrong).is_err());
                        }
                        assert!(session.run_in_order(&inputs[i]).unwrap() == alone[i], "thread {t}, sample {i}");
                    }
                });
            }
        });
    }
}

#[test]
fn what_the_images_went_through_travels_with_the_quantized_model() {
    let model = Model::load("demo/model.onnx").unwrap();
    let unit = Preprocess::preset("unit").unwrap();
    let unit = Preprocess { resize: None, crop: None, ..unit };
    let images = Dataset::open("demo/calibration", &model.inputs(), Some(&unit)).unwrap();
    let config = Config { samples: 2, ..Config::default() };
    let quantized = model.quantize(Quantize::default().data(&images).config(config)).unwrap();
    assert_ne!(model.stored_preprocess().unwrap(), Some(unit.clone()));
    assert_eq!(quantized.model.stored_preprocess().unwrap(), Some(unit));
}

#[test]
fn weights_that_are_not_finite_are_named_and_not_the_data() {
    let text = "graph \"g\" {\n  input %x: f32[Nx2]\n  const %w: f32[2x2] = [1, nan, 3, 4]\n  %h = MatMul(%x, %w)\n  \
                %y = MatMul(%h, %w)\n  output %y\n}\n";
    let model = Model::from(lowbit_ir::text::parse(text).unwrap());
    let noise = Dataset::open("random", &model.inputs(), None).unwrap();
    let e = model.quantize(Quantize::default().data(&noise)).unwrap_err().to_string();
    assert!(
        e.contains("expected finite weights, found NaN (element 1)") && e.contains("'w'") && e.contains("'h'"),
        "{e}"
    );
}

#[test]
fn a_data_set_gives_the_same_samples_in_whatever_order_they_are_asked_for() {
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("api_samples.npy");
    let ty = Type::plain(DType::F32, vec![100, 2]);
    npy::write(&file, &Tensor::from_floats(ty, (0..200u8).map(f32::from).collect()).unwrap()).unwrap();
    let input = InputSpec { name: "x".into(), dtype: DType::F32, shape: vec![None, Some(2)], below: None, quant: None };
    let data = Dataset::open(file.to_str().unwrap(), &[input], None).unwrap();
    let samples: &dyn Samples = &data;
    assert_eq!(samples.len(), 100);
    let even = 0..100;
    let uneven = (0..64).map(|i| i * 100 / 64);
    let jumping = [99, 0, 50, 51, 7, 52, 53, 3, 3, 3];
    for i in even.chain(uneven).chain(jumping) {
        assert_eq!(samples.sample(i).unwrap(), [tensor([2.0 * i as f32, 2.0 * i as f32 + 1.0])], "{i}");
    }
    assert!(samples.sample(100).unwrap_err().to_string().contains("below 100"));
}

#[test]
fn passes_on_the_integers_are_recorded_and_asked_for() {
    let text = "graph \"g\" {\n  input %x: f32[Nx4]\n  const %w: f32[4x2] = [1, 2, -3, 4, 5, 6, -7, 8]\n  \
                const %v: f32[2x2] = [1, -2, 3, 4]\n  %h = MatMul(%x, %w)\n  %y = MatMul(%h, %v)\n  output %y\n}\n";
    let negate = |g: &mut lowbit_ir::Graph| {
        let w = g.find("v.q").unwrap();
        let t = g.constant(w).unwrap();
        let ints: Vec<i64> = t.ints()?.iter().map(|q| -q).collect();
        let t = Tensor::from_ints(t.ty().clone(), &ints)?;
        g.set_const(w, t);
        Ok(true)
    };
    let model = Model::from(lowbit_ir::text::parse(text).unwrap());
    let noise = Dataset::open("random", &model.inputs(), None).unwrap();
    let how = Quantize::default().pass(Phase::Realized, "negate", negate).data(&noise);
    let quantized = model.quantize(how.config(Config { samples: 4, ..Config::default() })).unwrap();
    let path = std::env::temp_dir().join(format!("lowbit-passes-{}.onnx", std::process::id()));
    quantized.save(&path).unwrap();
    let loaded = Model::load(&path).unwrap();
    let error = loaded.compile(Target::host()).unwrap_err().to_string();
    assert!(error.contains("'negate'") && error.contains(".passes("), "{error}");
    let given = loaded.passes(Passes::default().at(Phase::Realized, "negate", negate));
    let sample = [Tensor::from_f32(&[1, 4], vec![0.5, -0.25, 0.75, 1.0]).unwrap()];
    let run = |program: Arc<Program>| Session::new(program).unwrap().run(&sample).unwrap();
    let expected = run(quantized.compile(Target::host()).unwrap());
    for model in [&given, &quantized.model] {
        assert_eq!(run(model.compile(Target::host()).unwrap()), expected);
    }
    std::fs::remove_file(path).unwrap();
}

#[test]
fn the_largest_block_is_saved_and_loaded() {
    let text = "graph \"g\" {\n  input %x: f32[Nx4]\n  const %w: f32[4x2] = [1, 2, -3, 4, 5, 6, -7, 8]\n  \
                %y = MatMul(%x, %w)\n  output %y\n}\n";
    let model = Model::from(lowbit_ir::text::parse(text).unwrap());
    let noise = Dataset::open("random", &model.inputs(), None).unwrap();
    let quantize = |size: usize| {
        let weight = Spec::default().per_block(size);
        let config = Config { samples: 4, refinements: Vec::new(), weight, ..Config::default() };
        model.quantize(Quantize::default().data(&noise).config(config))
    };
    let error = quantize(usize::MAX).unwrap_err().to_string();
    assert!(error.contains("blocks of 1..="), "{error}");
    let quantized = quantize(i32::MAX as usize).unwrap();
    let path = std::env::temp_dir().join(format!("lowbit-blocks-{}.onnx", std::process::id()));
    quantized.save(&path).unwrap();
    Model::load(&path).unwrap().compile(Target::host()).unwrap();
    std::fs::remove_file(path).unwrap();
}

#[test]
fn without_data_the_global_scale_gives_a_model_that_is_saved_loaded_and_run() {
    let model = Model::load("demo/model.onnx").unwrap();
    let activation = Spec::bits(24).over(&Config::default().activation);
    let config = Config { activation, global_scale: 16.0, skip_k_conv: 1, ..Config::default() };
    let quantized = model.quantize(Quantize::default().without_data().config(config)).unwrap();
    let path = std::env::temp_dir().join(format!("lowbit-without-{}.onnx", std::process::id()));
    quantized.save(&path).unwrap();
    let loaded = Model::load(&path).unwrap();
    std::fs::remove_file(path).unwrap();
    assert_eq!(loaded.config().unwrap(), quantized.report.config);
    let image = Tensor::from_f32(&[1, 3, 32, 32], (0..3072).map(|i| (i % 17) as f32 / 8.0 - 1.0).collect()).unwrap();
    let run = |program: Arc<Program>| program.session().run_in_order(std::slice::from_ref(&image)).unwrap();
    assert_eq!(run(loaded.compile(Target::host()).unwrap()), run(quantized.compile(Target::host()).unwrap()));
}

#[test]
fn what_calibrates_is_said_once() {
    let text = "graph \"g\" {\n  input %x: f32[1x2]\n  const %w: f32[2x2] = [1, 2, -3, 4]\n  %y = MatMul(%x, %w)\n  output %y\n}\n";
    let model = Model::from(lowbit_ir::text::parse(text).unwrap());
    let samples = || vec![vec![Tensor::from_f32(&[1, 2], vec![1.0, 2.0]).unwrap()]];
    let shard = model.calibrate(Quantize::default().data(samples())).unwrap();
    let refused = |how: Quantize| model.quantize(how).unwrap_err().to_string();
    for (how, part) in [
        (Quantize::default(), ".without_data()"),
        (Quantize::default().without_data().data(samples()), "found data too"),
        (Quantize::default().without_data().stats(shard.clone()), "found statistics too"),
        (Quantize::default().data(samples()).stats(shard), "found both"),
    ] {
        let e = refused(how);
        assert!(e.contains(part), "{part}: {e}");
    }
    let e = model.calibrate(Quantize::default().without_data()).unwrap_err().to_string();
    assert!(e.contains("expected calibration data, found none") && !e.contains("without_data"), "{e}");
}

#[test]
fn a_quantized_file_tells_of_every_node_why_it_is_so() {
    let text = "graph \"g\" {\n  input %x: f32[Nx2]\n  const %w: f32[2x2] = [1, 2, -3, 4]\n  %y = MatMul(%x, %w)\n  \
                %z = Softmax(%y) {axis 1}\n  output %z\n}\n";
    let model = Model::from(lowbit_ir::text::parse(text).unwrap());
    let told = |bytes: &[u8], what: &str| bytes.windows(what.len()).any(|part| part == what.as_bytes());
    assert!(!told(&model.to_onnx().unwrap(), "on floats"));
    let samples = vec![vec![tensor([-1.0, 2.0])], vec![tensor([0.5, 3.0])]];
    let quantized = model.quantize(Quantize::default().data(samples)).unwrap().model;
    let bytes = quantized.to_onnx().unwrap();
    for what in [
        "rule matmul",
        "on floats: softmax has no integer form here",
        "input; seen -1 to 3; 0.000 % clipped; rule matmul",
    ] {
        assert!(told(&bytes, what), "{what}");
    }
    // What was read says the same again.
    let folder = std::env::temp_dir().join(format!("lowbit-told-{}.onnx", std::process::id()));
    quantized.save(&folder).unwrap();
    let again = Model::load(&folder).unwrap().to_onnx().unwrap();
    std::fs::remove_file(&folder).unwrap();
    assert!(again == bytes);
}
