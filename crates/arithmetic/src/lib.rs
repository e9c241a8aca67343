//! The arithmetic of lowbit, defined once.
//!
//! Everything that computes (the interpreter, the kernels, the calibration) stands on this crate,
//! and `docs/arithmetic.md` says in prose and to the bit what it does.
//! There is no allocation, no state and no operating system here, and every function is total:
//! no input makes it panic.

#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

pub mod activation;
pub mod add;
pub mod elementary;
pub mod float;
pub mod lanes;
pub mod pool;
pub mod requant;
pub mod rounding;
pub mod rows;

pub use add::AddRescale;
pub use float::{fma, sqrt};
pub use lanes::Lanes;
pub use requant::{
    Affine, Method, Rescale, ScaleError, dequantize, dequantize_wide, quantize, quantize_to_bytes, requantize,
};
pub use rounding::{Rounding, round, round_f64, round_to_integer, shift_right, shift_right_wide};
