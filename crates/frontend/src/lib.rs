//! Model files in and out of the lowbit graph.
//!
//! [`load`] reads a model, [`load_with_remarks`] says too what was read differently than the file says it, and [`save`]
//! writes one; a [`Source`] is a file that is read for more than one set of sizes. Each format has a room of its own, [`onnx`] and [`mxnet`]; [`build`] is what both build with, and [`files`]
//! is how files are read and written.
#![forbid(unsafe_code)]

pub mod build;
pub mod files;
pub mod mxnet;
pub mod onnx;
pub mod source;

pub use build::remarks::{Remark, lines as remark_lines};
use bytes::Bytes;
use lowbit_ir::{Customs, Error, Graph, Result, memory};
pub use source::Source;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

/// What a user may decide while a model is read.
#[derive(Debug, Clone)]
pub struct ImportOptions {
    /// Sizes for inputs, by input name: they bind the dimensions that the file leaves open. The empty name is that of the
    /// only input.
    pub shapes: Vec<(String, Vec<usize>)>,
    /// Bytes that constants may take which the file only says how to compute.
    pub max_memory: usize,
    /// The parameters of an MXNet symbol; without it they are looked for beside the symbol.
    pub params: Option<PathBuf>,
    /// Operators of the user's: an ONNX file's node of one of these names, in a domain that is not read here, is that one.
    pub customs: Customs,
}

impl Default for ImportOptions {
    fn default() -> Self {
        ImportOptions { shapes: Vec::new(), max_memory: memory::MAX_MEMORY, params: None, customs: Customs::default() }
    }
}

/// Reads a model file: ONNX, with external data files beside it, or the symbol of an MXNet model, with its parameters
/// beside it (`NAME-symbol.json` and `NAME-0000.params`).
pub fn load(path: &Path, options: &ImportOptions) -> Result<Graph> {
    load_with_remarks(path, options).map(|(graph, _)| graph)
}

/// As [`load`], with what was read differently than the file says it; [`remark_lines`] words it for people.
pub fn load_with_remarks(path: &Path, options: &ImportOptions) -> Result<(Graph, Vec<Remark>)> {
    Source::open(path, options)?.graph()
}

/// Reads a model from bytes, which its weights then share; `base_dir` is where external data files are. A symbol's
/// parameters must be named by the options.
pub fn load_bytes(bytes: Bytes, base_dir: Option<&Path>, options: &ImportOptions) -> Result<Graph> {
    let beside = || Err(Error::new("expected the parameters of the symbol, found none").hint("name their file"));
    import(bytes, base_dir, &beside, options).map(|(graph, _)| graph)
}

/// Reads a model of either format, told apart by its first bytes.
fn import(
    bytes: Bytes,
    folder: Option<&Path>,
    beside: &dyn Fn() -> Result<PathBuf>,
    options: &ImportOptions,
) -> Result<(Graph, Vec<Remark>)> {
    if mxnet::is_params(&bytes) {
        return Err(Error::new("expected a model, found the parameters of an MXNet model")
            .hint("name its symbol, the file that ends in -symbol.json"));
    }
    if !mxnet::is_symbol(&bytes) {
        return match &options.params {
            None => onnx::import(bytes, folder, options),
            Some(_) => {
                Err(Error::new("expected the symbol of an MXNet model, whose parameters are named, found another file"))
            }
        };
    }
    mxnet::import(&bytes, Some(parameters(beside, options)?), options)
}

/// The parameters of a symbol: of the file that is named, or of the one beside it.
fn parameters(beside: &dyn Fn() -> Result<PathBuf>, options: &ImportOptions) -> Result<Bytes> {
    let path = options.params.clone().map_or_else(beside, Ok)?;
    files::read(&path).map(Bytes::from).map_err(|e| e.context(format!("reading '{}'", path.display())))
}

/// The bytes of an ONNX file for a float or QDQ graph: the same graph gives the same bytes.
pub fn export(graph: &Graph) -> Result<Vec<u8>> {
    export_told(graph, &BTreeMap::new())
}

/// As [`export`], with what is told of nodes, by their names: viewers such as Netron show it, and nothing reads it back.
pub fn export_told(graph: &Graph, told: &BTreeMap<String, String>) -> Result<Vec<u8>> {
    onnx::export(graph, told)
}

/// Writes an ONNX file: the old file stays until the new one is complete.
pub fn save(graph: &Graph, path: &Path) -> Result<()> {
    let bytes = export(graph)?;
    files::write(path, |file| file.write_all(&bytes))
}
