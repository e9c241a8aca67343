//! Keys of the TOML form: merging a text into a configuration, and errors that name the nearest key.

use super::{Config, KINDS, Spec};
use lowbit_ir::suggest::did_you_mean;
use lowbit_ir::{Error, Kind, Result};
use toml::{Table, Value};

/// `config` with the choices of `text` in place of its own.
pub fn merge(config: &Config, text: &str) -> Result<Config> {
    let given: Table = toml::from_str(text).map_err(|e| Error::new(e.to_string()))?;
    check(&given)?;
    let mut all = Table::try_from(config.filled()).map_err(|e| Error::new(e.to_string()))?;
    put(&mut all, given);
    all.try_into().map_err(|e: toml::de::Error| Error::new(e.to_string()))
}

/// `config` with one choice changed: `key=value`, where text needs no quotes.
pub fn set(config: &Config, assignment: &str) -> Result<Config> {
    let doing = |e: Error| e.context(format!("setting '{assignment}'"));
    let expected = || Error::new(format!("expected key=value, found '{assignment}'")).hint("such as input.bits=4");
    let (key, value) = split(assignment).filter(|(key, _)| !key.is_empty()).ok_or_else(expected)?;
    let as_written = format!("{key} = {value}");
    let text = match toml::from_str::<Table>(&as_written) {
        Ok(_) => as_written,
        // What is no number, list or the like is text.
        Err(_) => format!("{key} = {}", Value::String(value.into())),
    };
    merge(config, &text).map_err(doing)
}

/// Every choice as a dotted key and its TOML value: nothing of a table that holds nothing.
pub fn flat(config: &Config) -> Vec<(String, String)> {
    fn walk(at: &str, table: &Table, out: &mut Vec<(String, String)>) {
        let bare = |key: &str| key.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'));
        for (key, value) in table {
            let key = if bare(key) { key.clone() } else { Value::String(key.clone()).to_string() };
            match value {
                Value::Table(inner) => walk(&format!("{at}{key}."), inner, out),
                value => out.push((format!("{at}{key}"), value.to_string())),
            }
        }
    }
    let mut out = Vec::new();
    // A configuration is made of what TOML can say, so there is a table.
    walk("", &Table::try_from(config.filled()).unwrap_or_default(), &mut out);
    out
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

/// Refuses keys that do not exist.
fn check(given: &Table) -> Result<()> {
    for (key, value) in given {
        match (key.as_str(), value) {
            ("op" | "layer", Value::Table(scopes)) => {
                for (name, value) in scopes {
                    let at = if key == "op" { format!("op.{name}.") } else { format!("layer.\"{name}\".") };
                    let Value::Table(choices) = value else {
                        return Err(Error::new(format!("expected choices such as {at}skip = true, found {value}")));
                    };
                    check_choices(choices, &at)?;
                }
            }
            (name, value) => check_one(name, value, "", &top())?,
        }
    }
    Ok(())
}

/// What an operator or a layer has of its own besides the kinds of tensors, and what is in force where it has nothing.
const OWN: [(&str, &str); 2] =
    [("skip", "skip_k_conv and skip_dense"), ("output", "the rule, output where the model ends")];

/// The keys of operators and layers, and what is in force where they say nothing.
pub fn scoped() -> Vec<(String, String)> {
    let kinds = KINDS.map(|(_, name)| (format!("{name}.*"), format!("{name}.*")));
    let own = OWN.map(|(key, otherwise)| (key.to_string(), otherwise.to_string()));
    let keys = || own.iter().chain(&kinds);
    let of_ops = keys().map(|(key, otherwise)| (format!("op.NAME.{key}"), otherwise.clone()));
    let of_layers =
        keys().map(|(key, otherwise)| (format!("layer.\"NAME\".{key}"), format!("op.NAME.{key}, {otherwise}")));
    of_ops.chain(of_layers).collect()
}

fn check_choices(choices: &Table, at: &str) -> Result<()> {
    let kinds = KINDS.iter().map(|(_, name)| name.to_string());
    let known: Vec<String> = kinds.chain(OWN.map(|(key, _)| key.into())).collect();
    choices.iter().try_for_each(|(key, value)| check_one(key, value, at, &known))
}

/// A key that holds a value, or a kind with its own keys.
fn check_one(key: &str, value: &Value, at: &str, known: &[String]) -> Result<()> {
    if !known.iter().any(|k| k == key) {
        return Err(unknown(at, key, known));
    }
    match value {
        Value::Table(kind) => {
            let (known, at) = (keys_of(&Spec::usual(Kind::Input)), format!("{at}{key}."));
            kind.keys().try_for_each(|k| if known.contains(k) { Ok(()) } else { Err(unknown(&at, k, &known)) })
        }
        _ => Ok(()),
    }
}

fn unknown(at: &str, key: &str, known: &[String]) -> Error {
    let all: Vec<String> = known.iter().map(|k| format!("{at}{k}")).collect();
    let key = format!("{at}{key}");
    Error::new(format!("there is no choice '{key}'{}", did_you_mean(&key, &all)))
        .hint(format!("one of {}", all.join(", ")))
}

/// The keys of the whole configuration.
fn top() -> Vec<String> {
    let mut names = keys_of(&Config::default());
    names.extend(["op".into(), "layer".into()]);
    names
}

fn keys_of(of: &impl serde::Serialize) -> Vec<String> {
    Table::try_from(of).map(|t| t.keys().cloned().collect()).unwrap_or_default()
}
