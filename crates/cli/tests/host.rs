//! What the machine gives: many threads on few cores, one core for all, little memory. The result is right, or there is none.
#![cfg(target_os = "linux")]

mod support;

use std::process::Command;
use support::{Folder, Ran, demo, quantized, ran, run};

fn quantize(out: &str) -> Vec<String> {
    let (model, data) = (demo("model.onnx"), demo("calibration"));
    let arguments = ["quantize", &model, "--data", &data, "--samples", "24", "--no-report", "-o", out];
    arguments.iter().map(ToString::to_string).collect()
}

/// Runs a command as the arguments of another one.
fn under(program: &str, before: &[&str], arguments: &[String]) -> Ran {
    let all = before.iter().map(ToString::to_string).chain([env!("CARGO_BIN_EXE_lowbit").to_string()]);
    ran(Command::new(program).args(all).args(arguments).output().unwrap())
}

/// Runs it with so many kilobytes of addresses.
fn within(kilobytes: usize, arguments: &[String]) -> Ran {
    under("sh", &["-c", &format!("ulimit -v {kilobytes}; ulimit -c 0; exec \"$0\" \"$@\"")], arguments)
}

#[test]
fn threads_and_cores_change_no_byte() {
    let folder = Folder::new();
    let out = |name: &str| folder.path(name);
    let threads = |n: &str, out: &str| [quantize(out), vec!["--threads".into(), n.into()]].concat();
    let as_args = |all: &[String]| run(&all.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(as_args(&threads("1", &out("one"))).code, Some(0));
    let expected = std::fs::read(out("one")).unwrap();
    let same = |name: &str, ran: Ran| {
        assert_eq!(ran.code, Some(0), "{name}: {}", ran.stderr);
        assert!(std::fs::read(out(name)).unwrap() == expected, "{name}: other bytes");
    };
    same("many", as_args(&threads("256", &out("many"))));
    // A core that every machine lets this process have: its first one.
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let allowed = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap().trim();
    let core: String = allowed.chars().take_while(char::is_ascii_digit).collect();
    if Command::new("taskset").args(["-c", &core, "true"]).status().is_ok_and(|status| status.success()) {
        same("pinned", under("taskset", &["-c", &core], &threads("256", &out("pinned"))));
        same("usual", under("taskset", &["-c", &core], &quantize(&out("usual"))));
    } else {
        eprintln!("SKIPPED: there is no taskset here, so nothing was pinned to a core");
    }
    let path = &quantized().0;
    let told = |n: &str| {
        let ran = run(&["evaluate", path, "--data", &demo("test"), "--samples", "24", "--threads", n, "--json"]);
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        let mut value: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
        value.as_object_mut().unwrap().remove("threads");
        value
    };
    assert_eq!(told("256"), told("1"));
}

/// Most of what is large is refused before it is asked for, or with an error where it is not there. What the language's
/// own containers ask for ends the process where it is not there, as everywhere in Rust: then nothing is left behind.
#[test]
fn little_memory_gives_the_right_bytes_or_none() {
    let folder = Folder::new();
    let whole = folder.path("whole");
    assert_eq!(run(&quantize(&whole).iter().map(String::as_str).collect::<Vec<_>>()).code, Some(0));
    let expected = std::fs::read(&whole).unwrap();
    std::fs::remove_file(&whole).unwrap();
    let out = folder.path("out");
    let (mut right, mut refused) = (0, 0);
    for kilobytes in (0..24).map(|i| 8_000 + 6_000 * i).chain([1_000_000]) {
        let arguments = quantize(&out);
        let output = Command::new("sh")
            .args(["-c", &format!("ulimit -v {kilobytes}; ulimit -c 0; exec \"$0\" \"$@\"")])
            .arg(env!("CARGO_BIN_EXE_lowbit"))
            .args(&arguments)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        match output.status.code() {
            Some(0) => {
                assert!(std::fs::read(&out).unwrap() == expected, "{kilobytes}: other bytes");
                std::fs::remove_file(&out).unwrap();
                right += 1;
            }
            code => {
                // Below some size the system cannot even load the program, whatever it is to do.
                let loads = || within(kilobytes, &["--version".into()]).code == Some(0);
                let told = code == Some(1) && said.contains("error: ")
                    || said.contains("memory allocation of")
                    || said.contains("error while loading shared libraries")
                    || said.is_empty() && !loads();
                assert!(told && !said.contains("panicked"), "{kilobytes}: {code:?}: {said}");
                refused += 1;
            }
        }
        assert_eq!(folder.files(), [""; 0], "{kilobytes}");
    }
    assert!(right >= 1 && refused >= 1, "{right} right, {refused} refused");
}

#[test]
fn threads_that_cannot_be_started_are_told() {
    let path = &quantized().0;
    let arguments: Vec<String> =
        ["bench", path, "--seconds", "0.05", "--threads", "256"].iter().map(ToString::to_string).collect();
    let refused = within(400_000, &arguments);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains("cannot start 256 threads") && refused.stderr.contains("try: fewer threads"));
}
