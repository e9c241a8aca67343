//! What a profile calls the steps: by the kernel that runs them.

use crate::program::{AccumulatorRow, Kind, MapFn, PoolKind, Rows, RowsFn, ZipFn};

impl Kind {
    /// The name of the kernel that runs this step; of what it does where that takes none.
    pub fn kernel(&self) -> &'static str {
        match self {
            Kind::QGemm(s) => s.row.name,
            Kind::QGemm16(s) => s.row.name,
            Kind::QDw16(s) => s.row.name,
            Kind::FGemm(s) => s.row.name,
            Kind::QDw(s) => s.row.name,
            Kind::QRow(s) => s.row.name,
            Kind::QGemm16W16(s) => s.row.name,
            Kind::QGemm8W16(s) => s.row.name,
            Kind::QDw16W16(s) => s.row.name,
            Kind::QDw8W16(s) => s.row.name,
            Kind::FDw(s) => s.row.name,
            Kind::FMatMul(s) => s.row.name,
            Kind::QMatMul(s) => s.row.name,
            Kind::Pool(s) => match s.kind {
                PoolKind::MaxU8(row) => row.name,
                PoolKind::MaxU16(row) => row.name,
                PoolKind::MaxF32(row) => row.name,
                PoolKind::AvgU8(row, _) => row.name,
                PoolKind::AvgU16(row, _) => row.name,
                PoolKind::AvgAny(row, ..) => row.name,
                PoolKind::AvgF32(row, _) => row.name,
            },
            Kind::Map(s) => match &s.f {
                MapFn::Quantize8(row, _) => row.name,
                MapFn::Quantize16(row, _) => row.name,
                MapFn::Dequantize8(row, _) => row.name,
                MapFn::Dequantize16(row, _) => row.name,
                MapFn::Table8(row, _) => row.name,
                MapFn::Table16(row, _) => row.name,
                MapFn::Unary(row, _) => row.name,
                MapFn::Clamp(row, _, _) => row.name,
                MapFn::RequantAcc(row, ..) => row.name,
                MapFn::RequantAny(row, _) => row.name,
                MapFn::QuantizeAny(row, _) => row.name,
            },
            Kind::Zip(s) => match s.f {
                ZipFn::Add8(row, _) => row.name,
                ZipFn::Add16(row, _) => row.name,
                ZipFn::Mul8(row, _) => row.name,
                ZipFn::Mul16(row, _) => row.name,
                ZipFn::Any(row, _) => row.name,
                ZipFn::Binary(row, _, _, _) => row.name,
            },
            Kind::DequantizeAcc { row: AccumulatorRow::Narrow(row), .. } => row.name,
            Kind::DequantizeAcc { row: AccumulatorRow::Wide(row), .. } => row.name,
            Kind::Rows(Rows { f: RowsFn::Softmax(row), .. }) => row.name,
            Kind::Rows(Rows { f: RowsFn::LayerNorm { row, .. }, .. }) => row.name,
            Kind::Reduce(s) => s.row.name,
            // Several kernels, of which none stands for the others.
            Kind::Links(_) => "links",
            Kind::Transpose(s) => s.row.name,
            Kind::CopyRows { .. } => "copy",
            Kind::Gather(_) => "gather",
            Kind::Pad(_) => "pad",
            Kind::Reference(_) => "interpreter",
        }
    }
}
