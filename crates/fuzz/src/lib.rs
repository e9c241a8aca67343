//! What fuzzing feeds with bytes: one function for everything that a stranger may give lowbit.
//!
//! A target takes any bytes and tells whether they were accepted; it panics where lowbit breaks a promise: by a panic of
//! its own, by an error that speaks of a defect, or by results that differ between executors or between a thing and what
//! was written of it.
//! [`files`] are the formats, [`damage`] models with something wrong in them, [`differential`] random graphs;
//! [`operators`] are small files, one for every operator that is read;
//! [`graphs`] makes those of [`choices`], [`executors`] compares whoever runs them.
//!
//! `cargo xtask fuzz` runs the targets with libFuzzer, and the tests here replay what the corpus holds.
#![forbid(unsafe_code)]

pub mod choices;
pub mod damage;
pub mod differential;
pub mod executors;
pub mod files;
pub mod graphs;
pub mod operators;
pub mod replay;
pub mod seeds;

/// Something that bytes are fed to.
pub struct Target {
    /// Its name, and that of its folder in `fuzz/corpus`.
    pub name: &'static str,
    /// What it is, in a few words.
    pub about: &'static str,
    /// Whether the bytes were accepted; a panic is a defect.
    pub run: fn(&[u8]) -> bool,
}

/// All of them.
pub static TARGETS: &[Target] = &[
    Target { name: "onnx", about: "a model of the ONNX format: read, made integers, compiled, run", run: files::onnx },
    Target { name: "damaged", about: "ONNX models with up to four things wrong: the same", run: damage::damaged },
    Target { name: "text", about: "the text form of a graph: read, printed, compiled, run", run: files::text },
    Target { name: "config", about: "a configuration: as a file and as assignments", run: files::config },
    Target { name: "npy", about: "an array of NumPy", run: files::npy },
    Target { name: "npz", about: "arrays of NumPy in a zip", run: files::npz },
    Target { name: "image", about: "an image in a folder: PNG or JPEG, decoded and resized", run: files::image },
    Target { name: "idx", about: "images of the idx format", run: files::idx },
    Target { name: "mxnet", about: "an MXNet symbol, its parameters, or both", run: files::mxnet },
    Target { name: "metadata", about: "what a quantized model says about itself", run: files::metadata },
    Target { name: "statistics", about: "a file of what calibration saw", run: files::statistics },
    Target {
        name: "executors",
        about: "random graphs: the interpreter against every kernel row",
        run: differential::executors,
    },
    Target { name: "roundtrip", about: "random graphs: as text and as a file, and back", run: differential::roundtrip },
    Target {
        name: "quantized",
        about: "random networks: float, simulated, integers, their file, every kernel row",
        run: differential::quantized,
    },
];
