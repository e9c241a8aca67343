//! `cargo xtask tidy`: is the tree in order? Every check runs, every finding is printed at the end, nothing is changed.
//!
//! A check is a function that gives findings. Those that read files are functions of a [`Tree`], one room a subject:
//! [`arrows`] between crates, [`attributes`] of crate roots, [`sources`] (length, words, paths) and [`documents`].
//! Those that ask cargo are in [`build`].

mod arrows;
mod attributes;
mod build;
mod documents;
mod manifest;
mod markdown;
mod sources;

use std::fmt;
use std::path::Path;
use std::time::Instant;

use crate::Result;
use crate::tree::Tree;

/// Runs all checks; true if none has a finding.
pub fn run(root: &Path) -> Result<bool> {
    let tree = Tree::load(root)?;
    // The quick checks come first, though all of them run whatever the others find.
    let checks: [(&str, &dyn Fn() -> Vec<Finding>); 8] = [
        ("arrows", &|| arrows::check(&tree)),
        ("attributes", &|| attributes::check(&tree)),
        ("sources", &|| sources::check(&tree)),
        ("documents", &|| documents::check(&tree)),
        ("links", &|| markdown::check(&tree)),
        ("format", &|| build::format(root)),
        ("clippy", &|| build::clippy(root)),
        ("documents", &|| build::documents(root, &tree)),
    ];
    let mut found = Vec::new();
    for (name, check) in checks {
        eprint!("tidy: {name:10} ");
        let start = Instant::now();
        let findings = check();
        let verdict = match findings.len() {
            0 => "ok".to_owned(),
            n => format!("{n} FOUND"),
        };
        eprintln!("{verdict:9} {:6.1} s", start.elapsed().as_secs_f64());
        found.extend(findings.into_iter().map(|finding| (name, finding)));
    }
    for (name, finding) in &found {
        println!("{finding} [{name}]");
    }
    match found.len() {
        0 => println!("tidy: the tree is in order"),
        n => println!("tidy: {n} findings"),
    }
    Ok(found.is_empty())
}

/// Something that is not in order, and where.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    path: String,
    /// Counted from 1; 0 stands for the whole file.
    line: usize,
    message: String,
}

impl Finding {
    fn new(path: &str, line: usize, message: impl Into<String>) -> Finding {
        Finding { path: path.to_owned(), line, message: message.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.path, self.message),
            line => write!(f, "{}:{line}: {}", self.path, self.message),
        }
    }
}

/// Where a finding is: what tests compare.
#[cfg(test)]
fn places(findings: &[Finding]) -> Vec<(&str, usize)> {
    findings.iter().map(|finding| (finding.path.as_str(), finding.line)).collect()
}
