//! Work that is interrupted: nothing is left half-written, and what was kept is gone on from.
#![cfg(unix)]

mod support;

use lowbit::frontend;
use lowbit::ir::text;
use std::fmt::Write;
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};
use support::{Folder, lowbit, ran, run};

/// A network that takes milliseconds a sample, and its quantized form.
fn models() -> &'static (Folder, [String; 2]) {
    static MODELS: OnceLock<(Folder, [String; 2])> = OnceLock::new();
    MODELS.get_or_init(|| {
        let weights = |count: usize| {
            (0..count).fold(String::new(), |mut hex, i| {
                let x = ((i * 7919 % 1009) as f32 / 504.5 - 1.0) * 0.05;
                x.to_le_bytes().iter().for_each(|b| write!(hex, "{b:02x}").unwrap());
                hex
            })
        };
        let (w1, w2) = (weights(32 * 3 * 9), weights(32 * 32 * 9));
        let graph = format!(
            r#"graph "slow" {{
  input %x: f32[1x3x160x160]
  const %w1: f32[32x3x3x3] = hex "{w1}"
  const %w2: f32[32x32x3x3] = hex "{w2}"
  %a = Conv(%x, %w1) {{pads [1, 1, 1, 1]}}
  %b = Relu(%a)
  %c = Conv(%b, %w2) {{pads [1, 1, 1, 1]}}
  %d = Relu(%c)
  %e = Conv(%d, %w2) {{pads [1, 1, 1, 1]}}
  %p = GlobalAvgPool(%e)
  output %p
}}
"#
        );
        let folder = Folder::new();
        let (float, int8) = (folder.path("slow.onnx"), folder.path("slow.int8.onnx"));
        frontend::save(&text::parse(&graph).unwrap(), float.as_ref()).unwrap();
        let quantize = ["quantize", &float, "--data", "random", "--samples", "2", "--no-report", "-o", &int8];
        assert_eq!(run(&quantize).code, Some(0));
        (folder, [float, int8])
    })
}

fn start(arguments: &[&str]) -> Child {
    lowbit().args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn signal(child: &Child, name: &str) {
    assert!(Command::new("kill").args([name, &child.id().to_string()]).status().unwrap().success());
}

/// Interrupts it, and tells what it said and how long it took to end.
fn interrupt(child: Child) -> (Output, Duration) {
    signal(&child, "-INT");
    let asked = Instant::now();
    let output = child.wait_with_output().unwrap();
    (output, asked.elapsed())
}

#[track_caller]
fn wait_until(mut child: Child, what: &str, done: impl Fn() -> bool) -> Child {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < Duration::from_secs(120), "no {what} in two minutes");
        assert!(
            child.try_wait().unwrap().is_none(),
            "it ended before there was {what}: {:?}",
            child.wait_with_output()
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    child
}

#[test]
fn every_long_verb_ends_at_once_and_leaves_nothing() {
    let (_, [float, int8]) = models();
    let data = ["--data", "random"];
    let many = ["--samples", "512"];
    let folder = Folder::new();
    let out = folder.path("out");
    let verbs: [Vec<&str>; 9] = [
        [&["quantize", float, "-o", &out], &data[..], &many].concat(),
        [&["quantize", float, "-o", &out, "--samples", "1", "--evaluate", "random"], &data[..]].concat(),
        [&["calibrate", float, "-o", &out], &data[..], &many].concat(),
        [&["evaluate", int8, "--reference", float], &data[..], &many].concat(),
        [&["compare", float, int8], &data[..], &many].concat(),
        [&["verify", int8], &data[..], &many].concat(),
        [&["run", int8, "--output", &out], &data[..], &many].concat(),
        vec!["bench", int8, "--seconds", "60"],
        vec!["reproduce", int8, float, "--data", "random", "--json"],
    ];
    for arguments in &verbs {
        for after in [30, 600] {
            let mut child = start(arguments);
            std::thread::sleep(Duration::from_millis(after));
            // What has nothing to do any more cannot be interrupted.
            if child.try_wait().unwrap().is_some() {
                assert!(arguments[0] == "reproduce", "{arguments:?}: {:?}", child.wait_with_output());
                continue;
            }
            let (output, took) = interrupt(child);
            let ran = ran(output);
            // At its very beginning a process has no handler yet, and ends by the signal itself.
            assert!(ran.code == Some(130) || (after == 30 && ran.code.is_none()), "{arguments:?}: {ran:?}");
            assert!(took < Duration::from_secs(1), "{arguments:?}: {took:?}");
            assert!(ran.code.is_none() || ran.stderr.contains("interrupted"), "{arguments:?}: {}", ran.stderr);
            assert_eq!(ran.stdout, "", "{arguments:?}");
            assert_eq!(folder.files(), [""; 0], "{arguments:?}");
        }
    }
}

#[test]
fn calibration_goes_on_after_whatever_ended_it() {
    let (_, [float, _]) = models();
    let folder = Folder::new();
    let (whole, pieces, kept) = (folder.path("whole"), folder.path("pieces"), folder.path("kept"));
    for verb in ["calibrate", "quantize"] {
        // Refining runs samples again and is told by other tests.
        let more: &[&str] = if verb == "quantize" { &["--no-report", "--set", "refinements=[]"] } else { &[] };
        let arguments = |out| [&[verb, float, "--data", "random", "--samples", "300", "-o", out], more].concat();
        assert_eq!(run(&arguments(&whole)).code, Some(0));
        let go_on = [&arguments(&pieces)[..], &["--resume", &kept]].concat();
        let slowly = [&go_on[..], &["--threads", "1"]].concat();
        // Killed after it kept something for the first time.
        let child = wait_until(start(&slowly), "checkpoint", || std::fs::metadata(&kept).is_ok_and(|m| m.len() > 0));
        signal(&child, "-KILL");
        assert_eq!(child.wait_with_output().unwrap().status.code(), None);
        let first = std::fs::read(&kept).unwrap();
        // Interrupted, with another number of threads, before it would have kept something by itself.
        let child = start(&[&go_on[..], &["--threads", "2"]].concat());
        std::thread::sleep(Duration::from_millis(500));
        let (output, _) = interrupt(child);
        let ran = ran(output);
        assert_eq!(ran.code, Some(130), "{}", ran.stderr);
        assert!(ran.stderr.contains("the same command goes on from there") && ran.stderr.contains(&kept), "{ran:?}");
        assert!(std::fs::read(&kept).unwrap().len() >= first.len() && !std::path::Path::new(&pieces).exists());
        // Other choices are refused, and what was kept stays.
        let other = run(&[&go_on[..], &["--set", "input.bits=4"]].concat());
        assert_eq!(other.code, Some(1), "{other:?}");
        assert!(other.stderr.contains("going on from '") && other.stderr.contains(&kept), "{}", other.stderr);
        let done = run(&go_on);
        assert_eq!(done.code, Some(0), "{}", done.stderr);
        assert!(std::fs::read(&whole).unwrap() == std::fs::read(&pieces).unwrap(), "{verb}: other bytes");
        let names: Vec<String> = folder.files().into_iter().filter(|name| !name.ends_with(".tmp")).collect();
        assert_eq!(names, ["pieces", "whole"]);
        std::fs::remove_file(&pieces).unwrap();
    }
}

#[test]
fn a_checkpoint_replaces_nothing_else() {
    let (_, [float, int8]) = models();
    let folder = Folder::new();
    let (out, data) = (folder.path("out"), ["--data", "random", "--samples", "2"]);
    let calibrate = |kept: &str| run(&[&["calibrate", float, "-o", &out, "--resume", kept], &data[..]].concat());
    let before = std::fs::read(int8).unwrap();
    let refused = calibrate(int8);
    assert!(refused.code == Some(1) && refused.stderr.contains("found something else"), "{refused:?}");
    assert!(std::fs::read(int8).unwrap() == before);
    for (kept, said) in [(&out, "it is the output itself"), (float, "it is the float model itself")] {
        let refused = calibrate(kept);
        assert!(refused.code == Some(1) && refused.stderr.contains(said), "{refused:?}");
    }
    let quantize = ["quantize", float, "-o", &out, "--no-data", "--resume", &folder.path("kept")];
    let refused = run(&quantize);
    assert!(refused.code != Some(0) && refused.stderr.contains("--resume"), "{refused:?}");
    assert_eq!(folder.files(), [""; 0]);
}
