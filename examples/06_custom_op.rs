//! An operator of your own, computed in floats by a closure of yours, in the middle of integers.
//!
//! It is given to the model as a table, by value: nothing is registered anywhere. Around it the network is quantized as
//! usual; the operator itself stays float and is listed with its reason.
//!
//! Run it with `cargo run --release --example 06_custom_op`.

use lowbit::data::Dataset;
use lowbit::ir::{CustomOp, Customs, Tensor, Type, text};
use lowbit::{Config, Model, Quantize, Result, Target};
use std::sync::Arc;

const MODEL: &str = r#"
graph "own" {
  input %x: f32[1x4]
  const %w: f32[4x4] = [1, -2, 3, -4, 0.5, 0.25, -0.125, 1, 2, 2, -2, -2, 0, 1, 0, -1]
  %a: f32[1x4] = MatMul(%x, %w)
  %b: f32[1x4] = Custom(%a) {op "cube"}
  %y: f32[1x4] = MatMul(%b, %w)
  output %y
}
"#;

/// x^3, element by element.
struct Cube;

impl CustomOp for Cube {
    fn name(&self) -> &str {
        "cube"
    }

    fn infer(&self, inputs: &[&Type]) -> Result<Vec<Type>> {
        Ok(inputs.iter().take(1).map(|ty| (*ty).clone()).collect())
    }

    fn run(&self, inputs: &[&Tensor]) -> Result<Vec<Tensor>> {
        let cubed = |x: &&Tensor| Tensor::from_f32(x.dims(), x.floats()?.iter().map(|x| x * x * x).collect());
        inputs.iter().take(1).map(cubed).collect()
    }
}

/// The example, which checks what it says.
pub fn main() -> Result<()> {
    let customs = Customs::default().with(Arc::new(Cube))?;
    let model = Model::from(text::parse(MODEL)?).customs(customs.clone());
    let noise = Dataset::open("random", &model.inputs(), None)?;
    let config = Config { samples: 64, ..Config::default() };
    let quantized = model.quantize(Quantize::default().config(config).data(&noise))?;
    for left in &quantized.report.left_float {
        println!("{} '{}' stays float: {}", left.op, left.node, left.reason);
    }
    assert_eq!(quantized.report.integer_macs_percent, 100.0);

    let program = quantized.compile(Target::host().customs(customs))?;
    let x = Tensor::from_f32(&[1, 4], vec![0.5, -0.25, 0.125, 0.75])?;
    println!("{:?}", program.session().run([("x", &x)])?[0].floats()?);
    Ok(())
}
