//! What the integration tests share: random data, and the pipeline over the interpreter.
#![allow(dead_code)]

use lowbit_ir::interp::Interpreter;
use lowbit_ir::{Engine, Graph, Op, Result, Tensor, text};
use lowbit_quantize::{Options, Quantized, quantize};

/// A generator good enough for test data, the same everywhere.
pub struct Random(pub u64);

impl Random {
    /// Uniform in -1..1.
    pub fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }

    /// A tensor of these dimensions.
    pub fn tensor(&mut self, dims: &[usize], scale: f32) -> Tensor {
        let data = (0..dims.iter().product()).map(|_| self.next() * scale).collect();
        Tensor::from_f32(dims, data).unwrap()
    }

    /// Samples for a graph.
    pub fn samples(&mut self, g: &Graph, count: usize) -> Vec<Vec<Tensor>> {
        let one = |r: &mut Self| g.inputs.iter().map(|v| r.tensor(&g.ty(*v).shape.dims().unwrap(), 2.0)).collect();
        (0..count).map(|_| one(self)).collect()
    }
}

/// A graph from text, in which constants may say `= random`.
pub fn graph(text: &str) -> Graph {
    let mut random = Random(7);
    let line = |line: &str| match line.strip_suffix(" = random") {
        Some(head) => {
            let shape = head.rsplit('[').next().unwrap().trim_end_matches(']');
            let count: usize = shape.split('x').map(|d| d.parse::<usize>().unwrap()).product();
            let bytes = (0..count).flat_map(|_| (random.next() * 0.5).to_le_bytes());
            format!("{head} = hex \"{}\"\n", bytes.map(|b| format!("{b:02x}")).collect::<String>())
        }
        None => format!("{line}\n"),
    };
    text::parse(&text.lines().map(line).collect::<String>()).unwrap()
}

/// The whole pipeline over the interpreter.
pub fn run_pipeline(g: &Graph, options: &Options, samples: &Vec<Vec<Tensor>>) -> Result<Quantized> {
    let done = quantize(g.clone(), options, &Interpreter::default(), samples, &mut ())?;
    Ok(done.expect("nobody stopped it"))
}

/// The outputs of a graph for one sample.
pub fn outputs(g: &Graph, sample: &[Tensor]) -> Vec<Vec<f32>> {
    let mut run = Interpreter::default().load(g, &[]).unwrap();
    run.run(sample).unwrap().outputs.iter().map(|t| t.reals().unwrap().into_owned()).collect()
}

/// The names of the operators of a graph, in order.
pub fn ops(g: &Graph) -> Vec<&'static str> {
    g.nodes().map(|(_, n)| n.op.name()).collect()
}

/// Whether all is integers between the first Quantize and the last Dequantize.
pub fn only_integers(g: &Graph) -> bool {
    g.nodes().all(|(_, n)| {
        matches!(n.op, Op::Quantize { .. } | Op::Dequantize) || n.outputs.iter().all(|v| !g.ty(*v).dtype.is_float())
    })
}
