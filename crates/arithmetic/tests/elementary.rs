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
const POINTS: [f32; 34] = [
    f32::MIN_POSITIVE,
    1e-30,
    2.44e-4,
    0.1,
    0.346_573_6,
    0.414_213_57,
    0.625,
    0.693_147_2,
    std::f32::consts::FRAC_1_SQRT_2,
    0.785_398_2,
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
}

fn softplus(x: f64) -> f64 {
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
    expm1 <= 2.0: e::expm1, f64::exp_m1;
    ln <= 1.0: e::ln, f64::ln;
    tanh <= 2.0: e::tanh, f64::tanh;
    sigmoid <= 2.5: e::sigmoid, |x| 1.0 / (1.0 + (-x).exp());
    silu <= 3.0: e::silu, |x| gated(x, 1.0 / (1.0 + (-x).exp()));
    erf <= 2.0: e::erf, libm::erf;
    gelu_erf <= 4.0: e::gelu_erf, |x| gated(x, 0.5 * libm::erfc(-x * std::f64::consts::FRAC_1_SQRT_2));
    gelu_tanh <= 4.0: e::gelu_tanh, |x: f64| {
        let z = (8.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x * x * x);
        gated(x, 1.0 / (1.0 + (-z).exp()))
    };
    softplus_ <= 2.0: e::softplus, softplus;
    mish <= 4.0: e::mish, |x| gated(x, softplus(x).tanh());
    sin <= 1.0: e::sin, f64::sin;
    cos <= 1.0: e::cos, f64::cos;
    softsign <= 1.5: e::softsign, |x: f64| if x.is_infinite() { x.signum() } else { x / (1.0 + x.abs()) };
    elu <= 2.0: |x| e::elu(x, 1.0), |x| if x < 0.0 { x.exp_m1() } else { x };
    selu <= 3.0: |x| e::selu(x, 1.673_263_2, 1.050_701),
        |x| if x < 0.0 { x.exp_m1() * f64::from(1.673_263_2f32) * f64::from(1.050_701f32) }
            else { x * f64::from(1.050_701f32) };
    celu <= 3.0: |x| e::celu(x, 1.5), |x| if x < 0.0 { (x / 1.5).exp_m1() * 1.5 } else { x };
}
