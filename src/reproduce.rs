//! Making a quantized model again by its recipe, and saying whether it is the same to the byte.

use crate::diff::{Diff, diff};
use crate::model::{Model, Quantize, VERSION};
use crate::recipe::{self, Evidence, Recipe};
use lowbit_frontend::{ImportOptions, files};
use lowbit_ir::{Dim, Error, Graph, Result};
use serde::Serialize;
use std::path::Path;

/// What was found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Reproduction {
    /// Whether the file is what its recipe gives, to the byte.
    pub same: bool,
    /// The file's recipe.
    pub recipe: Recipe,
    /// Bytes of the file, and of what was made.
    pub bytes: (usize, usize),
    /// What of the recipe was not the same: the version, the float model, the data.
    pub others: Vec<Other>,
    /// What is different, if something is; from the file to what was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub diff: Option<Diff>,
}

/// An ingredient that is another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Other {
    /// Which.
    pub what: &'static str,
    /// What the recipe says.
    pub expected: String,
    /// What there was.
    pub found: String,
}

/// The recipe of a quantized model.
///
/// # Errors
///
/// Where its file holds none: another tool made it, or a version of lowbit that wrote none.
pub fn recipe(model: &Model) -> Result<Recipe> {
    let recipe = Recipe::of(model.graph())?;
    recipe.filter(|_| model.graph().meta.properties.contains_key(crate::model::CONFIG)).ok_or_else(|| {
        Error::new("expected a model whose file holds the recipe it was quantized by, found one that holds none")
            .hint("a model that lowbit quantize wrote")
    })
}

/// The sizes that the quantized model has for inputs which the float one leaves open: those that were given when it was
/// quantized, to be given again.
pub fn shapes(quantized: &Graph, source: &Graph) -> Vec<(String, Vec<usize>)> {
    let sizes = |g: &Graph, v| g.ty(v).shape.0.iter().map(Dim::known).collect::<Option<Vec<usize>>>();
    let same_name = |name: &str| quantized.inputs.iter().copied().find(|v| quantized.value(*v).name == name);
    let given = |v: &lowbit_ir::ValueId| {
        let name = source.value(*v).name.clone();
        let found = sizes(quantized, same_name(&name)?)?;
        sizes(source, *v).is_none().then_some((name, found))
    };
    source.inputs.iter().filter_map(given).collect()
}

/// Quantizes `source` by the recipe of the model in the file `path`, from the data or the statistics that `how` gives, and
/// compares. The configuration is that of the file; threads, instruction set and memory are whatever `how` and this
/// machine have, and have no say in the result.
///
/// # Errors
///
/// Where the file holds no recipe, where functions of the user's had a say that are not here, and where quantizing fails.
pub fn reproduce(path: impl AsRef<Path>, source: &Model, how: Quantize<'_>) -> Result<Reproduction> {
    let path = path.as_ref();
    let bytes = files::read(path).map_err(|e| e.context(format!("reading '{}'", path.display())))?;
    let model = Model::load_within(path, &[], source.max_memory())?;
    let wanted = recipe(&model)?;
    let how = how.config(model.config()?);
    let own = source.own(&how);
    if let Some(missing) = wanted.own.iter().find(|name| !own.contains(name)) {
        return Err(Error::new(format!("the model was quantized with {missing}, which a file cannot hold"))
            .hint("reproduce it in a program that gives it: lowbit::reproduce::reproduce"));
    }
    let made = source.quantize(how)?.model;
    let again = made.to_onnx()?;
    let same = again == bytes;
    let found = recipe(&made)?;
    let diff = match same {
        true => None,
        // Read again, so that both are what a file says.
        false => {
            let options = ImportOptions { max_memory: source.max_memory(), ..ImportOptions::default() };
            let read = lowbit_frontend::load_bytes(again.clone().into(), None, &options)?;
            Some(diff(&model, &made.with_graph(read), 0.0)?)
        }
    };
    Ok(Reproduction { same, bytes: (bytes.len(), again.len()), others: others(&wanted, &found), recipe: wanted, diff })
}

/// What of the recipe was not the same.
fn others(wanted: &Recipe, found: &Recipe) -> Vec<Other> {
    let evidence = |e: &Evidence| match e {
        Evidence::Data { samples, sha256 } => format!("{samples} samples with the digest {sha256}"),
        Evidence::Statistics { samples, sha256 } => format!("statistics of {samples} samples with the digest {sha256}"),
        Evidence::Nothing => "no data".into(),
    };
    let all = [
        ("version of lowbit", wanted.lowbit.clone(), VERSION.to_string()),
        ("float model", wanted.model.clone(), found.model.clone()),
        ("data", evidence(&wanted.evidence), evidence(&found.evidence)),
        ("functions", wanted.own.join(", "), found.own.join(", ")),
    ];
    let other = |(what, expected, found): (&'static str, String, String)| Other { what, expected, found };
    all.into_iter().filter(|(_, expected, found)| expected != found).map(other).collect()
}

/// What must be given to make a model again, in the words of whoever asks: of data, of statistics, of nothing.
pub fn check_evidence(wanted: &Recipe, given: &'static str, words: [&'static str; 3]) -> Result<()> {
    let [data, statistics, nothing] = words;
    let (expected, of) = match &wanted.evidence {
        Evidence::Data { samples, .. } => (data, format!("{samples} samples")),
        Evidence::Statistics { samples, .. } => (statistics, format!("statistics of {samples} samples")),
        Evidence::Nothing => (nothing, "no data".into()),
    };
    match given == expected {
        true => Ok(()),
        false => Err(Error::new(format!("expected {expected}, found {given}: the model was quantized from {of}"))
            .hint("what it was quantized with")),
    }
}

/// The float model of a quantized one: what `load` gives, with the sizes that were given for it.
pub fn source(quantized: &Model, load: impl Fn(Vec<(String, Vec<usize>)>) -> Result<Model>) -> Result<Model> {
    let open = load(Vec::new())?;
    let shapes = shapes(quantized.graph(), open.graph());
    let source = if shapes.is_empty() { open } else { load(shapes)? };
    check_float(&source)?;
    Ok(source)
}

/// Refuses a quantized model where the float one is wanted.
pub fn check_float(source: &Model) -> Result<()> {
    match source.is_quantized() {
        false => Ok(()),
        true => Err(Error::new("expected the float model that was quantized, found a quantized one")
            .hint("the model that was given to be quantized")),
    }
}

/// Whether a float model is the one of a recipe, for whoever wants to know before the long work.
pub fn is_source(recipe: &Recipe, source: &Model) -> bool {
    recipe.model == recipe::digest(source.graph())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Rules, Spec, Tensor};
    use lowbit_quantize::Decision;

    #[test]
    fn functions_of_the_users_are_asked_for() {
        let text = "graph \"g\" {\n  input %x: f32[Nx2]\n  const %w: f32[2x2] = [1, 2, -3, 4]\n  %y = MatMul(%x, %w)\n  output %y\n}\n";
        let source = Model::from(lowbit_ir::text::parse(text).unwrap());
        let samples = || vec![vec![Tensor::from_f32(&[1, 2], vec![1.0, -0.5]).unwrap()]];
        let rules = || {
            Rules::standard().override_op_by("MatMul", "narrow", |call, cx| -> Result<Decision> {
                let x = cx.simulate_input(call.data()?)?;
                let w = cx.simulate(call.weight()?, lowbit_ir::Kind::Weight, Spec::bits(4))?;
                cx.keep(call, [x, w])
            })
        };
        let path = std::env::temp_dir().join(format!("lowbit-reproduce-{}.onnx", std::process::id()));
        let made = source.quantize(Quantize::default().data(samples()).rules(rules())).unwrap();
        made.save(&path).unwrap();
        let missing = reproduce(&path, &source, Quantize::default().data(samples())).unwrap_err().to_string();
        let found = reproduce(&path, &source, Quantize::default().data(samples()).rules(rules())).unwrap();
        let other = reproduce(&path, &source, Quantize::default().without_data().rules(rules()));
        std::fs::remove_file(&path).unwrap();
        assert!(missing.contains("quantized with the rule 'override MatMul (narrow)'"), "{missing}");
        assert!(found.same && found.others.is_empty() && found.diff.is_none(), "{found:?}");
        // What the rule asked for is told as its own.
        let told = crate::explain::explain(&made.model, &Default::default()).unwrap();
        let bits =
            told.tensors.iter().find(|t| t.name == "w").and_then(|t| t.choices.iter().find(|c| c.name == "bits"));
        let bits = bits.map(|c| (c.value.as_str(), c.by.as_str(), c.source.as_str()));
        assert_eq!(bits, Some(("4", "the rule's weight.bits", "")));
        let other = other.unwrap();
        assert_eq!((other.same, other.others.iter().map(|o| o.what).collect::<Vec<_>>()), (false, vec!["data"]));
    }
}
