//! The elementary functions, written once for scalars and vectors.
//!
//! Each is a fixed sequence of the operations of [`Lanes`], so its bits are the same everywhere.
//! There are no branches on values: both sides are computed and the right one is selected, except
//! for the sine and cosine of large arguments.
//! The error bounds stand in docs/arithmetic.md and are asserted by `tests/elementary.rs`.
//!
//! Bounds are written `splat(BOUND).min(x)`, in this order, because `min` and `max` return their
//! second operand for a NaN, which so passes through.

mod trigonometry;

pub use trigonometry::{acos, acosh, asin, asinh, atan, atanh, cosh, sign, sinh, tan};

use crate::lanes::Lanes;
use core::f32::consts::{FRAC_PI_2, LN_2, LOG2_E};

/// ln 2 = LN_2 + LN_2_LOW to 48 bits.
const LN_2_LOW: f32 = f32::from_bits(0xb102_e308);
/// sqrt(1/2), where the mantissa of a logarithm's argument begins.
const SQRT_HALF_BITS: i32 = 0x3f35_04f3;

/// (e^r - 1 - r) / r^2 on |r| <= ln 2 / 2, relative error of e^r - 1 below 2^-30.9.
const EXP: [f32; 6] = from_bits([0x3f00_0000, 0x3e2a_aaaa, 0x3d2a_aa78, 0x3c08_8984, 0x3ab6_a1bb, 0x394f_03d6]);
/// (ln(1 + f) - f + f^2 / 2) / f^3 on sqrt(1/2) - 1 <= f <= sqrt(2) - 1, to 2^-30.
const LN: [f32; 9] = from_bits([
    0x3eaa_aaa3,
    0xbe80_0005,
    0x3e4c_d2a3,
    0xbe2a_ad73,
    0x3e11_9679,
    0xbdfe_2676,
    0x3df3_d2bd,
    0xbdee_b5ff,
    0x3d88_e8d5,
]);
/// (tanh(x) / x - 1) / x^2 in x^2 for |x| <= 0.625, to 2^-32.
const TANH: [f32; 6] = from_bits([0xbeaa_aaaa, 0x3e08_883d, 0xbd5c_f8c8, 0x3cb1_d30b, 0xbc06_3269, 0x3b0d_22e5]);
/// erf(x) / x - 1 in x^2 for |x| <= 0.928, to 2^-30.
const ERF_NEAR: [f32; 7] =
    from_bits([0x3e03_75d4, 0xbec0_93a1, 0x3de7_16f6, 0xbcdc_0670, 0x3baa_5ddd, 0xba54_f52e, 0x38ad_f992]);
/// -ln(1 - erf(x)) / x - 1 for 0.92 <= x <= 3.95, error of erf below 2^-30.
const ERF_FAR: [f32; 7] =
    from_bits([0x3e03_be57, 0x3f22_973b, 0x3dd9_af46, 0xbcc3_1054, 0x3b70_530b, 0xb9ac_9357, 0x3747_9ba8]);
/// (Phi(x) - 1/2) / x in x^2 for |x| <= 1, Phi the normal distribution function, to 2^-28.
const NORMAL_NEAR: [f32; 7] =
    from_bits([0x3ecc_422a, 0xbd88_2c35, 0x3c23_6cae, 0xba9c_02bb, 0x38fa_9ae9, 0xb74c_8087, 0x35b3_be69]);
/// t (1 - Phi(t)) e^(t^2/2) in (t - 5) / (t + 5) for 1 <= t <= 14.7, to 2^-26.
const NORMAL_TAIL: [f32; 10] = from_bits([
    0x3ec4_e9d6,
    0x3d54_9a95,
    0xbdae_28ac,
    0x3dba_2398,
    0xbd98_1302,
    0x3d44_4c0f,
    0xbcc6_166e,
    0x3c14_1b34,
    0xbae9_3ffe,
    0xb9c9_65bc,
]);
/// (sin(r) / r - 1) / r^2 in r^2 for |r| <= pi/4, to 2^-32.
const SIN: [f32; 4] = from_bits([0xbe2a_aaab, 0x3c08_88b2, 0xb950_242e, 0x363b_ee84]);
/// (cos(r) - 1 + r^2 / 2) / r^4 in r^2 for |r| <= pi/4, to 2^-33.
const COS: [f32; 3] = from_bits([0x3d2a_aaa5, 0xbab6_0614, 0x37cc_f40c]);
/// pi/2 = FRAC_PI_2 + these two, to 72 bits.
const FRAC_PI_2_LOW: [f32; 2] = from_bits([0xb33b_bd2e, 0xa6f7_2ced]);
/// ((ln((1 + s) / (1 - s)) / s - 2) / s^2 - 2/3) / s^2 in s^2 for |s| <= 0.1716, to 2^-43.
const ATANH: [f32; 4] = from_bits([0x3ecc_cccc, 0x3e92_49d6, 0x3e63_2252, 0x3e47_f70d]);
/// 2/3 and its rest.
const TWO_THIRDS: [f32; 2] = from_bits([0x3f2a_aaab, 0xb2aa_aaab]);
/// 2 sqrt(2/pi) and its rest.
const GELU_LINEAR: [f32; 2] = from_bits([0x3fcc_422a, 0xb342_bc9b]);
/// 2 sqrt(2/pi) 0.044715 and its rest.
const GELU_CUBIC: [f32; 2] = from_bits([0x3d92_2279, 0x3124_d8b5]);

/// e^x
#[inline(always)]
pub fn exp<V: Lanes>(x: V) -> V {
    // Beyond these bounds the result is +0 or infinity, and so it is at them.
    let x = V::splat(89.0).min(V::splat(-104.0).max(x));
    let (p, n) = exp_parts(x);
    scale(p, n)
}

/// e^x - 1, accurate near zero
#[inline(always)]
pub fn expm1<V: Lanes>(x: V) -> V {
    let bounded = V::splat(89.0).min(V::splat(-25.0).max(x));
    let (q, n) = expm1_parts(bounded);
    // 2^n q + (2^n - 1), at half the size because 2^128 is no f32.
    let power = power_of_two::<V>(V::int_sub(n.to_int(), V::int(1)));
    let half = power.fma(q, power.sub(V::splat(0.5)));
    let result = V::select(n.eq(V::splat(0.0)), q, half.add(half));
    result.copysign(x)
}

/// The natural logarithm: NaN below zero, -infinity at either zero.
#[inline(always)]
pub fn ln<V: Lanes>(x: V) -> V {
    let (m, k) = log_parts(x);
    let y = ln_near_one(m.sub(V::splat(1.0)), k);
    let y = V::select(x.lt(V::splat(f32::INFINITY)), y, x); // Infinity and NaN.
    let y = V::select(x.eq(V::splat(0.0)), V::splat(f32::NEG_INFINITY), y);
    V::select(x.lt(V::splat(0.0)), V::splat(f32::NAN), y)
}

/// The hyperbolic tangent.
#[inline(always)]
pub fn tanh<V: Lanes>(x: V) -> V {
    let a = V::splat(10.0).min(x.abs());
    let s = a.mul(a);
    let near = a.mul(s).fma(horner(s, TANH), a);
    let (p, n) = exp_parts(a.add(a));
    let e = p.mul(power_of_two::<V>(n.to_int()));
    let far = V::splat(1.0).sub(V::splat(2.0).div(e.add(V::splat(1.0))));
    V::select(a.lt(V::splat(0.625)), near, far).copysign(x)
}

/// 1 / (1 + e^-x)
#[inline(always)]
pub fn sigmoid<V: Lanes>(x: V) -> V {
    let a = V::splat(104.0).min(x.abs());
    let (p, n) = exp_parts(a.neg());
    let e = scale(p, n);
    let one = V::splat(1.0);
    V::select(x.lt(V::splat(0.0)), e, one).div(one.add(e))
}

/// x sigmoid(x), also called swish; -0 at -infinity
#[inline(always)]
pub fn silu<V: Lanes>(x: V) -> V {
    let (q, n) = expm1_parts(V::splat(120.0).min(x.abs()).neg());
    gate(V::splat(-120.0).max(x), q, n)
}

/// The error function.
#[inline(always)]
pub fn erf<V: Lanes>(x: V) -> V {
    let a = V::splat(4.0).min(x.abs());
    let near = a.fma(horner(a.mul(a), ERF_NEAR), a);
    let (p, n) = exp_parts(a.neg().fma(horner(a, ERF_FAR), a.neg()));
    let far = V::splat(1.0).sub(p.mul(power_of_two::<V>(n.to_int())));
    V::select(a.lt(V::splat(0.9277)), near, far).copysign(x)
}

/// x Phi(x), Phi the normal distribution function: the exact (erf) form; -0 at -infinity
#[inline(always)]
pub fn gelu_erf<V: Lanes>(x: V) -> V {
    let t = V::splat(16.0).min(x.abs());
    // e^(-t^2/2), the square with its rounding error.
    let half = t.mul(V::splat(0.5));
    let h = half.mul(t);
    let h_low = half.fma(t, h.neg());
    let (q, n) = expm1_parts(h.neg());
    let q = h_low.neg().fma(q.add(V::splat(1.0)), q);
    let five = V::splat(5.0);
    let k = horner(t.sub(five).div(t.add(five)), NORMAL_TAIL);
    let tail = q.fma(k, k); // t (1 - Phi(t)) / 2^n
    let tail = scale(tail, n);
    let far = V::select(x.lt(V::splat(0.0)), tail.neg(), x.sub(tail));
    let near = x.mul(x.fma(horner(x.mul(x), NORMAL_NEAR), V::splat(0.5)));
    V::select(t.lt(V::splat(1.0)), near, far)
}

/// x / 2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))); -0 at -infinity
#[inline(always)]
pub fn gelu_tanh<V: Lanes>(x: V) -> V {
    // The same as x sigmoid(z) with z = x (c + d x^2), here for |x| and in twice the precision,
    // because an absolute error of z is a relative error of the result.
    let a = V::splat(12.0).min(x.abs());
    let [c, c_low] = GELU_LINEAR.map(V::splat);
    let [d, d_low] = GELU_CUBIC.map(V::splat);
    let (s, s_low) = product(a, a);
    let (t, t_low) = product(d, s);
    let t_low = t_low.add(d.fma(s_low, d_low.mul(s)));
    let (u, u_low) = sum(c, t);
    let u_low = u_low.add(t_low.add(c_low));
    let (z, z_low) = product(a, u);
    let z_low = a.fma(u_low, z_low);
    let (q, n) = expm1_parts(z.neg());
    let q = z_low.neg().fma(q.add(V::splat(1.0)), q);
    gate(V::splat(-12.0).max(x), q, n)
}

/// ln(1 + e^x)
#[inline(always)]
pub fn softplus<V: Lanes>(x: V) -> V {
    let (p, n) = exp_parts(V::splat(104.0).min(x.abs()).neg());
    let e = scale(p, n);
    // ln(1 + e) for e in 0 ..= 1: beyond sqrt(2) - 1 it is ln 2 + ln(1 + (e - 1) / 2).
    let half = V::splat(0.5);
    let small = e.lt(V::splat(0.414_213_57));
    let f = V::select(small, e, e.fma(half, half.neg()));
    let k = V::select(small, V::splat(0.0), V::splat(1.0));
    let l = ln_near_one(f, k);
    V::select(x.lt(V::splat(0.0)), l, x.add(l))
}

/// x tanh(softplus(x)); -0 at -infinity
#[inline(always)]
pub fn mish<V: Lanes>(x: V) -> V {
    // With e = e^-|x|: tanh(softplus(x)) is (1 + 2e) / (1 + 2e + 2e^2) above zero and
    // e (e + 2) / (e (e + 2) + 2) below, where e stays a factor until the end.
    let (q, n) = expm1_parts(V::splat(120.0).min(x.abs()).neg());
    let e = scale(q.add(V::splat(1.0)), n);
    let negative = x.lt(V::splat(0.0));
    let (one, two) = (V::splat(1.0), V::splat(2.0));
    let e_plus_2 = e.add(two);
    let above = e.fma(two, one);
    let numerator = V::select(negative, q.fma(e_plus_2, e_plus_2), above);
    let denominator = V::select(negative, e.fma(e_plus_2, two), e.mul(two).fma(e, above));
    let n = V::select(negative, n, V::splat(0.0));
    scale(V::splat(-120.0).max(x).mul(numerator.div(denominator)), n)
}

/// alpha x + beta (fused) clamped to 0 ..= 1
#[inline(always)]
pub fn hard_sigmoid<V: Lanes>(x: V, alpha: f32, beta: f32) -> V {
    let y = x.fma(V::splat(alpha), V::splat(beta));
    V::splat(1.0).min(V::splat(0.0).max(y))
}

/// x hard_sigmoid(x, 1/6, 1/2); -0 at -infinity
#[inline(always)]
pub fn hard_swish<V: Lanes>(x: V) -> V {
    V::splat(-4.0).max(x).mul(hard_sigmoid(x, 1.0 / 6.0, 0.5))
}

/// clip(x, 0, infinity): +0 below zero, else x; NaN and -0 stay
#[inline(always)]
pub fn relu<V: Lanes>(x: V) -> V {
    V::splat(0.0).max(x)
}

/// x below zero times the slope
#[inline(always)]
pub fn leaky_relu<V: Lanes>(x: V, slope: V) -> V {
    V::select(x.lt(V::splat(0.0)), x.mul(slope), x)
}

/// x above the threshold, else +0
#[inline(always)]
pub fn thresholded_relu<V: Lanes>(x: V, threshold: f32) -> V {
    V::select(x.le(V::splat(threshold)), V::splat(0.0), x)
}

/// min(max(x, low), high); NaN stays NaN, and the upper bound wins
#[inline(always)]
pub fn clip<V: Lanes>(x: V, low: f32, high: f32) -> V {
    V::splat(high).min(V::splat(low).max(x))
}

/// alpha (e^x - 1) below zero, else x
#[inline(always)]
pub fn elu<V: Lanes>(x: V, alpha: f32) -> V {
    V::select(x.lt(V::splat(0.0)), expm1(x).mul(V::splat(alpha)), x)
}

/// gamma x above zero, else (gamma alpha) (e^x - 1)
#[inline(always)]
pub fn selu<V: Lanes>(x: V, alpha: f32, gamma: f32) -> V {
    let below = expm1(x).mul(V::splat(gamma * alpha));
    V::select(x.lt(V::splat(0.0)), below, x.mul(V::splat(gamma)))
}

/// alpha (e^(x / alpha) - 1) below zero, else x
#[inline(always)]
pub fn celu<V: Lanes>(x: V, alpha: f32) -> V {
    let alpha = V::splat(alpha);
    V::select(x.lt(V::splat(0.0)), expm1(x.div(alpha)).mul(alpha), x)
}

/// x / (1 + |x|); 1 with the sign of x at infinities
#[inline(always)]
pub fn softsign<V: Lanes>(x: V) -> V {
    let a = V::splat(f32::MAX).min(x.abs());
    a.div(V::splat(1.0).add(a)).copysign(x)
}

/// The sine of any f32 in radians; NaN at infinities
#[inline(always)]
pub fn sin<V: Lanes>(x: V) -> V {
    let magnitude = x.abs();
    let (r, r_low, n) = reduce(x);
    // The sign of a zero argument is the result's.
    let y = V::select(x.eq(V::splat(0.0)), x, sin_or_cos(r, r_low, n));
    let near = magnitude.le(V::splat(REDUCTION_LIMIT));
    if V::any(V::not(near)) { V::select(near, y, x.map(sin_of_large)) } else { y }
}

/// The cosine of any f32 in radians; NaN at infinities
#[inline(always)]
pub fn cos<V: Lanes>(x: V) -> V {
    let magnitude = x.abs();
    let (r, r_low, n) = reduce(x);
    let y = sin_or_cos(r, r_low, V::int_add(n, V::int(1)));
    let near = magnitude.le(V::splat(REDUCTION_LIMIT));
    if V::any(V::not(near)) { V::select(near, y, x.map(cos_of_large)) } else { y }
}

/// x^y with the special cases of C's `pow`
///
/// For y = 2, 1, 1/2 (of positive x) and -1 the result is x * x, x, sqrt(x) and 1 / x.
#[inline(always)]
pub fn pow<V: Lanes>(x: V, y: V) -> V {
    let (zero, one) = (V::splat(0.0), V::splat(1.0));
    let a = x.abs();
    let (l, l_low) = ln_double(a);
    let e = y.mul(l);
    let e_low = y.fma(l_low, y.fma(l, e.neg()));
    // Far outside the range of exp its argument is a bound or infinite, and its low part undefined.
    let e_low = V::select(e.abs().lt(V::splat(128.0)), e_low, zero);
    let (p, n) = exp_parts(V::splat(130.0).min(V::splat(-150.0).max(e)));
    let power = scale(p.fma(e_low, p), n);

    let integral = y.round_even().eq(y);
    let half = y.mul(V::splat(0.5));
    let odd = V::both(integral, V::not(half.round_even().eq(half)));
    let r = V::select(odd, power.copysign(x), power);
    let finite_negative = V::both(x.lt(zero), a.lt(V::splat(f32::INFINITY)));
    let r = V::select(V::both(finite_negative, V::not(integral)), V::splat(f32::NAN), r);
    let infinite_y = y.abs().eq(V::splat(f32::INFINITY));
    let r = V::select(V::both(a.eq(one), infinite_y), one, r);
    let r = V::select(V::either(x.is_nan(), y.is_nan()), x.add(y), r);
    let r = V::select(V::either(x.eq(one), y.eq(zero)), one, r);

    let r = V::select(y.eq(V::splat(2.0)), x.mul(x), r);
    let r = V::select(y.eq(one), x, r);
    let r = V::select(V::both(y.eq(V::splat(0.5)), zero.lt(x)), a.sqrt(), r);
    V::select(y.eq(V::splat(-1.0)), one.div(x), r)
}

// ------------------------------------------------------------------------------------------------
// The parts the functions share.

/// c[0] + c[1] x + c[2] x^2 + ..., by fused steps from the highest power down.
#[inline(always)]
fn horner<V: Lanes, const N: usize>(x: V, c: [f32; N]) -> V {
    let mut y = V::splat(c[N - 1]);
    for i in (0..N - 1).rev() {
        y = y.fma(x, V::splat(c[i]));
    }
    y
}

const fn from_bits<const N: usize>(bits: [u32; N]) -> [f32; N] {
    let mut values = [0.0; N];
    let mut i = 0;
    while i < N {
        values[i] = f32::from_bits(bits[i]);
        i += 1;
    }
    values
}

/// a * b as a value and its rounding error
#[inline(always)]
fn product<V: Lanes>(a: V, b: V) -> (V, V) {
    let p = a.mul(b);
    (p, a.fma(b, p.neg()))
}

/// a + b as a value and its rounding error
#[inline(always)]
fn sum<V: Lanes>(a: V, b: V) -> (V, V) {
    let s = a.add(b);
    let v = s.sub(a);
    (s, a.sub(s.sub(v)).add(b.sub(v)))
}

/// 2^i for i in -126 ..= 127
#[inline(always)]
fn power_of_two<V: Lanes>(i: V::Ints) -> V {
    V::from_bits(V::int_shl::<23>(V::int_add(i, V::int(127))))
}

/// p * 2^n with one rounding, for n in -252 ..= 254 and p near 1
#[inline(always)]
fn scale<V: Lanes>(p: V, n: V) -> V {
    // In two steps, of which the first is exact: 2^n itself may be no normal number.
    let n = n.to_int();
    let first = V::int_shr::<1>(n);
    let second = V::int_sub(n, first);
    p.mul(power_of_two::<V>(first)).mul(power_of_two::<V>(second))
}

/// (q, n) with e^x = (1 + q) * 2^n, n integral, |q| < 0.42
#[inline(always)]
fn expm1_parts<V: Lanes>(x: V) -> (V, V) {
    let n = x.mul(V::splat(LOG2_E)).round_even();
    // The first step is exact: its result is a multiple of 2^-25 below 1/2.
    let r = n.fma(V::splat(-LN_2), x);
    let r = n.fma(V::splat(-LN_2_LOW), r);
    (r.mul(r).fma(horner(r, EXP), r), n)
}

/// (p, n) with e^x = p * 2^n, n integral, p in 0.7 .. 1.42
#[inline(always)]
fn exp_parts<V: Lanes>(x: V) -> (V, V) {
    let (q, n) = expm1_parts(x);
    (q.add(V::splat(1.0)), n)
}

/// x / (1 + e) above zero, x e / (1 + e) below, for e = (1 + q) 2^n: x sigmoid(z) for e = e^-|z|
#[inline(always)]
fn gate<V: Lanes>(x: V, q: V, n: V) -> V {
    let negative = x.lt(V::splat(0.0));
    let one = V::splat(1.0);
    let denominator = one.add(scale(q.add(one), n));
    let numerator = V::select(negative, x.fma(q, x), x);
    // The power of two comes last, so that a subnormal e costs no precision.
    scale(numerator.div(denominator), V::select(negative, n, V::splat(0.0)))
}

/// (m, k) with x = m * 2^k and m in sqrt(1/2) ..= sqrt(2), for positive finite x
#[inline(always)]
fn log_parts<V: Lanes>(x: V) -> (V, V) {
    let subnormal = x.lt(V::splat(f32::MIN_POSITIVE));
    let x = V::select(subnormal, x.mul(V::splat(33_554_432.0)), x);
    let bits = x.to_bits();
    let k = V::int_shr::<23>(V::int_sub(bits, V::int(SQRT_HALF_BITS)));
    let m = V::from_bits(V::int_sub(bits, V::int_shl::<23>(k)));
    let k = V::from_int(k);
    (m, V::select(subnormal, k.sub(V::splat(25.0)), k))
}

/// ln(1 + f) + k ln 2
#[inline(always)]
fn ln_near_one<V: Lanes>(f: V, k: V) -> V {
    let s = f.mul(f);
    let y = f.mul(s).mul(horner(f, LN));
    let y = k.fma(V::splat(LN_2_LOW), y);
    let y = s.fma(V::splat(-0.5), y);
    k.fma(V::splat(LN_2), f.add(y))
}

/// ln x in twice the precision, for x >= 0; -infinity at zero
#[inline(always)]
fn ln_double<V: Lanes>(x: V) -> (V, V) {
    let one = V::splat(1.0);
    let (m, k) = log_parts(x);
    // s = (m - 1) / (m + 1); the numerator is exact, the denominator and the quotient have rests.
    let numerator = m.sub(one);
    let denominator = m.add(one);
    let denominator_low = m.sub(denominator.sub(one));
    let s = numerator.div(denominator);
    let rest = s.neg().fma(denominator, numerator);
    let s_low = s.neg().fma(denominator_low, rest).div(denominator);
    // ln m = 2s + s^3 (2/3 + s^2 P(s^2))
    let (z, z_low) = product(s, s);
    let z_low = s.add(s).fma(s_low, z_low);
    let (cube, cube_low) = product(s, z);
    let cube_low = s.fma(z_low, s_low.fma(z, cube_low));
    let [third, third_low] = TWO_THIRDS.map(V::splat);
    let (c, c_low) = sum(third, z.mul(horner(z, ATANH)));
    let c_low = c_low.add(third_low);
    let (t, t_low) = product(cube, c);
    let t_low = cube.fma(c_low, cube_low.fma(c, t_low));
    let (l, l_low) = sum(s.add(s), t);
    let l_low = l_low.add(s_low.add(s_low).add(t_low));
    // k ln 2, added in front.
    let (h, h_low) = product(k, V::splat(LN_2));
    let h_low = k.fma(V::splat(LN_2_LOW), h_low);
    let (high, low) = sum(h, l);
    let low = low.add(h_low.add(l_low));
    let (high, low) = sum(high, low);
    let ordinary = V::both(V::splat(0.0).lt(x), x.lt(V::splat(f32::INFINITY)));
    let limit = V::select(x.eq(V::splat(0.0)), V::splat(f32::NEG_INFINITY), x);
    (V::select(ordinary, high, limit), V::select(ordinary, low, V::splat(0.0)))
}

/// Up to here three f32 are enough of pi/2.
const REDUCTION_LIMIT: f32 = 8192.0;

/// (r, r_low, n) with x = n pi/2 + r + r_low and |r| <= pi/4, for |x| <= REDUCTION_LIMIT
#[inline(always)]
fn reduce<V: Lanes>(x: V) -> (V, V, V::Ints) {
    let n = x.mul(V::splat(core::f32::consts::FRAC_2_PI)).round_even();
    let [middle, low] = FRAC_PI_2_LOW.map(V::splat);
    // Exact: a multiple of 2^-24 below 1.
    let r = n.fma(V::splat(-FRAC_PI_2), x);
    let (w, w_low) = product(n, middle);
    let (r, r_low) = sum(r, w.neg());
    (r, n.neg().fma(low, r_low.sub(w_low)), n.to_int())
}

/// sin(r + r_low + n pi/2)
#[inline(always)]
fn sin_or_cos<V: Lanes>(r: V, r_low: V, n: V::Ints) -> V {
    let one = V::splat(1.0);
    let s = r.mul(r);
    let sine = r.add(r.mul(s).fma(horner(s, SIN), r_low));
    let half = s.mul(V::splat(0.5));
    let w = one.sub(half);
    let rest = one.sub(w).sub(half);
    let cosine = w.add(s.mul(s).fma(horner(s, COS), r.neg().fma(r_low, rest)));
    let odd = V::from_int(V::int_and(n, V::int(1))).eq(one);
    let y = V::select(odd, cosine, sine);
    let sign = V::int_shl::<30>(V::int_and(n, V::int(2)));
    V::from_bits(V::int_xor(y.to_bits(), sign))
}

#[inline(never)]
fn sin_of_large(x: f32) -> f32 {
    let (r, r_low, n) = reduce_large(x);
    sin_or_cos(r, r_low, n)
}

#[inline(never)]
fn cos_of_large(x: f32) -> f32 {
    let (r, r_low, n) = reduce_large(x);
    sin_or_cos(r, r_low, n.wrapping_add(1))
}

/// [`reduce`] for any |x| >= 1, with as many bits of 2/pi as it takes (Payne and Hanek).
fn reduce_large(x: f32) -> (f32, f32, i32) {
    /// The first 256 fraction bits of 2/pi.
    const FRAC_2_PI_BITS: [u64; 4] =
        [0xa2f9_836e_4e44_1529, 0xfc27_57d1_f534_ddc0, 0xdb62_9599_3c43_9041, 0xfe51_63ab_debb_c561];
    if !x.is_finite() {
        return (f32::NAN, 0.0, 0);
    }
    let bits = x.to_bits();
    let mantissa = u128::from(bits & 0x7f_ffff | 0x80_0000);
    let exponent = (bits >> 23 & 0xff) as i32 - 150;
    // |x| / (2 pi) = mantissa * 2^(exponent - 2) * 2/pi. Of 2/pi * 2^(exponent - 2) only the
    // fraction matters, as multiples of the mantissa are whole turns.
    let word = |i: i32| match usize::try_from(i) {
        Ok(i) => FRAC_2_PI_BITS.get(i).copied().unwrap_or(0),
        Err(_) => 0,
    };
    let start = exponent - 2;
    let (first, offset) = (start.div_euclid(64), start.rem_euclid(64) as u32);
    let high = u128::from(word(first)) << 64 | u128::from(word(first + 1));
    let next = word(first + 2);
    let window = if offset == 0 { high } else { high << offset | u128::from(next >> (64 - offset)) };
    let turns = mantissa.wrapping_mul(window); // The fraction of a turn, times 2^128.
    let n = (turns.wrapping_add(1 << 125) >> 126) as i32;
    let rest = turns.wrapping_sub((n as u128) << 126) as i128;
    const TURN: f64 = core::f64::consts::TAU / (1u128 << 127) as f64 / 2.0;
    let r = rest as f64 * TURN;
    let (r, n) = if x < 0.0 { (-r, -n) } else { (r, n) };
    let high = r as f32;
    (high, (r - f64::from(high)) as f32, n)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::format;
    use std::string::String;

    /// The constants that docs/arithmetic.md prints are those of the code.
    #[test]
    fn constants_are_documented() {
        let document = include_str!("../../../docs/arithmetic.md");
        let tables: [(&str, &[f32]); 12] = [
            ("EXP", &EXP),
            ("LN", &LN),
            ("TANH", &TANH),
            ("ERF_NEAR", &ERF_NEAR),
            ("ERF_FAR", &ERF_FAR),
            ("NORMAL_NEAR", &NORMAL_NEAR),
            ("NORMAL_TAIL", &NORMAL_TAIL),
            ("SIN", &SIN),
            ("COS", &COS),
            ("ATANH", &ATANH),
            ("ATAN", &trigonometry::ATAN),
            ("ASIN", &trigonometry::ASIN),
        ];
        let mut missing = String::new();
        for (name, values) in tables {
            let mut line = format!("{name:<12}");
            for value in values {
                line += &format!(" 0x{:08x}", value.to_bits());
            }
            if !document.lines().any(|written| written == line) {
                missing += &format!("{line}\n");
            }
        }
        let pairs = [
            ("LN_2", LN_2),
            ("LN_2_LOW", LN_2_LOW),
            ("LOG2_E", LOG2_E),
            ("2/PI", core::f32::consts::FRAC_2_PI),
            ("PI/2", FRAC_PI_2),
            ("PI/2_MID", FRAC_PI_2_LOW[0]),
            ("PI/2_LOW", FRAC_PI_2_LOW[1]),
            ("2/3", TWO_THIRDS[0]),
            ("2/3_LOW", TWO_THIRDS[1]),
            ("C", GELU_LINEAR[0]),
            ("C_LOW", GELU_LINEAR[1]),
            ("D", GELU_CUBIC[0]),
            ("D_LOW", GELU_CUBIC[1]),
        ];
        for (name, value) in pairs {
            let entry = format!("{name:<12}0x{:08x}", value.to_bits());
            if !document.contains(&entry) {
                missing += &format!("{entry}\n");
            }
        }
        assert!(missing.is_empty(), "not in the document:\n{missing}");
    }
}
