//! fma and sqrt against the hardware's, bit for bit, and the order of the lane sum.

use lowbit_arithmetic::float::{fma, lane_sum, sqrt};
use lowbit_arithmetic::rounding::hash;

/// Equal bits, or both NaN.
fn same(a: f32, b: f32) -> bool {
    a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan())
}

fn corners() -> Vec<f32> {
    let magnitudes = [
        0u32,
        1,
        2,
        3,
        0x0000_ffff,
        0x007f_ffff,
        0x0080_0000,
        0x0080_0001,
        0x00ff_ffff,
        0x0100_0000,
        0x1a00_0001,
        0x3380_0000,
        0x3400_0000,
        0x3400_0001,
        0x3f00_0000,
        0x3f7f_ffff,
        0x3f80_0000,
        0x3f80_0001,
        0x3f80_0800,
        0x3fff_ffff,
        0x4000_0000,
        0x4b00_0000,
        0x4b80_0001,
        0x5f00_0001,
        0x7eff_ffff,
        0x7f00_0000,
        0x7f7f_fffe,
        0x7f7f_ffff,
        0x7f80_0000,
        0x7fc0_0000,
    ];
    magnitudes.iter().flat_map(|&m| [m, m | 1 << 31]).map(f32::from_bits).collect()
}

#[test]
fn fma_at_all_triples_of_corners() {
    let corners = corners();
    for &a in &corners {
        for &b in &corners {
            for &c in &corners {
                let (got, want) = (fma(a, b, c), a.mul_add(b, c));
                assert!(same(got, want), "fma({a:e}, {b:e}, {c:e}) = {got:e}, not {want:e}");
            }
        }
    }
}

#[test]
fn fma_at_random_bits() {
    for i in 0..20_000_000u64 {
        let (ab, other) = (hash(1, i), hash(2, i));
        let a = f32::from_bits(ab as u32);
        let b = f32::from_bits((ab >> 32) as u32);
        // Half of the addends lie near the product, where cancellation and ties happen.
        let c = if i & 1 == 0 {
            f32::from_bits(other as u32)
        } else {
            let near = (a * b).to_bits() ^ (1 << 31);
            let offset = (other as u32) >> (8 + (other >> 32) % 24);
            f32::from_bits(near.wrapping_add(offset).wrapping_sub(offset >> 1))
        };
        let (got, want) = (fma(a, b, c), a.mul_add(b, c));
        assert!(same(got, want), "fma({a:e}, {b:e}, {c:e}) = {got:e}, not {want:e}");
    }
}

/// Products that end halfway between two f32, with an addend far below that breaks the tie.
#[test]
fn fma_breaks_ties_by_the_smallest_addend() {
    for i in 0..1_000_000u64 {
        let h = hash(3, i);
        let a = f32::from_bits(0x3f80_0000 | (h as u32 & 0x7f_f000));
        let b = f32::from_bits(0x3f80_0000 | ((h >> 32) as u32 & 0x7f_f000));
        for c in [1e-20f32, -1e-20, 1e-45, -1e-45, 0.0, -0.0] {
            assert!(same(fma(a, b, c), a.mul_add(b, c)), "fma({a:e}, {b:e}, {c:e})");
        }
        // Subnormal results.
        let tiny = f32::from_bits((h >> 40) as u32 & 0xff_ffff);
        for b in [0.5f32, 0.25, 0.75, 1e-3] {
            assert!(same(fma(tiny, b, 1e-45), tiny.mul_add(b, 1e-45)), "fma({tiny:e}, {b:e}, 1e-45)");
        }
    }
}

#[test]
fn sqrt_is_correctly_rounded() {
    // Two octaves hold every mantissa and both parities; the rest is scaling, taken in strides.
    let octaves = 0x3f80_0000..0x4080_0000u32;
    let subnormals = 0..0x0100_0000u32;
    let strided = (0..=u32::MAX).step_by(251);
    for bits in octaves.chain(subnormals).chain(strided) {
        let x = f32::from_bits(bits);
        assert!(same(sqrt(x), x.sqrt()), "sqrt({x:e}) = {:e}, not {:e}", sqrt(x), x.sqrt());
    }
}

#[test]
fn lane_sum_has_sixteen_lanes_and_a_tree() {
    let xs: Vec<f32> = (0..100).map(|i| (hash(4, i) >> 40) as f32 * 1e-3 - 7.0).collect();
    let mut l = [0.0f32; 16];
    for (i, x) in xs.iter().enumerate() {
        l[i % 16] += x;
    }
    let want = (((l[0] + l[8]) + (l[4] + l[12])) + ((l[2] + l[10]) + (l[6] + l[14])))
        + (((l[1] + l[9]) + (l[5] + l[13])) + ((l[3] + l[11]) + (l[7] + l[15])));
    assert_eq!(lane_sum(xs.iter().copied()).to_bits(), want.to_bits());
    assert_eq!(lane_sum(core::iter::empty()).to_bits(), 0);
}
