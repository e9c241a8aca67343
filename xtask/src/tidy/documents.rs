//! The documents: they are there, they speak of every crate and of the two commands, and a line is a sentence.

use super::Finding;
use super::manifest;
use super::markdown::{self, CODE};
use crate::tree::Tree;

/// The documents that the project always has.
const DOCUMENTS: &[&str] = &[
    "README.md",
    "ARCHITECTURE.md",
    "DESIGN.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "docs/arithmetic.md",
    "LICENSE-MIT",
    "LICENSE-APACHE",
];

/// What a newcomer types, each the start of a line of code in the README.
const COMMANDS: &[&str] = &["cargo run --release", "cargo xtask test"];

/// All checks of documents but that of links.
pub fn check(tree: &Tree) -> Vec<Finding> {
    let missing = DOCUMENTS.iter().filter(|path| !tree.contains(path));
    let mut findings: Vec<Finding> = missing.map(|path| Finding::new(path, 0, "this document is missing")).collect();
    findings.extend(unmentioned_crates(tree));
    findings.extend(unmentioned_commands(tree));
    for (path, text) in tree.texts() {
        let by_sentence = ["ARCHITECTURE.md", "CONTRIBUTING.md", "DESIGN.md"].contains(&path)
            || (path.starts_with("docs/") && path.ends_with(".md"));
        if by_sentence {
            findings.extend(crowded_lines(path, text));
        }
    }
    findings
}

fn unmentioned_crates(tree: &Tree) -> Vec<Finding> {
    let Some(text) = tree.text("ARCHITECTURE.md") else { return Vec::new() };
    let (packages, _) = manifest::packages(tree);
    let unmentioned = packages.iter().filter(|package| {
        let folder = package.folder.trim_end_matches('/');
        !has_word(text, &package.name) && (folder.is_empty() || !has_word(text, folder))
    });
    unmentioned
        .map(|package| Finding::new("ARCHITECTURE.md", 0, format!("it does not mention the crate {}", package.name)))
        .collect()
}

/// Whether the word stands in the text by itself: `lowbit` does not stand in `lowbit-ir`.
fn has_word(text: &str, word: &str) -> bool {
    let goes_on = |c: char| c.is_alphanumeric() || c == '-' || c == '_';
    text.match_indices(word).any(|(at, _)| {
        let before = text.get(..at).and_then(|text| text.chars().next_back());
        let after = text.get(at + word.len()..).and_then(|text| text.chars().next());
        !before.is_some_and(goes_on) && !after.is_some_and(goes_on)
    })
}

fn unmentioned_commands(tree: &Tree) -> Vec<Finding> {
    let Some(text) = tree.text("README.md") else { return Vec::new() };
    let code = markdown::code(text);
    let shown = |command: &&&str| code.iter().any(|(_, line)| has_prefix_word(line.trim_start(), command));
    let absent = COMMANDS.iter().filter(|command| !shown(command));
    absent.map(|command| Finding::new("README.md", 0, format!("no code line starts with `{command}`"))).collect()
}

fn has_prefix_word(line: &str, words: &str) -> bool {
    let line = line.strip_prefix("$ ").unwrap_or(line);
    line.strip_prefix(words).is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
}

/// Lines of prose in which two or more sentences end. Tables and headings may.
fn crowded_lines(path: &str, text: &str) -> Vec<Finding> {
    let lines = markdown::prose(text).into_iter();
    let prose = lines.filter(|(_, line)| !line.trim_start().starts_with(['|', '#']));
    let crowded = prose.filter(|(_, line)| sentence_ends(line) >= 2);
    crowded.map(|(number, _)| Finding::new(path, number, "one sentence per line")).collect()
}

/// After these a full stop ends no sentence, unless the line ends too.
const ABBREVIATIONS: &[&str] = &["e.g", "i.e", "cf", "vs", "etc", "no", "fig", "sec", "approx", "resp", "incl", "ca"];

fn sentence_ends(line: &str) -> usize {
    let line: Vec<char> = line.trim_end().chars().collect();
    (0..line.len()).filter(|at| ends_sentence(&line, *at)).count()
}

/// Whether the sign at this place ends a sentence: a word before it, and after it the end of the line or a space and
/// what may start a sentence. In doubt it does not.
fn ends_sentence(line: &[char], at: usize) -> bool {
    let (before, after) = line.split_at(at);
    let [sign, after @ ..] = after else { return false };
    let is_word = |c: &char| c.is_alphanumeric() || [CODE, ')', ']', '"', '*', '%'].contains(c);
    if !['.', '!', '?'].contains(sign) || !before.last().is_some_and(is_word) {
        return false;
    }
    let closers = after.iter().take_while(|c| [')', ']', '"', '*', '_', '\''].contains(c)).count();
    let after = after.get(closers..).unwrap_or(&[]);
    let [space, after @ ..] = after else { return true };
    let start = after.iter().find(|c| !['(', '[', '"', '*', '_', '\'', '!'].contains(c));
    let starts = start.is_some_and(|c| c.is_uppercase() || *c == CODE);
    let word: String = before.iter().rev().take_while(|c| c.is_alphanumeric() || **c == '.').collect();
    let word: String = word.chars().rev().flat_map(char::to_lowercase).collect();
    // "1. Item" is the number of a list.
    let is_number = !word.is_empty() && before.iter().all(|c| c.is_ascii_digit() || *c == ' ');
    *space == ' ' && starts && !ABBREVIATIONS.contains(&word.as_str()) && !is_number
}

#[cfg(test)]
mod tests {
    use super::super::places;
    use super::*;
    use crate::tree::fixture::tree;

    fn complete() -> Vec<(&'static str, &'static str)> {
        let mut files: Vec<_> = DOCUMENTS.iter().map(|path| (*path, "")).collect();
        files.retain(|(path, _)| *path != "README.md" && *path != "ARCHITECTURE.md");
        files.push(("README.md", "```sh\ncargo run --release -- demo\n$ cargo xtask test\n```\n"));
        files.push(("ARCHITECTURE.md", "The crates are `lowbit`, crates/ir and xtask.\n"));
        files.push(("Cargo.toml", "[package]\nname = \"lowbit\"\n"));
        files.push(("crates/ir/Cargo.toml", "[package]\nname = \"lowbit-ir\"\n"));
        files.push(("xtask/Cargo.toml", "[package]\nname = \"xtask\"\n"));
        files
    }

    /// The findings when one document has another text.
    fn check_with(path: &'static str, text: &'static str) -> Vec<Finding> {
        let mut files = complete();
        files.retain(|(other, _)| *other != path);
        files.push((path, text));
        check(&tree(&files))
    }

    #[test]
    fn a_complete_tree_passes() {
        assert_eq!(check(&tree(&complete())), []);
    }

    #[test]
    fn each_missing_document_is_found() {
        for document in DOCUMENTS {
            let mut files = complete();
            files.retain(|(path, _)| path != document);
            assert_eq!(places(&check(&tree(&files))), [(*document, 0)]);
        }
    }

    #[test]
    fn unmentioned_crates_are_found() {
        let messages = |text| check_with("ARCHITECTURE.md", text).into_iter().map(|f| f.message).collect::<Vec<_>>();
        assert_eq!(messages("lowbit-ir and lowbit; xtask"), [""; 0]);
        assert_eq!(messages("lowbit-ir; xtask"), ["it does not mention the crate lowbit"]);
        assert_eq!(messages("lowbit, lowbit-irx, xtask"), ["it does not mention the crate lowbit-ir"]);
    }

    #[test]
    fn unmentioned_commands_are_found() {
        assert_eq!(check_with("README.md", "```\ncargo run --release\n```\n").len(), 1);
        assert_eq!(check_with("README.md", "```\ncargo run --released\ncargo xtask tests\n```\n").len(), 2);
        assert_eq!(check_with("README.md", "Type cargo run --release and\ncargo xtask test\n").len(), 2, "not in code");
    }

    #[test]
    fn crowded_lines_are_found_outside_of_code_and_tables() {
        let text = "One. Two.\nOne.\n\n| One. Two. |\n```\nOne. Two.\n```\n- `a.b`. It is. **So.**\n# One. Two.\n";
        for path in ["DESIGN.md", "CONTRIBUTING.md", "docs/arithmetic.md"] {
            assert_eq!(places(&check_with(path, text)), [(path, 1), (path, 8)]);
        }
        assert_eq!(check_with("CHANGELOG.md", text), []);
    }

    #[test]
    fn sentence_ends_are_counted_with_care() {
        for (line, ends) in [
            ("One sentence.", 1),
            ("No end", 0),
            ("First. Second.", 2),
            ("First! (Second?) `Third`.", 3),
            ("First.  Two spaces after it.", 1),
            ("Numbers such as 2.5 and 1.0.", 1),
            ("Some, e.g. ONNX, i.e. it, vs. NNCF.", 1),
            ("A list a, b, ... Z.", 1),
            ("1. An item of a list.", 1),
            ("  12. An item. Another sentence.", 2),
            ("See [file.rs](a.rs). And `x.y()`.", 2),
            ("**Bold.** Then more.", 2),
            ("the range 0 ..= 5. lower case follows.", 1),
        ] {
            let line = markdown::prose(line).remove(0).1;
            assert_eq!(sentence_ends(&line), ends, "{line}");
        }
    }
}
