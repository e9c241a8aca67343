//! Markdown as far as the checks need it: lines outside of code, headings and their anchors, links. And the check that
//! links within the project lead somewhere.

use std::collections::{BTreeMap, BTreeSet};

use super::Finding;
use crate::tree::Tree;

/// Every link to a file, folder or heading of the project that is not there.
pub fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    let anchors: BTreeMap<&str, BTreeSet<String>> =
        tree.texts().filter(|(path, _)| path.ends_with(".md")).map(|(path, text)| (path, anchors(text))).collect();
    for path in anchors.keys().copied() {
        let text = tree.text(path).unwrap_or_default();
        for (line, target) in links(text) {
            if let Some(reason) = broken(tree, &anchors, path, &target) {
                findings.push(Finding::new(path, line, format!("link to `{target}`: {reason}")));
            }
        }
    }
    findings
}

fn broken(tree: &Tree, anchors: &BTreeMap<&str, BTreeSet<String>>, from: &str, target: &str) -> Option<String> {
    if target.contains("://") || target.starts_with("mailto:") {
        return None;
    }
    let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
    let Some(path) = resolve(from, file) else { return Some("it leaves the project".into()) };
    if !tree.contains(&path) {
        return Some(format!("no tracked file or folder `{path}`"));
    }
    // An anchor into another kind of file is a line number or the like.
    let headings = anchors.get(path.as_str())?;
    let missing = !anchor.is_empty() && !headings.contains(anchor);
    missing.then(|| format!("no heading `#{anchor}` in {path}"))
}

/// The path of a link's target from the root, or nothing if it lies outside. A link that starts with a slash counts
/// from the root, an empty one is the file itself.
fn resolve(from: &str, file: &str) -> Option<String> {
    if file.is_empty() {
        return Some(from.to_owned());
    }
    let folder = if file.starts_with('/') { "" } else { from.rsplit_once('/').map_or("", |(folder, _)| folder) };
    let mut parts = Vec::new();
    for part in folder.split('/').chain(file.split('/')) {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

/// The lines outside of fenced code with their numbers, each run of inline code replaced by [`CODE`].
pub fn prose(text: &str) -> Vec<(usize, String)> {
    lines(text).into_iter().filter(|line| !line.code).map(|line| (line.number, without_code(line.text))).collect()
}

/// The lines inside of fenced code with their numbers; the fences are not among them.
pub fn code(text: &str) -> Vec<(usize, &str)> {
    let inside = lines(text).into_iter().filter(|line| line.code && !line.fence);
    inside.map(|line| (line.number, line.text)).collect()
}

/// What stands in for inline code: no letter, no space and no punctuation.
pub const CODE: char = '\u{1}';

struct Line<'a> {
    number: usize,
    text: &'a str,
    code: bool,
    fence: bool,
}

fn lines(text: &str) -> Vec<Line<'_>> {
    let mut open: Option<&str> = None;
    let mut lines = Vec::new();
    for (i, text) in text.lines().enumerate() {
        let fence = fence(text);
        let (code, is_fence) = match (open, fence) {
            (None, Some(_)) => (true, true),
            // Only a fence as long, of the same sign and with nothing behind it closes.
            (Some(start), Some(end)) => (true, end.starts_with(start) && text.trim() == end),
            (Some(_), None) => (true, false),
            (None, None) => (false, false),
        };
        if is_fence {
            open = if open.is_some() { None } else { fence };
        }
        lines.push(Line { number: i + 1, text, code, fence: is_fence });
    }
    lines
}

/// The three or more backticks or tildes that a line starts with.
fn fence(line: &str) -> Option<&str> {
    let line = line.trim_start();
    let sign = line.chars().next().filter(|sign| *sign == '`' || *sign == '~')?;
    let rest = line.trim_start_matches(sign);
    let fence = line.strip_suffix(rest)?;
    // A code span may start a line too: "```code``` and more".
    (fence.len() >= 3 && !rest.contains('`')).then_some(fence)
}

fn without_code(line: &str) -> String {
    let mut out = String::new();
    let mut rest = line;
    while let Some(start) = rest.find('`') {
        let (before, tail) = rest.split_at(start);
        let body = tail.trim_start_matches('`');
        let ticks = tail.strip_suffix(body).unwrap_or("`");
        out.push_str(before);
        match body.split_once(ticks) {
            Some((_, after)) => {
                out.push(CODE);
                rest = after;
            }
            // Unclosed: the backticks are text.
            None => {
                out.push_str(ticks);
                rest = body;
            }
        }
    }
    out.push_str(rest);
    out
}

/// The anchors of a file as GitHub makes them: those of the headings and those written in HTML.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut anchors = BTreeSet::new();
    for line in lines(text).iter().filter(|line| !line.code) {
        if let Some(heading) = heading(line.text) {
            let slug = slug(heading);
            let mut anchor = slug.clone();
            let mut count = 0;
            while !anchors.insert(anchor) {
                count += 1;
                anchor = format!("{slug}-{count}");
            }
        }
        for attribute in ["id=\"", "name=\""] {
            let values = line.text.split(attribute).skip(1);
            anchors.extend(values.filter_map(|rest| Some(rest.split_once('"')?.0.to_owned())));
        }
    }
    anchors
}

fn heading(line: &str) -> Option<&str> {
    let rest = line.trim_start_matches('#');
    let level = line.len() - rest.len();
    ((1..=6).contains(&level) && rest.starts_with(' ')).then(|| rest.trim().trim_end_matches('#').trim_end())
}

fn slug(heading: &str) -> String {
    // Of a link in a heading only the text counts.
    let mut text = heading.to_owned();
    while let Some((before, _, after)) = first_link(&text) {
        text = format!("{before}{after}");
    }
    let kept = text.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.flat_map(char::to_lowercase).map(|c| if c == ' ' { '-' } else { c }).collect()
}

/// The targets of links and images, and of the definitions that links by name refer to, with their lines.
fn links(text: &str) -> Vec<(usize, String)> {
    let mut links = Vec::new();
    for (number, line) in prose(text) {
        let mut rest = line.as_str();
        while let Some((_, target, after)) = first_link(rest) {
            links.push((number, target.to_owned()));
            rest = after;
        }
        let definition = line.trim_start().strip_prefix('[').and_then(|line| line.split_once("]: "));
        links.extend(definition.map(|(_, target)| (number, bare(target).to_owned())));
    }
    links
}

/// What is before the first `](target)`, the target, and what is after it.
fn first_link(line: &str) -> Option<(&str, &str, &str)> {
    let (before, tail) = line.split_once("](")?;
    let mut depth = 1;
    let end = tail.char_indices().find_map(|(i, c)| {
        depth += i32::from(c == '(') - i32::from(c == ')');
        (depth == 0).then_some(i)
    })?;
    let (target, after) = tail.split_at(end);
    Some((before, bare(target), after.get(1..).unwrap_or("")))
}

/// A target without the title behind it and the angle brackets around it.
fn bare(target: &str) -> &str {
    let target = target.trim();
    match target.strip_prefix('<').and_then(|target| target.split_once('>')) {
        Some((target, _)) => target,
        None => target.split_whitespace().next().unwrap_or(""),
    }
}

#[cfg(test)]
mod tests {
    use super::super::places;
    use super::*;
    use crate::tree::fixture::tree;

    fn check_readme(text: &str) -> Vec<usize> {
        let files =
            [("README.md", text), ("docs/a.md", "# The Arithmetic\n## 1. `f32` sums, and more\n"), ("src/lib.rs", "")];
        check(&tree(&files)).iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn links_that_lead_somewhere_pass() {
        for link in [
            "docs/a.md",
            "./docs/a.md",
            "docs",
            "docs/",
            "/src/lib.rs",
            "src/lib.rs#L3",
            "docs/a.md#the-arithmetic",
            "docs/a.md#1-f32-sums-and-more",
            "#top",
            "https://example.com/no.md",
            "mailto:a@example.com",
            "<docs/a.md>",
            "docs/a.md \"A title\"",
        ] {
            assert_eq!(
                check_readme(&format!("# Top\n[text]({link}) and ![image]({link}).\n\n[name]: {link}\n")),
                [0; 0],
                "{link}"
            );
        }
    }

    #[test]
    fn links_that_lead_nowhere_are_found() {
        for link in [
            "docs/b.md",
            "a.md",
            "../README.md",
            "docs/a.md#arithmetic",
            "#nothing",
            "src/lib",
            "docs/../a.md",
            "<x y>",
        ] {
            let text = format!("# Top\n[text]({link}) and ![image]({link}).\n\n[name]: {link}\n");
            assert_eq!(check_readme(&text), [2, 2, 4], "{link}");
        }
    }

    #[test]
    fn links_count_from_the_folder_of_their_file() {
        let tree = tree(&[("README.md", ""), ("docs/a.md", "[up](../README.md) [side](a.md) [wrong](README.md)")]);
        assert_eq!(places(&check(&tree)), [("docs/a.md", 1)]);
    }

    #[test]
    fn links_in_code_are_text() {
        assert_eq!(
            check_readme("`[a](b)` and `` `[a](b)` ``\n```\n[a](b)\n```\n~~~~ text\n~~~\n[a](b)\n~~~~\n"),
            [0; 0]
        );
        assert_eq!(check_readme("```sh\n[a](b)\n```\n[a](b)\n"), [4]);
        assert_eq!(check_readme("an ` and [a](b)\n"), [1]);
    }

    #[test]
    fn anchors_are_made_as_github_makes_them() {
        let text = "# A [link](x.md), *twice*\n# Same\n# Same\n## `snake_case` -> b ##\n<a id=\"own\"></a>\n```\n# no\n```\n#no\n";
        let expected = ["a-link-twice", "own", "same", "same-1", "snake_case---b"];
        assert_eq!(anchors(text).into_iter().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn code_is_what_stands_between_fences() {
        // A longer fence closes too, and one that nothing closes goes on to the end.
        assert_eq!(code("a\n```sh\nb\n````\nc\n```\nd\n"), [(3, "b"), (7, "d")]);
        assert_eq!(code("```\na\n~~~\nb\n```\n"), [(2, "a"), (3, "~~~"), (4, "b")]);
        assert_eq!(prose("a `b` c\n```\nd\n```\ne"), [(1, format!("a {CODE} c")), (5, "e".to_owned())]);
    }
}
