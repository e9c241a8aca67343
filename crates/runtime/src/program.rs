//! A compiled program: steps over one arena of bytes, with every address decided.
//!
//! A [`Place`] is an offset into the arena or into the constants. [`Program::new`] checks that every span a step touches
//! lies within its memory, which is what the pointers in [`exec`](crate::exec) rest on.

use crate::isa::Isa;
use crate::memory::{ALIGN, Aligned};
use lowbit_arithmetic::{Affine, Rescale};
use lowbit_ir::{Customs, Error, Op, Result, Type};
use lowbit_kernels::elementwise::{BinaryFn, MulParams, UnaryFn};
use lowbit_kernels::isa::Kernel;
use lowbit_kernels::requant::AddParams;
use lowbit_kernels::{SLACK, copy, dwconv, elementwise, gemm, pool, rowconv, rows};
use std::sync::Arc;

/// An address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Place {
    /// Bytes from the arena's start.
    Arena(usize),
    /// Bytes from the constants' start.
    Const(usize),
}

impl Place {
    /// The address `bytes` further on.
    pub fn plus(self, bytes: usize) -> Place {
        match self {
            Place::Arena(at) => Place::Arena(at + bytes),
            Place::Const(at) => Place::Const(at + bytes),
        }
    }
}

/// A value that crosses the program's edge.
#[derive(Debug, Clone, PartialEq)]
pub struct Port {
    /// The graph value's name.
    pub name: String,
    /// Its type, all dimensions known.
    pub ty: Type,
    /// Where it lies, row-major.
    pub place: Place,
}

/// A program for one machine kind, shared by any number of sessions.
#[derive(Debug)]
pub struct Program {
    /// The model's name.
    pub name: String,
    /// The row set it was compiled for.
    pub isa: Isa,
    /// What runs, in order.
    pub steps: Vec<Step>,
    /// Bytes of activations.
    pub arena: usize,
    /// Weights, biases, tables.
    pub consts: Aligned,
    /// In the graph's order.
    pub inputs: Vec<Port>,
    /// In the graph's order.
    pub outputs: Vec<Port>,
    /// Resolves the user's operators in reference steps.
    pub customs: Customs,
    /// Bytes of scratch a thread, from the steps.
    pub scratch: usize,
}

/// One kernel call over the whole of its output, divided into tiles that any thread may take.
#[derive(Debug)]
pub struct Step {
    /// The graph nodes that became this step, joined by ` + `.
    pub name: String,
    /// What it does.
    pub kind: Kind,
    /// Multiply-accumulates, for reports.
    pub macs: u64,
}

/// What a step does. Sizes count elements unless they say bytes.
#[derive(Debug)]
pub enum Kind {
    /// Integer convolution or dense layer.
    QGemm(QGemm),
    /// Convolution or dense layer of 16-bit activations.
    QGemm16(QGemm16),
    /// Float convolution or dense layer.
    FGemm(FGemm),
    /// Integer depthwise convolution.
    QDw(QDw),
    /// Integer convolution of few channels, row by row.
    QRow(QRow),
    /// Depthwise convolution of 16-bit activations.
    QDw16(QDw16),
    /// Float depthwise convolution.
    FDw(FDw),
    /// Float matrix product of two activations.
    FMatMul(FMatMul),
    /// Integer matrix product of two activations.
    QMatMul(QMatMul),
    /// Pooling.
    Pool(Pool),
    /// A function of one element.
    Map(Map),
    /// A function of two elements.
    Zip(Zip),
    /// i32 accumulators `[rows, channels]` to f32.
    DequantizeAcc {
        /// Kernel row.
        row: &'static Kernel<elementwise::DequantizeAccFn>,
        /// Accumulators.
        x: Place,
        /// f32 output.
        y: Place,
        /// Number of rows.
        rows: usize,
        /// Channels a row.
        channels: usize,
        /// One scale a channel, or one in all.
        scale: Place,
        /// 0 for one scale in all, 1 for one a channel.
        scale_step: usize,
    },
    /// Softmax over rows.
    Softmax {
        /// Kernel row.
        row: &'static Kernel<rows::SoftmaxFn>,
        /// Input.
        x: Place,
        /// Output.
        y: Place,
        /// Number of rows.
        rows: usize,
        /// Elements a row.
        n: usize,
    },
    /// Layer normalization over rows.
    LayerNorm {
        /// Kernel row.
        row: &'static Kernel<rows::LayerNormFn>,
        /// Input.
        x: Place,
        /// Output.
        y: Place,
        /// One factor an element of a row.
        scale: Place,
        /// One summand an element of a row.
        bias: Option<Place>,
        /// Added to the variance.
        epsilon: f32,
        /// Number of rows.
        rows: usize,
        /// Elements a row.
        n: usize,
    },
    /// A matrix transposition per batch: `y[b][c][r] = x[b][r][c]`.
    Transpose {
        /// Kernel row.
        row: &'static Kernel<copy::TransposeFn>,
        /// Input.
        x: Place,
        /// Output.
        y: Place,
        /// Bytes an element.
        elem: usize,
        /// Matrices.
        batch: usize,
        /// Rows of `x`.
        rows: usize,
        /// Columns of `x`.
        cols: usize,
    },
    /// `rows` runs of bytes, each with its stride: joins and splits.
    CopyRows {
        /// Input.
        x: Place,
        /// Output.
        y: Place,
        /// Number of runs.
        rows: usize,
        /// Bytes a run.
        bytes: usize,
        /// Bytes between runs of the input.
        x_stride: usize,
        /// Bytes between runs of the output.
        y_stride: usize,
    },
    /// General data movement by offset tables.
    Gather(Gather),
    /// A filled border around runs of the input.
    Pad(Pad),
    /// An operator without a kernel: the interpreter runs it. Allocates; the compiler lists these.
    Reference(Box<Reference>),
}

/// Where output pixels find their input pixels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// Images.
    pub batch: usize,
    /// Input height and width.
    pub input: [usize; 2],
    /// Output height and width.
    pub output: [usize; 2],
    /// Window height and width.
    pub kernel: [usize; 2],
    /// Steps.
    pub strides: [usize; 2],
    /// Padding before.
    pub pads: [usize; 2],
    /// Distances between taps.
    pub dilations: [usize; 2],
    /// Bytes between input pixels.
    pub pixel: usize,
}

impl Window {
    /// A window of one tap over `rows` pixels in a row.
    pub fn dense(rows: usize, pixel: usize) -> Self {
        Window {
            batch: 1,
            input: [1, rows],
            output: [1, rows],
            kernel: [1, 1],
            strides: [1, 1],
            pads: [0, 0],
            dilations: [1, 1],
            pixel,
        }
    }

    /// Whether output pixel `i` reads input pixel `i` and no other.
    pub fn is_pointwise(&self) -> bool {
        self.kernel == [1, 1] && self.strides == [1, 1] && self.pads == [0, 0] && self.input == self.output
    }

    /// The sizes of a convolution by rows of u8; its columns are neighbours.
    pub fn row_shape(&self, outputs: usize, depthwise: bool) -> rowconv::Shape {
        rowconv::Shape { kernel: self.kernel, stride: self.strides[1], channels: self.pixel, outputs, depthwise }
    }

    /// Kernel taps.
    pub fn taps(&self) -> usize {
        self.kernel[0] * self.kernel[1]
    }

    /// Output pixels of all images.
    pub fn pixels(&self) -> usize {
        self.batch * self.output[0] * self.output[1]
    }

    /// Bytes of all input pixels.
    pub fn input_bytes(&self) -> usize {
        self.batch * self.input[0] * self.input[1] * self.pixel
    }

    /// Image, row and column of an output pixel.
    pub fn position(&self, pixel: usize) -> [usize; 3] {
        let [h, w] = self.output;
        [pixel / (h * w), pixel / w % h, pixel % w]
    }

    /// The position of the next output pixel.
    #[inline]
    pub fn after(&self, [image, y, x]: [usize; 3]) -> [usize; 3] {
        match (x + 1 < self.output[1], y + 1 < self.output[0]) {
            (true, _) => [image, y, x + 1],
            (false, true) => [image, y + 1, 0],
            (false, false) => [image + 1, 0, 0],
        }
    }

    /// Byte offset of the input pixel under a tap; `None` in the padding.
    #[inline]
    pub fn offset(&self, [image, oy, ox]: [usize; 3], ky: usize, kx: usize) -> Option<usize> {
        let y =
            (oy * self.strides[0] + ky * self.dilations[0]).checked_sub(self.pads[0]).filter(|y| *y < self.input[0])?;
        let x =
            (ox * self.strides[1] + kx * self.dilations[1]).checked_sub(self.pads[1]).filter(|x| *x < self.input[1])?;
        Some(((image * self.input[0] + y) * self.input[1] + x) * self.pixel)
    }
}

/// Output channels that one panel of packed weights makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Panel {
    /// Bytes from an input pixel to the first channel that this panel's group reads.
    pub x_offset: usize,
    /// First output channel.
    pub channel: usize,
    /// Output channels.
    pub cols: usize,
}

/// How a matrix product is cut into tiles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    /// Blocks of `mr` pixels a tile.
    pub blocks: usize,
    /// Panels a tile.
    pub panels: usize,
}

/// Places of per-channel multipliers, see [`lowbit_kernels::requant::Scales`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scales {
    /// One f32 a channel.
    Float32(Place),
    /// Multiplier and shift a channel.
    Fixed(Place, Place),
    /// Shift a channel.
    Shift(Place),
}

/// What an integer multiply-accumulate stores.
#[derive(Debug, Clone, Copy)]
pub enum Epilogue {
    /// i32 accumulators.
    Accumulator,
    /// u8.
    Requant(Requant),
    /// u8, after adding another tensor of the output's layout.
    RequantAdd(Requant, Place, AddParams),
}

/// See [`lowbit_kernels::requant::Requant`].
#[derive(Debug, Clone, Copy)]
pub struct Requant {
    /// Multipliers.
    pub scales: Scales,
    /// Added after rounding.
    pub zero_point: i32,
    /// Lowest stored value.
    pub lo: i32,
    /// Highest stored value.
    pub hi: i32,
}

/// See [`lowbit_kernels::requant::FloatEpilogue`].
#[derive(Debug, Clone, Copy)]
pub struct FloatEpilogue {
    /// First clamp.
    pub clamp: (f32, f32),
    /// Another tensor of the output's layout, then the second clamp.
    pub add: Option<(Place, (f32, f32))>,
}

/// Convolution or dense layer: a kernel row with arguments `A`, and what is stored.
#[derive(Debug)]
pub struct Gemm<A: 'static, E> {
    /// Kernel row.
    pub row: &'static gemm::Gemm<A>,
    /// Input pixels.
    pub window: Window,
    /// Input.
    pub x: Place,
    /// A pixel of zero points.
    pub zero: Place,
    /// Input channels a tap.
    pub k: usize,
    /// Packed weights, panel after panel.
    pub w: Place,
    /// Bytes a panel.
    pub panel_bytes: usize,
    /// Panels; bias and multipliers have `nr` entries for each.
    pub panels: Vec<Panel>,
    /// Bias.
    pub bias: Place,
    /// Output.
    pub y: Place,
    /// Output channels, all groups.
    pub channels: usize,
    /// What is stored.
    pub epilogue: E,
    /// Tiles.
    pub cut: Cut,
}

/// Depthwise convolution: a kernel row with arguments `A` and weights `W`, and what is stored; a tile is one output row.
#[derive(Debug)]
pub struct Dw<A: 'static, W: 'static, E> {
    /// Kernel row.
    pub row: &'static dwconv::Dw<A, W>,
    /// Input pixels.
    pub window: Window,
    /// Input.
    pub x: Place,
    /// A pixel of zero points.
    pub zero: Place,
    /// Channels.
    pub channels: usize,
    /// Packed weights.
    pub w: Place,
    /// Bytes of packed weights.
    pub w_bytes: usize,
    /// Bias.
    pub bias: Place,
    /// Output.
    pub y: Place,
    /// What is stored.
    pub epilogue: E,
}

/// Of u8 activations.
pub type QGemm = Gemm<gemm::QArgs, Epilogue>;
/// Of f32.
pub type FGemm = Gemm<gemm::FArgs, FloatEpilogue>;
/// Of u16 activations, accumulated in 64 bits.
pub type QGemm16 = Gemm<gemm::Q16Args, Epilogue16>;
/// Of u8 activations.
pub type QDw = Dw<dwconv::QArgs, i8, Epilogue>;
/// Of f32.
pub type FDw = Dw<dwconv::FArgs, f32, FloatEpilogue>;
/// Of u16 activations, accumulated in 64 bits.
pub type QDw16 = Dw<dwconv::Q16Args, i8, Epilogue16>;

/// What a layer of 16-bit activations stores: u16, or the i64 accumulators for want of a change of scale.
pub type Epilogue16 = Option<Requant16>;

/// Rescaling of 64-bit accumulators to u16.
#[derive(Debug, Clone)]
pub struct Requant16 {
    /// One change of scale a channel, padded as the bias is.
    pub scales: Vec<Rescale>,
    /// Added after rounding.
    pub zero_point: i32,
    /// Lowest stored value.
    pub lo: i32,
    /// Highest stored value.
    pub hi: i32,
}

/// Integer convolution whose input rows are copied with their padding; a tile is `rows` output rows.
#[derive(Debug)]
pub struct QRow {
    /// Kernel row.
    pub row: &'static rowconv::QRow,
    /// Input pixels, neighbouring columns of which are neighbours in the window too.
    pub window: Window,
    /// Input.
    pub x: Place,
    /// What the padding holds: the input's zero point.
    pub fill: u8,
    /// Output channels.
    pub channels: usize,
    /// Whether every channel has its own kernel.
    pub depthwise: bool,
    /// Packed weights.
    pub w: Place,
    /// Bytes of packed weights.
    pub w_bytes: usize,
    /// Bias.
    pub bias: Place,
    /// Output.
    pub y: Place,
    /// What is stored.
    pub requant: Requant,
    /// Output rows a tile.
    pub rows: usize,
}

impl QRow {
    /// The sizes that its kernel asks for.
    pub fn shape(&self) -> rowconv::Shape {
        self.window.row_shape(self.channels, self.depthwise)
    }

    /// Bytes of scratch before the copied rows: one pointer a kernel row.
    pub fn pointers_bytes(&self) -> usize {
        (self.window.kernel[0] * size_of::<*const u8>()).next_multiple_of(ALIGN)
    }

    /// Input rows that this many output rows read.
    pub fn lines(&self, rows: usize) -> usize {
        let w = &self.window;
        rows.saturating_sub(1) * w.strides[0] + w.kernel[0].saturating_sub(1) * w.dilations[0] + 1
    }

    /// Bytes from one copied input row to the next.
    pub fn line_bytes(&self) -> usize {
        (self.shape().row_bytes(self.window.output[1]) + SLACK).next_multiple_of(ALIGN)
    }
}

/// Float product of two activations, `a [batch, m, k]` by `b [batch, k, n]` or `[batch, n, k]`; a tile is one panel.
#[derive(Debug)]
pub struct FMatMul {
    /// Kernel row.
    pub row: &'static gemm::FGemm,
    /// Left operand.
    pub a: Place,
    /// Right operand.
    pub b: Place,
    /// Whether `b` is [n, k].
    pub trans_b: bool,
    /// For each output matrix, which matrices of `a` and `b` it takes (broadcasting).
    pub batch: Vec<(usize, usize)>,
    /// Rows.
    pub m: usize,
    /// Inner size.
    pub k: usize,
    /// Columns.
    pub n: usize,
    /// Bias, one a column, padded to panels.
    pub bias: Place,
    /// Output.
    pub y: Place,
    /// Clamp.
    pub clamp: (f32, f32),
}

/// Integer product of two activations of u8, shaped as in [`FMatMul`]; a tile is one panel, which it packs itself.
#[derive(Debug)]
pub struct QMatMul {
    /// Kernel row.
    pub row: &'static gemm::QGemm,
    /// Brings `b` into the order of a panel.
    pub transpose: &'static Kernel<copy::TransposeFn>,
    /// Left operand.
    pub a: Place,
    /// A row of `a` that holds its zero point only; none if that is 0.
    pub zero: Option<Place>,
    /// Right operand.
    pub b: Place,
    /// Zero point of `b`.
    pub b_zero: u8,
    /// Whether `b` is [n, k].
    pub trans_b: bool,
    /// For each output matrix, which matrices of `a` and `b` it takes (broadcasting).
    pub batch: Vec<(usize, usize)>,
    /// Rows.
    pub m: usize,
    /// Inner size.
    pub k: usize,
    /// Columns.
    pub n: usize,
    /// Bias, one a column, padded to panels.
    pub bias: Place,
    /// Output.
    pub y: Place,
    /// What is stored.
    pub epilogue: Epilogue,
}

impl QMatMul {
    /// Bytes of the pointers that scratch begins with.
    pub fn pointers_bytes(&self) -> usize {
        (gemm::DIGITS * self.row.mr * size_of::<*const u8>()).next_multiple_of(ALIGN)
    }

    /// Bytes of one column of a panel.
    pub fn column_bytes(&self) -> usize {
        self.k.next_multiple_of(self.row.group)
    }

    /// Bytes of one tap of a panel.
    pub fn panel_bytes(&self) -> usize {
        self.row.packed(self.row.nr, 1, self.k)
    }

    /// Bytes of one number a column of a panel.
    pub fn bias_bytes(&self) -> usize {
        (self.row.nr * 4).next_multiple_of(ALIGN)
    }
}

/// Pooling; a tile is one output row.
#[derive(Debug)]
pub struct Pool {
    /// Which pooling on which type.
    pub kind: PoolKind,
    /// Input pixels.
    pub window: Window,
    /// Channels.
    pub channels: usize,
    /// Input.
    pub x: Place,
    /// Output.
    pub y: Place,
}

/// A pooling kernel with its parameters.
#[derive(Debug)]
pub enum PoolKind {
    /// Largest u8.
    MaxU8(&'static Kernel<pool::MaxFn<u8>>),
    /// Largest u16.
    MaxU16(&'static Kernel<pool::MaxFn<u16>>),
    /// Largest f32.
    MaxF32(&'static Kernel<pool::MaxFn<f32>>),
    /// Mean of u8; parameters by the number that a sum is divided by.
    AvgU8(&'static Kernel<pool::AvgFn<u8>>, Averages),
    /// Mean of u16.
    AvgU16(&'static Kernel<pool::AvgFn<u16>>, Averages),
    /// Mean of f32; whether padding counts.
    AvgF32(&'static Kernel<pool::FloatAvgFn>, bool),
}

/// Integer averages: `by_count[n]` divides by n (index 0 is not used).
#[derive(Debug)]
pub struct Averages {
    /// Parameters.
    pub by_count: Vec<pool::QAverage>,
    /// Whether padding counts.
    pub include_pad: bool,
}

/// A function of one element over `n` contiguous elements.
#[derive(Debug)]
pub struct Map {
    /// Which function.
    pub f: MapFn,
    /// Input.
    pub x: Place,
    /// Output.
    pub y: Place,
    /// Elements.
    pub n: usize,
}

/// A function of one element, with its parameters.
#[derive(Debug)]
pub enum MapFn {
    /// f32 to u8.
    Quantize8(&'static Kernel<elementwise::QuantizeFn<u8>>, Affine),
    /// f32 to u16.
    Quantize16(&'static Kernel<elementwise::QuantizeFn<u16>>, Affine),
    /// u8 to f32.
    Dequantize8(&'static Kernel<elementwise::DequantizeFn<u8>>, Affine),
    /// u16 to f32.
    Dequantize16(&'static Kernel<elementwise::DequantizeFn<u16>>, Affine),
    /// u8 to u8 by a table of 256.
    Table8(&'static Kernel<elementwise::TableFn<u8>>, Place),
    /// u16 to u16 by a table of 65,536.
    Table16(&'static Kernel<elementwise::TableFn<u16>>, Place),
    /// f32 to f32.
    Unary(&'static Kernel<elementwise::UnaryRun>, UnaryFn),
    /// f32 limited to a range.
    Clamp(&'static Kernel<elementwise::ClampFn>, f32, f32),
}

impl MapFn {
    /// Bytes an input and an output element.
    pub fn sizes(&self) -> (usize, usize) {
        match self {
            MapFn::Quantize8(..) => (4, 1),
            MapFn::Quantize16(..) => (4, 2),
            MapFn::Dequantize8(..) => (1, 4),
            MapFn::Dequantize16(..) => (2, 4),
            MapFn::Table8(..) => (1, 1),
            MapFn::Table16(..) => (2, 2),
            MapFn::Unary(..) | MapFn::Clamp(..) => (4, 4),
        }
    }
}

/// A function of two elements over `rows` runs of `n`; a row stride of 0 repeats an operand's run.
#[derive(Debug)]
pub struct Zip {
    /// Which function.
    pub f: ZipFn,
    /// Left operand and the elements between its runs.
    pub a: (Place, usize),
    /// Right operand and the elements between its runs.
    pub b: (Place, usize),
    /// Output, contiguous.
    pub y: Place,
    /// Runs.
    pub rows: usize,
    /// Elements a run.
    pub n: usize,
}

/// A function of two elements, with its parameters.
#[derive(Debug)]
pub enum ZipFn {
    /// Sum of u8.
    Add8(&'static Kernel<elementwise::AddFn<u8>>, AddParams),
    /// Sum of u16.
    Add16(&'static Kernel<elementwise::AddFn<u16>>, AddParams),
    /// Product of u8.
    Mul8(&'static Kernel<elementwise::MulFn<u8>>, MulParams),
    /// Product of u16.
    Mul16(&'static Kernel<elementwise::MulFn<u16>>, MulParams),
    /// f32; steps of 0 repeat one element of an operand along the run.
    Binary(&'static Kernel<elementwise::BinaryRun>, BinaryFn, usize, usize),
}

impl ZipFn {
    /// Bytes an element.
    pub fn size(&self) -> usize {
        match self {
            ZipFn::Add8(..) | ZipFn::Mul8(..) => 1,
            ZipFn::Add16(..) | ZipFn::Mul16(..) => 2,
            ZipFn::Binary(..) => 4,
        }
    }

    /// Whether each operand advances along a run.
    pub fn steps(&self) -> (usize, usize) {
        match self {
            ZipFn::Add8(..) | ZipFn::Mul8(..) | ZipFn::Add16(..) | ZipFn::Mul16(..) => (1, 1),
            ZipFn::Binary(_, _, a, b) => (*a, *b),
        }
    }
}

/// General data movement: the output is contiguous over `dims`, the input offset of an element is the sum over the axes
/// of that axis' table at its coordinate; the innermost `run` bytes are copied together.
#[derive(Debug)]
pub struct Gather {
    /// Input.
    pub x: Place,
    /// Bytes of the whole input, for the check.
    pub x_bytes: usize,
    /// Output.
    pub y: Place,
    /// Byte offsets per outer axis.
    pub tables: Vec<Vec<usize>>,
    /// Bytes copied together.
    pub run: usize,
}

/// A border: output of `y_bytes` filled with a value, then runs of the input at their offsets.
#[derive(Debug)]
pub struct Pad {
    /// Input: runs one after another.
    pub x: Place,
    /// Output.
    pub y: Place,
    /// Output bytes.
    pub y_bytes: usize,
    /// Bytes an element: 1, 2, 4 or 8.
    pub elem: usize,
    /// One element of the border, in the low bytes.
    pub fill: u64,
    /// Output offset of each run.
    pub offsets: Vec<usize>,
    /// Bytes a run.
    pub run: usize,
}

/// An operator that the interpreter runs.
#[derive(Debug)]
pub struct Reference {
    /// The operator.
    pub op: Op,
    /// Operands, row-major, with types as the graph has them.
    pub inputs: Vec<Option<(Place, Type)>>,
    /// Results.
    pub outputs: Vec<(Place, Type)>,
}

/// A span of bytes that a step touches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Where it starts.
    pub place: Place,
    /// How long it is.
    pub bytes: usize,
    /// Whether it is written.
    pub written: bool,
}

impl Program {
    /// A program whose every span lies within its memory, or an error that names the step.
    #[allow(clippy::too_many_arguments, reason = "the parts of a program, each named at the one place that makes one")]
    pub fn new(
        name: String,
        isa: Isa,
        steps: Vec<Step>,
        arena: usize,
        consts: Aligned,
        inputs: Vec<Port>,
        outputs: Vec<Port>,
        customs: Customs,
    ) -> Result<Arc<Program>> {
        let scratch = steps.iter().map(|s| s.kind.scratch()).max().unwrap_or(0);
        let check = |span: Span, what: &str| {
            let (at, limit) = match span.place {
                Place::Arena(at) => (at, arena),
                Place::Const(at) => (at, consts.len()),
            };
            if at.checked_add(span.bytes).is_none_or(|end| end > limit) {
                return Err(Error::new(format!("{what}: expected a span within {limit} bytes, found {span:?}")));
            }
            match span {
                Span { place: Place::Const(_), written: true, .. } => {
                    Err(Error::new(format!("{what}: constants cannot be written")))
                }
                Span { .. } => Ok(()),
            }
        };
        for step in &steps {
            for span in step.kind.spans() {
                check(span, &step.name)?;
            }
            step.kind.check().map_err(|e| e.at_node(step.name.clone()))?;
        }
        for port in inputs.iter().chain(&outputs) {
            check(Span { place: port.place, bytes: port_bytes(port)?, written: false }, &port.name)?;
        }
        Ok(Arc::new(Program { name, isa, steps, arena, consts, inputs, outputs, customs, scratch }))
    }

    /// The steps that the interpreter runs, for want of a kernel.
    pub fn reference_steps(&self) -> impl Iterator<Item = &Step> {
        self.steps.iter().filter(|s| matches!(s.kind, Kind::Reference(_)))
    }

    /// Multiply-accumulates of one run.
    pub fn macs(&self) -> u64 {
        self.steps.iter().map(|s| s.macs).sum()
    }
}

/// Bytes of a port's value.
pub fn port_bytes(port: &Port) -> Result<usize> {
    type_bytes(&port.ty).map_err(|e| e.at_value(port.name.clone()))
}

/// Bytes of a value whose dimensions are all known.
pub fn type_bytes(ty: &Type) -> Result<usize> {
    ty.shape
        .count()
        .and_then(|n| ty.dtype.bytes(n))
        .ok_or_else(|| Error::new(format!("expected known dimensions of a size that fits, found {ty}")))
}

impl PoolKind {
    /// Bytes an element.
    pub fn size(&self) -> usize {
        match self {
            PoolKind::MaxU8(_) | PoolKind::AvgU8(..) => 1,
            PoolKind::MaxU16(_) | PoolKind::AvgU16(..) => 2,
            PoolKind::MaxF32(_) | PoolKind::AvgF32(..) => 4,
        }
    }
}
