//! `lowbit config`: the choices in force, and who made each; or the schema of a configuration's file.

use crate::args::{self, QuantizeChoices};
use crate::output::{Outcome, Paper};
use clap::Args;
use lowbit::choices::{Choice, Sourced};
use lowbit::{Config, Error, Model, Result};
use serde::Serialize;
use std::fmt::Write;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub struct Arguments {
    /// A configuration, a TOML file; or a quantized model, whose recipe it is
    #[arg(value_name = "CONFIG.toml|MODEL.onnx", conflicts_with = "config")]
    from: Option<PathBuf>,

    #[command(flatten)]
    choices: QuantizeChoices,

    /// What is in force where there is no data, as with quantize --no-data
    #[arg(long, conflicts_with = "samples")]
    no_data: bool,

    /// Print the JSON schema of the TOML form
    #[arg(long, conflicts_with_all = ["from", "config", "set", "samples", "io", "no_data"])]
    schema: bool,
}

/// What `--json` gives.
#[derive(Debug, Serialize)]
struct Found<'a> {
    choices: Vec<Choice>,
    config: &'a Config,
}

pub fn run(arguments: &Arguments, paper: &Paper) -> Result<Outcome> {
    if arguments.schema {
        let schema = Config::schema();
        let text =
            serde_json::to_string_pretty(&schema).map_err(|e| Error::new(format!("cannot write as JSON: {e}")))?;
        return Outcome::new(format!("{text}\n"), &schema);
    }
    let made = arguments.choices.over(base(arguments)?)?;
    args::check(&made.config)?;
    let made = if arguments.no_data { made.without_data("--no-data")? } else { made };
    let found = Found { choices: made.choices(), config: &made.config.filled() };
    Outcome::new(text(&found.choices, paper), &found)
}

/// What the flags are put over.
fn base(arguments: &Arguments) -> Result<Sourced> {
    let Some(path) = &arguments.from else { return Ok(Sourced::default()) };
    // A configuration is text: who names a model wants to know what it was made with.
    if path.extension().is_none_or(|e| e != "onnx") {
        return Sourced::default().file(path);
    }
    let model = Model::load(path)?;
    match model.stored_config()? {
        Some(config) => Ok(Sourced::of_model(config, &path.display().to_string())),
        None => Err(Error::new(format!(
            "expected a model that was quantized here, found '{}', which stores no configuration",
            path.display()
        ))
        .hint("the file of a configuration, or a model that lowbit quantize wrote")),
    }
}

/// A configuration's file that says all of it, with a remark behind every line.
fn text(choices: &[Choice], paper: &Paper) -> String {
    let lines: Vec<String> = choices.iter().map(|c| format!("{} = {}", c.key, c.value)).collect();
    let width = lines.iter().map(|line| line.chars().count()).filter(|n| *n <= 48).max().unwrap_or(0);
    let mut out = String::new();
    for (line, choice) in lines.iter().zip(choices) {
        let limit = choice.hardware.as_ref().map_or(String::new(), |limit| format!("; {limit}"));
        let space = " ".repeat(width.saturating_sub(line.chars().count()));
        let _ = writeln!(out, "{line}{space}  {}", paper.dim(&format!("# {}{limit}", choice.source)));
    }
    out
}
