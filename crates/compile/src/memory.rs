//! What a program needs beyond its model, compared with what is allowed before anything of it is asked for.

use crate::lower::Lowered;
use crate::plan::Plan;
use lowbit_ir::{Def, Graph, Result, memory};
use lowbit_runtime::{Kind, Step};

/// Bytes of an element while the interpreter computes with it.
const INTERPRETED: usize = 8;

/// Refuses a program that needs more than is allowed: its arena, a thread's scratch, and what its constants take more than
/// those of the graph it was made of.
pub fn check(graph: &Graph, lowered: &Lowered, plan: &Plan, allowed: usize) -> Result<()> {
    let model = graph.values().map(|(_, v)| match &v.def {
        Def::Const(t) => t.bytes().len(),
        Def::Input | Def::Node(..) => 0,
    });
    let constants = lowered.constants.len().saturating_sub(model.sum());
    let scratch = lowered.steps.iter().map(|s| s.kind.scratch()).max().unwrap_or(0);
    let interpreted = lowered.steps.iter().map(interpreted).max().unwrap_or(0);
    let needed = [plan.arena, constants, scratch, interpreted].into_iter().fold(0, usize::saturating_add);
    let (size, node) = plan.largest.clone().unwrap_or_default();
    let what = match size {
        0 => "the program".to_string(),
        _ => format!("activations, of which {} are a value of this node", memory::text(size)),
    };
    memory::check(&what, needed, allowed).map_err(|e| if node.is_empty() { e } else { e.at_node(node) })
}

/// What a step that the interpreter runs takes besides the arena: it has operands and results of its own.
fn interpreted(step: &Step) -> usize {
    let Kind::Reference(r) = &step.kind else { return 0 };
    let types = r.inputs.iter().flatten().chain(&r.outputs).map(|(_, ty)| ty.shape.count().unwrap_or(usize::MAX));
    types.fold(0, usize::saturating_add).saturating_mul(INTERPRETED)
}

#[cfg(test)]
mod tests {
    use crate::{Target, compile};

    fn refused(text: &str, target: &Target) -> String {
        compile(&lowbit_ir::text::parse(text).unwrap(), target).unwrap_err().to_string()
    }

    const PAD: &str = "graph \"g\" {\n  input %x: f32[1x3x8x8]\n  %big = Pad(%x) {begins [0, 0, 40000, 40000], ends [0, 0, 1, 1], value 0}\n  \
                       %y = MaxPool(%big) {kernel [2, 2]}\n  output %y\n}\n";

    #[test]
    fn a_huge_padding_is_refused_by_name() {
        let e = refused(PAD, &Target::host());
        assert!(e.contains("node 'big'") && e.contains("at most 2 GiB") && e.contains("--max-memory"), "{e}");
    }

    #[test]
    fn a_huge_resize_is_refused_by_name() {
        let text = "graph \"g\" {\n  input %x: f32[1x1x8x8]\n  %big = Resize(%x) {scales [1, 1, 12000, 12000], mode nearest, nearest floor, coordinates asymmetric}\n  %y = Relu(%big)\n  output %y\n}\n";
        let e = refused(text, &Target::host());
        assert!(e.contains("node 'big'") && e.contains("--max-memory"), "{e}");
    }

    #[test]
    fn a_constant_that_would_be_blown_up_is_refused_by_name() {
        let text = "graph \"g\" {\n  input %x: f32[1x1]\n  const %c: f32[1x1] = [1]\n  %big = Expand(%c) {dims [60000, 60000]}\n  \
                    %y = Add(%x, %big)\n  output %y\n}\n";
        let e = refused(text, &Target::host());
        assert!(e.contains("node 'big'") && e.contains("computed of constants"), "{e}");
    }

    #[test]
    fn what_is_allowed_decides() {
        let text = "graph \"g\" {\n  input %x: f32[1x64x64]\n  %y = Relu(%x)\n  output %y\n}\n";
        let graph = lowbit_ir::text::parse(text).unwrap();
        compile(&graph, &Target::host()).unwrap();
        compile(&graph, &Target::host().max_memory(1 << 20)).unwrap();
        let e = refused(text, &Target::host().max_memory(1 << 10));
        assert!(e.contains("node 'y'") && e.contains("at most 1 KiB") && e.contains("--max-memory 1G"), "{e}");
    }
}
