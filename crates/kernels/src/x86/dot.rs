//! Products of four bytes by four signed ones, added to a sum of 32 bits: the one step in which AVX2 and AVX-VNNI differ.
//!
//! AVX2's own product of bytes (`vpmaddubsw`) saturates sums of two to 16 bits, so it is not used: bytes become words, of
//! which `vpmaddwd` adds two products in 32 bits exactly. Of each four bytes the even ones and the odd ones are a part of
//! their own, for a mask and a shift take them apart.

use core::arch::x86_64::*;
use core::mem::MaybeUninit;

/// How a register of eight sums takes four products each, modulo 2^32.
///
/// Methods are inlined into functions that enable the instruction set, so that what they need is there.
pub trait Dot {
    /// Steps that four products take, each with its own part of the activations and weights.
    const PARTS: usize;
    /// Bytes of activations that [`Dot::ready`] takes at once.
    const RUN: usize;

    /// Makes activations ready to be broadcast: `n` of them, at most [`Dot::RUN`], are read, in whole registers.
    ///
    /// # Safety
    /// The instruction set is enabled; `x` is readable for `n` rounded up to a multiple of 32 bytes.
    unsafe fn ready(x: *const u8, n: usize, room: &mut Room) -> *const u8;

    /// Four activations from the `at`th on in every lane: one part of them.
    ///
    /// # Safety
    /// The instruction set is enabled; `ready` is what [`Dot::ready`] gave for more than `at` bytes, `at` a multiple of 4.
    unsafe fn broadcast<const PART: usize>(ready: *const u8, at: usize) -> __m256i;

    /// One part of a register of activations.
    ///
    /// # Safety
    /// The instruction set is enabled.
    unsafe fn x<const PART: usize>(bytes: __m256i) -> __m256i;

    /// One part of a register of weights.
    ///
    /// # Safety
    /// The instruction set is enabled.
    unsafe fn w<const PART: usize>(bytes: __m256i) -> __m256i;

    /// Stores weight `i` of the four of a lane, in [`Dot::PARTS`] registers that are parts of weights.
    fn put(w: i8, lane: usize, i: usize, out: &mut [i8]);

    /// `acc` and the sum of the four bytes of each lane.
    ///
    /// # Safety
    /// The instruction set is enabled.
    unsafe fn count(acc: __m256i, bytes: __m256i) -> __m256i;

    /// `acc` and the products of a part.
    ///
    /// # Safety
    /// The instruction set is enabled.
    unsafe fn step(acc: __m256i, x: __m256i, w: __m256i) -> __m256i;
}

/// Room for activations of one row that are made ready.
#[repr(align(32))]
pub struct Room(MaybeUninit<[u8; 2 * Words::RUN]>);

impl Room {
    /// Uninitialized.
    pub const EMPTY: Room = Room(MaybeUninit::uninit());
}

/// AVX2: words, first the even and then the odd bytes of each four.
pub struct Words;

impl Dot for Words {
    const PARTS: usize = 2;
    const RUN: usize = 256;

    #[inline(always)]
    unsafe fn ready(x: *const u8, n: usize, room: &mut Room) -> *const u8 {
        let out = room.0.as_mut_ptr().cast::<u8>();
        let mut at = 0;
        while at < n {
            // SAFETY: AVX2 is enabled; `n` is at most RUN, a multiple of 32, and the room has as much for each part.
            unsafe {
                let bytes = _mm256_loadu_si256(x.add(at).cast());
                _mm256_store_si256(out.add(at).cast(), Self::x::<0>(bytes));
                _mm256_store_si256(out.add(Self::RUN + at).cast(), Self::x::<1>(bytes));
            }
            at += 32;
        }
        out
    }

    #[inline(always)]
    unsafe fn broadcast<const PART: usize>(ready: *const u8, at: usize) -> __m256i {
        // SAFETY: AVX2 is enabled; each part has two words for every four bytes.
        unsafe { _mm256_set1_epi32(ready.add(PART * Self::RUN + at).cast::<i32>().read_unaligned()) }
    }

    #[inline(always)]
    unsafe fn x<const PART: usize>(bytes: __m256i) -> __m256i {
        // SAFETY: AVX2 is enabled.
        unsafe {
            match PART {
                0 => _mm256_and_si256(bytes, _mm256_set1_epi16(0xff)),
                _ => _mm256_srli_epi16::<8>(bytes),
            }
        }
    }

    #[inline(always)]
    unsafe fn w<const PART: usize>(bytes: __m256i) -> __m256i {
        // SAFETY: AVX2 is enabled.
        unsafe {
            match PART {
                0 => _mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(bytes)),
                _ => _mm256_srai_epi16::<8>(bytes),
            }
        }
    }

    fn put(w: i8, lane: usize, i: usize, out: &mut [i8]) {
        let at = 32 * (i % 2) + 4 * lane + i / 2 * 2;
        for (out, byte) in out.iter_mut().skip(at).zip(i16::from(w).to_le_bytes()) {
            *out = byte as i8;
        }
    }

    #[inline(always)]
    unsafe fn count(acc: __m256i, bytes: __m256i) -> __m256i {
        // SAFETY: AVX2 is enabled. Sums of two bytes are far from saturating 16 bits.
        unsafe {
            let pairs = _mm256_maddubs_epi16(bytes, _mm256_set1_epi8(1));
            _mm256_add_epi32(acc, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)))
        }
    }

    #[inline(always)]
    unsafe fn step(acc: __m256i, x: __m256i, w: __m256i) -> __m256i {
        // SAFETY: AVX2 is enabled.
        unsafe { _mm256_add_epi32(acc, _mm256_madd_epi16(x, w)) }
    }
}

/// AVX-VNNI: one instruction.
pub struct Bytes4;

impl Dot for Bytes4 {
    const PARTS: usize = 1;
    const RUN: usize = usize::MAX;

    #[inline(always)]
    unsafe fn ready(x: *const u8, _n: usize, _room: &mut Room) -> *const u8 {
        x
    }

    #[inline(always)]
    unsafe fn broadcast<const PART: usize>(ready: *const u8, at: usize) -> __m256i {
        // SAFETY: AVX2 is enabled; activations are readable in whole registers.
        unsafe { _mm256_set1_epi32(ready.add(at).cast::<i32>().read_unaligned()) }
    }

    #[inline(always)]
    unsafe fn x<const PART: usize>(bytes: __m256i) -> __m256i {
        bytes
    }

    #[inline(always)]
    unsafe fn w<const PART: usize>(bytes: __m256i) -> __m256i {
        bytes
    }

    fn put(w: i8, lane: usize, i: usize, out: &mut [i8]) {
        if let Some(out) = out.get_mut(4 * lane + i) {
            *out = w;
        }
    }

    #[inline(always)]
    unsafe fn count(acc: __m256i, bytes: __m256i) -> __m256i {
        // SAFETY: AVX-VNNI is enabled.
        unsafe { _mm256_dpbusd_avx_epi32(acc, bytes, _mm256_set1_epi8(1)) }
    }

    #[inline(always)]
    unsafe fn step(acc: __m256i, x: __m256i, w: __m256i) -> __m256i {
        // SAFETY: AVX-VNNI is enabled.
        unsafe { _mm256_dpbusd_avx_epi32(acc, x, w) }
    }
}
