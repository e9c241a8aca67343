//! Row by row: softmax and layer normalization over contiguous rows.
//!
//! ## Contract
//! A row has `n` elements, `n >= 1`; the output may be the input. The order of operations is that of
//! `lowbit_arithmetic::rows`.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod scalar;

use crate::isa::{Features, Kernel};

/// (n, x, y).
pub type SoftmaxFn = unsafe fn(usize, *const f32, *mut f32);
/// (n, x, scale, bias or null, epsilon, y).
pub type LayerNormFn = unsafe fn(usize, *const f32, *const f32, *const f32, f32, *mut f32);

/// One row of softmax.
pub static SOFTMAX: &[Kernel<SoftmaxFn>] = &[
    Kernel { name: "f32_softmax__scalar", needs: Features::NONE, run: scalar::softmax },
    #[cfg(target_arch = "x86_64")]
    Kernel { name: "f32_softmax__avx2", needs: crate::x86::AVX2, run: avx2::softmax },
    #[cfg(target_arch = "x86_64")]
    Kernel { name: "f32_softmax__avx512", needs: crate::x86::AVX512, run: avx512::softmax },
];

/// One row of layer normalization.
pub static LAYER_NORM: &[Kernel<LayerNormFn>] = &[
    Kernel { name: "f32_layernorm__scalar", needs: Features::NONE, run: scalar::layer_norm },
    #[cfg(target_arch = "x86_64")]
    Kernel { name: "f32_layernorm__avx2", needs: crate::x86::AVX2, run: avx2::layer_norm },
    #[cfg(target_arch = "x86_64")]
    Kernel { name: "f32_layernorm__avx512", needs: crate::x86::AVX512, run: avx512::layer_norm },
];
