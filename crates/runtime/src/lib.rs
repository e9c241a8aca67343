//! Programs and how they run on this machine.
//!
//! Reading order: [`isa`] (what the CPU has), [`program`] (steps over one arena), [`memory`] (aligned bytes),
//! [`pool`] (threads that enter once per run), [`exec`] (one step, one tile), [`session`] (inputs in, outputs out),
//! [`named`] (the same by name, from a shared program), [`peak`] (what the machine can do at most), [`measure`] (every row of
//! the kernel tables timed).
//! `unsafe` lives here because kernels take pointers; every pointer comes from a place that [`Program::new`] has checked
//! against the arena or the constants.

pub mod exec;
pub mod floatenv;
pub mod isa;
pub mod measure;
pub mod memory;
pub mod named;
pub mod peak;
mod point;
pub mod pool;
pub mod profile;
pub mod program;
pub mod session;
mod spans;

pub use isa::Isa;
pub use named::NamedSession;
pub use pool::{MAX_THREADS, Pool};
pub use program::{Kind, Parts, Place, Port, Program, Step};
pub use session::Session;
