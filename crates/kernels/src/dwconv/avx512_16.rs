//! AVX-512 rows with sums of 64 bits.
//!
//! A dot product instruction multiplies 16-bit integers with a sign and adds pairs to 32 bits, so that it does two taps
//! of a channel. Activations of 16 bits lose 2^15 for it, and 2^15 times the sum of the weights joins the bias; weights
//! of 16 bits by such activations are two digits, `w = 256 * high + low`, with a sum each. A product then stays below
//! 2^23 in magnitude, so that 256 taps fit 32 bits; then, and at the end, the sums move to 64.
//!
//! A block is 32 channels. Interleaving the words of two taps within 128-bit lanes leaves the channels 0 ..= 3 of each
//! lane's eight in one register and 4 ..= 7 in another. So weights are packed, and bias and multipliers loaded once a
//! call, in that order; narrowing works within lanes too and puts the channels back.

use super::{Args, Q8W16Args, Q16Args, Q16W16Args};
use crate::gemm::Epilogue16;
use crate::x86::rescale::store_bytes;
use crate::x86::unroll;
use crate::x86::wide::{Any8, Fixed8, Float8, Kind, Multipliers, Rescale8, Words, halves};
use core::arch::x86_64::*;

/// Channels of a block.
const BLOCK: usize = 32;
/// Taps after which the 32-bit sums are moved.
const STEPS: usize = 256;
const _: () = assert!(STEPS as i64 * 255 * 32768 <= i32::MAX as i64 && STEPS.is_multiple_of(2));

/// The packed words of weights with `D` digits: blocks of `[taps / 2][D][channel in block order][2]`.
const fn words<const D: usize>(channels: usize, taps: usize) -> usize {
    channels.next_multiple_of(BLOCK) * taps.next_multiple_of(2) * D
}

/// Hands out the packed words of weights `w[channel * taps + tap]`, high digits first, until `put` takes no more.
fn each_word<const D: usize>(
    w: impl Fn(usize) -> i16,
    channels: usize,
    taps: usize,
    mut put: impl FnMut(i16) -> Option<()>,
) -> Option<()> {
    for first in (0..channels).step_by(BLOCK) {
        for pair in (0..taps).step_by(2) {
            for digit in 0..D {
                for place in 0..BLOCK {
                    // Sixteen channels a register: four of each lane's eight.
                    let channel = first + place % 16 / 4 * 8 + place / 16 * 4 + place % 4;
                    for tap in [pair, pair + 1] {
                        let w = if channel < channels && tap < taps { w(channel * taps + tap) } else { 0 };
                        put(match (D, digit) {
                            (2, 0) => w >> 8,
                            (2, _) => w & 255,
                            _ => w,
                        })?;
                    }
                }
            }
        }
    }
    Some(())
}

/// Elements of packed weights of 8 bits: words of two bytes.
pub fn packed_bytes(channels: usize, taps: usize) -> usize {
    2 * words::<1>(channels, taps)
}

/// Packs weights given as `w[channel * taps + tap]`.
pub fn pack_bytes(w: &[i8], channels: usize, taps: usize, out: &mut [i8]) {
    let mut slots = out.chunks_exact_mut(2);
    let weight = |i: usize| w.get(i).copied().unwrap_or(0).into();
    each_word::<1>(weight, channels, taps, |word| {
        let slot = slots.next()?;
        for (slot, byte) in slot.iter_mut().zip(word.to_le_bytes()) {
            *slot = byte as i8;
        }
        Some(())
    });
}

/// Elements of packed weights of 16 bits in `D` digits.
pub fn packed_words<const D: usize>(channels: usize, taps: usize) -> usize {
    words::<D>(channels, taps)
}

/// Packs weights given as `w[channel * taps + tap]`.
pub fn pack_words<const D: usize>(w: &[i16], channels: usize, taps: usize, out: &mut [i16]) {
    let mut slots = out.iter_mut();
    let weight = |i: usize| w.get(i).copied().unwrap_or(0);
    each_word::<D>(weight, channels, taps, |word| {
        *slots.next()? = word;
        Some(())
    });
}

/// # Safety
/// As [`super::Dw::run`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
pub unsafe fn q16(a: &Q16Args) {
    // SAFETY: the caller's promise; `pack_bytes` laid the weights out as words.
    unsafe { blocks::<1, _, _>(a) }
}

/// # Safety
/// As [`super::Dw::run`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
pub unsafe fn q16_w16(a: &Q16W16Args) {
    // SAFETY: the caller's promise.
    unsafe { blocks::<2, _, _>(a) }
}

/// # Safety
/// As [`super::Dw::run`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
pub unsafe fn q8_w16(a: &Q8W16Args) {
    // SAFETY: the caller's promise.
    unsafe { blocks::<1, _, _>(a) }
}

/// Activations as words with a sign.
trait Activation: Copy {
    /// Added to an activation to make it a word.
    const OFFSET: i16;

    /// The words of a block.
    ///
    /// # Safety
    /// AVX-512 is enabled, and `x` is readable for a block.
    unsafe fn load(x: *const Self) -> __m512i;
}

impl Activation for u16 {
    const OFFSET: i16 = i16::MIN;

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn load(x: *const u16) -> __m512i {
        // SAFETY: the caller's promise.
        let x = unsafe { _mm512_loadu_si512(x.cast()) };
        _mm512_xor_si512(x, _mm512_set1_epi16(i16::MIN))
    }
}

impl Activation for u8 {
    const OFFSET: i16 = 0;

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn load(x: *const u8) -> __m512i {
        // SAFETY: the caller's promise.
        _mm512_cvtepu8_epi16(unsafe { _mm256_loadu_si256(x.cast()) })
    }
}

/// Where the channels of sum `i` of a block begin: four here, and four from 8 later on.
const fn place(i: usize) -> usize {
    i % 2 * 16 + i / 2 * 4
}

/// All channels, a block at a time.
///
/// # Safety
/// As [`super::Dw::run`]; `a.w` leads to packed words of `D` digits.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn blocks<const D: usize, X: Activation, W>(a: &Args<X, W, i64, u8, Epilogue16>) {
    let mut w: *const i16 = a.w.cast();
    for first in (0..a.channels).step_by(BLOCK) {
        let n = (a.channels - first).min(BLOCK);
        // SAFETY: the caller's promise; `w` advances by the weights of a block, as they are laid out. There is a
        // multiplier for each channel, and outputs are written within the channels.
        unsafe {
            match a.epilogue {
                Epilogue16::Accumulator => pixels::<D, X, W>(a, first, w, |pixel, sums| {
                    let y = a.y.add(pixel * a.y_stride).cast::<i64>();
                    for (i, sum) in sums.into_iter().enumerate() {
                        let put = |at: usize, sum: __m256i| {
                            let mask = ((1u32 << n.saturating_sub(at).min(4)) - 1) as __mmask8;
                            _mm256_mask_storeu_epi64(y.wrapping_add(first + at), mask, sum);
                        };
                        put(place(i), _mm512_castsi512_si256(sum));
                        put(place(i) + 8, _mm512_extracti64x4_epi64::<1>(sum));
                    }
                }),
                Epilogue16::Requant { how, .. } => {
                    let multipliers = Multipliers::of_scales(how.scales.from(first), n);
                    let (top, words) = (how.hi - how.zero_point, Words::new(how.zero_point, how.lo, how.hi));
                    match if how.is_default() { multipliers.kind } else { Kind::Mixed } {
                        Kind::Float => requantized::<D, X, W, Float8>(a, first, w, &multipliers, top, words),
                        Kind::Fixed => requantized::<D, X, W, Fixed8>(a, first, w, &multipliers, top, words),
                        Kind::Any => requantized::<D, X, W, Any8>(a, first, w, &multipliers, top, words),
                        Kind::Mixed => pixels::<D, X, W>(a, first, w, |pixel, sums| {
                            for (i, sum) in sums.into_iter().enumerate() {
                                let mut lanes = [0i64; 8];
                                _mm512_storeu_si512(lanes.as_mut_ptr().cast(), sum);
                                for (lane, &acc) in lanes.iter().enumerate() {
                                    let at = place(i) + lane / 4 * 8 + lane % 4;
                                    if at < n {
                                        a.epilogue.store(acc, pixel, first + at, a.y, a.y_stride);
                                    }
                                }
                            }
                        }),
                    }
                }
            }
            w = w.add(words::<D>(BLOCK, a.taps));
        }
    }
}

/// A block that is requantized.
///
/// # Safety
/// As [`blocks`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn requantized<const D: usize, X: Activation, W, S: Rescale8>(
    a: &Args<X, W, i64, u8, Epilogue16>,
    first: usize,
    w: *const i16,
    multipliers: &Multipliers,
    top: i32,
    words: Words,
) {
    let n = (a.channels - first).min(BLOCK);
    // SAFETY: there are multipliers for 32 channels; outputs are written within the channels.
    unsafe {
        let of = |i: usize| -> S { multipliers.of(place(i), place(i) + 8, top) };
        let by = [of(0), of(1), of(2), of(3)];
        pixels::<D, X, W>(a, first, w, |pixel, sums| {
            let low = halves(by[0].apply(sums[0]), by[1].apply(sums[1]));
            let high = halves(by[2].apply(sums[2]), by[3].apply(sums[3]));
            store_bytes(a.y.add(pixel * a.y_stride + 2 * first), 2 * n, words.pack_lanes(low, high));
        });
    }
}

/// The sums of a block's pixels, handed to `store` with the pixel's number.
///
/// # Safety
/// As [`blocks`]; `w` are the block's weights.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn pixels<const D: usize, X: Activation, W>(
    a: &Args<X, W, i64, u8, Epilogue16>,
    first: usize,
    w: *const i16,
    mut store: impl FnMut(usize, [__m512i; 4]),
) {
    // SAFETY: `x` has the pointers of all pixels, rows of it are readable for a block from any channel on; bias is padded
    // to whole blocks.
    unsafe {
        let mut start = [_mm512_setzero_si512(); 4];
        unroll!(4, i => {
            let bias = a.bias.add(first + place(i));
            start[i] = halves(_mm256_loadu_si256(bias.cast()), _mm256_loadu_si256(bias.add(8).cast()));
        });
        if X::OFFSET != 0 {
            let ones = _mm512_set1_epi16(1);
            let weights = sums::<D>(a.taps, w, [_mm512_setzero_si512(); 4], |_| ones);
            let offset = _mm512_set1_epi64(i64::from(X::OFFSET));
            unroll!(4, i => start[i] = _mm512_sub_epi64(start[i], _mm512_mullo_epi64(weights[i], offset)));
        }
        for pixel in 0..a.pixels {
            let x = a.x.add(pixel * a.taps);
            let load = |tap: usize| X::load((*x.add(tap)).add(first));
            let sums = if a.taps == 9 { sums::<D>(9, w, start, load) } else { sums::<D>(a.taps, w, start, load) };
            // Called once, so that it is compiled into the loop.
            store(pixel, sums);
        }
    }
}

/// The sums of one pixel of a block, whose words `x` gives by tap.
///
/// # Safety
/// `w` are the block's weights, and `x` may be called with every tap.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn sums<const D: usize>(
    taps: usize,
    mut w: *const i16,
    mut totals: [__m512i; 4],
    x: impl Fn(usize) -> __m512i,
) -> [__m512i; 4] {
    for from in (0..taps).step_by(STEPS) {
        let mut acc = [[_mm512_setzero_si512(); 2]; D];
        for tap in (from..taps.min(from + STEPS)).step_by(2) {
            let even = x(tap);
            // The weights of a tap that there is not are zeros.
            let odd = if tap + 1 < taps { x(tap + 1) } else { even };
            let pairs = [_mm512_unpacklo_epi16(even, odd), _mm512_unpackhi_epi16(even, odd)];
            unroll!(D, d => unroll!(2, half => {
                // SAFETY: a pair of taps has 2 * D registers of weights.
                let weights = unsafe { _mm512_loadu_si512(w.add(BLOCK * (2 * d + half)).cast()) };
                acc[d][half] = _mm512_dpwssd_epi32(acc[d][half], pairs[half], weights);
            }));
            w = w.wrapping_add(2 * BLOCK * D);
        }
        unroll!(4, i => {
            let half = |d: usize| {
                let acc = acc[d][i / 2];
                _mm512_cvtepi32_epi64(match i % 2 {
                    0 => _mm512_castsi512_si256(acc),
                    _ => _mm512_extracti64x4_epi64::<1>(acc),
                })
            };
            let mut sum = half(D - 1);
            if D == 2 {
                sum = _mm512_add_epi64(sum, _mm512_slli_epi64::<8>(half(0)));
            }
            totals[i] = _mm512_add_epi64(totals[i], sum);
        });
    }
    totals
}
