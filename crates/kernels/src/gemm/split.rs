//! Activations of 16 bits as planes of their upper and their lower bytes: products of bytes are faster than those of words.

use super::SplitArgs;
#[cfg(target_arch = "x86_64")]
use crate::x86::rescale::store_bytes;
#[cfg(target_arch = "x86_64")]
use core::arch::x86_64::*;

/// # Safety
/// As [`super::SPLIT`].
pub unsafe fn scalar(a: &SplitArgs) {
    // SAFETY: the caller's promise; a plane has room for a byte of each element.
    unsafe {
        let mut at = 0;
        for run in 0..a.count {
            let run = *a.runs.add(run);
            for i in 0..run.n {
                let [low, high] = (*run.x.add(i)).to_le_bytes();
                *a.planes.add(at + i) = high;
                *a.planes.add(a.plane + at + i) = low;
            }
            at += run.n;
        }
        for plane in [0, a.plane] {
            a.planes.add(plane + at).write_bytes(0, a.plane - at);
        }
    }
}

/// Elements of a step.
#[cfg(target_arch = "x86_64")]
const STEP: usize = 64;

/// # Safety
/// As [`super::SPLIT`].
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub unsafe fn avx512(a: &SplitArgs) {
    // SAFETY: the caller's promise. Inputs are read in whole registers, planes are written within their bytes, of which less
    // than a register is left in the end.
    unsafe {
        let mut at = 0;
        for run in 0..a.count {
            let run = *a.runs.add(run);
            for i in (0..run.n).step_by(STEP) {
                let (high, low) = halves(run.x.add(i));
                let to = a.planes.add(at + i);
                // What is written behind the run is written again.
                let n = if at + i + STEP <= a.plane { STEP } else { run.n - i };
                store_bytes(to, n, high);
                store_bytes(to.add(a.plane), n, low);
            }
            at += run.n;
        }
        let (zero, rest) = (_mm512_setzero_si512(), a.plane - at);
        if rest > 0 {
            store_bytes(a.planes.add(at), rest, zero);
            store_bytes(a.planes.add(a.plane + at), rest, zero);
        }
    }
}

/// The upper and the lower bytes of 64 words.
///
/// # Safety
/// `x` is readable for as many.
#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn halves(x: *const u16) -> (__m512i, __m512i) {
    // SAFETY: the caller's promise.
    let [first, second] = [0, 32].map(|i| unsafe { _mm512_loadu_si512(x.add(i).cast()) });
    let low = _mm512_set1_epi16(0xff);
    // Packing goes by 128-bit lanes of both registers in turn.
    let order = _mm512_setr_epi64(0, 2, 4, 6, 1, 3, 5, 7);
    let high = _mm512_packus_epi16(_mm512_srli_epi16::<8>(first), _mm512_srli_epi16::<8>(second));
    let low = _mm512_packus_epi16(_mm512_and_si512(first, low), _mm512_and_si512(second, low));
    (_mm512_permutexvar_epi64(order, high), _mm512_permutexvar_epi64(order, low))
}
