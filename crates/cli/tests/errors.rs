//! Bad arguments and bad files: an error that says what to do, the right exit code, no panic, and nothing left behind.

mod support;

use lowbit::data::{npy, npz};
use lowbit::ir::{DType, Def, Tensor, Type, meta};
use lowbit::{Model, frontend};
use std::path::Path;
use support::{Folder, demo, error, json, quantized, run, text};

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
        (&["evaluate", &model, "--data", &test], &["--samples", "0"], "from 1, found '0'"),
        (&["evaluate", &model, "--data", &test], &["--preprocess", "imagnet"], "did you mean 'imagenet'"),
        (&["evaluate", &model, "--data", &test], &["--crop", "0"], "or none"),
        (&["evaluate", &model, "--data", &test], &["--channels", "rbg"], "rgb or bgr"),
        (&quantize, &[], "--output"),
        (&quantize, &["-o", "x.onnx", "--samples", "0"], "from 1, found '0'"),
        (&quantize, &["--stop-after", "anotate"], "did you mean 'annotate'"),
        (&quantize, &["-o", "x.onnx", "--print-after", "refin"], "did you mean 'refine'"),
        (&quantize, &["-o", "x.onnx", "--no-report", "--evaluate", &test], "--no-report"),
        (&["run", &model, "--output", "x"], &[], "--input"),
        (&["list", "--markdown"], &["ops"], "--markdown"),
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
        (
            &["quantize", &model, "--data", "random", "-o", &out, "--samples", "5", "--set", "samples=7"],
            "found --samples and --set samples=7",
        ),
        (&["quantize", &model, "--data", "random", "-o", &out, "--io", "int8", "--set", "io=uint8"], "--io and --set"),
        (
            &["quantize", &model, "--data", "random", "-o", &out, "--set", "requantize=fixd"],
            "requantize takes float32, fixed or shift, found \"fixd\" (did you mean 'fixed'?)",
        ),
        (
            &["quantize", &model, "--data", "random", "-o", &out, "--samples", "1", "--set", "global_scale=4"],
            "global_scale = 4 has no effect",
        ),
        (&["quantize", &data, "--data", "random", "-o", &out], "calibration"),
        (&["quantize", &model, "--data", &nowhere, "-o", &out], "the word random"),
        (&["quantize", &model, "--data", &model, "-o", &out], "the word random"),
        (&["quantize", &model, "--data", "random", "-o", &into_nowhere], "its folder does not exist"),
        (&["quantize", &model, "--data", "random", "-o", &here], "found a folder"),
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
fn a_bad_image_to_evaluate_on_is_found_before_anything_is_written() {
    let (folder, images) = (Folder::new(), Folder::new());
    let (model, data, out) = (demo("model.onnx"), demo("calibration"), folder.path("out.onnx"));
    let quantize = ["quantize", &model, "--data", &data, "--samples", "2", "-o", &out];
    for (class, name) in [("a", "a.png"), ("b", "b.png")] {
        std::fs::create_dir(images.path(class)).unwrap();
        std::fs::copy(demo("calibration/arrow/000.png"), images.path(&format!("{class}/{name}"))).unwrap();
    }
    let whole = std::fs::read(demo("calibration/arrow/000.png")).unwrap();
    // The one is seen before the long work, the other when it is decoded.
    for bad in [&b"not a picture"[..], &whole[..whole.len() / 2]] {
        std::fs::write(images.path("b/b.png"), bad).unwrap();
        let stderr = error(&[&quantize[..], &["--evaluate", &images.path("")]].concat(), 1);
        assert!(stderr.contains("b.png"), "{stderr}");
        assert_eq!(folder.files(), [""; 0]);
    }
}

#[cfg(unix)]
#[test]
fn outputs_replace_no_device_and_none_of_their_sources() {
    let folder = Folder::new();
    let (model, data) = (folder.path("model.onnx"), folder.path("data.npy"));
    std::fs::copy(demo("model.onnx"), &model).unwrap();
    npy::write(Path::new(&data), &Tensor::from_f32(&[2, 3, 32, 32], vec![0.5; 6144]).unwrap()).unwrap();
    std::fs::hard_link(&model, folder.path("hard.onnx")).unwrap();
    std::os::unix::fs::symlink("model.onnx", folder.path("soft.onnx")).unwrap();
    let quantize = |out: &str| ["quantize", &model, "--data", &data, "--no-report", "-o", out].map(str::to_owned);
    let refused = |out: &str| error(&quantize(out).each_ref().map(String::as_str), 1);
    for (out, part) in [
        (folder.path("hard.onnx"), "the float model itself"),
        (folder.path("soft.onnx"), "the float model itself"),
        (data.clone(), "the data itself"),
        ("/dev/null".into(), "expected a regular file"),
    ] {
        let stderr = refused(&out);
        assert!(stderr.contains(part), "{out}: {stderr}");
    }
    // A link to another file stays a link.
    std::fs::write(folder.path("old.onnx"), b"old").unwrap();
    std::os::unix::fs::symlink("old.onnx", folder.path("link.onnx")).unwrap();
    text(&quantize(&folder.path("link.onnx")).each_ref().map(String::as_str));
    assert!(std::fs::symlink_metadata(folder.path("link.onnx")).unwrap().is_symlink());
    assert!(Model::load(folder.path("old.onnx")).unwrap().is_quantized());
    // Nor does a run write over its inputs.
    let input = folder.path("logits.npy");
    std::fs::copy(&data, &input).unwrap();
    let stderr = error(&["run", &model, "--input", &input, "--output", &folder.path("")], 1);
    assert!(stderr.contains("an input itself"), "{stderr}");
    assert!(error(&["run", &model, "--input", &input, "--output", &model], 1).contains("expected a folder"));
    assert_eq!(
        folder.files(),
        ["data.npy", "hard.onnx", "link.onnx", "logits.npy", "model.onnx", "old.onnx", "soft.onnx"]
    );
}

/// A model whose height and width are open.
fn open_sized(folder: &Folder) -> String {
    let text = r#"
graph "open" {
  input %x: f32[Nx3xHxW]
  const %w: f32[2x3x1x1] = [1, 2, 3, 4, 5, 6]
  %y: f32[Nx2xHxW] = Conv(%x, %w)
  %z = GlobalAvgPool(%y)
  output %z
}
"#;
    let path = folder.path("open.onnx");
    frontend::save(&lowbit::ir::text::parse(text).unwrap(), Path::new(&path)).unwrap();
    path
}

#[test]
fn open_sizes_are_asked_for_or_taken_from_the_data() {
    let folder = Folder::new();
    let (model, data, out) = (open_sized(&folder), folder.path("x.npy"), folder.path("q.onnx"));
    for arguments in [&["bench", &model][..], &["bench", &model, "--batch", "2"], &["verify", &model]] {
        let stderr = error(arguments, 1);
        assert!(stderr.contains("value 'x'") && stderr.contains("--shape x=1x3x224x224"), "{stderr}");
    }
    let sized = json(&["bench", &model, "--shape", "x=1x3x4x5", "--seconds", "0.01"]);
    assert_eq!((&sized["macs"], &sized["inputs"][0]), (&120.into(), &"x: f32[1x3x4x5]".into()));
    assert_eq!(json(&["inspect", &model])["macs"], serde_json::Value::Null);
    assert!(text(&["inspect", &model]).contains("--shape"));

    let pixels = (0..2 * 3 * 6 * 7).map(|i| (i % 19) as f32 / 9.0 - 1.0).collect();
    npy::write(Path::new(&data), &Tensor::from_f32(&[2, 3, 6, 7], pixels).unwrap()).unwrap();
    let told = json(&["quantize", &model, "--data", &data, "-o", &out]);
    assert_eq!(told["latency"]["integer"]["inputs"][0], "x: f32[1x3x6x7]");
    assert_eq!((&told["latency"]["integer"]["macs"], &told["layers"][0]["macs"]), (&252.into(), &252.into()));
    assert_eq!(json(&["verify", &out, "--data", &data])["identical"], true);
}

#[test]
fn values_that_are_not_finite_are_pointed_out() {
    let folder = Folder::new();
    let (model, array, out) = (demo("model.onnx"), folder.path("a.npy"), folder.path("out"));
    let mut pixels = vec![0.5; 3072];
    (pixels[7], pixels[9]) = (f32::NAN, f32::INFINITY);
    npy::write(Path::new(&array), &Tensor::from_f32(&[1, 3, 32, 32], pixels).unwrap()).unwrap();
    let ran = run(&["run", &model, "--input", &array, "--output", &out, "--json"]);
    assert_eq!(ran.code, Some(0));
    assert!(ran.stderr.contains("2 of 3,072 values of input 'image'"), "{}", ran.stderr);
    let told: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!((&told["not_finite"][0]["values"], &told["not_finite"][0]["first"]), (&2.into(), &7.into()));
}

#[test]
fn labels_and_scores_that_make_no_sense_are_refused() {
    let folder = Folder::new();
    let (model, data) = (demo("model.onnx"), folder.path("a.npz"));
    let evaluate = |pixel: f32, label: &[i64]| {
        let images = Tensor::from_f32(&[2, 3, 32, 32], vec![pixel; 6144]).unwrap();
        let label = Tensor::from_ints(Type::plain(DType::I64, vec![2]), label).unwrap();
        npz::write(Path::new(&data), &[("image", &images), ("label", &label)]).unwrap();
        ["evaluate", &model, "--data", &data].map(str::to_owned)
    };
    let apart = |label: &[i64]| {
        let mut arguments = evaluate(0.0, label).to_vec();
        arguments.extend(["--reference", &model, "--no-labels"].map(str::to_string));
        json(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let found = apart(&[0, 12]);
    assert_eq!((found["agreement"].as_f64(), found.get("top1")), (Some(100.0), None), "{found}");
    let refused = |pixel: f32, label: &[i64]| error(&evaluate(pixel, label).each_ref().map(String::as_str), 1);
    let stderr = refused(0.5, &[0, 12]);
    assert!(
        stderr.contains("label below 12") && stderr.contains("found 12") && stderr.contains("a.npz[1]"),
        "{stderr}"
    );
    let stderr = refused(f32::NAN, &[0, 1]);
    assert!(stderr.contains("found NaN") && stderr.contains("a.npz[0]"), "{stderr}");
    json(&evaluate(0.5, &[0, 11]).each_ref().map(String::as_str));
}

#[test]
fn a_reference_with_other_outputs_is_refused() {
    let folder = Folder::new();
    let other = folder.path("means.onnx");
    let text = r#"
graph "means" {
  input %image: f32[Nx3x32x32]
  %y = GlobalAvgPool(%image)
  output %y
}
"#;
    frontend::save(&lowbit::ir::text::parse(text).unwrap(), Path::new(&other)).unwrap();
    let (model, data) = (demo("model.onnx"), demo("test"));
    let stderr = error(&["evaluate", &model, "--data", &data, "--samples", "1", "--reference", &other], 1);
    assert!(stderr.contains("expected 3 elements of 'logits'") && stderr.contains("found 12"), "{stderr}");
}

#[test]
fn empty_arrays_get_advice_for_arrays() {
    let folder = Folder::new();
    let (model, array) = (demo("model.onnx"), folder.path("a.npy"));
    npy::write(Path::new(&array), &Tensor::from_f32(&[0, 3, 32, 32], Vec::new()).unwrap()).unwrap();
    let stderr = error(&["verify", &model, "--data", &array], 1);
    assert!(stderr.contains("at least one sample") && stderr.contains("first axis"), "{stderr}");
    assert!(!stderr.contains("jpg"), "{stderr}");
}

#[test]
fn images_without_a_preprocessing_name_the_presets() {
    let folder = Folder::new();
    let (model, data, out) = (forgetful(&folder), demo("calibration"), folder.path("out.onnx"));
    let stderr = error(&["quantize", &model, "--data", &data, "-o", &out], 1);
    for preset in ["imagenet", "inception", "unit", "raw", "--mean"] {
        assert!(stderr.contains(preset), "{stderr}");
    }
    let part = error(&["quantize", &model, "--data", &data, "-o", &out, "--mean", "0.5"], 1);
    assert!(part.contains("expected a std too, found a mean alone"), "{part}");
    // Flags are stored if something goes by them.
    let arguments = ["quantize", &model, "--data", &data, "--samples", "2", "--no-report", "-o", &out];
    let ran = run(&[&arguments[..], &["--preprocess", "unit"]].concat());
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let stored = Model::load(&out).unwrap();
    assert!(stored.preprocess().is_some_and(|p| p.contains("\"mean\":[0.0]")), "{:?}", stored.preprocess());
}

#[test]
fn flags_for_images_are_refused_where_there_are_none() {
    let folder = Folder::new();
    let (model, data, out) = (forgetful(&folder), folder.path("x.npy"), folder.path("out.onnx"));
    npy::write(Path::new(&data), &Tensor::from_f32(&[2, 3, 32, 32], vec![0.5; 6144]).unwrap()).unwrap();
    let into = folder.path("into");
    let verbs: [&[&str]; 5] = [
        &["quantize", &model, "--data", &data, "-o", &out],
        &["quantize", &model, "--data", "random", "-o", &out],
        &["run", &model, "--input", &data, "--output", &into],
        &["run", &model, "--data", &data, "--output", &into],
        &["verify", &model, "--data", &data],
    ];
    for verb in verbs {
        let stderr = error(&[verb, &["--preprocess", "unit"]].concat(), 1);
        assert!(stderr.contains("are taken as they are"), "{stderr}");
        assert!(error(&[verb, &["--crop", "none"]].concat(), 1).contains("expected images"));
    }
    assert_eq!(folder.files(), ["forgetful.onnx", "x.npy"]);
    // Images to evaluate on are reason enough; and what the model stores does not speak of arrays.
    let quantize = ["quantize", &model, "--data", &data, "-o", &out, "--samples", "2"];
    let images = ["--preprocess", "unit", "--evaluate", &demo("test"), "--evaluate-samples", "2"];
    assert!(json(&[&quantize[..], &images].concat())["preprocess"].is_object());
    let told = json(&["quantize", &demo("model.onnx"), "--data", &data, "-o", &out, "--no-report"]);
    assert!(told["preprocess"].is_null(), "{told}");
    assert!(Model::load(&out).unwrap().preprocess().is_some(), "what the float model stores stays");
}

#[test]
fn sizes_are_given_once() {
    let folder = Folder::new();
    let model = open_sized(&folder);
    let shape = ["--shape", "x=2x3x16x16"];
    let bench = |more: [&'static str; 2]| [&["bench", &model, "--seconds", "0.01"], &shape[..], &more].concat();
    let stderr = error(&bench(["--batch", "3"]), 1);
    assert!(stderr.contains("--batch 3") && stderr.contains("first size of 2 in --shape x="), "{stderr}");
    assert_eq!(json(&bench(["--batch", "2"]))["inputs"][0], "x: f32[2x3x16x16]");
    let stderr = error(&bench(["--shape", "x=1x3x8x8"]), 1);
    assert!(stderr.contains("expected --shape once for every input, found it twice for 'x'"), "{stderr}");
    assert!(error(&["inspect", &model, "--shape", "x=1x3x8x8", "--shape", "x=1x3x8x8"], 1).contains("twice for 'x'"));
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

#[test]
fn statistics_that_do_not_fit_are_refused_with_the_reason() {
    let folder = Folder::new();
    let (model, data) = (demo("model.onnx"), demo("calibration"));
    let (stats, other, out) = (folder.path("s"), folder.path("other"), folder.path("out.onnx"));
    let calibrate = ["calibrate", &model, "--data", &data, "--samples", "2", "-o"];
    text(&[&calibrate[..], &[&stats]].concat());
    text(&[&calibrate[..], &[&other, "--mean", "0.25"]].concat());
    let (cut, twin, damaged) = (folder.path("cut"), folder.path("twin"), folder.path("damaged"));
    let mut bytes = std::fs::read(&stats).unwrap();
    std::fs::write(&cut, &bytes[..bytes.len() / 2]).unwrap();
    bytes[100] ^= 4;
    std::fs::write(&damaged, &bytes).unwrap();
    std::fs::hard_link(&stats, &twin).unwrap();
    let copy = folder.path("copy");
    std::fs::copy(&stats, &copy).unwrap();
    // The same network with one bias changed.
    let mut graph = Model::load(&model).unwrap().graph().clone();
    let bias = graph.values().find_map(|(id, v)| match &v.def {
        Def::Const(t) if t.dtype() == DType::F32 && t.dims().len() == 1 => Some((id, t.clone())),
        _ => None,
    });
    let (id, bias) = bias.unwrap();
    let moved: Vec<f32> = bias.floats().unwrap().iter().map(|x| x + 1.0).collect();
    graph.set_const(id, Tensor::from_f32(bias.dims(), moved).unwrap());
    let changed = folder.path("changed.onnx");
    frontend::save(&graph, Path::new(&changed)).unwrap();

    let cases: &[(&[&str], &str)] = &[
        (&["quantize", &model, "--stats", &data, "-o", &out], "found a folder"),
        (&["quantize", &model, "--stats", &model, "-o", &out], "found something else"),
        (&["quantize", &model, "--stats", &cut, "-o", &out], "cut off or damaged"),
        (&["quantize", &model, "--stats", &damaged, "-o", &out], "cut off or damaged"),
        (&["quantize", &model, "--stats", &stats, &twin, "-o", &out], "twice"),
        (&["quantize", &model, "--stats", &stats, &copy, "-o", &out], "it would count twice"),
        (
            &["quantize", &model, "--stats", &stats, "-o", &out, "--set", "samples=7"],
            "expected --data for --set samples=7",
        ),
        (&["quantize", &model, "--stats", &stats, &other, "-o", &out], "same preprocessing"),
        (&["quantize", &model, "--stats", &stats, "-o", &stats], "the statistics itself"),
        (&["quantize", &model, "--stats", &stats, "-o", &out, "--mean", "0.5"], "preprocessed as they were"),
        (&["quantize", &model, "--stats", &stats, "-o", &out, "--set", "equalize=true"], "--set equalize=false"),
        (
            &["quantize", &model, "--stats", &stats, "-o", &out, "--set", "refinements=['bias-correction']"],
            "--set refinements=[]",
        ),
        (&["quantize", &model, "--stats", &stats, "-o", &out, "--set", "input.per='channel'"], "the whole tensor"),
        (&["quantize", &model, "--no-data", "-o", &out, "--set", "equalize=true"], "--set equalize=false"),
        (&["quantize", &model, "--no-data", "-o", &out, "--set", "samples=7"], "found --no-data: there are none"),
        (
            &["quantize", &model, "--no-data", "-o", &out, "--set", "input.observer=mse"],
            "expected --data for input.observer = \"mse\", which looks at samples, found --no-data",
        ),
        (
            &["quantize", &model, "--no-data", "-o", &out, "--set", "op.Conv.input.observer=minmax"],
            "op.Conv.input.observer = \"minmax\" looks at samples, and there are none",
        ),
        (&["quantize", &model, "--no-data", "-o", &out, "--mean", "0.5"], "expected images for --preprocess"),
        (&["quantize", &changed, "--stats", &stats, "-o", &out], "the same model with other weights"),
        (&["calibrate", &model, "--data", &data, "-o", &model], "the float model itself"),
        (&["calibrate", &model, "--data", &data, "-o", &folder.path("no/s")], "its folder does not exist"),
        (&["calibrate", &quantized().0, "--data", &data, "-o", &out], "expected a float model"),
    ];
    for (arguments, part) in cases {
        let stderr = error(arguments, 1);
        assert!(stderr.contains(part), "{arguments:?}: {stderr}");
    }
    let stderr = error(&["quantize", &model, "--stats", &stats, "--data", &data, "-o", &out], 2);
    assert!(
        stderr.contains("--stats") && stderr.contains("--data") && stderr.contains("cannot be used with"),
        "{stderr}"
    );
    for other in ["--data", "--stats", "--samples"] {
        let stderr = error(&["quantize", &model, "--no-data", other, "1", "-o", &out], 2);
        assert!(stderr.contains("--no-data") && stderr.contains("cannot be used with"), "{stderr}");
    }
    let stderr = error(&["quantize", &model, "-o", &out], 2);
    assert!(stderr.contains("--data"), "{stderr}");
    assert!(!folder.files().contains(&"out.onnx".to_string()));
}

#[test]
fn what_needs_too_much_memory_is_refused_at_once_by_every_verb_that_runs() {
    let folder = Folder::new();
    let (bomb, model, out) = (folder.path("bomb.onnx"), demo("model.onnx"), folder.path("out"));
    let text = "graph \"g\" {\n  input %x: f32[1x3x8x8]\n  \
                %big = Pad(%x) {begins [0, 0, 0, 0], ends [0, 0, 90000, 90000], value 0}\n  \
                %y = Relu(%big)\n  output %y\n}\n";
    frontend::save(&lowbit::ir::text::parse(text).unwrap(), Path::new(&bomb)).unwrap();
    let verbs = |model: &str, data: &str| -> Vec<Vec<String>> {
        let verbs: [&[&str]; 7] = [
            &["compare", model, model, "--data", data, "--samples", "1"],
            &["bench", model, "--seconds", "0.02"],
            &["run", model, "--data", data, "--samples", "1", "--output", &out],
            &["evaluate", model, "--data", data, "--samples", "1", "--reference", model],
            &["verify", model, "--data", data, "--samples", "1"],
            &["quantize", model, "--data", data, "--samples", "1", "-o", &out],
            &["calibrate", model, "--data", data, "--samples", "1", "-o", &out],
        ];
        verbs.iter().map(|verb| verb.iter().map(ToString::to_string).collect()).collect()
    };
    for verb in verbs(&bomb, "random") {
        let stderr = error(&verb.iter().map(String::as_str).collect::<Vec<_>>(), 1);
        assert!(stderr.contains("node 'big'") && stderr.contains("at most 2 GiB"), "{verb:?}: {stderr}");
        assert!(stderr.contains("--max-memory 1"), "{verb:?}: {stderr}");
    }
    for verb in verbs(&model, &demo("test")) {
        let verb: Vec<&str> = verb.iter().map(String::as_str).chain(["--max-memory", "16K"]).collect();
        let stderr = error(&verb, 1);
        assert!(stderr.contains("at most 16 KiB") && stderr.contains("node '"), "{verb:?}: {stderr}");
    }
    support::text(&["bench", &model, "--seconds", "0.02", "--max-memory", "none"]);
    let huge = ["bench", &model, "--seconds", "0.02", "--max-memory", "2M", "--batch", "256"];
    assert!(error(&huge, 1).contains("--max-memory"), "a batch is memory too");
    assert!(error(&["bench", &model, "--max-memory", "2GB"], 2).contains("512M or 2G"));
    assert_eq!(folder.files(), ["bomb.onnx"]);
}
