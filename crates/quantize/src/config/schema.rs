//! The JSON schema of the TOML form, made of the tables of keys.

use super::keys::{Key, OF_KIND, OWN, TOP, Takes, described, kind};
use super::spec::LARGEST_BLOCK;
use super::{Config, KINDS};
use crate::observe::{OBSERVERS, WEIGHT_OBSERVERS};
use crate::refine::REFINEMENTS;
use lowbit_arithmetic::Rounding;
use lowbit_ir::text::{OPERATORS, SPELLINGS};
use lowbit_ir::{Kind, hardware};
use serde_json::{Map, Value, json};

/// The schema.
pub fn schema() -> Value {
    // A configuration is made of what JSON can say too.
    let defaults = serde_json::to_value(Config::default().filled()).unwrap_or_default();
    let mut properties: Map<String, Value> = TOP.iter().map(|key| (key.name.into(), top(key, &defaults))).collect();
    for (_, name) in KINDS {
        let says = kind(name).map_or("", |(_, says)| says);
        let reference = format!("#/$defs/{name}");
        properties.insert(name.into(), json!({ "$ref": reference, "description": says, "default": defaults[name] }));
    }
    let mut definitions: Map<String, Value> =
        KINDS.iter().map(|(kind, name)| (name.to_string(), of_kind(*kind, name))).collect();
    definitions.insert("choices".into(), choices());
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Choices of a quantization",
        "description": "A configuration of lowbit: what a file for --config may say. What is left out has its default.",
        "type": "object",
        "additionalProperties": false,
        "properties": properties,
        "$defs": definitions,
    })
}

/// A key of the default.
fn top(key: &Key, defaults: &Value) -> Value {
    match key.name {
        "op" => {
            let names: Vec<&str> =
                OPERATORS.iter().chain(SPELLINGS.iter().flat_map(|(_, others)| *others)).copied().collect();
            json!({
                "description": key.says,
                "type": "object",
                "propertyNames": { "enum": names },
                "additionalProperties": { "$ref": "#/$defs/choices" },
            })
        }
        "layer" => json!({
            "description": key.says,
            "type": "object",
            "additionalProperties": { "$ref": "#/$defs/choices" },
        }),
        name => with(
            takes(&key.takes, name, None),
            &[("description", key.says.into()), ("default", defaults[name].clone())],
        ),
    }
}

/// The keys of a kind.
fn of_kind(of: Kind, name: &str) -> Value {
    let key = |key: &Key| {
        let what = described(&format!("{name}.{}", key.name)).map_or_else(String::new, |(what, _)| what);
        let says = format!("{}: {what}", key.says);
        (key.name.to_string(), with(takes(&key.takes, key.name, Some(of)), &[("description", says.into())]))
    };
    let properties: Map<String, Value> = OF_KIND.iter().map(key).collect();
    json!({ "type": "object", "additionalProperties": false, "properties": properties })
}

/// The keys of an operator or a layer.
fn choices() -> Value {
    let own = OWN.iter().map(|key| {
        (key.name.to_string(), with(takes(&key.takes, key.name, None), &[("description", key.says.into())]))
    });
    let kinds = KINDS.iter().map(|(_, name)| (name.to_string(), json!({ "$ref": format!("#/$defs/{name}") })));
    let properties: Map<String, Value> = own.chain(kinds).collect();
    json!({
        "description": "What an operator or a layer has of its own; what it leaves open is as for all others.",
        "type": "object",
        "additionalProperties": false,
        "properties": properties,
    })
}

/// The values that a key takes.
fn takes(takes: &Takes, name: &str, of: Option<Kind>) -> Value {
    match takes {
        Takes::Count => json!({ "type": "integer", "minimum": 0 }),
        Takes::Bits(_, (least, greatest)) => {
            let greatest = match of {
                Some(Kind::Input | Kind::Weight) => 16,
                Some(Kind::Activation) | None => *greatest,
            };
            json!({ "type": "integer", "minimum": least, "maximum": greatest })
        }
        Takes::Positive => json!({ "type": "number", "exclusiveMinimum": 0 }),
        Takes::Flag => json!({ "type": "boolean" }),
        Takes::Words(words) => json!({ "enum": words }),
        Takes::Sharing => match of {
            Some(Kind::Activation) => json!({ "enum": ["tensor"] }),
            Some(Kind::Input) => json!({ "enum": ["tensor", "channel"] }),
            Some(Kind::Weight) | None => json!({
                "anyOf": [
                    { "enum": ["tensor", "channel"] },
                    { "type": "string", "pattern": "^block\\([0-9]+\\)$" },
                ],
                "examples": ["block(32)"],
                "$comment": format!("Blocks have 1 to {LARGEST_BLOCK} elements."),
            }),
        },
        Takes::Rounding(empty) => {
            let empty: &[&str] = if *empty { &[""] } else { &[] };
            let words: Vec<&str> = empty.iter().copied().chain(Rounding::NAMES).collect();
            json!({ "anyOf": [{ "enum": words }, { "type": "string", "pattern": "^stochastic\\([0-9]+\\)$" }] })
        }
        Takes::Name(_) if name == "hardware" => {
            let names: Vec<&str> = hardware::ALL.iter().map(|h| h.name).collect();
            json!({ "enum": names })
        }
        // A program of the user's may bring its own.
        Takes::Name(_) => {
            let names: Vec<&str> = match of {
                Some(Kind::Weight) => WEIGHT_OBSERVERS.iter().map(|o| o.name).collect(),
                Some(Kind::Input | Kind::Activation) | None => OBSERVERS.iter().map(|o| o.name).collect(),
            };
            json!({ "type": "string", "examples": names })
        }
        Takes::Names(_) => {
            let names: Vec<&str> = REFINEMENTS.iter().map(|r| r.name).collect();
            json!({ "type": "array", "uniqueItems": true, "items": { "type": "string", "examples": names } })
        }
        Takes::Table(_) => json!({ "type": "object" }),
    }
}

/// A schema with more words in it.
fn with(mut schema: Value, more: &[(&str, Value)]) -> Value {
    if let Some(object) = schema.as_object_mut() {
        object.extend(more.iter().map(|(word, value)| (word.to_string(), value.clone())));
    }
    schema
}
