//! Sliding windows: what Conv and the pools share.

use crate::build::compose::known_from;
use crate::onnx::node::{Site, sizes_of};
use lowbit_ir::{Error, Result, Shape, bail};

/// Strides, dilations and explicit padding, one entry a spatial axis.
pub struct Window {
    /// Steps of the window.
    pub strides: Vec<usize>,
    /// Begins, then ends.
    pub pads: Vec<usize>,
    /// Distance between taps.
    pub dilations: Vec<usize>,
}

/// Reads the attributes of a window of size `kernel` over `input` (batch, channels, spatial axes).
pub fn window(site: &mut Site<'_>, input: &Shape, kernel: &[usize]) -> Result<Window> {
    let rank = kernel.len();
    if rank == 0 || input.rank() != rank + 2 {
        bail!("expected an input of {} dimensions for a window of {kernel:?}, found {input}", rank + 2);
    }
    let strides = list(site, "strides", rank)?.unwrap_or_else(|| vec![1; rank]);
    let dilations = list(site, "dilations", rank)?.unwrap_or_else(|| vec![1; rank]);
    if strides.contains(&0) || dilations.contains(&0) || kernel.contains(&0) {
        bail!("expected positive window sizes, found kernel {kernel:?}, strides {strides:?}, dilations {dilations:?}");
    }
    let explicit = list(site, "pads", 2 * rank)?.unwrap_or_else(|| vec![0; 2 * rank]);
    let auto = site.text("auto_pad", "NOTSET")?;
    let pads = match auto.as_str() {
        "NOTSET" | "" => explicit.clone(),
        "VALID" => vec![0; 2 * rank],
        "SAME_UPPER" => same(input, kernel, &strides, &dilations, false)?,
        "SAME_LOWER" => same(input, kernel, &strides, &dilations, true)?,
        other => bail!("expected auto_pad NOTSET, VALID, SAME_UPPER or SAME_LOWER, found {other}"),
    };
    // ONNX allows one of both; some writers give both, saying the same or nothing.
    if explicit.iter().any(|p| *p != 0) && explicit != pads {
        bail!("expected pads {pads:?} as auto_pad {auto} gives them, found {explicit:?}");
    }
    Ok(Window { strides, pads, dilations })
}

/// A list attribute of sizes whose length must be `len`.
pub fn list(site: &mut Site<'_>, name: &str, len: usize) -> Result<Option<Vec<usize>>> {
    let Some(v) = site.ints(name)? else { return Ok(None) };
    if v.len() != len {
        bail!("expected {len} entries in '{name}', found {v:?}");
    }
    sizes_of(name, &v).map(Some)
}

/// Padding with which the output has ceil(input / stride) positions; the odd one goes to the end, or to the begin.
fn same(input: &Shape, kernel: &[usize], strides: &[usize], dilations: &[usize], lower: bool) -> Result<Vec<usize>> {
    let too_large = || Error::new(format!("the window {kernel:?} with dilations {dilations:?} is too large"));
    let spatial = match strides.iter().all(|s| *s == 1) {
        // With steps of 1 the input's size does not matter.
        true => vec![0; kernel.len()],
        false => known_from(input, 2)?,
    };
    let mut begins = Vec::with_capacity(kernel.len());
    let mut ends = Vec::with_capacity(kernel.len());
    for (((size, kernel), stride), dilation) in spatial.into_iter().zip(kernel).zip(strides).zip(dilations) {
        let span = (kernel - 1).checked_mul(*dilation).and_then(|s| s.checked_add(1)).ok_or_else(too_large)?;
        let total = match stride {
            1 => span - 1,
            // The last window starts at the last multiple of the stride inside the input.
            _ => (size.div_ceil(*stride).saturating_sub(1))
                .checked_mul(*stride)
                .and_then(|at| at.checked_add(span))
                .ok_or_else(too_large)?
                .saturating_sub(size),
        };
        let (less, more) = (total / 2, total - total / 2);
        begins.push(if lower { more } else { less });
        ends.push(if lower { less } else { more });
    }
    begins.append(&mut ends);
    Ok(begins)
}
