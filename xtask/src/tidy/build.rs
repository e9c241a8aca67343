//! The checks that ask cargo: format, clippy, and the reference that the command line generates.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Output;

use super::Finding;
use crate::tree::Tree;
use crate::{cargo, docs};

/// `cargo fmt --all --check`, one finding a file.
pub fn format(root: &Path) -> Vec<Finding> {
    const FORMAT: &[&str] = &["fmt", "--all", "--check"];
    ask(root, FORMAT, |text| {
        let mut files: BTreeMap<String, (usize, usize)> = BTreeMap::new();
        for line in text.lines() {
            let Some((path, line)) = difference(line) else { continue };
            files.entry(relative(root, path)).or_insert((line, 0)).1 += 1;
        }
        let message = |places| format!("not formatted (differences: {places}): run `cargo fmt --all`");
        let findings = files.iter().map(|(path, (line, places))| Finding::new(path, *line, message(places)));
        // Where rustfmt cannot parse there is no difference to show but an error and, on the next line, its place.
        findings.chain(located_errors(root, text)).collect()
    })
}

/// `cargo clippy` over everything, warnings denied, one finding a diagnostic.
pub fn clippy(root: &Path) -> Vec<Finding> {
    const CLIPPY: [&str; 5] = ["clippy", "--workspace", "--all-targets", "--offline", "--keep-going"];
    const SHORT: &str = "--message-format=short";
    let denied = ask(root, &[&CLIPPY[..], &[SHORT, "--", "-D", "warnings"]].concat(), |text| diagnostics(root, text));
    if denied.is_empty() {
        return denied;
    }
    // A denied warning hides the crates that depend on its crate. As mere warnings, all of them are seen at once.
    let all = cargo::output(root, &[&CLIPPY[..], &[SHORT]].concat());
    let all = all.map(|output| diagnostics(root, &cargo::text(&output))).unwrap_or_default();
    if all.is_empty() { denied } else { all }
}

/// Generated documents are what the command line prints. As long as it prints none and none is there, that is no finding.
pub fn documents(root: &Path, tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for document in &docs::DOCUMENTS {
        let generated = document.generate(root);
        let kept = tree.text(document.path);
        if generated.is_err() && kept.is_none() {
            eprint!("(NOTHING TO COMPARE YET) ");
        }
        let finding = compare(generated, kept, &document.command());
        findings.extend(finding.map(|(line, message)| Finding::new(document.path, line, message)));
    }
    findings
}

fn compare(generated: crate::Result<String>, kept: Option<&str>, command: &str) -> Option<(usize, String)> {
    match (generated, kept) {
        (Err(_), None) => None,
        (Err(error), Some(_)) => Some((0, error)),
        (Ok(_), None) => Some((0, "missing: run `cargo xtask docs` and add it".to_owned())),
        (Ok(generated), Some(kept)) if generated == kept => None,
        (Ok(generated), Some(kept)) => {
            let same = generated.lines().zip(kept.lines()).take_while(|(a, b)| a == b).count();
            Some((same + 1, format!("not what `{command}` prints: run `cargo xtask docs`")))
        }
    }
}

/// Runs cargo; if it fails, what the function finds in its output, or else the output itself.
fn ask(root: &Path, arguments: &[&str], find: impl Fn(&str) -> Vec<Finding>) -> Vec<Finding> {
    match cargo::output(root, arguments) {
        Ok(output) => explain(arguments, &output, find),
        Err(error) => vec![Finding::new("Cargo.toml", 0, error)],
    }
}

fn explain(arguments: &[&str], output: &Output, find: impl Fn(&str) -> Vec<Finding>) -> Vec<Finding> {
    if output.status.success() {
        return Vec::new();
    }
    let text = cargo::text(output);
    let findings = find(&text);
    match findings.is_empty() {
        true => {
            let message = format!("`cargo {}` failed ({}):\n{}", arguments.join(" "), output.status, text.trim());
            vec![Finding::new("Cargo.toml", 0, message)]
        }
        false => findings,
    }
}

/// `Diff in <path>:<line>:`
fn difference(line: &str) -> Option<(&str, usize)> {
    let (path, line) = line.strip_prefix("Diff in ")?.trim_end().strip_suffix(':')?.rsplit_once(':')?;
    Some((path, line.parse().ok()?))
}

/// A library is checked twice, with and without its tests: a set says it once.
fn diagnostics(root: &Path, text: &str) -> Vec<Finding> {
    let findings: BTreeSet<Finding> = text.lines().filter_map(|line| diagnostic(root, line)).collect();
    findings.into_iter().collect()
}

/// `<path>:<line>:<column>: error: <message>`
fn diagnostic(root: &Path, text: &str) -> Option<Finding> {
    let at = [": error", ": warning"].iter().filter_map(|level| text.find(level)).min()?;
    let (place, message) = text.split_at(at);
    let (place, _column) = place.rsplit_once(':')?;
    let (path, line) = place.rsplit_once(':')?;
    Some(Finding::new(&relative(root, path), line.parse().ok()?, message.strip_prefix(": ")?))
}

/// `error: <message>`, and on the next line `--> <path>:<line>:<column>`
fn located_errors(root: &Path, text: &str) -> Vec<Finding> {
    let pairs = text.lines().zip(text.lines().skip(1));
    let errors = pairs.filter_map(|(error, place)| {
        let message = error.strip_prefix("error")?;
        let (place, _column) = place.trim_start().strip_prefix("--> ")?.rsplit_once(':')?;
        let (path, line) = place.rsplit_once(':')?;
        Some(Finding::new(&relative(root, path), line.parse().ok()?, format!("error{message}")))
    });
    errors.collect()
}

fn relative(root: &Path, path: &str) -> String {
    Path::new(path).strip_prefix(root).unwrap_or(Path::new(path)).to_string_lossy().replace('\\', "/")
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: &str = "/project";

    #[test]
    fn differences_of_rustfmt_are_read() {
        assert_eq!(difference("Diff in /project/src/lib.rs:12:"), Some(("/project/src/lib.rs", 12)));
        assert_eq!(difference("+Diff in a"), None);
        assert_eq!(relative(Path::new(ROOT), "/project/src/lib.rs"), "src/lib.rs");
    }

    #[test]
    fn diagnostics_are_read() {
        let read = |line| diagnostic(Path::new(ROOT), line).map(|finding| finding.to_string());
        let expected = Some("crates/ir/src/op.rs:3: error[E0308]: mismatched types".to_owned());
        assert_eq!(read("crates/ir/src/op.rs:3:9: error[E0308]: mismatched types"), expected);
        assert_eq!(read("a.rs:1:2: warning: unused: error"), Some("a.rs:1: warning: unused: error".to_owned()));
        assert_eq!(read("error: could not compile `lowbit-ir` (lib) due to 1 previous error"), None);
        assert_eq!(read("    Checking lowbit-ir v0.1.0"), None);
    }

    #[test]
    fn errors_of_the_parser_are_read() {
        let text = "error: expected `;`, found `}`\n  --> /project/src/lib.rs:7:3\n   |\n";
        let findings: Vec<String> = located_errors(Path::new(ROOT), text).iter().map(Finding::to_string).collect();
        assert_eq!(findings, ["src/lib.rs:7: error: expected `;`, found `}`"]);
    }

    #[test]
    fn a_failure_that_is_not_understood_is_a_finding() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let findings = ask(root, &["no-such-command"], |_| Vec::new());
        assert_eq!(findings.len(), 1);
        assert!(findings[0].message.contains("no-such-command"), "{findings:?}");
        assert_eq!(ask(root, &["--version"], |_| vec![Finding::new("a", 1, "never asked")]), []);
    }

    #[test]
    fn the_reference_is_compared_line_by_line() {
        let printed = |text: &str| Ok(text.to_owned());
        assert_eq!(compare(printed("a\nb\n"), Some("a\nb\n"), "it"), None);
        assert_eq!(compare(printed("a\nb\n"), Some("a\nc\n"), "it").map(|(line, _)| line), Some(2));
        assert_eq!(compare(printed("a\nb\n"), Some("a\nb"), "it").map(|(line, _)| line), Some(3));
        assert_eq!(compare(printed("a\n"), None, "it").map(|(line, _)| line), Some(0));
        assert_eq!(compare(Err("no".into()), Some("a\n"), "it").map(|(line, _)| line), Some(0));
        assert_eq!(compare(Err("not yet".into()), None, "it"), None);
    }
}
