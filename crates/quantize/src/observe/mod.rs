//! Observers: from what was seen of a tensor to the range its integers cover.
//!
//! Values in memory are seen as [`Histogram`]s, weights as they are. An observer is a function; the tables list them.

mod histogram;
mod max;
mod minmax;
mod mse;
mod percentile;
mod scale;

pub use histogram::{BINS, Histogram, check_finite};
pub use scale::{Affine, Bounds, Fit, Range, choose, fit, largest};

use lowbit_ir::suggest::did_you_mean;
use lowbit_ir::{Error, Result, Spec};

/// Finds the range of a value in memory.
#[derive(Debug, Clone, Copy)]
pub struct Observer {
    /// The name that configurations use.
    pub name: &'static str,
    /// One sentence about it.
    pub summary: &'static str,
    /// The range for integers as `Spec` asks.
    pub range: fn(&Histogram, &Spec) -> Range,
}

/// Finds the range of the weights that share a scale.
#[derive(Debug, Clone, Copy)]
pub struct WeightObserver {
    /// The name that configurations use.
    pub name: &'static str,
    /// One sentence about it.
    pub summary: &'static str,
    /// The range for integers as `Spec` asks.
    pub range: fn(&[f32], &Spec) -> Range,
}

/// The observers of values in memory.
pub static OBSERVERS: &[Observer] = &[minmax::OBSERVER, mse::OBSERVER, percentile::P99_99, percentile::P99_999];

/// The observers of weights.
pub static WEIGHT_OBSERVERS: &[WeightObserver] = &[max::OBSERVER, mse::WEIGHT_OBSERVER];

/// The observer of this name.
pub fn find(name: &str) -> Result<&'static Observer> {
    OBSERVERS.iter().find(|o| o.name == name).ok_or_else(|| unknown(name, OBSERVERS.iter().map(|o| o.name).collect()))
}

/// The weight observer of this name.
pub fn find_for_weights(name: &str) -> Result<&'static WeightObserver> {
    let names = || WEIGHT_OBSERVERS.iter().map(|o| o.name).collect();
    WEIGHT_OBSERVERS.iter().find(|o| o.name == name).ok_or_else(|| unknown(name, names()))
}

fn unknown(name: &str, known: Vec<&str>) -> Error {
    Error::new(format!("no observer is named '{name}'{}", did_you_mean(name, known.iter().copied())))
        .hint(format!("one of {}", known.join(", ")))
}
