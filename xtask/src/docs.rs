//! The documents that the command line itself writes: the ops, rules, kernels and passes, and the schema of
//! configurations.

use std::fs;
use std::path::Path;

use crate::{Result, cargo};

/// A generated document.
pub struct Document {
    /// Its path from the root.
    pub path: &'static str,
    /// What the command line is asked for.
    pub arguments: &'static [&'static str],
}

/// All of them.
pub const DOCUMENTS: [Document; 2] = [
    Document { path: "docs/reference.md", arguments: &["list", "--markdown"] },
    Document { path: "docs/config.schema.json", arguments: &["config", "--schema"] },
];

/// Writes them anew; an old one stays if the command line cannot make it.
pub fn write(root: &Path) -> Result<()> {
    for document in &DOCUMENTS {
        let text = document.generate(root)?;
        let path = root.join(document.path);
        let unwritable = |e| format!("cannot write {}: {e}", path.display());
        let half = path.with_extension("part");
        fs::write(&half, &text).and_then(|()| fs::rename(&half, &path)).map_err(unwritable)?;
        println!("{}: {} lines", document.path, text.lines().count());
    }
    Ok(())
}

impl Document {
    /// What the command line prints of it.
    pub fn generate(&self, root: &Path) -> Result<String> {
        // The profile of the tests, so that `cargo xtask test` finds most of what is built here.
        let profile = ["run", "--quiet", "--offline", "--profile", "test", "--package", "lowbit-cli", "--"];
        let arguments = [&profile[..], self.arguments].concat();
        let output = cargo::output(root, &arguments)?;
        if !output.status.success() {
            let reason = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            return Err(format!("`cargo {}` failed ({}):\n{reason}", arguments.join(" "), output.status));
        }
        let text = String::from_utf8(output.stdout).map_err(|e| format!("{} is not UTF-8: {e}", self.path))?;
        match text.trim().is_empty() {
            true => Err(format!("`{}` printed nothing", self.command())),
            false => Ok(text),
        }
    }

    /// The command that prints it.
    pub fn command(&self) -> String {
        format!("lowbit {}", self.arguments.join(" "))
    }
}
