//! Keys of the TOML form: merging a text into a configuration, and errors that name the nearest key.

use super::{Config, KINDS, Per, Spec};
use lowbit_arithmetic::Rounding;
use lowbit_ir::suggest::did_you_mean;
use lowbit_ir::text::canonical;
use lowbit_ir::{Error, Kind, Result};
use std::collections::BTreeMap;
use toml::de::{DeTable, DeValue};
use toml::{Table, Value};

/// `config` with the choices of `text` in place of its own.
pub fn merge(config: &Config, text: &str) -> Result<Config> {
    let mut given: Table = toml::from_str(text).map_err(|e| told(&e))?;
    check(&given)?;
    name_operators(&mut given)?;
    // What it leaves open stays so: what is filled in may depend on what is given.
    let mut all = Table::try_from(config).map_err(|e| Error::new(e.to_string()))?;
    put(&mut all, given);
    all.try_into().map_err(|e| told(&e))
}

/// What is wrong, with the line it is in: as much of it as helps, since a line may be all of a damaged file.
fn told(e: &toml::de::Error) -> Error {
    const WIDTH: usize = 160;
    let line = |line: &str| match line.char_indices().nth(WIDTH) {
        Some((end, _)) => format!("{}...", &line[..end]),
        None => line.to_owned(),
    };
    Error::new(e.to_string().lines().map(line).collect::<Vec<_>>().join("\n"))
}

/// `config` with one choice changed: `key=value`, where text needs no quotes.
pub fn set(config: &Config, assignment: &str) -> Result<Config> {
    let doing = |e: Error| e.context(format!("setting '{assignment}'"));
    merge(config, &text_of(assignment)?).map_err(doing)
}

/// The paths of the choices that `key=value` makes: several, if the value is a table.
pub fn paths(assignment: &str) -> Result<Vec<String>> {
    let mut table: Table = toml::from_str(&text_of(assignment)?).map_err(|e| told(&e))?;
    name_operators(&mut table)?;
    Ok(leaves(&table).into_iter().map(|(path, _)| path).collect())
}

/// `key=value` as TOML.
fn text_of(assignment: &str) -> Result<String> {
    let expected = || Error::new(format!("expected key=value, found '{assignment}'")).hint("such as input.bits=4");
    let (key, value) = split(assignment).filter(|(key, _)| !key.is_empty()).ok_or_else(expected)?;
    let as_written = format!("{key} = {value}");
    Ok(match toml::from_str::<Table>(&as_written) {
        Ok(_) => as_written,
        // What is no number, list or the like is text.
        Err(_) => format!("{key} = {}", Value::String(value.into())),
    })
}

/// Every choice as a dotted key and its TOML value: nothing of a table that holds nothing.
pub fn flat(config: &Config) -> Vec<(String, String)> {
    // A configuration is made of what TOML can say, so there is a table.
    leaves(&Table::try_from(config.filled()).unwrap_or_default())
}

/// Every value of a table by its dotted path.
fn leaves(table: &Table) -> Vec<(String, String)> {
    fn walk(at: &str, table: &Table, out: &mut Vec<(String, String)>) {
        for (key, value) in table {
            let key = key_of(key);
            match value {
                Value::Table(inner) => walk(&format!("{at}{key}."), inner, out),
                value => out.push((format!("{at}{key}"), value.to_string())),
            }
        }
    }
    let mut out = Vec::new();
    walk("", table, &mut out);
    out
}

/// A part of a path, in quotes where TOML wants them.
pub(super) fn key_of(key: &str) -> String {
    let bare = !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'));
    if bare { key.to_string() } else { Value::String(key.into()).to_string() }
}

/// The line of every choice that a text makes, from 1, by its dotted path.
pub fn lines(text: &str) -> Result<BTreeMap<String, usize>> {
    fn walk(at: &str, text: &str, table: &DeTable, out: &mut BTreeMap<String, usize>) {
        for (key, value) in table {
            let name: &str = key.get_ref();
            let name = if at == "op." { canonical(name).unwrap_or(name) } else { name };
            let path = format!("{at}{}", key_of(name));
            match value.get_ref() {
                DeValue::Table(inner) => walk(&format!("{path}."), text, inner, out),
                DeValue::String(_)
                | DeValue::Integer(_)
                | DeValue::Float(_)
                | DeValue::Boolean(_)
                | DeValue::Datetime(_)
                | DeValue::Array(_) => {
                    let before = text.get(..key.span().start).unwrap_or_default();
                    out.insert(path, 1 + before.matches('\n').count());
                }
            }
        }
    }
    let mut out = BTreeMap::new();
    walk("", text, DeTable::parse(text).map_err(|e| told(&e))?.get_ref(), &mut out);
    Ok(out)
}

/// The two sides of the first `=` outside of quotes.
fn split(assignment: &str) -> Option<(&str, &str)> {
    let mut quote = None;
    for (i, c) in assignment.char_indices() {
        match (quote, c) {
            (None, '=') => return Some((assignment[..i].trim(), assignment[i + 1..].trim())),
            (None, '"' | '\'') => quote = Some(c),
            (Some(q), c) if q == c => quote = None,
            (None | Some(_), _) => {}
        }
    }
    None
}

/// Tables are merged key by key, all else is replaced.
fn put(into: &mut Table, from: Table) {
    for (key, value) in from {
        match (into.get_mut(&key), value) {
            (Some(Value::Table(old)), Value::Table(new)) => put(old, new),
            (_, value) => {
                into.insert(key, value);
            }
        }
    }
}

/// Gives operators the names that they have here, whatever their spelling; those that are none keep theirs, which whoever
/// knows the model refuses.
fn name_operators(given: &mut Table) -> Result<()> {
    let Some(Value::Table(ops)) = given.get_mut("op") else { return Ok(()) };
    let mut spelled: BTreeMap<String, String> = BTreeMap::new();
    for (name, choices) in std::mem::take(ops) {
        let ours = canonical(&name).map_or_else(|| name.clone(), String::from);
        if let Some(other) = spelled.insert(ours.clone(), name.clone()) {
            return Err(Error::new(format!(
                "op.{} and op.{} are the same operator, {ours}",
                key_of(&other),
                key_of(&name)
            ))
            .hint("all of its choices under one of the names"));
        }
        ops.insert(ours, choices);
    }
    Ok(())
}

/// Refuses keys that do not exist, and values that they do not take.
fn check(given: &Table) -> Result<()> {
    for (key, value) in given {
        match (key.as_str(), value) {
            ("op" | "layer", Value::Table(scopes)) => {
                for (name, value) in scopes {
                    let at = if key == "op" { format!("op.{}.", key_of(name)) } else { format!("layer.\"{name}\".") };
                    let Value::Table(choices) = value else {
                        return Err(Error::new(format!("expected choices such as {at}skip = true, found {value}")));
                    };
                    // Without quotes a name with a dot is two.
                    let dotted = |part: &String| Some(format!("{name}.{part}")).filter(|n| canonical(n).is_some());
                    if let Some(full) = choices.keys().find_map(dotted).filter(|_| key == "op") {
                        return Err(Error::new(format!("expected quotes around the operator {full}, found op.{full}"))
                            .hint(format!("op.\"{full}\"")));
                    }
                    check_choices(choices, &at)?;
                }
            }
            (name, value) => check_one(name, value, "", &keys_of(&Config::default()), TOP)?,
        }
    }
    Ok(())
}

/// What is in force where an operator or a layer says nothing besides the kinds of tensors.
pub(super) const OTHERWISE: [(&str, &str); 3] =
    [("skip", "skip_k_conv and skip_dense"), ("mode", "mode"), ("output", "the rule, output where the model ends")];

/// The keys of operators and layers, and what is in force where they say nothing.
pub fn scoped() -> Vec<(String, String)> {
    let kinds = KINDS.map(|(_, name)| (format!("{name}.*"), format!("{name}.*")));
    let own = OTHERWISE.map(|(key, otherwise)| (key.to_string(), otherwise.to_string()));
    let keys = || own.iter().chain(&kinds);
    let of_ops = keys().map(|(key, otherwise)| (format!("op.NAME.{key}"), otherwise.clone()));
    let of_layers =
        keys().map(|(key, otherwise)| (format!("layer.\"NAME\".{key}"), format!("op.NAME.{key}, {otherwise}")));
    of_ops.chain(of_layers).collect()
}

fn check_choices(choices: &Table, at: &str) -> Result<()> {
    let kinds = KINDS.iter().map(|(_, name)| name.to_string());
    let known: Vec<String> = kinds.chain(OWN.iter().map(|key| key.name.into())).collect();
    choices.iter().try_for_each(|(key, value)| check_one(key, value, at, &known, OWN))
}

/// A key that holds a value, or a kind with its own keys.
fn check_one(key: &str, value: &Value, at: &str, known: &[String], keys: &[Key]) -> Result<()> {
    if !known.iter().any(|k| k == key) {
        return Err(unknown(at, key, known));
    }
    match value {
        Value::Table(kind) if KINDS.iter().any(|(_, name)| *name == key) => {
            let (known, at) = (keys_of(&Spec::usual(Kind::Input)), format!("{at}{key}."));
            kind.iter().try_for_each(|(k, value)| match known.contains(k) {
                true => check_value(&at, k, value, OF_KIND),
                false => Err(unknown(&at, k, &known)),
            })
        }
        value => check_value(at, key, value, keys),
    }
}

/// What values a key takes.
pub(super) enum Takes {
    /// A whole number from 0.
    Count,
    /// Whole numbers of these, in words, and the least and the greatest of them; which of those, whoever reads the choice
    /// says.
    Bits(&'static str, (u8, u8)),
    /// A number above 0.
    Positive,
    /// True or false.
    Flag,
    /// One of these words.
    Words(&'static [&'static str]),
    /// What shares a scale.
    Sharing,
    /// A rounding; `true` if it may be empty.
    Rounding(bool),
    /// The name of this, which others know.
    Name(&'static str),
    /// A list of names, such as this one.
    Names(&'static str),
    /// A table, as in this example.
    Table(&'static str),
}

/// A key: its last part, what values it takes, and what it says.
pub(super) struct Key {
    pub name: &'static str,
    pub takes: Takes,
    pub says: &'static str,
}

const fn key(name: &'static str, takes: Takes, says: &'static str) -> Key {
    Key { name, takes, says }
}

/// The keys of the default, but for those of the kinds.
pub(super) static TOP: &[Key] = &[
    key("samples", Takes::Count, "how many samples calibration looks at, spread evenly; 0 for all"),
    key("refine_samples", Takes::Count, "how many of those equalization and the corrections look at; 0 for all"),
    key("equalize", Takes::Flag, "whether channels that share a scale are multiplied to fill it"),
    key("refinements", Takes::Names("bias-correction"), "corrections after calibration, in order"),
    key(
        "mode",
        MODE,
        "what is quantized of layers, and when the scales of what they read are found: by calibration, or at every run \
         (dynamic), for integers that are signed with zero in their middle, unless a layer's own input.* say otherwise",
    ),
    key("skip_k_conv", Takes::Count, "so many convolutions stay float, counted from the input"),
    key("skip_dense", Takes::Flag, "whether products with constant matrices stay float"),
    key("global_scale", Takes::Positive, "S of the observer global_scale: b bits have the scale S / 2^(b-1)"),
    key(
        "store_lowbit",
        Takes::Flag,
        "whether values are as narrow in memory as layers read them; else sums join wide ones",
    ),
    key("simulate_only", Takes::Flag, "whether only the calibrated graph is wanted, which computes on floats"),
    key("requantize", Takes::Words(&["float32", "fixed", "shift"]), "how integers move from one scale to another"),
    key("rounding", Takes::Rounding(true), "one rounding for all rescaling; empty: each value's own"),
    key("round_for_shift", Takes::Flag, "whether a shift rounds to the nearest; else it rounds down"),
    key("accumulator_bits", Takes::Bits("16 to 64 bits", (16, 64)), "widest accumulator"),
    key(
        "accumulator_limit",
        Takes::Words(&["float", "error", "widen"]),
        "what becomes of a layer whose sums might not fit it",
    ),
    key("hardware", Takes::Name("the name of a device"), "whose constraints the integers keep (lowbit list hardware)"),
    key(
        "integer_only",
        Takes::Flag,
        "whether anything float in the middle is an error; quantizing what enters and dequantizing what leaves is not, \
         which io says",
    ),
    key(
        "io",
        Takes::Words(&["float", "int8", "uint8", "int16", "uint16"]),
        "what enters and leaves the model; integers are quantized by the caller",
    ),
    key("output", OUTPUT, "what leaves the model: what the last layers computed, or values as narrow as all others"),
    key("op", Takes::Table("choices of operators, such as op.Conv.skip = true"), "choices of an operator's nodes"),
    key("layer", Takes::Table("choices of layers, such as layer.\"conv1*\".skip = true"), "choices of nodes by name"),
];

/// The keys of operators and layers, but for those of the kinds.
pub(super) static OWN: &[Key] = &[
    key("skip", Takes::Flag, "whether it stays float"),
    key("mode", MODE, "what is quantized of it, and when the scale of what it reads is found"),
    key("output", OUTPUT, "what leaves it, to floats behind it or out of the model"),
];

const MODE: Takes = Takes::Words(&["static", "dynamic", "weight-only"]);
const OUTPUT: Takes = Takes::Words(&["wide", "narrow"]);

/// The keys of a kind.
pub(super) static OF_KIND: &[Key] = &[
    key("bits", Takes::Bits("2 to 16 bits, of activation up to 32", (2, 32)), "width"),
    key("signed", Takes::Flag, "whether there are negative integers"),
    key("symmetric", Takes::Flag, "whether the zero point is the middle of the integers"),
    key("narrow", Takes::Flag, "whether signed integers leave out the lowest"),
    key("per", Takes::Sharing, "what shares a scale; by channels of input only depthwise layers are integers"),
    key("scale", Takes::Words(&["float", "power-of-two"]), "which scales are allowed"),
    key("rounding", Takes::Rounding(false), "how floats are rounded to integers"),
    key("observer", Takes::Name("the name of an observer"), "what finds the range (lowbit list observers)"),
];

/// The kinds themselves.
pub(super) fn kind(name: &str) -> Option<(Takes, &'static str)> {
    let says = match KINDS.iter().find(|(_, n)| *n == name)?.0 {
        Kind::Input => "choices of what layers read, and in general of values in memory, such as input.bits = 8",
        Kind::Weight => "choices of constants that layers read, such as weight.bits = 8",
        Kind::Activation => "choices of wide values between a layer and the next input, such as activation.bits = 16",
    };
    Some((Takes::Table(says), says))
}

/// What a key says, and the values it takes: `at` is the path to it.
pub fn described(path: &str) -> Option<(String, &'static str)> {
    let parts: Vec<&str> = path.rsplit('.').collect();
    let of_kind = parts.get(1).is_some_and(|k| kind(k).is_some());
    let table = match (of_kind, path.starts_with("op.") || path.starts_with("layer.")) {
        (true, _) => OF_KIND,
        (false, true) => OWN,
        (false, false) => TOP,
    };
    let found = table.iter().find(|key| key.name == parts[0])?;
    let takes = match (of_kind, parts[0], parts.get(1).copied()) {
        (true, "bits", Some("activation")) => "2 to 32 bits".into(),
        (true, "bits", _) => "2 to 16 bits".into(),
        (true, "per", Some("activation")) => "tensor".into(),
        (true, "per", Some("input")) => "tensor or channel".into(),
        _ => found.takes.what(),
    };
    Some((takes, found.says))
}

impl Takes {
    fn allows(&self, value: &Value) -> bool {
        let word = || value.as_str().unwrap_or_default();
        match self {
            Takes::Count => value.as_integer().is_some_and(|n| n >= 0),
            Takes::Bits(..) => value.as_integer().is_some_and(|n| u8::try_from(n).is_ok()),
            Takes::Positive => value.is_float() || value.is_integer(),
            Takes::Flag => value.is_bool(),
            Takes::Words(words) => words.contains(&word()),
            Takes::Sharing => word().parse::<Per>().is_ok(),
            Takes::Rounding(empty) => word().parse::<Rounding>().is_ok() || *empty && value.as_str() == Some(""),
            Takes::Name(_) => value.is_str(),
            Takes::Names(_) => value.as_array().is_some_and(|all| all.iter().all(Value::is_str)),
            Takes::Table(_) => value.is_table(),
        }
    }

    /// The words that it takes, if it takes words.
    fn words(&self) -> &'static [&'static str] {
        match self {
            Takes::Words(words) => words,
            Takes::Sharing => &["tensor", "channel", "block(32)"],
            Takes::Rounding(_) => &Rounding::NAMES,
            Takes::Count
            | Takes::Bits(..)
            | Takes::Positive
            | Takes::Flag
            | Takes::Name(_)
            | Takes::Names(_)
            | Takes::Table(_) => &[],
        }
    }

    /// In words.
    fn what(&self) -> String {
        match self {
            Takes::Count => "a whole number from 0".into(),
            Takes::Positive => "a number above 0".into(),
            Takes::Flag => "true or false".into(),
            Takes::Bits(what, _) | Takes::Name(what) | Takes::Table(what) => (*what).into(),
            Takes::Names(such) => format!("a list of names, such as [\"{such}\"]"),
            Takes::Words(_) | Takes::Sharing | Takes::Rounding(_) => match self.words() {
                [all @ .., last] => format!("{} or {last}", all.join(", ")),
                [] => String::new(),
            },
        }
    }
}

/// Refuses a value that a key does not take.
fn check_value(at: &str, key: &str, value: &Value, keys: &[Key]) -> Result<()> {
    let of_kind = kind(key).map(|(takes, _)| takes);
    let takes = of_kind.as_ref().or_else(|| Some(&keys.iter().find(|k| k.name == key)?.takes));
    match takes.filter(|takes| !takes.allows(value)) {
        None => Ok(()),
        Some(takes) => {
            let nearest = value.as_str().map(|word| did_you_mean(word, takes.words().iter().copied()));
            let nearest = nearest.filter(|_| !takes.words().is_empty()).unwrap_or_default();
            Err(Error::new(format!("{at}{key} takes {}, found {value}{nearest}", takes.what())))
        }
    }
}

fn unknown(at: &str, key: &str, known: &[String]) -> Error {
    let all: Vec<String> = known.iter().map(|k| format!("{at}{k}")).collect();
    let key = format!("{at}{key}");
    Error::new(format!("there is no choice '{key}'{}", did_you_mean(&key, &all)))
        .hint(format!("one of {}", all.join(", ")))
}

/// The keys of what has a form in TOML.
fn keys_of(of: &impl serde::Serialize) -> Vec<String> {
    Table::try_from(of).map(|t| t.keys().cloned().collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_says_what_it_takes_and_takes_its_default() {
        let top = Table::try_from(Config::default().filled()).unwrap();
        for (name, value) in &top {
            assert!(kind(name).is_some() || TOP.iter().any(|k| k.name == name), "{name}");
            check_value("", name, value, TOP).unwrap();
        }
        assert!(TOP.iter().all(|key| top.contains_key(key.name) && kind(key.name).is_none()));
        let of_kind = Table::try_from(Spec::usual(Kind::Weight)).unwrap();
        of_kind.iter().for_each(|(name, value)| check_value("weight.", name, value, OF_KIND).unwrap());
        assert_eq!(of_kind.len(), OF_KIND.len());
        let all = Config::default().entries().into_iter().chain(scoped());
        let open = |path: &String| path.ends_with(".*");
        for (path, _) in all.filter(|(path, _)| !open(path)) {
            assert!(described(&path).is_some(), "{path}");
        }
    }

    #[test]
    fn an_assignment_names_its_choices() {
        for text in ["input.bits=4", "input . bits = 4", "\"input\".bits=5", "input={bits=4}"] {
            assert_eq!(paths(text).unwrap(), ["input.bits"], "{text}");
        }
        assert_eq!(paths("layer.\"a=b\".skip=true").unwrap(), ["layer.\"a=b\".skip"]);
        assert_eq!(paths("input.observer=percentile(99.9)").unwrap(), ["input.observer"]);
    }

    #[test]
    fn words_are_those_that_are_read() {
        // Of a word that there is not, the reader lists those there are.
        for (key, at) in
            [("requantize", ""), ("accumulator_limit", ""), ("io", ""), ("output", ""), ("scale", "input.")]
        {
            let error = toml::from_str::<Config>(&format!("{at}{key} = '?'")).unwrap_err().to_string();
            let read: Vec<&str> = error.split('`').skip(1).step_by(2).filter(|word| *word != "?").collect();
            let path = format!("{at}{key}");
            let table = if at.is_empty() { TOP } else { OF_KIND };
            let takes = &table.iter().find(|k| k.name == key).unwrap().takes;
            assert_eq!(read, takes.words(), "{path}: {error}");
        }
    }
}
