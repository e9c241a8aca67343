//! Pools, rows and integer activations.

use lowbit_arithmetic::elementary::{exp, sigmoid};
use lowbit_arithmetic::float::{environment_is_ieee, fold_lanes};
use lowbit_arithmetic::rounding::hash;
use lowbit_arithmetic::{Affine, Method, Rescale, Rounding, activation, pool, rows};

const INT8: Affine = Affine { scale: 0.05, zero_point: -3, qmin: -128, qmax: 127 };

fn row(n: u64) -> Vec<f32> {
    (0..n).map(|i| (hash(5, i) >> 40) as f32 / 1_677_721.6 - 5.0).collect()
}

#[test]
fn this_machine_is_ieee() {
    assert!(environment_is_ieee());
}

#[test]
fn tables_cover_a_type() {
    let to = Affine { scale: 1.0 / 256.0, zero_point: -128, qmin: -128, qmax: 127 };
    let mut table = vec![0; activation::table_len(&INT8)];
    activation::table(&INT8, &to, Rounding::HalfEven, sigmoid, &mut table);
    assert_eq!(table.len(), 256);
    for (i, &entry) in table.iter().enumerate() {
        let x = (i as i32 - 128 + 3) as f64 * f64::from(0.05f32);
        let exact = 256.0 / (1.0 + (-x).exp()) - 128.0;
        assert!((f64::from(entry) - exact.clamp(-128.0, 127.0)).abs() <= 0.500_001, "{x}: {entry}, {exact}");
    }
    // Entries past the type repeat the last.
    let mut long = [0; 260];
    activation::table(&INT8, &to, Rounding::Stochastic { seed: 3 }, sigmoid, &mut long);
    assert!(long[..256] == table && long[256..].iter().all(|&entry| entry == table[255]));
    // The identity in steps twice as wide shows the rounding of its ties.
    let wide = Affine { scale: 0.1, zero_point: 0, qmin: -128, qmax: 127 };
    let up_and_down = [Rounding::HalfUp, Rounding::Floor].map(|r| {
        let mut table = vec![0; 3];
        activation::table(&Affine { qmin: 0, qmax: 2, zero_point: 0, ..INT8 }, &wide, r, |x| x, &mut table);
        table
    });
    assert_eq!(up_and_down, [[0, 1, 1], [0, 0, 1]]);
}

#[test]
fn clip_bounds_are_quantized() {
    assert_eq!(activation::clip_bounds(0.0, 6.0, &INT8), (-3, 117));
    assert_eq!(activation::clip_bounds(f32::NEG_INFINITY, f32::INFINITY, &INT8), (-128, 127));
    assert_eq!(activation::clip(5, 10, 0), 0);
    assert_eq!(activation::relu(-9, -3), -3);
}

#[test]
fn maximum_ignores_the_order() {
    let values = [f32::NEG_INFINITY, -1.0, -0.0, 0.0, 2.0, f32::INFINITY, f32::NAN];
    for a in values {
        for b in values {
            let (ab, ba) = (pool::max2(a, b), pool::max2(b, a));
            assert!(ab.to_bits() == ba.to_bits());
            assert_eq!(ab.is_nan(), a.is_nan() || b.is_nan());
            assert!(ab.is_nan() || ab == a.max(b));
            let (ab, ba) = (pool::min2(a, b), pool::min2(b, a));
            assert!(ab.to_bits() == ba.to_bits());
            assert_eq!(ab.is_nan(), a.is_nan() || b.is_nan());
            assert!(ab.is_nan() || ab == a.min(b));
            let (ab, ba) = (pool::largest([a, b].into_iter()), pool::largest([b, a].into_iter()));
            assert!(ab.to_bits() == ba.to_bits());
            assert_eq!(ab.is_nan(), a.is_nan() || b.is_nan());
            assert!(ab.is_nan() || ab == a.abs().max(b.abs()) && ab.is_sign_positive());
        }
    }
    assert_eq!(pool::max2(-0.0, 0.0).to_bits(), 0);
    assert_eq!(pool::max([].into_iter()), f32::NEG_INFINITY);
    assert_eq!(pool::min2(-0.0, 0.0).to_bits(), (-0.0f32).to_bits());
    assert_eq!(pool::min([].into_iter()), f32::INFINITY);
    assert_eq!(pool::largest([].into_iter()), f32::NEG_INFINITY);
    assert_eq!(pool::largest([-0.0].into_iter()).to_bits(), 0);
}

#[test]
fn averages() {
    assert_eq!(pool::mean([1.0, 2.0, 6.0].into_iter(), 4), 2.25);
    for (method, r) in [(Method::Float32, Rounding::HalfEven), (Method::Fixed, Rounding::HalfUp)] {
        let by = Rescale::for_average(method, 0.1, 0.1, 3).unwrap();
        // 7 + 8 + 8 over zero point 1 are 6, 7, 7: 20 / 3 = 6.67.
        assert_eq!(pool::average([7, 8, 8].into_iter(), 1, by, r, -10, -128, 127, 0), -3);
    }
}

#[test]
fn softmax_is_a_distribution_near_the_exact_one() {
    for n in [1, 2, 15, 16, 17, 1000] {
        let x = row(n);
        let mut y = vec![0.0; x.len()];
        rows::softmax(&x, &mut y);
        let total: f64 = x.iter().map(|&x| f64::from(x).exp()).sum();
        for (&x, &y) in x.iter().zip(&y) {
            let exact = f64::from(x).exp() / total;
            assert!((f64::from(y) / exact - 1.0).abs() < 3e-6, "{y} of {exact}");
        }
    }
    let mut y = [0.0; 3];
    rows::softmax(&[f32::NEG_INFINITY, 0.0, 0.0], &mut y);
    assert_eq!(y, [0.0, 0.5, 0.5]);
    rows::softmax(&[1e30, -1e30, 0.0], &mut y);
    assert_eq!(y, [1.0, 0.0, 0.0]);
}

#[test]
fn softmax_has_the_documented_order() {
    let x = row(37);
    let mut y = vec![0.0; 37];
    rows::softmax(&x, &mut y);
    let top = x.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut lanes = [0.0; 16];
    for (i, &x) in x.iter().enumerate() {
        lanes[i % 16] += exp(x - top);
    }
    let total = fold_lanes(lanes);
    for (&x, &y) in x.iter().zip(&y) {
        assert_eq!(y.to_bits(), (exp(x - top) / total).to_bits());
    }
}

#[test]
fn layer_norm_normalizes() {
    let x = row(50);
    let (scale, bias) = (vec![2.0; 50], vec![-1.0; 50]);
    let mut y = vec![0.0; 50];
    rows::layer_norm(&x, Some(&scale), Some(&bias), 1e-5, &mut y);
    let n = 50.0;
    let mean = x.iter().map(|&x| f64::from(x)).sum::<f64>() / n;
    let variance = x.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / n;
    for (&x, &y) in x.iter().zip(&y) {
        let exact = (f64::from(x) - mean) / (variance + 1e-5).sqrt() * 2.0 - 1.0;
        assert!((f64::from(y) - exact).abs() < 2e-6, "{y} of {exact}");
    }
    let mut plain = vec![0.0; 50];
    rows::layer_norm(&x, None, None, 1e-5, &mut plain);
    assert!(plain.iter().zip(&y).all(|(&p, &y)| (p * 2.0 - 1.0 - y).abs() < 1e-6));
}
