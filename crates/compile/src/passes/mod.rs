//! Graph passes before lowering. The list is the order.

mod absorb_relu;
mod accumulators;
mod fold;
mod turn_operand;
mod unsign;

use lowbit_ir::pass::Pass;
use lowbit_ir::{Customs, memory};

/// What the passes share.
#[derive(Debug, Clone)]
pub struct Context {
    /// Operators of the user's.
    pub customs: Customs,
    /// Bytes that computed constants may take.
    pub max_memory: usize,
}

impl Default for Context {
    fn default() -> Self {
        Context { customs: Customs::default(), max_memory: memory::MAX_MEMORY }
    }
}

/// What runs, in order.
pub static PASSES: &[Pass<Context>] = &[
    Pass { name: "fold", summary: "what depends on constants alone is computed once", run: fold::run },
    Pass {
        name: "absorb-relu",
        summary: "a Relu between an accumulator and its Requantize becomes the output's range",
        run: absorb_relu::run,
    },
    Pass {
        name: "turn-operand",
        summary: "a MatMul reads its second operand by rows rather than have it transposed",
        run: turn_operand::run,
    },
    Pass {
        name: "unsign",
        summary: "signed activations are stored as unsigned ones: 128 or 32768 higher, or as they are if none is negative",
        run: unsign::run,
    },
    Pass {
        name: "accumulators",
        summary: "accumulators get the width that their kernels sum in",
        run: accumulators::run,
    },
];
