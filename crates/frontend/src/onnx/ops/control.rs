//! If, Loop, Scan and SequenceMap: the subgraph that is taken, once or once an iteration.
//!
//! Which one, and how often, must be known while reading. A loop becomes its iterations, one after the other, whose nodes
//! are named `<loop>/<iteration>/<node>`.

use crate::build::{Builder, Item};
use crate::onnx::inline::Block;
use crate::onnx::node::Site;
use crate::onnx::walk::Thing;
use lowbit_ir::op::SliceAxis;
use lowbit_ir::{DType, Error, Op, Result, Tensor, Type, bail};
use std::sync::Arc;

/// If: the branch that a known condition takes.
pub fn branch(site: &mut Site<'_>) -> Result<()> {
    site.ignore(&["then_branch", "else_branch"]);
    let Some(condition) = site.constant(0, CONDITION)? else { bail!("expected a condition, found none") };
    let taken = if truth(&condition)? { "then_branch" } else { "else_branch" };
    let block = site.block(taken)?;
    let names = site.output_names();
    if block.inputs() != 0 || block.outputs() < site.outputs() {
        let (inputs, outputs) = (block.inputs(), block.outputs());
        bail!("expected a branch of no inputs and {} outputs, found {inputs} and {outputs}", site.outputs());
    }
    let prefix = site.name.clone();
    let Some(results) = site.read_block(&block, &prefix, &[], names)? else { return Ok(()) };
    // What a node of the branch makes has the output's name already.
    for (k, thing) in results.into_iter().enumerate() {
        if names.get(k).is_some_and(|name| !site.file.has(name, site.builder)) {
            site.pass_on(k, thing)?;
        }
    }
    Ok(())
}

const CONDITION: &str = "condition, since control flow is read as what it does";

/// Loop: as many iterations as a known count and known conditions say.
pub fn repeat(site: &mut Site<'_>) -> Result<()> {
    let block = site.block("body")?;
    let trips = match site.known_ints(0, "trip count, since a loop is read as its iterations")?.as_deref() {
        None => None,
        Some([n]) => Some(*n),
        Some(other) => bail!("expected one trip count, found {}", other.len()),
    };
    let mut go_on = match site.constant(1, CONDITION)? {
        Some(condition) => truth(&condition)?,
        None => true,
    };
    let carried = site.operands().max(2) - 2;
    let scans = (block.outputs().checked_sub(1 + carried)).filter(|_| block.inputs() == 2 + carried);
    let Some(scans) = scans else {
        let (inputs, outputs) = (block.inputs(), block.outputs());
        bail!("expected a body that carries {carried} values, found one of {inputs} inputs and {outputs} outputs");
    };
    let mut state: Vec<Thing> = (0..carried).map(|i| site.thing(2 + i)).collect::<Result<_>>()?;
    let mut rows: Vec<Vec<Item>> = vec![Vec::new(); scans];
    let mut i = 0i64;
    while go_on && trips.is_none_or(|n| i < n) {
        let number = Tensor::from_i64(&[], vec![i])?;
        let flag = Tensor::from_ints(Type::plain(DType::Bool, Vec::new()), &[1])?;
        let mut given = vec![known(number), known(flag)];
        given.append(&mut state);
        let prefix = format!("{}/{i}", site.name);
        let Some(results) = site.read_block(&block, &prefix, &given, &[])? else { return Ok(()) };
        let mut results = results.into_iter();
        let condition = results.next();
        state = results.by_ref().take(carried).collect();
        for (row, thing) in rows.iter_mut().zip(results) {
            row.push(tensor(thing)?);
        }
        i += 1;
        // Whoever does not go on need not know.
        if trips.is_none_or(|n| i < n) {
            go_on = truth(&condition_of(site, condition)?).map_err(|e| e.context(format!("iteration {}", i - 1)))?;
        }
    }
    for (k, thing) in state.into_iter().enumerate() {
        site.pass_on(k, thing)?;
    }
    for (k, row) in rows.into_iter().enumerate() {
        stack(site, carried + k, &row, 0, false)?;
    }
    Ok(())
}

/// The condition that an iteration computes.
fn condition_of(site: &Site<'_>, thing: Option<Thing>) -> Result<Tensor> {
    let found = match thing {
        Some(Thing::Tensor(Item::Const(_, t))) => return Ok(t),
        Some(Thing::Tensor(Item::Value(v))) => match site.builder.dequantized(v)? {
            Some(t) => return Ok(t),
            None => "one that is computed while running".to_string(),
        },
        Some(Thing::Tensor(Item::Sizes(s))) => format!("{s}, which depends on open dimensions"),
        Some(Thing::Sequence(_) | Thing::Nothing) | None => "none".into(),
    };
    Err(Error::new(format!("expected the body to compute a condition that is known while reading, found {found}"))
        .hint("fix the input shapes (--shape name=1x3x224x224), or export the loop with a constant trip count alone"))
}

fn truth(condition: &Tensor) -> Result<bool> {
    match condition.ints()?.as_slice() {
        [one] => Ok(*one != 0),
        other => bail!("expected one condition, found {}", other.len()),
    }
}

fn known(tensor: Tensor) -> Thing {
    Thing::Tensor(Item::Const("".into(), tensor))
}

fn tensor(thing: Thing) -> Result<Item> {
    match thing {
        Thing::Tensor(item) => Ok(item),
        Thing::Sequence(_) => bail!("expected a tensor to put beside those of other iterations, found a sequence"),
        Thing::Nothing => bail!("expected a tensor to put beside those of other iterations, found nothing"),
    }
}

/// Output `k`: these side by side along a new axis. Of no iterations there would be an empty tensor, which does not exist
/// here: whoever reads it is told.
fn stack(site: &mut Site<'_>, k: usize, rows: &[Item], axis: i64, reversed: bool) -> Result<()> {
    if rows.is_empty() || site.output_names().get(k).is_none_or(String::is_empty) {
        return Ok(());
    }
    let (node, output) = (site.name.clone(), site.output_name(k));
    let whole = beside(site.builder, &node, &output, rows, axis, true, reversed)?;
    site.set(k, whole);
    Ok(())
}

/// Tensors side by side along an axis, perhaps a new one, under this name.
pub fn beside(
    builder: &mut Builder,
    node: &str,
    output: &str,
    rows: &[Item],
    axis: i64,
    new_axis: bool,
    reversed: bool,
) -> Result<Item> {
    let mut parts = Vec::with_capacity(rows.len());
    for (i, row) in rows.iter().enumerate() {
        parts.push(Some(match new_axis {
            true => builder.step(node, &format!("{output}.{i}"), Op::Unsqueeze { axes: vec![axis] }, &[row])?,
            false => row.clone(),
        }));
    }
    if reversed {
        parts.reverse();
    }
    let mut made = builder.emit(node, Op::Concat { axis }, &parts, &[output.to_string()], &[])?;
    made.pop().ok_or_else(|| Error::new("expected one output"))
}

/// Element `i` along an axis, which goes.
fn element(site: &mut Site<'_>, name: &str, item: &Item, axis: i64, i: usize) -> Result<Item> {
    // An index below a size fits.
    let start = i as i64;
    let part = Op::Slice(vec![SliceAxis { axis, start, end: start + 1, step: 1 }]);
    let part = site.step(&format!("{name}.{i}"), part, &[item])?;
    site.step(&format!("{name}.{i}.element"), Op::Squeeze { axes: vec![axis] }, &[&part])
}

/// The scan of one sample: what it goes along, and how.
struct Along<'a> {
    block: Block<'a>,
    /// Axis and whether it is gone along from the end, for every scan input.
    inputs: Vec<(i64, bool)>,
    /// The same for every scan output.
    outputs: Vec<(i64, bool)>,
    states: usize,
}

/// Scan: an iteration an element of its scan inputs. Before opset 9 it did so for every sample of a batch.
pub fn scan(site: &mut Site<'_>) -> Result<()> {
    let block = site.block("body")?;
    let scanned = site.int("num_scan_inputs")?.and_then(|n| usize::try_from(n).ok()).filter(|n| *n > 0);
    let Some(scanned) = scanned else { bail!("expected 'num_scan_inputs' of at least 1, found less or none") };
    let first = usize::from(site.opset < 9);
    let Some(states) = site.operands().checked_sub(first + scanned) else {
        bail!("expected at least {scanned} scan inputs, found {} operands", site.operands());
    };
    let Some(scans) = block.outputs().checked_sub(states).filter(|_| block.inputs() == states + scanned) else {
        let (inputs, outputs) = (block.inputs(), block.outputs());
        bail!("expected a body of {states} states and {scanned} scan inputs, found {inputs} inputs, {outputs} outputs");
    };
    let names = match first {
        0 => ["scan_input_axes", "scan_input_directions", "scan_output_axes", "scan_output_directions"],
        _ => ["", "directions", "", ""],
    };
    let inputs = axes(site, names[0], names[1], scanned)?;
    let outputs = axes(site, names[2], names[3], scans)?;
    let along = Along { block, inputs, outputs, states };
    match first {
        0 => scan_once(site, &along),
        _ => scan_batch(site, &along),
    }
}

fn axes(site: &mut Site<'_>, axes: &str, directions: &str, count: usize) -> Result<Vec<(i64, bool)>> {
    let (along, turned) = (site.ints(axes)?, site.ints(directions)?);
    let along = along.unwrap_or_else(|| vec![0; count]);
    let turned = turned.unwrap_or_else(|| vec![0; count]);
    if along.len() != count || turned.len() != count || turned.iter().any(|d| !matches!(d, 0 | 1)) {
        bail!("expected {count} axes and directions (0 or 1), found {along:?} and {turned:?}");
    }
    Ok(along.into_iter().zip(turned.into_iter().map(|d| d == 1)).collect())
}

fn scan_once(site: &mut Site<'_>, along: &Along<'_>) -> Result<()> {
    let operands = site.inputs()?;
    let (states, scanned) = operands.split_at(along.states);
    let prefix = site.name.clone();
    let Some((last, rows)) = iterations(site, along, &prefix, states.to_vec(), scanned)? else { return Ok(()) };
    for (k, item) in last.into_iter().enumerate() {
        site.pass_on(k, Thing::Tensor(item))?;
    }
    for (k, (row, (axis, reversed))) in rows.iter().zip(&along.outputs).enumerate() {
        stack(site, along.states + k, row, *axis, *reversed)?;
    }
    Ok(())
}

fn scan_batch(site: &mut Site<'_>, along: &Along<'_>) -> Result<()> {
    let operands: Vec<Item> = (1..site.operands()).map(|i| site.input(i)).collect::<Result<_>>()?;
    let batch = length(site, &operands, &vec![(0, false); operands.len()])?;
    if let Some(lengths) = site.known_ints(0, "list of sequence lengths")? {
        let whole = operands.last().and_then(|x| site.shape(x).0.get(1)?.known());
        if lengths.iter().any(|n| usize::try_from(*n).ok() != whole) {
            bail!("expected sequences that are all whole, found lengths {lengths:?}");
        }
    }
    let mut all: Vec<Vec<Item>> = vec![Vec::new(); along.states + along.outputs.len()];
    for b in 0..batch {
        let one = |(i, item): (usize, &Item)| element(site, &format!("sample.{i}"), item, 0, b);
        let own: Vec<Item> = operands.iter().enumerate().map(one).collect::<Result<_>>()?;
        let (states, scanned) = own.split_at(along.states);
        let prefix = format!("{}/{b}", site.name);
        let Some((last, rows)) = iterations(site, along, &prefix, states.to_vec(), scanned)? else { return Ok(()) };
        let node = site.name.clone();
        for (k, item) in last.into_iter().enumerate() {
            all[k].push(item);
        }
        for (k, row) in rows.iter().enumerate() {
            let name = site.builder.fresh(&format!("{prefix}/out.{k}"));
            all[along.states + k].push(beside(site.builder, &node, &name, row, 0, true, false)?);
        }
    }
    all.iter().enumerate().try_for_each(|(k, samples)| stack(site, k, samples, 0, false))
}

/// The one length that tensors have along their axes.
fn length(site: &Site<'_>, items: &[Item], along: &[(i64, bool)]) -> Result<usize> {
    let mut found = None;
    for (item, (axis, _)) in items.iter().zip(along) {
        let shape = site.shape(item);
        let size = shape.0.get(shape.axis(*axis)?).and_then(lowbit_ir::Dim::known);
        let size = size.ok_or_else(|| {
            crate::build::sizes::open_error(format!("the iterations along axis {axis} of {shape} are not known"))
        })?;
        if found.is_some_and(|before| before != size) {
            bail!("expected scan inputs of one length, found {} and {size}", found.unwrap_or_default());
        }
        found = Some(size);
    }
    Ok(found.unwrap_or_default())
}

/// The last states, and what every scan output has of each iteration; `None` after a failure that is told.
type Scanned = Option<(Vec<Item>, Vec<Vec<Item>>)>;

fn iterations(
    site: &mut Site<'_>,
    along: &Along<'_>,
    prefix: &str,
    mut states: Vec<Item>,
    scanned: &[Item],
) -> Result<Scanned> {
    let count = length(site, scanned, &along.inputs)?;
    let mut rows: Vec<Vec<Item>> = vec![Vec::new(); along.outputs.len()];
    for i in 0..count {
        let mut given: Vec<Thing> = std::mem::take(&mut states).into_iter().map(Thing::Tensor).collect();
        for (k, (item, (axis, reversed))) in scanned.iter().zip(&along.inputs).enumerate() {
            let at = if *reversed { count - 1 - i } else { i };
            // Samples of a batch have names of their own.
            let name = format!("in.{k}{}", prefix.strip_prefix(site.name.as_str()).unwrap_or_default());
            given.push(Thing::Tensor(element(site, &name, item, *axis, at)?));
        }
        let Some(results) = site.read_block(&along.block, &format!("{prefix}/{i}"), &given, &[])? else {
            return Ok(None);
        };
        let mut results = results.into_iter();
        states = results.by_ref().take(along.states).map(tensor).collect::<Result<_>>()?;
        for (row, thing) in rows.iter_mut().zip(results) {
            row.push(tensor(thing)?);
        }
    }
    Ok(Some((states, rows)))
}

/// SequenceMap: an iteration an element of its first sequence.
pub fn map(site: &mut Site<'_>) -> Result<()> {
    let block = site.block("body")?;
    let count = site.sequence(0)?.len();
    let operands: Vec<Thing> = (0..site.operands()).map(|i| site.thing(i)).collect::<Result<_>>()?;
    let mut all: Vec<Vec<Item>> = vec![Vec::new(); block.outputs()];
    for i in 0..count {
        let of_one = |thing: &Thing| match thing {
            Thing::Sequence(items) => items.get(i).cloned().map(Thing::Tensor).ok_or_else(|| {
                Error::new(format!("expected sequences of one length, found {count} and {}", items.len()))
            }),
            other => Ok(other.clone()),
        };
        let given = operands.iter().map(of_one).collect::<Result<Vec<_>>>()?;
        let prefix = format!("{}/{i}", site.name);
        let Some(results) = site.read_block(&block, &prefix, &given, &[])? else { return Ok(()) };
        for (items, thing) in all.iter_mut().zip(results) {
            items.push(tensor(thing)?);
        }
    }
    for (k, items) in all.into_iter().enumerate() {
        site.file.limits.sequence(items.len())?;
        site.pass_on(k, Thing::Sequence(Arc::new(items)))?;
    }
    Ok(())
}
