//! Along which axis the channels of a value lie: one axis a value, whoever asks.
//!
//! A vector or a matrix has them last. Of more dimensions the operator that made the value tells: behind a convolution,
//! a pooling or a batch normalization they are axis 1, behind a matrix product, a layer normalization or a softmax the
//! last; operators of elements hand on what they were given. Where nobody told, as of what enters the model, the readers
//! tell in the same way, convolutions before products. Else they are axis 1.

use crate::prepare::rewrite;
use lowbit_ir::op::Category;
use lowbit_ir::{Graph, Op, ValueId};
use std::collections::HashSet;

/// The axis of the channels of a value.
pub fn axis(g: &Graph, v: ValueId) -> usize {
    let rank = g.ty(v).shape.rank();
    let last = rank.saturating_sub(1);
    if rank <= 2 {
        return last;
    }
    match behind(g, v).or_else(|| before(g, v)) {
        Some(Side::Last) => last,
        Some(Side::Second) | None => 1,
    }
}

/// Where an operator has the channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    /// Axis 1.
    Second,
    /// The last axis.
    Last,
}

/// What an operator says of the channels of what it reads and makes.
enum Word {
    /// They are there.
    Is(Side),
    /// They stay where they are.
    Same,
    /// Nothing: it moves them, or has none.
    None,
}

fn word(op: &Op) -> Word {
    match op {
        Op::Conv(_)
        | Op::BatchNorm { .. }
        | Op::MaxPool(_)
        | Op::AvgPool(_)
        | Op::GlobalAvgPool
        | Op::QAvgPool(_)
        | Op::Resize(_) => Word::Is(Side::Second),
        Op::MatMul(_) | Op::LayerNorm { .. } | Op::Softmax { .. } => Word::Is(Side::Last),
        Op::Identity
        | Op::Pad(_)
        | Op::Simulate(_)
        | Op::Quantize { .. }
        | Op::Dequantize
        | Op::Requantize(_)
        | Op::QAdd(_)
        | Op::QMul(_)
        | Op::Table => Word::Same,
        // With a condition of another shape nothing is certain.
        Op::Where => Word::None,
        op => match op.category() {
            Category::Activation => Word::Same,
            // What is not said to keep them is taken to move them.
            Category::Layer
            | Category::Pool
            | Category::Normalization
            | Category::Recurrent
            | Category::Transform
            | Category::Quantization
            | Category::Custom => Word::None,
        },
    }
}

/// What those say whose results led to the value.
fn behind(g: &Graph, v: ValueId) -> Option<Side> {
    let rank = g.ty(v).shape.rank();
    let (mut todo, mut seen) = (vec![v], HashSet::new());
    while let Some(v) = todo.pop() {
        let Some((_, node)) = rewrite::producer(g, v).filter(|(id, _)| seen.insert(*id)) else { continue };
        match word(&node.op) {
            Word::Is(side) => return Some(side),
            // What is broadcast has its channels elsewhere.
            Word::Same => todo.extend(node.operands().filter(|x| g.ty(*x).shape.rank() == rank)),
            Word::None => {}
        }
    }
    None
}

/// What those say who read the value, one convolution before any number of products.
fn before(g: &Graph, v: ValueId) -> Option<Side> {
    let rank = g.ty(v).shape.rank();
    let (mut todo, mut seen, mut said) = (vec![v], HashSet::new(), None);
    while let Some(v) = todo.pop() {
        for (reader, _) in g.users().of(v) {
            if !seen.insert(*reader) {
                continue;
            }
            let node = g.node(*reader);
            match word(&node.op) {
                Word::Is(Side::Second) => return Some(Side::Second),
                Word::Is(Side::Last) => said = Some(Side::Last),
                Word::Same => todo.extend(rewrite::output(node).filter(|y| g.ty(*y).shape.rank() == rank)),
                Word::None => {}
            }
        }
    }
    said
}
