//! Graph passes before lowering. The list is the order.

mod absorb_relu;
mod unsign;

use lowbit_ir::pass::Pass;

/// What runs, in order.
pub static PASSES: &[Pass<()>] = &[
    Pass {
        name: "absorb-relu",
        summary: "a Relu between an accumulator and its Requantize becomes the output's range",
        run: absorb_relu::run,
    },
    Pass {
        name: "unsign",
        summary: "signed activations are stored as unsigned ones, 128 or 32768 higher",
        run: unsign::run,
    },
];
