//! Prepare: the float graph in canonical form.
//!
//! Exporters write one thing in many ways; the rules and kernels know one way each. Every pass here keeps what the
//! graph computes (up to the rounding of folded constants), and keeps the source's names.

mod clips;
mod collapse_reshapes;
pub(crate) mod fold_batch_norm;
mod fold_bias;
mod fold_constants;
mod fold_pad;
mod fold_scale;
mod global_pools;
pub(crate) mod linear;
mod recognize_activations;
mod recognize_layer_norm;
mod remove_identities;
pub(crate) mod rewrite;
mod simplify_binary;

use lowbit_ir::pass::{self, Flow, Pass, Watch};
use lowbit_ir::{Customs, Graph, Result, check_float_mode, memory};

/// What the passes of this stage share.
#[derive(Debug, Clone)]
pub struct Prepare {
    /// Operators of the user's, so that their constants fold too.
    pub customs: Customs,
    /// Bytes that work on the model may take beyond it; constants that are computed here take a part of them.
    pub max_memory: usize,
    /// Bytes that constants took so far beyond those they were computed from.
    pub folded: usize,
}

impl Prepare {
    /// With these operators of the user's, within this many bytes.
    pub fn new(customs: Customs, max_memory: usize) -> Prepare {
        Prepare { customs, max_memory, folded: 0 }
    }
}

impl Default for Prepare {
    fn default() -> Self {
        Prepare::new(Customs::default(), memory::MAX_MEMORY)
    }
}

/// The passes, in order.
pub static PREPARE: &[Pass<Prepare>] = &[
    fold_constants::PASS,
    remove_identities::PASS,
    simplify_binary::PASS,
    clips::PASS,
    recognize_activations::PASS,
    recognize_layer_norm::PASS,
    global_pools::PASS,
    fold_pad::PASS,
    fold_batch_norm::PASS,
    fold_bias::PASS,
    fold_scale::PASS,
    collapse_reshapes::PASS,
];

/// Brings a float (or QDQ) graph into canonical form.
pub fn prepare(g: &mut Graph, cx: &mut Prepare, watch: &mut dyn Watch) -> Result<Flow> {
    check_float_mode()?;
    pass::run(g, PREPARE, cx, watch)
}
