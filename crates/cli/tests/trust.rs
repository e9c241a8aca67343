//! The verbs by which a model can be trusted: explain, config, diff and reproduce, on the demo.

mod support;

use lowbit::ir::text::parse;
use lowbit::{Config, Model, frontend};
use serde_json::Value;
use std::path::Path;
use support::{Folder, demo, error, json, quantized, run, text};

/// The demo quantized on a few images with more arguments.
fn quantize(out: &str, more: &[&str]) {
    let (model, data) = (demo("model.onnx"), demo("calibration"));
    let arguments = ["quantize", &model, "--data", &data, "--no-report", "-o", out];
    text(&[&arguments[..], more].concat());
}

/// The demo's file as another tool would have written it: without what lowbit says of it.
fn foreign(folder: &Folder) -> String {
    let mut graph = Model::load(&quantized().0).unwrap().graph().clone();
    graph.meta.properties.retain(|key, _| !key.starts_with("lowbit."));
    for id in graph.order().to_vec() {
        graph.node_mut(id).rule = None;
    }
    let path = folder.path("foreign.onnx");
    frontend::save(&graph, Path::new(&path)).unwrap();
    path
}

fn find<'a>(told: &'a Value, list: &str, key: &str, name: &str) -> &'a Value {
    let all = told[list].as_array().expect("a list");
    all.iter().find(|item| item[key] == name).unwrap_or_else(|| panic!("{list} has no {name}"))
}

#[test]
fn explain_says_who_chose_what() {
    let (path, account) = quantized();
    let told = json(&["explain", path]);
    assert_eq!((&told["quantized"], &told["recorded"]), (&true.into(), &true.into()));
    assert_eq!(told["recipe"]["evidence"]["samples"], 24);
    let layers = told["layers"].as_array().unwrap();
    let sums: Vec<&Value> = layers.iter().filter(|l| !l["accumulator"].is_null()).collect();
    assert_eq!(sums.len(), 19);
    assert!(layers.iter().all(|l| l["integer"] == true && l["rule"].is_string()));
    for l in sums {
        let (a, bits) = (&l["accumulator"], l["accumulator"]["bits"].as_u64().unwrap());
        assert!(a["least"].as_i64() < Some(0) && a["greatest"].as_i64() > Some(0) && (8..=32).contains(&bits), "{l}");
        assert_eq!((&a["dtype"], &a["by"]), (&"i32".into(), &"accumulator_bits = 32 (default)".into()));
    }
    // What was chosen while it was quantized is what the file tells.
    let chosen = account["values"].as_array().unwrap();
    assert_eq!(told["tensors"].as_array().unwrap().len(), chosen.len());
    for c in chosen {
        let integers = c["stored_as"].as_str().unwrap();
        let t = find(&told, "tensors", "integers", integers);
        for (ours, theirs) in [
            ("name", "value"),
            ("kind", "kind"),
            ("rule", "rule"),
            ("dtype", "dtype"),
            ("seen", "seen"),
            ("observer", "observer"),
            ("clipped_percent", "clipped_percent"),
        ] {
            assert_eq!(t[ours], c[theirs], "{integers}: {ours}");
        }
        assert_eq!((&t["scale"]["greatest"], &t["range"]), (&c["scale"], &c["integers"]), "{integers}");
    }
    let relu = json(&["explain", path, "relu"]);
    let tensor = &relu["tensors"][0];
    assert_eq!(find(&relu, "layers", "node", "node_Conv_276")["accumulator"]["dtype"], "i32");
    assert_eq!(
        (tensor["writer"].as_str(), tensor["readers"][0].as_str()),
        (Some("node_Conv_276"), Some("node_Conv_278"))
    );
    assert_eq!(
        tensor["dtype_by"],
        "input.bits = 8 (default), input.signed = false (default), input.narrow = false (default)"
    );
    let clipped = tensor["clipped_percent"].as_f64().unwrap();
    assert!(clipped > 0.0 && clipped < 1.0, "mse gives up a few: {clipped}");
    let printed = text(&["explain", path, "node_Conv_278"]);
    for part in [
        "Conv 'node_Conv_278'",
        "of 144 products",
        "accumulator_bits = 32 (default)",
        "input 'relu' (integers 'relu.q')",
        "weight '1.body.0.0.weight'",
        "nobody: it is constant",
        "changed afterwards by bias-correction",
        "equalize multiplied its channels",
    ] {
        assert!(printed.contains(part), "{part}\n{printed}");
    }
    assert!(text(&["explain", path]).contains("45 operators, 0 float, "));
}

#[test]
fn explain_names_the_key_the_rule_and_the_limit() {
    let folder = Folder::new();
    let (out, config) = (folder.path("q.onnx"), folder.path("c.toml"));
    std::fs::write(
        &config,
        "io = 'int8'\nrounding = 'half-away'\nskip_k_conv = 1\nweight.bits = 4\n\n[layer.'node_Conv_31*']\ninput.bits = 16\ninput.observer = 'minmax'\n",
    )
    .unwrap();
    quantize(&out, &["--samples", "4", "--config", &config]);
    let told = json(&["explain", &out]);
    let choice = |tensor: &str, name: &str| {
        let t = find(&told, "tensors", "name", tensor);
        let c = t["choices"].as_array().unwrap().iter().find(|c| c["name"] == name).unwrap();
        [&c["value"], &c["by"], &c["source"]].map(|v| v.as_str().unwrap().to_string())
    };
    let of_file = "recipe of the file";
    assert_eq!(choice("relu_6", "bits"), ["16", "layer.\"node_Conv_31*\".input.bits", of_file]);
    assert_eq!(choice("relu_6", "observer"), ["\"minmax\"", "layer.\"node_Conv_31*\".input.observer", of_file]);
    assert_eq!(choice("relu_6", "signed"), ["false", "input.signed", "default"]);
    assert_eq!(choice("relu_6", "rounding"), ["\"half-away\"", "rounding = \"half-away\"", of_file]);
    assert_eq!(choice("6.body.1.0.weight", "bits"), ["4", "weight.bits", of_file]);
    // Integers at the door are the input itself.
    assert_eq!(choice("image", "bits"), ["8", "io = \"int8\"", of_file]);
    assert_eq!(find(&told, "tensors", "name", "image")["dtype"], "i8");
    let first = find(&told, "layers", "node", "node_Conv_276");
    assert_eq!((&first["integer"], &first["reason"]), (&false.into(), &"skip_k_conv = 1".into()));
    assert!(text(&["explain", &out, "node_Conv_276"]).contains("why float  skip_k_conv = 1"));

    // Of the float model with the same choices it is told before, with the lines that make them.
    let before = json(&["explain", &demo("model.onnx"), "--config", &config, "--set", "weight.per=tensor"]);
    assert_eq!((&before["quantized"], &before["recorded"]), (&false.into(), &false.into()));
    let float = find(&before, "layers", "node", "node_Conv_276");
    assert_eq!(float["reason"], first["reason"]);
    for t in before["tensors"].as_array().unwrap() {
        let after = find(&told, "tensors", "name", t["name"].as_str().unwrap());
        assert_eq!((&t["dtype"], &t["range"], &t["kind"]), (&after["dtype"], &after["range"], &after["kind"]), "{t}");
        assert!(t["scale"].is_null() && t["seen"].is_null());
    }
    let source = |tensor: &str, name: &str| {
        let t = find(&before, "tensors", "name", tensor);
        let c = t["choices"].as_array().unwrap().iter().find(|c| c["name"] == name).unwrap();
        c["source"].as_str().unwrap().to_string()
    };
    assert_eq!(source("relu_6", "bits"), format!("{config}, line 7"));
    assert_eq!(source("6.body.1.0.weight", "bits"), format!("{config}, line 4"));
    assert_eq!(source("6.body.1.0.weight", "per"), "--set weight.per=tensor");

    let device = text(&["explain", &demo("model.onnx"), "--set", "hardware=integer-only", "--set", "requantize=fixed"]);
    assert!(device.contains("hardware = \"integer-only\" allows accumulators up to 32 bits"), "{device}");
    quantize(
        &out,
        &[
            "--samples",
            "4",
            "--set",
            "hardware=integer-only",
            "--set",
            "requantize=fixed",
            "--io",
            "uint8",
            "--set",
            "output=narrow",
        ],
    );
    let limited = text(&["explain", &out, "node_Conv_278"]);
    for part in [
        "accumulator_bits = 32 (default); integer-only allows up to 32",
        "input.bits = 8 (default); integer-only allows up to 16",
    ] {
        assert!(limited.contains(part), "{part}\n{limited}");
    }
    let stderr = error(&["explain", &out, "--set", "weight.bits=4"], 1);
    assert!(stderr.contains("its choices are made"), "{stderr}");
}

#[test]
fn explain_says_what_another_tools_file_does_not() {
    let folder = Folder::new();
    let path = foreign(&folder);
    let told = json(&["explain", &path]);
    assert_eq!((&told["quantized"], &told["recorded"], told.get("recipe")), (&true.into(), &false.into(), None));
    let ours = json(&["explain", &quantized().0]);
    let tensors = told["tensors"].as_array().unwrap();
    assert_eq!(tensors.len(), ours["tensors"].as_array().unwrap().len());
    for t in tensors {
        assert!(t["seen"].is_null() && t["kind"].is_null() && t["choices"].as_array().unwrap().is_empty(), "{t}");
        assert_eq!(t["dtype_by"], "not recorded in the file");
        let same = find(&ours, "tensors", "integers", t["integers"].as_str().or(t["name"].as_str()).unwrap());
        assert_eq!(
            (&t["scale"], &t["zero_point"], &t["covers"]),
            (&same["scale"], &same["zero_point"], &same["covers"])
        );
    }
    let layer = find(&told, "layers", "node", "node_Conv_278");
    assert_eq!(layer["accumulator"]["bits"], find(&ours, "layers", "node", "node_Conv_278")["accumulator"]["bits"]);
    let printed = text(&["explain", &path, "relu"]);
    assert!(printed.contains("seen        not recorded in the file"), "{printed}");
}

#[test]
fn explain_suggests_names() {
    let (path, model) = (&quantized().0, demo("model.onnx"));
    for (of, name, near) in
        [(path, "node_Conv_27", "node_Conv_27"), (path, "relu_66", "relu_6"), (&model, "getitm_6", "getitem_6")]
    {
        let stderr = error(&["explain", of, name], 1);
        assert!(stderr.contains(&format!("no node of the name '{name}' (did you mean '{near}")), "{stderr}");
    }
    // A float between operators has no parameters, and is told for what it is.
    let told = text(&["explain", &model, "node_Conv_278"]);
    assert!(told.contains("known when it is calibrated"), "{told}");
}

#[test]
fn damaged_records_are_told() {
    let folder = Folder::new();
    let path = folder.path("damaged.onnx");
    let of = Model::load(&quantized().0).unwrap();
    let save = |key: &str, value: &str| {
        let mut graph = of.graph().clone();
        graph.meta.properties.insert(key.into(), value.into());
        frontend::save(&graph, Path::new(&path)).unwrap();
    };
    for value in ["{", "[]", "{\"relu.q\":{\"of\":3}}"] {
        save("lowbit.chosen", value);
        let stderr = error(&["explain", &path], 1);
        assert!(stderr.contains("under lowbit.chosen"), "{value}: {stderr}");
        save("lowbit.recipe", value);
        let stderr = error(&["reproduce", &path, &demo("model.onnx"), "--data", &demo("calibration")], 2);
        assert!(stderr.contains("under lowbit.recipe"), "{value}: {stderr}");
    }
    // What is recorded of values that are not there is nobody's.
    save("lowbit.chosen", "{}");
    let told = json(&["explain", &path]);
    assert!(told["tensors"].as_array().unwrap().iter().all(|t| t["dtype_by"] == "not recorded in the file"));
}

#[test]
fn config_says_who_made_a_choice() {
    let folder = Folder::new();
    let config = folder.path("c.toml");
    std::fs::write(&config, "samples = 7\n\n[op.\"nn.conv2d\"]\nweight.bits = 4\n[layer.\"conv*\"]\nskip = true\n")
        .unwrap();
    let told = json(&["config", &config, "--set", "input.observer=minmax", "--samples", "9", "--io", "int8"]);
    let source = |key: &str| {
        let choice = find(&told, "choices", "key", key);
        (choice["value"].as_str().unwrap().to_string(), choice["source"].clone())
    };
    assert_eq!(source("samples"), ("9".into(), serde_json::json!({ "by": "flag", "flag": "--samples 9" })));
    assert_eq!(source("input.observer").1["flag"], "--set input.observer=minmax");
    assert_eq!(
        source("op.Conv.weight.bits"),
        ("4".into(), serde_json::json!({ "by": "file", "file": config, "line": 4 }))
    );
    assert_eq!(source("layer.\"conv*\".skip").1["line"], 6);
    assert_eq!(source("equalize"), ("true".into(), serde_json::json!({ "by": "default" })));
    assert_eq!(told["config"]["samples"], 9);

    // What it prints is a configuration that says all of it.
    let printed = text(&["config", &config, "--set", "rounding=floor"]);
    assert!(printed.contains("# by rounding") && printed.contains(&format!("# {config}, line 1")), "{printed}");
    let read = Config::from_toml(&printed).unwrap();
    let meant = Config::from_toml(&std::fs::read_to_string(&config).unwrap()).unwrap().set("rounding=floor").unwrap();
    assert_eq!(read, meant.filled());
    let device = text(&[
        "config",
        "--set",
        "hardware=shift-only",
        "--set",
        "requantize=shift",
        "--set",
        "input.scale=power-of-two",
        "--set",
        "weight.scale=power-of-two",
    ]);
    assert!(device.contains("# --set requantize=shift; shift-only allows shift"), "{device}");

    // A quantized model's recipe is a configuration too.
    let recipe = json(&["config", &quantized().0]);
    assert_eq!(find(&recipe, "choices", "key", "samples")["source"]["by"], "recipe");
    assert_eq!(recipe["config"], quantized().1["config"]);

    // Without data something else is in force.
    let without = json(&["config", "--no-data", "--set", "global_scale=4"]);
    for (key, value) in [("equalize", "false"), ("samples", "0"), ("input.observer", "\"global_scale\"")] {
        let choice = find(&without, "choices", "key", key);
        assert_eq!((&choice["value"], &choice["source"]["flag"]), (&value.into(), &"--no-data".into()));
    }
    let stderr = error(&["config", "--no-data", "--set", "layer.x.input.observer=minmax"], 1);
    assert!(stderr.contains("looks at samples, and there are none"), "{stderr}");

    for (arguments, part) in [
        (vec!["config", "--set", "input.bit=4"], "did you mean 'input.bits'"),
        (vec!["config", &config, "--set", "samples=3", "--samples", "4"], "--samples"),
        (vec!["config", "nowhere.toml"], "nowhere.toml"),
        (vec!["config", "--set", "input.observer=minmx"], "did you mean 'minmax'"),
    ] {
        let stderr = error(&arguments, 1);
        assert!(stderr.contains(part), "{arguments:?}: {stderr}");
    }
    let stderr = error(&["config", &demo("model.onnx")], 1);
    assert!(stderr.contains("stores no configuration"), "{stderr}");
}

#[test]
fn the_schema_is_the_committed_one() {
    let printed = text(&["config", "--schema"]);
    let committed = std::fs::read_to_string(demo("../docs/config.schema.json")).unwrap();
    assert_eq!(printed, committed, "cargo xtask docs writes it");
    assert_eq!(json(&["config", "--schema"]), serde_json::from_str::<Value>(&committed).unwrap());
    error(&["config", "--schema", "--set", "samples=3"], 2);
}

#[test]
fn diff_tells_what_changed_and_fails_for_gates() {
    let folder = Folder::new();
    let (a, b, c) = (folder.path("a.onnx"), folder.path("b.onnx"), folder.path("c.onnx"));
    let base = ["--samples", "4", "--set", "equalize=false", "--set", "refinements=[]"];
    quantize(&a, &base);
    quantize(&b, &[&base[..], &["--set", "layer.node_Conv_310.weight.bits=4", "--set", "skip_k_conv=1"]].concat());
    quantize(&c, &[&base[..], &["--set", "input.observer=percentile(99.99)"]].concat());

    let same = json(&["diff", &a, &a]);
    assert_eq!((&same["same"], same["values"].as_u64().unwrap() > 100), (&true.into(), true));
    assert!(text(&["diff", &a, &a]).starts_with("the same: "));

    let changed = |arguments: &[&str]| -> Value {
        let ran = run(&[arguments, &["--json"]].concat());
        assert_eq!(ran.code, Some(1), "{}", ran.stderr);
        serde_json::from_str(&ran.stdout).unwrap()
    };
    let told = changed(&["diff", &a, &b]);
    let weight = find(&told, "types", "name", "6.body.1.0.weight.q");
    assert!(weight["before"].as_str().unwrap().starts_with("i8[48x48x3x3] -127..127"), "{weight}");
    assert!(weight["after"].as_str().unwrap().starts_with("i4[48x48x3x3] -7..7"), "{weight}");
    let island = find(&told, "islands", "name", "node_Conv_276");
    assert!(island["before"].is_null() && island["after"].as_str().unwrap().contains("skip_k_conv = 1"), "{island}");
    assert_eq!(find(&told, "notes", "name", "config skip_k_conv")["after"], "1");
    // What was left alone is not listed.
    assert!(told["types"].as_array().unwrap().iter().all(|t| t["name"] != "6.body.0.0.weight.q"));
    assert!(told["constants"].as_array().unwrap().iter().all(|t| t["name"] != "6.body.0.0.weight.q"));

    // Other ranges of values: no other types, and scales that a tolerance forgives.
    let told = changed(&["diff", &a, &c]);
    assert!(told["types"].as_array().unwrap().is_empty() && told["islands"].as_array().unwrap().is_empty());
    let greatest = told["scales"].as_array().unwrap().iter().map(|s| s["change"].as_f64().unwrap()).fold(0.0, f64::max);
    assert!(greatest > 0.001, "{told}");
    let half = changed(&["diff", &a, &c, "--tolerance", &(greatest / 2.0).to_string()]);
    let count = |told: &Value| told["scales"].as_array().unwrap().len();
    assert!((1..count(&told)).contains(&count(&half)), "{} {}", count(&told), count(&half));
    let back = changed(&["diff", &c, &a]);
    assert_eq!(count(&back), count(&told));
    let printed = run(&["diff", &a, &b]).stdout;
    for part in ["different: ", "float islands (", "types (", "i4[48x48x3x3]", "which have no say here"] {
        assert!(printed.contains(part), "{part}\n{printed}");
    }

    // An error is neither.
    let nowhere = folder.path("nowhere.onnx");
    for (arguments, part) in [
        (vec!["diff", &a, &nowhere], "nowhere.onnx"),
        (vec!["diff", &a, &demo("model.onnx")], "found a float one as the second"),
        (vec!["diff", &a, &b, "--tolerance", "-1"], "from 0"),
        (vec!["diff", &a, &b, "--tolerance", "nan"], "from 0"),
    ] {
        let stderr = error(&arguments, 2);
        assert!(stderr.contains(part), "{arguments:?}: {stderr}");
    }
}

#[test]
fn reproduce_gives_the_same_bytes_on_any_threads_and_kernels() {
    let folder = Folder::new();
    let (model, data, out, config) =
        (demo("model.onnx"), demo("calibration"), folder.path("q.onnx"), folder.path("c.toml"));
    std::fs::write(&config, "weight.rounding = 'stochastic(7)'\n[layer.'node_Conv_31*']\nweight.per = 'block(16)'\n")
        .unwrap();
    quantize(&out, &["--samples", "5", "--threads", "2", "--config", &config]);
    let before = std::fs::read(&out).unwrap();
    let reproduce = ["reproduce", &out, &model, "--data", &data];
    // Every row set that this machine has, on as many threads as its place says.
    for (i, isa) in lowbit::runtime::Isa::available().iter().enumerate() {
        let threads = (1 + i % 3).to_string();
        let machine = ["--threads", &threads, "--isa", isa.name];
        let told = json(&[&reproduce[..], &machine].concat());
        assert_eq!(
            (&told["same"], told["bytes"][0].as_u64()),
            (&true.into(), Some(before.len() as u64)),
            "{machine:?}"
        );
        assert_eq!((told.get("diff"), told["others"].as_array().map(Vec::len)), (None, Some(0)));
    }
    assert!(text(&reproduce).starts_with("the same: "));
    assert_eq!((std::fs::read(&out).unwrap(), folder.files().len()), (before, 2), "nothing is written");

    // Other data, another model, another file: what is different is told.
    let failed = |arguments: &[&str]| {
        let ran = run(&[arguments, &["--json"]].concat());
        assert_eq!(ran.code, Some(1), "{}", ran.stderr);
        let told: Value = serde_json::from_str(&ran.stdout).unwrap();
        (told, ran.stderr)
    };
    let (told, _) = failed(&["reproduce", &out, &model, "--data", &demo("test")]);
    assert_eq!(told["others"][0]["what"], "data");
    assert!(!told["diff"]["scales"].as_array().unwrap().is_empty());
    let other = folder.path("other.onnx");
    let mut graph = Model::load(&model).unwrap().graph().clone();
    let (v, t) = graph.values().find_map(|(v, _)| Some((v, graph.constant(v)?.clone()))).unwrap();
    let halved = t.floats().unwrap().iter().map(|x| x / 2.0).collect();
    graph.set_const(v, lowbit::Tensor::from_f32(t.dims(), halved).unwrap());
    frontend::save(&graph, Path::new(&other)).unwrap();
    let (told, stderr) = failed(&["reproduce", &out, &other, "--data", &data]);
    assert!(stderr.contains("is not the float model of the recipe"), "{stderr}");
    assert!(told["others"].as_array().unwrap().iter().any(|o| o["what"] == "float model"), "{told}");
    let touched = folder.path("touched.onnx");
    let mut graph = Model::load(&out).unwrap().graph().clone();
    graph.meta.doc = "touched".into();
    frontend::save(&graph, Path::new(&touched)).unwrap();
    let (told, _) = failed(&["reproduce", &touched, &model, "--data", &data]);
    assert_eq!((&told["diff"]["same"], told["others"].as_array().map(Vec::len)), (&true.into(), Some(0)));

    for (arguments, part) in [
        (vec!["reproduce", &out, &model], "expected --data, found neither"),
        (vec!["reproduce", &out, &out, "--data", &data], "found a quantized one"),
        (vec!["reproduce", &model, &model, "--data", &data], "holds none"),
        (vec!["reproduce", &foreign(&folder), &model, "--data", &data], "holds none"),
        (vec!["reproduce", &out, &model, "--data", "nowhere"], "nowhere"),
    ] {
        let stderr = error(&arguments, 2);
        assert!(stderr.contains(part), "{arguments:?}: {stderr}");
    }
}

#[test]
fn reproduce_goes_by_statistics_and_by_nothing_too() {
    let folder = Folder::new();
    let (model, data) = (demo("model.onnx"), demo("calibration"));
    let (stats, out) = (folder.path("s"), folder.path("q.onnx"));
    text(&["calibrate", &model, "--data", &data, "--samples", "3", "-o", &stats]);
    text(&["quantize", &model, "--stats", &stats, "--no-report", "-o", &out]);
    assert_eq!(json(&["reproduce", &out, &model, "--stats", &stats])["same"], true);
    let stderr = error(&["reproduce", &out, &model, "--data", &data], 2);
    assert!(stderr.contains("expected --stats, found --data"), "{stderr}");
    let plain = folder.path("p.onnx");
    text(&["quantize", &model, "--no-data", "--no-report", "-o", &plain, "--set", "global_scale=16"]);
    let told = json(&["reproduce", &plain, &model]);
    assert_eq!((&told["same"], &told["recipe"]["evidence"]["from"]), (&true.into(), &"nothing".into()));

    // Sizes that were given are given again.
    let (open, x, sized) = (folder.path("open.onnx"), folder.path("x.npy"), folder.path("sized.onnx"));
    let graph = parse("graph \"g\" {\n  input %x: f32[NxK]\n  %y = Relu(%x)\n  %z = Add(%y, %x)\n  %w = Add(%z, %y)\n  output %w\n}\n").unwrap();
    frontend::save(&graph, Path::new(&open)).unwrap();
    let tensor = lowbit::Tensor::from_f32(&[3, 4], (0..12).map(|i| i as f32 - 5.0).collect()).unwrap();
    lowbit::data::npy::write(Path::new(&x), &tensor).unwrap();
    text(&["quantize", &open, "--shape", "x=1x4", "--data", &x, "--no-report", "-o", &sized, "--set", "output=narrow"]);
    assert_eq!(json(&["reproduce", &sized, &open, "--data", &x])["same"], true);
}
