//! Configurations: the choices of a quantization, as keyword arguments, dictionaries, TOML or `key=value`.

use crate::error::During;
use crate::interpreter::entered;
use crate::types::{FilePath, parsed};
use lowbit::choices::{self, Source, Sourced};
use pyo3::exceptions::{PyKeyError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyFloat, PyInt, PyList, PyString, PyTuple};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use toml::{Table, Value};

/// So deep a configuration goes, and some more: `layer.NAME.input.bits`.
const DEPTH: usize = 16;

/// The choices of a quantization.
#[pyclass(frozen, eq, module = "lowbit", from_py_object)]
#[derive(Debug, Clone)]
pub struct Config(pub lowbit::Config, Vec<Said>);

/// What makes a configuration again, and of what: all of it as TOML, and what was said as JSON.
type Pickled = (Py<PyAny>, (String, String));

/// Choices as they were said.
#[derive(Debug, Clone, Serialize, Deserialize)]
enum Said {
    /// As TOML, by a line of a program.
    Toml(String, Line),
    /// As `key=value`, by a line of a program.
    Assignment(String, Line),
    /// By a file of TOML.
    File(String, PathBuf),
}

/// A line of a program.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Line {
    file: String,
    /// From 1.
    line: usize,
}

impl Line {
    /// The innermost line that is not the package's.
    fn here(py: Python<'_>) -> PyResult<Line> {
        let _inside = entered(py);
        let package: String = py.import("lowbit")?.getattr("__file__")?.extract()?;
        let package = Path::new(&package).parent().map(Path::to_path_buf).unwrap_or_default();
        let mut frame = py.import("sys")?.call_method0("_getframe")?;
        loop {
            let file: String = frame.getattr("f_code")?.getattr("co_filename")?.extract()?;
            let back = frame.getattr("f_back")?;
            // A block is entered by way of Python's own library.
            let inner = Path::new(&file).starts_with(&package) || file.ends_with("contextlib.py");
            if !inner || back.is_none() {
                return Ok(Line { file, line: frame.getattr("f_lineno")?.extract()? });
            }
            frame = back;
        }
    }

    fn source(&self) -> Source {
        Source::File { file: self.file.clone(), line: self.line }
    }
}

impl Config {
    /// What was said, over another configuration.
    pub fn over(&self, base: lowbit::Config) -> lowbit::Result<lowbit::Config> {
        self.1.iter().try_fold(base, |config, said| match said {
            Said::Toml(text, _) | Said::File(text, _) => config.changed_by(text),
            Said::Assignment(assignment, _) => config.set(assignment),
        })
    }

    /// It and who made its choices.
    pub fn sourced(&self) -> lowbit::Result<Sourced> {
        let made = self.1.iter().try_fold(Sourced::default(), |sourced, said| match said {
            Said::Toml(text, line) => sourced.text(text, &line.source()),
            Said::Assignment(assignment, line) => sourced.set_by(assignment, &line.source()),
            Said::File(text, path) => sourced.text_of_file(text, path),
        })?;
        // That of a model is what it stores.
        Ok(if self.1.is_empty() { Sourced::from(self.0.clone()) } else { made })
    }

    /// One that says nothing of how it came about.
    pub fn in_force(config: lowbit::Config) -> Config {
        Config(config, Vec::new())
    }

    fn saying(&self, config: lowbit::Config, said: Said) -> Config {
        Config(config, self.1.iter().cloned().chain([said]).collect())
    }
}

/// What is left open and what is said as it would be filled in are the same choice.
impl PartialEq for Config {
    fn eq(&self, other: &Config) -> bool {
        self.0.filled() == other.0.filled()
    }
}

#[pymethods]
impl Config {
    #[new]
    #[pyo3(signature = (**choices))]
    fn new(py: Python<'_>, choices: Option<&Bound<'_, PyDict>>) -> PyResult<Config> {
        Config::in_force(lowbit::Config::default()).changed(py, choices)
    }

    /// Reads a TOML file.
    #[staticmethod]
    fn load(path: FilePath) -> PyResult<Config> {
        let text = choices::read(&path.0).map_err(|e| During::Config.raise(&e))?;
        let config = lowbit::Config::from_toml(&text).map_err(|e| e.context(format!("reading '{}'", path.0.display())));
        let config = config.map_err(|e| During::Config.raise(&e))?;
        Ok(Config::in_force(lowbit::Config::default()).saying(config, Said::File(text, path.0)))
    }

    /// Reads the TOML form.
    #[staticmethod]
    fn from_toml(py: Python<'_>, text: &str) -> PyResult<Config> {
        let config = lowbit::Config::from_toml(text).map_err(|e| During::Config.raise(&e))?;
        Ok(Config::in_force(lowbit::Config::default()).saying(config, Said::Toml(text.into(), Line::here(py)?)))
    }

    /// The TOML form, every choice included.
    fn to_toml(&self) -> PyResult<String> {
        self.0.to_toml().map_err(|e| During::Config.raise(&e))
    }

    /// This configuration with the choices of keyword arguments in place of its own.
    #[pyo3(name = "replace", signature = (**choices))]
    fn changed(&self, py: Python<'_>, choices: Option<&Bound<'_, PyDict>>) -> PyResult<Config> {
        let _inside = entered(py);
        let Some(choices) = choices.filter(|c| !c.is_empty()) else { return Ok(self.clone()) };
        let text = toml::to_string(&table(choices, DEPTH)?).map_err(|e| PyTypeError::new_err(e.to_string()))?;
        let config = self.0.changed_by(&text).map_err(|e| During::Config.raise(&e))?;
        Ok(self.saying(config, Said::Toml(text, Line::here(py)?)))
    }

    /// This configuration with one choice changed, as `input.bits=4` or `layer."conv*".skip=true`.
    fn set(&self, py: Python<'_>, assignment: &str) -> PyResult<Config> {
        let changed = self.0.set(assignment).and_then(|config| config.check().map(|()| config));
        let config = changed.map_err(|e| During::Config.raise(&e))?;
        Ok(self.saying(config, Said::Assignment(assignment.into(), Line::here(py)?)))
    }

    /// Every choice by its dotted key, as TOML has it.
    fn entries(&self) -> Vec<(String, String)> {
        self.0.entries()
    }

    /// Every choice in force, as `lowbit config --json` has it: its key, its value, who made it, and what the device allows
    /// where that is less than all.
    fn choices(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let sourced = self.sourced().map_err(|e| During::Config.raise(&e))?;
        parsed(py, &sourced.choices())
    }

    /// The JSON schema of the TOML form.
    #[staticmethod]
    fn schema(py: Python<'_>) -> PyResult<Py<PyAny>> {
        parsed(py, &lowbit::Config::schema())
    }

    /// The choices that differ from the default.
    fn differing(&self) -> Vec<(String, String)> {
        let usual = lowbit::Config::default().entries();
        self.0.entries().into_iter().filter(|entry| !usual.contains(entry)).collect()
    }

    fn __getitem__<'py>(&self, py: Python<'py>, key: &str) -> PyResult<Bound<'py, PyAny>> {
        let entries = self.0.entries();
        let found = entries.iter().find(|(name, _)| name == key).ok_or_else(|| {
            let near = lowbit::ir::suggest::did_you_mean(key, entries.iter().map(|(name, _)| name.as_str()));
            PyKeyError::new_err(format!("a configuration has no key '{key}'{near}"))
        })?;
        let text = format!("value = {}", found.1);
        let parsed: Table = toml::from_str(&text).map_err(|e| PyTypeError::new_err(e.to_string()))?;
        match parsed.get("value") {
            Some(value) => object(py, value),
            None => Ok(py.None().into_bound(py)),
        }
    }

    fn __repr__(&self) -> String {
        let differing = self.differing();
        let choices: Vec<String> = differing.iter().map(|(key, value)| format!("{key} = {value}")).collect();
        match choices.is_empty() {
            true => "<lowbit.Config: the defaults>".into(),
            false => format!("<lowbit.Config: {}>", choices.join(", ")),
        }
    }

    fn __reduce__(&self, py: Python<'_>) -> PyResult<Pickled> {
        let _inside = entered(py);
        let made = py.get_type::<Config>().getattr("_said")?.unbind();
        // What is open stays so, and so does what nobody said.
        let text = toml::to_string(&self.0).map_err(|e| PyTypeError::new_err(e.to_string()))?;
        let said = serde_json::to_string(&self.1).map_err(|e| PyTypeError::new_err(e.to_string()))?;
        Ok((made, (text, said)))
    }

    /// A configuration and what was said to make it.
    #[staticmethod]
    fn _said(text: &str, said: &str) -> PyResult<Config> {
        let config = lowbit::Config::from_toml(text).map_err(|e| During::Config.raise(&e))?;
        let said = serde_json::from_str(said).map_err(|e| PyTypeError::new_err(e.to_string()))?;
        Ok(Config(config, said))
    }
}

/// A dictionary as a TOML table.
fn table(choices: &Bound<'_, PyDict>, depth: usize) -> PyResult<Table> {
    let mut table = Table::new();
    for (key, choice) in choices {
        let key: String =
            key.extract().map_err(|_| PyTypeError::new_err(format!("expected a key that is text, found {key}")))?;
        if choice.is_none() {
            return Err(PyTypeError::new_err(format!("the choice {key} is None: leave it out, and the default holds")));
        }
        let value = value(&choice, depth)
            .map_err(|e| PyTypeError::new_err(format!("the choice {key}: {}", e.value(choices.py()))))?;
        table.insert(key, value);
    }
    Ok(table)
}

fn value(choice: &Bound<'_, PyAny>, depth: usize) -> PyResult<Value> {
    let Some(depth) = depth.checked_sub(1) else {
        return Err(PyTypeError::new_err(format!(
            "expected up to {DEPTH} dictionaries or lists in one another, found more"
        )));
    };
    // A bool is an int to Python, so it comes first.
    if choice.is_instance_of::<PyBool>() {
        return Ok(Value::Boolean(choice.extract()?));
    }
    if choice.is_instance_of::<PyInt>() {
        return Ok(Value::Integer(choice.extract()?));
    }
    if choice.is_instance_of::<PyFloat>() {
        return Ok(Value::Float(choice.extract()?));
    }
    if choice.is_instance_of::<PyString>() {
        return Ok(Value::String(choice.extract()?));
    }
    if let Ok(inner) = choice.cast::<PyDict>() {
        return Ok(Value::Table(table(inner, depth)?));
    }
    if choice.is_instance_of::<PyList>() || choice.is_instance_of::<PyTuple>() {
        return choice.try_iter()?.map(|item| value(&item?, depth)).collect::<PyResult<_>>().map(Value::Array);
    }
    // numpy's numbers are none of Python's.
    if let Ok(item) = choice.call_method0("item")
        && (item.is_instance_of::<PyInt>() || item.is_instance_of::<PyFloat>())
    {
        return value(&item, depth);
    }
    Err(PyTypeError::new_err(format!("expected a number, text, a list or a dictionary, found {}", choice.get_type())))
}

fn object<'py>(py: Python<'py>, value: &Value) -> PyResult<Bound<'py, PyAny>> {
    Ok(match value {
        Value::Boolean(b) => PyBool::new(py, *b).to_owned().into_any(),
        Value::Integer(i) => i.into_pyobject(py)?.into_any(),
        Value::Float(f) => f.into_pyobject(py)?.into_any(),
        Value::String(s) => s.into_pyobject(py)?.into_any(),
        Value::Array(items) => {
            let items = items.iter().map(|item| object(py, item)).collect::<PyResult<Vec<_>>>()?;
            PyList::new(py, items)?.into_any()
        }
        Value::Table(table) => {
            let dict = PyDict::new(py);
            table.iter().try_for_each(|(key, value)| dict.set_item(key, object(py, value)?))?;
            dict.into_any()
        }
        Value::Datetime(at) => at.to_string().into_pyobject(py)?.into_any(),
    })
}
