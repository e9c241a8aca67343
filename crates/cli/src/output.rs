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
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() == ErrorKind::BrokenPipe => Ok(()),
        result => result.map_err(|e| Error::new(format!("cannot write to standard output: {e}"))),
    }
}

/// Writes a line to standard error, where nobody needs to listen.
pub fn tell(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}
