//! Rounding, rescaling and addition against exact rationals, exhaustively on narrow widths.

use lowbit_arithmetic::requant::{dequantize_wide, offset_and_clamp};
use lowbit_arithmetic::rounding::hash;
use lowbit_arithmetic::{
    AddRescale, Affine, Method, Rescale, Rounding, ScaleError, dequantize, quantize, quantize_to_bytes, requantize,
    round, round_f64, round_to_integer, shift_right, shift_right_wide,
};

const ROUNDINGS: [Rounding; 6] = [
    Rounding::HalfEven,
    Rounding::HalfUp,
    Rounding::HalfAway,
    Rounding::TowardZero,
    Rounding::Floor,
    Rounding::Stochastic { seed: 77 },
];

/// n / d rounded, by the definitions: `u` is the stochastic threshold as a fraction of 2^64.
fn rounded(n: i128, d: i128, r: Rounding, u: u64) -> i128 {
    let (floor, rest) = (n.div_euclid(d), n.rem_euclid(d));
    match r {
        Rounding::HalfEven => match (2 * rest).cmp(&d) {
            std::cmp::Ordering::Less => floor,
            std::cmp::Ordering::Equal => floor + floor.rem_euclid(2),
            std::cmp::Ordering::Greater => floor + 1,
        },
        Rounding::HalfUp => (2 * n + d).div_euclid(2 * d),
        Rounding::HalfAway => n.signum() * ((2 * n.abs() + d) / (2 * d)),
        Rounding::TowardZero => n / d,
        Rounding::Floor => floor,
        // For d = 2^s, s <= 64: rest above the first s bits of u.
        Rounding::Stochastic { .. } => floor + i128::from(rest > (i128::from(u) * d) >> 64),
    }
}

/// The hash that the crate uses for the rounding; zero for those that use none.
fn threshold(r: Rounding, index: u64) -> u64 {
    match r {
        Rounding::Stochastic { seed } => hash(seed, index),
        Rounding::HalfEven | Rounding::HalfUp | Rounding::HalfAway | Rounding::TowardZero | Rounding::Floor => 0,
    }
}

/// 2^e as a fraction.
fn power(e: i32) -> (i128, i128) {
    if e >= 0 { (1 << e, 1) } else { (1, 1 << -e) }
}

#[test]
fn shifts_of_all_12_bit_integers() {
    for x in -4096i64..=4096 {
        for s in 0..=60 {
            for r in ROUNDINGS {
                let want = rounded(i128::from(x), 1 << s, r, threshold(r, x as u64));
                assert_eq!(i128::from(shift_right(x, s, r, x as u64)), want, "{x} >> {s} {r}");
                assert_eq!(shift_right_wide(i128::from(x), s, r, x as u64), want, "wide {x} >> {s} {r}");
            }
        }
    }
}

#[test]
fn shifts_of_extremes() {
    let near = [i64::MIN, i64::MIN + 1, -(1 << 62), -(1 << 62) - 1, 1 << 62, (1 << 62) + 1, i64::MAX - 1, i64::MAX];
    for x in near {
        for s in 0..=66 {
            for r in ROUNDINGS {
                // The oracle multiplies the hash by 2^s, which must fit 127 bits.
                if matches!(r, Rounding::Stochastic { .. }) && s > 62 {
                    continue;
                }
                let want = rounded(i128::from(x), 1 << s, r, threshold(r, 5));
                assert_eq!(i128::from(shift_right(x, s, r, 5)), want, "{x} >> {s} {r}");
            }
        }
    }
    // Everything shifted out: only the sign and the one tie are left.
    for s in [128, 129, 200, u32::MAX] {
        for x in [1, 12345, i128::MAX, -1, -12345, i128::MIN] {
            let tie = s == 128 && x == i128::MIN;
            let want = |r| match r {
                Rounding::HalfEven | Rounding::HalfUp | Rounding::TowardZero => 0,
                Rounding::HalfAway => -i128::from(tie),
                Rounding::Floor => -i128::from(x < 0),
                Rounding::Stochastic { .. } => unreachable!(),
            };
            for r in ROUNDINGS.into_iter().take(5) {
                assert_eq!(shift_right_wide(x, s, r, 0), want(r), "{x} >> {s} {r}");
            }
        }
    }
    assert_eq!(shift_right_wide(i128::MIN, 127, Rounding::HalfUp, 0), -1);
    assert_eq!(shift_right_wide(i128::MAX, 127, Rounding::HalfEven, 0), 1);
}

#[test]
fn stochastic_shifts_past_the_hash() {
    // rest / 2^s > h / 2^64 for s = 64 + k, with both sides as 128-bit integers.
    for i in 0..20_000u64 {
        let r = Rounding::Stochastic { seed: 9 };
        let h = u128::from(hash(9, i));
        for k in [0u32, 1, 5, 40, 63] {
            let x = ((u128::from(hash(10, i)) << 64 | u128::from(hash(11, i))) >> (i % 90)) as i128;
            let s = 64 + k;
            let rest = (x as u128) & ((1u128 << s) - 1);
            let want = (x >> s) + i128::from(rest > h << k);
            assert_eq!(shift_right_wide(x, s, r, i), want);
        }
        // s = 128: h / 2^64 against x / 2^128.
        let x = (u128::from(hash(12, i)) << 63 | u128::from(hash(13, i))) as i128;
        assert_eq!(shift_right_wide(x, 128, r, i), i128::from((x as u128) > h << 64));
        assert_eq!(shift_right_wide(-x, 128, r, i), i128::from((-x) as u128 > h << 64) - 1);
    }
}

/// `round` says what it is; this one is only quicker.
#[test]
fn rounding_to_an_integer_is_rounding() {
    let halves = (-40_000..=40_000).map(|i| i as f32 * 0.25);
    let near = [0.5f32, 1.5, 2.5, 8_388_607.5, 8_388_608.0, 16_777_216.0, 9.223_372e18, 1.2e19, 1e30, f32::MAX];
    let near = near.into_iter().flat_map(|x| [x.next_down(), x, x.next_up()]).flat_map(|x| [x, -x]);
    let special = [0.0, -0.0, f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MIN_POSITIVE, 1e-45, -1e-45];
    let any = (0..1u32 << 16).map(|i| f32::from_bits(i << 16 | (hash(3, i.into()) as u32 >> 16)));
    for (i, x) in halves.chain(near).chain(special).chain(any).enumerate() {
        for r in ROUNDINGS {
            let index = i as u64;
            assert_eq!(round_to_integer(x, r, index), round(x, r, index) as i64, "{x:?} {r}");
        }
    }
}

#[test]
fn floats_round_like_rationals() {
    for sixteenths in -100_000i32..=100_000 {
        for e in [-20, -4, 0] {
            let (n, d) = power(e);
            let x = sixteenths as f32 * (n as f32 / d as f32);
            for r in ROUNDINGS {
                let index = sixteenths as u64;
                // Compared with a threshold of 24 (f32) and 53 (f64) bits.
                let u = threshold(r, index) >> 40 << 40;
                let want = rounded(i128::from(sixteenths) * n, d, r, u);
                if e != -20 || !matches!(r, Rounding::Stochastic { .. }) {
                    assert_eq!(round_f64(f64::from(x), r, index) as i128, want, "{x} {r}");
                }
                let got = round(x, r, index);
                assert_eq!(got as i128, want, "{x} {r}");
                assert_eq!(got.is_sign_negative(), x.is_sign_negative(), "the sign of {x} {r}");
            }
        }
    }
}

#[test]
fn rounding_equals_the_standard_library_everywhere() {
    for bits in (0..=u32::MAX).step_by(1031) {
        let x = f32::from_bits(bits);
        let y = f64::from(x) * 1.000_000_3;
        let pairs = [
            (Rounding::HalfEven, x.round_ties_even(), y.round_ties_even()),
            (Rounding::HalfAway, x.round(), y.round()),
            (Rounding::TowardZero, x.trunc(), y.trunc()),
            (Rounding::Floor, x.floor(), y.floor()),
        ];
        for (r, want, want64) in pairs {
            assert!(round(x, r, 0).to_bits() == want.to_bits() || x.is_nan(), "{x} {r}");
            assert!(round_f64(y, r, 0).to_bits() == want64.to_bits() || y.is_nan(), "{y} {r}");
        }
        let up = round(x, Rounding::HalfUp, 0);
        if x.abs() < 4e6 {
            assert_eq!(f64::from(up), (f64::from(x) + 0.5).floor(), "{x}");
        }
    }
    // Where x + 0.5 would itself round.
    assert_eq!(round(0.499_999_97, Rounding::HalfUp, 0), 0.0);
    assert_eq!(round(8_388_607.5, Rounding::HalfUp, 0), 8_388_608.0);
    assert_eq!(round(-8_388_607.5, Rounding::HalfUp, 0), -8_388_607.0);
}

#[test]
fn stochastic_rounding_is_unbiased() {
    let r = Rounding::Stochastic { seed: 2024 };
    let n = 400_000u64;
    for x in [0.1f32, 0.5, 2.75, -0.25, -3.9, 1e-4] {
        let mean = (0..n).map(|i| f64::from(round(x, r, i))).sum::<f64>() / n as f64;
        // Five standard deviations of a Bernoulli mean.
        let p = f64::from(x) - f64::from(x).floor();
        let tolerance = 5.0 * (p * (1.0 - p) / n as f64).sqrt();
        assert!((mean - f64::from(x)).abs() < tolerance, "mean {mean} of {x}");
    }
    for (x, s) in [(3i64, 2), (-3, 2), (1, 10), (12345, 13)] {
        let mean = (0..n).map(|i| shift_right(x, s, r, i) as f64).sum::<f64>() / n as f64;
        let want = x as f64 / f64::from(1 << s);
        let p = want - want.floor();
        assert!((mean - want).abs() < 5.0 * (p * (1.0 - p) / n as f64).sqrt(), "mean {mean} of {want}");
    }
    // Integers never move, and every index has its own draw.
    assert!((0..1000).all(|i| round(-7.0, r, i) == -7.0 && shift_right(-8, 2, r, i) == -2));
}

/// Scales with many mantissas and exponents around 1.
fn scales() -> Vec<f32> {
    let mut scales = vec![1.0, 0.5, 0.25, 2.0, 1.0 / 3.0, 0.1, 0.007_812_5, 0.023_529_41, 1.999_999_9, 1.000_000_1];
    scales.extend((0..8).map(|i| 0.001 + (hash(20, i) >> 40) as f32 / 16_777_216.0));
    scales
}

/// (m, e) with s = m * 2^e.
fn mantissa_and_exponent(s: f32) -> (i128, i32) {
    let bits = s.to_bits();
    (i128::from(bits & 0x7f_ffff | 0x80_0000), (bits >> 23) as i32 - 150)
}

/// The 31-bit multiplier and shift of s_in / (s_out * count) as defined, from f64 by other means.
fn fixed_by_definition(s_in: f32, s_out: f32, count: u32) -> (i128, i32) {
    let ratio = f64::from(s_in) / (f64::from(s_out) * f64::from(count));
    let mut shift = 0;
    while ratio * 2f64.powi(shift) < 2f64.powi(30) {
        shift += 1;
    }
    while ratio * 2f64.powi(shift) >= 2f64.powi(31) {
        shift -= 1;
    }
    let m = (ratio * 2f64.powi(shift)).round_ties_even() as i128;
    if m == 1 << 31 { (1 << 30, shift - 1) } else { (m, shift) }
}

#[test]
fn rescaling_all_12_bit_accumulators() {
    for (s_in, s_out) in scales().into_iter().flat_map(|a| scales().into_iter().map(move |b| (a, b))) {
        for count in [1u32, 3, 49] {
            let (m, shift) = fixed_by_definition(s_in, s_out, count);
            let fixed = Rescale::for_average(Method::Fixed, s_in, s_out, count).unwrap();
            assert_eq!(fixed, Rescale::Fixed { m: m as i32, shift });
            let float = Rescale::for_average(Method::Float32, s_in, s_out, count).unwrap();
            let m32 = s_in / s_out / count as f32;
            let (n32, e32) = mantissa_and_exponent(m32);
            for acc in -2048i64..2048 {
                for r in ROUNDINGS {
                    let index = (acc + 5000) as u64;
                    let (n, d) = power(-shift);
                    let want = rounded(i128::from(acc) * m * n, d, r, threshold(r, index));
                    assert_eq!(i128::from(fixed.apply(acc, r, index)), want, "{acc} {fixed:?} {r}");
                    // The f32 product by hand: the exact product rounded to 24 bits, half to even.
                    let exact = i128::from(acc) * n32;
                    let excess = (128 - exact.unsigned_abs().leading_zeros() as i32 - 24).max(0);
                    let product = rounded(exact, 1 << excess, Rounding::HalfEven, 0);
                    let (n, d) = power(e32 + excess);
                    let u = threshold(r, index) >> 40 << 40;
                    assert_eq!(
                        i128::from(float.apply(acc, r, index)),
                        rounded(product * n, d, r, u),
                        "{acc} {float:?} {r}"
                    );
                }
            }
        }
    }
}

#[test]
fn shift_method_on_all_12_bit_accumulators() {
    for k in -20i32..=20 {
        let s_in = 0.3f32 * 2f32.powi(-k);
        let by = Rescale::new(Method::Shift, s_in, 0.3).unwrap();
        assert_eq!(by, Rescale::Shift { shift: k });
        for acc in -2048i64..2048 {
            for r in ROUNDINGS {
                let (n, d) = power(-k);
                let want = rounded(i128::from(acc) * n, d, r, threshold(r, 3));
                assert_eq!(i128::from(by.apply(acc, r, 3)), want);
            }
        }
    }
    assert_eq!(Rescale::for_average(Method::Shift, 0.5, 0.25, 16), Ok(Rescale::Shift { shift: 3 }));
    // No shift divides by 49.
    let mean = Rescale::for_average(Method::Shift, 0.5, 0.25, 49);
    assert_eq!(mean, Rescale::for_average(Method::Fixed, 0.5, 0.25, 49));
    assert!(matches!(mean, Ok(Rescale::Fixed { .. })));
}

#[test]
fn addition_of_all_pairs_of_8_bit_integers() {
    let scales = [0.25f32, 0.1, 0.023_529_41, 0.5, 1.0, 0.123_456_79];
    let count = scales.len();
    let triples = (0..count.pow(3)).map(|i| (scales[i % count], scales[i / count % count], scales[i / count / count]));
    for (s1, s2, so) in triples {
        let fixed = AddRescale::new(Method::Fixed, s1, s2, so).unwrap();
        let (greater, shift) = fixed_by_definition(s1.max(s2), so, 1);
        let scaled = |s: f32| (f64::from(s) / f64::from(so) * 2f64.powi(shift)).round_ties_even() as i128;
        let (m1, m2) = (scaled(s1), scaled(s2));
        assert_eq!(m1.max(m2), greater);
        assert_eq!(fixed, AddRescale::Fixed { m1: m1 as i32, m2: m2 as i32, shift });
        let float = AddRescale::new(Method::Float32, s1, s2, so).unwrap();
        for a in (-128i64..128).step_by(3) {
            for b in -128i64..128 {
                for r in ROUNDINGS {
                    let index = (a * 256 + b + 100_000) as u64;
                    let (n, d) = power(-shift);
                    let want = rounded((i128::from(a) * m1 + i128::from(b) * m2) * n, d, r, threshold(r, index));
                    assert_eq!(i128::from(fixed.apply(a, b, r, index)), want, "{a} {b} {fixed:?} {r}");
                    let (x, y) = (a as f32 * (s1 / so), b as f32 * (s2 / so));
                    assert_eq!(float.apply(a, b, r, index), round(x + y, r, index) as i64);
                }
            }
        }
    }
}

#[test]
fn addition_by_shift() {
    let by = AddRescale::new(Method::Shift, 0.5, 0.125, 0.25).unwrap();
    assert_eq!(by, AddRescale::Fixed { m1: 4, m2: 1, shift: 1 });
    assert_eq!(by.apply(3, -3, Rounding::HalfUp, 0), 5); // 4.5
    let left = AddRescale::new(Method::Shift, 4.0, 2.0, 0.5).unwrap();
    assert_eq!(left, AddRescale::Fixed { m1: 2, m2: 1, shift: -2 });
    assert_eq!(left.apply(1, 1, Rounding::HalfUp, 0), 12);
    let apart = AddRescale::new(Method::Shift, 1.0, 2f32.powi(-31), 1.0);
    assert_eq!(apart, Err(ScaleError::Apart { s1: 1.0, s2: 2f32.powi(-31) }));
}

#[test]
fn everything_saturates() {
    let huge = Rescale::new(Method::Fixed, 1e30, 1e-30).unwrap();
    assert_eq!(huge.apply(1, Rounding::HalfUp, 0), i64::MAX);
    assert_eq!(huge.apply(-1, Rounding::HalfUp, 0), i64::MIN);
    assert_eq!(huge.apply(0, Rounding::HalfUp, 0), 0);
    let tiny = Rescale::new(Method::Fixed, 1e-30, 1e30).unwrap();
    assert_eq!(tiny.apply(i64::MIN, Rounding::HalfUp, 0), 0);
    assert_eq!(tiny.apply(i64::MIN, Rounding::Floor, 0), -1);
    let left = Rescale::new(Method::Shift, 2f32.powi(70), 1.0).unwrap();
    assert_eq!(left.apply(1, Rounding::HalfUp, 0), i64::MAX);
    assert_eq!(left.apply(-1, Rounding::HalfUp, 0), i64::MIN);
    let float = Rescale::new(Method::Float32, 1e30, 1.0).unwrap();
    assert_eq!(requantize(i64::MAX, float, Rounding::HalfEven, 100, -128, 127, 0), 127);
    assert_eq!(requantize(i64::MIN, float, Rounding::HalfEven, -100, -128, 127, 0), -128);
    let fixed = Rescale::new(Method::Fixed, 1.0, 1.0).unwrap();
    assert_eq!(fixed.apply(i64::MIN, Rounding::HalfUp, 0), i64::MIN);
    assert_eq!(fixed.apply(i64::MAX, Rounding::HalfUp, 0), i64::MAX);
    let add = AddRescale::new(Method::Fixed, 1.0, 1.0, 1.0).unwrap();
    assert_eq!(add.apply(i64::MAX, i64::MAX, Rounding::HalfUp, 0), i64::MAX);
    assert_eq!(offset_and_clamp(i64::MAX, i32::MAX, i32::MIN, i32::MAX), i32::MAX);
    assert_eq!(offset_and_clamp(0, 0, 5, -5), -5);
    assert_eq!(dequantize_wide(i64::MAX, 1.0, -1), 9_223_372_036_854_775_808.0);
}

#[test]
fn quantize_inverts_dequantize() {
    for s in scales() {
        for zero_point in [-128, -5, 0, 127] {
            let of = Affine { scale: s, zero_point, qmin: -128, qmax: 127 };
            for q in -128..=127 {
                for r in [Rounding::HalfEven, Rounding::HalfUp, Rounding::HalfAway] {
                    assert_eq!(quantize(dequantize(q, &of), &of, r, 0), q);
                }
            }
        }
    }
    let of = Affine { scale: 0.5, zero_point: 3, qmin: -8, qmax: 7 };
    assert_eq!(quantize(f32::NAN, &of, Rounding::HalfEven, 0), 3);
    assert_eq!(quantize(f32::INFINITY, &of, Rounding::HalfEven, 0), 7);
    assert_eq!(quantize(f32::NEG_INFINITY, &of, Rounding::HalfEven, 0), -8);
    assert_eq!(quantize(-0.0, &of, Rounding::Floor, 0), 3);
    assert_eq!(quantize(0.25, &of, Rounding::HalfEven, 0), 3);
    assert_eq!(quantize(0.25, &of, Rounding::HalfUp, 0), 4);
    assert_eq!(dequantize(i32::MIN, &Affine { scale: 1.0, zero_point: i32::MAX, qmin: 0, qmax: 0 }), -4_294_967_295.0);
}

#[test]
fn scales_that_cannot_be() {
    for bad in [0.0, -1.0, f32::NAN, f32::INFINITY, 1e-40] {
        for method in [Method::Float32, Method::Fixed, Method::Shift] {
            assert!(matches!(Rescale::new(method, bad, 1.0), Err(ScaleError::Scale { .. })));
            assert!(matches!(Rescale::new(method, 1.0, bad), Err(ScaleError::Scale { .. })));
            assert!(matches!(AddRescale::new(method, 1.0, bad, 1.0), Err(ScaleError::Scale { .. })));
        }
    }
    let error = Rescale::new(Method::Shift, 0.1, 0.3).unwrap_err().to_string();
    assert!(error.contains("1e-1") && error.contains("3e-1") && error.contains("power of two"), "{error}");
    assert!(Rescale::new(Method::Float32, 1e30, 1e-30).is_err());
    assert!(Rescale::new(Method::Float32, 1e-30, 1e30).is_err());
    assert!(Rescale::for_product(Method::Fixed, 1e-30, 1e-30, 1.0).is_err());
    assert!(Rescale::for_average(Method::Shift, 0.1, 0.3, 9).is_err());
    assert!(Rescale::for_average(Method::Float32, 1.0, 1.0, 0).is_err());
}

#[test]
fn names_parse_back() {
    for r in ROUNDINGS {
        assert_eq!(r.to_string().parse(), Ok(r));
        assert!(Rounding::NAMES.contains(&r.name()));
    }
    for name in Method::NAMES {
        assert_eq!(name.parse::<Method>().unwrap().name(), name);
    }
    for wrong in ["", "half", "stochastic(", "stochastic(-1)", "stochastic(1) "] {
        assert!(wrong.parse::<Rounding>().is_err());
    }
}

#[test]
fn many_are_quantized_like_one() {
    let mut data: Vec<f32> = (-4000..4000).map(|i| i as f32 / 16.0).collect();
    data.extend([
        0.0,
        -0.0,
        f32::NAN,
        f32::INFINITY,
        f32::NEG_INFINITY,
        f32::MAX,
        f32::MIN,
        1e-45,
        8388607.5,
        -2097152.5,
    ]);
    for (zero_point, qmin, qmax) in [(0, -128, 127), (3, 0, 255), (-128, -128, 127), (1 << 24, 0, 255), (7, 5, -5)] {
        for scale in [1e-18, 0.1, 0.5, 1.0, 3.7, 1e18] {
            let to = Affine { scale, zero_point, qmin, qmax };
            for r in ROUNDINGS {
                let mut bytes = vec![0; data.len()];
                quantize_to_bytes(&data, &to, r, 5, &mut bytes);
                for (i, (x, found)) in data.iter().zip(&bytes).enumerate() {
                    let index = 5 + i as u64;
                    assert_eq!(*found, quantize(*x, &to, r, index) as u8, "{x} as {to:?}, {r}");
                }
            }
        }
    }
}
