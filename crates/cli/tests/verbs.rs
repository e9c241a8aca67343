//! Every verb on the demo model: what it prints for people and for programs, and what it writes.

mod support;

use lowbit::data::{npy, npz};
use lowbit::ir::Tensor;
use serde_json::Value;
use std::path::Path;
use support::{Folder, demo, error, json, lowbit, quantized, ran, run, text};

fn percent(value: &Value) -> f64 {
    let p = value.as_f64().expect("a percentage");
    assert!((0.0..=100.0).contains(&p), "{p}");
    p
}

#[test]
fn quantize_accounts_for_itself() {
    let (path, told) = quantized();
    assert!(Path::new(path).is_file());
    assert_eq!(told["layers_total"], 19);
    assert_eq!(told["layers_integer"], 19);
    assert_eq!(told["integer_macs_percent"], 100.0);
    assert_eq!(told["calibration"]["samples"], 24);
    assert_eq!(told["calibration"]["random"], false);
    assert_eq!(told["config"]["samples"], 24);
    assert_eq!(told["config"]["weight"]["bits"], 8);
    assert_eq!(told["left_float"].as_array().unwrap().len(), 0);
    assert!(told["equalized"][0]["largest"].as_f64().unwrap() > 1.0);
    let (before, after) = (told["bytes_before"].as_u64().unwrap(), told["bytes_after"].as_u64().unwrap());
    assert!(after * 3 < before, "{before} {after}");
    assert!(told["latency"]["float"]["median_ms"].as_f64().unwrap() > 0.0);
    assert!(told["latency"]["integer"]["median_ms"].as_f64().unwrap() > 0.0);
    let accuracy = &told["accuracy"];
    assert_eq!(accuracy["samples"], 48);
    // One image of 48 is two points; int8 costs this model none or one.
    assert!((percent(&accuracy["top1"]) - percent(&accuracy["reference"]["top1"])).abs() < 5.0);
    assert!(percent(&accuracy["agreement"]) > 93.0);
    let worst: Vec<f64> =
        told["worst_layers"].as_array().unwrap().iter().map(|l| l["sqnr_db"].as_f64().unwrap()).collect();
    assert_eq!(worst.len(), 10);
    assert!(worst.is_sorted() && worst[0] > 15.0, "{worst:?}");
}

#[test]
fn quantize_is_readable() {
    let folder = Folder::new();
    let (model, data, out) = (demo("model.onnx"), demo("calibration"), folder.path("q.onnx"));
    let arguments = ["quantize", &model, "--data", &data, "--samples", "8", "-o", &out];
    let printed =
        text(&[&arguments[..], &["--evaluate", &data, "--evaluate-samples", "12", "--threads", "1"]].concat());
    for part in [
        "8 of 240 samples of",
        "samples = 8; all others as lowbit list config shows",
        "19 of 19 on integers, 100.0 % of the multiply-accumulates",
        "1 thread,",
        "top-1",
        "top-5",
        "points on 12 samples of",
        "agreement",
        "left float: nothing",
        "of channels (largest factor ",
        "worst 10 layers",
    ] {
        assert!(printed.contains(part), "{part}\n{printed}");
    }
    assert!(!printed.contains('\x1b'), "no colours into a pipe");
    let same = run(&[&arguments[..], &["--evaluate", &data, "--evaluate-samples", "2"]].concat());
    assert!(same.stderr.contains("is what is calibrated with too"), "{}", same.stderr);

    let short = text(&[&arguments[..], &["--no-report"]].concat());
    assert!(short.contains("written") && !short.contains("latency") && !short.contains("worst"), "{short}");
    assert_eq!(folder.files(), ["q.onnx"]);
}

#[test]
fn quantizing_twice_writes_the_same_bytes() {
    let folder = Folder::new();
    let (model, data) = (demo("model.onnx"), demo("calibration"));
    let bytes = |name: &str, threads: &str| {
        let out = folder.path(name);
        let arguments = ["quantize", &model, "--data", &data, "--samples", "6", "--no-report", "-o", &out];
        text(&[&arguments[..], &["--threads", threads]].concat());
        std::fs::read(out).unwrap()
    };
    assert!(bytes("a.onnx", "1") == bytes("b.onnx", "3"));
}

#[test]
fn noise_is_said_loudly() {
    let folder = Folder::new();
    let (model, out) = (demo("model.onnx"), folder.path("q.onnx"));
    let ran = run(&["quantize", &model, "--data", "random", "--samples", "2", "--no-report", "-o", &out]);
    assert_eq!(ran.code, Some(0));
    assert!(ran.stderr.contains("warning: the data is RANDOM NOISE"), "{}", ran.stderr);
    assert!(ran.stdout.contains("RANDOM NOISE"), "{}", ran.stdout);
    // Statistics do not forget it.
    let stats = folder.path("s");
    let ran = run(&["calibrate", &model, "--data", "random", "--samples", "2", "-o", &stats]);
    assert!(ran.stderr.contains("RANDOM NOISE") && ran.stdout.contains("RANDOM NOISE"), "{ran:?}");
    let quantize = ["quantize", &model, "--stats", &stats, "--no-report", "-o", &out];
    assert!(text(&quantize).contains("RANDOM NOISE"));
    assert_eq!(json(&quantize)["calibration"]["random"], true);
}

#[test]
fn a_quantization_can_be_stopped_and_watched() {
    let folder = Folder::new();
    let (model, out) = (demo("model.onnx"), folder.path("q.onnx"));
    let arguments = ["quantize", &model, "--data", "random", "--samples", "1", "-o", &out];
    let watched = [&arguments[..], &["--stop-after", "calibrate", "--print-after", "annotate"]].concat();
    let printed = text(&watched);
    let (annotated, calibrated) = printed.split_once("// after calibrate\n").expect("both are printed");
    assert!(annotated.starts_with("// after annotate\ngraph ") && annotated.contains("Simulate("));
    assert!(calibrated.contains("= Dequantize(") && !calibrated.contains("Simulate("));
    assert_eq!(folder.files(), [""; 0]);

    let ran = ran(lowbit().args(&watched).arg("--json").output().unwrap());
    let told: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(told["stopped_after"], "calibrate");
    assert!(told["graph"].as_str().unwrap().contains("= Dequantize("));
    assert!(ran.stderr.contains("// after annotate"));

    let compiled = text(&[&arguments[..], &["--stop-after", "unsign", "--print-after", "absorb-relu"]].concat());
    let (absorbed, unsigned) = compiled.split_once("// after unsign\n").expect("both are printed");
    assert!(absorbed.starts_with("// after absorb-relu\ngraph ") && unsigned.contains("= Requantize("));
    assert_eq!(folder.files(), [""; 0]);
}

#[test]
fn a_configuration_file_is_in_force_and_flags_win() {
    let folder = Folder::new();
    let (model, out, config) = (demo("model.onnx"), folder.path("q.onnx"), folder.path("config.toml"));
    std::fs::write(&config, "samples = 7\ninput.observer = \"minmax\"\nrefinements = []\n").unwrap();
    let arguments = ["quantize", &model, "--data", "random", "--no-report", "-o", &out, "--config", &config];
    let told = json(&[&arguments[..], &["--samples", "3"]].concat());
    assert_eq!(told["config"]["samples"], 3);
    assert_eq!(told["config"]["input"]["observer"], "minmax");
    assert_eq!(told["calibration"]["samples"], 3);
    let stored = json(&["inspect", &out]);
    assert_eq!(stored["config"], told["config"]);
}

#[test]
fn evaluate_needs_no_flags_for_what_the_model_stores() {
    let (path, told) = quantized();
    let (model, test) = (demo("model.onnx"), demo("test"));
    let found = json(&["evaluate", path, "--data", &test, "--samples", "48", "--reference", &model]);
    assert_eq!(found["samples"], 48);
    for key in ["top1", "top5", "agreement", "reference"] {
        assert_eq!(found[key], told["accuracy"][key], "{key}: the file is the model that was measured");
    }
    let alone = json(&["evaluate", &model, "--data", &test, "--samples", "10"]);
    assert!(alone.get("agreement").is_none() && alone.get("config").is_none());
    percent(&alone["top1"]);
}

#[test]
fn classes_are_counted_where_there_are_classes_and_nowhere_else() {
    let folder = Folder::new();
    let (model, map, data, out) =
        (folder.path("two.onnx"), folder.path("map.onnx"), folder.path("d.npz"), folder.path("q.onnx"));
    let save = |path: &str, outputs: &str| {
        let text = format!(
            "graph \"g\" {{\n  input %x: f32[Nx2x4x4]\n  const %w: f32[3x2x1x1] = [1, 2, 3, 4, 5, 6]\n  \
             %map: f32[Nx3x4x4] = Conv(%x, %w)\n  %logits = GlobalAvgPool(%map)\n  \
             %aux = ReduceMax(%map) {{axes [2, 3], keep_dims}}\n{outputs}}}\n"
        );
        lowbit::frontend::save(&lowbit::ir::text::parse(&text).unwrap(), Path::new(path)).unwrap();
    };
    save(&model, "  output %aux\n  output %logits\n");
    save(&map, "  output %map\n");
    let x = Tensor::from_f32(&[2, 2, 4, 4], (0..64).map(|i| i as f32 / 9.0).collect()).unwrap();
    let label = Tensor::from_i64(&[2], vec![2, 70]).unwrap();
    npz::write(Path::new(&data), &[("x", &x), ("label", &label)]).unwrap();

    // Labels of a model without classes are no error, however large; the errors of the outputs remain.
    let evaluate = ["evaluate", &map, "--data", &data, "--reference", &map];
    let told = json(&evaluate);
    assert!(told["classification"].as_str().unwrap().contains("no output has the shape"), "{told}");
    assert_eq!((told.get("top1"), told.get("agreement"), told["relative_error"].as_f64()), (None, None, Some(0.0)));
    let printed = text(&evaluate);
    assert!(printed.contains("classes  none: no output has") && printed.contains("output error"), "{printed}");
    assert!(!printed.contains("top-1") && !printed.contains("agreement"), "{printed}");

    let evaluate = ["evaluate", &model, "--data", &data, "--reference", &model];
    let told = json(&evaluate);
    assert_eq!(told["candidates"], serde_json::json!(["aux", "logits"]));
    let printed = text(&evaluate);
    assert!(printed.contains("--output NAME chooses") && printed.contains("output error of 'aux'"), "{printed}");
    let chosen = [&evaluate[..], &["--output", "logits", "--no-labels"]].concat();
    let told = json(&chosen);
    assert_eq!((&told["output"], told["agreement"].as_f64()), (&"logits".into(), Some(100.0)));
    assert!(text(&chosen).contains("classes  output 'logits', one of 2"));
    let stderr = run(&[&evaluate[..], &["--output", "logit"]].concat()).stderr;
    assert!(stderr.contains("did you mean 'logits'"), "{stderr}");

    let quantize = ["quantize", &model, "--data", &data, "-o", &out, "--evaluate", "random", "--evaluate-samples", "2"];
    let printed = text(&quantize);
    assert!(printed.contains("classes: none: 2 outputs") && printed.contains("--evaluate-output NAME"), "{printed}");
    let chosen = [&quantize[..], &["--evaluate-output", "logits"]].concat();
    assert_eq!(json(&chosen)["accuracy"]["output"], "logits");
    let ran = run(&[&quantize[..], &["--evaluate-output", "lgits"]].concat());
    assert!(ran.code == Some(1) && ran.stderr.contains("did you mean 'logits'"), "{ran:?}");
}

#[test]
fn compare_blames_layers() {
    let (path, _) = quantized();
    let (model, data) = (demo("model.onnx"), demo("test"));
    let arguments = ["compare", &model, path, "--data", &data, "--samples", "3"];
    let told = json(&arguments);
    assert_eq!((&told["isolated"], &told["samples"], &told["random"]), (&true.into(), &3.into(), &false.into()));
    let layers = told["layers"].as_array().unwrap();
    assert_eq!(layers.iter().filter(|l| l["layer"] == true).count(), 19);
    let alone = |l: &Value, key: &str| l["isolated"][key].as_f64().unwrap();
    assert!(layers.iter().map(|l| alone(l, "sqnr_db")).is_sorted());
    assert!(layers.iter().all(|l| l["cumulative"]["cosine"].as_f64().unwrap() > 0.9));
    let printed = text(&[&arguments[..], &["--top", "4"]].concat());
    let more = format!("and {} more", layers.len() - 4);
    for part in ["3 samples of", "in the reference alone", "alone dB", "together dB", "left float: nothing", "█", &more]
    {
        assert!(printed.contains(part), "{part}\n{printed}");
    }

    // The float one is the reference wherever it stands; the order is the user's.
    let swapped = json(&["compare", path, &model, "--data", &data, "--samples", "3", "--sort", "order"]);
    assert_eq!(swapped["reference"], told["reference"]);
    assert!(swapped["layers"].as_array().unwrap().iter().map(|l| l["order"].as_u64().unwrap()).is_sorted());
    let greatest = json(&[&arguments[..], &["--sort", "error"]].concat());
    assert!(greatest["layers"].as_array().unwrap().iter().rev().map(|l| alone(l, "max_error")).is_sorted());

    // A model is like itself, and infinity is null.
    let same = json(&["compare", path, path, "--data", "random", "--samples", "1"]);
    assert_eq!((&same["isolated"], &same["only_other"]), (&false.into(), &0.into()));
    assert!(same["layers"].as_array().unwrap().iter().all(|l| l["cumulative"]["sqnr_db"].is_null()));
    assert!(text(&["compare", path, path, "--data", "random", "--samples", "1"]).contains("inf"));

    // Integers at the door get the float model's samples.
    let folder = Folder::new();
    let io = folder.path("io.onnx");
    json(&["quantize", &model, "--data", &data, "--samples", "4", "-o", &io, "--no-report", "--io", "int8"]);
    assert_eq!(json(&["compare", &model, &io, "--data", &data, "--samples", "1"])["isolated"], true);
    let ran = run(&["compare", &model, path, "--data", &data, "--sort", "best"]);
    assert!(ran.code == Some(2) && ran.stderr.contains("sqnr, cosine, error or order"), "{ran:?}");
}

#[test]
fn bench_times_either_program() {
    let (path, _) = quantized();
    let integer = json(&["bench", path, "--seconds", "0.05", "--threads", "1", "--profile"]);
    assert_eq!((&integer["integer"], &integer["threads"], &integer["batch"]), (&true.into(), &1.into(), &1.into()));
    assert!(integer["median_ms"].as_f64().unwrap() >= integer["min_ms"].as_f64().unwrap());
    let at = |key: &str| integer[key].as_f64().unwrap();
    assert!([at("min_ms"), at("p50_ms"), at("p90_ms"), at("p95_ms"), at("p99_ms")].is_sorted(), "{integer}");
    assert_eq!(at("median_ms"), at("p50_ms"));
    assert!(at("first_ms") > at("min_ms"), "{integer}");
    assert_eq!(integer["reference_steps"].as_array().unwrap().len(), 0);
    let shares: f64 = integer["profile"].as_array().unwrap().iter().map(|s| s["percent"].as_f64().unwrap()).sum();
    assert!((shares - 100.0).abs() < 1e-6, "{shares}");

    let model = demo("model.onnx");
    let arguments = ["bench", &model, "--seconds", "0.05", "--batch", "3", "--isa", "scalar", "--threads", "2"];
    let float = json(&arguments);
    assert_eq!((&float["integer"], &float["threads"], &float["batch"]), (&false.into(), &2.into(), &3.into()));
    assert_eq!(float["isa"], "scalar");
    let told = text(&arguments);
    assert!(told.contains("float program, 2 threads, scalar, batch 3") && told.contains("first result"), "{told}");
}

#[test]
fn verify_holds_on_the_demo() {
    let (path, _) = quantized();
    let found = json(&["verify", path, "--samples", "1"]);
    assert_eq!(found["identical"], true);
    assert!(found["executors"].as_array().unwrap().iter().any(|e| e == "scalar x4"));
    let on_images = text(&["verify", path, "--data", &demo("test"), "--samples", "1"]);
    assert!(on_images.starts_with("identical: ") && on_images.contains("1 sample of"), "{on_images}");
}

#[test]
fn inspect_describes_all_three_forms() {
    let (path, _) = quantized();
    let qdq = json(&["inspect", path]);
    assert_eq!(qdq["quantized"], true);
    assert_eq!(qdq["inputs"][0], "image: f32[Nx3x32x32]");
    assert!(qdq["operators"]["Dequantize"].as_u64().unwrap() > 20);
    let lowered = json(&["inspect", path, "--lowered"]);
    assert!(lowered["operators"]["Requantize"].as_u64().unwrap() >= 18);
    assert_eq!(lowered["left_float"].as_array().unwrap().len(), 0);
    let graph = text(&["inspect", path, "--lowered", "--graph"]);
    assert!(graph.starts_with("graph ") && graph.contains("= Requantize("));
    let float = text(&["inspect", &demo("model.onnx")]);
    assert!(float.contains("11.8 M multiply-accumulates") && float.contains("18  Conv"), "{float}");
}

#[test]
fn run_writes_what_the_graph_gives() {
    let folder = Folder::new();
    let (path, _) = quantized();
    let pixels = |n: usize| -> Vec<f32> { (0..n).map(|i| ((i * 37 + i / 11) % 256) as f32 / 128.0 - 1.0).collect() };
    let (two, one) = (folder.path("two=2.npy"), folder.path("one.npy"));
    npy::write(Path::new(&two), &Tensor::from_f32(&[2, 3, 32, 32], pixels(2 * 3072)).unwrap()).unwrap();
    npy::write(Path::new(&one), &Tensor::from_f32(&[1, 3, 32, 32], pixels(3072)).unwrap()).unwrap();
    let (a, b) = (folder.path("deep/a"), folder.path("b"));
    let told = json(&["run", path, "--input", &format!("image={two}"), "--output", &a]);
    assert_eq!(told["outputs"][0]["name"], "logits");
    assert_eq!(told["outputs"][0]["type"], "f32[2x12]");
    // A single input needs no name, even if its path looks like one.
    text(&["run", path, "--input", &two, "--output", &a]);
    let printed = text(&["run", path, "--input", &one, "--output", &b, "--isa", "scalar"]);
    assert!(printed.starts_with("logits: f32[1x12]"), "{printed}");
    let read = |folder: &str| npy::read(&Path::new(folder).join("logits.npy")).unwrap();
    let (batch, alone) = (read(&a), read(&b));
    assert_eq!((batch.dims(), alone.dims()), (&[2, 12][..], &[1, 12][..]));
    assert_eq!(batch.floats().unwrap()[..12], alone.floats().unwrap()[..], "a batch changes no bits");
}

#[test]
fn run_takes_sizes_from_what_is_given() {
    let folder = Folder::new();
    let text = "graph \"g\" {\n  input %x: f32[NxL]\n  %y = Softmax(%x) {axis 1}\n  output %y\n}\n";
    let model = lowbit::Model::from(lowbit::ir::text::parse(text).unwrap());
    let (path, data) = (folder.path("open.onnx"), folder.path("data"));
    model.save(&path).unwrap();
    std::fs::create_dir(&data).unwrap();
    let mut all = Vec::new();
    for (i, dims) in [[1, 3], [1, 5], [2, 4]].iter().enumerate() {
        let count = dims[0] * dims[1];
        let x = Tensor::from_f32(dims, (0..count).map(|v| v as f32 / 3.0).collect()).unwrap();
        let file = format!("{data}/{i}.npy");
        npy::write(Path::new(&file), &x).unwrap();
        let out = folder.path(&format!("out{i}"));
        let told = json(&["run", &path, "--input", &file, "--output", &out]);
        assert_eq!(told["outputs"][0]["type"], format!("f32[{}x{}]", dims[0], dims[1]));
        let y = npy::read(Path::new(&format!("{out}/y.npy"))).unwrap();
        let fixed = folder.path(&format!("fixed{i}"));
        text_of_run(&path, &format!("x={}x{}", dims[0], dims[1]), &file, &fixed);
        assert_eq!(y, npy::read(Path::new(&format!("{fixed}/y.npy"))).unwrap());
        all.push(y);
    }
    // Samples of one folder, one by one since their sizes differ: the last file has two.
    let out = folder.path("each");
    let told = json(&["run", &path, "--data", &data, "--output", &out]);
    let names: Vec<&str> = told["outputs"].as_array().unwrap().iter().map(|o| o["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["y_0", "y_1", "y_2", "y_3"]);
    assert_eq!(npy::read(Path::new(&format!("{out}/y_1.npy"))).unwrap(), all[1]);
    let last = npy::read(Path::new(&format!("{out}/y_3.npy"))).unwrap();
    assert_eq!((last.dims(), &last.bytes()[..]), (&[1, 4][..], &all[2].bytes()[16..]));
}

fn text_of_run(model: &str, shape: &str, input: &str, out: &str) {
    text(&["run", model, "--shape", shape, "--input", input, "--output", out]);
}

#[test]
fn run_takes_data_and_shows_values() {
    let folder = Folder::new();
    let (path, _) = quantized();
    let out = folder.path("out");
    let arguments = ["run", path, "--data", &demo("test"), "--samples", "3", "--output", &out];
    let told = json(&[&arguments[..], &["--values", "--threads", "1"]].concat());
    assert_eq!((&told["inputs"][0]["name"], &told["inputs"][0]["type"]), (&"image".into(), &"f32[3x3x32x32]".into()));
    let outputs = told["outputs"].as_array().unwrap();
    assert_eq!((&outputs[0]["name"], &outputs[0]["type"]), (&"logits".into(), &"f32[3x12]".into()));
    assert!(
        outputs.iter().any(|o| o["type"].as_str().unwrap().starts_with("u8[3x")),
        "values are integers as they are"
    );
    for file in outputs.iter().chain([&told["inputs"][0]]) {
        assert!(Path::new(file["file"].as_str().unwrap()).is_file());
    }
    // The inputs that were written give the outputs that were written.
    let again = folder.path("again");
    text(&["run", path, "--input", &format!("{out}/image.npy"), "--output", &again]);
    let read = |folder: &str| npy::read(&Path::new(folder).join("logits.npy")).unwrap();
    assert_eq!(read(&out), read(&again));
}

#[test]
fn models_that_look_up_get_indices_in_range_and_say_what_has_no_kernel() {
    let folder = Folder::new();
    let (model, out) = (folder.path("words.onnx"), folder.path("q.onnx"));
    let graph = lowbit::ir::text::parse(
        r#"
graph "words" {
  input %ids: i64[Nx4]
  const %table: f32[5x2] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]
  const %w: f32[2x3] = [1, -2, 3, -4, 5, -6]
  %looked.up: f32[Nx4x2] = Gather(%table, %ids) {axis 0}
  %y: f32[Nx4x3] = MatMul(%looked.up, %w)
  output %y
}
"#,
    );
    lowbit::frontend::save(&graph.unwrap(), Path::new(&model)).unwrap();
    // Of the usual hundred indices nearly all would be out of range.
    let told = json(&["bench", &model, "--seconds", "0.02", "--batch", "3", "--threads", "2"]);
    let step = &told["reference_steps"][0];
    assert_eq!((&step["op"], &step["node"]), (&"Gather".into(), &"looked.up".into()));
    assert!(step["reason"].as_str().unwrap().contains("i64[3x4]"), "{step}");
    assert!(text(&["bench", &model, "--seconds", "0.02"]).contains("run by the interpreter"));

    let quantize = ["quantize", &model, "--data", "random", "--samples", "4", "-o", &out];
    let told = json(&[&quantize[..], &["--no-report"]].concat());
    assert_eq!(told["reference_steps"][0]["op"], "Gather");
    let printed = text(&quantize);
    assert!(printed.contains("run by the interpreter") && printed.contains("no kernel of Gather"), "{printed}");
    assert_eq!(json(&["verify", &out])["identical"], true);
}

#[test]
fn what_a_quantized_file_leaves_float_is_told_by_every_verb() {
    let folder = Folder::new();
    let (model, q, out) = (folder.path("scores.onnx"), folder.path("q.onnx"), folder.path("out"));
    let graph = lowbit::ir::text::parse(
        r#"
graph "scores" {
  input %x: f32[Nx4]
  const %w: f32[4x3] = [1, -2, 3, -4, 5, -6, 7, -8, 9, -10, 11, -12]
  const %v: f32[3x3] = [1, 2, 3, 4, 5, 6, 7, 8, 9]
  %h: f32[Nx3] = MatMul(%x, %w)
  %p: f32[Nx3] = Softmax(%h) {axis -1}
  %y: f32[Nx3] = MatMul(%p, %v)
  output %y
}
"#,
    );
    lowbit::frontend::save(&graph.unwrap(), Path::new(&model)).unwrap();
    json(&["quantize", &model, "--data", "random", "--samples", "4", "-o", &q, "--no-report"]);
    let verbs: [&[&str]; 6] = [
        &["compare", &model, &q, "--data", "random", "--samples", "2"],
        &["evaluate", &q, "--data", "random", "--samples", "2", "--reference", &model],
        &["bench", &q, "--seconds", "0.02"],
        &["run", &q, "--data", "random", "--samples", "1", "--output", &out],
        &["verify", &q, "--samples", "1"],
        &["inspect", &q],
    ];
    for verb in verbs {
        let told = json(verb);
        let left = &told["left_float"][0];
        assert_eq!((&left["op"], &left["macs_percent"]), (&"Softmax".into(), &0.0.into()), "{verb:?}: {told}");
        assert_eq!((&left["rule"], &left["reason"]), (&"softmax".into(), &"softmax has no integer form here".into()));
        let printed = text(verb);
        assert!(
            printed.contains("left float") && printed.contains("(softmax: softmax has no integer form here)"),
            "{printed}"
        );
    }
    for verb in [&["bench", &model, "--seconds", "0.02"][..], &["inspect", &model]] {
        assert!(json(verb).get("left_float").is_none(), "a float model leaves nothing float");
    }
}

#[test]
fn slow_steps_are_told_by_every_verb_that_runs() {
    let folder = Folder::new();
    let (model, out) = (folder.path("words.onnx"), folder.path("out"));
    let graph = lowbit::ir::text::parse(
        r#"
graph "words" {
  input %ids: i64[Nx4]
  const %table: f32[5x2] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]
  %looked.up: f32[Nx4x2] = Gather(%table, %ids) {axis 0}
  output %looked.up
}
"#,
    );
    lowbit::frontend::save(&graph.unwrap(), Path::new(&model)).unwrap();
    let verbs: [&[&str]; 3] = [
        &["evaluate", &model, "--data", "random", "--samples", "2", "--reference", &model],
        &["run", &model, "--data", "random", "--samples", "1", "--output", &out],
        &["verify", &model, "--samples", "1"],
    ];
    for verb in verbs {
        assert_eq!(json(verb)["reference_steps"][0]["op"], "Gather", "{verb:?}");
        assert!(text(verb).contains("run by the interpreter"), "{verb:?}");
    }
}

#[test]
fn types_that_were_read_as_others_are_told() {
    let folder = Folder::new();
    let (model, q, out) = (folder.path("double.onnx"), folder.path("q.onnx"), folder.path("out"));
    let graph = "graph \"g\" {\n  input %pixels: f32[1x4]\n  %y: f32[1x4] = Relu(%pixels)\n  output %y\n}\n";
    let mut bytes = lowbit::frontend::export(&lowbit::ir::text::parse(graph).unwrap()).unwrap();
    // The input's name, and behind it its type: a message in a message, whose first field is the element type.
    let name = b"\x0a\x06pixels\x12";
    let is_typed = |at: &usize| bytes[*at..].starts_with(name) && bytes[at + name.len() + 1] == 0x0a;
    let at = (0..bytes.len() - name.len() - 5).find(is_typed).unwrap() + name.len();
    assert_eq!(bytes[at + 3..at + 5], [0x08, 1], "f32");
    bytes[at + 4] = 11;
    std::fs::write(&model, bytes).unwrap();

    let line = "f64 became f32: 1 input ('pixels')";
    assert_eq!(json(&["inspect", &model])["notes"][0], line);
    let inspected = run(&["inspect", &model]);
    assert!(inspected.stdout.contains(line) && inspected.stderr.is_empty(), "{inspected:?}");
    let verbs: [&[&str]; 5] = [
        &["quantize", &model, "--data", "random", "--samples", "2", "-o", &q, "--no-report"],
        &["run", &model, "--data", "random", "--samples", "1", "--output", &out],
        &["evaluate", &model, "--data", "random", "--samples", "1", "--reference", &float_twin(&folder)],
        &["bench", &model, "--seconds", "0.02"],
        &["verify", &model, "--samples", "1"],
    ];
    for verb in verbs {
        let ran = run(verb);
        assert_eq!(ran.stderr.matches(line).count(), 1, "{verb:?}: {ran:?}");
    }
}

/// A float model with the inputs and outputs of the double one.
fn float_twin(folder: &Folder) -> String {
    let graph = "graph \"g\" {\n  input %pixels: f32[1x4]\n  %y: f32[1x4] = Relu(%pixels)\n  output %y\n}\n";
    let path = folder.path("float.onnx");
    lowbit::frontend::save(&lowbit::ir::text::parse(graph).unwrap(), Path::new(&path)).unwrap();
    path
}

#[test]
fn lists_list() {
    let all = json(&["list"]);
    let listings = all["listings"].as_array().unwrap();
    for listing in listings {
        let name = listing["name"].as_str().unwrap();
        let one = json(&["list", name]);
        assert_eq!(one["rows"].as_array().unwrap().len(), listing["rows"].as_array().unwrap().len());
        assert!(text(&["list", name]).starts_with(&format!("{name}: ")));
    }
    for name in ["ops", "rules", "kernels", "passes", "observers", "refinements", "presets", "isas", "config"] {
        assert!(listings.iter().any(|l| l["name"] == name), "{name}");
    }
    assert!(text(&["list", "kernels"]).contains("here"));
    let markdown = text(&["list", "--markdown"]);
    assert!(markdown.starts_with("# Reference\n") && markdown.contains("| bias-correction |"));
    assert!(!markdown.contains("| here |"), "the document is the same on every machine");
    for arguments in [["list", "--markdown", "--json"], ["--json", "list", "--markdown"]] {
        let told: Value = serde_json::from_str(&text(&arguments)).unwrap();
        assert_eq!(told["markdown"], markdown);
    }
}

#[test]
fn a_reader_may_leave() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let ran = ran(lowbit().args(["list", "--markdown"]).stdout(writer).output().unwrap());
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""));
}

#[test]
fn statistics_of_shards_quantize_as_those_of_the_whole() {
    let folder = Folder::new();
    let model = demo("model.onnx");
    // The images of two classes apart, and together.
    for (shard, classes) in [("a", &["arrow"][..]), ("b", &["circle"]), ("both", &["arrow", "circle"])] {
        for class in classes {
            let to = folder.path(&format!("{shard}/{class}"));
            std::fs::create_dir_all(&to).unwrap();
            for i in 0..5 {
                let name = format!("{i:03}.png");
                std::fs::copy(demo(&format!("calibration/{class}/{name}")), format!("{to}/{name}")).unwrap();
            }
        }
    }
    let calibrate = |shard: &str| {
        let out = folder.path(&format!("{shard}.stats"));
        let told = json(&["calibrate", &model, "--data", &folder.path(shard), "-o", &out]);
        assert_eq!(told["bytes"].as_u64(), Some(std::fs::metadata(&out).unwrap().len()));
        assert!(told["values"].as_u64().unwrap() > 10);
        assert_eq!(told["preprocess"]["channels"], "rgb");
        (out, told)
    };
    let [(a, of_a), (b, of_b), (both, of_both)] = ["a", "b", "both"].map(calibrate);
    assert_eq!((of_a["samples"].as_u64(), of_both["samples"].as_u64()), (Some(5), Some(10)));
    assert!(of_a["fingerprint"] == of_b["fingerprint"] && of_a["fingerprint"] == of_both["fingerprint"]);

    let quantize = |stats: &[&str], out: &str| {
        let out = folder.path(out);
        let told = json(&[&["quantize", &model, "-o", &out, "--stats"], stats].concat());
        assert_eq!(told["calibration"]["samples"], 10);
        assert_eq!(told["calibration"]["fingerprint"], of_a["fingerprint"]);
        assert_eq!(told["config"]["samples"], 10);
        assert_eq!(told["integer_macs_percent"], 100.0);
        assert_eq!(told["preprocess"], of_a["preprocess"]);
        let skipped: Vec<&str> =
            told["skipped"].as_array().unwrap().iter().map(|s| s["stage"].as_str().unwrap()).collect();
        assert_eq!(skipped, ["equalize", "bias-correction"]);
        assert!(told["not_measured"].as_str().unwrap().contains("--evaluate") && told.get("latency").is_none());
        std::fs::read(out).unwrap()
    };
    let whole = quantize(&[&both], "whole.onnx");
    assert!(quantize(&[&a, &b], "ab.onnx") == whole && quantize(&[&b, &a], "ba.onnx") == whole);
    // The same as from the images, without what the statistics cannot do.
    let out = folder.path("data.onnx");
    let data = folder.path("both");
    let plain = ["--set", "equalize=false", "--set", "refinements=[]", "--samples", "10", "--no-report"];
    text(&[&["quantize", &model, "--data", &data, "-o", &out], &plain[..]].concat());
    let told = json(&["diff", &out, &folder.path("whole.onnx")]);
    let notes: Vec<&str> = told["notes"].as_array().unwrap().iter().map(|n| n["name"].as_str().unwrap()).collect();
    assert_eq!((&told["same"], notes), (&true.into(), vec!["metadata lowbit.recipe"]));
}

#[test]
fn statistics_are_accounted_for_and_evaluated() {
    let folder = Folder::new();
    let (model, data, test) = (demo("model.onnx"), demo("calibration"), demo("test"));
    let (stats, out) = (folder.path("s"), folder.path("q.onnx"));
    let told = text(&["calibrate", &model, "--data", &data, "--samples", "16", "-o", &stats, "--threads", "1"]);
    for part in ["16 of 240 samples of", "images", "fingerprint ", "written"] {
        assert!(told.contains(part), "{part}\n{told}");
    }
    let quantize = ["quantize", &model, "--stats", &stats, "-o", &out];
    let told = text(&quantize);
    for part in [
        "16 samples, by the statistics in ",
        "equalize = false",
        "left out",
        "equalize: its factors are found on samples",
        "bias-correction: it runs samples",
        "not measured: latency, layers and accuracy: statistics hold no samples (--evaluate DATA)",
    ] {
        assert!(told.contains(part), "{part}\n{told}");
    }
    let short = text(&[&quantize[..], &["--no-report"]].concat());
    assert!(!short.contains("not measured") && short.contains("left out"), "{short}");
    let told = json(&[&quantize[..], &["--evaluate", &test, "--evaluate-samples", "24"]].concat());
    assert!(percent(&told["accuracy"]["agreement"]) > 90.0);
    assert!(told["latency"]["speedup"].as_f64().is_some() && told.get("not_measured").is_none());
    assert_eq!(told["worst_layers"].as_array().unwrap().len(), 10);
}

#[test]
fn a_model_is_quantized_without_data_by_the_global_scale() {
    let folder = Folder::new();
    let (model, test, out) = (demo("model.onnx"), demo("test"), folder.path("q.onnx"));
    let quantize = ["quantize", &model, "--no-data", "-o", &out];
    let told = json(&quantize);
    assert_eq!(told["calibration"], serde_json::json!({ "data": null, "samples": 0, "global_scale": 8.0 }));
    assert_eq!(told["config"]["samples"], 0);
    assert_eq!(told["config"]["input"]["observer"], "global_scale");
    assert_eq!(told["integer_macs_percent"], 100.0);
    let skipped: Vec<&str> = told["skipped"].as_array().unwrap().iter().map(|s| s["stage"].as_str().unwrap()).collect();
    assert_eq!(skipped, ["equalize", "bias-correction"]);
    let printed = text(&quantize);
    for part in [
        "no samples: b bits of every value have the scale 8.0 / 2^(b-1)",
        "equalize: its factors are found on samples, and there are none",
        "not measured: latency, layers and accuracy: there are no samples (--evaluate DATA)",
    ] {
        assert!(printed.contains(part), "{part}\n{printed}");
    }
    // The classic choices: a wide middle, and the first convolution float.
    let classic = ["--set", "activation.bits=24", "--set", "global_scale=8.0", "--set", "skip_k_conv=1"];
    let told = json(&[&quantize[..], &classic, &["--evaluate", &test, "--evaluate-samples", "24"]].concat());
    assert_eq!(told["config"]["activation"]["observer"], "global_scale");
    assert_eq!(told["layers_integer"].as_u64().unwrap() + 1, told["layers_total"].as_u64().unwrap());
    let values = told["values"].as_array().unwrap();
    let of_bits = |bits: u32| {
        let greatest = serde_json::json!((1 << (bits - 1)) - 1);
        values.iter().filter(|v| v["integers"][1] == greatest && v["observer"] == "global_scale(8)").count()
    };
    assert!(of_bits(24) > 0, "{values:?}");
    assert!(percent(&told["accuracy"]["agreement"]) > 50.0, "{}", told["accuracy"]);
    let stored = json(&["inspect", &out]);
    assert_eq!(stored["config"], told["config"]);
    assert_eq!(json(&["verify", &out, "--data", &test, "--samples", "2"])["identical"], true);
}

#[test]
fn operators_go_by_their_names_elsewhere() {
    let (folder, model) = (Folder::new(), demo("model.onnx"));
    let out = folder.path("q.onnx");
    let quantize = ["quantize", &model, "--no-data", "--no-report", "-o", &out, "--set"];
    let told = json(&[&quantize[..], &["op.\"nn.conv2d\".skip=true"]].concat());
    assert_eq!(told["config"]["op"], serde_json::json!({ "Conv": { "skip": true } }));
    let twice = error(&[&quantize[..], &["op.\"nn.conv2d\".skip=true", "--set", "op.Conv.skip=false"]].concat(), 1);
    assert!(twice.contains("--set makes the choice op.Conv.skip twice"), "{twice}");
    assert!(text(&["list", "ops"]).contains("nn.conv2d, nn.conv3d, Convolution"));
}

#[test]
fn every_result_echoes_the_configuration() {
    let (path, told) = quantized();
    let (folder, data) = (Folder::new(), demo("calibration"));
    // A file of another tool: it stores no configuration.
    let foreign = folder.path("foreign.onnx");
    let graph = r#"
graph "foreign" {
  input %x: f32[1x4]
  const %w: i8[4x2]{0.1 * q} = [1, 2, 3, 4, 5, 6, 7, 8]
  %xq: u8[1x4]{0.1 * (q - 128)} = Quantize(%x) {rounding half-even}
  %xd = Dequantize(%xq)
  %wd = Dequantize(%w)
  %y = MatMul(%xd, %wd)
  output %y
}
"#;
    lowbit::frontend::save(&lowbit::ir::text::parse(graph).unwrap(), Path::new(&foreign)).unwrap();
    let out = folder.path("out");
    for (model, data) in [(path.as_str(), data.as_str()), (foreign.as_str(), "random")] {
        let verbs = [
            vec!["inspect", model],
            vec!["bench", model, "--seconds", "0.01"],
            vec!["verify", model, "--samples", "1"],
            vec!["compare", model, "--data", data, "--samples", "1"],
            vec!["run", model, "--data", data, "--samples", "1", "-o", &out],
        ];
        for arguments in verbs {
            let (found, printed) = (json(&arguments), text(&arguments));
            match model == path {
                true => {
                    assert_eq!(found["config"], told["config"], "{arguments:?}");
                    assert!(printed.contains("all others as lowbit list config shows"), "{arguments:?}: {printed}");
                }
                false => {
                    assert!(found.get("config").is_some_and(|c| c.is_null()), "{arguments:?}: {found}");
                    assert!(printed.contains("the file stores none"), "{arguments:?}: {printed}");
                }
            }
        }
    }
}

#[test]
fn inspect_gives_the_names_that_choices_mean() {
    let found = json(&["inspect", &demo("model.onnx"), "--lowered"]);
    let nodes = found["nodes"].as_array().unwrap();
    assert!(nodes.iter().any(|n| n["name"] == "node_Conv_276" && n["op"] == "Conv"), "{found}");
    assert!(nodes.iter().any(|n| n["name"] == "node_linear" && n["op"] == "MatMul" && n["outputs"].is_array()));
}
