//! What stays float in the middle of the integers, each with its reason.

use super::Rule;
use crate::annotate::Decision;
use lowbit_ir::Result;

pub const BATCH_NORM: Rule = Rule {
    name: "batch-norm",
    summary: "stays float: prepare folds every BatchNorm with constant parameters",
    run: |_, _| float("its parameters are computed, so prepare could not fold it"),
};

pub const LAYER_NORM: Rule = Rule {
    name: "layer-norm",
    summary: "stays float: variance and root need more than 8 bits",
    run: |_, _| float("normalization has no integer form here"),
};

pub const SOFTMAX: Rule = Rule {
    name: "softmax",
    summary: "stays float: exponentials and their sum need more than 8 bits",
    run: |_, _| float("softmax has no integer form here"),
};

pub const LINEAR_RESIZE: Rule = Rule {
    name: "linear-resize",
    summary: "stays float: interpolation has no integer form here",
    run: |_, _| float("interpolation has no integer form here"),
};

pub const REDUCE: Rule = Rule {
    name: "reduce",
    summary: "stays float: sums and means over other than the spatial axes",
    run: |_, _| float("sums and means have an integer form over the spatial axes only"),
};

pub const ELEMENT: Rule = Rule {
    name: "element",
    summary: "stays float: functions of elements without a bounded table or an integer form",
    run: |call, _| Ok(Decision::Float(format!("{} has no integer form here", call.op.name()))),
};

pub const CUSTOM: Rule = Rule {
    name: "custom",
    summary: "stays float: operators of the user's are float",
    run: |_, _| float("operators of the user's are float"),
};

pub const QUANTIZED: Rule =
    Rule { name: "quantized", summary: "left alone: it is quantized already", run: |_, _| Ok(Decision::Integer) };

fn float(reason: &str) -> Result<Decision> {
    Ok(Decision::Float(reason.into()))
}
