//! A refinement of your own: a correction of the calibrated graph, with the float graph and the data at hand.
//!
//! This one looks at the whole network: how far its result is from the float network's on average, class by class, goes
//! into the bias of the last layer. (`bias-correction`, which runs before it, looks at each layer alone.)
//!
//! Run it with `cargo run --release --example 04_refinement`.

use lowbit::data::Dataset;
use lowbit::quantization::Refine;
use lowbit::quantization::refine::{Correction, add_to_bias};
use lowbit::quantization::samples::spread;
use lowbit::{Config, Graph, Model, Quantize, Result};

/// The mean difference of two networks' first results over the samples, element by element.
fn difference(a: &Graph, b: &Graph, cx: &Refine) -> Result<Vec<f64>> {
    let (mut first, mut second) = (cx.engine.load(a, &[])?, cx.engine.load(b, &[])?);
    let (mut sums, mut count) = (Vec::new(), 0.0);
    for i in spread(cx.samples.len(), cx.limit) {
        let sample = cx.samples.sample(i)?;
        let (a, b) = (first.run(&sample)?.outputs, second.run(&sample)?.outputs);
        let (a, b) = (a[0].reals()?, b[0].reals()?);
        sums.resize(a.len(), 0.0);
        sums.iter_mut().zip(a.iter().zip(&*b)).for_each(|(sum, (a, b))| *sum += f64::from(a - b));
        count += 1.0;
    }
    Ok(sums.into_iter().map(|sum| sum / count).collect())
}

fn centre(g: &mut Graph, cx: &Refine) -> Result<Vec<Correction>> {
    let delta = difference(cx.float, g, cx)?;
    let last = g.nodes().filter(|(_, n)| n.op.is_layer()).last().map(|(id, n)| (id, n.name.clone()));
    let Some((layer, node)) = last else { return Ok(Vec::new()) };
    let largest = add_to_bias(g, layer, &delta)?;
    Ok(vec![Correction { node, refinement: "centre".into(), largest }])
}

/// The example, which checks what it says.
pub fn main() -> Result<()> {
    let model = Model::load("demo/model.onnx")?;
    let images = Dataset::open("demo/calibration", &model.inputs(), model.stored_preprocess()?.as_ref())?;
    let quantize = |refinements: &[&str]| {
        let refinements = refinements.iter().map(|name| name.to_string()).collect();
        let config = Config { samples: 32, refine_samples: 32, refinements, ..Config::default() };
        model.quantize(Quantize::default().refinement("centre", centre).config(config).data(&images))
    };
    let (usual, centred) = (quantize(&["bias-correction"])?, quantize(&["bias-correction", "centre"])?);

    let engine = lowbit::Compiled::host()?;
    let off_centre = |of: &lowbit::Quantized| -> Result<f64> {
        let cx = Refine { float: &of.float, engine: &engine, samples: &images, limit: 32 };
        let means = difference(&of.float, &of.integer, &cx)?;
        Ok(means.iter().map(|mean| mean.abs()).fold(0.0, f64::max))
    };
    let (before, after) = (off_centre(&usual)?, off_centre(&centred)?);
    println!("on average a score was up to {before:.5} from the float network's, now {after:.5}");
    assert!(after < before / 4.0, "{before} {after}");
    assert_eq!(centred.report.corrections.last().map(|c| c.refinement.as_str()), Some("centre"));
    Ok(())
}
