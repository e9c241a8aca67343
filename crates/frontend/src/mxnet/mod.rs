//! MXNet: a symbol, which is JSON, and its parameters, which are a list of arrays with names.
//!
//! Reading order: [`symbol`] (the JSON of every 1.x era as one form), [`params`] (the container of arrays), [`node`] (one
//! node as an import function sees it), [`ops`] (the table of import functions), [`inputs`] (what is given to the model,
//! and of which shape), [`import`](mod@import) (the walk over a symbol).

pub mod import;
pub mod inputs;
pub mod node;
pub mod ops;
pub mod params;
pub mod symbol;

pub use import::import;
pub use ops::OPS;

use lowbit_ir::{Error, Result};
use std::path::{Path, PathBuf};

/// Whether these are the first bytes of a symbol: no ONNX file begins so.
pub fn is_symbol(bytes: &[u8]) -> bool {
    bytes.iter().find(|b| !b.is_ascii_whitespace()) == Some(&b'{')
}

/// Whether these are the first bytes of a list of arrays.
pub fn is_params(bytes: &[u8]) -> bool {
    bytes.starts_with(&params::LIST.to_le_bytes())
}

/// The one file of parameters beside a symbol: `NAME-0007.params` or `NAME.params` for `NAME-symbol.json`.
pub fn beside(symbol: &Path) -> Result<PathBuf> {
    let stem = symbol.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
    let name = stem.strip_suffix("-symbol").unwrap_or(&stem);
    let folder = symbol.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let belongs = |file: &str| {
        let rest = file.strip_prefix(name).and_then(|rest| rest.strip_suffix(".params"));
        rest.is_some_and(|rest| {
            rest.is_empty()
                || rest.strip_prefix('-').is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
        })
    };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let file = entry?.file_name();
        if file.to_str().is_some_and(belongs) {
            found.push(folder.join(file));
        }
    }
    found.sort();
    match (found.pop(), found.len()) {
        (Some(one), 0) => Ok(one),
        (None, _) => {
            Err(Error::new(format!("expected the parameters of the symbol beside it ({name}-0000.params), found none"))
                .hint("name their file: --params FILE"))
        }
        (Some(last), others) => Err(Error::new(format!(
            "expected one file of parameters beside the symbol, found {}, the last of them '{}'",
            others + 1,
            last.display()
        ))
        .hint("say which: --params FILE")),
    }
}
