//! Conv, Gemm, MatMul.

use super::window::{list, window};
use crate::build::Item;
use crate::build::compose::known_from;
use crate::build::transposed::{Transposed, transposed};
use crate::onnx::node::Site;
use lowbit_ir::op::{Binary, Conv, MatMul};
use lowbit_ir::{DType, Dim, Error, Op, Result, Tensor, bail};

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

/// ConvTranspose: (x, w, bias?), its weight [in, out / group, k...].
pub fn conv_transpose(site: &mut Site<'_>) -> Result<()> {
    let (x, w) = (site.input(0)?, site.input(1)?);
    let kernel = known_from(&site.shape(&w), 2)?;
    let rank = kernel.len();
    if let Some(stated) = list(site, "kernel_shape", rank)?
        && stated != kernel
    {
        bail!("expected kernel_shape {kernel:?} as in the weight, found {stated:?}");
    }
    let strides = list(site, "strides", rank)?.unwrap_or_else(|| vec![1; rank]);
    let dilations = list(site, "dilations", rank)?.unwrap_or_else(|| vec![1; rank]);
    let more = list(site, "output_padding", rank)?.unwrap_or_else(|| vec![0; rank]);
    let group = site.int("group")?.unwrap_or(1);
    let Some(group) = usize::try_from(group).ok().filter(|g| *g > 0) else {
        bail!("expected a positive group, found {group}")
    };
    let mut how = Transposed { kernel, strides, dilations, begins: vec![0; rank], ends: vec![0; rank], group };
    padding(site, &x, &mut how, &more)?;
    let (bias, output) = (site.maybe(2)?, site.output_name(0));
    let y = transposed(site.builder, &site.name, [&x, &w], bias.as_ref(), &how, &output)?;
    site.set(0, y);
    Ok(())
}

/// What is cut off the results of a transposed convolution: `pads`, or what leaves the sizes that are wanted.
fn padding(site: &mut Site<'_>, x: &Item, how: &mut Transposed, more: &[usize]) -> Result<()> {
    let rank = how.kernel.len();
    let small = |n: usize| {
        i64::try_from(n)
            .ok()
            .filter(|n| *n < 1 << 31)
            .ok_or_else(|| Error::new(format!("expected a small size, found {n}")))
    };
    let explicit = list(site, "pads", 2 * rank)?.unwrap_or_else(|| vec![0; 2 * rank]);
    let auto = site.text("auto_pad", "NOTSET")?;
    let same = match auto.as_str() {
        "NOTSET" | "" | "VALID" => false,
        "SAME_UPPER" | "SAME_LOWER" => true,
        other => bail!("expected auto_pad NOTSET, VALID, SAME_UPPER or SAME_LOWER, found {other}"),
    };
    // Some writers give the batch and the channels too.
    let mut wanted = site.ints("output_shape")?;
    if let Some(all) = wanted.as_mut().filter(|all| all.len() == rank + 2) {
        all.drain(..2);
    }
    if let Some(wanted) = wanted.as_ref().filter(|w| w.len() != rank) {
        bail!("expected {rank} entries in 'output_shape', found {wanted:?}");
    }
    for i in 0..rank {
        let (stride, added) = (small(how.strides[i])?, small(more[i])?);
        let span = small(how.dilations[i])?
            .checked_mul(small(how.kernel[i])? - 1)
            .and_then(|n| n.checked_add(1 + added))
            .ok_or_else(|| Error::new(format!("the window {:?} is too large", how.kernel)))?;
        // What the window covers beyond what is wanted.
        let excess = match &wanted {
            Some(wanted) => {
                let Some(size) = site.shape(x).0.get(i + 2).and_then(Dim::known) else {
                    bail!("expected an input of known sizes beside 'output_shape', found {}", site.shape(x));
                };
                let whole = (small(size)? - 1).checked_mul(stride).and_then(|n| n.checked_add(span));
                let Some(excess) = whole.and_then(|whole| whole.checked_sub(wanted[i])) else {
                    bail!("expected an 'output_shape' near what the window covers, found {wanted:?}");
                };
                excess
            }
            None if same => span - stride,
            None => {
                how.begins[i] = small(explicit[i])?;
                how.ends[i] = small(explicit[i + rank])? - added;
                continue;
            }
        };
        let (less, odd) = (excess.max(0) / 2, excess.max(0) % 2);
        how.begins[i] = if auto == "SAME_UPPER" { less } else { less + odd };
        how.ends[i] = excess - how.begins[i] - added;
    }
    Ok(())
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
    let (op, operands) = general_product(site)?;
    site.finish(op, &operands.iter().collect::<Vec<_>>())
}

/// The last operator of a Gemm, with its operands.
pub fn general_product(site: &mut Site<'_>) -> Result<(Op, Vec<Item>)> {
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
        (Some(bias), _) => Ok((product, vec![a, b, bias])),
        (None, None) if scaled => Ok((product, vec![a, b])),
        (None, None) => {
            let y = site.step("product", product, &[&a, &b])?;
            let by = site.known("alpha", Tensor::scalar(alpha));
            Ok((Op::Binary(Binary::Mul), vec![y, by]))
        }
        (None, Some(c)) => {
            let mut y = site.step("product", product, &[&a, &b])?;
            if !scaled {
                y = scale(site, "scaled", &y, alpha)?;
            }
            Ok((Op::Binary(Binary::Add), vec![y, c]))
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
