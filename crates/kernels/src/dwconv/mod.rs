//! Depthwise convolution: every channel its own kernel.
//!
//! ## Contract
//! One call computes `pixels` consecutive output pixels of all `channels`. `x[pixel * taps + tap]` leads to that tap's
//! channels (or to a row of zero points, or zeros for floats, in the padding). Weights are packed by this table's row's
//! `pack` function into as many elements as its `packed` says; bias and multipliers have one entry a channel, padded with
//! zeros to a multiple of 64 channels. Taps ascend in (kh, kw) order; float: bias first, one fused multiply-add a tap.
//! Rows of `x` and of an epilogue's other tensor are read in whole registers, up to `SLACK` bytes beyond `channels`.
//! A call should have a whole row of pixels: what is loaded once a call, and columns that neighbouring 3x3 windows share
//! (recognized by equal pointers), then cost least. Inputs and weights at multiples of 64 bytes are read fastest.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx2_wide;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "x86_64")]
mod avx512_16;
#[cfg(target_arch = "x86_64")]
mod avxvnni;
mod scalar;

use crate::gemm::Epilogue16;
use crate::requant::{Epilogue, FloatEpilogue};
#[cfg(target_arch = "x86_64")]
use crate::x86::dot::{Bytes4, Words};
use crate::{Features, Row};

/// u8 activations by i8 weights, 32-bit accumulators.
pub static Q8: &[QDw] = &[
    QDw { name: "u8i8_dwconv__scalar", needs: Features::NONE, packed: packed_plain, pack: pack_plain, run: scalar::q8 },
    #[cfg(target_arch = "x86_64")]
    QDw {
        name: "u8i8_dwconv_32__avx2",
        needs: crate::x86::AVX2,
        packed: avx2::packed::<Words>,
        pack: avx2::pack::<Words>,
        run: avx2::q8,
    },
    #[cfg(target_arch = "x86_64")]
    QDw {
        name: "u8i8_dwconv_32__avxvnni",
        needs: crate::x86::AVX_VNNI,
        packed: avx2::packed::<Bytes4>,
        pack: avx2::pack::<Bytes4>,
        run: avxvnni::q8,
    },
    #[cfg(target_arch = "x86_64")]
    QDw {
        name: "u8i8_dwconv_64__avx512vnni",
        needs: crate::x86::AVX512_VNNI,
        packed: avx512::packed,
        pack: avx512::pack,
        run: avx512::q8,
    },
];

/// f32.
pub static F32: &[FDw] = &[
    FDw { name: "f32_dwconv__scalar", needs: Features::NONE, packed: packed_plain, pack: pack_plain, run: scalar::f32 },
    #[cfg(target_arch = "x86_64")]
    FDw {
        name: "f32_dwconv_32__avx2",
        needs: crate::x86::AVX2,
        packed: packed_plain,
        pack: pack_plain,
        run: avx2::f32,
    },
    #[cfg(target_arch = "x86_64")]
    FDw {
        name: "f32_dwconv_64__avx512",
        needs: crate::x86::AVX512,
        packed: packed_plain,
        pack: pack_plain,
        run: avx512::f32,
    },
];

/// u16 activations by i8 weights, 64-bit accumulators.
pub static Q16: &[QDw16] = &[
    QDw16 {
        name: "u16i8_dwconv__scalar",
        needs: Features::NONE,
        packed: packed_plain,
        pack: pack_plain,
        run: scalar::q16,
    },
    #[cfg(target_arch = "x86_64")]
    QDw16 {
        name: "u16i8_dwconv_8__avx2",
        needs: crate::x86::AVX2,
        packed: packed_plain,
        pack: pack_plain,
        run: avx2_wide::u16_by_bytes,
    },
    #[cfg(target_arch = "x86_64")]
    QDw16 {
        name: "u16i8_dwconv_32__avx512vnni",
        needs: crate::x86::AVX512_VNNI,
        packed: avx512_16::packed_bytes,
        pack: avx512_16::pack_bytes,
        run: avx512_16::q16,
    },
];

/// u16 activations by i16 weights, 64-bit accumulators.
pub static Q16_W16: &[Dw<Q16W16Args, i16>] = &[
    Dw {
        name: "u16i16_dwconv__scalar",
        needs: Features::NONE,
        packed: packed_plain,
        pack: pack_plain,
        run: scalar::w16::<u16>,
    },
    #[cfg(target_arch = "x86_64")]
    Dw {
        name: "u16i16_dwconv_8__avx2",
        needs: crate::x86::AVX2,
        packed: packed_plain,
        pack: pack_plain,
        run: avx2_wide::u16_by_words,
    },
    #[cfg(target_arch = "x86_64")]
    Dw {
        name: "u16i16_dwconv_32__avx512vnni",
        needs: crate::x86::AVX512_VNNI,
        packed: avx512_16::packed_words::<2>,
        pack: avx512_16::pack_words::<2>,
        run: avx512_16::q16_w16,
    },
];

/// u8 activations by i16 weights, 64-bit accumulators.
pub static Q8_W16: &[Dw<Q8W16Args, i16>] = &[
    Dw {
        name: "u8i16_dwconv__scalar",
        needs: Features::NONE,
        packed: packed_plain,
        pack: pack_plain,
        run: scalar::w16::<u8>,
    },
    #[cfg(target_arch = "x86_64")]
    Dw {
        name: "u8i16_dwconv_8__avx2",
        needs: crate::x86::AVX2,
        packed: packed_plain,
        pack: pack_plain,
        run: avx2_wide::u8_by_words,
    },
    #[cfg(target_arch = "x86_64")]
    Dw {
        name: "u8i16_dwconv_32__avx512vnni",
        needs: crate::x86::AVX512_VNNI,
        packed: avx512_16::packed_words::<1>,
        pack: avx512_16::pack_words::<1>,
        run: avx512_16::q8_w16,
    },
];

/// Output pixels of one call: activations `X` by weights `W`, sums of the bias' type `B`, stored at `Y` as `E` says.
#[derive(Debug, Clone, Copy)]
pub struct Args<X, W, B, Y, E> {
    /// Output pixels.
    pub pixels: usize,
    /// Channels.
    pub channels: usize,
    /// Kernel taps.
    pub taps: usize,
    /// `pixels * taps` input pointers.
    pub x: *const *const X,
    /// Packed weights.
    pub w: *const W,
    /// Bias (integers: with the input offset folded in), one a channel.
    pub bias: *const B,
    /// What is added to every weight of a channel, padded as the bias is; null where nothing is. As in
    /// [`gemm::Args`](crate::gemm::Args).
    pub offset: *const B,
    /// The output's first element; bytes where the epilogue says what it is.
    pub y: *mut Y,
    /// Bytes between output pixels.
    pub y_stride: usize,
    /// What is stored.
    pub epilogue: E,
}

/// Output pixels of u8 activations: u8, or i32 for [`Epilogue::Accumulator`].
pub type QArgs = Args<u8, i8, i32, u8, Epilogue>;
/// Output pixels of f32.
pub type FArgs = Args<f32, f32, f32, f32, FloatEpilogue>;
/// Output pixels of u16 activations: u16, or i64 for [`Epilogue16::Accumulator`].
pub type Q16Args = Args<u16, i8, i64, u8, Epilogue16>;

/// Output pixels of u16 activations and i16 weights: as [`Q16Args`].
pub type Q16W16Args = Args<u16, i16, i64, u8, Epilogue16>;
/// Output pixels of u8 activations and i16 weights: as [`Q16Args`].
pub type Q8W16Args = Args<u8, i16, i64, u8, Epilogue16>;

/// A row of a table, whose weights are `W`.
#[derive(Debug, Clone, Copy)]
pub struct Dw<A, W> {
    /// Name.
    pub name: &'static str,
    /// CPU needs.
    pub needs: Features,
    /// Elements that packed weights take, for (channels, taps).
    pub packed: fn(usize, usize) -> usize,
    /// Packs weights given as `w[channel * taps + tap]` into a zeroed slice of `packed` elements.
    pub pack: fn(&[W], usize, usize, &mut [W]),
    /// Computes.
    ///
    /// # Safety
    /// The CPU has `needs`; all pointers are valid as the contract says.
    pub run: unsafe fn(&A),
}

/// A row of [`Q8`].
pub type QDw = Dw<QArgs, i8>;
/// A row of [`F32`].
pub type FDw = Dw<FArgs, f32>;
/// A row of [`Q16`].
pub type QDw16 = Dw<Q16Args, i8>;

impl<A, W> Row for Dw<A, W> {
    fn name(&self) -> &'static str {
        self.name
    }
    fn needs(&self) -> Features {
        self.needs
    }
}

/// Channels a weight row, bias or multiplier is padded to.
pub const fn padded(channels: usize) -> usize {
    channels.next_multiple_of(64)
}

/// Elements of plainly packed weights.
fn packed_plain(channels: usize, taps: usize) -> usize {
    taps * padded(channels)
}

/// The plain packing: `out[tap * padded + channel]`.
fn pack_plain<T: Copy>(w: &[T], channels: usize, taps: usize, out: &mut [T]) {
    for (tap, row) in out.chunks_exact_mut(padded(channels).max(1)).enumerate().take(taps) {
        for (slot, &w) in row.iter_mut().zip(w.iter().skip(tap).step_by(taps)).take(channels) {
            *slot = w;
        }
    }
}
