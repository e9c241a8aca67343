//! Recurrent cells in f32: step by step, each sum in one written order.
//!
//! A gate's sum starts at the sum of its two biases, then takes the operand's products and then those of the state, one
//! fused multiply-add each, ascending. Peepholes and limits follow.

use super::unary_f32;
use crate::op::{Cell, Recurrent, Unary};
use crate::{Error, Result, Tensor, Type};
use lowbit_arithmetic::{elementary::clip, fma};

/// The parameters of a cell and its sizes.
struct Of<'a> {
    r: &'a Recurrent,
    inputs: usize,
    w: &'a [f32],
    u: &'a [f32],
    bias: Option<&'a [f32]>,
    peepholes: Option<&'a [f32]>,
}

pub fn run(r: &Recurrent, operands: &[Option<&Tensor>], types: Vec<Type>) -> Result<Vec<Tensor>> {
    let floats = |i: usize| operands.get(i).copied().flatten().map(Tensor::floats).transpose();
    let missing = || Error::new("an operand is missing");
    let (x, w, u) = (floats(0)?.ok_or_else(missing)?, floats(1)?.ok_or_else(missing)?, floats(2)?.ok_or_else(missing)?);
    let (bias, h, c, peepholes) = (floats(3)?, floats(5)?, floats(6)?, floats(7)?);
    let dims = types.first().ok_or_else(missing)?.shape.require()?;
    let &[steps, _, batch, hidden] = dims.as_slice() else { return Err(missing()) };
    let inputs = operands.first().copied().flatten().and_then(|x| x.dims().get(2).copied()).unwrap_or(0);
    let lengths = match operands.get(4).copied().flatten() {
        Some(lengths) => lengths.ints()?.into_iter().map(|n| length(n, steps)).collect::<Result<Vec<_>>>()?,
        None => vec![steps; batch],
    };
    let of = Of { r, inputs, w: &w, u: &u, bias: bias.as_deref(), peepholes: peepholes.as_deref() };
    let first = |given: Option<&[f32]>| given.map_or_else(|| vec![0.0; batch * hidden], <[f32]>::to_vec);
    let (mut h, mut c) = (first(h.as_deref()), first(c.as_deref()));
    // Behind the end of a sequence there are zeros.
    let mut y = vec![0.0; steps * batch * hidden];
    for (n, length) in lengths.iter().enumerate() {
        let own = n * hidden..(n + 1) * hidden;
        let (Some(h), Some(c)) = (h.get_mut(own.clone()), c.get_mut(own)) else { return Err(missing()) };
        for step in 0..*length {
            let at = if r.reverse { length - 1 - step } else { step };
            let row = at * batch + n;
            let x = x.get(row * inputs..(row + 1) * inputs).unwrap_or_default();
            of.step(x, h, c);
            if let Some(y) = y.get_mut(row * hidden..(row + 1) * hidden) {
                y.copy_from_slice(h);
            }
        }
    }
    types.into_iter().zip([y, h, c]).map(|(ty, data)| Tensor::from_floats(ty, data)).collect()
}

fn length(n: i64, steps: usize) -> Result<usize> {
    usize::try_from(n)
        .ok()
        .filter(|n| *n <= steps)
        .ok_or_else(|| Error::new(format!("expected lengths of 0 to {steps} steps, found {n}")))
}

impl Of<'_> {
    /// One step: the state, and the memory where there is one, become the next ones.
    fn step(&self, x: &[f32], h: &mut [f32], c: &mut [f32]) {
        match self.r.cell {
            Cell::Lstm | Cell::CoupledLstm => self.lstm(x, h, c),
            Cell::Gru | Cell::LinearGru => self.gru(x, h),
            Cell::Rnn => {
                let sums = self.sums(0, x, h);
                sums.into_iter().zip(h).for_each(|(sum, h)| *h = self.apply(0, sum));
            }
        }
    }

    fn lstm(&self, x: &[f32], h: &mut [f32], c: &mut [f32]) {
        let [i, o, f, new] = [0, 1, 2, 3].map(|gate| self.sums(gate, x, h));
        let coupled = self.r.cell == Cell::CoupledLstm;
        // Peepholes stand in the order i, o, f.
        let peep =
            |gate: usize, k: usize, c: f32, sum: f32| match self.peepholes.and_then(|p| p.get(gate * h.len() + k)) {
                Some(p) => fma(*p, c, sum),
                None => sum,
            };
        let states: Vec<(f32, f32)> = (i.iter().zip(&o).zip(&f).zip(&new).zip(c.iter()).enumerate())
            .map(|(k, ((((i, o), f), new), c))| {
                let i = self.apply(0, peep(0, k, *c, *i));
                let f = if coupled { 1.0 - i } else { self.apply(0, peep(2, k, *c, *f)) };
                let next = fma(f, *c, i * self.apply(1, *new));
                let o = self.apply(0, peep(1, k, next, *o));
                (o * unary_f32(self.function(2), next), next)
            })
            .collect();
        for ((h, c), (state, memory)) in h.iter_mut().zip(c).zip(states) {
            (*h, *c) = (state, memory);
        }
    }

    fn gru(&self, x: &[f32], h: &mut [f32]) {
        let z: Vec<f32> = self.sums(0, x, h).into_iter().map(|sum| self.apply(0, sum)).collect();
        let reset: Vec<f32> = self.sums(1, x, h).into_iter().map(|sum| self.apply(0, sum)).collect();
        let new: Vec<f32> = match self.r.cell == Cell::LinearGru {
            // The recurrent product has its bias with it before it is reset.
            true => {
                let own = self.rows(2, self.bias_of(2, 0), self.w, self.inputs, x);
                let back = self.rows(2, self.bias_of(2, 1), self.u, h.len(), h);
                own.into_iter().zip(back).zip(&reset).map(|((own, back), r)| fma(*r, back, own)).collect()
            }
            false => {
                let kept: Vec<f32> = h.iter().zip(&reset).map(|(h, r)| r * h).collect();
                self.sums(2, x, &kept)
            }
        };
        for ((h, z), new) in h.iter_mut().zip(z).zip(new) {
            *h = fma(z, *h, (1.0 - z) * self.apply(1, new));
        }
    }

    /// The sums of a gate.
    fn sums(&self, gate: usize, x: &[f32], h: &[f32]) -> Vec<f32> {
        let biases = match (self.bias_of(gate, 0), self.bias_of(gate, 1)) {
            (Some(a), Some(b)) => Some(a.iter().zip(b).map(|(a, b)| a + b).collect::<Vec<f32>>()),
            _ => None,
        };
        let own = self.rows(gate, biases.as_deref(), self.w, self.inputs, x);
        self.rows(gate, Some(&own), self.u, h.len(), h)
    }

    /// Products of a gate's rows of `m`, added to `start`.
    fn rows(&self, gate: usize, start: Option<&[f32]>, m: &[f32], width: usize, x: &[f32]) -> Vec<f32> {
        let hidden = self.r.hidden;
        (0..hidden)
            .map(|k| {
                let row = m.get((gate * hidden + k) * width..).unwrap_or_default();
                let from = start.and_then(|s| s.get(k).copied()).unwrap_or(0.0);
                x.iter().zip(row).fold(from, |sum, (x, w)| fma(*x, *w, sum))
            })
            .collect()
    }

    /// The bias of a gate beside the operand's weights (0) or the state's (1).
    fn bias_of(&self, gate: usize, side: usize) -> Option<&[f32]> {
        let hidden = self.r.hidden;
        let start = (side * self.r.cell.gates() + gate) * hidden;
        self.bias?.get(start..start + hidden)
    }

    fn function(&self, i: usize) -> Unary {
        self.r.activations.get(i).copied().unwrap_or_default()
    }

    /// A function of a sum, which is limited before.
    fn apply(&self, i: usize, sum: f32) -> f32 {
        let limited = if self.r.clip < f32::INFINITY { clip(sum, -self.r.clip, self.r.clip) } else { sum };
        unary_f32(self.function(i), limited)
    }
}
