//! What quantizing a float model would do with it: the rules are asked, and nothing is run.

use super::{Explanation, Given, Layer, Links, NOT_CALIBRATED, Tensor, is_operator, limits, merged, others, said, who};
use crate::choices::Sourced;
use crate::model::Model;
use lowbit_ir::{Error, Graph, Node, Op, Request, Result, ValueId};
use lowbit_quantize::config::{KINDS, Spec};
use lowbit_quantize::{Options, Prepare, annotate, calibrate, origin, prepare};

/// Explains what annotation with these choices would do.
pub fn explain(model: &Model, choices: &Sourced, options: &Options) -> Result<Explanation> {
    let options = Options { config: choices.config.clone(), ..options.clone() };
    options.check()?;
    let mut float = model.graph().clone();
    let mut prepared = Prepare::new(model.operators().clone(), model.max_memory());
    let _ = prepare(&mut float, &mut prepared, &mut ())?;
    let mut g = float.clone();
    let declined = annotate(&mut g, &options).map_err(|e: Error| e.context("annotating the model"))?;
    let asked = origin::asked(&g)?;
    let links = Links::new(&g);
    let layer = |node: &Node| {
        let why = declined.iter().find(|d| d.node == node.name);
        let annotated = g.nodes().find(|(_, n)| n.name == node.name).map(|(_, n)| n);
        Layer {
            node: node.name.clone(),
            op: node.op.name().into(),
            integer: why.is_none(),
            merged: false,
            rule: annotated.and_then(|n| n.rule.as_deref()).map(String::from),
            reason: why.map(|d| d.reason.clone()),
            accumulator: None,
            rescaling: None,
            reads: node.operands().map(|v| float.value(v).name.clone()).collect(),
            gives: node.outputs.iter().map(|v| Given::of(&float, *v)).collect(),
        }
    };
    let mut layers: Vec<Layer> = float.nodes().filter(|(_, n)| is_operator(&float, n)).map(|(_, n)| layer(n)).collect();
    layers.extend(merged(model.graph(), &float));
    let placeholders = g.nodes().filter_map(|(_, node)| match &node.op {
        Op::Simulate(request) => Some((node, request)),
        _ => None,
    });
    let tensor = |(node, request): (&Node, &Request)| {
        let kind = KINDS.iter().find(|(kind, _)| *kind == request.kind).map_or("", |(_, name)| name);
        let v = observed(&g, node)?;
        let name = calibrate::source_name(&g, v).to_string();
        let spec = Spec::of_request(request);
        let mut tensor = Tensor {
            name,
            kind: Some(kind.into()),
            rule: node.rule.as_deref().map(String::from),
            dtype: calibrate::storage(&g, v, request).to_string(),
            shape: g.ty(v).shape.to_string(),
            range: request.range(),
            observer: spec.observer.clone(),
            choices: said(Some(choices), kind, &spec, asked.get(&node.name).unwrap_or(&Default::default())),
            constant: g.constant(v).is_some(),
            writer: g.producer(v).map(|id| g.node(id).name.clone()),
            readers: node.outputs.first().map(|s| links.readers(*s)).unwrap_or_default(),
            ..Tensor::default()
        };
        who(&mut tensor, &spec);
        tensor.notes.push(format!("its scale, zero point, range and clipping are {NOT_CALIBRATED}"));
        Some(tensor)
    };
    let tensors: Vec<Tensor> = placeholders.filter_map(tensor).collect();
    let mut notes = vec!["the model is float: this is what annotating it with these choices would do".to_string()];
    if choices.config.equalize {
        notes.push("equalize comes before and needs data; it changes no choice that is told here".into());
    }
    notes.push("whether the integers of every layer fit its accumulator is known when it is calibrated".into());
    let others = others(&float, &Links::new(&float), &tensors, None);
    let hardware = limits(&choices.config);
    Ok(Explanation { quantized: false, recorded: false, recipe: None, hardware, notes, layers, tensors, others })
}

/// The float value that a placeholder waits for.
fn observed(g: &Graph, node: &Node) -> Option<ValueId> {
    let mut v = node.input(0)?;
    while let Some(before) = g.producer(v).map(|id| g.node(id)).filter(|n| matches!(n.op, Op::Simulate(_))) {
        v = before.input(0)?;
    }
    Some(v)
}
