//! docs/reference.md: the ops, rules, kernels and passes, as the command line itself lists them.

use std::fs;
use std::path::Path;

use crate::{Result, cargo};

/// The generated document.
pub const REFERENCE: &str = "docs/reference.md";

/// Writes the reference anew; the old one stays if the command line cannot make it.
pub fn write(root: &Path) -> Result<()> {
    let reference = generate(root)?;
    let path = root.join(REFERENCE);
    let unwritable = |e| format!("cannot write {}: {e}", path.display());
    let half = path.with_extension("md.part");
    fs::write(&half, &reference).and_then(|()| fs::rename(&half, &path)).map_err(unwritable)?;
    println!("{REFERENCE}: {} lines", reference.lines().count());
    Ok(())
}

/// What `lowbit list --markdown` prints.
pub fn generate(root: &Path) -> Result<String> {
    // The profile of the tests, so that `cargo xtask test` finds most of what is built here.
    let profile = ["run", "--quiet", "--offline", "--profile", "test", "--package", "lowbit-cli"];
    let arguments = [&profile[..], &["--", "list", "--markdown"]].concat();
    let output = cargo::output(root, &arguments)?;
    if !output.status.success() {
        let reason = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(format!("`cargo {}` failed ({}):\n{reason}", arguments.join(" "), output.status));
    }
    let reference = String::from_utf8(output.stdout).map_err(|e| format!("the reference is not UTF-8: {e}"))?;
    match reference.trim().is_empty() {
        true => Err("`lowbit list --markdown` printed nothing".into()),
        false => Ok(reference),
    }
}
