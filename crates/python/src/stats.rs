//! Statistics: what calibration saw of a model, to be kept, merged and quantized from.

use crate::error::During;
use crate::interpreter::away;
use crate::job;
use crate::types::{FilePath, parsed};
use lowbit::quantization::report::Skipped;
use lowbit::{Shard, stats};
use pyo3::prelude::*;

/// What calibration data showed of a model. Statistics of several parts of the data merge in any order.
#[pyclass(frozen, module = "lowbit")]
#[derive(Debug)]
pub struct Stats {
    pub shard: Shard,
    /// Rules of who gathered them that nothing asked; no file holds them.
    pub skipped: Vec<Skipped>,
}

impl From<Shard> for Stats {
    fn from(shard: Shard) -> Stats {
        Stats { shard, skipped: Vec::new() }
    }
}

#[pymethods]
impl Stats {
    /// Reads a file of statistics, or several of the same model together.
    #[staticmethod]
    #[pyo3(signature = (*paths))]
    fn load(py: Python<'_>, paths: Vec<FilePath>) -> PyResult<Stats> {
        let paths: Vec<_> = paths.into_iter().map(|path| path.0).collect();
        job::run(py, During::Data, None, &[], move |_| stats::load_all(&paths)).map(Stats::from)
    }

    /// Writes them, whole or not at all.
    fn save(&self, py: Python<'_>, path: FilePath) -> PyResult<()> {
        away(py, || stats::save(&self.shard, path.0)).map(|_| ()).map_err(|e| During::Data.raise(&e))
    }

    /// These with what another part of the data showed.
    fn merge(&self, py: Python<'_>, other: &Stats) -> PyResult<Stats> {
        let merged = away(py, || {
            let mut merged = self.shard.clone();
            merged.merge(&other.shard).map(|()| merged)
        });
        let shard = merged.map_err(|e| During::Data.raise(&e))?;
        Ok(Stats { shard, skipped: self.skipped.iter().chain(&other.skipped).cloned().collect() })
    }

    /// How many samples were looked at.
    #[getter]
    fn samples(&self) -> u64 {
        self.shard.stats.samples
    }

    /// What took no part in gathering them, and why: rules that were given and that nothing asked.
    #[getter]
    fn skipped(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        parsed(py, &self.skipped)
    }

    fn __repr__(&self) -> String {
        format!("<lowbit.Stats of {} samples, model {}>", self.shard.stats.samples, self.shard.model)
    }
}
