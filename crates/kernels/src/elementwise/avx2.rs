//! AVX2 rows. Integers go 32 a step; inputs are loaded whole beyond the end, outputs are not.

use super::unary::{binary, unary as unary_fn};
use super::{BinaryFn, MulParams, UnaryFn, spread};
use crate::requant::{AddParams, Requant, Scales};
use crate::x86::lanes8::Ymm;
use crate::x86::rescale::Aim;
use crate::x86::rescale8::{
    Add8, Bytes8, Fixed8, Float8, Rescale8, Rounded8, Shift8, Wide8, bounded, store_bytes8, with_rescale8, with_sum8,
};
use core::arch::x86_64::*;
use lowbit_arithmetic::{Affine, Rounding, elementary};

/// Eight bytes as integers.
///
/// # Safety
/// `x` is readable for 8 bytes.
#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn widen(x: *const u8) -> __m256i {
    // SAFETY: the caller's promise.
    unsafe { _mm256_cvtepu8_epi32(_mm_loadl_epi64(x.cast())) }
}

/// # Safety
/// The CPU has AVX2 and FMA, and the pointers are valid as the module's contract says.
#[target_feature(enable = "avx2,fma")]
pub unsafe fn add_u8(n: usize, a: *const u8, b: *const u8, y: *mut u8, how: &AddParams) {
    let bytes = Bytes8::new(how.zero_point, how.lo, how.hi);
    let (z1, z2) = (_mm256_set1_epi32(how.z1), _mm256_set1_epi32(how.z2));
    // SAFETY: inputs are readable for 32 bytes from any element on, the output is written within n.
    unsafe {
        with_sum8!(how, sum => {
            for i in (0..n).step_by(32) {
                let part = |j: usize| {
                    let a = _mm256_sub_epi32(widen(a.add(i + 8 * j)), z1);
                    let b = _mm256_sub_epi32(widen(b.add(i + 8 * j)), z2);
                    sum.apply(a, b)
                };
                store_bytes8(y.add(i), n - i, bytes.pack(part(0), part(1), part(2), part(3)));
            }
        });
    }
}

/// # Safety
/// As [`add_u8`].
#[target_feature(enable = "avx2,fma")]
pub unsafe fn mul_u8(n: usize, a: *const u8, b: *const u8, y: *mut u8, how: &MulParams) {
    let bytes = Bytes8::new(how.zero_point, how.lo, how.hi);
    let (z1, z2) = (_mm256_set1_epi32(how.z1), _mm256_set1_epi32(how.z2));
    // SAFETY: as in `add_u8`.
    unsafe {
        with_rescale8!(how.rescale, how.rounding, how.hi - how.zero_point, by => {
            for i in (0..n).step_by(32) {
                let part = |j: usize| {
                    let a = _mm256_sub_epi32(widen(a.add(i + 8 * j)), z1);
                    let b = _mm256_sub_epi32(widen(b.add(i + 8 * j)), z2);
                    by.apply(_mm256_mullo_epi32(a, b))
                };
                store_bytes8(y.add(i), n - i, bytes.pack(part(0), part(1), part(2), part(3)));
            }
        });
    }
}

/// # Safety
/// As [`add_u8`]; `table` leads to 256 bytes.
#[target_feature(enable = "avx2,fma")]
pub unsafe fn table_u8(n: usize, x: *const u8, table: *const u8, y: *mut u8) {
    // SAFETY: as in `add_u8`; the table has sixteen rows of sixteen.
    unsafe {
        let mut rows = [_mm256_setzero_si256(); 16];
        for (i, row) in rows.iter_mut().enumerate() {
            *row = _mm256_broadcastsi128_si256(_mm_loadu_si128(table.add(16 * i).cast()));
        }
        let (sixteen, beyond) = (_mm256_set1_epi8(16), _mm256_set1_epi8(0x70));
        for i in (0..n).step_by(32) {
            let mut at = _mm256_loadu_si256(x.add(i).cast());
            let mut found = _mm256_setzero_si256();
            for row in rows {
                // The byte's place in this row: from 16 on its upper bit is set, and a shuffle gives 0.
                let place = _mm256_adds_epu8(at, beyond);
                found = _mm256_or_si256(found, _mm256_shuffle_epi8(row, place));
                at = _mm256_sub_epi8(at, sixteen);
            }
            store_bytes8(y.add(i), n - i, found);
        }
    }
}

/// # Safety
/// As [`add_u8`].
#[target_feature(enable = "avx2,fma")]
pub unsafe fn quantize_u8(n: usize, x: *const f32, y: *mut u8, to: &Affine) {
    let bytes = Bytes8::new(to.zero_point, to.qmin, to.qmax);
    let (scale, top) = (_mm256_set1_ps(to.scale), _mm256_set1_ps((to.qmax - to.zero_point) as f32));
    for i in (0..n).step_by(32) {
        // SAFETY: inputs are readable for 32 elements (128 bytes) from any element on, the output is written within n.
        unsafe {
            let part =
                |j: usize| bounded(_mm256_div_ps(_mm256_loadu_ps(x.add(i + 8 * j)), scale), top, Rounding::HalfEven);
            store_bytes8(y.add(i), n - i, bytes.pack(part(0), part(1), part(2), part(3)));
        }
    }
}

/// # Safety
/// As [`add_u8`].
#[target_feature(enable = "avx2,fma")]
pub unsafe fn quantize_u16(n: usize, x: *const f32, y: *mut u16, to: &Affine) {
    let (scale, top) = (_mm256_set1_ps(to.scale), _mm256_set1_ps((to.qmax - to.zero_point) as f32));
    let zero_point = _mm256_set1_epi32(to.zero_point);
    let (lo, hi) = (_mm256_set1_epi32(to.qmin), _mm256_set1_epi32(to.qmax));
    for i in (0..n).step_by(16) {
        // SAFETY: as in `quantize_u8`.
        unsafe {
            let part = |j: usize| {
                let q = bounded(_mm256_div_ps(_mm256_loadu_ps(x.add(i + 8 * j)), scale), top, Rounding::HalfEven);
                _mm256_min_epi32(_mm256_max_epi32(_mm256_add_epi32(q, zero_point), lo), hi)
            };
            // Packing works within 128-bit lanes.
            let words = _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_packus_epi32(part(0), part(1)));
            store_bytes8(y.add(i).cast(), 2 * (n - i), words);
        }
    }
}

/// # Safety
/// As [`add_u8`].
#[target_feature(enable = "avx2,fma")]
pub unsafe fn dequantize_u8(n: usize, x: *const u8, y: *mut f32, from: &Affine) {
    let (scale, zero_point) = (_mm256_set1_ps(from.scale), _mm256_set1_epi32(from.zero_point));
    for i in (0..n).step_by(8) {
        // SAFETY: as in `add_u8`.
        unsafe {
            let offset = _mm256_sub_epi32(widen(x.add(i)), zero_point);
            Ymm(_mm256_mul_ps(_mm256_cvtepi32_ps(offset), scale)).store(y.add(i), n - i);
        }
    }
}

/// # Safety
/// As [`add_u8`].
#[target_feature(enable = "avx2,fma")]
pub unsafe fn dequantize_u16(n: usize, x: *const u16, y: *mut f32, from: &Affine) {
    let (scale, zero_point) = (_mm256_set1_ps(from.scale), _mm256_set1_epi32(from.zero_point));
    for i in (0..n).step_by(8) {
        // SAFETY: as in `add_u8`.
        unsafe {
            let x = _mm256_cvtepu16_epi32(_mm_loadu_si128(x.add(i).cast()));
            let offset = _mm256_cvtepi32_ps(_mm256_sub_epi32(x, zero_point));
            Ymm(_mm256_mul_ps(offset, scale)).store(y.add(i), n - i);
        }
    }
}

/// # Safety
/// As [`add_u8`]; `scale` with step 0 leads to one element.
#[target_feature(enable = "avx2,fma")]
pub unsafe fn dequantize_acc(n: usize, x: *const i32, scale: *const f32, scale_step: usize, y: *mut f32) {
    for i in (0..n).step_by(8) {
        // SAFETY: accumulators are readable for a register from any element on, the rest is accessed within n.
        unsafe {
            let x = _mm256_cvtepi32_ps(_mm256_loadu_si256(x.add(i).cast()));
            let scale = if scale_step == 0 { _mm256_set1_ps(*scale) } else { Ymm::load(scale.add(i), n - i).0 };
            Ymm(_mm256_mul_ps(x, scale)).store(y.add(i), n - i);
        }
    }
}

/// # Safety
/// As [`add_u8`]; there is a multiplier for each element.
#[target_feature(enable = "avx2,fma")]
pub unsafe fn requant_acc(n: usize, x: *const i32, y: *mut u8, how: &Requant) {
    let bytes = Bytes8::new(how.zero_point, how.lo, how.hi);
    let aim = Aim::of(how);
    macro_rules! each {
        ($at:ident => $rescaled:expr) => {
            for i in (0..n).step_by(32) {
                let part = |j: usize| {
                    let $at = i + 8 * j;
                    $rescaled
                };
                store_bytes8(y.add(i), n - i, bytes.pack(part(0), part(1), part(2), part(3)));
            }
        };
    }
    // SAFETY: accumulators and multipliers are readable for 32 elements (128 bytes) from any element on, the output is
    // written within n.
    unsafe {
        let load = |from: *const i32, at: usize| _mm256_loadu_si256(from.add(at).cast());
        match how.scales {
            scales if !how.is_default() => each!(at => {
                let (m, shift) = match scales {
                    Scales::Float32(m) => (load(m.cast(), at), _mm256_setzero_si256()),
                    Scales::Fixed(m, shift) => (load(m, at), load(shift, at)),
                    Scales::Shift(shift) => (_mm256_set1_epi32(1), load(shift, at)),
                };
                Rounded8::new(m, shift, aim).apply(load(x, at))
            }),
            Scales::Float32(m) => each!(at => {
                let m = load(m.cast(), at);
                Float8::new(m, m, aim).apply(load(x, at))
            }),
            Scales::Fixed(m, shift) => each!(at => {
                let (m, shift) = (load(m, at), load(shift, at));
                if Fixed8::fits(shift) {
                    Fixed8::new(m, shift, aim).apply(load(x, at))
                } else {
                    Wide8::new(m, shift, aim).apply(load(x, at))
                }
            }),
            Scales::Shift(shift) => each!(at => {
                let (one, shift) = (_mm256_set1_epi32(1), load(shift, at));
                if Shift8::fits(shift) {
                    Shift8::new(one, shift, aim).apply(load(x, at))
                } else {
                    Wide8::new(one, shift, aim).apply(load(x, at))
                }
            }),
        }
    }
}

/// # Safety
/// As [`add_u8`].
#[target_feature(enable = "avx2,fma")]
pub unsafe fn unary(f: UnaryFn, n: usize, x: *const f32, y: *mut f32) {
    macro_rules! each {
        ($v:ident => $result:expr) => {
            for i in (0..n).step_by(8) {
                // SAFETY: elements are accessed within n.
                let $v = unsafe { Ymm::load(x.add(i), n - i) };
                let result: Ymm = $result;
                // SAFETY: elements are accessed within n.
                unsafe { result.store(y.add(i), n - i) };
            }
        };
    }
    unary_fn!(f, each, Ymm)
}

/// # Safety
/// As [`add_u8`]; `a` and `b` with step 0 lead to one element.
#[target_feature(enable = "avx2,fma")]
pub unsafe fn binary(f: BinaryFn, n: usize, a: *const f32, a_step: usize, b: *const f32, b_step: usize, y: *mut f32) {
    let (mut repeated_a, mut repeated_b) = ([0.0; 8], [0.0; 8]);
    // SAFETY: the caller's promise.
    let (a, b) = unsafe { (spread(a, a_step, &mut repeated_a), spread(b, b_step, &mut repeated_b)) };
    macro_rules! each {
        ($a:ident, $b:ident => $result:expr) => {{
            // Whole registers on their own, as masks would take longer than a sum.
            let mut i = 0;
            while n - i >= 8 {
                // SAFETY: elements are accessed within n, or a whole register of the only one is.
                let ($a, $b) = unsafe { (Ymm::load(a.add(i * a_step), 8), Ymm::load(b.add(i * b_step), 8)) };
                let result: Ymm = $result;
                // SAFETY: as above.
                unsafe { result.store(y.add(i), 8) };
                i += 8;
            }
            if i < n {
                let rest = n - i;
                // SAFETY: as above.
                let ($a, $b) = unsafe { (Ymm::load(a.add(i * a_step), rest), Ymm::load(b.add(i * b_step), rest)) };
                let result: Ymm = $result;
                // SAFETY: as above.
                unsafe { result.store(y.add(i), rest) };
            }
        }};
    }
    binary!(f, each)
}

/// # Safety
/// As [`add_u8`].
#[target_feature(enable = "avx2,fma")]
pub unsafe fn clamp(n: usize, x: *const f32, y: *mut f32, lo: f32, hi: f32) {
    for i in (0..n).step_by(8) {
        // SAFETY: elements are accessed within n.
        unsafe { elementary::clip(Ymm::load(x.add(i), n - i), lo, hi).store(y.add(i), n - i) };
    }
}
