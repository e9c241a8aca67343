//! Two models, layer by layer: how far apart they are, and which layer is to blame.

use crate::model::Model;
use lowbit_ir::{Engine, Error, Graph, Result};
use lowbit_quantize::analysis::{self, Form, NotFinite, Parts, TensorError, ValueError};
use lowbit_quantize::{Samples, samples::spread};
use serde::Serialize;
use std::collections::HashMap;
use std::str::FromStr;

/// What was found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// How many samples both ran on.
    pub samples: usize,
    /// Whether each layer was also measured by itself: an integer model was compared with one that computes on floats.
    pub isolated: bool,
    /// What was compared: every value that both models know by name.
    pub layers: Vec<Layer>,
    /// What quantizing does to each tensor by itself, in the order of the reference: what enters it, weights and values of
    /// up to 16 bits; of a value that is quantized in several ways the one that has its name. Empty unless each layer was
    /// measured by itself and the reference is a float model.
    pub tensors: Vec<TensorError>,
    /// Quantized weights that are not among these, as the reference has no floats of their sizes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unmatched: Vec<String>,
    /// Values that only the reference computes.
    pub only_reference: usize,
    /// Values that only the other model computes, such as the accumulators of integer layers.
    pub only_other: usize,
    /// The first value of either model that is not finite: what is said of it, and of what follows, is no number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_finite: Option<NotFinite>,
}

/// A layer, or another operator whose result both models know.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Layer {
    /// Its place in the order of the reference.
    pub order: usize,
    /// Name of the node in the reference.
    pub node: String,
    /// Its operator.
    pub op: String,
    /// Whether it multiplies and accumulates.
    pub layer: bool,
    /// The value that was compared: the node's result, or of a layer that of the activation in its kernel.
    pub value: String,
    /// Both models as they run: with the errors of all layers before.
    pub cumulative: Errors,
    /// The layer by itself, from the reference's inputs as the other model quantizes them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub isolated: Option<Errors>,
}

/// How far a value is from the reference's over all samples.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Errors {
    /// Signal to noise, in decibels; infinite without noise, which JSON has as null.
    pub sqnr_db: f64,
    /// Cosine of the angle between the two.
    pub cosine: f64,
    /// Greatest difference of an element.
    pub max_error: f64,
    /// The same in steps of the other model's integers; none for floats and accumulators.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_steps: Option<u64>,
    /// Mean squared error, in squared units of the value.
    pub mse: f64,
    /// The same in two parts that add up to it: of elements that are beyond the other model's integers in the reference,
    /// and of all others, whose error is what rounding here and everything before it left. None where nothing is
    /// quantized, or where the reference is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parts: Option<Parts>,
}

/// What decides which layer comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sort {
    /// The least signal to noise first.
    Sqnr,
    /// The least cosine first.
    Cosine,
    /// The greatest difference first.
    Error,
    /// The order of the reference.
    Order,
}

impl FromStr for Sort {
    type Err = Error;

    fn from_str(text: &str) -> Result<Sort> {
        Ok(match text {
            "sqnr" => Sort::Sqnr,
            "cosine" => Sort::Cosine,
            "error" => Sort::Error,
            "order" => Sort::Order,
            other => {
                return Err(Error::new(format!("expected sqnr, cosine, error or order, found '{other}'")));
            }
        })
    }
}

/// Whether `other` is what the reference should be: the float one of a float and a quantized model.
pub fn is_swapped(reference: &Model, other: &Model) -> bool {
    reference.is_quantized() && !other.is_quantized()
}

/// Compares a model with a reference, value by value, on up to `limit` samples (0: all).
///
/// Values go by name, integers are compared as the reals they stand for, and recorded factors of equalization are undone.
/// A quantized model is also compared layer by layer in isolation, if the reference computes on floats: a float model, or
/// [`Model::simulated`].
pub fn compare(
    reference: &Model,
    other: &Model,
    engine: &dyn Engine,
    data: &dyn Samples,
    limit: usize,
) -> Result<Comparison> {
    compare_graphs(&reference.lowered()?.0, &other.lowered()?.0, engine, data, limit)
}

/// As [`compare`], of graphs as [`Model::lowered`] gives them.
pub fn compare_graphs(
    reference: &Graph,
    other: &Graph,
    engine: &dyn Engine,
    data: &dyn Samples,
    limit: usize,
) -> Result<Comparison> {
    let isolated = analysis::form(reference) != Form::Integer && analysis::form(reference) < analysis::form(other);
    let found = analysis::measure(reference, other, engine, data, limit, isolated)?;
    if found.cumulative.is_empty() {
        return Err(Error::new(format!(
            "expected values of the same name in both models, found none: {} in the reference, {} in the other",
            found.only_reference, found.only_other
        ))
        .hint("a quantized model and the float file it was made from, or two files of one exporter; another exporter or optimizer renames values"));
    }
    let by_value: HashMap<String, (String, String)> = analysis::of_layers(reference, &found.cumulative)
        .into_iter()
        .map(|layer| (layer.value, (layer.node, layer.op)))
        .collect();
    let describe = |(order, e): (usize, &ValueError)| {
        let producer = reference.find(&e.value).and_then(|v| reference.producer(v));
        let (node, op) = match by_value.get(&e.value) {
            Some((node, op)) => (node.clone(), op.clone()),
            None => (producer.map_or_else(String::new, |n| reference.node(n).name.clone()), e.op.clone()),
        };
        Layer {
            order,
            node,
            op,
            layer: by_value.contains_key(&e.value),
            value: e.value.clone(),
            cumulative: Errors::of(e),
            isolated: found.isolated.get(order).map(Errors::of),
        }
    };
    Ok(Comparison {
        samples: spread(data.len(), limit).count(),
        isolated,
        layers: found.cumulative.iter().enumerate().map(describe).collect(),
        tensors: found.tensors,
        unmatched: found.unmatched,
        only_reference: found.only_reference,
        only_other: found.only_other,
        not_finite: found.not_finite,
    })
}

impl Errors {
    fn of(e: &ValueError) -> Errors {
        Errors {
            sqnr_db: e.sqnr_db,
            cosine: e.cosine,
            max_error: e.max_error,
            max_steps: e.max_steps,
            mse: e.mse,
            parts: e.parts,
        }
    }
}

impl Comparison {
    /// The layers, worst first: by what each adds alone where that was measured, else by what has come together; and the
    /// tensors, whose cosine nobody measures.
    pub fn sort(&mut self, by: Sort) {
        let errors = |l: &Layer| l.isolated.unwrap_or(l.cumulative);
        self.tensors.sort_by(|a, b| {
            let worse = match by {
                Sort::Sqnr | Sort::Cosine => a.sqnr_db.total_cmp(&b.sqnr_db),
                Sort::Error => b.max_error.total_cmp(&a.max_error),
                Sort::Order => std::cmp::Ordering::Equal,
            };
            worse.then(a.order.cmp(&b.order))
        });
        self.layers.sort_by(|a, b| {
            let (x, y) = (errors(a), errors(b));
            let worse = match by {
                Sort::Sqnr => x.sqnr_db.total_cmp(&y.sqnr_db),
                Sort::Cosine => x.cosine.total_cmp(&y.cosine),
                Sort::Error => y.max_error.total_cmp(&x.max_error),
                Sort::Order => std::cmp::Ordering::Equal,
            };
            worse.then(a.order.cmp(&b.order))
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Dataset;
    use crate::{Compiled, Config, Quantize};
    use lowbit_ir::interp::Interpreter;

    fn demo() -> (Model, Dataset) {
        let model = Model::load("demo/model.onnx").unwrap();
        let images =
            Dataset::open("demo/calibration", &model.inputs(), model.stored_preprocess().unwrap().as_ref()).unwrap();
        (model, images)
    }

    /// As a file would give it back.
    fn quantized(model: &Model, images: &Dataset, choices: &[&str]) -> Model {
        let config = choices.iter().fold(Config { samples: 16, ..Config::default() }, |c, set| c.set(set).unwrap());
        model.quantize(Quantize::default().data(images).config(config)).unwrap().model
    }

    #[test]
    fn a_model_is_like_itself() {
        let (model, images) = demo();
        let engine = Compiled::host().unwrap();
        let found = compare(&model, &model, &engine, &images, 2).unwrap();
        assert!(!found.isolated && found.only_reference == 0 && found.only_other == 0 && found.samples == 2);
        let int8 = quantized(&model, &images, &[]);
        let same = compare(&int8, &int8, &engine, &images, 2).unwrap();
        for layer in found.layers.iter().chain(&same.layers) {
            let e = layer.cumulative;
            assert!(e.sqnr_db == f64::INFINITY && (e.cosine - 1.0).abs() < 1e-9 && e.max_error == 0.0, "{layer:?}");
        }
        assert_eq!(found.layers.iter().filter(|l| l.layer).count(), 19);
    }

    #[test]
    fn a_layer_alone_adds_less_than_all_before_it_together() {
        let (model, images) = demo();
        let int8 = quantized(&model, &images, &[]);
        let found = compare(&model, &int8, &Compiled::host().unwrap(), &images, 4).unwrap();
        assert!(found.isolated && found.layers.iter().filter(|l| l.layer).count() == 19);
        for layer in &found.layers {
            let alone = layer.isolated.unwrap();
            // Errors may cancel a little, so a layer alone may be worse by chance, but not by much.
            assert!(alone.sqnr_db > layer.cumulative.sqnr_db - 1.0, "{layer:?}");
            assert!(alone.sqnr_db > 20.0, "{layer:?}");
        }
        let mean = |of: fn(&Layer) -> f64| found.layers.iter().map(of).sum::<f64>() / found.layers.len() as f64;
        assert!(mean(|l| l.isolated.unwrap().sqnr_db) > mean(|l| l.cumulative.sqnr_db) + 3.0);
        let interpreted = compare(&model, &int8, &Interpreter::default(), &images, 1).unwrap();
        let compiled = compare(&model, &int8, &Compiled::host().unwrap(), &images, 1).unwrap();
        assert_eq!(interpreted, compiled, "every engine gives the same bits");
    }

    #[test]
    fn integers_are_within_a_step_of_their_simulation() {
        let (model, images) = demo();
        for choices in [&[][..], &["input.bits=16"], &["weight.bits=4", "requantize=fixed"], &["input.signed=true"]] {
            let int8 = quantized(&model, &images, choices);
            let found = compare(&int8.simulated().unwrap(), &int8, &Compiled::host().unwrap(), &images, 4).unwrap();
            assert!(found.isolated && found.layers.iter().filter(|l| l.layer).count() == 19, "{choices:?}");
            let steps: Vec<u64> = found.layers.iter().filter_map(|l| l.isolated.unwrap().max_steps).collect();
            // All but the logits, which are floats.
            assert!(steps.len() > 18 && steps.iter().all(|s| *s <= 1), "{choices:?}: {steps:?}");
        }
        // The same criterion finds a layer that does something else.
        let (one, two) = (quantized(&model, &images, &[]), quantized(&model, &images, &["weight.bits=2"]));
        let found = compare(&one.simulated().unwrap(), &two, &Compiled::host().unwrap(), &images, 1).unwrap();
        assert!(found.layers.iter().any(|l| l.isolated.unwrap().max_steps > Some(1)));
    }

    #[test]
    fn a_layer_of_two_bits_is_the_worst() {
        let (model, images) = demo();
        let lowered = model.lowered().unwrap().0;
        let layers: Vec<&str> =
            lowered.nodes().filter(|(_, n)| n.op.is_layer()).map(|(_, n)| n.name.as_str()).collect();
        let coarse = layers[layers.len() - 1];
        let choice = format!("layer.\"{coarse}\".weight.bits=2");
        let found = quantized(&model, &images, &[&choice, "refinements=[]"]);
        let mut found = compare(&model, &found, &Compiled::host().unwrap(), &images, 4).unwrap();
        let cumulative = |a: &&Layer, b: &&Layer| a.cumulative.sqnr_db.total_cmp(&b.cumulative.sqnr_db);
        assert_eq!(found.layers.iter().min_by(cumulative).unwrap().node, coarse);
        found.sort(Sort::Sqnr);
        assert_eq!(found.layers[0].node, coarse);
        found.sort(Sort::Order);
        assert!(found.layers.is_sorted_by_key(|l| l.order));
    }

    #[test]
    fn one_coarse_layer_stands_out_alone_and_what_follows_does_not() {
        let (model, images) = demo();
        let lowered = model.lowered().unwrap().0;
        let layers: Vec<&str> =
            lowered.nodes().filter(|(_, n)| n.op.is_layer()).map(|(_, n)| n.name.as_str()).collect();
        let coarse = layers[layers.len() / 2];
        let choice = format!("layer.\"{coarse}\".weight.bits=2");
        let coarse_model = quantized(&model, &images, &[&choice, "refinements=[]"]);
        let fine_model = quantized(&model, &images, &["refinements=[]"]);
        let engine = Compiled::host().unwrap();
        let [one, all] = [coarse_model, fine_model].map(|m| compare(&model, &m, &engine, &images, 4).unwrap());
        let pairs: Vec<(&Layer, &Layer)> = one.layers.iter().zip(&all.layers).collect();
        assert!(pairs.iter().all(|(a, b)| a.value == b.value));
        let at = pairs.iter().position(|(a, _)| a.node == coarse).unwrap();
        let alone = |l: &Layer| l.isolated.unwrap().sqnr_db;
        assert!(alone(pairs[at].0) < 12.0 && alone(pairs[at].1) > 25.0, "{:?}", pairs[at]);
        // Whatever comes behind reads the reference's floats, and is what it is without the coarse layer.
        for (coarse, fine) in pairs.iter().skip(at + 1) {
            assert!((alone(coarse) - alone(fine)).abs() < 1.0, "{coarse:?} {fine:?}");
        }
        let carried = |(a, b): &(&Layer, &Layer)| b.cumulative.sqnr_db - a.cumulative.sqnr_db > 5.0;
        assert!(pairs.iter().skip(at).take(3).all(carried), "{:?}", pairs[at]);
    }

    #[test]
    fn every_error_is_clipping_and_rounding() {
        let (model, images) = demo();
        let engine = Compiled::host().unwrap();
        let clipping = "input.observer=percentile(99)";
        let [minmax, cut] = [&["input.observer=minmax"][..], &[clipping]].map(|choices| {
            let choices = [choices, &["equalize=false", "refinements=[]"]].concat();
            compare(&model, &quantized(&model, &images, &choices), &engine, &images, 4).unwrap()
        });
        for found in [&minmax, &cut] {
            let count = |kind: &str| found.tensors.iter().filter(|t| t.kind == kind).count();
            assert_eq!((count("input"), count("weight")), (1, 19));
            assert!(count("activation") > 18 && found.unmatched.is_empty());
            for t in &found.tensors {
                assert_eq!(t.mse, t.parts.clipping + t.parts.rounding, "{t:?}");
            }
            for e in found.layers.iter().flat_map(|l| [l.cumulative, l.isolated.unwrap()]) {
                assert!(e.parts.is_none_or(|p| e.mse == p.clipping + p.rounding), "{e:?}");
            }
            // A step is the whole range of 8 bits and more: rounding alone is far below what is cut off.
            assert!(found.tensors.iter().filter(|t| t.kind == "weight").all(|t| t.parts.clipped_percent == 0.0));
        }
        let share = |c: &Comparison| {
            let all = c.tensors.iter().filter(|t| t.kind == "activation");
            all.map(|t| t.parts.clipping / t.mse).sum::<f64>() / c.tensors.len() as f64
        };
        assert!(share(&cut) > 0.3 && share(&cut) > 4.0 * share(&minmax), "{} {}", share(&cut), share(&minmax));
    }

    #[test]
    fn weights_are_what_they_were_but_for_rounding_whatever_equalization_does() {
        let (model, images) = demo();
        let int8 = quantized(&model, &images, &[]);
        assert!(int8.graph().meta.properties.contains_key(lowbit_ir::meta::EQUALIZATION));
        let found = compare(&model, &int8, &Compiled::host().unwrap(), &images, 1).unwrap();
        let weights: Vec<&TensorError> = found.tensors.iter().filter(|t| t.kind == "weight").collect();
        // With a factor left out they would be no nearer than a few decibels.
        assert!(weights.len() == 19 && weights.iter().all(|t| t.sqnr_db > 30.0), "{weights:?}");
    }

    #[test]
    fn models_without_a_name_in_common_are_an_error() {
        let model = |name: &str| {
            let text = format!("graph \"g\" {{\n  input %x: f32[1x2]\n  %{name} = Relu(%x)\n  output %{name}\n}}\n");
            Model::from(lowbit_ir::text::parse(&text).unwrap())
        };
        let data = Dataset::open("random", &model("a").inputs(), None).unwrap();
        let e = compare(&model("a"), &model("b"), &Interpreter::default(), &data, 1).unwrap_err().to_string();
        assert!(e.contains("found none: 1 in the reference, 1 in the other") && e.contains("renames"), "{e}");
    }
}
