//! Statistics: what calibration saw of a model, to be kept, merged and quantized from.

use crate::error::During;
use crate::interpreter::away;
use crate::job;
use crate::types::FilePath;
use lowbit::{Shard, stats};
use pyo3::prelude::*;

/// What calibration data showed of a model. Statistics of several parts of the data merge in any order.
#[pyclass(frozen, module = "lowbit")]
#[derive(Debug)]
pub struct Stats(pub Shard);

#[pymethods]
impl Stats {
    /// Reads a file of statistics, or several of the same model together.
    #[staticmethod]
    #[pyo3(signature = (*paths))]
    fn load(py: Python<'_>, paths: Vec<FilePath>) -> PyResult<Stats> {
        let paths: Vec<_> = paths.into_iter().map(|path| path.0).collect();
        job::run(py, During::Data, None, &[], move |_| stats::load_all(&paths)).map(Stats)
    }

    /// Writes them, whole or not at all.
    fn save(&self, py: Python<'_>, path: FilePath) -> PyResult<()> {
        away(py, || stats::save(&self.0, path.0)).map(|_| ()).map_err(|e| During::Data.raise(&e))
    }

    /// These with what another part of the data showed.
    fn merge(&self, py: Python<'_>, other: &Stats) -> PyResult<Stats> {
        let merged = away(py, || {
            let mut merged = self.0.clone();
            merged.merge(&other.0).map(|()| merged)
        });
        merged.map(Stats).map_err(|e| During::Data.raise(&e))
    }

    /// How many samples were looked at.
    #[getter]
    fn samples(&self) -> u64 {
        self.0.stats.samples
    }

    fn __repr__(&self) -> String {
        format!("<lowbit.Stats of {} samples, model {}>", self.0.stats.samples, self.0.model)
    }
}
