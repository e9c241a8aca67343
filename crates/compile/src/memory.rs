//! What a program needs beyond its model, compared with what is allowed before anything of it is asked for.

use crate::lower::Lowered;
use crate::plan::Plan;
use lowbit_ir::{Def, Graph, Result, Type, interp, memory};
use lowbit_runtime::{Kind, Step};

/// Refuses a program that needs more than is allowed: its arena, a thread's scratch, its tables of positions, and what its
/// constants take more than those of the graph it was made of.
///
/// How many threads there will be is not known here: a session asks again.
pub fn check(graph: &Graph, lowered: &Lowered, plan: &Plan, allowed: usize) -> Result<()> {
    let model = graph.values().map(|(_, v)| match &v.def {
        Def::Const(t) => t.bytes().len(),
        Def::Input | Def::Node(..) => 0,
    });
    let constants = lowered.constants.len().saturating_sub(model.sum());
    let scratch = lowered.steps.iter().map(|s| s.kind.scratch()).max().unwrap_or(0);
    let interpreted = lowered.steps.iter().map(interpreted).max().unwrap_or(0);
    let needed =
        [plan.arena, constants, scratch, interpreted, lowered.tables].into_iter().fold(0, usize::saturating_add);
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
    let operands: Vec<Option<&Type>> = r.inputs.iter().map(|i| i.as_ref().map(|(_, ty)| ty)).collect();
    let results: Vec<Type> = r.outputs.iter().map(|(_, ty)| ty.clone()).collect();
    let own = interp::workspace(&r.op, &operands, &results);
    operands.into_iter().flatten().chain(&results).map(memory::bytes).fold(own, usize::saturating_add)
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

    /// Tables of positions grow with the values, and are made before the plan is.
    #[test]
    fn tables_are_refused_before_they_are_made() {
        let sliced = "graph \"g\" {\n  input %x: u8[4294967296]\n  %y = Slice(%x) {axes [0], starts [0], ends [4294967296], steps [2]}\n  output %y\n}\n";
        let padded = "graph \"g\" {\n  input %x: f32[1x3x8x8]\n  %big = Pad(%x) {begins [0, 0, 0, 0], ends [0, 0, 0, 4294967296], value 0}\n  \
                      %y = Slice(%big) {axes [3], starts [0], ends [8], steps [1]}\n  output %y\n}\n";
        let turned =
            "graph \"g\" {\n  input %x: f32[1000x2x3x1000]\n  %y = Transpose(%x) {perm [3, 1, 2, 0]}\n  output %y\n}\n";
        for (text, node, allowed) in [(sliced, "y", 2 << 30), (padded, "big", 2 << 30), (turned, "y", 16 << 10)] {
            let e = refused(text, &Target::host().max_memory(allowed));
            assert!(e.contains(&format!("'{node}'")) || e.contains("'x'"), "{e}");
            assert!(e.contains("--max-memory"), "{e}");
        }
    }

    #[test]
    fn the_scratch_of_every_thread_counts() {
        use lowbit_runtime::Session;
        let weights = vec!["1"; 8 * 8 * 9].join(", ");
        let text = format!(
            "graph \"g\" {{\n  input %x: f32[1x8x16x16]\n  const %w: f32[8x8x3x3] = [{weights}]\n  \
             %y = Conv(%x, %w) {{strides [1, 1], pads [1, 1, 1, 1], dilations [1, 1], group 1}}\n  output %y\n}}\n"
        );
        let graph = lowbit_ir::text::parse(&text).unwrap();
        let target = Target::isa("scalar").unwrap();
        let program = compile(&graph, &target).unwrap();
        assert!(program.scratch() > 0, "a convolution gathers its rows");
        let results = 8 * 16 * 16 * 4;
        for threads in [1, 3] {
            let needed = program.arena() + results + threads * program.scratch();
            let within = |bytes: usize| compile(&graph, &target.clone().max_memory(bytes)).unwrap();
            Session::with_threads(within(needed), threads).unwrap();
            let e = Session::with_threads(within(needed - 1), threads).unwrap_err().to_string();
            assert!(e.contains(&format!("scratch of {threads} threads")) && e.contains("--max-memory"), "{e}");
        }
    }
}
