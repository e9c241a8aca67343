//! Softmax, layer normalization and reductions.

use crate::common::{Random, runnable, same};
use lowbit_arithmetic::pool;
use lowbit_arithmetic::rows::{layer_norm, softmax};
use lowbit_kernels::rows::{LAYER_NORM, REDUCE, ReduceFn, SOFTMAX};

#[test]
fn softmaxes() {
    for row in runnable(SOFTMAX) {
        let random = &mut Random(9);
        for n in (1..=200).chain([1000, 1001]) {
            for odd in [false, true] {
                let x: Vec<f32> = if odd {
                    random.floats(n)
                } else {
                    (0..n).map(|_| random.int(-8000, 8000) as f32 * 0.001).collect()
                };
                let mut expected = vec![0.0; n];
                softmax(&x, &mut expected);
                let mut y = vec![1.5; n + 16];
                // SAFETY: this CPU has the features, and the buffers are as the contract says.
                unsafe { (row.run)(n, x.as_ptr(), y.as_mut_ptr()) };
                expected.resize(n + 16, 1.5);
                same(row.name, &expected, &y, |_| format!("{n} elements"));
                let mut place = x.clone();
                // SAFETY: as above; the output may be the input.
                unsafe { (row.run)(n, place.as_ptr(), place.as_mut_ptr()) };
                same(row.name, &expected[..n], &place, |_| format!("{n} elements in place"));
            }
        }
    }
}

#[test]
fn layer_norms() {
    for row in runnable(LAYER_NORM) {
        let random = &mut Random(10);
        for n in (1..=200).chain([384, 769]) {
            for odd in [false, true] {
                let mut some = |n: usize| if odd { random.floats(n) } else { random.plains(n) };
                let (x, scale, bias) = (some(n), some(n), some(n));
                let bias = random.chance(2).then_some(bias);
                let epsilon = random.pick(&[1e-5, 1e-12, 0.0, 0.1]);
                let mut expected = vec![0.0; n];
                layer_norm(&x, Some(&scale), bias.as_deref(), epsilon, &mut expected);
                let bias = bias.as_ref().map_or(std::ptr::null(), |bias| bias.as_ptr());
                let mut y = vec![1.5; n + 16];
                // SAFETY: as above.
                unsafe { (row.run)(n, x.as_ptr(), scale.as_ptr(), bias, epsilon, y.as_mut_ptr()) };
                expected.resize(n + 16, 1.5);
                same(row.name, &expected, &y, |_| format!("{n} elements"));
                let mut place = x.clone();
                // SAFETY: as above; the output may be the input.
                unsafe { (row.run)(n, place.as_ptr(), scale.as_ptr(), bias, epsilon, place.as_mut_ptr()) };
                same(row.name, &expected[..n], &place, |_| format!("{n} elements in place"));
            }
        }
    }
}

#[test]
fn reductions() {
    for row in runnable(REDUCE) {
        let random = &mut Random(11);
        let check = |x: &[f32], f: ReduceFn| {
            let of = || x.iter().copied();
            let expected = match f {
                ReduceFn::Max => pool::max(of()),
                ReduceFn::Min => pool::min(of()),
                ReduceFn::Largest => pool::largest(of()),
                ReduceFn::Sum => pool::sum(of()),
                ReduceFn::Mean => pool::mean(of(), x.len() as u32),
            };
            // What lies behind a row is no part of it, whatever it is.
            for behind in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                let mut longer = x.to_vec();
                longer.resize(x.len() + 16, behind);
                // SAFETY: this CPU has the features, and the buffers are as the contract says.
                let found = unsafe { (row.run)(f, x.len(), longer.as_ptr()) };
                same(row.name, &[expected], &[found], |_| format!("{f:?} of {}: {x:?}", x.len()));
            }
        };
        for n in (1..=100).chain([1000, 1001]) {
            for f in ReduceFn::ALL {
                check(&random.floats(n), f);
                check(&random.plains(n), f);
                // Nothing but zeros of either sign, infinities, the least numbers, and NaNs of either sign at every place.
                let zeros: Vec<f32> = (0..n).map(|_| random.pick(&[0.0, -0.0])).collect();
                check(&zeros, f);
                for sign in [1.0, -1.0] {
                    check(&vec![sign * 0.0; n], f);
                    check(&vec![sign * f32::INFINITY; n], f);
                    check(&vec![sign * f32::from_bits(1); n], f);
                    let mut one = random.plains(n);
                    one[random.below(n)] = f32::NAN.copysign(sign);
                    check(&one, f);
                    check(&vec![f32::NAN.copysign(sign); n], f);
                }
            }
        }
    }
}
