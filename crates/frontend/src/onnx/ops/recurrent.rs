//! LSTM, GRU and RNN: one operator a direction.

use crate::build::Item;
use crate::onnx::node::Site;
use lowbit_ir::op::{Cell, Recurrent, SliceAxis, Unary};
use lowbit_ir::{Dim, Op, Result, bail};

/// LSTM, GRU and RNN: (x, w, r, b?, lengths?, first h?, first c?, peepholes?).
pub fn recurrent(site: &mut Site<'_>) -> Result<()> {
    let cell = match site.op_type() {
        "LSTM" if site.flag("input_forget", false)? => Cell::CoupledLstm,
        "LSTM" => Cell::Lstm,
        "GRU" if site.flag("linear_before_reset", false)? => Cell::LinearGru,
        "GRU" => Cell::Gru,
        _ => Cell::Rnn,
    };
    // Before opset 7 it said which outputs are wanted, which their names say too.
    site.ignore(&["output_sequence"]);
    let reversed = match site.text("direction", "forward")?.as_str() {
        "forward" => vec![false],
        "reverse" => vec![true],
        "bidirectional" => vec![false, true],
        other => bail!("expected direction forward, reverse or bidirectional, found '{other}'"),
    };
    let batch_first = site.flag("layout", false)?;
    let clip = site.float("clip", f32::INFINITY)?;
    let most = if cell.has_memory() { 8 } else { 6 };
    let mut operands = (0..most).map(|i| site.maybe(i)).collect::<Result<Vec<_>>>()?;
    let (Some(Some(x)), Some(Some(r))) = (operands.first().cloned(), operands.get(2).cloned()) else {
        bail!("expected an operand, weights and recurrent weights");
    };
    let Some(hidden) = site.shape(&r).0.get(2).and_then(Dim::known) else {
        bail!("expected recurrent weights of known sizes, found {}", site.shape(&r));
    };
    if let Some(stated) = site.int("hidden_size")?.filter(|n| usize::try_from(*n) != Ok(hidden)) {
        bail!("expected hidden_size {hidden} as in the recurrent weights, found {stated}");
    }
    let functions = functions(site, cell, reversed.len())?;
    if batch_first {
        let swapped = site.step("steps.first", Op::Transpose { perm: vec![1, 0, 2] }, &[&x])?;
        operands[0] = Some(swapped);
        for i in [5, 6] {
            if let Some(Some(state)) = operands.get(i).cloned() {
                let turned = Op::Transpose { perm: vec![1, 0, 2] };
                operands[i] = Some(site.step(&format!("state{i}"), turned, &[&state])?);
            }
        }
    }
    let count = if cell.has_memory() { 3 } else { 2 };
    let results = each_direction(site, cell, hidden, clip, &reversed, &functions, &operands, count)?;
    give(site, results, batch_first)
}

/// The results of every direction, joined.
#[expect(clippy::too_many_arguments, reason = "what the node says, read once")]
fn each_direction(
    site: &mut Site<'_>,
    cell: Cell,
    hidden: usize,
    clip: f32,
    reversed: &[bool],
    functions: &[Vec<Unary>],
    operands: &[Option<Item>],
    count: usize,
) -> Result<Vec<Item>> {
    let mut parts: Vec<Vec<Item>> = vec![Vec::new(); count];
    for (d, (reverse, functions)) in reversed.iter().zip(functions).enumerate() {
        let mut own = operands.to_vec();
        if reversed.len() > 1 {
            // All but the operand and the lengths have the directions first.
            for i in [1, 2, 3, 5, 6, 7] {
                if let Some(Some(all)) = own.get(i).cloned() {
                    let at = SliceAxis { axis: 0, start: d as i64, end: d as i64 + 1, step: 1 };
                    own[i] = Some(site.step(&format!("operand{i}.{d}"), Op::Slice(vec![at]), &[&all])?);
                }
            }
        }
        let given = own.iter().rposition(Option::is_some).map_or(0, |i| i + 1);
        let op = Op::Recurrent(Recurrent { cell, hidden, reverse: *reverse, activations: functions.clone(), clip });
        let node = if d == 0 { site.name.clone() } else { format!("{}.back", site.name) };
        let names = (0..count).map(|k| site.builder.fresh(&format!("{node}.{k}"))).collect::<Vec<_>>();
        let results = site.builder.emit(&node, op, &own[..given], &names, &[])?;
        parts.iter_mut().zip(results).for_each(|(part, item)| part.push(item));
    }
    let join = |(k, mut part): (usize, Vec<Item>)| match part.len() {
        1 => Ok(part.remove(0)),
        _ => {
            let axis = i64::from(k == 0);
            site.step(&format!("joined{k}"), Op::Concat { axis }, &part.iter().collect::<Vec<_>>())
        }
    };
    parts.into_iter().enumerate().map(join).collect()
}

/// The results under the file's names, in its layout.
fn give(site: &mut Site<'_>, results: Vec<Item>, batch_first: bool) -> Result<()> {
    for (k, item) in results.into_iter().enumerate().take(site.outputs()) {
        // y [steps, directions, n, h] becomes [n, steps, directions, h], a state [directions, n, h] [n, directions, h].
        let op = match (batch_first, k) {
            (false, _) => Op::Identity,
            (true, 0) => Op::Transpose { perm: vec![2, 0, 1, 3] },
            (true, _) => Op::Transpose { perm: vec![1, 0, 2] },
        };
        let name = site.output_name(k);
        let node = format!("{}.result{k}", site.name);
        if let Some(item) = site.builder.emit(&node, op, &[Some(item)], &[name], &[])?.pop() {
            site.set(k, item);
        }
    }
    Ok(())
}

/// The functions of every direction.
fn functions(site: &mut Site<'_>, cell: Cell, directions: usize) -> Result<Vec<Vec<Unary>>> {
    let usual = match cell {
        Cell::Lstm | Cell::CoupledLstm => vec!["Sigmoid", "Tanh", "Tanh"],
        Cell::Gru | Cell::LinearGru => vec!["Sigmoid", "Tanh"],
        Cell::Rnn => vec!["Tanh"],
    };
    let count = usual.len() * directions;
    let names = match site.texts("activations")? {
        Some(names) => names,
        None => usual.iter().cycle().take(count).map(ToString::to_string).collect(),
    };
    if names.len() != count {
        bail!("expected {count} names in 'activations', found {names:?}");
    }
    // The parameters are those of the functions that have any, in order, or one for every function.
    let (alphas, betas) = (site.floats("activation_alpha")?, site.floats("activation_beta")?);
    let all = |list: &Option<Vec<f32>>| list.as_ref().is_some_and(|l| l.len() == count);
    let (whole, mut next) = ((all(&alphas), all(&betas)), (0, 0));
    let mut parameter = |i: usize, first: bool, usual: f32| {
        let (list, whole, next) = if first { (&alphas, whole.0, &mut next.0) } else { (&betas, whole.1, &mut next.1) };
        let at = if whole { i } else { *next };
        *next += 1;
        list.as_ref().and_then(|l| l.get(at).copied()).unwrap_or(usual)
    };
    let mut found = Vec::with_capacity(count);
    for (i, name) in names.iter().enumerate() {
        found.push(match name.to_ascii_lowercase().as_str() {
            "sigmoid" => Unary::Sigmoid,
            "tanh" => Unary::Tanh,
            "relu" => Unary::ThresholdedRelu { alpha: 0.0 },
            "softsign" => Unary::Softsign,
            "softplus" => Unary::Softplus,
            "hardsigmoid" => {
                let alpha = parameter(i, true, 0.2);
                Unary::HardSigmoid { alpha, beta: parameter(i, false, 0.5) }
            }
            "leakyrelu" => Unary::LeakyRelu { alpha: parameter(i, true, 0.01) },
            "elu" => Unary::Elu { alpha: parameter(i, true, 1.0) },
            "thresholdedrelu" => Unary::ThresholdedRelu { alpha: parameter(i, true, 1.0) },
            _ => bail!("the activation '{name}' is not supported"),
        });
    }
    Ok(found.chunks(count / directions).map(<[Unary]>::to_vec).collect())
}
