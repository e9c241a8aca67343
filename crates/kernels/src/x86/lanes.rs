//! Sixteen f32 in a register, as `arithmetic` computes on them.

use core::arch::x86_64::*;
use lowbit_arithmetic::Lanes;

/// Sixteen f32. Values of this type exist only inside functions that enable AVX-512.
#[derive(Clone, Copy)]
pub struct Zmm(pub __m512);

/// The mask of the first `n` of sixteen lanes.
#[inline]
pub const fn first16(n: usize) -> __mmask16 {
    if n >= 16 { !0 } else { (1 << n) - 1 }
}

/// The mask of the first `n` of sixty-four lanes.
#[inline]
pub const fn first64(n: usize) -> __mmask64 {
    if n >= 64 { !0 } else { (1 << n) - 1 }
}

impl Zmm {
    /// Reads the lanes of a mask, the others are +0.
    ///
    /// # Safety
    /// AVX-512 is enabled, and `x` leads to a readable element for each set lane.
    #[inline(always)]
    pub unsafe fn load(x: *const f32, mask: __mmask16) -> Self {
        // SAFETY: the caller's promise; lanes outside the mask are not accessed.
        Zmm(unsafe { _mm512_maskz_loadu_ps(mask, x) })
    }

    /// Writes the lanes of a mask.
    ///
    /// # Safety
    /// As [`Zmm::load`], writable.
    #[inline(always)]
    pub unsafe fn store(self, y: *mut f32, mask: __mmask16) {
        // SAFETY: the caller's promise; lanes outside the mask are not accessed.
        unsafe { _mm512_mask_storeu_ps(y, mask, self.0) }
    }

    /// The lanes as an array.
    #[inline(always)]
    pub fn to_array(self) -> [f32; 16] {
        // SAFETY: sixteen f32 either way.
        unsafe { core::mem::transmute(self.0) }
    }
}

// SAFETY of every intrinsic below: a value of this type exists only in functions that enable AVX-512.
impl Lanes for Zmm {
    type Mask = __mmask16;
    type Ints = __m512i;

    #[inline(always)]
    fn splat(x: f32) -> Self {
        // SAFETY: as above.
        unsafe { Zmm(_mm512_set1_ps(x)) }
    }
    #[inline(always)]
    fn add(self, b: Self) -> Self {
        // SAFETY: as above.
        unsafe { Zmm(_mm512_add_ps(self.0, b.0)) }
    }
    #[inline(always)]
    fn sub(self, b: Self) -> Self {
        // SAFETY: as above.
        unsafe { Zmm(_mm512_sub_ps(self.0, b.0)) }
    }
    #[inline(always)]
    fn mul(self, b: Self) -> Self {
        // SAFETY: as above.
        unsafe { Zmm(_mm512_mul_ps(self.0, b.0)) }
    }
    #[inline(always)]
    fn div(self, b: Self) -> Self {
        // SAFETY: as above.
        unsafe { Zmm(_mm512_div_ps(self.0, b.0)) }
    }
    #[inline(always)]
    fn min(self, b: Self) -> Self {
        // SAFETY: as above.
        unsafe { Zmm(_mm512_min_ps(self.0, b.0)) }
    }
    #[inline(always)]
    fn max(self, b: Self) -> Self {
        // SAFETY: as above.
        unsafe { Zmm(_mm512_max_ps(self.0, b.0)) }
    }
    #[inline(always)]
    fn fma(self, b: Self, c: Self) -> Self {
        // SAFETY: as above.
        unsafe { Zmm(_mm512_fmadd_ps(self.0, b.0, c.0)) }
    }
    #[inline(always)]
    fn sqrt(self) -> Self {
        // SAFETY: as above.
        unsafe { Zmm(_mm512_sqrt_ps(self.0)) }
    }
    #[inline(always)]
    fn round_even(self) -> Self {
        // SAFETY: as above.
        unsafe { Zmm(_mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(self.0)) }
    }
    #[inline(always)]
    fn lt(self, b: Self) -> __mmask16 {
        // SAFETY: as above.
        unsafe { _mm512_cmp_ps_mask::<_CMP_LT_OQ>(self.0, b.0) }
    }
    #[inline(always)]
    fn le(self, b: Self) -> __mmask16 {
        // SAFETY: as above.
        unsafe { _mm512_cmp_ps_mask::<_CMP_LE_OQ>(self.0, b.0) }
    }
    #[inline(always)]
    fn eq(self, b: Self) -> __mmask16 {
        // SAFETY: as above.
        unsafe { _mm512_cmp_ps_mask::<_CMP_EQ_OQ>(self.0, b.0) }
    }
    #[inline(always)]
    fn select(mask: __mmask16, yes: Self, no: Self) -> Self {
        // SAFETY: as above.
        unsafe { Zmm(_mm512_mask_blend_ps(mask, no.0, yes.0)) }
    }
    #[inline(always)]
    fn is_nan(self) -> __mmask16 {
        // SAFETY: as above.
        unsafe { _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(self.0, self.0) }
    }
    #[inline(always)]
    fn to_bits(self) -> __m512i {
        // SAFETY: as above.
        unsafe { _mm512_castps_si512(self.0) }
    }
    #[inline(always)]
    fn from_bits(bits: __m512i) -> Self {
        // SAFETY: as above.
        unsafe { Zmm(_mm512_castsi512_ps(bits)) }
    }
    #[inline(always)]
    fn to_int(self) -> __m512i {
        // SAFETY: as above.
        unsafe { _mm512_cvttps_epi32(self.0) }
    }
    #[inline(always)]
    fn from_int(i: __m512i) -> Self {
        // SAFETY: as above.
        unsafe { Zmm(_mm512_cvtepi32_ps(i)) }
    }
    #[inline(always)]
    fn int(i: i32) -> __m512i {
        // SAFETY: as above.
        unsafe { _mm512_set1_epi32(i) }
    }
    #[inline(always)]
    fn int_add(a: __m512i, b: __m512i) -> __m512i {
        // SAFETY: as above.
        unsafe { _mm512_add_epi32(a, b) }
    }
    #[inline(always)]
    fn int_sub(a: __m512i, b: __m512i) -> __m512i {
        // SAFETY: as above.
        unsafe { _mm512_sub_epi32(a, b) }
    }
    #[inline(always)]
    fn int_and(a: __m512i, b: __m512i) -> __m512i {
        // SAFETY: as above.
        unsafe { _mm512_and_si512(a, b) }
    }
    #[inline(always)]
    fn int_or(a: __m512i, b: __m512i) -> __m512i {
        // SAFETY: as above.
        unsafe { _mm512_or_si512(a, b) }
    }
    #[inline(always)]
    fn int_xor(a: __m512i, b: __m512i) -> __m512i {
        // SAFETY: as above.
        unsafe { _mm512_xor_si512(a, b) }
    }
    #[inline(always)]
    fn int_shl<const N: u32>(a: __m512i) -> __m512i {
        // SAFETY: as above.
        unsafe { _mm512_slli_epi32::<N>(a) }
    }
    #[inline(always)]
    fn int_shr<const N: u32>(a: __m512i) -> __m512i {
        // SAFETY: as above.
        unsafe { _mm512_srai_epi32::<N>(a) }
    }
    #[inline(always)]
    fn both(a: __mmask16, b: __mmask16) -> __mmask16 {
        a & b
    }
    #[inline(always)]
    fn either(a: __mmask16, b: __mmask16) -> __mmask16 {
        a | b
    }
    #[inline(always)]
    fn not(a: __mmask16) -> __mmask16 {
        !a
    }
    #[inline(always)]
    fn any(mask: __mmask16) -> bool {
        mask != 0
    }
    #[inline(always)]
    fn map(self, f: fn(f32) -> f32) -> Self {
        let mut lanes = self.to_array();
        for lane in &mut lanes {
            *lane = f(*lane);
        }
        // SAFETY: sixteen f32 either way.
        Zmm(unsafe { core::mem::transmute::<[f32; 16], __m512>(lanes) })
    }
}
