//! An observer of your own: from what was seen of a value to the range that its integers cover.
//!
//! Run it with `cargo run --release --example 02_observer`.

use lowbit::data::Dataset;
use lowbit::ir::Request;
use lowbit::quantization::observe::{Range, Seen};
use lowbit::{Config, Model, Observer, Quantize, Result, Spec};

/// A few standard deviations on either side of zero, but no more than was seen.
struct Deviations(f64);

impl Observer for Deviations {
    fn name(&self) -> &str {
        "deviations"
    }

    fn range(&self, seen: &Seen, _: &Request) -> Result<Range> {
        let bins = || seen.histogram.bins();
        let count: f64 = bins().map(|(_, n)| n as f64).sum();
        let squares: f64 = bins().map(|(x, n)| x * x * n as f64).sum();
        let reach = (self.0 * (squares / count.max(1.0)).sqrt()) as f32;
        let (low, high) = seen.histogram.range();
        Ok(Range { low: low.max(-reach), high: high.min(reach) })
    }
}

/// The example, which checks what it says.
pub fn main() -> Result<()> {
    let model = Model::load("demo/model.onnx")?;
    let images = Dataset::open("demo/calibration", &model.inputs(), model.stored_preprocess()?.as_ref())?;
    let config = Config { samples: 32, input: Spec::default().observer("deviations"), ..Config::default() };
    let how = Quantize::default().observer(Deviations(6.0)).config(config).data(&images);
    let quantized = model.quantize(how)?;

    let observed = quantized.report.values.iter().filter(|v| v.observer == "deviations");
    for value in observed.clone().take(4) {
        println!("{}: seen {:?}, scale {}", value.value, value.seen, value.scale);
    }
    assert!(observed.count() > 10);
    Ok(())
}
