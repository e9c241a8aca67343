//! What reading functions and subgraphs over and over may take: a small file can ask for any number of nodes.

use super::scope::Call;
use super::tensor;
use crate::build::{Builder, Item};
use lowbit_ir::{Error, Result, Tensor, memory};
use std::collections::HashMap;

/// Most nodes of functions and subgraphs that are read, each as often as it is read.
pub const MOST_NODES: usize = 1 << 17;

/// Most functions and subgraphs within each other.
pub const MOST_DEPTH: usize = 64;

/// Most bytes that the names of what is in functions and subgraphs may take.
const MOST_NAMES: usize = 256 << 20;

/// Most bytes of constants that are computed in functions and subgraphs, each as often as it is computed.
const MOST_COMPUTED: usize = 4 << 30;

/// Most tensors in all the sequences that a file makes.
const MOST_ELEMENTS: usize = 1 << 20;

/// What was taken so far.
#[derive(Debug, Default)]
pub struct Limits {
    nodes: usize,
    names: usize,
    computed: usize,
    elements: usize,
    /// How often a name was the prefix of a body.
    prefixes: HashMap<String, usize>,
    /// The functions that are being read, each called by the one before it.
    pub callers: Vec<(String, String, String)>,
}

impl Limits {
    /// Counts a body of this many nodes, at this depth, which is to be read.
    pub fn body(&mut self, nodes: usize, depth: usize) -> Result<()> {
        if depth > MOST_DEPTH {
            return Err(Error::new(format!(
                "expected functions and subgraphs at most {MOST_DEPTH} deep within each other, found more"
            )));
        }
        self.nodes = self.nodes.saturating_add(nodes).saturating_add(1);
        if self.nodes > MOST_NODES {
            return Err(Error::new(format!(
                "expected functions and loops that become at most {MOST_NODES} nodes, found more"
            ))
            .hint("a loop of fewer iterations, for instance over a shorter input"));
        }
        Ok(())
    }

    /// A prefix for names in a body that no other body has.
    pub fn prefix(&mut self, base: &str) -> Result<String> {
        self.named(base)?;
        let count = self.prefixes.entry(base.to_string()).or_default();
        *count += 1;
        Ok(match *count {
            1 => base.to_string(),
            n => format!("{base}.{}", n - 1),
        })
    }

    /// Counts a name of something in a body.
    pub fn named(&mut self, name: &str) -> Result<()> {
        self.names = self.names.saturating_add(name.len());
        memory::check("names of what is in functions and loops", self.names, MOST_NAMES)
    }

    /// Counts a sequence of so many tensors.
    pub fn sequence(&mut self, elements: usize) -> Result<()> {
        self.elements = self.elements.saturating_add(elements).saturating_add(1);
        match self.elements > MOST_ELEMENTS {
            true => Err(Error::new(format!("expected at most {MOST_ELEMENTS} tensors in all sequences, found more"))),
            false => Ok(()),
        }
    }

    /// Counts a constant of a body that is made anew whenever the body is read.
    pub fn constant(&mut self, tensor: &Tensor) -> Result<()> {
        self.computed = self.computed.saturating_add(tensor.bytes().len());
        memory::check(
            "constants that are computed in functions and loops, again and again",
            self.computed,
            MOST_COMPUTED,
        )
    }

    /// Counts what a node in a body computed: results that are known and share no bytes with an operand or the file.
    pub fn computed(&mut self, call: &Call<'_>, builder: &Builder) -> Result<()> {
        let known = |name: &String| match builder.items.get(name) {
            Some(Item::Const(_, tensor)) => Some(tensor),
            Some(Item::Sizes(_) | Item::Value(_)) | None => None,
        };
        let shared = call.attribute.iter().filter_map(|(_, a)| a.t.as_ref()).any(tensor::shares_bytes);
        let start = |t: &Tensor| t.bytes().as_ptr();
        for result in call.output.iter().filter_map(known) {
            let passed = call.input.iter().filter_map(known).any(|operand| start(operand) == start(result));
            if !passed && !shared {
                self.constant(result)?;
            }
        }
        Ok(())
    }
}
