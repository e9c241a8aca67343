//! Known digests of everything here, over inputs that are the same everywhere: a machine of another kind either gives
//! these bits or is told which function differs. `UPDATE=1` writes them again.

use lowbit_arithmetic::elementary as e;
use lowbit_arithmetic::requant::{dequantize_wide, shift_saturating};
use lowbit_arithmetic::rounding::hash;
use lowbit_arithmetic::{
    AddRescale, Affine, Method, Rescale, Rounding, activation, dequantize, float, fma, pool, quantize,
    quantize_to_bytes, requantize, round, round_f64, round_to_integer, rows, shift_right, shift_right_wide, sqrt,
};
use std::fmt::Write;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/digests.txt");

const ROUNDINGS: [Rounding; 6] = [
    Rounding::HalfEven,
    Rounding::HalfUp,
    Rounding::HalfAway,
    Rounding::TowardZero,
    Rounding::Floor,
    Rounding::Stochastic { seed: 77 },
];

const METHODS: [Method; 3] = [Method::Float32, Method::Fixed, Method::Shift];

/// A digest of a sequence: FNV-1a of 64 bits.
struct Digest(u64);

impl Digest {
    fn new() -> Self {
        Digest(0xcbf2_9ce4_8422_2325)
    }

    fn bytes(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    /// All NaNs are one: nobody promises which.
    fn float(&mut self, x: f32) {
        self.bytes(&if x.is_nan() { f32::NAN } else { x }.to_bits().to_le_bytes());
    }

    fn int(&mut self, x: i64) {
        self.bytes(&x.to_le_bytes());
    }
}

/// Every 65,521st bit pattern, and those of whole and half numbers up to 64.
fn inputs() -> impl Iterator<Item = f32> {
    let all = (0..=u32::MAX).step_by(65_521).map(f32::from_bits);
    all.chain((-128..=128i16).map(|half| f32::from(half) / 2.0))
}

fn unary(f: impl Fn(f32) -> f32) -> u64 {
    let mut digest = Digest::new();
    inputs().for_each(|x| digest.float(f(x)));
    digest.0
}

/// Random bits as floats: any, or of ordinary size.
fn bits(seed: u64, i: u64) -> f32 {
    let h = hash(seed, i) as u32;
    f32::from_bits(if i.is_multiple_of(2) { h } else { (h % 0x0c00_0000 + 0x3a00_0000) | (h << 31) })
}

fn functions() -> Vec<(&'static str, u64)> {
    vec![
        ("exp", unary(e::exp)),
        ("expm1", unary(e::expm1)),
        ("ln", unary(e::ln)),
        ("tanh", unary(e::tanh)),
        ("sigmoid", unary(e::sigmoid)),
        ("silu", unary(e::silu)),
        ("erf", unary(e::erf)),
        ("gelu_erf", unary(e::gelu_erf)),
        ("gelu_tanh", unary(e::gelu_tanh)),
        ("softplus", unary(e::softplus)),
        ("mish", unary(e::mish)),
        ("hard_sigmoid", unary(|x| e::hard_sigmoid(x, 0.2, 0.5))),
        ("hard_swish", unary(e::hard_swish)),
        ("relu", unary(e::relu)),
        ("leaky_relu", unary(|x| e::leaky_relu(x, 0.01))),
        ("thresholded_relu", unary(|x| e::thresholded_relu(x, 1.5))),
        ("clip", unary(|x| e::clip(x, -1.5, 6.0))),
        ("elu", unary(|x| e::elu(x, 1.25))),
        ("selu", unary(|x| e::selu(x, 1.673_263_2, 1.050_701))),
        ("celu", unary(|x| e::celu(x, 1.5))),
        ("softsign", unary(e::softsign)),
        ("sin", unary(e::sin)),
        ("cos", unary(e::cos)),
        ("sign", unary(e::sign)),
        ("tan", unary(e::tan)),
        ("atan", unary(e::atan)),
        ("asin", unary(e::asin)),
        ("acos", unary(e::acos)),
        ("sinh", unary(e::sinh)),
        ("cosh", unary(e::cosh)),
        ("asinh", unary(e::asinh)),
        ("acosh", unary(e::acosh)),
        ("atanh", unary(e::atanh)),
        ("sqrt", unary(sqrt)),
    ]
}

fn several(count: u64, f: impl Fn(u64, &mut Digest)) -> u64 {
    let mut digest = Digest::new();
    (0..count).for_each(|i| f(i, &mut digest));
    digest.0
}

fn floats() -> Vec<(String, u64)> {
    let mut out = vec![
        ("pow".to_owned(), several(60_000, |i, d| d.float(e::pow(bits(1, i), bits(2, i))))),
        ("fma".to_owned(), several(100_000, |i, d| d.float(fma(bits(3, i), bits(4, i), bits(5, i))))),
    ];
    for n in [1u64, 15, 16, 17, 333] {
        let row: Vec<f32> = (0..n).map(|i| bits(6, 2 * i + 1) % 9.0).collect();
        let mut digest = Digest::new();
        digest.float(float::lane_sum(row.iter().copied()));
        digest.float(pool::sum(row.iter().copied()));
        digest.float(pool::mean(row.iter().copied(), n as u32));
        digest.float(pool::max(row.iter().copied()));
        digest.float(pool::min(row.iter().copied()));
        digest.float(pool::largest(row.iter().copied()));
        let mut y = vec![0.0; row.len()];
        rows::softmax(&row, &mut y);
        y.iter().for_each(|y| digest.float(*y));
        rows::layer_norm(&row, Some(&row), None, 1e-5, &mut y);
        y.iter().for_each(|y| digest.float(*y));
        out.push((format!("rows of {n}"), digest.0));
    }
    out
}

fn affine(i: u64) -> Affine {
    let (qmin, qmax) = [(0, 255), (-128, 127), (-127, 127), (0, 65535), (i32::MIN, i32::MAX), (0, 15)][i as usize % 6];
    let zero_point = (hash(8, i) as i32).clamp(qmin, qmax);
    Affine { scale: f32::from_bits(0x3a00_0000 + (hash(9, i) as u32) % 0x0700_0000), zero_point, qmin, qmax }
}

fn roundings() -> Vec<(String, u64)> {
    let mut out = Vec::new();
    for r in ROUNDINGS {
        let of = several(40_000, |i, d| {
            let x = bits(10, i);
            d.float(round(x, r, i));
            d.int(round_to_integer(x, r, i));
            d.bytes(
                &round_f64(f64::from(x) * 1.1, r, i).to_bits().to_le_bytes().map(|b| if x.is_nan() { 0 } else { b }),
            );
            let (wide, shift) = (hash(11, i) as i64, (hash(12, i) % 63) as u32);
            d.int(shift_right(wide, shift, r, i));
            d.bytes(&shift_right_wide(i128::from(wide) * 12_345_678_901, shift, r, i).to_le_bytes());
            d.int(shift_saturating(i128::from(wide) << 20, shift as i32 - 30, r, i));
            let to = affine(i);
            let q = quantize(x, &to, r, i);
            d.int(q.into());
            d.float(dequantize(q, &to));
            d.float(dequantize_wide(wide, to.scale, to.zero_point.into()));
        });
        out.push((format!("rounding {r}"), of));
        let bytes = several(200, |i, d| {
            let data: Vec<f32> = (0..33).map(|k| bits(13, 33 * i + k) * 4.0).collect();
            let to = Affine { qmin: 0, qmax: 255, zero_point: (hash(14, i) % 256) as i32, ..affine(i) };
            let mut out = [0; 33];
            quantize_to_bytes(&data, &to, r, i, &mut out);
            d.bytes(&out);
        });
        out.push((format!("bytes {r}"), bytes));
        for method in METHODS {
            let of = several(20_000, |i, d| {
                let power = |seed| 2f32.powi((hash(seed, i) % 24) as i32 - 20);
                let any = |seed| f32::from_bits(0x3800_0000 + (hash(seed, i) as u32) % 0x0800_0000);
                let scale = |seed| if method == Method::Shift { power(seed) } else { any(seed) };
                let acc = hash(15, i) as i64 >> (hash(16, i) % 60);
                let to = affine(i);
                match Rescale::for_average(method, scale(17), scale(18), 1 + i as u32 % 50) {
                    Ok(by) => {
                        d.int(by.apply(acc, r, i));
                        d.int(requantize(acc, by, r, to.zero_point, to.qmin, to.qmax, i).into());
                        let few = (0..7).map(|k| (hash(19, i + k) % 256) as i32);
                        d.int(pool::average(few, 3, by, r, to.zero_point, to.qmin, to.qmax, i).into());
                    }
                    Err(e) => d.bytes(e.to_string().as_bytes()),
                }
                match AddRescale::new(method, scale(20), scale(21), scale(22)) {
                    Ok(by) => d.int(by.apply(acc >> 8, hash(23, i) as i64 >> 40, r, i)),
                    Err(e) => d.bytes(e.to_string().as_bytes()),
                }
            });
            out.push((format!("rescale {method} {r}"), of));
        }
        let tables = several(6, |i, d| {
            let (from, to) = (Affine { qmin: -128, qmax: 127, ..affine(i + 2) }, affine(i));
            let mut table = [0; 256];
            activation::table(&from, &to, r, e::gelu_erf, &mut table);
            table.iter().for_each(|q| d.int((*q).into()));
            let (low, high) = activation::clip_bounds(-1.0, 6.0, &to);
            d.int(i64::from(low) ^ i64::from(high) << 32);
        });
        out.push((format!("tables {r}"), tables));
    }
    out
}

#[test]
fn every_function_has_its_known_digest() {
    let mut all: Vec<(String, u64)> = functions().into_iter().map(|(name, digest)| (name.to_owned(), digest)).collect();
    all.extend(floats());
    all.extend(roundings());
    let mut found = String::new();
    all.iter().for_each(|(name, digest)| writeln!(found, "{digest:016x} {name}").unwrap());
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(FILE, &found).unwrap();
    }
    let known = std::fs::read_to_string(FILE).unwrap();
    let differing: Vec<(&str, &str)> = known.lines().zip(found.lines()).filter(|(a, b)| a != b).collect();
    assert!(differing.is_empty(), "on {}: known and found: {differing:#?}", std::env::consts::ARCH);
    assert_eq!(known.lines().count(), all.len(), "functions without a known digest");
}
