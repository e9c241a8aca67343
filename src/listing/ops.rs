//! What the crates say of every operator.

use super::Listing;
use crate::quantization::rules::standard;
use lowbit_ir::Op;
use lowbit_ir::op::Category;
use lowbit_ir::text::spellings;

pub(super) fn listing() -> Listing {
    let row = |op: &Op| {
        vec![
            op.name().to_string(),
            family(op.category()).to_string(),
            inputs(op.arity()),
            standard(op).name.to_string(),
            op.facts().meaning.to_string(),
            spellings(op.name()).join(", "),
        ]
    };
    Listing {
        name: "ops",
        summary: "the operators of the graph, the rule that annotates each for quantization, and the other names that rules and \
                  configurations may have for it",
        columns: vec!["operator", "family", "inputs", "rule", "meaning", "also spelled"],
        rows: Op::all().iter().map(row).collect(),
    }
}

/// The operators that a rule annotates.
pub(super) fn under(rule: &str) -> Vec<&'static str> {
    Op::all().iter().filter(|op| standard(op).name == rule).map(Op::name).collect()
}

fn inputs((least, most): (usize, usize)) -> String {
    match most {
        usize::MAX => format!("{least} or more"),
        most if most == least => least.to_string(),
        most => format!("{least} to {most}"),
    }
}

fn family(category: Category) -> &'static str {
    match category {
        Category::Layer => "layer",
        Category::Activation => "activation",
        Category::Pool => "pool",
        Category::Normalization => "normalization",
        Category::Recurrent => "recurrent",
        Category::Transform => "transform",
        Category::Quantization => "quantization",
        Category::Custom => "custom",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn layers_are_those_of_their_family() {
        for op in Op::all() {
            assert_eq!(op.is_layer(), op.category() == Category::Layer, "{}", op.name());
            let shape = lowbit_ir::Shape::known(&[3, 5]);
            assert_eq!(op.is_layer(), lowbit_ir::infer::weight_axis(&op, &shape).is_some(), "{}", op.name());
            assert_eq!(op.is_layer(), lowbit_ir::infer::depth(&op, &[3, 5]).is_some(), "{}", op.name());
        }
    }
}
