//! Golden tests: graphs as text files, what goes in above the line `// ---` and what must come out below.
//!
//! ```text
//! // pass: fold-constants, fold-batchnorm
//! // Why this case is worth a file.
//! graph "before" { ... }
//! // ---
//! graph "after" { ... }
//! ```
//!
//! The passes of the header run in order, from a table that the test gives, and the outcome is verified. If anything
//! fails, what must come out is the error, as lines `error: ...`. With `UPDATE=1` in the environment the lower halves are
//! written anew; look at the difference before you commit it.

use crate::{Error, Graph, Result, text, verify};
use std::fs;
use std::path::{Path, PathBuf};

/// A pass by name, as golden files refer to it.
pub type Named<'a> = (&'a str, fn(&mut Graph) -> Result<()>);

const LINE: &str = "// ---";

/// Checks (or with `UPDATE=1` rewrites) every `*.ir` file of a directory; gives their number, or an error that shows the
/// first difference of each file. A directory without such files is an error: a test must assert something.
pub fn check_dir(dir: impl AsRef<Path>, passes: &[Named<'_>]) -> Result<usize> {
    let update = std::env::var_os("UPDATE").is_some_and(|v| v == "1");
    visit_dir(dir.as_ref(), passes, update)
}

fn visit_dir(dir: &Path, passes: &[Named<'_>], update: bool) -> Result<usize> {
    let files = files(dir)?;
    if files.is_empty() {
        return Err(Error::new(format!("expected golden files *.ir in {}, found none", dir.display())));
    }
    let mut failures = Vec::new();
    for path in &files {
        if let Err(e) = check_file(path, passes, update) {
            failures.push(format!("{}: {}", path.display(), e.message()));
        }
    }
    match failures.is_empty() {
        true => Ok(files.len()),
        false => {
            let what = format!("{} of {} golden files differ:\n{}", failures.len(), files.len(), failures.join("\n"));
            Err(Error::new(what).hint("UPDATE=1 to rewrite them, if the new outcome is right"))
        }
    }
}

fn files(dir: &Path) -> Result<Vec<PathBuf>> {
    let io = |e: std::io::Error| Error::new(format!("cannot read {}: {e}", dir.display()));
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).map_err(io)? {
        files.push(entry.map_err(io)?.path());
    }
    files.retain(|p| p.extension().is_some_and(|e| e == "ir"));
    files.sort();
    Ok(files)
}

fn check_file(path: &Path, passes: &[Named<'_>], update: bool) -> Result<()> {
    let content = fs::read_to_string(path).map_err(|e| Error::new(format!("cannot read it: {e}")))?;
    let (input, expected) = halves(&content);
    let found = outcome(input, passes)?;
    if update {
        let new = format!("{}\n{LINE}\n{found}", input.trim_end());
        return match new == content {
            true => Ok(()),
            false => fs::write(path, new).map_err(|e| Error::new(format!("cannot write it: {e}"))),
        };
    }
    match first_difference(expected, &found) {
        None => Ok(()),
        Some(difference) => Err(Error::new(difference)),
    }
}

/// What stands above and below the line.
fn halves(content: &str) -> (&str, &str) {
    let mut start = 0;
    for line in content.split_inclusive('\n') {
        let end = start + line.len();
        if line.trim_end() == LINE {
            return (content.get(..start).unwrap_or(""), content.get(end..).unwrap_or(""));
        }
        start = end;
    }
    (content, "")
}

/// What comes out of the upper half: the graph's text or error lines. Only a bad header fails.
pub fn outcome(input: &str, passes: &[Named<'_>]) -> Result<String> {
    let header = input.lines().find_map(|l| l.strip_prefix("// pass:"));
    let Some(header) = header else {
        return Err(Error::new("expected a line '// pass: NAME' above the graph"));
    };
    let mut chosen = Vec::new();
    for name in header.split(',').map(str::trim) {
        let Some((_, pass)) = passes.iter().find(|(n, _)| *n == name) else {
            let known: Vec<&str> = passes.iter().map(|(n, _)| *n).collect();
            return Err(Error::new(format!("no pass of this test is named '{name}' (known: {})", known.join(", "))));
        };
        chosen.push(pass);
    }
    let run = || -> Result<String> {
        let mut g = text::parse(input)?;
        chosen.iter().try_for_each(|pass| pass(&mut g))?;
        verify::verify(&g)?;
        Ok(text::print(&g))
    };
    Ok(run().unwrap_or_else(|e| e.to_string().lines().map(|l| format!("error: {}\n", l.trim_end())).collect()))
}

/// The first line that differs, with its number below the line `// ---`; spaces at line ends count nothing.
fn first_difference(expected: &str, found: &str) -> Option<String> {
    let lines = |s: &str| -> Vec<String> { s.trim_end().lines().map(|l| l.trim_end().to_string()).collect() };
    let (expected, found) = (lines(expected), lines(found));
    let end = "(the end)".to_string();
    (0..expected.len().max(found.len())).find_map(|i| {
        let (e, f) = (expected.get(i).unwrap_or(&end), found.get(i).unwrap_or(&end));
        (e != f).then(|| format!("line {} of the outcome\n  expected: {e}\n  found:    {f}", i + 1))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_different_line_is_shown() {
        assert_eq!(first_difference("a\nb\n", "a  \nb"), None);
        let d = first_difference("a\nb\n", "a\nc\n").unwrap();
        assert!(d.contains("line 2") && d.contains("expected: b") && d.contains("found:    c"), "{d}");
        assert!(first_difference("a\n", "a\nb\n").unwrap().contains("expected: (the end)"));
    }

    #[test]
    fn differences_are_reported_and_updated() {
        let dir = std::env::temp_dir().join(format!("lowbit-golden-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let path = dir.join("a.ir");
        fs::write(&path, "// pass: id\ngraph \"g\" {\n}\n// ---\ngraph \"other\" {\n}\n").unwrap();
        fs::write(dir.join("b.ir"), "// pass: id\ngraph \"new\" {}").unwrap();
        let id: &[Named<'_>] = &[("id", |_| Ok(()))];
        let before = visit_dir(&dir, id, false).map_err(|e| e.to_string());
        let updated = [visit_dir(&dir, id, true), visit_dir(&dir, id, false)];
        let text = fs::read_to_string(&path);
        fs::remove_dir_all(&dir).unwrap();

        let e = before.unwrap_err();
        assert!(e.contains("2 of 2 golden files differ") && e.contains("UPDATE=1"), "{e}");
        assert!(e.contains("line 1 of the outcome\n  expected: graph \"other\" {\n  found:    graph \"g\" {"), "{e}");
        assert_eq!(updated, [Ok(2), Ok(2)]);
        assert_eq!(text.unwrap(), "// pass: id\ngraph \"g\" {\n}\n// ---\ngraph \"g\" {\n}\n");
    }

    #[test]
    fn headers_are_checked() {
        let none: &[Named<'_>] = &[];
        assert!(outcome("graph \"g\" {}", none).is_err());
        let e = outcome("// pass: fold\ngraph \"g\" {}", &[("verify", |_| Ok(()))]).unwrap_err().to_string();
        assert!(e.contains("'fold'") && e.contains("known: verify"), "{e}");
    }

    #[test]
    fn errors_are_an_outcome() {
        let found = outcome("// pass: id\ngraph \"g\" { output %x }", &[("id", |_| Ok(()))]).unwrap();
        assert!(found.starts_with("error: line 2, column 20: expected a value defined above, found 'x'"), "{found}");
    }
}
