//! Real models, which are no part of the repository: loaded, quantized, saved, loaded again and verified bit for bit.
//!
//! They are looked for in the folder that LOWBIT_SHARED names, else in `../shared`; without them the test says that it
//! is skipped.

use lowbit::data::Dataset;
use lowbit::ir::Customs;
use lowbit::prefetch::Prefetch;
use lowbit::verify::verify;
use lowbit::{Config, Model, Quantize};
use std::env;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

/// What the interpreter runs in a few seconds; `verify` runs it and every instruction set on 1 to 4 threads, twice.
const MOST_MACS: u64 = 60_000_000;

/// Writes where the test harness does not keep it to itself.
fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "\n{line}");
}

fn shared() -> Option<PathBuf> {
    let named = env::var_os("LOWBIT_SHARED").map(PathBuf::from);
    let folder = named.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared")).join("models");
    folder.is_dir().then_some(folder)
}

/// The models of a folder, sorted.
fn models(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().map(|e| e.unwrap().path());
    let mut found: Vec<PathBuf> = entries.filter(|p| p.extension().is_some_and(|e| e == "onnx")).collect();
    found.sort();
    found
}

/// Whether every executor gives the interpreter's bits on a sample of noise; nothing if that would take too long.
fn identical(name: &str, model: &Model) -> Option<bool> {
    let data = Dataset::open("random", &model.inputs(), None).unwrap();
    let graph = model.lowered().unwrap().0;
    let macs = lowbit::inspect::inspect(&lowbit::model::with_batch(&graph, None).unwrap()).unwrap().macs?;
    if macs > MOST_MACS {
        return None;
    }
    let found = verify(&graph, &Customs::default(), &Prefetch::new(&data, 1)).unwrap();
    assert!(found.identical, "{name}: {:?}", found.difference);
    Some(found.identical)
}

#[test]
fn real_models_are_quantized_saved_and_verified() {
    let Some(folder) = shared() else {
        say("SKIPPED: NO REAL MODELS (set LOWBIT_SHARED to the folder that has `models` in it)");
        return;
    };
    let scratch = Path::new(env!("CARGO_TARGET_TMPDIR")).join("real_models");
    fs::create_dir_all(&scratch).unwrap();
    let all = models(&folder);
    assert!(!all.is_empty(), "no model is in {}", folder.display());
    let (next, verified) = (AtomicUsize::new(0), AtomicUsize::new(0));
    // Much of a quantization is one thread's work, so two models are under way at a time.
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(path) = all.get(next.fetch_add(1, Ordering::Relaxed)) {
                    verified.fetch_add(usize::from(quantized_and_back(path, &scratch)), Ordering::Relaxed);
                }
            });
        }
    });
    let verified = verified.into_inner();
    assert!(verified > 0, "all models are too large to be verified");
    eprintln!("{} float models were quantized, saved and loaded, {verified} of them verified", all.len());
}

/// Quantizes a model, writes it, reads it, and says whether it was small enough to be verified.
fn quantized_and_back(path: &Path, scratch: &Path) -> bool {
    let name = path.file_stem().unwrap().to_string_lossy().into_owned();
    let float = Model::load(path).unwrap_or_else(|e| panic!("{name}: {e}"));
    assert!(!float.is_quantized(), "{name}");
    let data = Dataset::open("random", &float.inputs(), None).unwrap();
    let config = Config { samples: 2, ..Config::default() };
    let made = float.quantize(Quantize::default().data(&data).config(config));
    let made = made.unwrap_or_else(|e| panic!("{name}: {e}"));
    assert!(made.report.layers.iter().any(|l| l.integer), "{name}");
    let saved = scratch.join(format!("{name}.onnx"));
    made.save(&saved).unwrap();
    let loaded = Model::load(&saved).unwrap_or_else(|e| panic!("{name}, saved: {e}"));
    assert!(loaded.is_quantized(), "{name}");
    // What was saved is what was made: the same integer program comes out of the file.
    assert_eq!(made.integer.nodes().count(), loaded.lowered().unwrap().0.nodes().count(), "{name}");
    identical(&name, &loaded).is_some()
}

#[test]
fn models_of_other_tools_are_lowered_and_verified() {
    let Some(folder) = shared().map(|folder| folder.join("prequantized")).filter(|folder| folder.is_dir()) else {
        say("SKIPPED: NO MODELS OF OTHER TOOLS (set LOWBIT_SHARED to the folder with `models/prequantized`)");
        return;
    };
    let (mut read, mut refused, mut verified) = (0, Vec::new(), 0);
    for path in models(&folder) {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        match Model::load(&path) {
            Ok(model) => {
                assert!(model.is_quantized(), "{name}");
                read += 1;
                verified += usize::from(identical(&name, &model).is_some());
            }
            // A form that is not read is refused with a reason; what that is, other tests say.
            Err(e) => refused.push(format!("{name}: {}", e.message().lines().next().unwrap_or_default())),
        }
    }
    assert!(read > 0, "none of the models in {} is read: {refused:?}", folder.display());
    eprintln!("{read} models of other tools were read, {verified} of them verified; not read: {refused:?}");
}
