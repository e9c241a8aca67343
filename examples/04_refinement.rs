//! A refinement of your own: a correction of the calibrated graph, with the float graph and the data at hand.
//!
//! This one measures how far each layer's results are from the float network's, and reports it without changing anything.
//! A real one would correct constants, as `bias-correction` does.
//!
//! Run it with `cargo run --release --example 04_refinement`.

use lowbit::data::Dataset;
use lowbit::quantization::refine::Correction;
use lowbit::quantization::{Refine, analysis};
use lowbit::{Config, Graph, Model, Quantize, Result};

fn measure(g: &mut Graph, cx: &Refine) -> Result<Vec<Correction>> {
    let errors = analysis::compare(cx.float, g, cx.engine, cx.samples, 4)?;
    let worst = analysis::worst_layers(cx.float, &errors, 5);
    let told = worst.into_iter().map(|layer| Correction {
        node: layer.node,
        refinement: "measure".into(),
        largest: layer.max_error as f32,
    });
    Ok(told.collect())
}

/// The example, which checks what it says.
pub fn main() -> Result<()> {
    let model = Model::load("demo/model.onnx")?;
    let images = Dataset::open("demo/calibration", &model.inputs(), model.stored_preprocess()?.as_ref())?;
    let refinements = vec!["bias-correction".to_string(), "measure".to_string()];
    let config = Config { samples: 32, refinements, ..Config::default() };
    let how = Quantize::default().refinement("measure", measure).config(config).data(&images);
    let quantized = model.quantize(how)?;

    let measured = quantized.report.corrections.iter().filter(|c| c.refinement == "measure");
    for layer in measured.clone() {
        println!("{}: results are up to {} away from the float network's", layer.node, layer.largest);
    }
    assert_eq!(measured.count(), 5);
    Ok(())
}
