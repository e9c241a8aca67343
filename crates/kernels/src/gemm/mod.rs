//! Matrix product and convolution: one tile of output pixels by output channels.
//!
//! ## Contract
//! A convolution is a matrix product whose left rows are gathered: for output pixel `row` and kernel tap `tap`, the
//! pointer `x[tap * mr + row]` leads to that tap's input channels (consecutive bytes), or to a row of zero points where
//! the tap lies in the padding. A dense layer has one tap. The caller fills all `mr` pointers of each tap; those beyond
//! `rows` may repeat any valid pointer. Tile: `1 <= rows <= mr`, `1 <= cols <= nr`; only `rows x cols` are stored.
//!
//! Weights are packed by the compiler ([`pack_q8`], [`pack_q16`], [`pack_f32`]) into panels of `nr` channels, channels
//! and `k` padded with zeros: integer `[tap][k / 4][nr][4]`, float `[tap][k][nr]`; a panel takes what `packed_*` says of
//! `nr` channels. Bias and multipliers have one entry a channel, padded to whole panels. Input rows are read in groups
//! of 4 elements (integer), so up to 3 beyond the last channel are read and meet zero weights. The other tensor of an
//! epilogue is read in whole registers. Inputs and weights that start at multiples of 64 bytes are read fastest.
//!
//! Integer products sum modulo 2^32: the compiler has proven that the true sum fits (input offset included: `bias`
//! holds bias - zero_point * sum(w)). Float: the accumulator starts at the bias, one fused multiply-add a step, taps
//! outermost, channels ascending.

#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "x86_64")]
mod avx512_q16;
mod scalar;

use crate::requant::{Epilogue, FloatEpilogue};
use crate::{Features, Row};
use lowbit_arithmetic::Rescale;

/// u8 activations by i8 weights, 32-bit accumulators. Of one instruction set the widest tile comes first, the narrower
/// ones for layers of few channels follow.
pub static Q8: &[QGemm] = &[
    QGemm { name: "u8i8_gemm_4x8__scalar", needs: Features::NONE, mr: 4, nr: 8, most: ANY, run: scalar::q8::<4, 8> },
    #[cfg(target_arch = "x86_64")]
    QGemm {
        name: "u8i8_gemm_6x64__avx512vnni",
        needs: crate::x86::AVX512_VNNI,
        mr: avx512::MR,
        nr: avx512::NR,
        most: ANY,
        run: avx512::q8,
    },
    #[cfg(target_arch = "x86_64")]
    QGemm {
        name: "u8i8_gemm_12x32__avx512vnni",
        needs: crate::x86::AVX512_VNNI,
        mr: 2 * avx512::MR,
        nr: avx512::NR / 2,
        most: avx512::NR / 2,
        run: avx512::q8_narrow::<2>,
    },
    #[cfg(target_arch = "x86_64")]
    QGemm {
        name: "u8i8_gemm_24x16__avx512vnni",
        needs: crate::x86::AVX512_VNNI,
        mr: 4 * avx512::MR,
        nr: avx512::NR / 4,
        most: avx512::NR / 4,
        run: avx512::q8_narrow::<4>,
    },
];

/// [`QGemm::most`] of a row for layers of any width.
const ANY: usize = usize::MAX;

/// f32.
pub static F32: &[FGemm] = &[
    FGemm { name: "f32_gemm_4x8__scalar", needs: Features::NONE, mr: 4, nr: 8, run: scalar::f32::<4, 8> },
    #[cfg(target_arch = "x86_64")]
    FGemm {
        name: "f32_gemm_6x64__avx512",
        needs: crate::x86::AVX512,
        mr: avx512::MR,
        nr: avx512::NR,
        run: avx512::f32,
    },
];

/// u16 activations by i8 weights, 64-bit accumulators.
pub static Q16: &[QGemm16] = &[
    QGemm16 { name: "u16i8_gemm_4x8__scalar", needs: Features::NONE, mr: 4, nr: 8, run: scalar::q16::<4, 8> },
    #[cfg(target_arch = "x86_64")]
    QGemm16 {
        name: "u16i8_gemm_6x32__avx512vnni",
        needs: crate::x86::AVX512_VNNI,
        mr: avx512_q16::MR,
        nr: avx512_q16::NR,
        run: avx512_q16::q16,
    },
];

/// u16 activations by i16 weights, 64-bit accumulators. [`Q16Args`] and packing ([`pack_w16`]) as for [`Q16`], with words
/// where that has bytes of weights.
pub static Q16_W16: &[QGemm16] =
    &[QGemm16 { name: "u16i16_gemm_4x8__scalar", needs: Features::NONE, mr: 4, nr: 8, run: scalar::w16::<u16, 4, 8> }];

/// u8 activations by i16 weights, 64-bit accumulators: as [`Q16_W16`], with bytes where that has words of activations.
pub static Q8_W16: &[QGemm16] =
    &[QGemm16 { name: "u8i16_gemm_4x8__scalar", needs: Features::NONE, mr: 4, nr: 8, run: scalar::w16::<u8, 4, 8> }];

/// One integer tile: u8 activations, i8 weights, i32 accumulators.
#[derive(Debug, Clone, Copy)]
pub struct QArgs {
    /// Output pixels of this tile.
    pub rows: usize,
    /// Output channels of this tile.
    pub cols: usize,
    /// `taps * mr` input pointers.
    pub x: *const *const u8,
    /// Kernel taps.
    pub taps: usize,
    /// Input channels a tap.
    pub k: usize,
    /// This panel's weights.
    pub w: *const i8,
    /// This panel's bias.
    pub bias: *const i32,
    /// The output's first element (u8, or i32 for [`Epilogue::Accumulator`]).
    pub y: *mut u8,
    /// Bytes between output rows.
    pub y_stride: usize,
    /// What is stored.
    pub epilogue: Epilogue,
}

/// A row of the integer table.
#[derive(Debug, Clone, Copy)]
pub struct QGemm {
    /// Name.
    pub name: &'static str,
    /// CPU needs.
    pub needs: Features,
    /// Output pixels a tile.
    pub mr: usize,
    /// Output channels a tile.
    pub nr: usize,
    /// Output channels of the widest layer (of one group) for which this row is meant.
    pub most: usize,
    /// Computes one tile.
    ///
    /// # Safety
    /// The CPU has `needs`; all pointers are valid as the contract says.
    pub run: unsafe fn(&QArgs),
}

/// One float tile.
#[derive(Debug, Clone, Copy)]
pub struct FArgs {
    /// Output pixels of this tile.
    pub rows: usize,
    /// Output channels of this tile.
    pub cols: usize,
    /// `taps * mr` input pointers.
    pub x: *const *const f32,
    /// Kernel taps.
    pub taps: usize,
    /// Input channels a tap.
    pub k: usize,
    /// This panel's weights.
    pub w: *const f32,
    /// This panel's bias.
    pub bias: *const f32,
    /// The output's first element.
    pub y: *mut f32,
    /// Bytes between output rows.
    pub y_stride: usize,
    /// What is stored.
    pub epilogue: FloatEpilogue,
}

/// A row of the float table.
#[derive(Debug, Clone, Copy)]
pub struct FGemm {
    /// Name.
    pub name: &'static str,
    /// CPU needs.
    pub needs: Features,
    /// Output pixels a tile.
    pub mr: usize,
    /// Output channels a tile.
    pub nr: usize,
    /// Computes one tile.
    ///
    /// # Safety
    /// As [`QGemm::run`].
    pub run: unsafe fn(&FArgs),
}

/// One tile of u16 activations.
#[derive(Debug, Clone, Copy)]
pub struct Q16Args {
    /// Output pixels of this tile.
    pub rows: usize,
    /// Output channels of this tile.
    pub cols: usize,
    /// `taps * mr` input pointers.
    pub x: *const *const u16,
    /// Kernel taps.
    pub taps: usize,
    /// Input channels a tap.
    pub k: usize,
    /// This panel's weights.
    pub w: *const i8,
    /// This panel's bias (with the input offset folded in).
    pub bias: *const i64,
    /// The output's first element (u16, or i64 for [`Epilogue16::Accumulator`]).
    pub y: *mut u8,
    /// Bytes between output rows.
    pub y_stride: usize,
    /// What is stored.
    pub epilogue: Epilogue16,
}

/// What a kernel with 64-bit accumulators stores.
#[derive(Debug, Clone, Copy)]
pub enum Epilogue16 {
    /// The i64 accumulators.
    Accumulator,
    /// u16, by each method's default rounding.
    Requant {
        /// One entry a channel of the tile.
        scales: *const Rescale,
        /// Added after rounding.
        zero_point: i32,
        /// Lowest stored value.
        lo: i32,
        /// Highest stored value.
        hi: i32,
    },
}

/// A row of the 16-bit table.
#[derive(Debug, Clone, Copy)]
pub struct QGemm16 {
    /// Name.
    pub name: &'static str,
    /// CPU needs.
    pub needs: Features,
    /// Output pixels a tile.
    pub mr: usize,
    /// Output channels a tile.
    pub nr: usize,
    /// Computes one tile.
    ///
    /// # Safety
    /// As [`QGemm::run`].
    pub run: unsafe fn(&Q16Args),
}

impl Row for QGemm {
    fn name(&self) -> &'static str {
        self.name
    }
    fn needs(&self) -> Features {
        self.needs
    }
}

impl Row for FGemm {
    fn name(&self) -> &'static str {
        self.name
    }
    fn needs(&self) -> Features {
        self.needs
    }
}

impl Row for QGemm16 {
    fn name(&self) -> &'static str {
        self.name
    }
    fn needs(&self) -> Features {
        self.needs
    }
}

/// Bytes of packed integer weights: whole panels of `nr` channels.
pub const fn packed_q8(channels: usize, taps: usize, k: usize, nr: usize) -> usize {
    channels.next_multiple_of(nr) * taps * k.next_multiple_of(4)
}

/// Packs the weight of each (channel, tap, k) for [`Q8`].
pub fn pack_q8(
    w: impl Fn(usize, usize, usize) -> i8,
    channels: usize,
    taps: usize,
    k: usize,
    nr: usize,
    out: &mut [i8],
) {
    pack(w, channels, taps, k, nr, 4, out);
}

/// Bytes of packed weights for 16-bit activations: as for 8 bits.
pub const fn packed_q16(channels: usize, taps: usize, k: usize, nr: usize) -> usize {
    packed_q8(channels, taps, k, nr)
}

/// Packs the weight of each (channel, tap, k) for [`Q16`].
pub fn pack_q16(
    w: impl Fn(usize, usize, usize) -> i8,
    channels: usize,
    taps: usize,
    k: usize,
    nr: usize,
    out: &mut [i8],
) {
    pack(w, channels, taps, k, nr, 4, out);
}

/// Bytes of packed 16-bit weights.
pub const fn packed_w16(channels: usize, taps: usize, k: usize, nr: usize) -> usize {
    2 * packed_q8(channels, taps, k, nr)
}

/// Packs the weight of each (channel, tap, k) for [`Q16_W16`] and [`Q8_W16`]; `out` counts weights, not bytes.
pub fn pack_w16(
    w: impl Fn(usize, usize, usize) -> i16,
    channels: usize,
    taps: usize,
    k: usize,
    nr: usize,
    out: &mut [i16],
) {
    pack(w, channels, taps, k, nr, 4, out);
}

/// Elements of packed float weights.
pub const fn packed_f32(channels: usize, taps: usize, k: usize, nr: usize) -> usize {
    channels.next_multiple_of(nr) * taps * k
}

/// Packs the weight of each (channel, tap, k) for [`F32`].
pub fn pack_f32(
    w: impl Fn(usize, usize, usize) -> f32,
    channels: usize,
    taps: usize,
    k: usize,
    nr: usize,
    out: &mut [f32],
) {
    pack(w, channels, taps, k, nr, 1, out);
}

/// Panels of `nr` channels: `[panel][tap][k / group][nr][group]`, the rest zeros.
fn pack<T: Default>(
    w: impl Fn(usize, usize, usize) -> T,
    channels: usize,
    taps: usize,
    k: usize,
    nr: usize,
    group: usize,
    out: &mut [T],
) {
    let mut slots = out.iter_mut();
    for panel in (0..channels).step_by(nr) {
        for tap in 0..taps {
            for first in (0..k).step_by(group) {
                for channel in panel..panel + nr {
                    for i in first..first + group {
                        let Some(slot) = slots.next() else { return };
                        *slot = if channel < channels && i < k { w(channel, tap, i) } else { T::default() };
                    }
                }
            }
        }
    }
}
