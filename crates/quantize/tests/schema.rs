//! The JSON schema of configurations against the reader: what one takes the other takes, as far as a schema can know.

use lowbit_quantize::Config;
use serde_json::Value;
use std::path::Path;

/// Why a value is not what a schema asks; nothing if it is. Of JSON Schema it knows the words that ours uses, and a word
/// that it does not know is a panic, so that none is passed over.
fn wrong(schema: &Value, root: &Value, value: &Value) -> Option<String> {
    let words = schema.as_object().expect("a schema is an object");
    let of = |word: &str| words.get(word);
    let same_or_more = |x: f64, y: &Value| x >= y.as_f64().unwrap();
    for (word, asks) in words {
        let fits = match word.as_str() {
            "$schema" | "$comment" | "$defs" | "title" | "description" | "default" | "examples" => true,
            "$ref" => {
                let path = asks.as_str().unwrap().strip_prefix('#').unwrap();
                if let Some(why) = wrong(root.pointer(path).expect("the reference leads somewhere"), root, value) {
                    return Some(why);
                }
                true
            }
            "type" => match asks.as_str().unwrap() {
                "object" => value.is_object(),
                "array" => value.is_array(),
                "string" => value.is_string(),
                "boolean" => value.is_boolean(),
                "number" => value.is_number(),
                "integer" => value.is_i64() || value.is_u64(),
                other => panic!("the type {other}"),
            },
            "enum" => asks.as_array().unwrap().contains(value),
            "anyOf" => asks.as_array().unwrap().iter().any(|s| wrong(s, root, value).is_none()),
            "minimum" => value.as_f64().is_none_or(|x| same_or_more(x, asks)),
            "maximum" => value.as_f64().is_none_or(|x| x <= asks.as_f64().unwrap()),
            "exclusiveMinimum" => value.as_f64().is_none_or(|x| x > asks.as_f64().unwrap()),
            "uniqueItems" => value.as_array().is_none_or(|all| (1..all.len()).all(|i| !all[..i].contains(&all[i]))),
            // Ours are a word with a number in brackets.
            "pattern" => value.as_str().is_none_or(|text| {
                let name = asks.as_str().unwrap().strip_prefix('^').unwrap().strip_suffix("\\([0-9]+\\)$").unwrap();
                let number = text.strip_prefix(name).and_then(|t| t.strip_prefix('(')?.strip_suffix(')'));
                number.is_some_and(|n| !n.is_empty() && n.chars().all(|c| c.is_ascii_digit()))
            }),
            "items" => value.as_array().is_none_or(|all| all.iter().all(|v| wrong(asks, root, v).is_none())),
            "propertyNames" => {
                value.as_object().is_none_or(|o| o.keys().all(|k| wrong(asks, root, &k.as_str().into()).is_none()))
            }
            "properties" | "additionalProperties" => {
                let Some(object) = value.as_object() else { continue };
                for (key, inner) in object {
                    let own = of("properties").and_then(|p| p.get(key));
                    let asks = own.or(of("additionalProperties")).unwrap_or(&Value::Bool(true));
                    match asks {
                        Value::Bool(true) => {}
                        Value::Bool(false) => return Some(format!("'{key}' is no key")),
                        asks => {
                            if let Some(why) = wrong(asks, root, inner) {
                                return Some(format!("{key}: {why}"));
                            }
                        }
                    }
                }
                true
            }
            other => panic!("the word {other}"),
        };
        if !fits {
            return Some(format!("{value} is not {word} {asks}"));
        }
    }
    None
}

/// Whether the schema takes a TOML text.
fn takes(text: &str) -> Result<(), String> {
    let schema = Config::schema();
    let value: toml::Table = toml::from_str(text).map_err(|e| e.to_string())?;
    let value = serde_json::to_value(value).unwrap();
    wrong(&schema, &schema, &value).map_or(Ok(()), Err)
}

#[test]
fn what_the_reader_takes_the_schema_takes() {
    for text in [
        "",
        &Config::default().to_toml().unwrap(),
        "samples = 0\nrefinements = []\nglobal_scale = 4\naccumulator_bits = 64",
        "rounding = 'floor'\ninput.rounding = 'stochastic(7)'",
        "weight.per = 'block(32)'\ninput.per = 'channel'\nactivation.bits = 32",
        "[op.Conv]\nskip = true\nweight.bits = 4\n[op.'nn.dense']\noutput = 'narrow'\ninput.observer = 'percentile(99.9)'",
        "[layer.'any name*'.weight]\nper = 'tensor'\nscale = 'power-of-two'",
        "hardware = 'integer-only'\nrequantize = 'fixed'\nio = 'int8'\ninteger_only = true",
    ] {
        takes(text).unwrap_or_else(|why| panic!("{text}: {why}"));
    }
}

#[test]
fn what_the_reader_refuses_by_key_or_value_the_schema_refuses() {
    for text in [
        "sample = 3",
        "samples = -3",
        "samples = 1.5",
        "samples = 'many'",
        "input.bit = 8",
        "input.bits = 17",
        "weight.bits = 1",
        "activation.bits = 33",
        "input = 8",
        "accumulator_bits = 8",
        "accumulator_bits = 65",
        "global_scale = 0.0",
        "global_scale = -1",
        "equalize = 1",
        "requantize = 'fixd'",
        "rounding = 'up'",
        "input.rounding = ''",
        "io = 'int9'",
        "output = 'narow'",
        "hardware = 'gpu'",
        "input.per = 'block(3)'",
        "activation.per = 'channel'",
        "weight.per = 'chanel'",
        "weight.per = 'block()'",
        "refinements = 'bias-correction'",
        "refinements = ['bias-correction', 'bias-correction']",
        "op = 8",
        "op.Conv = true",
        "op.Conv.skipped = true",
        "op.Convv.skip = true",
        "op.Conv.samples = 3",
        "layer.'a*'.skip = 'yes'",
        "layer.'a*'.weight.obserfer = 'max'",
    ] {
        assert!(takes(text).is_err(), "the schema takes {text}");
        let read = Config::from_toml(text).and_then(|config| {
            let options = lowbit_quantize::Options { config, ..Default::default() };
            options.check()
        });
        // Which operators there are is asked when there is a model.
        assert!(read.is_err() || text.contains("Convv"), "the reader takes {text}");
    }
}

#[test]
fn every_key_is_documented() {
    fn check(at: &str, schema: &Value) {
        for (key, inner) in schema["properties"].as_object().into_iter().flatten() {
            let path = format!("{at}{key}");
            let reference = inner["$ref"].as_str().is_some();
            assert!(reference || inner["description"].as_str().is_some_and(|d| d.len() > 8), "{path}: {inner}");
            check(&format!("{path}."), inner);
        }
    }
    let schema = Config::schema();
    check("", &schema);
    for (name, definition) in schema["$defs"].as_object().unwrap() {
        check(&format!("{name}."), definition);
    }
    // Every key there is, and no other.
    let keys = |toml: &str| toml::from_str::<toml::Table>(toml).unwrap().keys().cloned().collect::<Vec<_>>();
    let mut known = keys(&Config::default().to_toml().unwrap());
    let mut listed: Vec<String> = schema["properties"].as_object().unwrap().keys().cloned().collect();
    known.sort();
    listed.sort();
    assert_eq!(listed, known);
}

/// The configurations that the documents show.
#[test]
fn the_documents_show_what_the_schema_takes() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let documents = ["README.md", "docs/python.md", "docs/arithmetic.md", "docs/accuracy.md", "docs/performance.md"];
    let mut shown = 0;
    for document in documents {
        let text = std::fs::read_to_string(root.join(document)).unwrap();
        for block in text.split("```toml\n").skip(1) {
            let block = block.split("```").next().unwrap();
            takes(block).unwrap_or_else(|why| panic!("{document}: {why}\n{block}"));
            Config::from_toml(block).unwrap();
            shown += 1;
        }
    }
    assert!(shown > 0, "README.md shows a configuration");
}
