//! The fast loops of lowbit.
//!
//! The law of this crate: a kernel only does arithmetic on the memory it is given. It allocates nothing, keeps nothing,
//! starts no thread, asks the operating system nothing and does not look at the CPU: whoever calls says which
//! [`Features`] may be used. Every row of every table gives the same bits as the crate `arithmetic` says; the scalar
//! rows are written plainly, with its functions, and the others are tested against them.
//!
//! One folder an operation, each with a `mod.rs` (the contract in prose, the argument struct, the table), a `scalar.rs`
//! (the reference row) and a file an instruction set. A table lists its rows from oldest to newest; the last row whose
//! features are allowed wins ([`pick`]). The table is the only place to edit when a row is added.
//!
//! Activations are unsigned here: the compiler stores a signed value as the unsigned one 128 (or 32768) higher, with
//! the zero point moved alike, so that signed and unsigned cost the same.
//! Buffers are readable [`SLACK`] bytes beyond their end, so that rows may load whole vectors; what lies there never
//! changes a result.
#![no_std]

#[cfg(test)]
extern crate std;

pub mod copy;
pub mod dwconv;
pub mod elementwise;
pub mod gemm;
pub mod isa;
pub mod peak;
pub mod pool;
pub mod requant;
pub mod rowconv;
pub mod rows;
#[cfg(target_arch = "x86_64")]
mod x86;

pub use isa::{Features, Kernel, Row, pick};

/// Bytes behind every buffer that may be read (never written).
pub const SLACK: usize = 256;

/// Every row of every table, in order: the table's path, the row's name and what it needs.
pub fn all() -> impl Iterator<Item = (&'static str, &'static str, Features)> {
    fn rows<R: Row>(
        table: &'static str,
        rows: &'static [R],
    ) -> impl Iterator<Item = (&'static str, &'static str, Features)> {
        rows.iter().map(move |row| (table, row.name(), row.needs()))
    }
    rows("gemm::Q8", gemm::Q8)
        .chain(rows("gemm::Q16", gemm::Q16))
        .chain(rows("gemm::Q16_W16", gemm::Q16_W16))
        .chain(rows("gemm::Q8_W16", gemm::Q8_W16))
        .chain(rows("gemm::F32", gemm::F32))
        .chain(rows("gemm::SUMS", gemm::SUMS))
        .chain(rows("gemm::SPLIT", gemm::SPLIT))
        .chain(rows("dwconv::Q8", dwconv::Q8))
        .chain(rows("dwconv::Q16", dwconv::Q16))
        .chain(rows("dwconv::Q16_W16", dwconv::Q16_W16))
        .chain(rows("dwconv::Q8_W16", dwconv::Q8_W16))
        .chain(rows("dwconv::F32", dwconv::F32))
        .chain(rows("rowconv::Q8", rowconv::Q8))
        .chain(rows("pool::MAX_U8", pool::MAX_U8))
        .chain(rows("pool::MAX_U16", pool::MAX_U16))
        .chain(rows("pool::MAX_F32", pool::MAX_F32))
        .chain(rows("pool::AVG_U8", pool::AVG_U8))
        .chain(rows("pool::AVG_U16", pool::AVG_U16))
        .chain(rows("pool::AVG_ANY", pool::AVG_ANY))
        .chain(rows("pool::AVG_F32", pool::AVG_F32))
        .chain(rows("elementwise::QADD", elementwise::QADD))
        .chain(rows("elementwise::QADD16", elementwise::QADD16))
        .chain(rows("elementwise::QMUL", elementwise::QMUL))
        .chain(rows("elementwise::QMUL16", elementwise::QMUL16))
        .chain(rows("elementwise::TABLE8", elementwise::TABLE8))
        .chain(rows("elementwise::TABLE16", elementwise::TABLE16))
        .chain(rows("elementwise::QUANTIZE8", elementwise::QUANTIZE8))
        .chain(rows("elementwise::QUANTIZE16", elementwise::QUANTIZE16))
        .chain(rows("elementwise::DEQUANTIZE8", elementwise::DEQUANTIZE8))
        .chain(rows("elementwise::DEQUANTIZE16", elementwise::DEQUANTIZE16))
        .chain(rows("elementwise::DEQUANTIZE_ACC", elementwise::DEQUANTIZE_ACC))
        .chain(rows("elementwise::DEQUANTIZE_WIDE", elementwise::DEQUANTIZE_WIDE))
        .chain(rows("elementwise::REQUANT_ACC", elementwise::REQUANT_ACC))
        .chain(rows("elementwise::REQUANT_ANY", elementwise::REQUANT_ANY))
        .chain(rows("elementwise::QUANTIZE_ANY", elementwise::QUANTIZE_ANY))
        .chain(rows("elementwise::PAIR_ANY", elementwise::PAIR_ANY))
        .chain(rows("elementwise::UNARY", elementwise::UNARY))
        .chain(rows("elementwise::BINARY", elementwise::BINARY))
        .chain(rows("elementwise::CLAMP", elementwise::CLAMP))
        .chain(rows("rows::SOFTMAX", crate::rows::SOFTMAX))
        .chain(rows("rows::LAYER_NORM", crate::rows::LAYER_NORM))
        .chain(rows("rows::REDUCE", crate::rows::REDUCE))
        .chain(rows("copy::TRANSPOSE", copy::TRANSPOSE))
        .chain(rows("peak::Q8", peak::Q8))
}
