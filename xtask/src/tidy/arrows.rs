//! The arrows: which crate may depend on which.
//!
//! ```text
//! [frontend] --> [ir] <-- [quantize]
//!                 ^ ^
//!                 | +----- [compile]
//!                 |          |   \
//!                 |          v    v
//!                 +----- [runtime] --> [kernels]
//! any crate --> [arithmetic]
//! [lowbit] (root facade) --> all;   crates/cli --> lowbit;   crates/python --> lowbit, crates/cli;
//! crates/fuzz --> lowbit;   xtask --> none
//! ```
//!
//! The graph (`ir`) is what importers, quantizers, the compiler and the runtime talk about, and it knows none of them.
//! The kernels know only arithmetic, so that they run wherever a program can be sent.
//! How a graph becomes a program (`compile`) is not known to what runs it (`runtime`), and nobody but the facade sees
//! both how a model is quantized and how it runs: `quantize` asks an `ir::Engine`.
//! Development dependencies are exempt: a test may look anywhere.

use std::collections::BTreeSet;

use super::Finding;
use super::manifest;
use crate::tree::Tree;

/// Every package of the workspace and all packages of the workspace it may depend on.
const ARROWS: &[(&str, &[&str])] = &[
    ("lowbit-arithmetic", &[]),
    ("lowbit-kernels", &["lowbit-arithmetic"]),
    ("lowbit-ir", &["lowbit-arithmetic"]),
    ("lowbit-frontend", &["lowbit-ir", "lowbit-arithmetic"]),
    ("lowbit-quantize", &["lowbit-ir", "lowbit-arithmetic"]),
    ("lowbit-runtime", &["lowbit-ir", "lowbit-kernels", "lowbit-arithmetic"]),
    ("lowbit-compile", &["lowbit-ir", "lowbit-runtime", "lowbit-kernels", "lowbit-arithmetic"]),
    (
        "lowbit",
        &[
            "lowbit-arithmetic",
            "lowbit-kernels",
            "lowbit-ir",
            "lowbit-frontend",
            "lowbit-quantize",
            "lowbit-runtime",
            "lowbit-compile",
        ],
    ),
    ("lowbit-cli", &["lowbit"]),
    ("lowbit-python", &["lowbit", "lowbit-cli"]),
    ("lowbit-fuzz", &["lowbit", "lowbit-arithmetic"]),
    ("xtask", &[]),
];

/// The packages of the table that a tree may lack: the Python package is made from a Rust workspace that is whole
/// without it.
const OPTIONAL: &[&str] = &["lowbit-python"];

/// Every dependency that is no arrow, and every package that the table does not know or that is not there.
pub fn check(tree: &Tree) -> Vec<Finding> {
    let (packages, mut findings) = manifest::packages(tree);
    let inside: BTreeSet<&str> =
        packages.iter().map(|package| package.name.as_str()).chain(ARROWS.iter().map(|(name, _)| *name)).collect();
    for package in &packages {
        let Some((_, allowed)) = ARROWS.iter().find(|(name, _)| *name == package.name) else {
            let message = format!("package {} is not in the table of arrows, {}", package.name, file!());
            findings.push(Finding::new(&package.manifest, 0, message));
            continue;
        };
        for dependency in &package.dependencies {
            let name = dependency.package.as_str();
            if inside.contains(name) && !allowed.contains(&name) {
                let allowed = if allowed.is_empty() { "none" } else { &allowed.join(", ") };
                let message = format!("{} must not depend on {name}; its arrows: {allowed}", package.name);
                findings.push(Finding::new(&package.manifest, dependency.line, message));
            }
        }
    }
    for (name, _) in ARROWS {
        if !OPTIONAL.contains(name) && !packages.iter().any(|package| package.name == *name) {
            findings.push(Finding::new("Cargo.toml", 0, format!("package {name} of the table of arrows is missing")));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::super::places;
    use super::*;
    use crate::tree::fixture;

    /// A workspace with every package of the table, where one manifest has more lines after `[package]` and `name`.
    fn check_with(name: &str, rest: &str) -> Vec<Finding> {
        let manifests: Vec<(String, String)> = ARROWS
            .iter()
            .map(|(package, _)| {
                let rest = if *package == name { rest } else { "" };
                let path =
                    if *package == "lowbit" { "Cargo.toml".into() } else { format!("crates/{package}/Cargo.toml") };
                (path, format!("[package]\nname = \"{package}\"\n{rest}"))
            })
            .collect();
        let files: Vec<(&str, &str)> = manifests.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
        check(&fixture::tree(&files))
    }

    #[test]
    fn the_table_has_no_cycle() {
        // Each row may only point at rows above it.
        for (i, (name, allowed)) in ARROWS.iter().enumerate() {
            for target in *allowed {
                assert!(ARROWS[..i].iter().any(|(above, _)| above == target), "{name} -> {target}");
            }
        }
    }

    #[test]
    fn allowed_arrows_and_foreign_crates_pass() {
        let rest =
            "[dependencies]\nlowbit-ir.workspace = true\nlowbit-kernels = { path = \"../kernels\" }\nserde = \"1\"\n";
        assert_eq!(check_with("lowbit-compile", rest), []);
    }

    #[test]
    fn every_arrow_outside_of_the_table_is_found() {
        for (from, allowed) in ARROWS {
            for (to, _) in ARROWS {
                let findings = check_with(from, &format!("[dependencies]\nserde = \"1\"\n{to}.workspace = true\n"));
                match allowed.contains(to) {
                    true => assert_eq!(findings, [], "{from} -> {to}"),
                    false => assert_eq!((places(&findings).len(), findings[0].line), (1, 5), "{from} -> {to}"),
                }
            }
        }
    }

    #[test]
    fn a_forbidden_arrow_is_named_with_its_line() {
        let findings = check_with("lowbit-kernels", "[dependencies]\nlowbit-ir.workspace = true\n");
        assert_eq!(
            findings[0].to_string(),
            "crates/lowbit-kernels/Cargo.toml:4: lowbit-kernels must not depend on lowbit-ir; its arrows: lowbit-arithmetic"
        );
    }

    #[test]
    fn other_sections_and_spellings_count_too() {
        for rest in [
            "[build-dependencies]\nlowbit-ir = \"0\"\n",
            "[target.'cfg(unix)'.dependencies]\nlowbit-ir = { path = \"../ir\" }\n",
            "[dependencies]\ngraph = { package = \"lowbit-ir\", path = \"../ir\" }\n",
            "[dependencies.lowbit-ir]\npath = \"../ir\"\n",
        ] {
            assert_eq!(check_with("lowbit-kernels", rest).len(), 1, "{rest}");
        }
    }

    #[test]
    fn a_workspace_of_its_own_is_no_part_of_this_one() {
        let apart = ("fuzz/Cargo.toml", "[package]\nname = \"apart\"\n[workspace]\n[dependencies]\nlowbit-ir = \"0\"");
        let findings = check(&fixture::tree(&[apart]));
        assert!(findings.iter().all(|finding| finding.path != apart.0), "{findings:?}");
    }

    #[test]
    fn a_rename_in_the_workspace_is_seen_through() {
        let root =
            "[package]\nname = \"lowbit\"\n[workspace.dependencies]\ngraph = { package = \"lowbit-ir\", path = \"\" }";
        let kernels = "[package]\nname = \"lowbit-kernels\"\n[dependencies]\ngraph.workspace = true";
        let findings = check(&fixture::tree(&[("Cargo.toml", root), ("crates/kernels/Cargo.toml", kernels)]));
        assert!(places(&findings).contains(&("crates/kernels/Cargo.toml", 4)), "{findings:?}");
    }

    #[test]
    fn development_dependencies_are_exempt() {
        assert_eq!(check_with("lowbit-kernels", "[dev-dependencies]\nlowbit-compile.workspace = true\n"), []);
    }

    #[test]
    fn unknown_packages_missing_packages_and_broken_manifests_are_found() {
        let tree =
            fixture::tree(&[("crates/new/Cargo.toml", "[package]\nname = \"lowbit-new\"\n"), ("Cargo.toml", "\n[")]);
        let findings = check(&tree);
        assert!(places(&findings).contains(&("crates/new/Cargo.toml", 0)), "{findings:?}");
        assert!(places(&findings).contains(&("Cargo.toml", 2)), "{findings:?}");
        let needed = ARROWS.len() - OPTIONAL.len();
        assert_eq!(findings.len(), needed + 2, "every package of the table that a tree must have is missing");
    }
}
