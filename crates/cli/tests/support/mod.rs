//! The binary as a user starts it, on the demo model and a folder of its own for every test.
#![allow(dead_code, reason = "every test file uses some of it")]

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The command, without arguments.
pub fn lowbit() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lowbit"));
    command.env_remove("NO_COLOR");
    command
}

/// A path below `demo/`.
pub fn demo(path: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../demo");
    root.join(path).display().to_string()
}

/// What a command printed, and its exit code.
#[derive(Debug)]
pub struct Ran {
    pub stdout: String,
    pub stderr: String,
    pub code: Option<i32>,
}

/// Runs it.
pub fn run(arguments: &[&str]) -> Ran {
    ran(lowbit().args(arguments).output().expect("the binary starts"))
}

pub fn ran(output: Output) -> Ran {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("the output is UTF-8");
    let ran = Ran { stdout: text(output.stdout), stderr: text(output.stderr), code: output.status.code() };
    assert!(!ran.stderr.contains("panicked"), "{}", ran.stderr);
    ran
}

/// What a command that succeeds prints.
pub fn text(arguments: &[&str]) -> String {
    let ran = run(arguments);
    assert_eq!(ran.code, Some(0), "{arguments:?}: {}", ran.stderr);
    ran.stdout
}

/// The object that a command that succeeds prints with `--json`: one line, and nothing else.
pub fn json(arguments: &[&str]) -> Value {
    let printed = text(&[arguments, &["--json"]].concat());
    assert_eq!(printed.lines().count(), 1, "{printed}");
    let value: Value = serde_json::from_str(&printed).expect("the output is JSON");
    assert!(value.is_object());
    value
}

/// Standard error of a command that fails with this exit code and prints nothing.
pub fn error(arguments: &[&str], code: i32) -> String {
    let ran = run(arguments);
    assert_eq!(ran.code, Some(code), "{arguments:?}: {}", ran.stderr);
    assert_eq!(ran.stdout, "", "{arguments:?}");
    assert!(ran.stderr.starts_with("error: ") || ran.stderr.contains("\nerror: "), "{arguments:?}: {}", ran.stderr);
    ran.stderr
}

/// A folder that goes away.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Folder {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("lowbit-cli-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).expect("the temporary folder can be made");
        Folder(path)
    }

    pub fn path(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }

    /// Names of all files.
    pub fn files(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.0).expect("the folder can be listed");
        let mut names: Vec<String> =
            entries.map(|e| e.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The demo model, quantized once for all tests of a file; and what was told.
pub fn quantized() -> &'static (String, Value) {
    static QUANTIZED: OnceLock<(Folder, (String, Value))> = OnceLock::new();
    let (_, quantized) = QUANTIZED.get_or_init(|| {
        let folder = Folder::new();
        let path = folder.path("demo.int8.onnx");
        let (model, data, test) = (demo("model.onnx"), demo("calibration"), demo("test"));
        let arguments = ["quantize", &model, "--data", &data, "--samples", "24", "-o", &path];
        let told = json(&[&arguments[..], &["--evaluate", &test, "--evaluate-samples", "48"]].concat());
        (folder, (path, told))
    });
    quantized
}
