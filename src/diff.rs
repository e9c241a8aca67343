//! What changed between two quantized models: operators, types, scales, constants and what stays float, by names.

use crate::explain::granularity;
use crate::left::left_float;
use crate::model::Model;
use lowbit_ir::text::{self, Attr};
use lowbit_ir::{Error, Graph, Node, Op, Quant, Result, Tensor, Type, ValueId};
use serde::Serialize;
use std::collections::BTreeMap;

/// What changed from one model to another.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Diff {
    /// Whether both compute the same, up to the tolerance: nothing of the lists but `notes` has an entry.
    pub same: bool,
    /// Up to which relative change scales and constants count as the same.
    pub tolerance: f64,
    /// How many values of both were compared.
    pub values: usize,
    /// Operators that one of them has, or that do something else.
    pub operators: Vec<Change>,
    /// Values whose element type, range of integers or size is another, or that only one of them quantizes.
    pub types: Vec<Change>,
    /// Values with other scales, or with scales for something else.
    pub scales: Vec<Scale>,
    /// Values with other zero points.
    pub zero_points: Vec<Change>,
    /// Constants that stand for other numbers.
    pub constants: Vec<Constant>,
    /// Nodes that stay float in one of them, or in both for another reason.
    pub islands: Vec<Change>,
    /// What they take and give.
    pub borders: Vec<Change>,
    /// What says how they came about, and changes nothing that they compute but what is listed above: choices of the
    /// configuration, and other metadata.
    pub notes: Vec<Change>,
}

/// Something that one model has and the other has not, or in another way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// Its name.
    pub name: String,
    /// What it is in the first model; none if it is not there.
    pub before: Option<String>,
    /// What it is in the second.
    pub after: Option<String>,
}

/// Scales that changed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Scale {
    /// The value.
    pub name: String,
    /// The greatest scale in the first model.
    pub before: f32,
    /// The greatest scale in the second.
    pub after: f32,
    /// The greatest relative change of one; none where there are other numbers of them.
    pub change: Option<f64>,
    /// How many there are in the first and in the second.
    pub counts: (usize, usize),
}

/// A constant that changed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Constant {
    /// Its name.
    pub name: String,
    /// How many of its elements are other numbers or integers.
    pub elements: usize,
    /// Of how many.
    pub of: usize,
    /// The root of the mean square of the change, relative to the first model's numbers; none where those are all zero.
    pub change: Option<f64>,
}

/// What changed from `a` to `b`. Scales, and constants as the reals they stand for, that change by no more than
/// `tolerance`, relative to `a`, count as the same.
///
/// Values and nodes are matched by the names they have in the files.
///
/// # Errors
///
/// Where one of them is no quantized model, or cannot be realized.
pub fn diff(a: &Model, b: &Model, tolerance: f64) -> Result<Diff> {
    if !(tolerance.is_finite() && tolerance >= 0.0) {
        return Err(Error::new(format!("expected a tolerance from 0, found {tolerance}")));
    }
    for (which, model) in [("first", a), ("second", b)] {
        if !model.is_quantized() {
            return Err(Error::new(format!("expected two quantized models, found a float one as the {which}"))
                .hint("lowbit compare for a float model and a quantized one"));
        }
    }
    let mut found = Diff { tolerance, ..Diff::default() };
    let (g, h) = (a.graph(), b.graph());
    found.operators = changes(&operators(g), &operators(h));
    found.borders = changes(&borders(g), &borders(h));
    values(g, h, &mut found)?;
    found.islands = changes(&islands(a)?, &islands(b)?);
    found.notes = changes(&notes(a)?, &notes(b)?);
    let lists = [&found.operators, &found.types, &found.zero_points, &found.islands, &found.borders];
    found.same = lists.iter().all(|list| list.is_empty()) && found.scales.is_empty() && found.constants.is_empty();
    Ok(found)
}

/// What is in one of two tables, or in both with other texts.
fn changes(a: &BTreeMap<String, String>, b: &BTreeMap<String, String>) -> Vec<Change> {
    let change =
        |name: &String| Change { name: name.clone(), before: a.get(name).cloned(), after: b.get(name).cloned() };
    let only_b = b.keys().filter(|name| !a.contains_key(*name));
    a.keys().chain(only_b).map(change).filter(|c| c.before != c.after).collect()
}

/// What every node does: its operator with attributes, and the names of what it reads.
fn operators(g: &Graph) -> BTreeMap<String, String> {
    let text = |node: &Node| {
        let name = |v: &Option<ValueId>| v.map_or("-".to_string(), |v| g.value(v).name.clone());
        // An operand that is left out at the end is none, however it is written.
        let count = node.inputs.iter().rposition(Option::is_some).map_or(0, |last| last + 1);
        let inputs: Vec<String> = node.inputs[..count].iter().map(name).collect();
        format!("{}({}){}", node.op.name(), inputs.join(", "), attributes(&node.op))
    };
    g.nodes().map(|(_, n)| (n.name.clone(), text(n))).collect()
}

/// The attributes of an operator as the text form has them, with a space before them; nothing if it has none.
fn attributes(op: &Op) -> String {
    let text = |(name, attr): &(&str, Attr)| match attr {
        Attr::Flag => name.to_string(),
        Attr::Token(token) => format!("{name} {token}"),
        Attr::Text(text) => format!("{name} {text:?}"),
        Attr::List(all) => format!("{name} [{}]", all.join(", ")),
    };
    match text::attributes(op).iter().map(text).collect::<Vec<_>>() {
        none if none.is_empty() => String::new(),
        all => format!(" {{{}}}", all.join(", ")),
    }
}

/// What a model takes and gives, in order.
fn borders(g: &Graph) -> BTreeMap<String, String> {
    let named = |what: &str, values: &[ValueId]| {
        let text = |(i, v): (usize, &ValueId)| {
            let ty = g.ty(*v);
            (format!("{what} {i}"), format!("'{}' {}[{}]", g.value(*v).name, ty.dtype, ty.shape))
        };
        values.iter().enumerate().map(text).collect::<Vec<_>>()
    };
    named("input", &g.inputs).into_iter().chain(named("output", &g.outputs)).collect()
}

/// What stays float, and why.
fn islands(model: &Model) -> Result<BTreeMap<String, String>> {
    let (graph, left) = model.lowered()?;
    let line = |l: crate::left::Left| (l.node, format!("{} stays float: {} ({})", l.op, l.reason, l.rule));
    Ok(left_float(&graph, &left).into_iter().map(line).collect())
}

/// The choices of the configuration, and other metadata.
fn notes(model: &Model) -> Result<BTreeMap<String, String>> {
    let mut notes: BTreeMap<String, String> = BTreeMap::new();
    if let Some(config) = model.stored_config()? {
        notes.extend(config.entries().into_iter().map(|(key, value)| (format!("config {key}"), value)));
    }
    let others = model.graph().meta.properties.iter().filter(|(key, _)| *key != crate::model::CONFIG);
    notes.extend(others.map(|(key, value)| (format!("metadata {key}"), shortened(value))));
    Ok(notes)
}

/// A text that is short, and another for another one.
fn shortened(text: &str) -> String {
    const LONGEST: usize = 120;
    match text.chars().count() <= LONGEST {
        true => text.into(),
        false => format!("{} characters, {}", text.chars().count(), crate::recipe::digest_of(text.as_bytes())),
    }
}

/// Compares the values that at least one of the models has.
fn values(g: &Graph, h: &Graph, found: &mut Diff) -> Result<()> {
    let by_name = |g: &Graph| g.values().map(|(v, value)| (value.name.clone(), v)).collect::<BTreeMap<_, _>>();
    let (of_g, of_h) = (by_name(g), by_name(h));
    let told = |g: &Graph, v: Option<&ValueId>| v.map(|v| typed(g.ty(*v)));
    let matters =
        |g: &Graph, v: Option<&ValueId>| v.is_some_and(|v| g.ty(*v).is_quantized() || g.constant(*v).is_some());
    let only_h = of_h.keys().filter(|name| !of_g.contains_key(*name));
    for name in of_g.keys().chain(only_h) {
        let (a, b) = (of_g.get(name), of_h.get(name));
        let change = |before, after| Change { name: name.clone(), before, after };
        let (Some(v), Some(w)) = (a, b) else {
            // A float that only one of them has is some operator's result, which is listed.
            if matters(g, a) || matters(h, b) {
                found.types.push(change(told(g, a), told(h, b)));
            }
            continue;
        };
        found.values += 1;
        let (before, after) = (typed(g.ty(*v)), typed(h.ty(*w)));
        let other_type = before != after;
        if other_type {
            found.types.push(change(Some(before), Some(after)));
        }
        if let (Some(p), Some(q)) = (&g.ty(*v).quant, &h.ty(*w).quant) {
            quants(name, p, q, found);
        }
        if let (Some(s), Some(t)) = (g.constant(*v), h.constant(*w))
            && let Some(changed) = constant(name, s, t, found.tolerance)?
        {
            found.constants.push(changed);
        }
    }
    Ok(())
}

/// The type without its scales: `u8[1x3x8x8] 0..255, one scale`.
fn typed(ty: &Type) -> String {
    let plain = format!("{}[{}]", ty.dtype, ty.shape);
    match &ty.quant {
        None => plain,
        Some(q) => format!("{plain} {}..{}, {}", q.qmin, q.qmax, granularity(q)),
    }
}

fn quants(name: &str, p: &Quant, q: &Quant, found: &mut Diff) {
    let change =
        |(a, b): (&f32, &f32)| (f64::from(*b) - f64::from(*a)).abs() / f64::from(*a).abs().max(f64::MIN_POSITIVE);
    let alike = p.scale.len() == q.scale.len();
    let greatest = p.scale.iter().zip(q.scale.iter()).map(change).fold(0.0, f64::max);
    if !alike || greatest > found.tolerance {
        let most = |q: &Quant| q.scale.iter().copied().fold(0.0, f32::max);
        let counts = (p.scale.len(), q.scale.len());
        let change = alike.then_some(greatest);
        found.scales.push(Scale { name: name.into(), before: most(p), after: most(q), change, counts });
    }
    let points = |q: &Quant| match (q.zero_point.iter().min(), q.zero_point.iter().max()) {
        (Some(least), Some(greatest)) if least == greatest => least.to_string(),
        (Some(least), Some(greatest)) => format!("{least}..{greatest}"),
        _ => "0".into(),
    };
    // One zero point may be said for all channels.
    let all = |q: &Quant, i: usize| q.zero_point.get(i).or(q.zero_point.first()).copied().unwrap_or(0);
    let count = p.zero_point.len().max(q.zero_point.len());
    if (0..count).any(|i| all(p, i) != all(q, i)) {
        found.zero_points.push(Change { name: name.into(), before: Some(points(p)), after: Some(points(q)) });
    }
}

/// How a constant changed, if it did by more than the tolerance.
fn constant(name: &str, s: &Tensor, t: &Tensor, tolerance: f64) -> Result<Option<Constant>> {
    // Another size is another type, which is listed.
    let same = s.ty() == t.ty() && s.bytes() == t.bytes();
    if same || s.dims() != t.dims() {
        return Ok(None);
    }
    let reals = |t: &Tensor| -> Result<Vec<f64>> {
        match t.ty().is_quantized() || t.dtype().is_float() {
            true => Ok(t.reals()?.iter().map(|x| f64::from(*x)).collect()),
            false => Ok(t.ints()?.iter().map(|x| *x as f64).collect()),
        }
    };
    let (a, b) = (reals(s)?, reals(t)?);
    let square = |x: f64| x * x;
    let noise: f64 = a.iter().zip(&b).map(|(x, y)| square(x - y)).sum();
    let signal: f64 = a.iter().copied().map(square).sum();
    let elements = match s.dtype().is_float() || t.dtype().is_float() {
        true => a.iter().zip(&b).filter(|(x, y)| x.to_bits() != y.to_bits()).count(),
        // What other scales make of the same integers, the scales say.
        false => s.ints()?.iter().zip(t.ints()?.iter()).filter(|(x, y)| x != y).count(),
    };
    let change = (signal > 0.0).then(|| (noise / signal).sqrt());
    let beyond =
        elements > 0 && (tolerance == 0.0 || change.is_none_or(|change| change > tolerance || change.is_nan()));
    Ok(beyond.then(|| Constant { name: name.into(), elements, of: a.len(), change }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Config, Quantize};

    fn model(weights: &str, relu: &str) -> Model {
        let text = format!(
            "graph \"g\" {{\n  input %x: f32[Nx2]\n  const %w: f32[2x2] = [{weights}]\n  %y = MatMul(%x, %w)\n{relu}}}\n"
        );
        let samples = vec![vec![Tensor::from_f32(&[1, 2], vec![1.0, -0.5]).unwrap()]];
        let config = Config { refinements: Vec::new(), equalize: false, ..Config::default() };
        let float = Model::from(lowbit_ir::text::parse(&text).unwrap());
        float.quantize(Quantize::default().data(samples).config(config)).unwrap().model
    }

    #[test]
    fn a_weight_an_operator_and_an_output_are_told_apart() {
        let plain = "  output %y\n";
        let a = model("1, 2, -3, 4", plain);
        let same = diff(&a, &model("1, 2, -3, 4", plain), 0.0).unwrap();
        assert!(same.same && same.notes.is_empty() && same.values > 3, "{same:?}");

        // The greatest of each channel stays, and so do the scales.
        let other = diff(&a, &model("1.5, 2, -3, 4", plain), 0.0).unwrap();
        let constants: Vec<_> = other.constants.iter().map(|c| (c.name.as_str(), c.elements, c.of)).collect();
        assert_eq!(constants, [("w.q", 1, 4)]);
        assert!(!other.same && other.scales.is_empty() && other.types.is_empty() && other.operators.is_empty());
        let change = other.constants[0].change.unwrap();
        assert!((0.08..0.1).contains(&change), "0.5 of the root of 30: {change}");
        assert!(diff(&a, &model("1.5, 2, -3, 4", plain), 0.1).unwrap().same);

        let tail = diff(&a, &model("1, 2, -3, 4", "  %z = Relu(%y)\n  output %z\n"), 0.0).unwrap();
        assert!(tail.operators.iter().any(|c| c.name == "z" && c.before.is_none()), "{tail:?}");
        assert_eq!(tail.borders.iter().map(|c| c.name.as_str()).collect::<Vec<_>>(), ["output 0"]);
        assert!(diff(&a, &a, f64::NAN).is_err());
    }
}
