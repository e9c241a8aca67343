//! Inference of recurrent cells.

use crate::op::Recurrent;
use crate::{DType, Dim, Error, Result, Shape, Type};

/// The types of y, of the last state and, of LSTM, of the last memory.
pub fn recurrent(r: &Recurrent, operands: &[Option<&Type>]) -> Result<Vec<Type>> {
    let operand = |i: usize| operands.get(i).copied().flatten();
    let Some(x) = operand(0) else { return Err(Error::new("expected an operand [steps, n, in], found none")) };
    let [steps, batch, inputs] = x.shape.0.as_slice() else {
        return Err(Error::new(format!("expected an operand [steps, n, in], found {x}")));
    };
    for ty in [Some(x), operand(1), operand(2), operand(3), operand(5), operand(6), operand(7)].into_iter().flatten() {
        if ty.dtype != DType::F32 {
            return Err(Error::new(format!("expected floats, found {ty}")).hint("put a Cast or Dequantize before it"));
        }
    }
    let hidden = r.hidden;
    let gates = r.cell.gates().checked_mul(hidden).filter(|n| *n > 0 && *n < 1 << 40);
    let Some(gates) = gates else {
        return Err(Error::new(format!("expected a positive size of the state, found {hidden}")));
    };
    if r.activations.len() != r.cell.functions() || r.clip.is_nan() || r.clip <= 0.0 {
        return Err(Error::new(format!(
            "expected {} functions and a positive limit, found {} and {}",
            r.cell.functions(),
            r.activations.len(),
            r.clip
        )));
    }
    let one = Dim::Known(1);
    let state = vec![one.clone(), batch.clone(), Dim::Known(hidden)];
    let expected: [(usize, &str, Vec<Dim>); 7] = [
        (1, "weights", vec![one.clone(), Dim::Known(gates), inputs.clone()]),
        (2, "recurrent weights", vec![one.clone(), Dim::Known(gates), Dim::Known(hidden)]),
        (3, "biases", vec![one.clone(), Dim::Known(2 * gates)]),
        (4, "lengths", vec![batch.clone()]),
        (5, "a first state", state.clone()),
        (6, "a first memory", state.clone()),
        (7, "peepholes", vec![one.clone(), Dim::Known(3 * hidden)]),
    ];
    for (i, what, dims) in expected {
        let Some(ty) = operand(i) else { continue };
        let fits = |(a, b): (&Dim, &Dim)| a.known().is_none_or(|a| b.known().is_none_or(|b| a == b));
        if ty.shape.rank() != dims.len() || !ty.shape.0.iter().zip(&dims).all(fits) {
            return Err(Error::new(format!("expected {what} of shape {}, found {ty}", Shape(dims))));
        }
    }
    if let Some(lengths) = operand(4).filter(|ty| ty.dtype != DType::I32) {
        return Err(Error::new(format!("expected lengths of i32, found {lengths}")));
    }
    if !r.cell.has_memory() && (operand(6).is_some() || operand(7).is_some()) {
        return Err(Error::new("only LSTM has a memory and peepholes"));
    }
    let y = Shape(vec![steps.clone(), one, batch.clone(), Dim::Known(hidden)]);
    let states = if r.cell.has_memory() { 2 } else { 1 };
    let mut types = vec![Type::f32(y)];
    types.extend((0..states).map(|_| Type::f32(Shape(state.clone()))));
    Ok(types)
}
