//! Einsum: diagonals, sums of what one operand alone has, and products of two operands at a time, from the left.
//!
//! An axis is known by its label. Those that the ellipsis stands for have labels of their own, counted from the last, so
//! that they broadcast; from there on they are axes like all others.

use crate::build::Item;
use crate::build::sizes::Size;
use crate::onnx::node::Site;
use lowbit_ir::op::{Binary, Reduce, ReduceKind};
use lowbit_ir::{Dim, Op, Result, bail};
use std::collections::BTreeSet;

/// What an axis is called; the order is that of an output which is not written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Label {
    /// An axis of the ellipsis; the last one is -1.
    Dots(i64),
    Letter(char),
}

/// A value whose axes have labels.
struct Term {
    item: Item,
    labels: Vec<Label>,
}

/// Einsum.
pub fn einsum(site: &mut Site<'_>) -> Result<()> {
    let equation: String = site.text("equation", "")?.split_whitespace().collect();
    let operands = site.inputs()?;
    let (left, right) = match equation.split_once("->") {
        Some((left, right)) => (left, Some(right)),
        None => (equation.as_str(), None),
    };
    let texts: Vec<&str> = left.split(',').collect();
    if operands.is_empty() || texts.len() != operands.len() {
        bail!("expected as many terms in '{equation}' as operands, found {} and {}", texts.len(), operands.len());
    }
    let mut terms = Vec::new();
    for (i, (item, text)) in operands.into_iter().zip(&texts).enumerate() {
        let rank = site.shape(&item).rank();
        let labels = labels(text, Some(rank))?;
        terms.push(diagonal(site, &format!("term{i}"), Term { item, labels })?);
    }
    let dots = terms.iter().flat_map(|t| &t.labels).filter_map(|l| match l {
        Label::Dots(n) => Some(-n),
        Label::Letter(_) => None,
    });
    let dots = dots.max().unwrap_or(0);
    let output = match right {
        Some(text) => explicit(text, dots, &terms)?,
        None => implicit(&texts, dots),
    };
    drop_stretched(site, &mut terms)?;
    let mut all = terms.into_iter();
    let Some(mut product) = all.next() else { bail!("expected operands, found none") };
    let rest: Vec<Term> = all.collect();
    product = summed(site, "first", product, &wanted(&output, &rest))?;
    for (i, term) in rest.iter().enumerate() {
        let later = wanted(&output, rest.get(i + 1..).unwrap_or_default());
        let suffix = format!("{}", i + 1);
        let own: BTreeSet<Label> = later.iter().chain(&product.labels).copied().collect();
        let term = Term { item: term.item.clone(), labels: term.labels.clone() };
        let term = summed(site, &format!("{suffix}.summed"), term, &own)?;
        let kept: BTreeSet<Label> = later.iter().chain(&term.labels).copied().collect();
        let before = summed(site, &format!("{suffix}.before"), product, &kept)?;
        product = multiplied(site, &suffix, before, term, &later)?;
    }
    let y = ordered(site, "ordered", &product, &output)?;
    site.give(0, y)
}

/// The labels of a term over a tensor of this rank, or of an output.
fn labels(text: &str, rank: Option<usize>) -> Result<Vec<Label>> {
    let (before, after) = match text.split_once("...") {
        Some((before, after)) => (before, Some(after)),
        None => (text, None),
    };
    let letters = |s: &str| -> Result<Vec<Label>> {
        match s.chars().find(|c| !c.is_ascii_alphabetic()) {
            Some(c) => bail!("expected letters and one '...' in a term, found '{c}' in '{text}'"),
            None => Ok(s.chars().map(Label::Letter).collect()),
        }
    };
    let mut labels = letters(before)?;
    let after = after.map(letters).transpose()?;
    let written = labels.len() + after.as_ref().map_or(0, Vec::len);
    let hidden = rank.and_then(|rank| rank.checked_sub(written));
    match (rank, hidden, &after) {
        (Some(rank), None, _) => bail!("expected at least {written} dimensions for '{text}', found {rank}"),
        (Some(rank), Some(1..), None) => bail!("expected {written} dimensions for '{text}', found {rank}"),
        _ => {}
    }
    let hidden = hidden.unwrap_or(0) as i64;
    labels.extend((1..=hidden).rev().map(|i| Label::Dots(-i)));
    labels.extend(after.into_iter().flatten());
    Ok(labels)
}

/// The output's labels as they are written.
fn explicit(text: &str, dots: i64, terms: &[Term]) -> Result<Vec<Label>> {
    let (written, rank) = (labels(text, None)?, text.chars().filter(char::is_ascii_alphabetic).count());
    let output = match text.contains("...") {
        true => labels(text, Some(rank + dots as usize))?,
        false if dots > 0 => bail!("expected '...' in the output '{text}' as in the operands"),
        false => written,
    };
    for (i, label) in output.iter().enumerate() {
        if output.iter().take(i).any(|l| l == label) {
            bail!("expected every letter once in the output, found '{text}'");
        }
        if matches!(label, Label::Letter(_)) && !terms.iter().any(|t| t.labels.contains(label)) {
            bail!("expected letters of the operands in the output, found '{text}'");
        }
    }
    Ok(output)
}

/// The output that is meant if none is written: the ellipsis, then what is written once, by the alphabet.
fn implicit(texts: &[&str], dots: i64) -> Vec<Label> {
    let all: String = texts.concat();
    let once = |c: &char| c.is_ascii_alphabetic() && all.chars().filter(|d| d == c).count() == 1;
    let letters: BTreeSet<char> = all.chars().filter(once).collect();
    (1..=dots).rev().map(|i| Label::Dots(-i)).chain(letters.into_iter().map(Label::Letter)).collect()
}

/// All labels that are needed beyond a product.
fn wanted(output: &[Label], terms: &[Term]) -> BTreeSet<Label> {
    output.iter().chain(terms.iter().flat_map(|t| &t.labels)).copied().collect()
}

/// Takes the diagonal of axes that have one label: in rows of n + 1 elements of the two joined, it is the first column.
fn diagonal(site: &mut Site<'_>, suffix: &str, mut term: Term) -> Result<Term> {
    while let Some((first, second)) = twice(&term.labels) {
        let rank = term.labels.len();
        let shape = site.shape(&term.item);
        let (n, m) = (shape.0.get(first).cloned(), shape.0.get(second).cloned());
        let (Some(Dim::Known(n)), true) = (&n, n == m) else {
            bail!("expected known, equal sizes on the diagonal, found {shape}");
        };
        let area = n.checked_mul(*n).and_then(|area| i64::try_from(area).ok());
        let (Some(area), Some(step)) = (area, i64::try_from(*n).ok().and_then(|n| n.checked_add(1))) else {
            bail!("expected sizes that fit in memory, found {shape}");
        };
        let perm: Vec<usize> = (0..rank).filter(|i| *i != first && *i != second).chain([first, second]).collect();
        let name = format!("{suffix}.diagonal{rank}");
        let turned = site.turned(&format!("{name}.turned"), &term.item, &perm)?;
        let mut sizes = site.sizes_of(&turned);
        sizes.truncate(rank - 2);
        sizes.push(Size::Known(area));
        let joined = site.reshape(&format!("{name}.joined"), &turned, &sizes)?;
        let item = site.part(&name, &joined, -1, (0, i64::MAX, step))?;
        let label = term.labels[first];
        term = Term { item, labels: term.labels.into_iter().filter(|l| *l != label).chain([label]).collect() };
    }
    Ok(term)
}

/// The places of a label that stands twice.
fn twice(labels: &[Label]) -> Option<(usize, usize)> {
    labels.iter().enumerate().find_map(|(j, l)| labels.iter().take(j).position(|k| k == l).map(|i| (i, j)))
}

/// Axes of size 1 that others of their label stretch go: they are no factor.
fn drop_stretched(site: &mut Site<'_>, terms: &mut [Term]) -> Result<()> {
    let one = Dim::Known(1);
    let mut longer = BTreeSet::new();
    for term in terms.iter() {
        let shape = site.shape(&term.item);
        longer.extend(term.labels.iter().zip(&shape.0).filter(|(_, d)| **d != one).map(|(l, _)| *l));
    }
    for (i, term) in terms.iter_mut().enumerate() {
        let shape = site.shape(&term.item);
        let gone: Vec<usize> =
            (0..term.labels.len()).filter(|at| shape.0[*at] == one && longer.contains(&term.labels[*at])).collect();
        if !gone.is_empty() {
            let axes = gone.iter().map(|a| *a as i64).collect();
            term.item = site.step(&format!("term{i}.narrow"), Op::Squeeze { axes }, &[&term.item])?;
            term.labels = (0..term.labels.len()).filter(|at| !gone.contains(at)).map(|at| term.labels[at]).collect();
        }
    }
    Ok(())
}

/// Sums over the axes that nothing else needs.
fn summed(site: &mut Site<'_>, suffix: &str, term: Term, wanted: &BTreeSet<Label>) -> Result<Term> {
    let gone = |label: &Label| !wanted.contains(label);
    let axes: Vec<i64> = term.labels.iter().enumerate().filter(|(_, l)| gone(l)).map(|(i, _)| i as i64).collect();
    if axes.is_empty() {
        return Ok(term);
    }
    let sum = Op::Reduce(Reduce { kind: ReduceKind::Sum, axes, keep_dims: false });
    let item = site.step(&format!("{suffix}.sum"), sum, &[&term.item])?;
    Ok(Term { item, labels: term.labels.into_iter().filter(|l| wanted.contains(l)).collect() })
}

/// The axes in this order.
fn ordered(site: &mut Site<'_>, suffix: &str, term: &Term, order: &[Label]) -> Result<Item> {
    let at = |label: &Label| term.labels.iter().position(|l| l == label);
    match order.iter().map(at).collect::<Option<Vec<usize>>>() {
        Some(perm) if perm.len() == term.labels.len() => site.turned(suffix, &term.item, &perm),
        _ => bail!("expected the axes {order:?}, found {:?}", term.labels),
    }
}

/// The product of two terms, summed over what both have and nobody needs later.
fn multiplied(site: &mut Site<'_>, suffix: &str, a: Term, b: Term, later: &BTreeSet<Label>) -> Result<Term> {
    // A constant goes to the second place, where weights are.
    let swap = matches!(a.item, Item::Const(..)) && !matches!(b.item, Item::Const(..));
    let (a, b) = if swap { (b, a) } else { (a, b) };
    let both = |l: &&Label| b.labels.contains(l);
    let k: Vec<Label> = a.labels.iter().filter(both).filter(|l| !later.contains(l)).copied().collect();
    let batch: Vec<Label> = a.labels.iter().filter(both).filter(|l| later.contains(l)).copied().collect();
    let rows: Vec<Label> = a.labels.iter().filter(|l| !b.labels.contains(l)).copied().collect();
    let columns: Vec<Label> = b.labels.iter().filter(|l| !a.labels.contains(l)).copied().collect();
    match k.is_empty() || !site.ty(&a.item).dtype.is_float() {
        true => elementwise(site, suffix, (a, b), &[batch, rows, columns].concat(), &k),
        false => matrices(site, suffix, (a, b), [&batch, &rows, &columns, &k]),
    }
}

/// Both terms spread over all axes and multiplied, then summed over `k`.
fn elementwise(site: &mut Site<'_>, suffix: &str, (a, b): (Term, Term), kept: &[Label], k: &[Label]) -> Result<Term> {
    let all = [kept, k].concat();
    let mut spread = Vec::new();
    for (name, term) in [("left", a), ("right", b)] {
        let own: Vec<Label> = all.iter().filter(|l| term.labels.contains(l)).copied().collect();
        let item = ordered(site, &format!("{suffix}.{name}"), &term, &own)?;
        // Axes before the first of its own broadcast as they are.
        let first = all.iter().position(|l| own.contains(l)).unwrap_or(all.len());
        let missing = all.iter().enumerate().skip(first).filter(|(_, l)| !own.contains(l));
        let axes: Vec<i64> = missing.map(|(i, _)| (i - first) as i64).collect();
        spread.push(site.widened(&format!("{suffix}.{name}.spread"), &item, &axes)?);
    }
    let [a, b] = &spread[..] else { bail!("expected two terms") };
    let item = site.binary(&format!("{suffix}.product"), Binary::Mul, a, b)?;
    summed(site, suffix, Term { item, labels: all }, &kept.iter().copied().collect())
}

/// The terms as matrices [batch..., rows, k] and [batch..., k, columns].
fn matrices(site: &mut Site<'_>, suffix: &str, (a, b): (Term, Term), parts: [&Vec<Label>; 4]) -> Result<Term> {
    let [batch, rows, columns, k] = parts;
    let turned = b.labels == [batch.as_slice(), columns, k].concat();
    let last = if turned { [columns.as_slice(), k].concat() } else { [k.as_slice(), columns].concat() };
    let left = ordered(site, &format!("{suffix}.left"), &a, &[batch.as_slice(), rows, k].concat())?;
    let right = ordered(site, &format!("{suffix}.right"), &b, &[batch.clone(), last].concat())?;
    let (left_sizes, right_sizes) = (site.sizes_of(&left), site.sizes_of(&right));
    let at = batch.len();
    let product = |sizes: &[Size]| sizes.iter().fold(Size::Known(1), |p, s| p.times(s));
    // Without a batch the rows may stay the axes they are.
    let (row_sizes, k_sizes) = left_sizes[at..].split_at(rows.len());
    let flat = if batch.is_empty() && !rows.is_empty() { row_sizes.to_vec() } else { vec![product(row_sizes)] };
    let left_flat = [&left_sizes[..at], &flat, &[product(k_sizes)]].concat();
    let split = if turned { columns.len() } else { k.len() };
    let (first, second) = right_sizes[at..].split_at(split);
    let right_flat = [&right_sizes[..at], &[product(first), product(second)]].concat();
    let left = flattened(site, &format!("{suffix}.rows"), left, &left_flat)?;
    let right = flattened(site, &format!("{suffix}.columns"), right, &right_flat)?;
    let item = site.product(&format!("{suffix}.product"), &left, &right, turned)?;
    let column_sizes = if turned { first } else { second };
    let target = [&left_sizes[..at], row_sizes, column_sizes].concat();
    let item = flattened(site, &format!("{suffix}.apart"), item, &target)?;
    Ok(Term { item, labels: [batch.as_slice(), rows, columns].concat() })
}

/// Reshaped, unless it has these sizes.
fn flattened(site: &mut Site<'_>, suffix: &str, item: Item, sizes: &[Size]) -> Result<Item> {
    match site.sizes_of(&item) == sizes {
        true => Ok(item),
        false => site.reshape(suffix, &item, sizes),
    }
}
