//! Choices as people make them: in files, and of samples that there may not be.
//!
//! A configuration says all choices; what somebody *said* is what was put over another one, and only that can be refused
//! where it has nothing to work on.

use lowbit_frontend::files;
use lowbit_ir::{Error, Result, memory};
use lowbit_quantize::observe::GLOBAL_SCALE;
use lowbit_quantize::{Config, Observers, Spec};
use std::io::Read;
use std::path::Path;

/// Bytes of the longest configuration: parsed it takes many times as many.
const MOST_TEXT: u64 = 1 << 20;

/// The text of a configuration's file.
pub fn read(path: &Path) -> Result<String> {
    let read = || -> Result<String> {
        let mut bytes = Vec::new();
        files::open(path)?.take(MOST_TEXT + 1).read_to_end(&mut bytes)?;
        match bytes.len() as u64 > MOST_TEXT {
            true => Err(Error::new(format!(
                "expected a configuration of up to {}, found more",
                memory::text(MOST_TEXT as usize)
            ))
            .hint("patterns with * for many layers at once")),
            false => String::from_utf8(bytes).map_err(|_| Error::new("expected text (UTF-8)")),
        }
    };
    read().map_err(|e| e.context(format!("reading '{}'", path.display())))
}

/// What ranges are found from where no samples run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Without {
    /// Statistics, which hold no samples.
    Samples,
    /// Nothing at all.
    Data,
}

/// A choice that was made and cannot be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// It, such as `equalize = true`.
    pub what: String,
    /// Its key, and the value with which it asks for nothing.
    pub off: (String, String),
}

/// The first choice that needs samples where there are none, among those that `said` puts over a configuration: what is on
/// by default is left out and told, what was asked for is not.
pub fn needing_samples(said: impl FnOnce(Config) -> Result<Config>, without: Without) -> Result<Option<Wish>> {
    // With the default's observer in its place that choice would not be seen.
    let open = |spec: Spec| Spec { observer: None, ..spec };
    let usual = Config::default();
    let (input, activation) = (open(usual.input.clone()), open(usual.activation.clone()));
    let asked = said(Config { equalize: false, refinements: Vec::new(), input, activation, ..usual })?;
    let wish = |what: String, key: &str, off: &str| Ok(Some(Wish { what, off: (key.into(), off.into()) }));
    if asked.equalize {
        return wish("equalize = true".into(), "equalize", "false");
    }
    if !asked.refinements.is_empty() {
        return wish(format!("refinements = {:?}", asked.refinements), "refinements", "[]");
    }
    if without == Without::Samples {
        return Ok(None);
    }
    for (kind, spec) in [("input", &asked.input), ("activation", &asked.activation)] {
        let Some(name) = &spec.observer else { continue };
        // One of the user's is asked when it is there.
        if Observers::standard().find(name).is_ok_and(|observer| observer.needs_samples()) {
            let what = format!("{kind}.observer = \"{name}\", which looks at samples");
            return wish(what, &format!("{kind}.observer"), GLOBAL_SCALE);
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_said_needs_samples() {
        let found = |text: &str, without| {
            needing_samples(|config| config.changed_by(text), without).unwrap().map(|wish| wish.what)
        };
        assert_eq!(found("", Without::Data), None);
        assert_eq!(found("equalize = false\nrefinements = []", Without::Data), None);
        assert_eq!(found("equalize = true", Without::Samples), Some("equalize = true".into()));
        assert!(found("refinements = [\"bias-correction\"]", Without::Samples).is_some());
        // The default's own name, said.
        assert_eq!(found("input.observer = \"mse\"", Without::Samples), None);
        assert!(found("input.observer = \"mse\"", Without::Data).is_some());
        assert_eq!(found("input.observer = \"global_scale\"", Without::Data), None);
    }
}
