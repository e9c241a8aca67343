//! Depthwise convolution: every channel its own kernel.
//!
//! ## Contract
//! One call computes `pixels` consecutive output pixels of all `channels`. `x[pixel * taps + tap]` leads to that tap's
//! channels (or to a row of zero points, or zeros for floats, in the padding). Weights are packed by this table's row's
//! `pack` function into as many bytes as its `packed` says; bias and multipliers have one entry a channel, padded with
//! zeros to a multiple of 64 channels. Taps ascend in (kh, kw) order; float: bias first, one fused multiply-add a tap.
//! Rows of `x` and of an epilogue's other tensor are read in whole registers, up to `SLACK` bytes beyond `channels`.
//! A call should have a whole row of pixels: what is loaded once a call, and columns that neighbouring 3x3 windows share
//! (recognized by equal pointers), then cost least. Inputs and weights at multiples of 64 bytes are read fastest.

#[cfg(target_arch = "x86_64")]
mod avx512;
mod scalar;

use crate::gemm::Epilogue16;
use crate::requant::{Epilogue, FloatEpilogue};
use crate::{Features, Row};

/// u8 activations by i8 weights, 32-bit accumulators.
pub static Q8: &[QDw] = &[
    QDw { name: "u8i8_dwconv__scalar", needs: Features::NONE, packed: packed_plain, pack: pack_plain, run: scalar::q8 },
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
    FDw { name: "f32_dwconv__scalar", needs: Features::NONE, run: scalar::f32 },
    #[cfg(target_arch = "x86_64")]
    FDw { name: "f32_dwconv_64__avx512", needs: crate::x86::AVX512, run: avx512::f32 },
];

/// u16 activations by i8 weights, 64-bit accumulators.
pub static Q16: &[QDw16] = &[QDw16 { name: "u16i8_dwconv__scalar", needs: Features::NONE, run: scalar::q16 }];

/// Output pixels of one integer call.
#[derive(Debug, Clone, Copy)]
pub struct QArgs {
    /// Output pixels.
    pub pixels: usize,
    /// Channels.
    pub channels: usize,
    /// Kernel taps.
    pub taps: usize,
    /// `pixels * taps` input pointers.
    pub x: *const *const u8,
    /// Packed weights.
    pub w: *const i8,
    /// Bias (with the input offset folded in), one a channel.
    pub bias: *const i32,
    /// The output's first element (u8, or i32 for [`Epilogue::Accumulator`]).
    pub y: *mut u8,
    /// Bytes between output pixels.
    pub y_stride: usize,
    /// What is stored.
    pub epilogue: Epilogue,
}

/// A row of the integer table.
#[derive(Debug, Clone, Copy)]
pub struct QDw {
    /// Name.
    pub name: &'static str,
    /// CPU needs.
    pub needs: Features,
    /// Bytes that packed weights take, for (channels, taps).
    pub packed: fn(usize, usize) -> usize,
    /// Packs weights given as `w[channel * taps + tap]` into a zeroed slice of `packed` bytes.
    pub pack: fn(&[i8], usize, usize, &mut [i8]),
    /// Computes.
    ///
    /// # Safety
    /// The CPU has `needs`; all pointers are valid as the contract says.
    pub run: unsafe fn(&QArgs),
}

/// Output pixels of one float call. Weights are `w[tap * padded + channel]`, `padded` = channels rounded up to 64.
#[derive(Debug, Clone, Copy)]
pub struct FArgs {
    /// Output pixels.
    pub pixels: usize,
    /// Channels.
    pub channels: usize,
    /// Kernel taps.
    pub taps: usize,
    /// `pixels * taps` input pointers.
    pub x: *const *const f32,
    /// Packed weights.
    pub w: *const f32,
    /// Bias, one a channel.
    pub bias: *const f32,
    /// The output's first element.
    pub y: *mut f32,
    /// Bytes between output pixels.
    pub y_stride: usize,
    /// What is stored.
    pub epilogue: FloatEpilogue,
}

/// A row of the float table.
#[derive(Debug, Clone, Copy)]
pub struct FDw {
    /// Name.
    pub name: &'static str,
    /// CPU needs.
    pub needs: Features,
    /// Computes.
    ///
    /// # Safety
    /// As [`QDw::run`].
    pub run: unsafe fn(&FArgs),
}

/// Output pixels of one call on u16 activations. Weights are laid out as in [`FArgs`].
#[derive(Debug, Clone, Copy)]
pub struct Q16Args {
    /// Output pixels.
    pub pixels: usize,
    /// Channels.
    pub channels: usize,
    /// Kernel taps.
    pub taps: usize,
    /// `pixels * taps` input pointers.
    pub x: *const *const u16,
    /// Packed weights ([`pack_plain`]).
    pub w: *const i8,
    /// Bias (with the input offset folded in), one a channel.
    pub bias: *const i64,
    /// The output's first element (u16, or i64 for [`Epilogue16::Accumulator`]).
    pub y: *mut u8,
    /// Bytes between output pixels.
    pub y_stride: usize,
    /// What is stored.
    pub epilogue: Epilogue16,
}

/// A row of the 16-bit table.
#[derive(Debug, Clone, Copy)]
pub struct QDw16 {
    /// Name.
    pub name: &'static str,
    /// CPU needs.
    pub needs: Features,
    /// Computes.
    ///
    /// # Safety
    /// As [`QDw::run`].
    pub run: unsafe fn(&Q16Args),
}

impl Row for QDw {
    fn name(&self) -> &'static str {
        self.name
    }
    fn needs(&self) -> Features {
        self.needs
    }
}

impl Row for FDw {
    fn name(&self) -> &'static str {
        self.name
    }
    fn needs(&self) -> Features {
        self.needs
    }
}

impl Row for QDw16 {
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
pub fn packed_plain(channels: usize, taps: usize) -> usize {
    taps * padded(channels)
}

/// The plain packing: `out[tap * padded + channel]`.
pub fn pack_plain<T: Copy>(w: &[T], channels: usize, taps: usize, out: &mut [T]) {
    for (tap, row) in out.chunks_exact_mut(padded(channels).max(1)).enumerate().take(taps) {
        for (slot, &w) in row.iter_mut().zip(w.iter().skip(tap).step_by(taps)).take(channels) {
            *slot = w;
        }
    }
}
