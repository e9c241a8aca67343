//! Eight f32 in a register, as `arithmetic` computes on them.

use core::arch::x86_64::*;
use lowbit_arithmetic::Lanes;

/// Eight f32. Values of this type exist only inside functions that enable AVX2 and FMA.
#[derive(Clone, Copy)]
pub struct Ymm(pub __m256);

/// The mask of the first `n` of eight lanes: all bits of a lane or none.
#[inline]
#[target_feature(enable = "avx2,fma")]
pub fn first8(n: usize) -> __m256i {
    _mm256_cmpgt_epi32(_mm256_set1_epi32(n.min(8) as i32), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7))
}

impl Ymm {
    /// Reads the first `n` lanes, the others are +0.
    ///
    /// # Safety
    /// AVX2 is enabled, and `x` leads to `n` readable elements, or to 8 if there are more.
    #[inline(always)]
    pub unsafe fn load(x: *const f32, n: usize) -> Self {
        // SAFETY: the caller's promise; lanes outside the mask are not accessed.
        unsafe { Ymm(if n >= 8 { _mm256_loadu_ps(x) } else { _mm256_maskload_ps(x, first8(n)) }) }
    }

    /// Writes the first `n` lanes.
    ///
    /// # Safety
    /// As [`Ymm::load`], writable.
    #[inline(always)]
    pub unsafe fn store(self, y: *mut f32, n: usize) {
        // SAFETY: the caller's promise; lanes outside the mask are not accessed. A store without a mask is faster.
        unsafe {
            if n >= 8 {
                _mm256_storeu_ps(y, self.0);
            } else {
                _mm256_maskstore_ps(y, first8(n), self.0);
            }
        }
    }

    /// The lanes as an array.
    #[inline(always)]
    pub fn to_array(self) -> [f32; 8] {
        // SAFETY: eight f32 either way.
        unsafe { core::mem::transmute(self.0) }
    }
}

// SAFETY of every intrinsic below: a value of this type exists only in functions that enable AVX2 and FMA.
impl Lanes for Ymm {
    type Mask = __m256;
    type Ints = __m256i;

    #[inline(always)]
    fn splat(x: f32) -> Self {
        // SAFETY: as above.
        unsafe { Ymm(_mm256_set1_ps(x)) }
    }
    #[inline(always)]
    fn add(self, b: Self) -> Self {
        // SAFETY: as above.
        unsafe { Ymm(_mm256_add_ps(self.0, b.0)) }
    }
    #[inline(always)]
    fn sub(self, b: Self) -> Self {
        // SAFETY: as above.
        unsafe { Ymm(_mm256_sub_ps(self.0, b.0)) }
    }
    #[inline(always)]
    fn mul(self, b: Self) -> Self {
        // SAFETY: as above.
        unsafe { Ymm(_mm256_mul_ps(self.0, b.0)) }
    }
    #[inline(always)]
    fn div(self, b: Self) -> Self {
        // SAFETY: as above.
        unsafe { Ymm(_mm256_div_ps(self.0, b.0)) }
    }
    #[inline(always)]
    fn min(self, b: Self) -> Self {
        // SAFETY: as above.
        unsafe { Ymm(_mm256_min_ps(self.0, b.0)) }
    }
    #[inline(always)]
    fn max(self, b: Self) -> Self {
        // SAFETY: as above.
        unsafe { Ymm(_mm256_max_ps(self.0, b.0)) }
    }
    #[inline(always)]
    fn fma(self, b: Self, c: Self) -> Self {
        // SAFETY: as above.
        unsafe { Ymm(_mm256_fmadd_ps(self.0, b.0, c.0)) }
    }
    #[inline(always)]
    fn sqrt(self) -> Self {
        // SAFETY: as above.
        unsafe { Ymm(_mm256_sqrt_ps(self.0)) }
    }
    #[inline(always)]
    fn round_even(self) -> Self {
        // SAFETY: as above.
        unsafe { Ymm(_mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(self.0)) }
    }
    #[inline(always)]
    fn lt(self, b: Self) -> __m256 {
        // SAFETY: as above.
        unsafe { _mm256_cmp_ps::<_CMP_LT_OQ>(self.0, b.0) }
    }
    #[inline(always)]
    fn le(self, b: Self) -> __m256 {
        // SAFETY: as above.
        unsafe { _mm256_cmp_ps::<_CMP_LE_OQ>(self.0, b.0) }
    }
    #[inline(always)]
    fn eq(self, b: Self) -> __m256 {
        // SAFETY: as above.
        unsafe { _mm256_cmp_ps::<_CMP_EQ_OQ>(self.0, b.0) }
    }
    #[inline(always)]
    fn select(mask: __m256, yes: Self, no: Self) -> Self {
        // SAFETY: as above.
        unsafe { Ymm(_mm256_blendv_ps(no.0, yes.0, mask)) }
    }
    #[inline(always)]
    fn is_nan(self) -> __m256 {
        // SAFETY: as above.
        unsafe { _mm256_cmp_ps::<_CMP_UNORD_Q>(self.0, self.0) }
    }
    #[inline(always)]
    fn to_bits(self) -> __m256i {
        // SAFETY: as above.
        unsafe { _mm256_castps_si256(self.0) }
    }
    #[inline(always)]
    fn from_bits(bits: __m256i) -> Self {
        // SAFETY: as above.
        unsafe { Ymm(_mm256_castsi256_ps(bits)) }
    }
    #[inline(always)]
    fn to_int(self) -> __m256i {
        // SAFETY: as above.
        unsafe { _mm256_cvttps_epi32(self.0) }
    }
    #[inline(always)]
    fn from_int(i: __m256i) -> Self {
        // SAFETY: as above.
        unsafe { Ymm(_mm256_cvtepi32_ps(i)) }
    }
    #[inline(always)]
    fn int(i: i32) -> __m256i {
        // SAFETY: as above.
        unsafe { _mm256_set1_epi32(i) }
    }
    #[inline(always)]
    fn int_add(a: __m256i, b: __m256i) -> __m256i {
        // SAFETY: as above.
        unsafe { _mm256_add_epi32(a, b) }
    }
    #[inline(always)]
    fn int_sub(a: __m256i, b: __m256i) -> __m256i {
        // SAFETY: as above.
        unsafe { _mm256_sub_epi32(a, b) }
    }
    #[inline(always)]
    fn int_and(a: __m256i, b: __m256i) -> __m256i {
        // SAFETY: as above.
        unsafe { _mm256_and_si256(a, b) }
    }
    #[inline(always)]
    fn int_or(a: __m256i, b: __m256i) -> __m256i {
        // SAFETY: as above.
        unsafe { _mm256_or_si256(a, b) }
    }
    #[inline(always)]
    fn int_xor(a: __m256i, b: __m256i) -> __m256i {
        // SAFETY: as above.
        unsafe { _mm256_xor_si256(a, b) }
    }
    #[inline(always)]
    fn int_shl<const N: u32>(a: __m256i) -> __m256i {
        // SAFETY: as above. A count in a register becomes one in the instruction when it is constant.
        unsafe { _mm256_sll_epi32(a, _mm_cvtsi32_si128(N as i32)) }
    }
    #[inline(always)]
    fn int_shr<const N: u32>(a: __m256i) -> __m256i {
        // SAFETY: as in `int_shl`.
        unsafe { _mm256_sra_epi32(a, _mm_cvtsi32_si128(N as i32)) }
    }
    #[inline(always)]
    fn both(a: __m256, b: __m256) -> __m256 {
        // SAFETY: as above.
        unsafe { _mm256_and_ps(a, b) }
    }
    #[inline(always)]
    fn either(a: __m256, b: __m256) -> __m256 {
        // SAFETY: as above.
        unsafe { _mm256_or_ps(a, b) }
    }
    #[inline(always)]
    fn not(a: __m256) -> __m256 {
        // SAFETY: as above.
        unsafe { _mm256_xor_ps(a, _mm256_castsi256_ps(_mm256_set1_epi32(-1))) }
    }
    #[inline(always)]
    fn any(mask: __m256) -> bool {
        // SAFETY: as above.
        unsafe { _mm256_movemask_ps(mask) != 0 }
    }
    #[inline(always)]
    fn map(self, f: fn(f32) -> f32) -> Self {
        let mut lanes = self.to_array();
        for lane in &mut lanes {
            *lane = f(*lane);
        }
        // SAFETY: eight f32 either way.
        Ymm(unsafe { core::mem::transmute::<[f32; 8], __m256>(lanes) })
    }
}
