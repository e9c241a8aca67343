//! Refine: corrections of a calibrated graph, after all ranges are known.

mod bias_correction;
pub(crate) mod pairs;

use crate::samples::Samples;
use lowbit_ir::suggest::did_you_mean;
use lowbit_ir::{Engine, Error, Graph, Result, check_float_mode};
use serde::{Deserialize, Serialize};

/// What a refinement works with.
pub struct Refine<'a> {
    /// The prepared float graph; its nodes have the names of the calibrated graph's.
    pub float: &'a Graph,
    /// What runs graphs.
    pub engine: &'a dyn Engine,
    /// The calibration data.
    pub samples: &'a dyn Samples,
    /// How many samples to look at; 0 for all.
    pub limit: usize,
}

/// One correction.
#[derive(Debug, Clone, Copy)]
pub struct Refinement {
    /// The name that configurations use.
    pub name: &'static str,
    /// One sentence about it.
    pub summary: &'static str,
    /// Corrects the calibrated graph.
    pub run: fn(&mut Graph, &Refine) -> Result<Vec<Correction>>,
}

/// What a refinement changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Correction {
    /// The layer.
    pub node: String,
    /// The refinement.
    pub refinement: String,
    /// Greatest change of a bias, in units of the float value.
    pub largest: f32,
}

/// Every refinement.
pub static REFINEMENTS: &[Refinement] = &[bias_correction::LOCAL, bias_correction::SEQUENTIAL];

/// Refuses names that no refinement has.
pub fn check_names(names: &[String]) -> Result<()> {
    names.iter().try_for_each(|name| find(name).map(|_| ()))
}

/// Runs the refinements of these names, in order.
pub fn refine(g: &mut Graph, names: &[String], cx: &Refine) -> Result<Vec<Correction>> {
    check_float_mode()?;
    let mut corrections = Vec::new();
    for name in names {
        let refinement = find(name)?;
        let found = (refinement.run)(g, cx).map_err(|e| e.context(format!("running refinement '{name}'")))?;
        corrections.extend(found);
    }
    Ok(corrections)
}

fn find(name: &str) -> Result<&'static Refinement> {
    REFINEMENTS.iter().find(|r| r.name == name).ok_or_else(|| {
        let known: Vec<&str> = REFINEMENTS.iter().map(|r| r.name).collect();
        Error::new(format!("no refinement is named '{name}'{}", did_you_mean(name, known.iter().copied())))
            .hint(format!("one of {}", known.join(", ")))
    })
}
