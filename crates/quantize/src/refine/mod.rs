//! Refine: corrections of a calibrated graph, after all ranges are known.

mod bias_correction;
mod pairs;

pub use pairs::add_to_bias;

use crate::Options;
use crate::phase::guarded;
use crate::samples::Samples;
use lowbit_ir::suggest::did_you_mean;
use lowbit_ir::{Engine, Error, Graph, Result, catching, check_float_mode};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

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

type Run = Arc<dyn Fn(&mut Graph, &Refine) -> Result<Vec<Correction>> + Send + Sync>;

/// The refinements there are: those of the table, and the user's.
#[derive(Clone, Default)]
pub struct Refinements {
    own: BTreeMap<String, Run>,
}

impl Refinements {
    /// Those of the table.
    pub fn standard() -> Self {
        Refinements::default()
    }

    /// One of the user's more, which runs where the configuration's `refinements` name it; it is taken before one of
    /// the same name in the table.
    #[must_use]
    pub fn with(
        mut self,
        name: &str,
        run: impl Fn(&mut Graph, &Refine) -> Result<Vec<Correction>> + Send + Sync + 'static,
    ) -> Self {
        self.own.insert(name.into(), Arc::new(run));
        self
    }

    /// Those of the user's, by name.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.own.keys().map(String::as_str)
    }

    /// Refuses names that no refinement has.
    pub fn check(&self, names: &[String]) -> Result<()> {
        let known = || REFINEMENTS.iter().map(|r| r.name).chain(self.own.keys().map(String::as_str));
        if let Some(name) = names.iter().enumerate().find(|(i, name)| names[..*i].contains(name)).map(|(_, name)| name)
        {
            return Err(
                Error::new(format!("refinements has '{name}' twice")).hint("each corrects what is left in one run")
            );
        }
        match names.iter().find(|name| !known().any(|k| k == **name)) {
            None => Ok(()),
            Some(name) => Err(Error::new(format!("no refinement is named '{name}'{}", did_you_mean(name, known())))
                .hint(format!("one of {}", known().collect::<Vec<_>>().join(", ")))),
        }
    }

    fn run(&self, name: &str, g: &mut Graph, cx: &Refine) -> Result<Vec<Correction>> {
        match (self.own.get(name), REFINEMENTS.iter().find(|r| r.name == name)) {
            (Some(own), _) => catching("the refinement", || own(g, cx)),
            (None, Some(row)) => (row.run)(g, cx),
            (None, None) => Ok(Vec::new()),
        }
    }
}

impl fmt::Debug for Refinements {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.own.keys()).finish()
    }
}

/// Runs the refinements that the configuration names, in order.
pub fn refine(g: &mut Graph, options: &Options, cx: &Refine) -> Result<Vec<Correction>> {
    let names = &options.config.refinements;
    options.refinements.check(names)?;
    check_float_mode()?;
    let mut corrections = Vec::new();
    for name in names {
        let found = guarded(g, |g| options.refinements.run(name, g, cx));
        corrections.extend(found.map_err(|e| e.context(format!("running refinement '{name}'")))?.0);
    }
    Ok(corrections)
}
