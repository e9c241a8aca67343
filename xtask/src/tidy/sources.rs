//! The sources, line by line: no file too long, nothing left unfinished, no path of somebody's machine.

use super::Finding;
use crate::tree::{Tree, as_text};

/// The most lines a Rust file may have.
const LONGEST: usize = 1200;

/// Written by a generator and never read: exempt from [`LONGEST`].
const GENERATED: &[&str] = &["crates/frontend/src/onnx/proto.rs"];

/// What unfinished code contains. In two parts here, or this file would be a finding itself.
const UNFINISHED: &[&str] = &[concat!("todo", "!("), concat!("unimplemented", "!("), concat!("FIX", "ME")];

/// Where machines keep what is not part of the project, in two parts for the same reason.
const MACHINE: &[&str] = &[concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/tm", "p/"), concat!("/ho", "me/")];

/// Checks every tracked file.
pub fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, bytes) in tree.files() {
        if let Some(text) = as_text(bytes) {
            findings.extend(length(path, text));
            findings.extend(unfinished(path, text));
        }
        findings.extend(machine_paths(path, bytes));
    }
    findings
}

fn length(path: &str, text: &str) -> Option<Finding> {
    let lines = text.lines().count();
    let long = path.ends_with(".rs") && lines > LONGEST && !GENERATED.contains(&path);
    long.then(|| Finding::new(path, LONGEST + 1, format!("{lines} lines, at most {LONGEST}: split the room")))
}

fn unfinished(path: &str, text: &str) -> Vec<Finding> {
    let lines = text.lines().enumerate();
    let found = lines.filter_map(|(i, line)| Some((i + 1, UNFINISHED.iter().find(|word| line.contains(*word))?)));
    found.map(|(line, word)| Finding::new(path, line, format!("`{word}` marks unfinished work"))).collect()
}

/// Binary files are searched too: exporters write the paths of their sources into models.
fn machine_paths(path: &str, bytes: &[u8]) -> Vec<Finding> {
    let lines = bytes.split(|byte| *byte == b'\n').enumerate();
    lines
        .filter_map(|(i, line)| Some((i + 1, MACHINE.iter().find(|folder| has_absolute(line, folder))?)))
        .map(|(line, folder)| Finding::new(path, line, format!("a path of some machine: {folder}")))
        .collect()
}

/// Whether the folder begins a path, rather than going on with one as in `target/` + folder or `$DIR` + folder.
fn has_absolute(line: &[u8], folder: &str) -> bool {
    let goes_on = |byte: &u8| byte.is_ascii_alphanumeric() || b"._-~}])*".contains(byte);
    let mut places = line.windows(folder.len()).enumerate().filter(|(_, window)| *window == folder.as_bytes());
    places.any(|(at, _)| at.checked_sub(1).and_then(|before| line.get(before)).is_none_or(|byte| !goes_on(byte)))
}

#[cfg(test)]
mod tests {
    use super::super::places;
    use super::*;
    use crate::tree::fixture::tree;

    #[test]
    fn long_rust_files_are_found_unless_generated() {
        let long = "\n".repeat(LONGEST + 1);
        let tree = tree(&[("a.rs", &long), ("b.rs", &long[1..]), ("c.txt", &long), (GENERATED[0], &long)]);
        assert_eq!(places(&check(&tree)), [("a.rs", LONGEST + 1)]);
    }

    #[test]
    fn unfinished_work_is_found_in_every_text() {
        for word in UNFINISHED {
            let text = format!("fine\n  {word}later)\n");
            assert_eq!(places(&check(&tree(&[("a.rs", &text), ("b.md", &text)]))), [("a.rs", 2), ("b.md", 2)]);
        }
        assert_eq!(check(&tree(&[("a.rs", "todo, unimplemented")])), []);
    }

    #[test]
    fn machine_paths_are_found_in_text_and_binary_files() {
        for folder in MACHINE {
            let text = format!("one\nopen(\"{folder}x\")\n{folder}y\nfile://{folder}z\n");
            let binary = format!("\0{folder}module.py");
            let tree = tree(&[("a.py", &text), ("b.onnx", &binary)]);
            assert_eq!(places(&check(&tree)), [("a.py", 2), ("a.py", 3), ("a.py", 4), ("b.onnx", 1)]);
        }
    }

    #[test]
    fn relative_paths_are_no_machine_paths() {
        for folder in MACHINE {
            for before in ["target", "..", "$DIR", "{dir}", "~", "${X}", "a-b"] {
                assert_eq!(check(&tree(&[("a.md", &format!("see {before}{folder}x"))])), []);
            }
        }
    }
}
