//! The tangent, the inverse circular functions, the hyperbolic functions and their inverses.
//!
//! They are rare in networks, so they are short rather than fast; the rules of the folder hold.

use super::{FRAC_PI_2_LOW, cos, exp_parts, expm1, from_bits, horner, ln_near_one, log_parts, scale, sin};
use crate::lanes::Lanes;
use core::f32::consts::{FRAC_PI_2, FRAC_PI_4, PI};

/// (atan(t) / t - 1) / t^2 in t^2 for |t| <= tan(pi/8), to 2^-30.
pub(super) const ATAN: [f32; 6] =
    from_bits([0xbeaa_aaab, 0x3e4c_ccbe, 0xbe12_452c, 0x3de2_c1ef, 0xbdb0_bd59, 0x3d4f_4419]);
/// (asin(s) / s - 1) / s^2 in s^2 for |s| <= 1/2, to 2^-32.
pub(super) const ASIN: [f32; 7] =
    from_bits([0x3e2a_aaab, 0x3d99_998e, 0x3d36_e0d6, 0x3cf7_ea56, 0x3cc1_cf87, 0x3c2a_8585, 0x3cff_9166]);
/// tan(pi/8) and tan(3 pi/8), between which the arctangent is measured from pi/4.
const TAN_PI_8: f32 = 0.414_213_57;
const TAN_3_PI_8: f32 = 2.414_213_7;
/// Above, asinh and acosh are ln 2x within 2^-26.
const LOGARITHMIC: f32 = 4096.0;

/// The sign: -1, 1, or the zero or NaN that x is
#[inline(always)]
pub fn sign<V: Lanes>(x: V) -> V {
    let zero = V::splat(0.0);
    V::select(V::either(x.lt(zero), zero.lt(x)), V::splat(1.0).copysign(x), x)
}

/// The tangent of any f32 in radians; NaN at infinities
#[inline(always)]
pub fn tan<V: Lanes>(x: V) -> V {
    sin(x).div(cos(x))
}

/// The arctangent
#[inline(always)]
pub fn atan<V: Lanes>(x: V) -> V {
    let (a, one) = (x.abs(), V::splat(1.0));
    let (middle, far) = (V::splat(TAN_PI_8).lt(a), V::splat(TAN_3_PI_8).lt(a));
    let from = |zero: f32, quarter: f32, half: f32| {
        V::select(far, V::splat(half), V::select(middle, V::splat(quarter), V::splat(zero)))
    };
    let low = FRAC_PI_2_LOW[0];
    let base = from(0.0, FRAC_PI_4, FRAC_PI_2);
    let base_low = from(0.0, 0.5 * low, low);
    let turned = a.sub(one).div(a.add(one));
    let t = V::select(far, one.div(a).neg(), V::select(middle, turned, a));
    let z = t.mul(t);
    let p = t.mul(z).fma(horner(z, ATAN), t);
    base.add(p.add(base_low)).copysign(x)
}

/// The arcsine; NaN outside of -1 ..= 1
#[inline(always)]
pub fn asin<V: Lanes>(x: V) -> V {
    let a = x.abs();
    let (p, near) = asin_parts(a);
    let far = V::splat(-2.0).fma(p, V::splat(FRAC_PI_2)).add(V::splat(FRAC_PI_2_LOW[0]));
    V::select(near, p, far).copysign(x)
}

/// The arccosine; NaN outside of -1 ..= 1
#[inline(always)]
pub fn acos<V: Lanes>(x: V) -> V {
    let (p, near) = asin_parts(x.abs());
    let low = FRAC_PI_2_LOW[0];
    let turn = V::splat(FRAC_PI_2).sub(p.copysign(x)).add(V::splat(low));
    let above = p.add(p);
    let below = V::splat(-2.0).fma(p, V::splat(PI)).add(V::splat(2.0 * low));
    V::select(near, turn, V::select(x.lt(V::splat(0.0)), below, above))
}

/// asin(a) where a < 1/2, with true; else asin(sqrt((1 - a) / 2)), which is half of what is missing to pi/2
#[inline(always)]
fn asin_parts<V: Lanes>(a: V) -> (V, V::Mask) {
    let near = a.lt(V::splat(0.5));
    let z = V::select(near, a.mul(a), V::splat(1.0).sub(a).mul(V::splat(0.5)));
    let s = V::select(near, a, z.sqrt());
    (s.mul(z).fma(horner(z, ASIN), s), near)
}

/// The hyperbolic sine
#[inline(always)]
pub fn sinh<V: Lanes>(x: V) -> V {
    let a = x.abs();
    let q = expm1(V::splat(9.0).min(a));
    let near = q.add(q.div(q.add(V::splat(1.0)))).mul(V::splat(0.5));
    V::select(a.lt(V::splat(9.0)), near, half_exp(a)).copysign(x)
}

/// The hyperbolic cosine
#[inline(always)]
pub fn cosh<V: Lanes>(x: V) -> V {
    let (a, half) = (x.abs(), V::splat(0.5));
    let (p, n) = exp_parts(V::splat(9.0).min(a));
    let e = scale(p, n);
    V::select(a.lt(V::splat(9.0)), e.fma(half, half.div(e)), half_exp(a))
}

/// e^x / 2, which is finite a little longer than e^x
#[inline(always)]
fn half_exp<V: Lanes>(x: V) -> V {
    let (p, n) = exp_parts(V::splat(91.0).min(x));
    scale(p, n.sub(V::splat(1.0)))
}

/// The inverse of the hyperbolic sine
#[inline(always)]
pub fn asinh<V: Lanes>(x: V) -> V {
    let (a, one) = (x.abs(), V::splat(1.0));
    let s = a.mul(a);
    let near = ln_1p(a.add(s.div(one.add(s.add(one).sqrt()))));
    V::select(V::splat(LOGARITHMIC).lt(a), ln_of_double(a), near).copysign(x)
}

/// The inverse of the hyperbolic cosine; NaN below 1
#[inline(always)]
pub fn acosh<V: Lanes>(x: V) -> V {
    let one = V::splat(1.0);
    let t = x.sub(one);
    let near = ln_1p(t.add(t.fma(t, t.add(t)).sqrt()));
    let y = V::select(V::splat(LOGARITHMIC).lt(x), ln_of_double(x), near);
    V::select(x.lt(one), V::splat(f32::NAN), y)
}

/// The inverse of the hyperbolic tangent; infinite at -1 and 1, NaN outside of them
#[inline(always)]
pub fn atanh<V: Lanes>(x: V) -> V {
    let a = x.abs();
    let y = ln_1p(a.add(a).div(V::splat(1.0).sub(a)));
    y.mul(V::splat(0.5)).copysign(x)
}

/// ln(1 + x) with the rounding of 1 + x made good; NaN below -1
#[inline(always)]
fn ln_1p<V: Lanes>(x: V) -> V {
    let (one, zero, infinity) = (V::splat(1.0), V::splat(0.0), V::splat(f32::INFINITY));
    let u = one.add(x);
    let v = u.sub(one);
    let rest = one.sub(u.sub(v)).add(x.sub(v));
    let (m, k) = log_parts(u);
    let y = ln_near_one(m.sub(one), k).add(rest.div(u));
    let y = V::select(x.lt(infinity), y, x);
    V::select(u.lt(zero), V::splat(f32::NAN), y)
}

/// ln 2x for x > 1; infinity and NaN stay
#[inline(always)]
fn ln_of_double<V: Lanes>(x: V) -> V {
    let one = V::splat(1.0);
    let (m, k) = log_parts(x);
    V::select(x.lt(V::splat(f32::INFINITY)), ln_near_one(m.sub(one), k.add(one)), x)
}
