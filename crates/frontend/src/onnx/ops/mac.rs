//! Conv, Gemm, MatMul.

use super::window::{list, window};
use crate::build::Item;
use crate::build::compose::known_from;
use crate::onnx::node::Site;
use lowbit_ir::op::{Binary, Conv, MatMul};
use lowbit_ir::{DType, Dim, Op, Result, Tensor, bail};

/// Conv: (x, w, bias?).
pub fn conv(site: &mut Site<'_>) -> Result<()> {
    let (x, w) = (site.input(0)?, site.input(1)?);
    let op = convolution(site, &x, &w)?;
    let bias = site.maybe(2)?;
    site.finish_as(op, &[Some(x), Some(w), bias], 1, &[])
}

/// The attributes of a convolution of `x` by `w`.
pub fn convolution(site: &mut Site<'_>, x: &Item, w: &Item) -> Result<Op> {
    let kernel = known_from(&site.shape(w), 2)?;
    if let Some(stated) = list(site, "kernel_shape", kernel.len())?
        && stated != kernel
    {
        bail!("expected kernel_shape {kernel:?} as in the weight, found {stated:?}");
    }
    let window = window(site, &site.shape(x), &kernel)?;
    let group = site.int("group")?.unwrap_or(1);
    let Some(group) = usize::try_from(group).ok().filter(|g| *g > 0) else {
        bail!("expected a positive group, found {group}")
    };
    Ok(Op::Conv(Conv { strides: window.strides, pads: window.pads, dilations: window.dilations, group }))
}

/// MatMul: operands of one dimension get a second one for the time being, as in numpy.
pub fn matmul(site: &mut Site<'_>) -> Result<()> {
    let (mut a, mut b) = (site.input(0)?, site.input(1)?);
    let (row, column) = (site.shape(&a).rank() == 1, site.shape(&b).rank() == 1);
    if row {
        a = site.step("row", Op::Unsqueeze { axes: vec![0] }, &[&a])?;
    }
    if column {
        b = site.step("column", Op::Unsqueeze { axes: vec![1] }, &[&b])?;
    }
    let product = Op::MatMul(MatMul::default());
    let axes = match (row, column) {
        (false, false) => return site.finish(product, &[&a, &b]),
        (true, false) => vec![-2],
        (false, true) => vec![-1],
        (true, true) => vec![-2, -1],
    };
    let y = site.step("product", product, &[&a, &b])?;
    site.finish(Op::Squeeze { axes }, &[&y])
}

/// Gemm: alpha * a * b + beta * c. It becomes one MatMul with bias where c is a constant row and alpha can be folded.
pub fn gemm(site: &mut Site<'_>) -> Result<()> {
    let (mut a, mut b, c) = (site.input(0)?, site.input(1)?, site.maybe(2)?);
    let (alpha, beta) = (site.float("alpha", 1.0)?, site.float("beta", 1.0)?);
    let (trans_a, trans_b) = (site.flag("transA", false)?, site.flag("transB", false)?);
    for (name, item) in [("a", &a), ("b", &b)] {
        let shape = site.shape(item);
        if shape.rank() != 2 {
            bail!("expected operand {name} of two dimensions, found {shape}");
        }
    }
    if trans_a {
        a = site.step("a", Op::Transpose { perm: vec![1, 0] }, &[&a])?;
    }
    let product = Op::MatMul(MatMul { trans_b });
    let mut scaled = alpha == 1.0;
    if !scaled && matches!(b, Item::Const(..)) {
        b = scale(site, "alpha", &b, alpha)?;
        scaled = true;
    }
    let columns = site.shape(&b).0.get(usize::from(!trans_b)).and_then(Dim::known);
    if let Some(c) = &c {
        let (shape, rows) = (site.shape(c), site.shape(&a).0.first().and_then(Dim::known));
        let wider = |(found, own): (&Dim, Option<usize>)| found.known().is_some_and(|n| n > 1 && own == Some(1));
        if shape.rank() > 2 || shape.0.iter().rev().zip([columns, rows]).any(wider) {
            bail!("expected an addend c that broadcasts to the product, found {shape}");
        }
    }
    let c = match c {
        Some(c) if beta == 0.0 || site.shape(&c).count() == Some(0) => None,
        Some(c) if beta == 1.0 => Some(c),
        Some(c) => Some(scale(site, "beta", &c, beta)?),
        None => None,
    };
    let bias = match (&c, columns) {
        (Some(c), Some(n)) if scaled => row_bias(site, c, n)?,
        _ => None,
    };
    match (bias, c) {
        (Some(bias), _) => site.finish(product, &[&a, &b, &bias]),
        (None, None) if scaled => site.finish(product, &[&a, &b]),
        (None, None) => {
            let y = site.step("product", product, &[&a, &b])?;
            let by = site.known("alpha", Tensor::scalar(alpha));
            site.finish(Op::Binary(Binary::Mul), &[&y, &by])
        }
        (None, Some(c)) => {
            let mut y = site.step("product", product, &[&a, &b])?;
            if !scaled {
                y = scale(site, "scaled", &y, alpha)?;
            }
            site.finish(Op::Binary(Binary::Add), &[&y, &c])
        }
    }
}

fn scale(site: &mut Site<'_>, suffix: &str, item: &Item, factor: f32) -> Result<Item> {
    let by = site.known(&format!("{suffix}.factor"), Tensor::scalar(factor));
    site.step(suffix, Op::Binary(Binary::Mul), &[item, &by])
}

/// `c` as a vector of `n`, if it is a row that is the same for all rows of the product.
fn row_bias(site: &mut Site<'_>, c: &Item, n: usize) -> Result<Option<Item>> {
    let shape = site.shape(c);
    let constant = matches!(c, Item::Const(_, t) if t.dtype() == DType::F32);
    match shape.dims().as_deref() {
        Some([m]) if *m == n => Ok(Some(c.clone())),
        Some([1, m]) if *m == n && constant => site.step("c", Op::Reshape { dims: vec![-1] }, &[c]).map(Some),
        Some([] | [1] | [1, 1]) if constant => {
            let flat = site.step("c", Op::Reshape { dims: vec![1] }, &[c])?;
            site.step("c.row", Op::Expand { dims: vec![n] }, &[&flat]).map(Some)
        }
        _ => Ok(None),
    }
}
