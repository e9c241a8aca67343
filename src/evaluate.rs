//! Accuracy on labelled data, and agreement with a reference.

use crate::prefetch::Prefetch;
use lowbit_ir::suggest::did_you_mean;
use lowbit_ir::{Dim, Engine, Error, Graph, Result, Tensor};
use serde::Serialize;

/// What was measured.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Evaluation {
    /// Number of samples.
    pub samples: usize,
    /// The output whose elements were taken as the scores of classes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
    /// Why nothing was taken as the scores of classes, so that there is no top-1, no top-5 and no agreement.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub classification: Option<String>,
    /// The outputs that could have been chosen, where there are several and none was.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub candidates: Vec<String>,
    /// Percent of samples whose best class is the label; only with labels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top1: Option<f64>,
    /// Percent of samples whose label is among the best five classes; only with labels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top5: Option<f64>,
    /// Percent of samples whose best class is the reference's; only with a reference.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agreement: Option<f64>,
    /// The reference's own figures, where labels are known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reference: Option<Accuracy>,
    /// The relative error of the output with the scores, or the greatest of all outputs if none has scores; only with a
    /// reference.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub relative_error: Option<f64>,
    /// The outputs of the model, in its order.
    pub outputs: Vec<OutputError>,
}

/// An output, and how far it is from the reference's.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct OutputError {
    /// Its name.
    pub name: String,
    /// Root mean square of the difference to the reference's output, over that of the reference's output, in percent;
    /// only with a reference.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub relative_error: Option<f64>,
}

/// Percent of samples with the right class first, and among the first five.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Accuracy {
    /// First.
    pub top1: f64,
    /// Among five.
    pub top5: f64,
}

#[derive(Default, Clone, Copy)]
struct Counts {
    first: usize,
    five: usize,
}

impl Counts {
    fn add(&mut self, scores: &[f32], label: u32) {
        let best = best(scores, 5);
        self.first += usize::from(best.first() == Some(&(label as usize)));
        self.five += usize::from(best.contains(&(label as usize)));
    }

    fn accuracy(self, samples: usize) -> Accuracy {
        Accuracy { top1: percent(self.first, samples), top5: percent(self.five, samples) }
    }
}

/// The energy of an output and of what differs from it.
#[derive(Default, Clone, Copy)]
struct Energy {
    signal: f64,
    noise: f64,
}

impl Energy {
    fn add(&mut self, expected: &[f32], found: &[f32]) {
        for (a, b) in expected.iter().zip(found) {
            self.signal += f64::from(*a) * f64::from(*a);
            self.noise += f64::from(a - b) * f64::from(a - b);
        }
    }

    fn relative(self) -> f64 {
        if self.signal > 0.0 { 100.0 * (self.noise / self.signal).sqrt() } else { 0.0 }
    }
}

/// Runs a graph (and a reference) over samples.
///
/// Classes are counted in the one output of shape [batch, classes], which may go on with sizes of 1; where several are
/// such, in the one that is named as `output`.
/// If there is none, or several and no name, [`Evaluation::classification`] says so, labels are passed over, and only
/// the errors of the outputs remain.
/// No output that is compared or counted may have a NaN.
pub fn evaluate(
    graph: &Graph,
    reference: Option<&Graph>,
    engine: &dyn Engine,
    data: &Prefetch<'_>,
    output: Option<&str>,
) -> Result<Evaluation> {
    output.map_or(Ok(()), |name| check_output(graph, name))?;
    let names: Vec<&str> = graph.outputs.iter().map(|v| graph.value(*v).name.as_str()).collect();
    let places = reference.map(|r| places(&names, r)).transpose()?;
    let mut run = engine.load(graph, &[])?;
    let mut other = reference.map(|g| engine.load(g, &[])).transpose()?;
    let (mut ours, mut theirs) = (Counts::default(), Counts::default());
    let (mut labels, mut agreed) = (0, 0);
    let mut energies = vec![Energy::default(); names.len()];
    let mut chosen: Option<Scores> = None;
    let samples = data.count();
    for i in 0..samples {
        let sample = data.get(i)?;
        let inputs: Vec<Tensor> = sample.inputs.into_iter().map(|(_, t)| t).collect();
        let name = sample.name;
        let named = |e: Error| e.context(format!("evaluating sample '{name}'"));
        let outputs = run.run(&inputs).map_err(named)?.outputs;
        let scored = match &chosen {
            Some(chosen) => chosen.place(),
            None => chosen.insert(choose(&names, &outputs, output)?).place(),
        };
        let found = |at: usize| numbers(names[at], outputs.get(at)).map_err(named);
        let scores = scored.map(found).transpose()?;
        if let (Some(scores), Some(label)) = (&scores, sample.label) {
            let classes = scores.len();
            if label as usize >= classes {
                return Err(named(
                    Error::new(format!("expected a label below {classes}, the number of classes, found {label}")).hint(
                        "data with the classes of this model; or leave the labels out and compare with a reference",
                    ),
                ));
            }
            labels += 1;
            ours.add(scores, label);
        }
        if let (Some(other), Some(places)) = (&mut other, &places) {
            let named = |e: Error| named(e).context("running the reference");
            let references = other.run(&inputs).map_err(named)?.outputs;
            for (at, place) in places.iter().enumerate() {
                let (found, expected) = (found(at)?, numbers(names[at], references.get(*place)).map_err(named)?);
                if expected.len() != found.len() {
                    let (expected, found, name) = (expected.len(), found.len(), names[at]);
                    let differ =
                        format!("expected {expected} elements of '{name}' as the reference has, found {found}");
                    return Err(named(Error::new(differ).hint("a reference with the same outputs")));
                }
                energies[at].add(&expected, &found);
                if scored == Some(at) {
                    agreed += usize::from(best(&found, 1) == best(&expected, 1));
                    sample.label.into_iter().for_each(|label| theirs.add(&expected, label));
                }
            }
        }
    }
    let (scored, candidates, classification) = match chosen {
        Some(Scores::In(at)) => (Some(at), Vec::new(), None),
        Some(Scores::None { candidates, why }) => (None, candidates, Some(why)),
        None => (None, Vec::new(), None),
    };
    let labelled = labels == samples && scored.is_some();
    let accuracy = labelled.then(|| ours.accuracy(samples));
    let error = |at: usize| reference.map(|_| energies[at].relative());
    let greatest = || (0..names.len()).filter_map(error).reduce(f64::max);
    Ok(Evaluation {
        samples,
        output: scored.map(|at| names[at].to_string()),
        classification,
        candidates: candidates.into_iter().map(|at| names[at].to_string()).collect(),
        top1: accuracy.map(|a| a.top1),
        top5: accuracy.map(|a| a.top5),
        agreement: (reference.is_some() && scored.is_some()).then(|| percent(agreed, samples)),
        reference: (reference.is_some() && labelled).then(|| theirs.accuracy(samples)),
        relative_error: scored.map_or_else(greatest, error),
        outputs: (0..names.len())
            .map(|at| OutputError { name: names[at].to_string(), relative_error: error(at) })
            .collect(),
    })
}

/// Refuses a name that no output has, and an output that cannot hold the scores of classes: for whoever has long work to
/// do before it is evaluated.
pub fn check_output(graph: &Graph, name: &str) -> Result<()> {
    let names = || graph.outputs.iter().map(|v| graph.value(*v).name.as_str());
    let Some(v) = graph.outputs.iter().find(|v| graph.value(**v).name == name) else {
        let near = did_you_mean(name, names());
        return Err(Error::new(format!("no output is named '{name}'{near}"))
            .hint(format!("the outputs are {}", names().collect::<Vec<_>>().join(", "))));
    };
    // Sizes that are open may turn out right; the first is the batch.
    let may_be = match graph.ty(*v).shape.0.as_slice() {
        [_, classes, rest @ ..] => {
            classes.known().is_none_or(|n| n >= 2) && rest.iter().all(|d| Dim::known(d).is_none_or(|n| n == 1))
        }
        _ => false,
    };
    match may_be {
        true => Ok(()),
        false => Err(no_scores(name, &graph.ty(*v).to_string())),
    }
}

fn no_scores(name: &str, found: &str) -> Error {
    Error::new(format!(
        "expected class scores, an output of shape [batch, classes] with 2 classes or more, found {found}"
    ))
    .at_value(name)
    .hint("another output; or none, and only the errors of the outputs are measured")
}

/// Which output of the reference each output is compared with: the one of its name, else the one in its place.
fn places(names: &[&str], reference: &Graph) -> Result<Vec<usize>> {
    let theirs: Vec<&str> = reference.outputs.iter().map(|v| reference.value(*v).name.as_str()).collect();
    let place = |(at, name): (usize, &&str)| match theirs.iter().position(|n| n == name) {
        Some(place) => Ok(place),
        None if theirs.len() == names.len() => Ok(at),
        None => {
            let found =
                format!("expected a reference with the outputs {}, found {}", names.join(", "), theirs.join(", "));
            Err(Error::new(found))
        }
    };
    names.iter().enumerate().map(place).collect()
}

/// Where the scores of one sample's classes are.
enum Scores {
    /// In the output of this place.
    In(usize),
    /// In none, or in any of several.
    None { candidates: Vec<usize>, why: String },
}

impl Scores {
    fn place(&self) -> Option<usize> {
        match self {
            Scores::In(at) => Some(*at),
            Scores::None { .. } => None,
        }
    }
}

fn choose(names: &[&str], outputs: &[Tensor], wanted: Option<&str>) -> Result<Scores> {
    let is_scores = |t: &Tensor| match t.dims() {
        [1, classes, rest @ ..] => *classes >= 2 && rest.iter().all(|d| *d == 1),
        _ => false,
    };
    if let Some(at) = wanted.and_then(|wanted| names.iter().position(|n| *n == wanted)) {
        return match outputs.get(at) {
            Some(t) if is_scores(t) => Ok(Scores::In(at)),
            found => Err(no_scores(names[at], &found.map_or("nothing".into(), |t| t.ty().to_string()))),
        };
    }
    let candidates: Vec<usize> = (0..outputs.len()).filter(|at| is_scores(&outputs[*at])).collect();
    let described = |at: usize| format!("'{}' {}", names[at], outputs[at].ty());
    let why = match candidates.as_slice() {
        [one] => return Ok(Scores::In(*one)),
        [] => format!(
            "no output has the shape [batch, classes] with 2 classes or more: there is {}",
            list((0..outputs.len()).map(described))
        ),
        several => format!(
            "{} outputs have the shape [batch, classes], and none was chosen: {}",
            several.len(),
            list(several.iter().copied().map(described))
        ),
    };
    Ok(Scores::None { candidates, why })
}

/// The first few of a list.
fn list(items: impl ExactSizeIterator<Item = String>) -> String {
    const SHOWN: usize = 4;
    let more = items.len().saturating_sub(SHOWN);
    let shown = items.take(SHOWN).collect::<Vec<_>>().join(", ");
    if more == 0 { shown } else { format!("{shown} and {more} more") }
}

fn numbers(name: &str, output: Option<&Tensor>) -> Result<Vec<f32>> {
    let output = output.ok_or_else(|| Error::new("expected an output, found none").at_value(name))?;
    let numbers = output.reals()?.into_owned();
    match numbers.iter().position(|s| s.is_nan()) {
        Some(at) => {
            Err(Error::new(format!("expected numbers, found NaN (element {at})")).at_value(name).hint("check the data"))
        }
        None => Ok(numbers),
    }
}

/// The classes with the highest scores, best first; the lower number first among equals.
fn best(scores: &[f32], count: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    let by_score = |a: &usize, b: &usize| scores[*b].total_cmp(&scores[*a]).then(a.cmp(b));
    if order.len() > count {
        order.select_nth_unstable_by(count - 1, by_score);
        order.truncate(count);
    }
    order.sort_by(by_score);
    order
}

fn percent(part: usize, whole: usize) -> f64 {
    if whole == 0 { 0.0 } else { 100.0 * part as f64 / whole as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn evaluated(outputs: &str, reference: bool, output: Option<&str>) -> Result<Evaluation> {
        let text = format!("graph \"g\" {{\n  input %x: f32[Nx2x4x4]\n{outputs}}}\n");
        let graph = lowbit_ir::text::parse(&text)?;
        let data = crate::data::Dataset::open("random", &crate::model::inputs_of(&graph), None)?;
        let engine = lowbit_ir::interp::Interpreter::default();
        evaluate(&graph, reference.then_some(&graph), &engine, &Prefetch::new(&data, 3), output)
    }

    const MAP: &str = "  %map = Relu(%x)\n";
    const SCORES: &str = "  %scores = GlobalAvgPool(%x)\n";

    #[test]
    fn one_output_of_classes_is_found_among_others() {
        let found = evaluated(&format!("{MAP}{SCORES}  output %map\n  output %scores\n"), true, None).unwrap();
        assert_eq!((found.output.as_deref(), found.classification), (Some("scores"), None));
        assert_eq!((found.agreement, found.relative_error), (Some(100.0), Some(0.0)));
        let names: Vec<&str> = found.outputs.iter().map(|o| o.name.as_str()).collect();
        assert_eq!((names, found.outputs[0].relative_error), (vec!["map", "scores"], Some(0.0)));
    }

    #[test]
    fn outputs_without_classes_have_errors_only() {
        let found = evaluated(&format!("{MAP}  output %map\n"), true, None).unwrap();
        assert_eq!((found.output, found.agreement, found.relative_error), (None, None, Some(0.0)));
        let why = found.classification.unwrap();
        assert!(
            why.contains("no output has the shape [batch, classes]") && why.contains("'map' f32[1x2x4x4]"),
            "{why}"
        );
        let one = "  %one = ReduceMean(%x) {axes [1, 2, 3], keep_dims}\n  output %one\n";
        let why = evaluated(one, true, None).unwrap().classification.unwrap();
        assert!(why.contains("2 classes or more") && why.contains("f32[1x1x1x1]"), "{why}");
    }

    #[test]
    fn several_outputs_of_classes_are_chosen_from() {
        let two = format!(
            "{SCORES}  %aux = ReduceMax(%x) {{axes [2, 3], keep_dims}}\n{MAP}  output %aux\n  output %scores\n  output %map\n"
        );
        let found = evaluated(&two, true, None).unwrap();
        assert_eq!(
            (found.output, found.agreement, found.candidates),
            (None, None, vec!["aux".into(), "scores".into()])
        );
        assert!(found.classification.unwrap().contains("2 outputs have the shape [batch, classes]"));
        let found = evaluated(&two, true, Some("scores")).unwrap();
        assert_eq!((found.output.as_deref(), found.agreement), (Some("scores"), Some(100.0)));
        let e = evaluated(&two, true, Some("score")).unwrap_err().to_string();
        assert!(
            e.contains("no output is named 'score' (did you mean 'scores'?)") && e.contains("aux, scores, map"),
            "{e}"
        );
        let e = evaluated(&two, true, Some("map")).unwrap_err().to_string();
        assert!(e.contains("expected class scores") && e.contains("'map'"), "{e}");
    }

    #[test]
    fn the_best_classes_come_first_and_ties_go_to_the_lower_number() {
        assert_eq!(best(&[0.1, 0.9, 0.9, 0.5], 1), [1]);
        assert_eq!(best(&[0.1, 0.9, 0.9, 0.5], 3), [1, 2, 3]);
        assert_eq!(best(&[2.0, 1.0], 5), [0, 1]);
    }
}
