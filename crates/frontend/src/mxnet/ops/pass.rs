//! What does nothing at inference, and conversions.

use crate::build::remarks::{Place, Remark};
use crate::mxnet::node::{Site, output_name};
use lowbit_ir::{DType, Op, Result, bail};

/// Identity, and losses that hand on their first operand.
pub fn identity(site: &mut Site<'_>) -> Result<()> {
    site.ignore(&["grad_scale", "valid_thresh", "normalization"]);
    let x = site.input(0)?;
    site.finish(Op::Identity, &[&x])
}

/// Dropout, which does nothing at inference unless it is told to.
pub fn dropout(site: &mut Site<'_>) -> Result<()> {
    site.ignore(&["p", "axes", "cudnn_off"]);
    if site.word("mode", &["training", "always"])? == "always" {
        bail!("dropout at inference (mode always) is not supported");
    }
    let x = site.input(0)?;
    site.finish(Op::Identity, &[&x])
}

/// Remarks that a result is f32 where the file wants other floats.
fn remark_float(site: &mut Site<'_>, wanted: &str) {
    let from = match wanted {
        "float16" => "f16",
        "bfloat16" => "bf16",
        "float64" => "f64",
        _ => return,
    };
    let value = output_name(site.name(), 0, 1);
    site.builder.remarks.push(Remark::Type { from, to: DType::F32, place: Place::Conversion, value });
}

/// In which type of floats an attribute wants the result: all are f32 here, which is remarked where it is another one.
pub fn remark_type(site: &mut Site<'_>, attribute: &str) -> Result<()> {
    match site.text(attribute).map(String::from).as_deref() {
        None | Some("None" | "float32") => Ok(()),
        Some(float @ ("float16" | "bfloat16" | "float64")) => {
            remark_float(site, float);
            Ok(())
        }
        Some(other) => bail!("expected a type of floats for '{attribute}', found '{other}'"),
    }
}

/// Cast. There is one type of floats here.
pub fn cast(site: &mut Site<'_>) -> Result<()> {
    let x = site.input(0)?;
    let Some(to) = site.text("dtype") else { bail!("expected attribute 'dtype', found none") };
    let from_float = site.ty(&x).dtype.is_float();
    remark_float(site, to);
    let to = match to {
        "float32" | "float16" | "bfloat16" | "float64" => DType::F32,
        "uint8" => DType::U8,
        "int8" => DType::I8,
        "int32" => DType::I32,
        "int64" => DType::I64,
        other => bail!("conversion to {other} is not supported"),
    };
    match from_float && to == DType::F32 {
        true => site.finish(Op::Identity, &[&x]),
        false => site.finish(Op::Cast { to }, &[&x]),
    }
}
