//! Bad arguments and bad files: an error that says what to do, the right exit code, no panic, and nothing left behind.

mod support;

use lowbit::data::npy;
use lowbit::ir::{Tensor, meta};
use lowbit::{Model, frontend};
use std::path::Path;
use support::{Folder, demo, error, quantized, run};

/// The demo model without its stored preprocessing.
fn forgetful(folder: &Folder) -> String {
    let mut graph = Model::load(demo("model.onnx")).unwrap().graph().clone();
    graph.meta.properties.remove(meta::PREPROCESS);
    let path = folder.path("forgetful.onnx");
    frontend::save(&graph, Path::new(&path)).unwrap();
    path
}

#[test]
fn usage_errors_exit_with_2() {
    let model = demo("model.onnx");
    let test = demo("test");
    let quantize = ["quantize", &model, "--data", "random"];
    let cases: &[(&[&str], &[&str], &str)] = &[
        (&["quantise"], &[], "quantize"),
        (&["bench", &model], &["--threads", "0"], "1..=256"),
        (&["bench", &model], &["--threads", "100000"], "1..=256"),
        (&["bench", &model], &["--batch", "0"], "1..="),
        (&["bench", &model], &["--seconds", "nan"], "above 0"),
        (&["bench", &model], &["--seconds", "-1"], "-1"),
        (&["bench", &model], &["--isa", "avx512vnn"], "did you mean 'avx512vnni'"),
        (&["bench", &model], &["--shape", "image"], "name=1x3x224x224"),
        (&["evaluate", &model, "--data", &test], &["--samples", "0"], "0 is not in 1.."),
        (&["evaluate", &model, "--data", &test], &["--preprocess", "imagnet"], "did you mean 'imagenet'"),
        (&["evaluate", &model, "--data", &test], &["--crop", "0"], "or none"),
        (&["evaluate", &model, "--data", &test], &["--channels", "rbg"], "rgb or bgr"),
        (&quantize, &[], "--output"),
        (&quantize, &["-o", "x.onnx", "--samples", "0"], "0 is not in 1.."),
        (&quantize, &["--stop-after", "anotate"], "did you mean 'annotate'"),
        (&quantize, &["-o", "x.onnx", "--print-after", "refin"], "did you mean 'refine'"),
        (&quantize, &["-o", "x.onnx", "--no-report", "--evaluate", &test], "--no-report"),
        (&["run", &model, "--output", "x"], &[], "--input"),
        (&["list", "--markdown"], &["--json"], "--json"),
    ];
    for (base, more, part) in cases {
        let stderr = error(&[*base, *more].concat(), 2);
        assert!(stderr.contains(part), "{base:?} {more:?}: {stderr}");
    }
}

#[test]
fn failures_exit_with_1_and_leave_nothing() {
    let folder = Folder::new();
    let (model, data, out) = (demo("model.onnx"), demo("calibration"), folder.path("out.onnx"));
    let nowhere = folder.path("nowhere");
    let (into_nowhere, here) = (folder.path("nowhere/out.onnx"), folder.path(""));
    let cases: &[(&[&str], &str)] = &[
        (&["quantize", &nowhere, "--data", "random", "-o", &out], "nowhere"),
        (&["quantize", &data, "--data", "random", "-o", &out], "calibration"),
        (&["quantize", &model, "--data", &nowhere, "-o", &out], "the word random"),
        (&["quantize", &model, "--data", &model, "-o", &out], "the word random"),
        (&["quantize", &model, "--data", "random", "-o", &into_nowhere], "its folder does not exist"),
        (&["quantize", &model, "--data", "random", "-o", &here], "it is a folder"),
        (&["quantize", &model, "--data", "random", "-o", &model], "the float model itself"),
        (&["quantize", &model, "--data", "random", "-o", &out, "--config", &nowhere], "nowhere"),
        (&["quantize", &model, "--data", "random", "-o", &out, "--config", &model], "model.onnx"),
        (&["quantize", &model, "--data", "random", "-o", &out, "--evaluate", &nowhere], "nowhere"),
        (&["evaluate", &model, "--data", "random"], "labels"),
        (&["evaluate", &model, "--data", &data, "--mean", "nan"], "finite"),
        (&["evaluate", &model, "--data", &data, "--std", "0"], "other than 0"),
        (&["evaluate", &model, "--data", &data, "--crop", "16"], "32x32"),
        (&["bench", &model, "--shape", "imag=1x3x32x32"], "did you mean 'image'"),
        (&["bench", &model, "--shape", "image=1x3x31x32"], "image"),
        (&["inspect", &nowhere], "nowhere"),
        (&["verify", &nowhere], "nowhere"),
        (&["list", "kernel"], "did you mean 'kernels'"),
    ];
    for (arguments, part) in cases {
        let stderr = error(arguments, 1);
        assert!(stderr.contains(part), "{arguments:?}: {stderr}");
        assert_eq!(error(&[*arguments, &["--json"]].concat(), 1), stderr, "errors are text with --json too");
    }
    assert_eq!(folder.files(), [""; 0]);
}

#[test]
fn an_unreadable_image_is_named_and_the_old_output_stays() {
    let folder = Folder::new();
    let images = Folder::new();
    std::fs::copy(demo("calibration/arrow/000.png"), images.path("a.png")).unwrap();
    std::fs::write(images.path("b.png"), b"not a picture").unwrap();
    let (model, out) = (demo("model.onnx"), folder.path("out.onnx"));
    std::fs::write(&out, b"old").unwrap();
    let stderr = error(&["quantize", &model, "--data", &images.path(""), "-o", &out], 1);
    assert!(stderr.contains("b.png"), "{stderr}");
    assert_eq!(folder.files(), ["out.onnx"]);
    assert_eq!(std::fs::read(&out).unwrap(), b"old");
}

#[test]
fn images_without_a_preprocessing_name_the_presets() {
    let folder = Folder::new();
    let (model, data, out) = (forgetful(&folder), demo("calibration"), folder.path("out.onnx"));
    let stderr = error(&["quantize", &model, "--data", &data, "-o", &out], 1);
    for preset in ["imagenet", "inception", "unit", "raw", "--mean"] {
        assert!(stderr.contains(preset), "{stderr}");
    }
    // Arrays and noise need none; flags do, and are stored.
    let arguments = ["quantize", &model, "--data", &data, "--samples", "2", "--no-report", "-o", &out];
    let ran = run(&[&arguments[..], &["--preprocess", "unit"]].concat());
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let stored = Model::load(&out).unwrap();
    assert!(stored.preprocess().is_some_and(|p| p.contains("\"mean\":[0.0]")), "{:?}", stored.preprocess());
}

#[test]
fn quantized_models_are_not_quantized_again() {
    let folder = Folder::new();
    let (path, _) = quantized();
    let stderr = error(&["quantize", path, "--data", "random", "-o", &folder.path("out.onnx")], 1);
    assert!(stderr.contains("expected a float model"), "{stderr}");
}

#[test]
fn wrong_arrays_are_refused() {
    let folder = Folder::new();
    let (model, array, out) = (demo("model.onnx"), folder.path("a.npy"), folder.path("out"));
    npy::write(Path::new(&array), &Tensor::from_f32(&[1, 3, 8, 8], vec![0.0; 192]).unwrap()).unwrap();
    let run = |input: &str| error(&["run", &model, "--input", input, "--output", &out], 1);
    assert!(run(&array).contains("1x3x8x8"));
    assert!(run(&format!("imgae={array}")).contains("did you mean 'image'"));
    assert!(run(&folder.path("none.npy")).contains("none.npy"));
    assert!(run(&model).contains("model.onnx"));
    let twice = ["run", &model, "--input", &array, "--input", &format!("image={array}"), "--output", &out];
    assert!(error(&twice, 1).contains("given twice"));
    assert_eq!(folder.files(), ["a.npy"]);
}

#[test]
fn damaged_models_are_errors() {
    let folder = Folder::new();
    let path = folder.path("damaged.onnx");
    let whole = std::fs::read(demo("model.onnx")).unwrap();
    let mut damaged: Vec<Vec<u8>> =
        [0, 1, 7, 100, 1000, 4000, whole.len() / 2, whole.len() - 1].iter().map(|n| whole[..*n].to_vec()).collect();
    // The graph's structure comes first in the file: damage it in many places.
    damaged.extend((0..24usize).map(|i| {
        let mut bytes = whole.clone();
        let at = (i * 2657 + 31) % (if i % 2 == 0 { 6000 } else { whole.len() });
        bytes[at] ^= 1 << (i % 8);
        bytes
    }));
    let mut refused = 0;
    for (i, bytes) in damaged.iter().enumerate() {
        std::fs::write(&path, bytes).unwrap();
        let ran = run(&["inspect", &path, "--lowered", "--json"]);
        // A flipped bit in a weight or a name is a valid model.
        assert!(matches!(ran.code, Some(0 | 1)), "case {i}: {:?} {}", ran.code, ran.stderr);
        refused += usize::from(ran.code == Some(1));
    }
    assert!(refused >= 8, "{refused}");
}
