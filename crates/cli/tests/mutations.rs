//! Model files with something wrong in them, hundreds at random: an error with a place or a result, within the memory that is
//! allowed; no panic, no abort, nothing endless.
//!
//! The same files every time. `LOWBIT_MUTATIONS` is how many there are, `LOWBIT_SEED` where they start: with other numbers
//! there are as many others as somebody has time for.

mod support;

use lowbit::frontend;
use lowbit::frontend::onnx::Message;
use lowbit::frontend::onnx::proto::ModelProto;
use lowbit_fuzz::choices::Choices;
use lowbit_fuzz::damage;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use support::{Folder, demo};

/// What a command may allocate beside the model, and what the process may take of the address space: code, stacks and the
/// threads' arenas of the system's allocator are far below the difference.
const ALLOWED: &str = "64M";
const ADDRESSES: usize = 3 << 20;

/// So long no command takes on a small model, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(120);

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }

    fn of<T: Clone>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())].clone()
    }
}

/// Small networks with most kinds of attributes and constants, and the demo's.
fn originals() -> Vec<ModelProto> {
    let mut models = damage::originals().unwrap();
    let demo = lowbit::Model::load(&support::quantized().0).unwrap();
    models.push(ModelProto::decode(&*frontend::export(demo.graph()).unwrap()).unwrap());
    models
}

/// Starts a command that cannot take more of the machine than it may.
fn start(arguments: &[&str]) -> Child {
    let mut command = match cfg!(unix) {
        true => {
            let mut shell = Command::new("sh");
            let script = format!("ulimit -v {ADDRESSES}; ulimit -c 0; exec \"$0\" \"$@\"");
            shell.args(["-c", &script, env!("CARGO_BIN_EXE_lowbit")]);
            shell
        }
        false => support::lowbit(),
    };
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Runs it; its exit code, and what it said. A case that goes wrong is kept for whoever mends it.
fn outcome(arguments: &[&str], what: &str) -> (i32, String) {
    let mut child = start(arguments);
    let began = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if began.elapsed() > PATIENCE {
            child.kill().unwrap();
            panic!("{what}: {arguments:?} is still not done");
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    let code = output.status.code().unwrap_or(-1);
    assert!(matches!(code, 0 | 1) && !stderr.contains("panicked"), "{what}: {arguments:?}: exit code {code}: {stderr}");
    // Whatever is wrong, it is somewhere: a node, a value, a file.
    assert!(code == 0 || stderr.contains('\''), "{what}: {arguments:?}: an error without a place: {stderr}");
    (code, stderr)
}

#[test]
fn damaged_models_are_errors_or_results() {
    let number = |name: &str, usual: u64| std::env::var(name).ok().and_then(|n| n.parse().ok()).unwrap_or(usual);
    let (count, seed) = (number("LOWBIT_MUTATIONS", 120), number("LOWBIT_SEED", 1));
    let folder = Folder::new();
    let (path, out, into) = (folder.path("m.onnx"), folder.path("q.onnx"), folder.path("into"));
    let originals = originals();
    let (mut read, mut refused) = (0, 0);
    for case in seed..seed + count {
        let mut random = Random(case.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        (0..8).for_each(|_| {
            random.next();
        });
        let mut model = random.of(&originals);
        for _ in 0..=random.below(3) {
            let choices: Vec<u8> = (0..16).map(|_| random.next() as u8).collect();
            damage::mutate(&mut model, &mut Choices::of(&choices));
        }
        let mut bytes = model.encode_to_vec();
        if random.below(8) == 0 {
            let at = random.below(bytes.len());
            bytes[at] ^= 1 << random.below(8);
        }
        std::fs::write(&path, &bytes).unwrap();
        let what = format!("case {case}");
        let memory = ["--max-memory", ALLOWED];
        let (code, _) = outcome(&[&["inspect", &path, "--lowered"], &memory[..]].concat(), &what);
        if code == 1 {
            refused += 1;
            continue;
        }
        read += 1;
        if case % 3 == 0 {
            outcome(&[&["explain", &path], &memory[..]].concat(), &what);
        }
        let noise = ["--data", "random", "--samples", "1"];
        let verb: &[&str] = match case % 2 {
            0 => &["quantize", &path, "-o", &out, "--no-report"],
            _ => &["run", &path, "--output", &into],
        };
        outcome(&[verb, &noise, &memory].concat(), &what);
    }
    assert!(read >= count / 10 && refused >= count / 10, "{read} were read, {refused} refused");
    assert!(Path::new(&demo("model.onnx")).exists());
}
