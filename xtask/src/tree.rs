//! The project's files in memory: what git tracks, by path. Every check of [`crate::tidy`] is a function of this value,
//! so its tests need no disk.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Result;

/// Files by path: relative to the workspace root, with forward slashes.
#[derive(Default)]
pub struct Tree {
    files: BTreeMap<String, Vec<u8>>,
}

impl Tree {
    /// The tracked files that exist in the work tree; in a copy without git's data, every file outside of `target`
    /// and hidden folders other than `.ci` and `.cargo`.
    pub fn load(root: &Path) -> Result<Tree> {
        let paths = match tracked(root) {
            Some(paths) => paths,
            None => walk(root)?,
        };
        let mut files = BTreeMap::new();
        for path in paths {
            let file = root.join(&path);
            // A tracked file may have been deleted and not yet committed; a submodule is a folder.
            if file.is_file() {
                let bytes = fs::read(&file).map_err(|e| format!("cannot read {}: {e}", file.display()))?;
                files.insert(path, bytes);
            }
        }
        Ok(Tree { files })
    }

    /// Every file as text, in the order of paths; binary files are left out.
    pub fn texts(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files.iter().filter_map(|(path, bytes)| Some((path.as_str(), as_text(bytes)?)))
    }

    /// Every file, in the order of paths.
    pub fn files(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.files.iter().map(|(path, bytes)| (path.as_str(), bytes.as_slice()))
    }

    /// The text of one file, if it is there and is text.
    pub fn text(&self, path: &str) -> Option<&str> {
        self.files.get(path).and_then(|bytes| as_text(bytes))
    }

    /// Whether there is such a file, or a folder with files in it.
    pub fn contains(&self, path: &str) -> bool {
        let folder = format!("{path}/");
        path.is_empty() || self.files.contains_key(path) || self.files.keys().any(|file| file.starts_with(&folder))
    }
}

/// The text of a file, or nothing if it is binary.
pub fn as_text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok().filter(|text| !text.contains('\0'))
}

/// The folder above this crate, wherever the command was started.
pub fn workspace_root() -> Result<PathBuf> {
    let crate_folder = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    match crate_folder.as_deref().and_then(Path::parent) {
        Some(root) => Ok(root.to_path_buf()),
        None => Err("start it as `cargo xtask`: the environment variable CARGO_MANIFEST_DIR is not set".into()),
    }
}

fn tracked(root: &Path) -> Option<Vec<String>> {
    let output = Command::new("git").arg("-C").arg(root).args(["ls-files", "-z"]).output().ok()?;
    let paths = String::from_utf8(output.stdout).ok()?;
    let paths: Vec<String> = paths.split_terminator('\0').map(str::to_owned).collect();
    (output.status.success() && !paths.is_empty()).then_some(paths)
}

fn walk(root: &Path) -> Result<Vec<String>> {
    let mut paths = Vec::new();
    let mut folders = vec![String::new()];
    while let Some(folder) = folders.pop() {
        let unreadable = |e| format!("cannot list {}: {e}", root.join(&folder).display());
        for entry in fs::read_dir(root.join(&folder)).map_err(unreadable)? {
            let entry = entry.map_err(unreadable)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = format!("{folder}{name}");
            let is_folder = entry.file_type().map_err(unreadable)?.is_dir();
            let is_hidden = name.starts_with('.') && name != ".ci" && name != ".cargo";
            if !is_folder {
                paths.push(path);
            } else if !is_hidden && path != "target" {
                folders.push(format!("{path}/"));
            }
        }
    }
    Ok(paths)
}

#[cfg(test)]
pub mod fixture {
    use super::Tree;

    /// A tree of the given paths and texts.
    pub fn tree(files: &[(&str, &str)]) -> Tree {
        Tree { files: files.iter().map(|(path, text)| (path.to_string(), text.as_bytes().to_vec())).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::fixture::tree;
    use super::*;

    #[test]
    fn contains_files_and_folders_and_nothing_else() {
        let tree = tree(&[("docs/a.md", "")]);
        assert!(tree.contains("docs/a.md") && tree.contains("docs") && tree.contains(""));
        assert!(!tree.contains("doc") && !tree.contains("docs/a") && !tree.contains("docs/b.md"));
    }

    #[test]
    fn binary_files_are_files_but_no_texts() {
        let tree = Tree { files: [("a".to_owned(), vec![0xff, 0]), ("b".to_owned(), b"text".to_vec())].into() };
        assert_eq!(tree.files().count(), 2);
        assert_eq!(tree.texts().collect::<Vec<_>>(), [("b", "text")]);
    }

    #[test]
    fn this_project_is_loaded_with_git_and_without() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("this crate lies in the workspace");
        let tree = Tree::load(root).expect("the files can be read");
        assert!(tree.text("Cargo.toml").is_some_and(|text| text.contains("[workspace]")));
        let walked = walk(root).expect("the folders can be listed");
        assert!(walked.iter().any(|path| path == "xtask/src/tree.rs"));
        assert!(!walked.iter().any(|path| path.starts_with("target/") || path.starts_with(".git/")));
    }
}
