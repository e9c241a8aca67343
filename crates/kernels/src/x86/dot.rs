//! Products of four bytes by four signed ones, added to a sum of 32 bits: the one step in which AVX2 and AVX-VNNI differ.
//!
//! AVX2's own product of bytes (`vpmaddubsw`) saturates sums of two to 16 bits, so it is not used: bytes become words, of
//! which `vpmaddwd` adds two products in 32 bits exactly. The even bytes and the odd ones make a register of words each,
//! for a mask and a shift take them apart, so that activations may be broadcast four bytes at once.

use core::arch::x86_64::*;

/// How a register of eight sums takes four products each, modulo 2^32.
///
/// Methods are inlined into functions that enable the instruction set.
pub trait Dot {
    /// A register of bytes, made ready.
    type X: Copy;
    /// A register of signed bytes, made ready.
    type W: Copy;
    /// Bytes that a register of weights takes if it is stored ready.
    const STORED: usize;

    /// Makes activations ready.
    ///
    /// # Safety
    /// The instruction set is enabled.
    unsafe fn x(bytes: __m256i) -> Self::X;

    /// Makes weights ready.
    ///
    /// # Safety
    /// The instruction set is enabled.
    unsafe fn w(bytes: __m256i) -> Self::W;

    /// Stores weight `i` of the four of a lane.
    fn put(w: i8, lane: usize, i: usize, out: &mut [i8]);

    /// Reads weights that [`Dot::put`] stored.
    ///
    /// # Safety
    /// The instruction set is enabled, and `at` is readable for [`Dot::STORED`] bytes.
    unsafe fn stored(at: *const i8) -> Self::W;

    /// `acc` and four products a lane.
    ///
    /// # Safety
    /// The instruction set is enabled.
    unsafe fn dot(acc: __m256i, x: Self::X, w: Self::W) -> __m256i;

    /// [`Dot::dot`] where the last three bytes of each four of `x` are zeros.
    ///
    /// # Safety
    /// The instruction set is enabled.
    unsafe fn dot_first(acc: __m256i, x: __m256i, w: Self::W) -> __m256i;
}

/// AVX2: words, the even and the odd bytes of each four.
pub struct Words;

impl Dot for Words {
    type X = [__m256i; 2];
    type W = [__m256i; 2];
    const STORED: usize = 64;

    #[inline(always)]
    unsafe fn x(bytes: __m256i) -> [__m256i; 2] {
        // SAFETY: AVX2 is enabled.
        unsafe { [_mm256_and_si256(bytes, _mm256_set1_epi16(0xff)), _mm256_srli_epi16::<8>(bytes)] }
    }

    #[inline(always)]
    unsafe fn w(bytes: __m256i) -> [__m256i; 2] {
        // SAFETY: AVX2 is enabled.
        unsafe { [_mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(bytes)), _mm256_srai_epi16::<8>(bytes)] }
    }

    fn put(w: i8, lane: usize, i: usize, out: &mut [i8]) {
        let at = 32 * (i % 2) + 4 * lane + i / 2 * 2;
        for (out, byte) in out.iter_mut().skip(at).zip(i16::from(w).to_le_bytes()) {
            *out = byte as i8;
        }
    }

    #[inline(always)]
    unsafe fn stored(at: *const i8) -> [__m256i; 2] {
        // SAFETY: AVX2 is enabled, and two registers are readable.
        unsafe { [_mm256_loadu_si256(at.cast()), _mm256_loadu_si256(at.add(32).cast())] }
    }

    #[inline(always)]
    unsafe fn dot(acc: __m256i, x: [__m256i; 2], w: [__m256i; 2]) -> __m256i {
        // SAFETY: AVX2 is enabled.
        unsafe {
            let acc = _mm256_add_epi32(acc, _mm256_madd_epi16(x[0], w[0]));
            _mm256_add_epi32(acc, _mm256_madd_epi16(x[1], w[1]))
        }
    }

    #[inline(always)]
    unsafe fn dot_first(acc: __m256i, x: __m256i, w: [__m256i; 2]) -> __m256i {
        // SAFETY: AVX2 is enabled. A byte with zeros behind it is its word.
        unsafe { _mm256_add_epi32(acc, _mm256_madd_epi16(x, w[0])) }
    }
}

/// AVX-VNNI: one instruction.
pub struct Bytes4;

impl Dot for Bytes4 {
    type X = __m256i;
    type W = __m256i;
    const STORED: usize = 32;

    #[inline(always)]
    unsafe fn x(bytes: __m256i) -> __m256i {
        bytes
    }

    #[inline(always)]
    unsafe fn w(bytes: __m256i) -> __m256i {
        bytes
    }

    fn put(w: i8, lane: usize, i: usize, out: &mut [i8]) {
        if let Some(out) = out.get_mut(4 * lane + i) {
            *out = w;
        }
    }

    #[inline(always)]
    unsafe fn stored(at: *const i8) -> __m256i {
        // SAFETY: AVX-VNNI is enabled, and a register is readable.
        unsafe { _mm256_loadu_si256(at.cast()) }
    }

    #[inline(always)]
    unsafe fn dot(acc: __m256i, x: __m256i, w: __m256i) -> __m256i {
        // SAFETY: AVX-VNNI is enabled.
        unsafe { _mm256_dpbusd_avx_epi32(acc, x, w) }
    }

    #[inline(always)]
    unsafe fn dot_first(acc: __m256i, x: __m256i, w: __m256i) -> __m256i {
        // SAFETY: AVX-VNNI is enabled.
        unsafe { Self::dot(acc, x, w) }
    }
}
