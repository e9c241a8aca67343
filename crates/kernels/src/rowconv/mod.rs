//! Convolution of one output row whose input rows lie in memory with their padding.
//!
//! A pointer for each pixel and tap costs time, and where channels are few more than the tap's products. Here a row is one
//! run of bytes: neighbouring pixels are at a known distance, or lie in one register.
//!
//! ## Contract
//! One call computes `pixels` consecutive output pixels of all channels, `pixels >= 1`. `x[ky]` leads to the input row of
//! kernel row `ky`, padding included: tap `kx` of output pixel `p` has its channels from byte
//! `(p * stride + kx) * channels` on. Each row is readable `SLACK` bytes beyond the last tap of the last pixel. Output
//! pixels follow each other without a gap.
//!
//! Weights are packed by this table's row's `pack` function into as many bytes as its `packed` says; bias and multipliers
//! have one entry an output channel, padded to [`padded`]. Sums are modulo 2^32, as in [`gemm`](crate::gemm), and are
//! always requantized; where the shape has a residual, another tensor is added, which is readable in whole registers.
//! Inputs and weights that start at multiples of 64 bytes are read fastest.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "x86_64")]
mod avx512_tile;
#[cfg(target_arch = "x86_64")]
mod avxvnni;
mod scalar;

use crate::requant::{Requant, Residual};
use crate::{Features, Row};

/// u8 activations by i8 weights, 32-bit accumulators.
pub static Q8: &[QRow] = &[
    QRow {
        name: "u8i8_rowconv__scalar",
        needs: Features::NONE,
        suits: |_| false,
        least: 1,
        packed: scalar::packed,
        pack: scalar::pack,
        run: scalar::q8,
    },
    #[cfg(target_arch = "x86_64")]
    QRow {
        name: "u8i8_rowconv_6x16__avx2",
        needs: crate::x86::AVX2,
        suits: avx2::full_suits,
        least: 1,
        packed: avx2::full_packed,
        pack: avx2::full_pack,
        run: avx2::full,
    },
    #[cfg(target_arch = "x86_64")]
    QRow {
        name: "u8i8_rowconv_6x16__avxvnni",
        needs: crate::x86::AVX_VNNI,
        suits: avx2::full_suits,
        least: 1,
        packed: avx2::full_packed,
        pack: avx2::full_pack,
        run: avxvnni::full,
    },
    #[cfg(target_arch = "x86_64")]
    QRow {
        name: "u8i8_rowdwconv_64__avx512vnni",
        needs: crate::x86::AVX512_VNNI,
        suits: avx512::depthwise_suits,
        least: 1,
        packed: avx512::depthwise_packed,
        pack: avx512::depthwise_pack,
        run: avx512::depthwise,
    },
    #[cfg(target_arch = "x86_64")]
    QRow {
        name: "u8i8_rowconv_6x64__avx512vnni",
        needs: crate::x86::AVX512_VNNI,
        suits: avx512_tile::suits::<1>,
        least: 8,
        packed: avx512_tile::packed::<1>,
        pack: avx512_tile::pack::<1>,
        run: avx512_tile::run::<1>,
    },
    #[cfg(target_arch = "x86_64")]
    QRow {
        name: "u8i8_rowconv_12x32__avx512vnni",
        needs: crate::x86::AVX512_VNNI,
        suits: avx512_tile::suits::<2>,
        least: 8,
        packed: avx512_tile::packed::<2>,
        pack: avx512_tile::pack::<2>,
        run: avx512_tile::run::<2>,
    },
    #[cfg(target_arch = "x86_64")]
    QRow {
        name: "u8i8_rowconv_24x16__avx512vnni",
        needs: crate::x86::AVX512_VNNI,
        suits: avx512_tile::suits::<4>,
        least: 16,
        packed: avx512_tile::packed::<4>,
        pack: avx512_tile::pack::<4>,
        run: avx512_tile::run::<4>,
    },
    #[cfg(target_arch = "x86_64")]
    QRow {
        name: "u8i8_rowconv_16x16__avx512vbmi",
        needs: crate::x86::AVX512_VNNI.and(Features::AVX512_VBMI),
        suits: avx512::full_suits,
        least: 1,
        packed: avx512::full_packed,
        pack: avx512::full_pack,
        run: avx512::full,
    },
];

/// The sizes of a layer, and what follows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Kernel height and width.
    pub kernel: [usize; 2],
    /// Input pixels from output pixel to output pixel of a row.
    pub stride: usize,
    /// Input channels.
    pub channels: usize,
    /// Output channels.
    pub outputs: usize,
    /// Whether output channel `i` reads input channel `i` alone; all of them otherwise.
    pub depthwise: bool,
    /// Whether another tensor is added to what is requantized.
    pub residual: bool,
}

impl Shape {
    /// Input channels that an output channel reads.
    pub const fn k(&self) -> usize {
        if self.depthwise { 1 } else { self.channels }
    }

    /// Kernel taps.
    pub const fn taps(&self) -> usize {
        self.kernel[0] * self.kernel[1]
    }

    /// Bytes of an input row that `pixels` output pixels read.
    pub const fn row_bytes(&self, pixels: usize) -> usize {
        let columns = pixels.saturating_sub(1).saturating_mul(self.stride).saturating_add(self.kernel[1]);
        columns.saturating_mul(self.channels)
    }
}

/// Output pixels of one call.
#[derive(Debug, Clone, Copy)]
pub struct QArgs {
    /// The layer.
    pub shape: Shape,
    /// Output pixels.
    pub pixels: usize,
    /// One input row for each kernel row.
    pub x: *const *const u8,
    /// Packed weights.
    pub w: *const i8,
    /// Bias (with the input offset folded in), one an output channel.
    pub bias: *const i32,
    /// What is added to every weight of an output channel, padded as the bias is; null where nothing is. As in
    /// [`gemm::Args`](crate::gemm::Args).
    pub offset: *const i32,
    /// The output's first element.
    pub y: *mut u8,
    /// From accumulators to what is stored, or to what is added.
    pub requant: Requant,
    /// The other tensor, where the shape says that there is one; its rows are the output's pixels.
    pub residual: Option<Residual>,
}

/// A row of the table.
#[derive(Debug, Clone, Copy)]
pub struct QRow {
    /// Name.
    pub name: &'static str,
    /// CPU needs.
    pub needs: Features,
    /// Whether it computes layers of this shape faster than the rows of `gemm` and `dwconv` of the same instruction set
    /// do. A row need compute no others, except the scalar one, which is the reference of them all.
    pub suits: fn(&Shape) -> bool,
    /// Output pixels of a row from which on that holds; fewer are computed all the same.
    pub least: usize,
    /// Bytes that packed weights take.
    pub packed: fn(&Shape) -> usize,
    /// Packs weights given as `w[(output * taps + tap) * k + i]` into a slice of `packed` bytes.
    pub pack: fn(&Shape, &[i8], &mut [i8]),
    /// Computes.
    ///
    /// # Safety
    /// The CPU has `needs`, the row suits the shape, and all pointers are valid as the contract says.
    pub run: unsafe fn(&QArgs),
}

impl Row for QRow {
    fn name(&self) -> &'static str {
        self.name
    }
    fn needs(&self) -> Features {
        self.needs
    }
}

/// Output channels that bias and multipliers are padded to.
pub const fn padded(outputs: usize) -> usize {
    outputs.next_multiple_of(64)
}
