//! Multiply-accumulate layers as steps hold them: their panels of packed weights, what follows on the accumulator.

use super::{Place, Window, product};
use crate::memory::ALIGN;
use lowbit_arithmetic::Rounding;
use lowbit_kernels::requant::AddParams;
use lowbit_kernels::{Kernel, SLACK, copy, dwconv, gemm, rowconv};

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
    /// Any but the one by chance.
    pub rounding: Rounding,
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

/// What is added to every weight of a channel of a matrix product.
#[derive(Debug, Clone, Copy)]
pub struct Offset {
    /// One a channel, laid out as the bias.
    pub place: Place,
    /// Sums up what rows read, which it meets.
    pub sums: &'static Kernel<gemm::SumsFn>,
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
    /// What is added to every weight of a channel; of [`QGemm`] only.
    pub offset: Option<Offset>,
    /// What splits activations into planes of bytes, for a kernel row that wants them so; of [`QGemm16`] only.
    pub split: Option<&'static Kernel<gemm::SplitFn>>,
    /// Output.
    pub y: Place,
    /// Bytes from output pixel to output pixel: the channels, or more where the pixels are those of a joined value.
    pub y_stride: usize,
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
    /// What is added to every weight of a channel, laid out as the bias; of [`QDw`] only.
    pub offset: Option<Place>,
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

/// Of u16 activations and i16 weights, accumulated in 64 bits.
pub type QGemm16W16 = Gemm<gemm::Q16W16Args, Epilogue16>;
/// Of u8 activations and i16 weights, accumulated in 64 bits.
pub type QGemm8W16 = Gemm<gemm::Q8W16Args, Epilogue16>;
/// Of u16 activations and i16 weights, accumulated in 64 bits.
pub type QDw16W16 = Dw<dwconv::Q16W16Args, i16, Epilogue16>;
/// Of u8 activations and i16 weights, accumulated in 64 bits.
pub type QDw8W16 = Dw<dwconv::Q8W16Args, i16, Epilogue16>;

/// What a layer of 16-bit activations or weights stores: u16, or the i64 accumulators for want of a change of scale.
pub type Epilogue16 = Option<Requant16>;

/// Rescaling of 64-bit accumulators to u16, see [`lowbit_kernels::gemm::Epilogue16`].
#[derive(Debug, Clone, Copy)]
pub struct Requant16 {
    /// From accumulators to what is stored.
    pub how: Requant,
    /// Whether the accumulators are proven to fit 32 bits.
    pub narrow: bool,
}

/// Integer convolution of neighbouring lines. Where there is padding, the input lines of a tile are copied with it.
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
    /// What is added to every weight of an output channel, laid out as the bias.
    pub offset: Option<Place>,
    /// Output.
    pub y: Place,
    /// Bytes from output pixel to output pixel: the channels, or more where the pixels are those of a joined value.
    pub y_stride: usize,
    /// From accumulators to what is stored, or to what is added.
    pub requant: Requant,
    /// Another tensor of the output's layout that is added.
    pub residual: Option<(Place, AddParams)>,
    /// What a tile has.
    pub tile: LineTile,
}

/// A tile of a convolution by lines, smaller at the ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LineTile {
    /// Output lines.
    pub lines: usize,
    /// Pixels of each: all of a line where there are more lines, or input lines are copied.
    pub pixels: usize,
    /// Channels.
    pub channels: usize,
}

impl QRow {
    /// The sizes that its kernel asks for.
    pub fn shape(&self) -> rowconv::Shape {
        self.window.row_shape(self.channels, self.depthwise, self.residual.is_some())
    }

    /// Input lines that this many output lines read.
    pub fn lines(&self, lines: usize) -> usize {
        product([lines.saturating_sub(1), self.window.strides[0]]).saturating_add(self.window.kernel[0])
    }

    /// Bytes from one input line to the next.
    pub fn line_bytes(&self) -> usize {
        match self.window.is_within() {
            true => product([self.window.input[1], self.window.pixel]),
            false => self.shape().row_bytes(self.window.output[1]).next_multiple_of(ALIGN),
        }
    }

    /// Bytes of the copied lines of a tile, with the slack behind them.
    pub fn copied_bytes(&self) -> usize {
        if self.window.is_within() {
            return 0;
        }
        let lines = product([self.lines(self.tile.lines), self.line_bytes()]);
        lines.saturating_add(SLACK.next_multiple_of(ALIGN))
    }

    /// Tiles along the lines of an image, the pixels of a line and the channels.
    pub fn tiles(&self) -> [usize; 3] {
        let [height, width] = self.window.output;
        let cut = |n: usize, by: usize| n.div_ceil(by.max(1)).max(1);
        [cut(height, self.tile.lines), cut(width, self.tile.pixels), cut(self.channels, self.tile.channels)]
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
    /// Sums up rows of `a`.
    pub sums: &'static Kernel<gemm::SumsFn>,
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
    /// Bytes of one number a row of a tile.
    pub fn sums_bytes(&self) -> usize {
        self.row.mr.next_multiple_of(4) * 4
    }

    /// Bytes of the pointers that scratch begins with.
    pub fn pointers_bytes(&self) -> usize {
        (self.row.mr * size_of::<*const u8>()).next_multiple_of(ALIGN)
    }

    /// Bytes of one column of a panel.
    pub fn column_bytes(&self) -> usize {
        self.k.next_multiple_of(self.row.group)
    }

    /// Bytes of a panel.
    pub fn panel_bytes(&self) -> usize {
        self.row.packed(self.row.nr, 1, self.k)
    }

    /// Bytes of one number a column of a panel.
    pub fn bias_bytes(&self) -> usize {
        (self.row.nr * 4).next_multiple_of(ALIGN)
    }
}
