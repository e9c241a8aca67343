//! docs/arithmetic.md against the code: its vectors, and its table of rounding.

use std::fmt::Debug;
use std::str::FromStr;

use lowbit_arithmetic::elementary as e;
use lowbit_arithmetic::float::{fma, lane_sum, sqrt};
use lowbit_arithmetic::requant::offset_and_clamp;
use lowbit_arithmetic::rounding::hash;
use lowbit_arithmetic::{
    AddRescale, Affine, Method, Rescale, Rounding, dequantize, quantize, requantize, round, shift_right,
};

const DOCUMENT: &str = include_str!("../../../docs/arithmetic.md");

/// The words of a vector, taken one after the other.
struct Words<'a>(std::str::SplitWhitespace<'a>);

impl Words<'_> {
    fn next<T: FromStr<Err: Debug>>(&mut self) -> T {
        self.0.next().expect("another word").parse().expect("a well-formed word")
    }

    /// An f32, as a number or as its bits.
    fn float(&mut self) -> f32 {
        let word: String = self.next();
        match word.strip_prefix("0x") {
            Some(bits) => f32::from_bits(u32::from_str_radix(bits, 16).expect("bits")),
            None => word.parse().expect("a number"),
        }
    }
}

fn bits(x: f32) -> String {
    format!("{:#010x}", x.to_bits())
}

type Function = fn(f32) -> f32;

/// What the code computes for the left side of a vector.
fn computed(left: &str) -> String {
    let mut words = Words(left.split_whitespace());
    let w = &mut words;
    let name: String = w.next();
    let result = match name.as_str() {
        "hash" => hash(w.next(), w.next()).to_string(),
        "round" => {
            let r = w.next();
            // As an integer, so that -0 reads 0.
            (round(w.float(), r, w.next()) as i64).to_string()
        }
        "shift" => {
            let r = w.next();
            shift_right(w.next(), w.next(), r, w.next()).to_string()
        }
        "quantize" => {
            let r = w.next();
            let to = Affine { scale: w.float(), zero_point: w.next(), qmin: w.next(), qmax: w.next() };
            quantize(w.float(), &to, r, w.next()).to_string()
        }
        "dequantize" => {
            let from = Affine { scale: w.float(), zero_point: w.next(), qmin: i32::MIN, qmax: i32::MAX };
            bits(dequantize(w.next(), &from))
        }
        "multiplier" => match Rescale::for_average(Method::Fixed, w.float(), w.float(), w.next()) {
            Ok(Rescale::Fixed { m, shift }) => format!("{m} {shift}"),
            other => panic!("{other:?}"),
        },
        "requantize" => {
            let (method, r) = (w.next(), w.next());
            let by = Rescale::for_average(method, w.float(), w.float(), w.next()).expect("good scales");
            let (zp, qmin, qmax) = (w.next(), w.next(), w.next());
            requantize(w.next(), by, r, zp, qmin, qmax, w.next()).to_string()
        }
        "add" => {
            let (method, r) = (w.next(), w.next());
            let by = AddRescale::new(method, w.float(), w.float(), w.float()).expect("good scales");
            let (zp, qmin, qmax) = (w.next(), w.next(), w.next());
            offset_and_clamp(by.apply(w.next(), w.next(), r, w.next()), zp, qmin, qmax).to_string()
        }
        "lane_sum" => bits(lane_sum((0..w.next::<u32>()).map(|i| 1.0 / (i + 1) as f32))),
        "fma" => bits(fma(w.float(), w.float(), w.float())),
        "sqrt" => bits(sqrt(w.float())),
        "pow" => bits(e::pow(w.float(), w.float())),
        _ => {
            let functions: [(&str, Function); 15] = [
                ("exp", e::exp),
                ("expm1", e::expm1),
                ("ln", e::ln),
                ("tanh", e::tanh),
                ("sigmoid", e::sigmoid),
                ("silu", e::silu),
                ("erf", e::erf),
                ("gelu_erf", e::gelu_erf),
                ("gelu_tanh", e::gelu_tanh),
                ("softplus", e::softplus),
                ("mish", e::mish),
                ("sin", e::sin),
                ("cos", e::cos),
                ("hard_swish", e::hard_swish),
                ("softsign", e::softsign),
            ];
            let (_, f) = functions.iter().find(|(known, _)| *known == name).expect("a known function");
            bits(f(w.float()))
        }
    };
    assert!(words.0.next().is_none(), "words left over in {left}");
    result
}

#[test]
fn vectors_are_what_the_code_computes() {
    let (_, rest) = DOCUMENT.split_once("```vectors\n").expect("a block of vectors");
    let (block, _) = rest.split_once("```").expect("the end of the block");
    let mut wrong = Vec::new();
    for line in block.lines() {
        let (left, right) = line.split_once(" = ").expect("a vector");
        let got = computed(left);
        if got != right {
            wrong.push(format!("{left} = {got}"));
        }
    }
    assert!(block.lines().count() > 100);
    assert!(wrong.is_empty(), "computed differently:\n{}", wrong.join("\n"));
}

#[test]
fn the_table_of_roundings_is_what_the_code_computes() {
    let header = DOCUMENT.lines().find(|line| line.starts_with("| name | definition | 2.5")).expect("the table");
    let operands: Vec<f32> = header.split('|').skip(3).filter_map(|cell| cell.trim().parse().ok()).collect();
    assert_eq!(operands.len(), 10);
    for name in &Rounding::NAMES[..5] {
        let row = format!("| `{name}` | ");
        let row = DOCUMENT.lines().find(|line| line.starts_with(&row)).expect("a row for each rounding");
        let results: Vec<f32> = row.split('|').skip(3).filter_map(|cell| cell.trim().parse().ok()).collect();
        let r = name.parse().expect("a rounding");
        let computed: Vec<f32> = operands.iter().map(|&x| round(x, r, 0)).collect();
        assert_eq!(results, computed, "{name}");
    }
}
