//! Accuracy on labelled data, and agreement with a reference.

use crate::prefetch::Prefetch;
use lowbit_ir::{Engine, Error, Graph, Result, Tensor};
use serde::Serialize;

/// What was measured.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Evaluation {
    /// Number of samples.
    pub samples: usize,
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
    /// Root mean square of the difference of the first output to the reference's, over that of the reference's output,
    /// in percent; only with a reference.
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

/// Runs a graph (and a reference) over samples.
///
/// The first output is taken as class scores, of which none may be NaN; where it has one element a class prediction makes no sense, and only
/// `relative_error` is given.
pub fn evaluate(
    graph: &Graph,
    reference: Option<&Graph>,
    engine: &dyn Engine,
    data: &Prefetch<'_>,
) -> Result<Evaluation> {
    let mut run = engine.load(graph, &[])?;
    let mut other = reference.map(|g| engine.load(g, &[])).transpose()?;
    let (mut ours, mut theirs) = (Counts::default(), Counts::default());
    let (mut labels, mut agreed, mut classes) = (0, 0, 0);
    let (mut signal, mut noise) = (0.0f64, 0.0f64);
    let samples = data.count();
    for i in 0..samples {
        let sample = data.get(i)?;
        let inputs: Vec<Tensor> = sample.inputs.into_iter().map(|(_, t)| t).collect();
        let name = sample.name;
        let named = |e: Error| e.context(format!("evaluating sample '{name}'"));
        let scores = scores(&run.run(&inputs).map_err(named)?.outputs).map_err(named)?;
        classes = scores.len();
        if let Some(label) = sample.label {
            if classes > 1 && label as usize >= classes {
                return Err(named(
                    Error::new(format!("expected a label below {classes}, the number of classes, found {label}")).hint(
                        "data with the classes of this model; or leave the labels out and compare with a reference",
                    ),
                ));
            }
            labels += 1;
            ours.add(&scores, label);
        }
        if let Some(other) = &mut other {
            let outputs = other.run(&inputs).map_err(|e| named(e).context("running the reference"))?.outputs;
            let expected = self::scores(&outputs).map_err(|e| named(e).context("running the reference"))?;
            if expected.len() != scores.len() {
                let found = format!("expected {} scores as the reference has, found {}", expected.len(), scores.len());
                return Err(named(Error::new(found).hint("a reference with the same outputs")));
            }
            agreed += usize::from(best(&scores, 1) == best(&expected, 1));
            for (a, b) in expected.iter().zip(&scores) {
                signal += f64::from(*a) * f64::from(*a);
                noise += f64::from(a - b) * f64::from(a - b);
            }
            if let Some(label) = sample.label {
                theirs.add(&expected, label);
            }
        }
    }
    let labelled = labels == samples && classes > 1;
    let accuracy = labelled.then(|| ours.accuracy(samples));
    Ok(Evaluation {
        samples,
        top1: accuracy.map(|a| a.top1),
        top5: accuracy.map(|a| a.top5),
        agreement: (reference.is_some() && classes > 1).then(|| percent(agreed, samples)),
        reference: (reference.is_some() && labelled).then(|| theirs.accuracy(samples)),
        relative_error: reference.map(|_| if signal > 0.0 { 100.0 * (noise / signal).sqrt() } else { 0.0 }),
    })
}

fn scores(outputs: &[Tensor]) -> Result<Vec<f32>> {
    let first = outputs.first().ok_or_else(|| Error::new("expected a model with outputs, found none"))?;
    let scores = first.reals()?.into_owned();
    match scores.iter().position(|s| s.is_nan()) {
        Some(at) => Err(Error::new(format!("expected scores, found NaN (element {at})")).hint("check the data")),
        None => Ok(scores),
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

    #[test]
    fn the_best_classes_come_first_and_ties_go_to_the_lower_number() {
        assert_eq!(best(&[0.1, 0.9, 0.9, 0.5], 1), [1]);
        assert_eq!(best(&[0.1, 0.9, 0.9, 0.5], 3), [1, 2, 3]);
        assert_eq!(best(&[2.0, 1.0], 5), [0, 1]);
    }
}
