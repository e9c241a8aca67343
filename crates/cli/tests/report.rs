//! `--report DIR`: one page that holds all it shows, the same as JSON, and overlays.

mod support;

use serde_json::Value;
use std::fs;
use std::path::Path;
use support::{Folder, demo, error, json, run};

/// Quantizes the demo with a report into this folder.
fn reported(folder: &Folder, name: &str) -> Value {
    let (model, data, test) = (demo("model.onnx"), demo("calibration"), demo("test"));
    let (output, report) = (folder.path(&format!("{name}.onnx")), folder.path(name));
    json(&[
        "quantize",
        &model,
        "--data",
        &data,
        "--samples",
        "16",
        "--evaluate",
        &test,
        "--evaluate-samples",
        "24",
        "-o",
        &output,
        "--report",
        &report,
    ])
}

fn read(folder: &Folder, path: &str) -> String {
    fs::read_to_string(folder.path(path)).unwrap()
}

fn parsed(folder: &Folder, path: &str) -> Value {
    serde_json::from_str(&read(folder, path)).unwrap()
}

#[test]
fn a_report_has_every_node_and_needs_nothing_else() {
    let folder = Folder::new();
    let told = reported(&folder, "demo");
    let files: Vec<&str> = told["report_files"].as_array().unwrap().iter().map(|f| f.as_str().unwrap()).collect();
    assert!(files.len() == 6 && files.iter().all(|f| Path::new(f).is_file()), "{files:?}");
    assert!(files[0].ends_with("index.html"), "{files:?}");
    let (page, data) = (read(&folder, "demo/index.html"), parsed(&folder, "demo/report.json"));
    let nodes = data["nodes"].as_array().unwrap();
    assert!(nodes.len() > 30 && nodes.iter().any(|n| n["alone"]["sqnr_db"].as_f64().is_some_and(|db| db > 20.0)));
    for (at, node) in nodes.iter().enumerate() {
        for part in [format!("<tr id=\"n{at}\">"), format!("id=\"g{at}\" href=\"#n{at}\"")] {
            assert_eq!(page.matches(&part).count(), 1, "{part} of {node}");
        }
        assert!(page.contains(node["name"].as_str().unwrap()), "{node}");
    }
    // Every link leads somewhere within, and nothing is loaded from elsewhere.
    for link in page.split("href=\"").skip(1).map(|rest| rest.split('"').next().unwrap()) {
        let anchor = link.strip_prefix('#').unwrap_or_else(|| panic!("{link} leads out"));
        assert!(page.contains(&format!("id=\"{anchor}\"")), "{link} leads nowhere");
    }
    assert!(!page.contains("src=") && !page.contains("url(http") && !page.contains("@import"));
    assert!(page.contains("default-src 'none'"));
    for part in
        ["Top-1", "Median latency", "Constants", "Histograms of weights", "aria-label", "prefers-reduced-motion"]
    {
        assert!(page.contains(part), "{part}");
    }
    let layers = nodes.iter().filter(|n| n["layer"] == true && n["computes"] == "integers").count();
    assert_eq!(layers as u64, told["layers_integer"].as_u64().unwrap());
    let histograms: Vec<&Value> = data["values"].as_array().unwrap().iter().filter(|v| v["kind"] != "bias").collect();
    for value in histograms {
        let counts = value["histogram"]["counts"].as_array().unwrap_or_else(|| panic!("no histogram of {value}"));
        assert!(counts.iter().any(|n| n.as_u64() > Some(0)), "{value}");
    }
}

#[test]
fn overlays_are_node_data_of_model_explorer() {
    let folder = Folder::new();
    reported(&folder, "demo");
    let nodes = parsed(&folder, "demo/report.json")["nodes"].clone();
    let names: Vec<&str> = nodes.as_array().unwrap().iter().map(|n| n["name"].as_str().unwrap()).collect();
    for name in ["sqnr", "sqnr-together", "time", "float"] {
        let overlay = parsed(&folder, &format!("demo/model-explorer.{name}.json"));
        let results = overlay["results"].as_object().unwrap();
        assert!(!results.is_empty() && overlay["name"].is_string(), "{name}");
        for (node, value) in results {
            assert!(names.contains(&node.as_str()) && value["value"].is_number(), "{node}: {value}");
        }
        let thresholds = overlay["thresholds"].as_array().unwrap();
        let ends: Vec<f64> = thresholds.iter().map(|t| t["value"].as_f64().unwrap()).collect();
        assert!(ends.is_sorted() && ends.len() > 1, "{name}: {ends:?}");
        for threshold in thresholds {
            for colour in ["bgColor", "textColor"] {
                assert!(threshold[colour].as_str().is_some_and(|c| c.starts_with('#') && c.len() == 7), "{threshold}");
            }
        }
        let most = ends.last().unwrap();
        assert!(results.values().all(|v| v["value"].as_f64().unwrap() <= *most), "{name}");
    }
}

#[test]
fn only_times_differ_from_run_to_run() {
    let folder = Folder::new();
    let of_run = |name: &str| {
        fs::create_dir(folder.path(name)).unwrap();
        reported(&folder, &format!("{name}/demo"));
        let mut data = parsed(&folder, &format!("{name}/demo/report.json"));
        for key in ["latency", "steps", "facts", "reference"] {
            data.as_object_mut().unwrap().remove(key);
        }
        let overlays = ["sqnr", "float"].map(|o| read(&folder, &format!("{name}/demo/model-explorer.{o}.json")));
        (data, overlays, fs::read(folder.path(&format!("{name}/demo.onnx"))).unwrap())
    };
    let (one, two) = (of_run("one"), of_run("two"));
    assert!(one == two);
}

#[test]
fn names_are_harmless() {
    let folder = Folder::new();
    let name = "</script><img src=x onerror=alert(1)>\"'&";
    let quoted = format!("{name:?}");
    let text = format!(
        "graph \"g\" {{\n  input %x: f32[Nx2]\n  const %w: f32[2x2] = [1, 2, -3, 4]\n  %{quoted} = MatMul(%x, %w)\n  output %{quoted}\n}}\n"
    );
    let graph = lowbit::ir::text::parse(&text).unwrap();
    let (model, output, report) = (folder.path("m.onnx"), folder.path("q.onnx"), folder.path("report"));
    lowbit::frontend::save(&graph, Path::new(&model)).unwrap();
    json(&["quantize", &model, "--data", "random", "--samples", "4", "-o", &output, "--report", &report]);
    let page = read(&folder, "report/index.html");
    assert!(page.contains("&lt;/script&gt;&lt;img src=x onerror=alert(1)&gt;&quot;&#39;&amp;"));
    assert!(!page.contains("<img") && page.matches("<script").count() == 1 && page.matches("</script>").count() == 1);
    assert!(page.contains("random noise"));
}

#[test]
fn reports_without_samples_tell_what_they_know() {
    let folder = Folder::new();
    let (output, report) = (folder.path("q.onnx"), folder.path("report"));
    let told = json(&["quantize", &demo("model.onnx"), "--no-data", "-o", &output, "--report", &report]);
    assert_eq!(told["report_files"].as_array().unwrap().len(), 3, "page, JSON, and what is float");
    let page = read(&folder, "report/index.html");
    assert!(page.contains("Not measured") && page.contains("global_scale") && !page.contains("Median latency"));
}

#[test]
fn comparisons_report_what_they_found() {
    let folder = Folder::new();
    let (model, data, output) = (demo("model.onnx"), demo("test"), folder.path("q.onnx"));
    let quantized = json(&["quantize", &model, "--no-data", "--set", "skip_k_conv=1", "-o", &output, "--no-report"]);
    for (name, others, simulated) in [("float", vec![&model, &output], false), ("alone", vec![&output], true)] {
        let report = folder.path(name);
        let rest = ["--data", &data, "--samples", "4", "--report", &report];
        let told = json(&[&["compare"][..], &others.iter().map(|s| s.as_str()).collect::<Vec<_>>(), &rest].concat());
        assert_eq!(told["report_files"].as_array().unwrap().len(), 6, "{told}");
        let (page, found) =
            (read(&folder, &format!("{name}/index.html")), parsed(&folder, &format!("{name}/report.json")));
        // What the page has of layers is what was told of them.
        let nodes = found["nodes"].as_array().unwrap();
        for layer in told["layers"].as_array().unwrap() {
            let node = nodes.iter().find(|n| n["name"] == layer["node"]).unwrap_or_else(|| panic!("no {layer}"));
            assert_eq!((&node["together"], &node["alone"]), (&layer["cumulative"], &layer["isolated"]), "{layer}");
        }
        let on = nodes.iter().filter(|n| n["layer"] == true && n["computes"] == "integers").count() as u64;
        assert_eq!(Some(on), quantized["layers_integer"].as_u64(), "{name}");
        assert!(found["left_float"].as_array().unwrap().iter().any(|l| l["reason"] == "skip_k_conv = 1"), "{name}");
        assert!(
            found["latency"]["integer"]["median_ms"].as_f64() > Some(0.0)
                && !found["steps"].as_array().unwrap().is_empty()
        );
        assert!(page.contains("Histograms of weights") && page.contains("4 samples of"), "{name}");
        assert_eq!(page.contains("its own simulation"), simulated, "{name}");
        assert_eq!(found["sizes"].as_array().unwrap().len(), if simulated { 1 } else { 2 });
        let choice = |c: &&Value| c["key"] == "skip_k_conv" && c["source"]["by"] == "recipe";
        assert_eq!(found["config"].as_array().unwrap().iter().filter(choice).count(), 1);
    }
    // Two float models have nothing quantized to tell of.
    let report = folder.path("same");
    json(&["compare", &model, &model, "--data", &data, "--samples", "2", "--report", &report]);
    assert_eq!(parsed(&folder, "same/report.json")["values"].as_array().unwrap().len(), 0);
    let told = error(&["compare", &model, &output, "--data", &data, "--report", &data], 1);
    assert!(told.contains("it is the data itself"), "{told}");
}

#[test]
fn what_cannot_be_written_is_refused_before_the_work() {
    let folder = Folder::new();
    let (model, data, output) = (demo("model.onnx"), demo("calibration"), folder.path("q.onnx"));
    fs::write(folder.path("file"), "x").unwrap();
    fs::create_dir_all(folder.path("taken/index.html")).unwrap();
    for (report, why) in [
        (folder.path("file"), "expected a folder, found a file"),
        (folder.path("none/report"), "its folder does not exist"),
        (folder.path("taken"), "found a folder"),
        (data.clone(), "it is the data itself"),
    ] {
        let told = error(&["quantize", &model, "--data", &data, "-o", &output, "--report", &report], 1);
        assert!(told.contains(why), "{told}");
    }
    assert_eq!(folder.files(), ["file", "taken"]);
    let both = run(&["quantize", &model, "--data", &data, "-o", &output, "--report", "r", "--no-report"]);
    assert_eq!(both.code, Some(2), "{}", both.stderr);
    // What fails later leaves nothing either.
    let told = error(
        &[
            "quantize",
            &model,
            "--data",
            &data,
            "--samples",
            "4",
            "-o",
            &output,
            "--report",
            &folder.path("r"),
            "--set",
            "layer.\"no such layer\".weight.bits=4",
        ],
        1,
    );
    assert!(told.contains("no such layer"), "{told}");
    assert_eq!(folder.files(), ["file", "taken"]);
}
