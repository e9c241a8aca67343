//! LSTM, GRU and RNN against their definitions in ONNX, computed in f64.

mod common;

use common::*;
use lowbit_frontend::onnx::proto::{AttributeProto, attribute_proto::AttributeType};
use lowbit_ir::DType;

const STEPS: usize = 4;
const BATCH: usize = 2;
const INPUTS: usize = 3;
const HIDDEN: usize = 5;

fn numbers(count: usize, seed: u64) -> Vec<f32> {
    let hash = |i: u64| (i + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ seed.wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (0..count as u64).map(|i| ((hash(i) >> 40) % 1001) as f32 / 500.0 - 1.0).collect()
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// One direction's parameters.
struct Of {
    w: Vec<f32>,
    r: Vec<f32>,
    b: Vec<f32>,
    p: Vec<f32>,
}

impl Of {
    fn new(gates: usize, seed: u64) -> Of {
        Of {
            w: numbers(gates * HIDDEN * INPUTS, seed),
            r: numbers(gates * HIDDEN * HIDDEN, seed + 1),
            b: numbers(2 * gates * HIDDEN, seed + 2),
            p: numbers(3 * HIDDEN, seed + 3),
        }
    }

    /// The products of a gate with the operand, and with the state, each with its bias.
    fn sums(&self, gates: usize, gate: usize, x: &[f64], h: &[f64]) -> [Vec<f64>; 2] {
        let product = |m: &[f32], v: &[f64], side: usize| -> Vec<f64> {
            (0..HIDDEN)
                .map(|k| {
                    let row = &m[(gate * HIDDEN + k) * v.len()..][..v.len()];
                    let bias = f64::from(self.b[(side * gates + gate) * HIDDEN + k]);
                    bias + row.iter().zip(v).map(|(w, v)| f64::from(*w) * v).sum::<f64>()
                })
                .collect()
        };
        [product(&self.w, x, 0), product(&self.r, h, 1)]
    }

    fn all(&self, gates: usize, gate: usize, x: &[f64], h: &[f64]) -> Vec<f64> {
        let [a, b] = self.sums(gates, gate, x, h);
        a.iter().zip(&b).map(|(a, b)| a + b).collect()
    }
}

/// y of one direction and the last state and memory, for one sequence of this length.
fn sequence(
    of: &Of,
    kind: &str,
    x: &[Vec<f64>],
    reverse: bool,
    peepholes: bool,
) -> (Vec<Vec<f64>>, Vec<f64>, Vec<f64>) {
    let (mut h, mut c) = (vec![0f64; HIDDEN], vec![0f64; HIDDEN]);
    let mut y = vec![vec![0f64; HIDDEN]; x.len()];
    let order: Vec<usize> = if reverse { (0..x.len()).rev().collect() } else { (0..x.len()).collect() };
    for t in order {
        let x = &x[t];
        match kind {
            "LSTM" => {
                let peep = |gate: usize, c: &[f64], k: usize| match peepholes {
                    true => f64::from(of.p[gate * HIDDEN + k]) * c[k],
                    false => 0.0,
                };
                let [i, o, f, n] = [0, 1, 2, 3].map(|gate| of.all(4, gate, x, &h));
                for k in 0..HIDDEN {
                    let old = c.clone();
                    let (i, f) = (sigmoid(i[k] + peep(0, &old, k)), sigmoid(f[k] + peep(2, &old, k)));
                    c[k] = f * old[k] + i * n[k].tanh();
                    h[k] = sigmoid(o[k] + peep(1, &c, k)) * c[k].tanh();
                }
            }
            "RNN" => h = of.all(1, 0, x, &h).into_iter().map(f64::tanh).collect(),
            _ => {
                let z: Vec<f64> = of.all(3, 0, x, &h).into_iter().map(sigmoid).collect();
                let r: Vec<f64> = of.all(3, 1, x, &h).into_iter().map(sigmoid).collect();
                let kept: Vec<f64> = h.iter().zip(&r).map(|(h, r)| h * r).collect();
                let [own, plain] = of.sums(3, 2, x, &h);
                let [_, reset] = of.sums(3, 2, x, &kept);
                for k in 0..HIDDEN {
                    let back = if kind == "linear GRU" { r[k] * plain[k] } else { reset[k] };
                    h[k] = (1.0 - z[k]) * (own[k] + back).tanh() + z[k] * h[k];
                }
            }
        }
        y[t] = h.clone();
    }
    (y, h, c)
}

#[test]
fn cells_follow_their_definition() {
    for (kind, op, gates) in [("LSTM", "LSTM", 4), ("GRU", "GRU", 3), ("linear GRU", "GRU", 3), ("RNN", "RNN", 1)] {
        for direction in ["forward", "reverse", "bidirectional"] {
            for (layout, lengths, peepholes) in [(0, None, false), (1, Some([4i64, 2]), true), (0, Some([0, 3]), false)]
            {
                let peepholes = peepholes && kind == "LSTM";
                let directions: Vec<bool> = match direction {
                    "forward" => vec![false],
                    "reverse" => vec![true],
                    _ => vec![false, true],
                };
                let parameters: Vec<Of> = (0..directions.len()).map(|d| Of::new(gates, 10 * d as u64 + 7)).collect();
                let all = |f: fn(&Of) -> &Vec<f32>| parameters.iter().flat_map(|p| f(p).clone()).collect::<Vec<f32>>();
                let d = directions.len();
                let x = numbers(STEPS * BATCH * INPUTS, 99);
                let at = |t: usize, n: usize| if layout == 1 { n * STEPS + t } else { t * BATCH + n };
                let sizes = if layout == 1 { ["2", "4", "3"] } else { ["4", "2", "3"] };
                let mut attributes =
                    vec![text("direction", direction), int("hidden_size", HIDDEN as i64), int("layout", layout)];
                if kind == "linear GRU" {
                    attributes.push(int("linear_before_reset", 1));
                }
                let mut file = Model::new(14)
                    .input("x", DType::F32, &sizes)
                    .constant("w", &f32s(&[d, gates * HIDDEN, INPUTS], &all(|p| &p.w)))
                    .constant("r", &f32s(&[d, gates * HIDDEN, HIDDEN], &all(|p| &p.r)))
                    .constant("b", &f32s(&[d, 2 * gates * HIDDEN], &all(|p| &p.b)))
                    .constant("p", &f32s(&[d, 3 * HIDDEN], &all(|p| &p.p)))
                    .constant("l", &integers(DType::I32, &[BATCH], &lengths.unwrap_or([4, 4])));
                let length = if lengths.is_some() { "l" } else { "_" };
                let operands = match peepholes {
                    true => format!("x w r b {length} _ _ p"),
                    false => format!("x w r b {length}"),
                };
                let outputs = if kind == "LSTM" { "y h c" } else { "y h" };
                file = file.node(op, &operands, outputs, attributes).output("y").output("h");
                let graph = file.import().unwrap_or_else(|e| panic!("{kind} {direction}: {e}"));
                let dims = if layout == 1 { [BATCH, STEPS, INPUTS] } else { [STEPS, BATCH, INPUTS] };
                let found = run(&graph, &[f32s(&dims, &x)]);
                let (y, last) = (found[0].f32s().unwrap(), found[1].f32s().unwrap());
                let mut worst = 0f64;
                for n in 0..BATCH {
                    for (side, reverse) in directions.iter().enumerate() {
                        let length = lengths.map_or(STEPS, |l| l[n] as usize);
                        let own: Vec<Vec<f64>> = (0..length)
                            .map(|t| x[at(t, n) * INPUTS..][..INPUTS].iter().map(|x| f64::from(*x)).collect())
                            .collect();
                        let (expected, state, _) = sequence(&parameters[side], kind, &own, *reverse, peepholes);
                        for t in 0..STEPS {
                            let place = match layout {
                                1 => (n * STEPS + t) * d + side,
                                _ => (t * d + side) * BATCH + n,
                            };
                            for k in 0..HIDDEN {
                                let expected = expected.get(t).map_or(0.0, |row| row[k]);
                                worst = worst.max((f64::from(y[place * HIDDEN + k]) - expected).abs());
                            }
                        }
                        let place = if layout == 1 { n * d + side } else { side * BATCH + n };
                        for k in 0..HIDDEN {
                            worst = worst.max((f64::from(last[place * HIDDEN + k]) - state[k]).abs());
                        }
                    }
                }
                assert!(worst < 2e-6, "{kind} {direction} layout {layout}: {worst:e}");
            }
        }
    }
}

#[test]
fn functions_limits_and_wrong_operands() {
    let names = |list: &[&str]| AttributeProto {
        name: Some("activations".into()),
        r#type: Some(AttributeType::Strings as i32),
        strings: list.iter().map(|s| s.as_bytes().to_vec().into()).collect(),
        ..AttributeProto::default()
    };
    let of = |attributes: Vec<AttributeProto>, weight: &[usize]| {
        Model::new(14)
            .input("x", DType::F32, &["1", "1", "1"])
            .constant("w", &f32s(weight, &vec![2.0; weight.iter().product()]))
            .constant("r", &f32s(&[1, 1, 1], &[1.0]))
            .node("RNN", "x w r", "y", attributes)
            .output("y")
            .import()
    };
    let value =
        |attributes| run(&of(attributes, &[1, 1, 1]).unwrap(), &[f32s(&[1, 1, 1], &[-3.0])])[0].f32s().unwrap()[0];
    assert_eq!(value(vec![names(&["Relu"])]), 0.0);
    assert_eq!(value(vec![names(&["LeakyRelu"]), floats("activation_alpha", &[0.5])]), -3.0);
    assert_eq!(value(vec![names(&["LeakyRelu"]), floats("activation_alpha", &[0.5]), float("clip", 4.0)]), -2.0);
    near(&[value(vec![names(&["HardSigmoid"]), floats("activation_alpha", &[0.05])])], &[0.2]);
    for (attributes, weight, says) in [
        (vec![names(&["Affine"])], &[1, 1, 1][..], "'Affine' is not supported"),
        (vec![names(&["Tanh", "Tanh"])], &[1, 1, 1], "expected 1 names"),
        (vec![int("hidden_size", 7)], &[1, 1, 1], "hidden_size"),
        (vec![float("clip", -1.0)], &[1, 1, 1], "positive limit"),
        (vec![text("direction", "up")], &[1, 1, 1], "direction"),
        (vec![], &[1, 2, 1], "weights of shape"),
        (vec![], &[1, 1], "weights of shape"),
    ] {
        let error = of(attributes, weight).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
}
