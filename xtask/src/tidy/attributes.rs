//! What each crate promises at its top: no unsafe code outside of `kernels` and `runtime`, no standard library and no
//! allocator under `arithmetic` and `kernels`, the lints of the workspace everywhere.

use super::Finding;
use super::manifest::{self, Package};
use crate::tree::Tree;

/// The only packages with unsafe code, each place argued from checked facts.
const MAY_BE_UNSAFE: &[&str] = &["lowbit-kernels", "lowbit-runtime"];

/// The packages that run without an operating system.
const NO_STD: &[&str] = &["lowbit-arithmetic", "lowbit-kernels"];

/// Checks the roots of every package.
pub fn check(tree: &Tree) -> Vec<Finding> {
    // Manifests that cannot be read are the finding of `arrows`.
    let (packages, _) = manifest::packages(tree);
    packages.iter().flat_map(|package| check_package(tree, package)).collect()
}

fn check_package(tree: &Tree, package: &Package) -> Vec<Finding> {
    let mut findings = Vec::new();
    let name = package.name.as_str();
    let source = format!("{}src/", package.folder);
    let mut roots = 0;
    for (path, text) in tree.texts() {
        let Some(file) = path.strip_prefix(&source) else { continue };
        if is_root(file) {
            roots += 1;
            if !MAY_BE_UNSAFE.contains(&name) && !has_line(text, "#![forbid(unsafe_code)]") {
                findings.push(Finding::new(path, 1, "the root of a crate needs #![forbid(unsafe_code)]"));
            }
            if NO_STD.contains(&name) && !has_line(text, "#![no_std]") {
                findings.push(Finding::new(path, 1, format!("{name} is #![no_std], without conditions")));
            }
        }
        if NO_STD.contains(&name) && file.ends_with(".rs") {
            findings.extend(libraries_outside_of_tests(path, text));
        }
    }
    if roots == 0 {
        findings.push(Finding::new(&package.manifest, 0, format!("no root of package {name} under {source}")));
    }
    if !package.inherits_lints {
        findings.push(Finding::new(&package.manifest, 0, "add `[lints]` with `workspace = true`"));
    }
    findings
}

fn is_root(file: &str) -> bool {
    let binary = file.strip_prefix("bin/").is_some_and(|rest| match rest.split_once('/') {
        Some((_, rest)) => rest == "main.rs",
        None => rest.ends_with(".rs"),
    });
    file == "lib.rs" || file == "main.rs" || binary
}

/// A whole line, so that a comment about the attribute does not count as the attribute.
fn has_line(text: &str, line: &str) -> bool {
    text.lines().any(|candidate| candidate.trim_end() == line)
}

fn libraries_outside_of_tests(path: &str, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut before = "";
    for (number, line) in text.lines().map(str::trim).enumerate() {
        let library = line.contains("extern crate std") || line.contains("extern crate alloc");
        if library && !line.starts_with("//") && before != "#[cfg(test)]" {
            findings.push(Finding::new(path, number + 1, "std and alloc only under a #[cfg(test)] on the line above"));
        }
        before = line;
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::super::places;
    use super::*;
    use crate::tree::fixture;

    fn manifest(name: &str) -> String {
        format!("[package]\nname = \"{name}\"\n[lints]\nworkspace = true\n")
    }

    fn check_root(name: &str, path: &str, text: &str) -> Vec<Finding> {
        check(&fixture::tree(&[("a/Cargo.toml", &manifest(name)), (path, text)]))
    }

    #[test]
    fn every_root_forbids_unsafe_code() {
        for path in ["a/src/lib.rs", "a/src/main.rs", "a/src/bin/tool.rs", "a/src/bin/tool/main.rs"] {
            assert_eq!(check_root("lowbit-ir", path, "//! A crate.\n#![forbid(unsafe_code)]\n"), []);
            for text in ["", "// #![forbid(unsafe_code)]\n", "#![deny(unsafe_code)]\n"] {
                assert_eq!(places(&check_root("lowbit-ir", path, text)), [(path, 1)]);
            }
        }
    }

    #[test]
    fn two_crates_may_be_unsafe() {
        assert_eq!(check_root("lowbit-runtime", "a/src/lib.rs", ""), []);
        assert_eq!(check_root("lowbit-kernels", "a/src/lib.rs", "#![no_std]\n"), []);
    }

    #[test]
    fn two_crates_have_no_standard_library() {
        let tests_only = "#![no_std]\n#![forbid(unsafe_code)]\n#[cfg(test)]\nextern crate std;\n";
        assert_eq!(check_root("lowbit-arithmetic", "a/src/lib.rs", tests_only), []);
        for (text, line) in [
            ("#![forbid(unsafe_code)]\n#![cfg_attr(not(test), no_std)]\n", 1),
            ("#![no_std]\n#![forbid(unsafe_code)]\nextern crate alloc;\n", 3),
        ] {
            assert_eq!(places(&check_root("lowbit-arithmetic", "a/src/lib.rs", text)), [("a/src/lib.rs", line)]);
        }
    }

    #[test]
    fn a_package_without_root_or_lints_is_found() {
        let tree = fixture::tree(&[("a/Cargo.toml", "[package]\nname = \"lowbit-ir\"\n")]);
        assert_eq!(places(&check(&tree)), [("a/Cargo.toml", 0), ("a/Cargo.toml", 0)]);
    }
}
