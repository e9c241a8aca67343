//! Every row of every table against the crate `arithmetic`, bit for bit, over odd shapes and extreme values.
//!
//! Rows whose features this CPU lacks are printed and skipped.

mod common;
mod copy;
mod dwconv;
mod elementwise;
mod gemm;
mod pool;
mod rowconv;
mod rows;
