//! The packages of the workspace and what they depend on, read from the tracked Cargo.toml files with line numbers.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::Finding;
use crate::tree::Tree;

/// One package: what a Cargo.toml with a `[package]` says.
pub struct Package {
    /// The name in `[package]`.
    pub name: String,
    /// The path of the manifest.
    pub manifest: String,
    /// The folder of the manifest, with a slash at its end; empty for the root package.
    pub folder: String,
    /// Whether `[lints] workspace = true` stands in it.
    pub inherits_lints: bool,
    /// Everything it is built from; development dependencies are not.
    pub dependencies: Vec<Dependency>,
}

/// A dependency and the line that names it.
pub struct Dependency {
    /// The name of the package, also where the manifest renames it.
    pub package: String,
    /// The line of its key.
    pub line: usize,
}

/// All packages of the tree in the order of paths, and the manifests that cannot be read.
pub fn packages(tree: &Tree) -> (Vec<Package>, Vec<Finding>) {
    let mut packages = Vec::new();
    let mut findings = Vec::new();
    let shared = tree.text("Cargo.toml").and_then(|text| DeTable::parse(text).ok());
    let shared = shared.as_ref().and_then(|root| table(root.get_ref(), &["workspace", "dependencies"]));
    for (path, text) in tree.texts() {
        if path != "Cargo.toml" && !path.ends_with("/Cargo.toml") {
            continue;
        }
        match DeTable::parse(text) {
            // A workspace of its own below this one, such as what libFuzzer runs, is no part of it.
            Ok(manifest) if path != "Cargo.toml" && manifest.get_ref().contains_key("workspace") => {}
            Ok(manifest) => packages.extend(package(path, text, manifest.get_ref(), shared)),
            Err(error) => {
                let line = error.span().map_or(0, |span| line_of(text, span.start));
                findings.push(Finding::new(path, line, format!("not a manifest: {}", error.message())));
            }
        }
    }
    (packages, findings)
}

fn package(path: &str, text: &str, manifest: &DeTable, shared: Option<&DeTable>) -> Option<Package> {
    let name = table(manifest, &["package"])?.get("name")?.get_ref().as_str()?.to_owned();
    let inherits = table(manifest, &["lints"]).and_then(|lints| lints.get("workspace"));
    let inherits_lints = inherits.and_then(|value| value.get_ref().as_bool()) == Some(true);
    let mut dependencies = dependencies(text, manifest, shared);
    // Dependencies of some platforms only count as well: `[target.'cfg(unix)'.dependencies]`.
    for (_, target) in table(manifest, &["target"]).into_iter().flatten() {
        dependencies.extend(target.get_ref().as_table().into_iter().flat_map(|t| self::dependencies(text, t, shared)));
    }
    let folder = path.strip_suffix("Cargo.toml")?.to_owned();
    Some(Package { name, manifest: path.to_owned(), folder, inherits_lints, dependencies })
}

fn dependencies(text: &str, manifest: &DeTable, shared: Option<&DeTable>) -> Vec<Dependency> {
    let sections = ["dependencies", "build-dependencies"];
    let entries = sections.iter().filter_map(|section| table(manifest, &[section])).flatten();
    entries
        .map(|(key, value)| Dependency {
            package: package_name(key.get_ref(), value, shared),
            line: line_of(text, key.span().start),
        })
        .collect()
}

/// `name = { package = "other" }` depends on `other`, and so does `name.workspace = true` if the root says so.
fn package_name(key: &str, value: &Spanned<DeValue>, shared: Option<&DeTable>) -> String {
    let value = value.get_ref();
    let inherited = value.get("workspace").is_some().then(|| shared?.get(key)).flatten();
    let spelled = value.get("package").or_else(|| inherited?.get_ref().get("package"));
    spelled.and_then(|name| name.get_ref().as_str()).unwrap_or(key).to_owned()
}

fn table<'a, 'i>(table: &'a DeTable<'i>, path: &[&str]) -> Option<&'a DeTable<'i>> {
    path.iter().try_fold(table, |table, key| table.get(*key)?.get_ref().as_table())
}

fn line_of(text: &str, offset: usize) -> usize {
    1 + text.bytes().take(offset).filter(|byte| *byte == b'\n').count()
}
