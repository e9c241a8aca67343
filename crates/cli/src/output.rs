//! What goes to standard output and standard error.

use lowbit::{Error, Result};
use serde::Serialize;
use std::io::{self, ErrorKind, IsTerminal, Write};

/// What a verb found.
#[derive(Debug)]
pub struct Outcome {
    /// For people.
    pub text: String,
    /// For programs: one JSON object.
    pub json: String,
    /// Whether the exit code is 0.
    pub success: bool,
}

impl Outcome {
    /// A success.
    pub fn new(text: String, json: &impl Serialize) -> Result<Self> {
        let json = serde_json::to_string(json).map_err(|e| Error::new(format!("cannot write as JSON: {e}")))?;
        Ok(Outcome { text, json, success: true })
    }
}

/// Standard output: who reads it decides the form.
#[derive(Debug, Clone, Copy)]
pub struct Paper {
    json: bool,
    styled: bool,
}

impl Paper {
    /// For a program if `json`, else for people; with bold print on a terminal that has not refused it.
    pub fn new(json: bool) -> Self {
        let set = |name: &str| std::env::var_os(name).is_some_and(|v| !v.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|t| t == "dumb");
        Paper { json, styled: io::stdout().is_terminal() && !set("NO_COLOR") && !dumb }
    }

    /// For what is kept as text: no bold print.
    pub fn plain() -> Self {
        Paper { json: false, styled: false }
    }

    /// Prints a result in the form that was asked for.
    pub fn print(&self, outcome: &Outcome) -> Result<()> {
        match self.json {
            true => write_out(&format!("{}\n", outcome.json)),
            false => write_out(&outcome.text),
        }
    }

    /// Prints a text while the work goes on; to standard error if standard output belongs to a program.
    pub fn print_early(&self, text: &str) -> Result<()> {
        match self.json {
            true => {
                tell(text.trim_end());
                Ok(())
            }
            false => write_out(text),
        }
    }

    /// A title.
    pub fn bold(&self, text: &str) -> String {
        if self.styled { format!("\x1b[1m{text}\x1b[0m") } else { text.into() }
    }

    /// What matters less.
    pub fn dim(&self, text: &str) -> String {
        if self.styled { format!("\x1b[2m{text}\x1b[0m") } else { text.into() }
    }

    /// What must not be overlooked.
    pub fn loud(&self, text: &str) -> String {
        if self.styled { format!("\x1b[1;33m{text}\x1b[0m") } else { text.into() }
    }
}

/// Writes to standard output. A reader that has left (`| head`) has what it wanted: the work counts as done.
fn write_out(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(harmless(text).as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() == ErrorKind::BrokenPipe => Ok(()),
        result => result.map_err(|e| Error::new(format!("cannot write to standard output: {e}"))),
    }
}

/// Writes a line to standard error, where nobody needs to listen.
pub fn tell(line: &str) {
    let _ = writeln!(io::stderr(), "{}", harmless(line));
}

/// The sequences that [`Paper`] writes itself.
const STYLES: [&str; 4] = ["\x1b[0m", "\x1b[1m", "\x1b[2m", "\x1b[1;33m"];

/// A text without control characters but lines and tabs, and our own styles: names come from files, and a terminal does
/// what it is told.
fn harmless(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if let Some(style) = STYLES.iter().find(|style| rest.starts_with(**style)) {
            out.push_str(style);
            rest = &rest[style.len()..];
            continue;
        }
        match c.is_control() && !matches!(c, '\n' | '\t') {
            true => out.extend(c.escape_default()),
            false => out.push(c),
        }
        rest = &rest[c.len_utf8()..];
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_command_a_terminal() {
        assert_eq!(harmless("a\tb\n\x1b[1mbold\x1b[0m"), "a\tb\n\x1b[1mbold\x1b[0m");
        assert_eq!(harmless("\x1b]0;title\x07 \x1b[2Jé\r"), "\\u{1b}]0;title\\u{7} \\u{1b}[2Jé\\r");
    }
}
