//! Zeros that a Pad adds in front of a convolution become the convolution's own padding.

use super::{Prepare, rewrite};
use lowbit_ir::op::PadMode;
use lowbit_ir::pass::Pass;
use lowbit_ir::{Graph, NodeId, Op, Result};

pub const PASS: Pass<Prepare> =
    Pass { name: "fold-pad", summary: "zero Pad in front of Conv as the Conv's padding", run };

fn run(g: &mut Graph, _: &mut Prepare) -> Result<bool> {
    rewrite::each_node(g, fold)
}

fn fold(g: &mut Graph, id: NodeId) -> Result<bool> {
    let node = g.node(id);
    let (Op::Conv(conv), Some(x)) = (&node.op, node.input(0)) else { return Ok(false) };
    let Some((_, pad_node)) = rewrite::producer(g, x) else { return Ok(false) };
    let Op::Pad(pad) = &pad_node.op else { return Ok(false) };
    let spatial = conv.strides.len();
    let zeros = pad.mode == PadMode::Constant(0.0);
    // Batch and channels must stay, and nothing may be cut off.
    let batch = pad.begins.iter().take(2).chain(pad.ends.iter().take(2)).all(|n| *n == 0);
    let added: Vec<usize> =
        pad.begins.iter().skip(2).chain(pad.ends.iter().skip(2)).filter_map(|n| usize::try_from(*n).ok()).collect();
    if !zeros || !batch || added.len() != 2 * spatial || conv.pads.len() != 2 * spatial {
        return Ok(false);
    }
    let mut conv = conv.clone();
    conv.pads.iter_mut().zip(added).for_each(|(p, n)| *p += n);
    let source = pad_node.input(0);
    let node = g.node_mut(id);
    node.op = Op::Conv(conv);
    g.set_input(id, 0, source);
    Ok(true)
}
