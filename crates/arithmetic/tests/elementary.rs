//! The elementary functions against f64: every 257th bit pattern of all f32, and every pattern near
//! the points where a function changes its method or its character.

use lowbit_arithmetic::elementary as e;

/// The error in units in the last place of the exact result, at the spacing of subnormals below.
fn ulps(got: f32, want: f64) -> f64 {
    if want.is_nan() || got.is_nan() {
        return if want.is_nan() && got.is_nan() { 0.0 } else { f64::INFINITY };
    }
    // An infinity counts as 2^128, where the next f32 would lie.
    let got = if got.is_infinite() { f64::from(got.signum()) * 2f64.powi(128) } else { f64::from(got) };
    let want = want.clamp(-(2f64.powi(128)), 2f64.powi(128));
    let exponent = (want.abs().to_bits() >> 52) as i32 - 1023;
    (got - want).abs() / 2f64.powi(exponent.clamp(-126, 127) - 23)
}

const STRIDE: usize = 257;
const NEIGHBOURS: i64 = 3000;

/// Points near which every pattern is tried, beside zero and the infinities.
const POINTS: [f32; 39] = [
    f32::MIN_POSITIVE,
    1e-30,
    2.44e-4,
    0.1,
    0.346_573_6,
    0.414_213_57,
    0.625,
    std::f32::consts::LN_2,
    std::f32::consts::FRAC_1_SQRT_2,
    std::f32::consts::FRAC_PI_4,
    0.9277,
    1.0,
    std::f32::consts::SQRT_2,
    std::f32::consts::FRAC_PI_2,
    2.0,
    3.0,
    std::f32::consts::PI,
    3.95,
    4.0,
    5.0,
    9.0,
    10.0,
    12.0,
    14.2,
    16.0,
    17.0,
    25.0,
    87.3,
    88.722_84,
    103.972,
    104.0,
    120.0,
    0.5,
    2.414_213_7,
    4096.0,
    89.4,
    91.0,
    8192.0,
    1e22,
];

/// The largest error over all inputs, and where it lies.
fn worst(f: impl Fn(f32) -> f32, oracle: impl Fn(f64) -> f64) -> (f64, f32) {
    let all = (0..=u32::MAX).step_by(STRIDE);
    let near = POINTS.iter().chain(&[0.0, f32::INFINITY]).flat_map(|&point| {
        let centre = i64::from(point.to_bits());
        (centre - NEIGHBOURS..=centre + NEIGHBOURS).filter(|&bits| bits >= 0).flat_map(|bits| {
            let bits = bits as u32;
            [bits, bits | 1 << 31]
        })
    });
    let mut worst = (0.0, 0.0);
    for x in all.chain(near).map(f32::from_bits) {
        let error = ulps(f(x), oracle(f64::from(x)));
        if error > worst.0 {
            worst = (error, x);
        }
    }
    worst
}

fn check(name: &str, bound: f64, f: impl Fn(f32) -> f32, oracle: impl Fn(f64) -> f64) {
    let (error, x) = worst(f, oracle);
    println!("{name}: {error:.3} ulp at {x:e} ({:#010x})", x.to_bits());
    assert!(error <= bound, "{name}: {error} ulp at {x:e}, more than {bound}");
    assert_documented(name, bound);
}

/// The bound asserted here is the one that docs/arithmetic.md promises.
fn assert_documented(name: &str, bound: f64) {
    let document = include_str!("../../../docs/arithmetic.md");
    let row = format!("| `{name}` | {bound:.1} |");
    assert!(document.lines().any(|line| line.starts_with(&row)), "no row {row} in the document");
}

fn softplus_exactly(x: f64) -> f64 {
    if x.is_nan() { x } else { x.max(0.0) + (-x.abs()).exp().ln_1p() }
}

/// x * y where a zero factor wins over infinity: the limit of the gated activations.
fn gated(x: f64, y: f64) -> f64 {
    if y == 0.0 { 0.0 } else { x * y }
}

macro_rules! bounds {
    ($($name:ident <= $bound:literal: $f:expr, $oracle:expr;)*) => {
        $(#[test]
        fn $name() {
            check(stringify!($name), $bound, $f, $oracle);
        })*
    };
}

bounds! {
    exp <= 1.0: e::exp, f64::exp;
    expm1 <= 1.5: e::expm1, f64::exp_m1;
    ln <= 1.0: e::ln, f64::ln;
    tanh <= 1.5: e::tanh, f64::tanh;
    sigmoid <= 2.5: e::sigmoid, |x| 1.0 / (1.0 + (-x).exp());
    silu <= 3.0: e::silu, |x| gated(x, 1.0 / (1.0 + (-x).exp()));
    erf <= 1.5: e::erf, libm::erf;
    gelu_erf <= 3.0: e::gelu_erf, |x| gated(x, 0.5 * libm::erfc(-x * std::f64::consts::FRAC_1_SQRT_2));
    gelu_tanh <= 3.0: e::gelu_tanh, |x: f64| {
        let z = (8.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x * x * x);
        gated(x, 1.0 / (1.0 + (-z).exp()))
    };
    softplus <= 2.0: e::softplus, softplus_exactly;
    mish <= 4.0: e::mish, |x| gated(x, softplus_exactly(x).tanh());
    sin <= 1.0: e::sin, f64::sin;
    cos <= 1.0: e::cos, f64::cos;
    tan <= 2.5: e::tan, f64::tan;
    atan <= 2.5: e::atan, f64::atan;
    asin <= 2.0: e::asin, f64::asin;
    acos <= 1.5: e::acos, f64::acos;
    sinh <= 2.5: e::sinh, f64::sinh;
    cosh <= 1.5: e::cosh, f64::cosh;
    asinh <= 2.5: e::asinh, libm::asinh;
    acosh <= 2.5: e::acosh, |x| if x < 1.0 { f64::NAN } else { libm::acosh(x) };
    atanh <= 2.5: e::atanh, libm::atanh;
    softsign <= 1.5: e::softsign, |x: f64| if x.is_infinite() { x.signum() } else { x / (1.0 + x.abs()) };
    elu <= 1.0: |x| e::elu(x, 1.0), |x| if x < 0.0 { x.exp_m1() } else { x };
    selu <= 2.0: |x| e::selu(x, 1.673_263_2, 1.050_701),
        |x| if x < 0.0 { x.exp_m1() * f64::from(1.673_263_2f32) * f64::from(1.050_701f32) }
            else { x * f64::from(1.050_701f32) };
    celu <= 2.0: |x| e::celu(x, 1.5), |x| if x < 0.0 { (x / 1.5).exp_m1() * 1.5 } else { x };
}

/// Pairs of random bit patterns, of moderate values, and of bases near one.
#[test]
fn pow() {
    let mut worst = (0.0, 0.0, 0.0);
    for i in 0..6_000_000u64 {
        let h = lowbit_arithmetic::rounding::hash(31, i);
        let (a, b) = (h as u32, (h >> 32) as u32);
        let moderate = |bits: u32| f32::from_bits((bits % 0x0c00_0000 + 0x3a00_0000) | (bits << 31));
        let (x, y) = match i % 4 {
            0 => (f32::from_bits(a), f32::from_bits(b)),
            1 => (moderate(a), moderate(b)),
            2 => (f32::from_bits(0x3f7f_0000 + a % 0x2_0000), moderate(b) * 1e4),
            _ => (f32::from_bits(a), ((b % 81) as f32 - 40.0) / 4.0),
        };
        let error = ulps(e::pow(x, y), f64::from(x).powf(f64::from(y)));
        if error > worst.0 {
            worst = (error, x, y);
        }
    }
    println!("pow: {:.3} ulp at {:e}, {:e}", worst.0, worst.1, worst.2);
    assert!(worst.0 <= 2.0, "{worst:?}");
    assert_documented("pow", 2.0);
}

#[test]
fn pow_of_special_pairs_is_that_of_the_standard_library() {
    let magnitudes =
        [0.0, 1e-45, 1e-38, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0, 16_777_215.0, 16_777_216.0, 1e30, f32::MAX];
    let values: Vec<f32> =
        magnitudes.iter().flat_map(|&m| [m, -m]).chain([f32::INFINITY, f32::NEG_INFINITY, f32::NAN]).collect();
    for &x in &values {
        for &y in &values {
            let (got, want) = (e::pow(x, y), f64::from(x).powf(f64::from(y)));
            assert!(ulps(got, want) <= 2.0, "pow({x:e}, {y:e}) = {got:e}, not {want:e}");
            let sign_matters = !want.is_nan();
            assert!(!sign_matters || got.is_sign_negative() == want.is_sign_negative(), "pow({x:e}, {y:e}) = {got:e}");
        }
        for (y, want) in [(2.0, x * x), (1.0, x), (-1.0, 1.0 / x)] {
            assert!(e::pow(x, y).to_bits() == want.to_bits() || want.is_nan(), "pow({x:e}, {y})");
        }
    }
    assert_eq!(e::pow(2.0f32, 0.5), std::f32::consts::SQRT_2);
}

#[test]
fn limits_and_signs() {
    const INF: f32 = f32::INFINITY;
    type Function = fn(f32) -> f32;
    // The function and its values at -inf, -0, +0 and +inf; NaN is NaN for each.
    let table: &[(&str, Function, [f32; 4])] = &[
        ("exp", e::exp, [0.0, 1.0, 1.0, INF]),
        ("expm1", e::expm1, [-1.0, -0.0, 0.0, INF]),
        ("ln", e::ln, [f32::NAN, -INF, -INF, INF]),
        ("tanh", e::tanh, [-1.0, -0.0, 0.0, 1.0]),
        ("sigmoid", e::sigmoid, [0.0, 0.5, 0.5, 1.0]),
        ("silu", e::silu, [-0.0, -0.0, 0.0, INF]),
        ("erf", e::erf, [-1.0, -0.0, 0.0, 1.0]),
        ("gelu_erf", e::gelu_erf, [-0.0, -0.0, 0.0, INF]),
        ("gelu_tanh", e::gelu_tanh, [-0.0, -0.0, 0.0, INF]),
        ("softplus", e::softplus, [0.0, std::f32::consts::LN_2, std::f32::consts::LN_2, INF]),
        ("mish", e::mish, [-0.0, -0.0, 0.0, INF]),
        ("sin", e::sin, [f32::NAN, -0.0, 0.0, f32::NAN]),
        ("cos", e::cos, [f32::NAN, 1.0, 1.0, f32::NAN]),
        ("sign", e::sign, [-1.0, -0.0, 0.0, 1.0]),
        ("tan", e::tan, [f32::NAN, -0.0, 0.0, f32::NAN]),
        ("atan", e::atan, [-std::f32::consts::FRAC_PI_2, -0.0, 0.0, std::f32::consts::FRAC_PI_2]),
        ("asin", e::asin, [f32::NAN, -0.0, 0.0, f32::NAN]),
        ("acos", e::acos, [f32::NAN, std::f32::consts::FRAC_PI_2, std::f32::consts::FRAC_PI_2, f32::NAN]),
        ("sinh", e::sinh, [-INF, -0.0, 0.0, INF]),
        ("cosh", e::cosh, [INF, 1.0, 1.0, INF]),
        ("asinh", e::asinh, [-INF, -0.0, 0.0, INF]),
        ("acosh", e::acosh, [f32::NAN, f32::NAN, f32::NAN, INF]),
        ("atanh", e::atanh, [f32::NAN, -0.0, 0.0, f32::NAN]),
        ("softsign", e::softsign, [-1.0, -0.0, 0.0, 1.0]),
        ("relu", e::relu, [0.0, -0.0, 0.0, INF]),
        ("elu", |x| e::elu(x, 2.0), [-2.0, -0.0, 0.0, INF]),
        ("selu", |x| e::selu(x, 2.0, 3.0), [-6.0, -0.0, 0.0, INF]),
        ("celu", |x| e::celu(x, 2.0), [-2.0, -0.0, 0.0, INF]),
        ("leaky_relu", |x| e::leaky_relu(x, 0.5), [-INF, -0.0, 0.0, INF]),
        ("hard_sigmoid", |x| e::hard_sigmoid(x, 0.2, 0.5), [0.0, 0.5, 0.5, 1.0]),
        ("hard_swish", e::hard_swish, [-0.0, -0.0, 0.0, INF]),
        ("clip", |x| e::clip(x, -3.0, 6.0), [-3.0, -0.0, 0.0, 6.0]),
        ("thresholded_relu", |x| e::thresholded_relu(x, 1.0), [0.0, 0.0, 0.0, INF]),
    ];
    for (name, f, want) in table {
        for (x, want) in [-INF, -0.0, 0.0, INF].into_iter().zip(*want) {
            let got = f(x);
            assert!(got.to_bits() == want.to_bits() || (got.is_nan() && want.is_nan()), "{name}({x}) = {got}");
        }
        assert!(f(f32::NAN).is_nan() && f(-f32::NAN).is_nan(), "{name}(NaN)");
    }
    assert!(e::ln(-1.0f32).is_nan() && e::ln(1.0f32).to_bits() == 0);
    // ln of the greatest f32 lies between these two neighbours.
    assert!(e::exp(88.722_83f32) < INF);
    assert_eq!(e::exp(88.722_84f32), INF);
    assert_eq!(e::exp(-103.972f32), f32::from_bits(1));
    assert_eq!(e::exp(-103.973f32), 0.0);
}

/// Every pattern of a range, in order, gives a sequence that never turns back.
#[test]
fn tails_are_monotone() {
    type Function = fn(f32) -> f32;
    let tails: &[(&str, Function, f32, f32)] = &[
        ("tanh", e::tanh, 7.0, 11.0),
        ("sigmoid", e::sigmoid, 14.0, 20.0),
        ("erf", e::erf, 3.5, 4.5),
        ("exp at overflow", e::exp, 88.0, 89.5),
        ("-exp(-x) at underflow", |x| -e::exp(-x), 88.0, 105.0),
        ("-sigmoid(-x)", |x| -e::sigmoid(-x), 88.0, 105.0),
        ("silu(-x)", |x| e::silu(-x), 90.0, 121.0),
        ("gelu_erf(-x)", |x| e::gelu_erf(-x), 13.3, 17.0),
        ("gelu_tanh(-x)", |x| e::gelu_tanh(-x), 9.5, 13.0),
        ("mish(-x)", |x| e::mish(-x), 90.0, 121.0),
        ("-softplus(-x)", |x| -e::softplus(-x), 88.0, 105.0),
        ("-elu(-x)", |x| -e::elu(-x, 1.0), 15.0, 26.0),
    ];
    for (name, f, from, to) in tails {
        let mut last = f32::NEG_INFINITY;
        for x in (from.to_bits()..=to.to_bits()).map(f32::from_bits) {
            let y = f(x);
            assert!(y >= last, "{name} turns back at {x:e}: {y:e} after {last:e}");
            last = y;
        }
    }
    let bounded = (0..=u32::MAX).step_by(4099).map(f32::from_bits).filter(|x| !x.is_nan());
    for x in bounded {
        assert!(e::tanh(x).abs() <= 1.0 && e::erf(x).abs() <= 1.0 && e::softsign(x).abs() <= 1.0, "{x:e}");
        assert!((0.0..=1.0).contains(&e::sigmoid(x)), "{x:e}");
        assert!(e::sin(x).abs() <= 1.0 || x.is_infinite(), "sin({x:e}) = {}", e::sin(x));
        assert!(e::cos(x).abs() <= 1.0 || x.is_infinite(), "cos({x:e}) = {}", e::cos(x));
    }
}
