//! The operator suite: graphs with inputs, as values, for every executor to run.
//!
//! One room a family of operators; here is what they share.

mod conv;
mod elementwise;
pub mod fused;
pub mod links;
mod lookup;
mod movement;
mod pools;
mod products;
mod rescales;
mod sampled;
mod sundry;

pub use sundry::customs;

use lowbit_arithmetic::Method;
use lowbit_ir::infer::{apply, apply_as};
use lowbit_ir::op::{Conv, Pool, Rescale};
use lowbit_ir::{DType, Graph, Op, Quant, Tensor, Type, ValueId};

/// Every case.
pub fn cases() -> Vec<Case> {
    let mut out = Vec::new();
    conv::integer_convs(&mut out);
    conv::channel_activations(&mut out);
    conv::wide_convs(&mut out);
    conv::mixed_widths(&mut out);
    conv::float_convs(&mut out);
    products::dense(&mut out);
    products::products(&mut out);
    products::dequantized_weights(&mut out);
    pools::pools(&mut out);
    elementwise::elementwise(&mut out);
    movement::movement(&mut out);
    sundry::sundry(&mut out);
    sundry::recurrent(&mut out);
    movement::resizes(&mut out);
    movement::turns(&mut out);
    rescales::requantizes(&mut out);
    movement::many_axes(&mut out);
    pools::large_pools(&mut out);
    pools::reductions(&mut out);
    links::links(&mut out);
    movement::more_axes(&mut out);
    rescales::roundings(&mut out);
    conv::weights(&mut out);
    conv::joined(&mut out);
    fused::fused(&mut out);
    lookup::lookups(&mut out);
    sampled::resizes(&mut out);
    sampled::grids(&mut out);
    sampled::boxes(&mut out);
    out
}

/// One graph with one set of inputs.
pub struct Case {
    pub name: String,
    pub graph: Graph,
    pub inputs: Vec<Tensor>,
}

/// A small counter-based generator: the suite is the same everywhere.
pub struct Random(pub u64);

impl Random {
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(1);
        lowbit_arithmetic::rounding::hash(0x10b_1735, self.0)
    }

    pub fn below(&mut self, n: usize) -> usize {
        (self.bits() % n.max(1) as u64) as usize
    }

    pub fn range(&mut self, lo: usize, hi: usize) -> usize {
        lo + self.below(hi - lo + 1)
    }

    pub fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    pub fn int(&mut self, lo: i64, hi: i64) -> i64 {
        match hi.wrapping_sub(lo).wrapping_add(1) as u64 {
            // All of i64.
            0 => self.bits() as i64,
            count => lo.wrapping_add((self.bits() % count) as i64),
        }
    }

    /// Roughly normal.
    pub fn float(&mut self) -> f32 {
        let u = |b: u64| (b >> 40) as f32 / (1u64 << 24) as f32;
        (0..4).map(|_| u(self.bits()) - 0.5).sum::<f32>() * 2.0
    }

    pub fn floats(&mut self, dims: &[usize]) -> Tensor {
        let data = (0..dims.iter().product()).map(|_| self.float()).collect();
        Tensor::from_f32(dims, data).unwrap()
    }

    pub fn ints(&mut self, ty: &Type) -> Tensor {
        let (lo, hi) = ty.quant.as_ref().map_or(ty.dtype.range().unwrap(), |q| (q.qmin, q.qmax));
        let data: Vec<i64> = (0..ty.shape.count().unwrap()).map(|_| self.int(lo, hi)).collect();
        Tensor::from_ints(ty.clone(), &data).unwrap()
    }

    /// An activation type of 8 bits.
    pub fn narrow(&mut self, dims: &[usize], signed: bool) -> Type {
        let scale = 0.01 + 0.05 * self.below(100) as f32 / 100.0;
        match signed {
            // Never negative, so that the compiler may store it as it is.
            true if self.below(4) == 0 => {
                Type::quantized(DType::I8, dims.to_vec(), Quant::per_tensor(scale, self.int(0, 20) as i32, 0, 127))
            }
            true => {
                Type::quantized(DType::I8, dims.to_vec(), Quant::per_tensor(scale, self.int(-20, 20) as i32, -128, 127))
            }
            false => {
                Type::quantized(DType::U8, dims.to_vec(), Quant::per_tensor(scale, self.int(0, 255) as i32, 0, 255))
            }
        }
    }
}

/// A graph under construction, with its inputs.
struct Build {
    g: Graph,
    inputs: Vec<Tensor>,
}

impl Build {
    fn new(name: &str) -> Self {
        Build { g: Graph::new(name), inputs: Vec::new() }
    }

    fn input(&mut self, t: Tensor) -> ValueId {
        let name = format!("x{}", self.inputs.len());
        let v = self.g.add_input(&name, t.ty().clone());
        self.inputs.push(t);
        v
    }

    fn op(&mut self, name: &str, op: Op, inputs: &[ValueId]) -> ValueId {
        let inputs: Vec<_> = inputs.iter().map(|v| Some(*v)).collect();
        apply(&mut self.g, name, op, &inputs).unwrap_or_else(|e| panic!("{name}: {e}"))
    }

    fn op_as(&mut self, name: &str, op: Op, inputs: &[ValueId], ty: Type) -> ValueId {
        let inputs: Vec<_> = inputs.iter().map(|v| Some(*v)).collect();
        apply_as(&mut self.g, name, op, &inputs, ty).unwrap_or_else(|e| panic!("{name}: {e}"))
    }

    fn case(mut self, outputs: &[ValueId]) -> Case {
        self.g.outputs = outputs.to_vec();
        Case { name: self.g.name.clone(), graph: self.g, inputs: self.inputs }
    }
}

/// Random convolution geometry that gives at least one output pixel.
fn geometry(r: &mut Random) -> (Conv, [usize; 2], [usize; 2]) {
    let kernel = [r.range(1, 4), r.range(1, 4)];
    let dilations = [r.range(1, 2), r.range(1, 2)];
    let pads: Vec<usize> = (0..4).map(|_| r.below(3)).collect();
    let reach = |i: usize| (kernel[i] - 1) * dilations[i] + 1;
    let size = |r: &mut Random, i: usize| reach(i).saturating_sub(pads[i] + pads[i + 2]).max(1) + r.below(9);
    let input = [size(r, 0), size(r, 1)];
    let conv = Conv { strides: vec![r.range(1, 3), r.range(1, 2)], pads, dilations: dilations.to_vec(), group: 1 };
    (conv, kernel, input)
}

fn rescale(method: Method) -> Rescale {
    Rescale { method, rounding: method.default_rounding() }
}

const METHODS: [Method; 3] = [Method::Float32, Method::Fixed, Method::Shift];

/// Powers of two for shifts, anything for the others.
fn scale_for(method: Method, r: &mut Random) -> f32 {
    match method {
        Method::Shift => (2.0f32).powi(-(r.range(3, 7) as i32)),
        Method::Float32 | Method::Fixed => 0.004 + r.below(1000) as f32 * 1e-4,
    }
}

fn one_pixel() -> Pool {
    Pool {
        kernel: vec![1, 1],
        strides: vec![1, 1],
        pads: vec![0; 4],
        dilations: vec![1, 1],
        ceil_mode: false,
        count_include_pad: false,
    }
}

/// A float value in the layout of the file, and one that lies channels last because a pool made it.
fn both_layouts(b: &mut Build, x: Tensor) -> [ValueId; 2] {
    let x = b.input(x);
    [x, b.op("pooled", Op::MaxPool(one_pixel()), &[x])]
}

/// Names of cases whose every node has a kernel begin so.
pub const KERNELS: &str = "kernels.";
