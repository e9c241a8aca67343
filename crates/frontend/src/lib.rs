//! Model files in and out of the lowbit graph.
//!
//! [`load`] reads a model, [`load_with_remarks`] says too what was read differently than the file says it, and [`save`]
//! writes one; the format's own room is [`onnx`], and [`files`] is how files are read and written.
#![forbid(unsafe_code)]

pub mod files;
pub mod onnx;

use bytes::Bytes;
use lowbit_ir::{Graph, Result, memory};
pub use onnx::remarks::{Remark, lines as remark_lines};
use std::io::Write;
use std::path::Path;

/// What a user may decide while a model is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportOptions {
    /// Sizes for inputs, by input name: they bind the dimensions that the file leaves open.
    pub shapes: Vec<(String, Vec<usize>)>,
    /// Bytes that constants may take which the file only says how to compute.
    pub max_memory: usize,
}

impl Default for ImportOptions {
    fn default() -> Self {
        ImportOptions { shapes: Vec::new(), max_memory: memory::MAX_MEMORY }
    }
}

/// Reads a model file; external data files are looked for beside it.
pub fn load(path: &Path, options: &ImportOptions) -> Result<Graph> {
    load_with_remarks(path, options).map(|(graph, _)| graph)
}

/// As [`load`], with what was read differently than the file says it; [`remark_lines`] words it for people.
pub fn load_with_remarks(path: &Path, options: &ImportOptions) -> Result<(Graph, Vec<Remark>)> {
    let doing = || format!("reading '{}'", path.display());
    let bytes = files::read(path).map_err(|e| e.context(doing()))?;
    let stem = path.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
    let folder = path.parent().map(|p| if p.as_os_str().is_empty() { Path::new(".") } else { p });
    let (mut graph, remarks) = onnx::import(bytes.into(), folder, options).map_err(|e| e.context(doing()))?;
    if graph.name.is_empty() {
        graph.name = stem;
    }
    Ok((graph, remarks))
}

/// Reads a model from bytes, which its weights then share; `base_dir` is where external data files are.
pub fn load_bytes(bytes: Bytes, base_dir: Option<&Path>, options: &ImportOptions) -> Result<Graph> {
    onnx::import(bytes, base_dir, options).map(|(graph, _)| graph)
}

/// The bytes of an ONNX file for a float or QDQ graph: the same graph gives the same bytes.
pub fn export(graph: &Graph) -> Result<Vec<u8>> {
    onnx::export(graph)
}

/// Writes an ONNX file: the old file stays until the new one is complete.
pub fn save(graph: &Graph, path: &Path) -> Result<()> {
    let bytes = export(graph)?;
    files::write(path, |file| file.write_all(&bytes))
}
