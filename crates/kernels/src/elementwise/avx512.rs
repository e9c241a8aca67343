//! AVX-512 rows. Integers go 64 a step; inputs are loaded whole beyond the end, outputs are not.

use super::unary::{binary, unary as unary_fn};
use super::{BinaryFn, MulParams, UnaryFn, spread};
use crate::requant::{AddParams, Requant, Scales};
use crate::x86::lanes::{Zmm, first16};
use crate::x86::rescale::{
    Aim, ByteSum16, Bytes, Fixed16, Float16, Rescale16, Rounded16, Shift16, Sum16, Wide16, store_bytes, with_rescale,
};
use core::arch::x86_64::*;
use lowbit_arithmetic::{Affine, elementary};

/// Sixteen bytes as integers.
///
/// # Safety
/// `x` is readable for 16 bytes.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn widen(x: *const u8) -> __m512i {
    // SAFETY: the caller's promise.
    unsafe { _mm512_cvtepu8_epi32(_mm_loadu_si128(x.cast())) }
}

/// # Safety
/// The CPU has AVX-512, and the pointers are valid as the module's contract says.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub unsafe fn add_u8(n: usize, a: *const u8, b: *const u8, y: *mut u8, how: &AddParams) {
    let sum = Sum16::new(how);
    // SAFETY: passed on.
    unsafe {
        match ByteSum16::of(how) {
            Some(sum) => add_by(n, a, b, y, how, |a, b| sum.apply(a, b)),
            None if sum.is_rounded() => add_by(n, a, b, y, how, |a, b| sum.apply::<true>(a, b)),
            None => add_by(n, a, b, y, how, |a, b| sum.apply::<false>(a, b)),
        }
    }
}

/// # Safety
/// As [`add_u8`].
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn add_by(
    n: usize,
    a: *const u8,
    b: *const u8,
    y: *mut u8,
    how: &AddParams,
    sum: impl Fn(__m512i, __m512i) -> __m512i,
) {
    let bytes = Bytes::new(how.zero_point, how.lo, how.hi);
    let (z1, z2) = (_mm512_set1_epi32(how.z1), _mm512_set1_epi32(how.z2));
    for i in (0..n).step_by(64) {
        // SAFETY: inputs are readable for 64 bytes from any element on, the output is written within n.
        unsafe {
            let part = |j: usize| {
                let a = _mm512_sub_epi32(widen(a.add(i + 16 * j)), z1);
                let b = _mm512_sub_epi32(widen(b.add(i + 16 * j)), z2);
                sum(a, b)
            };
            store_bytes(y.add(i), (n - i).min(64), bytes.pack(part(0), part(1), part(2), part(3)));
        }
    }
}

/// # Safety
/// As [`add_u8`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub unsafe fn mul_u8(n: usize, a: *const u8, b: *const u8, y: *mut u8, how: &MulParams) {
    let bytes = Bytes::new(how.zero_point, how.lo, how.hi);
    let (z1, z2) = (_mm512_set1_epi32(how.z1), _mm512_set1_epi32(how.z2));
    // SAFETY: as in `add_u8`.
    unsafe {
        with_rescale!(how.rescale, how.rounding, how.hi - how.zero_point, by => {
            for i in (0..n).step_by(64) {
                let part = |j: usize| {
                    let a = _mm512_sub_epi32(widen(a.add(i + 16 * j)), z1);
                    let b = _mm512_sub_epi32(widen(b.add(i + 16 * j)), z2);
                    by.apply(_mm512_mullo_epi32(a, b))
                };
                store_bytes(y.add(i), (n - i).min(64), bytes.pack(part(0), part(1), part(2), part(3)));
            }
        });
    }
}

/// # Safety
/// The CPU has AVX-512 and VBMI; `x` and `y` are valid as the module's contract says, `table` leads to 256 bytes.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi")]
pub unsafe fn table_u8(n: usize, x: *const u8, table: *const u8, y: *mut u8) {
    // SAFETY: as in `add_u8`; the table has four registers.
    unsafe {
        let quarter = |i: usize| _mm512_loadu_si512(table.add(64 * i).cast());
        let table = [quarter(0), quarter(1), quarter(2), quarter(3)];
        for i in (0..n).step_by(64) {
            let x = _mm512_loadu_si512(x.add(i).cast());
            let low = _mm512_permutex2var_epi8(table[0], x, table[1]);
            let high = _mm512_permutex2var_epi8(table[2], x, table[3]);
            let found = _mm512_mask_blend_epi8(_mm512_movepi8_mask(x), low, high);
            store_bytes(y.add(i), (n - i).min(64), found);
        }
    }
}

/// Sixteen quotients rounded half to even: exact up to `top`, the least i32 where they are too small, 0 for NaN.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn quotients(x: __m512, scale: __m512, top: __m512) -> __m512i {
    let t = _mm512_div_ps(x, scale);
    let number = _mm512_cmp_ps_mask::<_CMP_ORD_Q>(t, t);
    _mm512_maskz_cvtps_epi32(number, _mm512_min_ps(t, top))
}

/// # Safety
/// As [`add_u8`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub unsafe fn quantize_u8(n: usize, x: *const f32, y: *mut u8, to: &Affine) {
    let bytes = Bytes::new(to.zero_point, to.qmin, to.qmax);
    let (scale, top) = (_mm512_set1_ps(to.scale), _mm512_set1_ps((to.qmax - to.zero_point) as f32));
    for i in (0..n).step_by(64) {
        // SAFETY: inputs are readable for 64 elements (256 bytes) from any element on, the output is written within n.
        unsafe {
            let part = |j: usize| quotients(_mm512_loadu_ps(x.add(i + 16 * j)), scale, top);
            store_bytes(y.add(i), (n - i).min(64), bytes.pack(part(0), part(1), part(2), part(3)));
        }
    }
}

/// # Safety
/// As [`add_u8`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub unsafe fn quantize_u16(n: usize, x: *const f32, y: *mut u16, to: &Affine) {
    let (scale, top) = (_mm512_set1_ps(to.scale), _mm512_set1_ps((to.qmax - to.zero_point) as f32));
    let zero_point = _mm512_set1_epi32(to.zero_point);
    let (lo, hi) = (_mm512_set1_epi32(to.qmin), _mm512_set1_epi32(to.qmax));
    for i in (0..n).step_by(16) {
        let mask = first16(n - i);
        // SAFETY: as in `quantize_u8`.
        unsafe {
            let q = _mm512_add_epi32(quotients(_mm512_maskz_loadu_ps(mask, x.add(i)), scale, top), zero_point);
            let q = _mm512_min_epi32(_mm512_max_epi32(q, lo), hi);
            _mm256_mask_storeu_epi16(y.add(i).cast(), mask, _mm512_cvtepi32_epi16(q));
        }
    }
}

/// # Safety
/// As [`add_u8`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub unsafe fn dequantize_u8(n: usize, x: *const u8, y: *mut f32, from: &Affine) {
    let (scale, zero_point) = (_mm512_set1_ps(from.scale), _mm512_set1_epi32(from.zero_point));
    for i in (0..n).step_by(16) {
        // SAFETY: as in `add_u8`.
        unsafe {
            let offset = _mm512_sub_epi32(widen(x.add(i)), zero_point);
            Zmm(_mm512_mul_ps(_mm512_cvtepi32_ps(offset), scale)).store(y.add(i), first16(n - i));
        }
    }
}

/// # Safety
/// As [`add_u8`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub unsafe fn dequantize_u16(n: usize, x: *const u16, y: *mut f32, from: &Affine) {
    let (scale, zero_point) = (_mm512_set1_ps(from.scale), _mm512_set1_epi32(from.zero_point));
    for i in (0..n).step_by(16) {
        // SAFETY: as in `add_u8`.
        unsafe {
            let x = _mm512_cvtepu16_epi32(_mm256_loadu_si256(x.add(i).cast()));
            let offset = _mm512_cvtepi32_ps(_mm512_sub_epi32(x, zero_point));
            Zmm(_mm512_mul_ps(offset, scale)).store(y.add(i), first16(n - i));
        }
    }
}

/// # Safety
/// As [`add_u8`]; `scale` with step 0 leads to one element.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub unsafe fn dequantize_acc(n: usize, x: *const i32, scale: *const f32, scale_step: usize, y: *mut f32) {
    for i in (0..n).step_by(16) {
        let mask = first16(n - i);
        // SAFETY: everything is accessed within n.
        unsafe {
            let x = _mm512_cvtepi32_ps(_mm512_maskz_loadu_epi32(mask, x.add(i)));
            let scale = if scale_step == 0 { _mm512_set1_ps(*scale) } else { Zmm::load(scale.add(i), mask).0 };
            Zmm(_mm512_mul_ps(x, scale)).store(y.add(i), mask);
        }
    }
}

/// # Safety
/// As [`add_u8`]; there is a multiplier for each element.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub unsafe fn requant_acc(n: usize, x: *const i32, y: *mut u8, how: &Requant) {
    let bytes = Bytes::new(how.zero_point, how.lo, how.hi);
    let aim = Aim::of(how);
    macro_rules! each {
        ($at:ident => $rescaled:expr) => {
            for i in (0..n).step_by(64) {
                let part = |j: usize| {
                    let $at = i + 16 * j;
                    $rescaled
                };
                store_bytes(y.add(i), (n - i).min(64), bytes.pack(part(0), part(1), part(2), part(3)));
            }
        };
    }
    // SAFETY: accumulators and multipliers are readable for 64 elements (256 bytes) from any element on, the output is
    // written within n.
    unsafe {
        let load = |from: *const i32, at: usize| _mm512_loadu_si512(from.add(at).cast());
        match how.scales {
            scales if !how.is_default() => each!(at => {
                let (m, shift) = match scales {
                    Scales::Float32(m) => (load(m.cast(), at), _mm512_setzero_si512()),
                    Scales::Fixed(m, shift) => (load(m, at), load(shift, at)),
                    Scales::Shift(shift) => (_mm512_set1_epi32(1), load(shift, at)),
                };
                Rounded16::new(m, shift, aim).apply(load(x, at))
            }),
            Scales::Float32(m) => each!(at => {
                let m = load(m.cast(), at);
                Float16::new(m, m, aim).apply(load(x, at))
            }),
            Scales::Fixed(m, shift) => each!(at => {
                let (m, shift) = (load(m, at), load(shift, at));
                if Fixed16::fits(shift) {
                    Fixed16::new(m, shift, aim).apply(load(x, at))
                } else {
                    Wide16::new(m, shift, aim).apply(load(x, at))
                }
            }),
            Scales::Shift(shift) => each!(at => {
                let (one, shift) = (_mm512_set1_epi32(1), load(shift, at));
                if Shift16::fits(shift) {
                    Shift16::new(one, shift, aim).apply(load(x, at))
                } else {
                    Wide16::new(one, shift, aim).apply(load(x, at))
                }
            }),
        }
    }
}

/// # Safety
/// As [`add_u8`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub unsafe fn unary(f: UnaryFn, n: usize, x: *const f32, y: *mut f32) {
    macro_rules! each {
        ($v:ident => $result:expr) => {
            for i in (0..n).step_by(16) {
                let mask = first16(n - i);
                // SAFETY: elements are accessed within n.
                let $v = unsafe { Zmm::load(x.add(i), mask) };
                let result: Zmm = $result;
                // SAFETY: elements are accessed within n.
                unsafe { result.store(y.add(i), mask) };
            }
        };
    }
    unary_fn!(f, each, Zmm)
}

/// # Safety
/// As [`add_u8`]; `a` and `b` with step 0 lead to one element.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub unsafe fn binary(f: BinaryFn, n: usize, a: *const f32, a_step: usize, b: *const f32, b_step: usize, y: *mut f32) {
    let (mut repeated_a, mut repeated_b) = ([0.0; 16], [0.0; 16]);
    // SAFETY: the caller's promise.
    let (a, b) = unsafe { (spread(a, a_step, &mut repeated_a), spread(b, b_step, &mut repeated_b)) };
    macro_rules! each {
        ($a:ident, $b:ident => $result:expr) => {{
            // Whole registers on their own, as masks would take longer than a sum.
            let mut i = 0;
            while n - i >= 16 {
                // SAFETY: elements are accessed within n, or a whole register of the only one is.
                let ($a, $b) = unsafe { (Zmm::load(a.add(i * a_step), !0), Zmm::load(b.add(i * b_step), !0)) };
                let result: Zmm = $result;
                // SAFETY: as above.
                unsafe { result.store(y.add(i), !0) };
                i += 16;
            }
            if i < n {
                let rest = first16(n - i);
                // SAFETY: as above.
                let ($a, $b) = unsafe { (Zmm::load(a.add(i * a_step), rest), Zmm::load(b.add(i * b_step), rest)) };
                let result: Zmm = $result;
                // SAFETY: as above.
                unsafe { result.store(y.add(i), rest) };
            }
        }};
    }
    binary!(f, each)
}

/// # Safety
/// As [`add_u8`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub unsafe fn clamp(n: usize, x: *const f32, y: *mut f32, lo: f32, hi: f32) {
    for i in (0..n).step_by(16) {
        let mask = first16(n - i);
        // SAFETY: elements are accessed within n.
        unsafe { elementary::clip(Zmm::load(x.add(i), mask), lo, hi).store(y.add(i), mask) };
    }
}
