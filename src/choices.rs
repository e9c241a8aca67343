//! Choices as people make them: in files, and of samples that there may not be.
//!
//! A configuration says all choices; what somebody *said* is what was put over another one, and only that can be refused
//! where it has nothing to work on.

use lowbit_frontend::files;
use lowbit_ir::{Error, Result, hardware, memory};
use lowbit_quantize::observe::GLOBAL_SCALE;
use lowbit_quantize::{Config, Observers, Options, Spec};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;
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

/// Who made a choice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "by", rename_all = "kebab-case")]
pub enum Source {
    /// Nobody: it is what measured best.
    Default,
    /// The configuration that a quantized model stores.
    Recipe {
        /// The model's file.
        file: String,
    },
    /// A line of a configuration's file.
    File {
        /// Its path as it was given.
        file: String,
        /// The line, from 1.
        line: usize,
    },
    /// A flag of the command line, as it was given.
    Flag {
        /// It.
        flag: String,
    },
    /// Another choice, which says it for several.
    Choice {
        /// Its key.
        key: String,
    },
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Default => f.write_str("default"),
            Source::Recipe { file } => write!(f, "recipe of {file}"),
            Source::File { file, line } => write!(f, "{file}, line {line}"),
            Source::Flag { flag } => f.write_str(flag),
            Source::Choice { key } => write!(f, "by {key}"),
        }
    }
}

/// A choice in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Choice {
    /// Its dotted path.
    pub key: String,
    /// Its value in TOML.
    pub value: String,
    /// Who made it.
    pub source: Source,
    /// What the device allows of it, where that is less than all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hardware: Option<String>,
}

/// A configuration, and who made its choices.
#[derive(Debug, Clone, Default)]
pub struct Sourced {
    /// The choices; [`Config::check`] is left to whoever has changed all they want.
    pub config: Config,
    sources: BTreeMap<String, Source>,
}

/// What nobody is known to have chosen.
impl From<Config> for Sourced {
    fn from(config: Config) -> Self {
        Sourced { config, sources: BTreeMap::new() }
    }
}

impl Sourced {
    /// What a quantized model stores, whose file this is.
    pub fn of_model(config: Config, file: &str) -> Sourced {
        let usual = Config::default().entries();
        let others = config.entries().into_iter().filter(|entry| !usual.contains(entry));
        let sources = others.map(|(key, _)| (key, Source::Recipe { file: file.into() })).collect();
        Sourced { config, sources }
    }

    /// With the choices of a TOML file in place of its own.
    pub fn file(self, path: &Path) -> Result<Sourced> {
        let text = read(path)?;
        self.text_of_file(&text, path).map_err(|e| e.context(format!("reading '{}'", path.display())))
    }

    /// The same of a file that was read.
    pub fn text_of_file(mut self, text: &str, path: &Path) -> Result<Sourced> {
        let config = self.config.changed_by(text)?;
        let (lines, file) = (Config::lines(text)?, path.display().to_string());
        self.sources.extend(lines.into_iter().map(|(key, line)| (key, Source::File { file: file.clone(), line })));
        Ok(Sourced { config, ..self })
    }

    /// With the choices of a TOML text in place of its own, all of which one made.
    pub fn text(mut self, text: &str, by: &Source) -> Result<Sourced> {
        let config = self.config.changed_by(text)?;
        self.sources.extend(Config::lines(text)?.into_keys().map(|key| (key, by.clone())));
        Ok(Sourced { config, ..self })
    }

    /// With one choice changed, see [`Config::set`], by this flag.
    pub fn set(self, assignment: &str, flag: &str) -> Result<Sourced> {
        self.set_by(assignment, &Source::Flag { flag: flag.into() })
    }

    /// The same by anybody.
    pub fn set_by(mut self, assignment: &str, by: &Source) -> Result<Sourced> {
        let config = self.config.set(assignment)?;
        let keys = Config::assigned(assignment)?;
        self.sources.extend(keys.into_iter().map(|key| (key, by.clone())));
        Ok(Sourced { config, ..self })
    }

    /// What is in force where there is no data, by the flag that says so; an error where a choice needs some.
    pub fn without_data(mut self, flag: &str) -> Result<Sourced> {
        let options = Options { config: self.config.clone(), ..Options::default() };
        let config = lowbit_quantize::without_data(&options)?.0.config;
        let before = self.config.entries();
        let others = config.entries().into_iter().filter(|entry| !before.contains(entry));
        self.sources.extend(others.map(|(key, _)| (key, Source::Flag { flag: flag.into() })));
        Ok(Sourced { config, ..self })
    }

    /// Who made the choice of this key; the default where nobody did.
    pub fn source(&self, key: &str) -> Source {
        if let Some(source) = self.sources.get(key) {
            return source.clone();
        }
        // What is filled in may follow from what others say.
        let (kind, choice) = key.rsplit_once('.').unwrap_or(("", key));
        let said = |key: &str| self.sources.contains_key(key).then(|| Source::Choice { key: key.into() });
        let by = match choice {
            "rounding" if matches!(kind, "input" | "activation") => {
                said("rounding").or_else(|| said("round_for_shift"))
            }
            "narrow" if !kind.is_empty() => said(&format!("{kind}.signed")),
            _ => None,
        };
        by.filter(|_| self.differs(key)).unwrap_or(Source::Default)
    }

    fn differs(&self, key: &str) -> bool {
        let of = |config: &Config| config.entries().into_iter().find(|(k, _)| k == key);
        of(&self.config) != of(&Config::default())
    }

    /// Every choice in force.
    pub fn choices(&self) -> Vec<Choice> {
        let choice = |(key, value): (String, String)| {
            let (source, hardware) = (self.source(&key), limit(&self.config, &key));
            Choice { key, value, source, hardware }
        };
        self.config.entries().into_iter().map(choice).collect()
    }
}

/// What the configuration's device allows of a choice, where that is less than all.
pub(crate) fn limit(config: &Config, key: &str) -> Option<String> {
    let device = hardware::find(&config.hardware).ok()?;
    // What a general processor can do is what there is.
    if device.name == hardware::HOST {
        return None;
    }
    let methods: Vec<&str> = device.methods.iter().map(|m| m.name()).collect();
    let allowed = match key {
        "accumulator_bits" => format!("up to {}", device.accumulator_bits),
        "requantize" => methods.join(" or "),
        "input.bits" | "weight.bits" => format!("up to {}", device.operand_bits),
        "input.per" | "weight.per" if !device.per_channel => "tensor".into(),
        "input.symmetric" | "weight.symmetric" | "activation.symmetric" | "input.signed" if !device.zero_points => {
            "true".into()
        }
        _ => return None,
    };
    Some(format!("{} allows {allowed}", device.name))
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
    fn every_choice_says_who_made_it() {
        let path = std::env::temp_dir().join(format!("lowbit-choices-{}.toml", std::process::id()));
        std::fs::write(&path, "samples = 7\n\n[input]\nbits = 4\n\n[op.\"nn.conv2d\"]\nskip = true\n").unwrap();
        let made = Sourced::default().file(&path).and_then(|made| {
            made.set("rounding=floor", "--set rounding=floor")?
                .set("samples=9", "--samples 9")?
                .set("weight.signed=false", "--set weight.signed=false")
        });
        std::fs::remove_file(&path).unwrap();
        let all = made.unwrap().choices();
        let told =
            |key: &str| all.iter().find(|c| c.key == key).map(|c| format!("{} # {}", c.value, c.source)).unwrap();
        let file = path.display();
        assert_eq!(told("input.bits"), format!("4 # {file}, line 4"));
        assert_eq!(told("op.Conv.skip"), format!("true # {file}, line 7"));
        assert_eq!((told("samples").as_str(), told("equalize").as_str()), ("9 # --samples 9", "true # default"));
        assert_eq!(told("input.rounding"), "\"floor\" # by rounding");
        assert_eq!(
            (told("weight.rounding").as_str(), told("weight.narrow").as_str()),
            ("\"half-even\" # default", "false # by weight.signed")
        );
        assert!(all.iter().all(|c| c.hardware.is_none()));
        let device = Sourced::default().set("hardware=shift-only", "").unwrap().choices();
        let limit = |key: &str| device.iter().find(|c| c.key == key).and_then(|c| c.hardware.clone());
        assert_eq!(limit("requantize").as_deref(), Some("shift-only allows shift"));
        assert_eq!((limit("weight.bits").as_deref(), limit("samples")), (Some("shift-only allows up to 8"), None));
    }

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
