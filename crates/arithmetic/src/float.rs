//! What `core` lacks for f32: the fused multiply-add, the square root and the sum over lanes.

/// a * b + c with one rounding, equal to the hardware's instruction in every bit but NaN payloads.
#[inline]
pub fn fma(a: f32, b: f32, c: f32) -> f32 {
    let product = f64::from(a) * f64::from(b); // Exact: 24 + 24 <= 53 bits.
    let addend = f64::from(c);
    let sum = product + addend;
    // Knuth's two-sum: what the addition lost.
    let virtual_addend = sum - product;
    let lost = (product - (sum - virtual_addend)) + (addend - virtual_addend);
    // Rounding an inexact sum to odd keeps a trace of the lost part, so that the conversion to f32,
    // which drops at least 29 bits, sees on which side of a tie the exact sum lies.
    // An infinite or NaN sum has a NaN loss, which is no reason to touch its bits.
    let bits = sum.to_bits();
    let inexact = lost.abs() > 0.0;
    if inexact && bits & 1 == 0 {
        let toward_zero = (lost < 0.0) != (sum < 0.0);
        f64::from_bits(if toward_zero { bits - 1 } else { bits + 1 }) as f32
    } else {
        sum as f32
    }
}

/// The correctly rounded square root.
#[inline]
pub fn sqrt(x: f32) -> f32 {
    let positive_finite = x > 0.0 && x < f32::INFINITY;
    if !positive_finite {
        // The root of -0 is -0; that of other negative numbers and of NaN is NaN.
        return if x < 0.0 { f32::NAN } else { x };
    }
    let bits = x.to_bits();
    let (mantissa, exponent) = if bits < 1 << 23 {
        // Subnormal: bring the leading one to bit 23.
        let up = bits.leading_zeros() - 8;
        (bits << up, 1 - up as i32)
    } else {
        (bits & ((1 << 23) - 1) | 1 << 23, (bits >> 23) as i32)
    };
    // x = mantissa * 2^power. The radicand takes a shift that leaves an even power of two outside
    // and gives the root 25 bits: 24 and one for rounding.
    let power = exponent - 150;
    let shift = 26 - (power & 1);
    let root = (u64::from(mantissa) << shift).isqrt() as u32;
    // A tie is impossible: it would need an odd root of an even square.
    let rounded = (root + 1) >> 1;
    // The root is a normal number; its leading one, and a carry, move into the exponent.
    let biased = (power - shift) / 2 + 151;
    f32::from_bits((((biased - 1) as u32) << 23) + rounded)
}

/// The sum over sixteen lanes: element i goes to lane i mod 16, lanes then add up as a tree.
///
/// Each lane starts at +0 and adds in ascending order; then lane l takes l + 8, l + 4, l + 2, l + 1.
#[inline]
pub fn lane_sum(xs: impl Iterator<Item = f32>) -> f32 {
    let mut lanes = [0.0f32; LANES];
    for (i, x) in xs.enumerate() {
        lanes[i % LANES] += x;
    }
    fold_lanes(lanes)
}

/// The number of partial sums of [`lane_sum`].
pub const LANES: usize = 16;

/// The tree at the end of [`lane_sum`].
#[inline]
pub fn fold_lanes(mut lanes: [f32; LANES]) -> f32 {
    let mut width = LANES / 2;
    while width > 0 {
        for l in 0..width {
            lanes[l] += lanes[l + width];
        }
        width /= 2;
    }
    lanes[0]
}

/// Whether floats behave here as the documentation demands: subnormal numbers are kept, and results
/// are rounded to nearest.
///
/// A host process may have switched the machine to another mode; then nothing should be computed.
#[inline(never)]
pub fn environment_is_ieee() -> bool {
    use core::hint::black_box;
    let subnormal_result = black_box(f32::MIN_POSITIVE) * black_box(0.5);
    let subnormal_operand = black_box(f32::from_bits(1)) * black_box(8_388_608.0);
    // The f32 nearest to 1/3 is greater: rounding down or towards zero gives another, and rounding
    // up does so for -1/3.
    let third = black_box(1.0f32) / black_box(3.0);
    let minus_third = black_box(-1.0f32) / black_box(3.0);
    black_box(subnormal_result).to_bits() == 0x0040_0000
        && black_box(subnormal_operand) == f32::MIN_POSITIVE
        && third.to_bits() == 0x3eaa_aaab
        && minus_third.to_bits() == 0xbeaa_aaab
}
