//! A graph pass of your own, at any phase of the workflow.
//!
//! This one looks for weights that are nearly zero and makes them zero before anything is quantized (magnitude pruning).
//! A pass tells whether it changed the graph; the graph is verified after it.
//!
//! Run it with `cargo run --release --example 03_pass`.

use lowbit::data::Dataset;
use lowbit::ir::{Graph, Tensor};
use lowbit::{Config, Model, Phase, Quantize, Result};

/// Weights below this share of the greatest one of their layer become zero.
const SHARE: f32 = 0.02;

fn prune(g: &mut Graph) -> Result<bool> {
    let mut changed = false;
    for id in g.order().to_vec() {
        let node = g.node(id);
        let weights = node.op.is_layer().then(|| node.input(1)).flatten();
        let Some((v, old)) = weights.and_then(|v| Some((v, g.constant(v)?.clone()))) else { continue };
        let data = old.floats()?;
        let least = SHARE * data.iter().fold(0.0f32, |m, w| m.max(w.abs()));
        let kept: Vec<f32> = data.iter().map(|w| if w.abs() < least { 0.0 } else { *w }).collect();
        if *data == kept[..] {
            continue;
        }
        let name = format!("{}.pruned", g.value(v).name);
        let pruned = g.add_const(&name, Tensor::from_f32(old.dims(), kept)?);
        g.set_input(id, 1, Some(pruned));
        changed = true;
    }
    Ok(changed)
}

/// The example, which checks what it says.
pub fn main() -> Result<()> {
    let model = Model::load("demo/model.onnx")?;
    let images = Dataset::open("demo/calibration", &model.inputs(), model.stored_preprocess()?.as_ref())?;
    let config = Config { samples: 32, ..Config::default() };
    let how = Quantize::default().pass(Phase::Prepared, "prune", prune).config(config).data(&images);
    let quantized = model.quantize(how)?;

    let zeros = |g: &Graph| -> Result<usize> {
        let weights = g.nodes().filter(|(_, n)| n.op.is_layer()).filter_map(|(_, n)| g.constant(n.input(1)?));
        weights.map(|w| Ok(w.ints()?.iter().filter(|w| **w == 0).count())).sum()
    };
    let plain =
        model.quantize(Quantize::default().config(Config { samples: 32, ..Config::default() }).data(&images))?;
    let (before, after) = (zeros(&plain.integer)?, zeros(&quantized.integer)?);
    println!("{before} of the integer weights were zero, now {after} are");
    assert!(after > before);
    Ok(())
}
