//! The AVX-512 rows for weights of words: u16 by i16 and u8 by i16.
//!
//! A step takes one lane of 32 bits of activations, two words, and adds its dot product with as many weights
//! of each channel to a sum of 32 bits, from where the sums move to 64 bits before they could overflow. A u16 is
//! `256 * high + low`, and each of the two has its own sum.
//!
//! Activations are split for up to [`BLOCK`] steps in advance, whatever taps they belong to: so a row costs a step one
//! broadcast load a part and nothing of the ports that multiply, and taps of few channels make no short loops.
//!
//! Where the accumulators are proven to fit 32 bits, all of it is modulo 2^32, and the epilogue is that of bytes up to
//! the width of what is stored: nothing is widened, and sixteen channels are rescaled at once instead of eight.

use super::avx512::{rescale, rounded};
use super::avx512_q16::join;
use super::avx512_store::store;
use super::{Args, Epilogue16, Q8W16Args, Q16W16Args};
use crate::requant::{Requant, Scales};
use crate::x86::rescale::{Aim, Fixed16, Float16, Rescale16, Shift16, Wide16, store_bytes};
use crate::x86::unroll;
use crate::x86::wide::{Words, halves};
use core::arch::x86_64::*;
use core::marker::PhantomData;
use core::mem::MaybeUninit;

/// Rows of a tile.
pub const MR: usize = 6;
/// Channels of a tile.
pub const NR: usize = 32;
/// Steps for which activations are split in advance.
const BLOCK: usize = 128;
/// Activations of a step.
const GROUP: usize = 2;
/// Lanes of a register.
const LANES: usize = 16;

/// How activations and weights become dot products.
trait Parts {
    type X: Copy;
    type W;
    /// What takes the place of this where sums are modulo 2^32.
    type Modulo: Parts<X = Self::X, W = Self::W>;
    /// Parts an activation has, the first less significant: 1 or 2.
    const PARTS: usize;
    /// Whether activations are taken 32768 lower.
    const LOWER: bool;
    /// The largest magnitude of a part of an activation times that of a weight.
    const PRODUCT: i64;
    /// Steps that 32 bits hold.
    const STEPS: usize = (i32::MAX as i64 / (GROUP as i64 * Self::PRODUCT)) as usize;

    /// The parts of the activations of [`LANES`] steps.
    ///
    /// # Safety
    /// AVX-512 is enabled; `x` is readable for so many.
    unsafe fn split(x: *const Self::X) -> [__m512i; 2];

    /// sums + a part of activations * weights
    ///
    /// # Safety
    /// AVX-512 and its VNNI are enabled.
    unsafe fn dot(sums: __m512i, x: __m512i, weights: __m512i) -> __m512i;
}

struct WordsByWords;
struct WordsByWordsModulo;
struct BytesByWords;

impl Parts for WordsByWords {
    type X = u16;
    type W = i16;
    type Modulo = WordsByWordsModulo;
    const PARTS: usize = 2;
    const LOWER: bool = false;
    const PRODUCT: i64 = 255 * 32768;

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn split(x: *const u16) -> [__m512i; 2] {
        // SAFETY: the caller's promise.
        let x = unsafe { _mm512_loadu_si512(x.cast()) };
        [_mm512_and_si512(x, _mm512_set1_epi16(0xff)), _mm512_srli_epi16::<8>(x)]
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn dot(sums: __m512i, x: __m512i, weights: __m512i) -> __m512i {
        _mm512_dpwssd_epi32(sums, x, weights)
    }
}

// A u16 that is taken 32768 lower is a signed word, and one part does where no sum can overflow.
impl Parts for WordsByWordsModulo {
    type X = u16;
    type W = i16;
    type Modulo = Self;
    const PARTS: usize = 1;
    const LOWER: bool = true;
    const PRODUCT: i64 = 32768 * 32768;

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn split(x: *const u16) -> [__m512i; 2] {
        // SAFETY: the caller's promise.
        let x = unsafe { _mm512_loadu_si512(x.cast()) };
        [_mm512_xor_si512(x, _mm512_set1_epi16(i16::MIN)), _mm512_setzero_si512()]
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn dot(sums: __m512i, x: __m512i, weights: __m512i) -> __m512i {
        _mm512_dpwssd_epi32(sums, x, weights)
    }
}

impl Parts for BytesByWords {
    type X = u8;
    type W = i16;
    type Modulo = Self;
    const PARTS: usize = 1;
    const LOWER: bool = false;
    const PRODUCT: i64 = 255 * 32768;

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn split(x: *const u8) -> [__m512i; 2] {
        // SAFETY: the caller's promise.
        let x = unsafe { _mm256_loadu_si256(x.cast()) };
        [_mm512_cvtepu8_epi16(x), _mm512_setzero_si512()]
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn dot(sums: __m512i, x: __m512i, weights: __m512i) -> __m512i {
        _mm512_dpwssd_epi32(sums, x, weights)
    }
}

/// # Safety
/// As [`super::Gemm::run`].
pub unsafe fn u16_by_words(a: &Q16W16Args) {
    // SAFETY: the caller's promise.
    unsafe { run::<WordsByWords>(a) }
}

/// # Safety
/// As [`super::Gemm::run`].
pub unsafe fn u8_by_words(a: &Q8W16Args) {
    // SAFETY: the caller's promise.
    unsafe { run::<BytesByWords>(a) }
}

/// The arguments of a tile.
type Of<P> = Args<<P as Parts>::X, <P as Parts>::W, i64, u8, Epilogue16>;
/// A tile; safe to call as [`super::Gemm::run`] is.
type Wide<P> = unsafe fn(&Of<P>);
/// A tile of accumulators of 32 bits; safe to call as [`super::Gemm::run`] is.
type Narrow<P> = unsafe fn(&Of<P>, &Requant);

/// The instances of tiles: rows by vectors of channels.
struct Tiles<P>(PhantomData<P>);

impl<P: Parts> Tiles<P> {
    const WIDE: [[Wide<P>; NR / 16]; MR] = [
        [wide::<P, 1, 1>, wide::<P, 1, 2>],
        [wide::<P, 2, 1>, wide::<P, 2, 2>],
        [wide::<P, 3, 1>, wide::<P, 3, 2>],
        [wide::<P, 4, 1>, wide::<P, 4, 2>],
        [wide::<P, 5, 1>, wide::<P, 5, 2>],
        [wide::<P, 6, 1>, wide::<P, 6, 2>],
    ];
    const NARROW: [[Narrow<P>; NR / 16]; MR] = [
        [narrow::<P, 1, 1>, narrow::<P, 1, 2>],
        [narrow::<P, 2, 1>, narrow::<P, 2, 2>],
        [narrow::<P, 3, 1>, narrow::<P, 3, 2>],
        [narrow::<P, 4, 1>, narrow::<P, 4, 2>],
        [narrow::<P, 5, 1>, narrow::<P, 5, 2>],
        [narrow::<P, 6, 1>, narrow::<P, 6, 2>],
    ];
}

/// # Safety
/// As [`super::Gemm::run`].
#[inline(always)]
unsafe fn run<P: Parts>(a: &Of<P>) {
    let (row, vector) = (a.rows.wrapping_sub(1), a.cols.wrapping_sub(1) / 16);
    if let Epilogue16::Requant { how, narrow: true } = &a.epilogue {
        if let Some(tile) = Tiles::<P::Modulo>::NARROW.get(row).and_then(|tiles| tiles.get(vector)) {
            // SAFETY: as below.
            unsafe { tile(a, how) }
        }
        return;
    }
    if let Some(tile) = Tiles::<P>::WIDE.get(row).and_then(|tiles| tiles.get(vector)) {
        // SAFETY: the caller's promise; the instance has the rows and at least the channels of the arguments.
        unsafe { tile(a) }
    }
}

/// # Safety
/// As [`super::Gemm::run`], with `a.rows == R` and `a.cols` in the last of `V` vectors.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn wide<P: Parts, const R: usize, const V: usize>(a: &Of<P>) {
    const { assert!(!P::LOWER && P::STEPS >= BLOCK) };
    // SAFETY: the bias has NR entries; the rest is the caller's promise.
    unsafe {
        // For each vector of channels its lower and its upper half.
        let mut totals = [[[_mm512_setzero_si512(); 2]; V]; R];
        unroll!(V, v => {
            let bias = [0, 8].map(|i| _mm512_loadu_si512(a.bias.add(16 * v + i).cast()));
            unroll!(R, r => totals[r][v] = bias);
        });
        let mut feed = Feed::<P, R>::new(a);
        // Before there are sums, as they leave their registers for it.
        feed.fill(a);
        let mut left = P::STEPS - feed.steps;
        let mut sums = feed.products(Sums::<R, V>::new());
        while feed.tap < a.taps {
            feed.fill(a);
            if feed.steps > left {
                sums.add_to(&mut totals);
                sums = Sums::new();
                left = P::STEPS;
            }
            left -= feed.steps;
            sums = feed.products(sums);
        }
        sums.add_to(&mut totals);
        store(&totals, a);
    }
}

/// The tile of accumulators of 32 bits.
///
/// # Safety
/// As [`wide`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn narrow<P: Parts, const R: usize, const V: usize>(a: &Of<P>, how: &Requant) {
    // SAFETY: as in `wide`.
    unsafe {
        let mut feed = Feed::<P, R>::new(a);
        feed.fill(a);
        let mut sums = feed.products(Sums::<R, V>::new());
        while feed.tap < a.taps {
            feed.fill(a);
            sums = feed.products(sums);
        }
        let mut acc = [[_mm512_setzero_si512(); V]; R];
        unroll!(V, v => {
            let bias = [0, 8].map(|i| _mm512_cvtepi64_epi32(_mm512_loadu_si512(a.bias.add(16 * v + i).cast())));
            let mut bias = halves(bias[0], bias[1]);
            if P::LOWER {
                bias = _mm512_sub_epi32(bias, sums.lowered[v]);
            }
            unroll!(R, r => {
                acc[r][v] = _mm512_add_epi32(sums.of[r][v][0], bias);
                if P::PARTS > 1 {
                    acc[r][v] = _mm512_add_epi32(acc[r][v], _mm512_slli_epi32::<8>(sums.of[r][v][1]));
                }
            });
        });
        finish(&acc, how, a.cols, a.y, a.y_stride);
    }
}

/// Stores accumulators of 32 bits; not inlined, as it is the same for all parts.
///
/// # Safety
/// As [`wide`], of which these are the epilogue, the channels and the output.
#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn finish<const R: usize, const V: usize>(
    acc: &[[__m512i; V]; R],
    how: &Requant,
    cols: usize,
    y: *mut u8,
    y_stride: usize,
) {
    let mut acc = *acc;
    // SAFETY: multipliers have an entry for each channel of a panel, and the output is written within `cols`.
    unsafe {
        rescale!(acc, how, R, V, V, rounded::<R, V, 1>);
        let words = Words::new(how.zero_point, how.lo, how.hi);
        unroll!(R, r => store_bytes(y.add(r * y_stride), 2 * cols, words.pack(acc[r][0], acc[r][V - 1])));
    }
}

/// The sums of some steps.
#[derive(Clone, Copy)]
struct Sums<const R: usize, const V: usize> {
    /// Of each row, vector of channels and part.
    of: [[[__m512i; 2]; V]; R],
    /// -32768 times the weights, where activations are taken lower.
    lowered: [__m512i; V],
}

impl<const R: usize, const V: usize> Sums<R, V> {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
    fn new() -> Self {
        let zero = _mm512_setzero_si512();
        Sums { of: [[[zero; 2]; V]; R], lowered: [zero; V] }
    }

    /// Adds all parts to sums of 64 bits; a part that there is not is 0.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
    fn add_to(&self, totals: &mut [[[__m512i; 2]; V]; R]) {
        unroll!(R, r => unroll!(V, v => {
            let [low, high] = self.of[r][v];
            totals[r][v] = [
                join(totals[r][v][0], _mm512_castsi512_si256(low), _mm512_castsi512_si256(high)),
                join(
                    totals[r][v][1],
                    _mm512_extracti64x4_epi64::<1>(low),
                    _mm512_extracti64x4_epi64::<1>(high),
                ),
            ];
        }));
    }
}

/// A lane a step, and room for what a last whole register has beyond. Aligned, as a store across lines takes twice as long.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Split([MaybeUninit<i32>; BLOCK + LANES]);

/// Where a tile is, and the next of its activations.
struct Feed<P: Parts, const R: usize> {
    /// Tap and step in it of what is split next.
    tap: usize,
    at: usize,
    /// Weights of the first step that is split.
    w: *const P::W,
    /// Steps that are split.
    steps: usize,
    /// What is split, of each row and part.
    lanes: [[Split; 2]; R],
}

impl<P: Parts, const R: usize> Feed<P, R> {
    #[inline]
    fn new(a: &Of<P>) -> Self {
        let lanes = [[Split([MaybeUninit::uninit(); BLOCK + LANES]); 2]; R];
        Feed { tap: 0, at: 0, w: a.w, steps: 0, lanes }
    }

    /// Splits the activations of up to `BLOCK` steps, of none at the end.
    ///
    /// # Safety
    /// As [`wide`].
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn fill(&mut self, a: &Of<P>) {
        let of_tap = a.k.div_ceil(GROUP);
        self.steps = 0;
        while self.tap < a.taps && self.steps < BLOCK {
            let n = (of_tap - self.at).min(BLOCK - self.steps);
            for (r, lanes) in self.lanes.iter_mut().enumerate() {
                // SAFETY: by the contract each of the `taps * MR` pointers leads to `k` elements and slack, of which
                // whole registers are read; what is written beyond the `BLOCK` lanes has room for a register.
                unsafe {
                    let x = (*a.x.add(self.tap * MR + r)).add(self.at * GROUP);
                    for i in (0..n).step_by(LANES) {
                        let parts = P::split(x.add(i * GROUP));
                        unroll!(2, part => if part < P::PARTS {
                            _mm512_storeu_si512(lanes[part].0.as_mut_ptr().add(self.steps + i).cast(), parts[part]);
                        });
                    }
                }
            }
            self.steps += n;
            self.at += n;
            if self.at == of_tap {
                (self.tap, self.at) = (self.tap + 1, 0);
            }
        }
    }

    /// Adds the products of the steps that are split.
    ///
    /// # Safety
    /// As [`wide`]; [`Feed::fill`] was called after the last products.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn products<const V: usize>(&mut self, mut sums: Sums<R, V>) -> Sums<R, V> {
        let lower = _mm512_set1_epi16(i16::MIN);
        let mut w = self.w;
        for step in 0..self.steps {
            // SAFETY: the panel has NR * GROUP weights, two registers, for each of the steps, whose lanes are split.
            unsafe {
                let mut weights = [_mm512_setzero_si512(); V];
                unroll!(V, v => {
                    weights[v] = _mm512_loadu_si512(w.add(LANES * GROUP * v).cast());
                    if P::LOWER {
                        sums.lowered[v] = P::dot(sums.lowered[v], lower, weights[v]);
                    }
                });
                unroll!(R, r => unroll!(2, part => if part < P::PARTS {
                    let x = _mm512_set1_epi32(self.lanes[r][part].0.get_unchecked(step).assume_init());
                    unroll!(V, v => sums.of[r][v][part] = P::dot(sums.of[r][v][part], x, weights[v]));
                }));
                w = w.add(NR * GROUP);
            }
        }
        self.w = w;
        sums
    }
}
