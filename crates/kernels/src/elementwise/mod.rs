//! Element by element over contiguous runs.
//!
//! ## Contract
//! Inputs and output have `n` elements; the output may be one of the inputs of the same element size, element for
//! element. Integers are the stored, unsigned ones, with zero points and bounds of the storage type's range.
//! Inputs, multipliers included, are readable [`SLACK`](crate::SLACK) bytes beyond their end.
//! Roundings are any but the one by chance where the parameters have one, of the tables `*_ANY` any, else half to even.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "x86_64")]
mod avx512_16;
mod scalar;
mod unary;

use crate::isa::{Features, Kernel};
use crate::requant::{AddParams, Requant};
use lowbit_arithmetic::{Affine, Rescale, Rounding};

pub(crate) use unary::{ceil, floor, max2, min2};

/// Parameters of a product of quantized values.
#[derive(Debug, Clone, Copy)]
pub struct MulParams {
    /// Of (q1 - z1) * (q2 - z2): `Rescale::for_product`.
    pub rescale: Rescale,
    /// Of the product; as in [`Requant`].
    pub rounding: Rounding,
    /// Zero point of the first operand.
    pub z1: i32,
    /// Zero point of the second operand.
    pub z2: i32,
    /// Zero point of the product.
    pub zero_point: i32,
    /// Lowest stored value.
    pub lo: i32,
    /// Highest stored value.
    pub hi: i32,
}

/// A requantization with any rounding.
#[derive(Debug, Clone, Copy)]
pub struct RequantAny {
    /// Elements.
    pub n: usize,
    /// What is requantized.
    pub x: Integers,
    /// Subtracted first: 0 for accumulators.
    pub zero_in: i32,
    /// Multipliers, one an element (`rescale_step` 1) or one in all (0).
    pub rescale: *const Rescale,
    /// Elements from one multiplier to the next.
    pub rescale_step: usize,
    /// Any rounding.
    pub rounding: Rounding,
    /// Index within the sample of element 0, for stochastic rounding.
    pub index: u64,
    /// What an element adds to the index.
    pub index_step: u64,
    /// Added after rounding.
    pub zero_point: i32,
    /// Lowest stored value.
    pub lo: i32,
    /// Highest stored value.
    pub hi: i32,
    /// Where the results go.
    pub y: Stored,
}

/// A quantization of floats with any rounding; fields as [`RequantAny`]'s.
#[derive(Debug, Clone, Copy)]
pub struct QuantizeAny {
    /// Elements.
    pub n: usize,
    /// What is quantized.
    pub x: *const f32,
    /// The type of the results.
    pub to: Affine,
    /// Any rounding.
    pub rounding: Rounding,
    /// Index of element 0.
    pub index: u64,
    /// What an element adds to the index.
    pub index_step: u64,
    /// Where the results go.
    pub y: Stored,
}

/// A function of two integers with any rounding and any widths; fields as [`RequantAny`]'s.
#[derive(Debug, Clone, Copy)]
pub struct PairAny {
    /// Elements.
    pub n: usize,
    /// First operand.
    pub a: Integers,
    /// Second operand.
    pub b: Integers,
    /// What is done with them, with any rounding.
    pub how: Pair,
    /// Index of element 0.
    pub index: u64,
    /// What an element adds to the index.
    pub index_step: u64,
    /// Where the results go.
    pub y: Stored,
}

/// A function of two quantized values.
#[derive(Debug, Clone, Copy)]
pub enum Pair {
    /// Their sum.
    Add(AddParams),
    /// Their product.
    Mul(MulParams),
}

impl Pair {
    /// How results are rounded.
    pub const fn rounding(&self) -> Rounding {
        match self {
            Pair::Add(how) => how.rounding,
            Pair::Mul(how) => how.rounding,
        }
    }
}

/// A run of integers to read.
#[derive(Debug, Clone, Copy)]
pub enum Integers {
    /// Bytes.
    U8(*const u8),
    /// 16 bits.
    U16(*const u16),
    /// 16 bits with a sign: what crosses a graph's edge.
    I16(*const i16),
    /// Accumulators.
    I32(*const i32),
    /// Wide accumulators.
    I64(*const i64),
}

/// A run of stored values to write.
#[derive(Debug, Clone, Copy)]
pub enum Stored {
    /// Bytes.
    U8(*mut u8),
    /// 16 bits.
    U16(*mut u16),
    /// 16 bits with a sign.
    I16(*mut i16),
}

/// The float functions of one element: those of the same names in the graph.
#[derive(Debug, Clone, Copy, PartialEq)]
#[expect(missing_docs, reason = "the names say it; lowbit-ir's and lowbit-arithmetic's documents define them")]
pub enum UnaryFn {
    Abs,
    Neg,
    Exp,
    Log,
    Sqrt,
    Reciprocal,
    Erf,
    Sin,
    Cos,
    Tanh,
    Sigmoid,
    Silu,
    Gelu,
    GeluTanh,
    Mish,
    Softplus,
    Softsign,
    HardSigmoid { alpha: f32, beta: f32 },
    HardSwish,
    LeakyRelu { alpha: f32 },
    Elu { alpha: f32 },
    Selu { alpha: f32, gamma: f32 },
    Celu { alpha: f32 },
    ThresholdedRelu { alpha: f32 },
    Floor,
    Ceil,
    Round,
}

/// The float functions of two elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it; `Max` and `Min`: NaN wins, +0 is greater than -0")]
pub enum BinaryFn {
    Add,
    Sub,
    Mul,
    Div,
    Min,
    Max,
    Pow,
    PRelu,
}

/// (n, a, b, y, how).
pub type AddFn<T> = unsafe fn(usize, *const T, *const T, *mut T, &AddParams);
/// (n, a, b, y, how).
pub type MulFn<T> = unsafe fn(usize, *const T, *const T, *mut T, &MulParams);
/// (n, x, table of all values of `T`, y).
pub type TableFn<T> = unsafe fn(usize, *const T, *const T, *mut T);
/// (n, x, y, type of y).
pub type QuantizeFn<T> = unsafe fn(usize, *const f32, *mut T, &Affine);
/// (n, x, y, type of x).
pub type DequantizeFn<T> = unsafe fn(usize, *const T, *mut f32, &Affine);
/// (n, x, scale, elements from one scale to the next (0 or 1), y).
pub type DequantizeAccFn = unsafe fn(usize, *const i32, *const f32, usize, *mut f32);
/// (n, x, y, how, with one multiplier an element).
pub type RequantAccFn = unsafe fn(usize, *const i32, *mut u8, &Requant);
/// As [`DequantizeAccFn`], of wide accumulators.
pub type DequantizeWideFn = unsafe fn(usize, *const i64, *const f32, usize, *mut f32);
/// All in one.
pub type RequantAnyFn = unsafe fn(&RequantAny);
/// All in one.
pub type QuantizeAnyFn = unsafe fn(&QuantizeAny);
/// All in one.
pub type PairAnyFn = unsafe fn(&PairAny);
/// (f, n, x, y).
pub type UnaryRun = unsafe fn(UnaryFn, usize, *const f32, *mut f32);
/// (f, n, a, its step (0 or 1), b, its step, y).
pub type BinaryRun = unsafe fn(BinaryFn, usize, *const f32, usize, *const f32, usize, *mut f32);
/// (n, x, y, lo, hi): the clamp of [`FloatEpilogue`](crate::requant::FloatEpilogue).
pub type ClampFn = unsafe fn(usize, *const f32, *mut f32, f32, f32);

/// Where rows of vectors find an operand: where its step is 0, the only element fills `room`, so that they read whole
/// registers of either kind.
///
/// # Safety
/// `x` with step 0 leads to one element.
#[cfg(target_arch = "x86_64")]
#[inline]
unsafe fn spread<const N: usize>(x: *const f32, step: usize, room: &mut [f32; N]) -> *const f32 {
    if step != 0 {
        return x;
    }
    // SAFETY: the caller's promise.
    *room = [unsafe { *x }; N];
    room.as_ptr()
}

/// Sum of u8.
pub static QADD: &[Kernel<AddFn<u8>>] = &[
    Kernel { name: "u8_add__scalar", needs: Features::NONE, run: scalar::add_u8 },
    #[cfg(target_arch = "x86_64")]
    Kernel { name: "u8_add__avx2", needs: crate::x86::AVX2, run: avx2::add_u8 },
    #[cfg(target_arch = "x86_64")]
    Kernel { name: "u8_add__avx512", needs: crate::x86::AVX512, run: avx512::add_u8 },
];

/// Sum of u16.
pub static QADD16: &[Kernel<AddFn<u16>>] = &[
    Kernel { name: "u16_add__scalar", needs: Features::NONE, run: scalar::add_u16 },
    #[cfg(target_arch = "x86_64")]
    Kernel { name: "u16_add__avx512", needs: crate::x86::AVX512, run: avx512_16::add_u16 },
];

/// Product of u8.
pub static QMUL: &[Kernel<MulFn<u8>>] = &[
    Kernel { name: "u8_mul__scalar", needs: Features::NONE, run: scalar::mul_u8 },
    #[cfg(target_arch = "x86_64")]
    Kernel { name: "u8_mul__avx2", needs: crate::x86::AVX2, run: avx2::mul_u8 },
    #[cfg(target_arch = "x86_64")]
    Kernel { name: "u8_mul__avx512", needs: crate::x86::AVX512, run: avx512::mul_u8 },
];

/// Product of u16.
pub static QMUL16: &[Kernel<MulFn<u16>>] = &[
    Kernel { name: "u16_mul__scalar", needs: Features::NONE, run: scalar::mul_u16 },
    #[cfg(target_arch = "x86_64")]
    Kernel { name: "u16_mul__avx512", needs: crate::x86::AVX512, run: avx512_16::mul_u16 },
];

/// u8 by a table of 256 entries.
pub static TABLE8: &[Kernel<TableFn<u8>>] = &[
    Kernel { name: "u8_table__scalar", needs: Features::NONE, run: scalar::table::<u8> },
    #[cfg(target_arch = "x86_64")]
    Kernel { name: "u8_table__avx2", needs: crate::x86::AVX2, run: avx2::table_u8 },
    #[cfg(target_arch = "x86_64")]
    Kernel { name: "u8_table__avx512vbmi", needs: crate::x86::AVX512_VBMI, run: avx512::table_u8 },
];

/// u16 by a table of 65536 entries.
pub static TABLE16: &[Kernel<TableFn<u16>>] = &[
    Kernel { name: "u16_table__scalar", needs: Features::NONE, run: scalar::table::<u16> },
    #[cfg(target_arch = "x86_64")]
    Kernel { name: "u16_table__avx512", needs: crate::x86::AVX512, run: avx512_16::table_u16 },
];

/// f32 to u8.
pub static QUANTIZE8: &[Kernel<QuantizeFn<u8>>] = &[
    Kernel { name: "f32u8_quantize__scalar", needs: Features::NONE, run: scalar::quantize_u8 },
    #[cfg(target_arch = "x86_64")]
    Kernel { name: "f32u8_quantize__avx2", needs: crate::x86::AVX2, run: avx2::quantize_u8 },
    #[cfg(target_arch = "x86_64")]
    Kernel { name: "f32u8_quantize__avx512", needs: crate::x86::AVX512, run: avx512::quantize_u8 },
];

/// f32 to u16.
pub static QUANTIZE16: &[Kernel<QuantizeFn<u16>>] = &[
    Kernel { name: "f32u16_quantize__scalar", needs: Features::NONE, run: scalar::quantize_u16 },
    #[cfg(target_arch = "x86_64")]
    Kernel { name: "f32u16_quantize__avx2", needs: crate::x86::AVX2, run: avx2::quantize_u16 },
    #[cfg(target_arch = "x86_64")]
    Kernel { name: "f32u16_quantize__avx512", needs: crate::x86::AVX512, run: avx512::quantize_u16 },
];

/// u8 to f32.
pub static DEQUANTIZE8: &[Kernel<DequantizeFn<u8>>] = &[
    Kernel { name: "u8f32_dequantize__scalar", needs: Features::NONE, run: scalar::dequantize::<u8> },
    #[cfg(target_arch = "x86_64")]
    Kernel { name: "u8f32_dequantize__avx2", needs: crate::x86::AVX2, run: avx2::dequantize_u8 },
    #[cfg(target_arch = "x86_64")]
    Kernel { name: "u8f32_dequantize__avx512", needs: crate::x86::AVX512, run: avx512::dequantize_u8 },
];

/// u16 to f32.
pub static DEQUANTIZE16: &[Kernel<DequantizeFn<u16>>] = &[
    Kernel { name: "u16f32_dequantize__scalar", needs: Features::NONE, run: scalar::dequantize::<u16> },
    #[cfg(target_arch = "x86_64")]
    Kernel { name: "u16f32_dequantize__avx2", needs: crate::x86::AVX2, run: avx2::dequantize_u16 },
    #[cfg(target_arch = "x86_64")]
    Kernel { name: "u16f32_dequantize__avx512", needs: crate::x86::AVX512, run: avx512::dequantize_u16 },
];

/// Accumulators to f32.
pub static DEQUANTIZE_ACC: &[Kernel<DequantizeAccFn>] = &[
    Kernel { name: "i32f32_dequantize__scalar", needs: Features::NONE, run: scalar::dequantize_acc },
    #[cfg(target_arch = "x86_64")]
    Kernel { name: "i32f32_dequantize__avx2", needs: crate::x86::AVX2, run: avx2::dequantize_acc },
    #[cfg(target_arch = "x86_64")]
    Kernel { name: "i32f32_dequantize__avx512", needs: crate::x86::AVX512, run: avx512::dequantize_acc },
];

/// Wide accumulators to f32.
pub static DEQUANTIZE_WIDE: &[Kernel<DequantizeWideFn>] = &[
    Kernel { name: "i64f32_dequantize__scalar", needs: Features::NONE, run: scalar::dequantize_wide_acc },
    #[cfg(target_arch = "x86_64")]
    Kernel { name: "i64f32_dequantize__avx512", needs: crate::x86::AVX512, run: avx512_16::dequantize_wide },
];

/// Accumulators to u8.
pub static REQUANT_ACC: &[Kernel<RequantAccFn>] = &[
    Kernel { name: "i32u8_requantize__scalar", needs: Features::NONE, run: scalar::requant_acc },
    #[cfg(target_arch = "x86_64")]
    Kernel { name: "i32u8_requantize__avx2", needs: crate::x86::AVX2, run: avx2::requant_acc },
    #[cfg(target_arch = "x86_64")]
    Kernel { name: "i32u8_requantize__avx512", needs: crate::x86::AVX512, run: avx512::requant_acc },
];

/// Integers to integers with any rounding.
pub static REQUANT_ANY: &[Kernel<RequantAnyFn>] = &[
    Kernel { name: "any_requantize__scalar", needs: Features::NONE, run: scalar::requant_any },
    #[cfg(target_arch = "x86_64")]
    Kernel { name: "any_requantize__avx512", needs: crate::x86::AVX512, run: avx512_16::requant_any },
];

/// Floats to integers with any rounding.
pub static QUANTIZE_ANY: &[Kernel<QuantizeAnyFn>] =
    &[Kernel { name: "any_quantize__scalar", needs: Features::NONE, run: scalar::quantize_any }];

/// Sums and products of integers with any rounding.
pub static PAIR_ANY: &[Kernel<PairAnyFn>] =
    &[Kernel { name: "any_pair__scalar", needs: Features::NONE, run: scalar::pair_any }];

/// Functions of one float.
pub static UNARY: &[Kernel<UnaryRun>] = &[
    Kernel { name: "f32_unary__scalar", needs: Features::NONE, run: scalar::unary },
    #[cfg(target_arch = "x86_64")]
    Kernel { name: "f32_unary__avx2", needs: crate::x86::AVX2, run: avx2::unary },
    #[cfg(target_arch = "x86_64")]
    Kernel { name: "f32_unary__avx512", needs: crate::x86::AVX512, run: avx512::unary },
];

/// Functions of two floats.
pub static BINARY: &[Kernel<BinaryRun>] = &[
    Kernel { name: "f32_binary__scalar", needs: Features::NONE, run: scalar::binary },
    #[cfg(target_arch = "x86_64")]
    Kernel { name: "f32_binary__avx2", needs: crate::x86::AVX2, run: avx2::binary },
    #[cfg(target_arch = "x86_64")]
    Kernel { name: "f32_binary__avx512", needs: crate::x86::AVX512, run: avx512::binary },
];

/// Floats limited to a range.
pub static CLAMP: &[Kernel<ClampFn>] = &[
    Kernel { name: "f32_clamp__scalar", needs: Features::NONE, run: scalar::clamp },
    #[cfg(target_arch = "x86_64")]
    Kernel { name: "f32_clamp__avx2", needs: crate::x86::AVX2, run: avx2::clamp },
    #[cfg(target_arch = "x86_64")]
    Kernel { name: "f32_clamp__avx512", needs: crate::x86::AVX512, run: avx512::clamp },
];
