//! A model file that becomes a graph more than once: for every set of sizes that its inputs have.

use crate::build::remarks::Remark;
use crate::{ImportOptions, files, mxnet, onnx};
use bytes::Bytes;
use lowbit_ir::{Error, Graph, Result, Type};
use std::path::{Path, PathBuf};

/// A model file that was read whole; its graphs share its bytes.
#[derive(Debug, Clone)]
pub struct Source {
    path: PathBuf,
    bytes: Bytes,
    options: ImportOptions,
}

impl Source {
    /// Reads a file of either format.
    pub fn open(path: &Path, options: &ImportOptions) -> Result<Source> {
        let bytes = files::read(path).map_err(|e| e.context(format!("reading '{}'", path.display())))?;
        Ok(Source { path: path.to_path_buf(), bytes: bytes.into(), options: options.clone() })
    }

    /// A model whose bytes are at hand. Files beside it there are none, so that it must hold all of its weights.
    pub fn of_bytes(bytes: Bytes, options: &ImportOptions) -> Source {
        Source { path: PathBuf::new(), bytes, options: options.clone() }
    }

    /// Where it was read; empty of bytes.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the user decided.
    pub fn options(&self) -> &ImportOptions {
        &self.options
    }

    /// Its graph, and what was read differently than the file says it.
    pub fn graph(&self) -> Result<(Graph, Vec<Remark>)> {
        self.sized(&self.options.shapes)
    }

    /// The same with these sizes for its inputs in place of those of the options.
    pub fn sized(&self, shapes: &[(String, Vec<usize>)]) -> Result<(Graph, Vec<Remark>)> {
        let options = ImportOptions { shapes: shapes.to_vec(), ..self.options.clone() };
        let is_file = !self.path.as_os_str().is_empty();
        let folder =
            self.path.parent().filter(|_| is_file).map(|p| if p.as_os_str().is_empty() { Path::new(".") } else { p });
        let read = crate::import(self.bytes.clone(), folder, &|| self.beside(), &options);
        let (mut graph, remarks) = read.map_err(|e| e.context(self.doing()))?;
        if graph.name.is_empty() {
            let stem = self.path.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
            graph.name = stem.strip_suffix("-symbol").unwrap_or(&stem).to_string();
        }
        Ok((graph, remarks))
    }

    /// Where the parameters of a symbol are, if nobody says it.
    fn beside(&self) -> Result<PathBuf> {
        match self.path.as_os_str().is_empty() {
            false => mxnet::beside(&self.path),
            true => Err(Error::new("expected the parameters of the symbol, found none").hint("name their file")),
        }
    }

    /// What the model takes, without reading its nodes: some can be read only once the sizes are known.
    pub fn inputs(&self) -> Result<Vec<(String, Type)>> {
        let inputs = match mxnet::is_symbol(&self.bytes) {
            false => onnx::inputs(self.bytes.clone(), &self.options),
            true => crate::parameters(&|| self.beside(), &self.options)
                .and_then(|parameters| mxnet::import::inputs(&self.bytes, parameters, &self.options)),
        };
        inputs.map_err(|e| e.context(self.doing()))
    }

    /// Whether this error of [`Source::graph`] may go away with sizes for all inputs.
    pub fn wants_sizes(&self, error: &Error) -> bool {
        let open = |(_, ty): &(String, Type)| ty.shape.dims().is_none();
        error.to_string().contains("--shape") && self.inputs().is_ok_and(|inputs| inputs.iter().any(open))
    }

    fn doing(&self) -> String {
        match self.path.as_os_str().is_empty() {
            true => "reading a model from bytes".into(),
            false => format!("reading '{}'", self.path.display()),
        }
    }
}
