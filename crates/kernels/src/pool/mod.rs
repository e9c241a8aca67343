//! Pooling: one output pixel, all its channels.
//!
//! ## Contract
//! `x[tap]` leads to a counted tap's channels; taps in the padding are left out (or, where padding counts in an average,
//! lie in `count` only). Float sums add the taps in the given order. An integer average takes a window only if its sums
//! of `x - zero_in` fit the row's `sum_bits`; what is added up on the way need not.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "x86_64")]
mod avx512_16;
mod scalar;

use crate::elementwise::Stored;
use crate::isa::{Features, Kernel, Row};
use lowbit_arithmetic::Rounding;

/// One output pixel.
#[derive(Debug, Clone, Copy)]
pub struct Args<T> {
    /// Channels.
    pub channels: usize,
    /// Counted taps, at least 1.
    pub taps: usize,
    /// Input pointers, one a tap.
    pub x: *const *const T,
    /// Output channels.
    pub y: *mut T,
}

/// How an integer average is made of `sum(x) - taps * zero_in`.
#[derive(Debug, Clone, Copy)]
pub struct QAverage {
    /// One entry (for all channels): `Rescale::for_average`.
    pub rescale: lowbit_arithmetic::Rescale,
    /// Zero point of the input.
    pub zero_in: i32,
    /// Zero point of the output.
    pub zero_out: i32,
    /// Lowest stored value.
    pub lo: i32,
    /// Highest stored value.
    pub hi: i32,
}

/// One output pixel of an average with any rounding.
#[derive(Debug, Clone, Copy)]
pub struct AvgAny {
    /// Channels.
    pub channels: usize,
    /// Counted taps, at least 1.
    pub taps: usize,
    /// Input pointers, one a tap.
    pub x: Taps,
    /// How sums become averages; the rounding that it speaks of does not count.
    pub by: QAverage,
    /// Any rounding.
    pub rounding: Rounding,
    /// Index within the sample of channel 0, for stochastic rounding.
    pub index: u64,
    /// What a channel adds to the index.
    pub index_step: u64,
    /// Output channels.
    pub y: Stored,
}

/// Pointers to integers, one a tap.
#[derive(Debug, Clone, Copy)]
pub enum Taps {
    /// Bytes.
    U8(*const *const u8),
    /// 16 bits.
    U16(*const *const u16),
}

/// All in one.
pub type AvgAnyFn = unsafe fn(&AvgAny);
/// The greatest tap of each channel.
pub type MaxFn<T> = unsafe fn(&Args<T>);
/// The average of each channel's taps, default rounding.
pub type AvgFn<T> = unsafe fn(&Args<T>, &QAverage);
/// The sum of each channel's taps divided by the count.
pub type FloatAvgFn = unsafe fn(&Args<f32>, f32);

/// Maximum of u8.
pub static MAX_U8: &[Kernel<MaxFn<u8>>] = &[
    Kernel { name: "u8_maxpool__scalar", needs: Features::NONE, run: scalar::max::<u8> },
    #[cfg(target_arch = "x86_64")]
    Kernel { name: "u8_maxpool_32__avx2", needs: crate::x86::AVX2, run: avx2::max_u8 },
    #[cfg(target_arch = "x86_64")]
    Kernel { name: "u8_maxpool_64__avx512", needs: crate::x86::AVX512, run: avx512::max_u8 },
];

/// Maximum of u16.
pub static MAX_U16: &[Kernel<MaxFn<u16>>] = &[
    Kernel { name: "u16_maxpool__scalar", needs: Features::NONE, run: scalar::max::<u16> },
    #[cfg(target_arch = "x86_64")]
    Kernel { name: "u16_maxpool_32__avx2", needs: crate::x86::AVX2, run: avx2::max_u16 },
    #[cfg(target_arch = "x86_64")]
    Kernel { name: "u16_maxpool_64__avx512", needs: crate::x86::AVX512, run: avx512::max_u16 },
];

/// Maximum of f32: NaN wins, and +0 is greater than -0.
pub static MAX_F32: &[Kernel<MaxFn<f32>>] = &[
    Kernel { name: "f32_maxpool__scalar", needs: Features::NONE, run: scalar::max_f32 },
    #[cfg(target_arch = "x86_64")]
    Kernel { name: "f32_maxpool_32__avx2", needs: crate::x86::AVX2, run: avx2::max_f32 },
    #[cfg(target_arch = "x86_64")]
    Kernel { name: "f32_maxpool_64__avx512", needs: crate::x86::AVX512, run: avx512::max_f32 },
];

/// A row of an integer average's table.
#[derive(Debug, Clone, Copy)]
pub struct Average<T> {
    /// Name.
    pub name: &'static str,
    /// CPU needs.
    pub needs: Features,
    /// Bits of the sums that it can hold, in two's complement.
    pub sum_bits: u32,
    /// The function. To call it is safe only on a CPU that has `needs`, with pointers valid as the contract says.
    pub run: AvgFn<T>,
}

impl<T> Row for Average<T> {
    fn name(&self) -> &'static str {
        self.name
    }
    fn needs(&self) -> Features {
        self.needs
    }
}

/// Average of u8.
pub static AVG_U8: &[Average<u8>] = &[
    Average { name: "u8_avgpool__scalar", needs: Features::NONE, sum_bits: 64, run: scalar::avg_u8 },
    #[cfg(target_arch = "x86_64")]
    Average { name: "u8_avgpool_32__avx2", needs: crate::x86::AVX2, sum_bits: 32, run: avx2::avg_u8 },
    #[cfg(target_arch = "x86_64")]
    Average { name: "u8_avgpool_64__avx512", needs: crate::x86::AVX512, sum_bits: 32, run: avx512::avg_u8 },
];

/// Average of u16.
pub static AVG_U16: &[Average<u16>] = &[
    Average { name: "u16_avgpool__scalar", needs: Features::NONE, sum_bits: 64, run: scalar::avg_u16 },
    #[cfg(target_arch = "x86_64")]
    Average { name: "u16_avgpool_32__avx512", needs: crate::x86::AVX512, sum_bits: 64, run: avx512_16::avg_u16 },
];

/// Average of integers of any width with any rounding.
pub static AVG_ANY: &[Kernel<AvgAnyFn>] =
    &[Kernel { name: "any_avgpool__scalar", needs: Features::NONE, run: scalar::avg_any }];

/// Average of f32.
pub static AVG_F32: &[Kernel<FloatAvgFn>] = &[
    Kernel { name: "f32_avgpool__scalar", needs: Features::NONE, run: scalar::avg_f32 },
    #[cfg(target_arch = "x86_64")]
    Kernel { name: "f32_avgpool_32__avx2", needs: crate::x86::AVX2, run: avx2::avg_f32 },
    #[cfg(target_arch = "x86_64")]
    Kernel { name: "f32_avgpool_64__avx512", needs: crate::x86::AVX512, run: avx512::avg_f32 },
];
