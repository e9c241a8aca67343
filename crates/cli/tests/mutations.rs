//! Model files with something wrong in them, hundreds at random: an error with a place or a result, within the memory that is
//! allowed; no panic, no abort, nothing endless.
//!
//! The same files every time. `LOWBIT_MUTATIONS` is how many there are, `LOWBIT_SEED` where they start: with other numbers
//! there are as many others as somebody has time for.

mod support;

use lowbit::frontend;
use lowbit::frontend::onnx::Message;
use lowbit::frontend::onnx::proto::{
    AttributeProto, GraphProto, ModelProto, tensor_shape_proto::dimension, type_proto,
};
use lowbit::ir::{Graph, text};
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

const SIZES: [i64; 16] =
    [-1, 0, 1, 2, 3, 7, 255, 65536, 1 << 20, 1 << 31, 1 << 32, 1 << 40, 1 << 62, i64::MAX, i64::MIN, -2];

const REALS: [f32; 8] = [0.0, -1.0, f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e-45, 1e38, -1e30];

/// Small networks with most kinds of attributes and constants.
fn originals() -> Vec<ModelProto> {
    let texts = [
        r#"
graph "windows" {
  input %x: f32[Nx3x8x8]
  const %w: f32[4x3x3x3] = random
  const %b: f32[4] = [1, 2, 3, 4]
  const %d: f32[4x1x3x3] = random
  const %f: f32[16x5] = random
  %c = Conv(%x, %w, %b) {strides [2, 2], pads [1, 1, 1, 1], dilations [1, 1], group 1}
  %r = Relu(%c)
  %g = Conv(%r, %d) {strides [1, 1], pads [1, 1, 1, 1], dilations [1, 1], group 4}
  %p = MaxPool(%g) {kernel [2, 2], strides [2, 2], pads [0, 0, 0, 0], dilations [1, 1]}
  %q = Pad(%p) {begins [0, 0, 1, 1], ends [0, 0, 1, 1], value 0}
  %a = AvgPool(%q) {kernel [3, 3], strides [1, 1], pads [0, 0, 0, 0], dilations [1, 1]}
  %t = Transpose(%a) {perm [0, 2, 3, 1]}
  %l = Flatten(%t) {axis 1}
  %y = MatMul(%l, %f)
  output %y
}
"#,
        r#"
graph "movement" {
  input %x: f32[2x4x6]
  const %s: f32[6] = [1, 1, 1, 1, 1, 1]
  const %o: f32[1x1x6] = [1, 2, 3, 4, 5, 6]
  const %i: i64[3] = [0, 2, 1]
  %n = LayerNorm(%x, %s) {axis 2, epsilon 1e-5}
  %e = Expand(%o) {dims [2, 4, 6]}
  %a = Add(%n, %e)
  %g = Gather(%a, %i) {axis 1}
  %c = Slice(%g) {axes [2], starts [1], ends [5], steps [1]}
  %m = Softmax(%c) {axis 2}
  %h = Split(%m) {axis 2, sizes [4]}
  %k = Concat(%h, %c) {axis 1}
  %r = Reshape(%k) {dims [2, -1]}
  %y = Clip(%r) {min -1, max 1}
  output %y
}
"#,
    ];
    let mut graphs: Vec<Graph> = texts.iter().filter_map(|t| text::parse(&filled(t)).ok()).collect();
    assert_eq!(graphs.len(), texts.len(), "the originals can be read");
    graphs.push(lowbit::Model::load(&support::quantized().0).unwrap().graph().clone());
    let decode = |g: &Graph| ModelProto::decode(&*frontend::export(g).unwrap()).unwrap();
    graphs.iter().map(decode).collect()
}

/// Constants of small numbers in place of the word `random`.
fn filled(text: &str) -> String {
    let mut random = Random(7);
    let line = |line: &str| {
        let Some(head) = line.strip_suffix("= random") else { return line.to_owned() };
        let sizes = head.split_once('[').and_then(|(_, rest)| rest.split_once(']')).map_or("", |(sizes, _)| sizes);
        let count: usize = sizes.split('x').filter_map(|n| n.parse::<usize>().ok()).product();
        let data: Vec<String> = (0..count).map(|_| (random.below(9) as i64 - 4).to_string()).collect();
        format!("{head}= [{}]", data.join(", "))
    };
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

/// One thing made wrong.
fn mutate(model: &mut ModelProto, random: &mut Random) {
    let Some(g) = &mut model.graph else { return };
    let names: Vec<String> = g.node.iter().flat_map(|n| n.output.clone()).collect();
    match random.below(10) {
        0 => size_of_input(g, random),
        1 => {
            let (node, name) = (random.below(g.node.len()), random.of(&names));
            g.node[node].output[0] = name;
        }
        2 | 3 => {
            let (node, name) = (random.below(g.node.len()), random.of(&names));
            let inputs = &mut g.node[node].input;
            let at = random.below(inputs.len());
            if let Some(input) = inputs.get_mut(at) {
                *input = name;
            }
        }
        4 | 5 => attribute(g, random),
        6 | 7 => sizes_of_constant(g, random),
        8 => number_of_constant(g, random),
        _ => {
            let (from, to) = (random.below(g.node.len()), random.below(g.node.len()));
            g.node[to].op_type = g.node[from].op_type.clone();
        }
    }
}

fn size_of_input(g: &mut GraphProto, random: &mut Random) {
    let infos = g.input.len();
    let info = &mut g.input[random.below(infos)];
    if let Some(type_proto::Value::TensorType(t)) = info.r#type.as_mut().and_then(|t| t.value.as_mut())
        && let Some(shape) = &mut t.shape
        && !shape.dim.is_empty()
    {
        let at = random.below(shape.dim.len());
        shape.dim[at].value = Some(dimension::Value::DimValue(random.of(&SIZES)));
    }
}

fn attribute(g: &mut GraphProto, random: &mut Random) {
    let mut all: Vec<&mut AttributeProto> = g.node.iter_mut().flat_map(|n| &mut n.attribute).collect();
    if all.is_empty() {
        return;
    }
    let at = random.below(all.len());
    let a = &mut all[at];
    match (a.i, a.f, a.ints.len()) {
        (Some(_), ..) => a.i = Some(random.of(&SIZES)),
        (_, Some(_), _) => a.f = Some(random.of(&REALS)),
        (.., 0) => a.ints.push(random.of(&SIZES)),
        (.., n) if random.below(4) > 0 => a.ints[random.below(n)] = random.of(&SIZES),
        _ => drop(a.ints.pop()),
    }
}

fn sizes_of_constant(g: &mut GraphProto, random: &mut Random) {
    let count = g.initializer.len();
    if count == 0 {
        return;
    }
    let t = &mut g.initializer[random.below(count)];
    match random.below(4) {
        0 => t.dims.push(random.of(&SIZES)),
        1 => drop(t.dims.pop()),
        2 => t.data_type = Some(random.below(24) as i32),
        _ => {
            let at = random.below(t.dims.len());
            if let Some(d) = t.dims.get_mut(at) {
                *d = random.of(&SIZES);
            }
        }
    }
}

fn number_of_constant(g: &mut GraphProto, random: &mut Random) {
    let count = g.initializer.len();
    if count == 0 {
        return;
    }
    let t = &mut g.initializer[random.below(count)];
    let Some(raw) = t.raw_data.as_ref().filter(|raw| raw.len() >= 8) else { return };
    let mut raw = raw.to_vec();
    let bytes = match t.data_type {
        Some(7) => random.of(&SIZES).to_le_bytes().to_vec(),
        _ => random.of(&REALS).to_le_bytes().to_vec(),
    };
    let at = random.below(raw.len() / bytes.len()) * bytes.len();
    raw[at..at + bytes.len()].copy_from_slice(&bytes);
    t.raw_data = Some(raw.into());
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
            mutate(&mut model, &mut random);
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
