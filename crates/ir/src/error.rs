//! The one error of the graph crates: where it happened, what was expected and found, what to try.

use std::any::Any;
use std::fmt;
use std::io::{self, ErrorKind};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// Result of every fallible function of the graph crates.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error with a place.
///
/// It prints as `node 'conv1': expected a 4-D input, found f32[1x3] (value 'x'); try ...`, one cause a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    message: String,
    node: Option<Box<str>>,
    value: Option<Box<str>>,
    context: Vec<String>,
    hint: Option<Box<str>>,
    cause: Option<Cause>,
}

/// What the error came of: another program's error, such as an exception of the language that a function is written in.
#[derive(Debug, Clone)]
struct Cause(Arc<dyn std::error::Error + Send + Sync>);

/// Causes are the same only if they are one.
impl PartialEq for Cause {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Cause {}

impl Error {
    /// An error that says what was expected and what was found.
    pub fn new(message: impl Into<String>) -> Self {
        Error { message: message.into(), node: None, value: None, context: Vec::new(), hint: None, cause: None }
    }

    /// What a panic says of who panicked, such as `the operator`.
    pub fn panicked(who: &str, panic: &(dyn Any + Send)) -> Self {
        let text = panic.downcast_ref::<&str>().copied().or(panic.downcast_ref::<String>().map(String::as_str));
        Error::new(format!("{who} panicked: {}", text.unwrap_or("it did not say why")))
            .hint("what is your own should return an error instead; in lowbit's it is a defect")
    }

    /// Names the node it happened at; the innermost name given wins.
    #[must_use]
    pub fn at_node(mut self, name: impl Into<String>) -> Self {
        self.node.get_or_insert_with(|| name.into().into_boxed_str());
        self
    }

    /// Names the value it happened at; the innermost name given wins.
    #[must_use]
    pub fn at_value(mut self, name: impl Into<String>) -> Self {
        self.value.get_or_insert_with(|| name.into().into_boxed_str());
        self
    }

    /// Says what was being done, outermost last: `while running pass 'fold'`.
    #[must_use]
    pub fn context(mut self, doing: impl Into<String>) -> Self {
        self.context.push(doing.into());
        self
    }

    /// Says what the user can try.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint.get_or_insert_with(|| hint.into().into_boxed_str());
        self
    }

    /// Says what it came of, which [`source`](std::error::Error::source) then gives; the innermost one given wins.
    #[must_use]
    pub fn caused_by(mut self, cause: impl std::error::Error + Send + Sync + 'static) -> Self {
        self.cause.get_or_insert_with(|| Cause(Arc::new(cause)));
        self
    }

    /// What another error came of this one came of too, and what was being done: for whoever words an error anew.
    #[must_use]
    pub fn caused_as(mut self, other: &Error) -> Self {
        self.context.extend_from_slice(&other.context);
        self.cause = self.cause.or_else(|| other.cause.clone());
        self
    }

    /// The message with what to try, without place.
    pub fn reason(&self) -> String {
        self.hint.iter().fold(self.message.clone(), |message, hint| format!("{message} (try: {hint})"))
    }

    /// The bare message, without place and hint.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The node it happened at.
    pub fn node(&self) -> Option<&str> {
        self.node.as_deref()
    }

    /// The value it happened at.
    pub fn value(&self) -> Option<&str> {
        self.value.as_deref()
    }
}

/// Runs what may be the user's, such as a rule or an observer: a panic in it is an error like any other.
///
/// What it was changing is left half done, so that whoever gets the error must not use it, as after any other error.
pub fn catching<T>(who: &str, run: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| Err(Error::panicked(who, &*panic)))
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Names come from files: they are told in one line, and command no terminal.
        let told = |name: &Option<Box<str>>| name.as_ref().map(|name| one_line(name));
        match (told(&self.node), told(&self.value)) {
            (Some(node), Some(value)) => write!(f, "node '{node}', value '{value}': ")?,
            (Some(node), None) => write!(f, "node '{node}': ")?,
            (None, Some(value)) => write!(f, "value '{value}': ")?,
            (None, None) => {}
        }
        write!(f, "{}", self.message)?;
        for doing in &self.context {
            write!(f, "\n  while {doing}")?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "\n  try: {hint}")?;
        }
        Ok(())
    }
}

/// A name without what would break a line or turn its direction.
fn one_line(name: &str) -> String {
    let breaks = |c: char| c.is_control() || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    name.chars().fold(String::with_capacity(name.len()), |mut out, c| {
        match breaks(c) {
            true => out.extend(c.escape_default()),
            false => out.push(c),
        }
        out
    })
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.cause.as_ref().map(|cause| &*cause.0 as &(dyn std::error::Error + 'static))
    }
}

/// What the operating system said, in words, and what can be done about it.
impl From<io::Error> for Error {
    fn from(e: io::Error) -> Self {
        let (said, hint) = match e.kind() {
            ErrorKind::NotFound => ("there is no such file or folder", "check the path and the folder it starts from"),
            ErrorKind::PermissionDenied => ("permission denied", "check who may read and write it"),
            ErrorKind::IsADirectory => ("it is a folder", "name a file"),
            ErrorKind::NotADirectory => ("a part of the path is not a folder", "check the path"),
            ErrorKind::AlreadyExists => ("it exists already", "another name"),
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => ("the disk is full", "make room, or write elsewhere"),
            ErrorKind::FileTooLarge => ("the file is too large for its disk", "write elsewhere"),
            ErrorKind::ReadOnlyFilesystem => ("the disk is read-only", "write elsewhere"),
            ErrorKind::InvalidFilename => ("the file name is not possible here", "a shorter or plainer name"),
            ErrorKind::OutOfMemory => ("out of memory", "a smaller model, batch or data set"),
            // The others have no advice of their own, and their text is the best there is.
            _ => return Error::new(e.to_string()),
        };
        Error::new(said).hint(hint)
    }
}

impl From<lowbit_arithmetic::ScaleError> for Error {
    fn from(e: lowbit_arithmetic::ScaleError) -> Self {
        Error::new(e.to_string())
    }
}

/// `bail!("expected {} inputs, found {}", 2, n)`: return an [`Error`] at once.
#[macro_export]
macro_rules! bail {
    ($($arg:tt)*) => { return Err($crate::Error::new(format!($($arg)*)).into()) };
}
