//! Convolution of neighbouring output lines, whose input lines lie in memory with their padding.
//!
//! A pointer for each pixel and tap costs time, and where channels are few more than the tap's products. Here a line is one
//! run of bytes: neighbouring pixels and neighbouring lines are at known distances.
//!
//! ## Contract
//! One call computes `lines` output lines of `pixels` pixels each, both at least 1, and of these the channels
//! `first..last`: all of them, or what [`QRow::panel`] allows. `x` leads to the first input line, padding included, and
//! the next is `line` bytes further: tap (ky, kx) of pixel `p` of output line `l` has its channels from byte
//! `(l * strides[0] + ky) * line + (p * strides[1] + kx) * channels` on. Each line is readable `SLACK` bytes beyond the
//! last tap of its last pixel. Output pixels follow each other `y_stride` bytes apart, also from line to line; of each
//! nothing but the channels `first..last` may be written, as the rest may be others' who write at the same time.
//!
//! Weights are packed by this table's row's `pack` function into as many bytes as its `packed` says; bias and multipliers
//! have one entry an output channel, padded to [`padded`]. Sums are modulo 2^32, as in [`gemm`](crate::gemm), and are
//! always requantized; where the shape has a residual, another tensor is added, which is readable in whole registers.
//! Inputs, lines and weights that start at multiples of 64 bytes are read fastest.

#[cfg(target_arch = "x86_64")]
mod amx;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx2_winograd;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "x86_64")]
mod avx512_tile;
#[cfg(target_arch = "x86_64")]
mod avxvnni;
mod scalar;

use crate::requant::{Requant, Residual};
use crate::{Features, Row};

/// u8 activations by i8 weights, 32-bit accumulators.
pub static Q8: &[QRow] = &[
    QRow {
        name: "u8i8_rowconv__scalar",
        needs: Features::NONE,
        suits: |_| false,
        least: 1,
        panel: usize::MAX,
        pace: Pace::WIDE,
        scratch: none,
        packed: scalar::packed,
        pack: scalar::pack,
        run: scalar::q8,
    },
    #[cfg(target_arch = "x86_64")]
    QRow {
        name: "u8i8_rowconv_6x16__avx2",
        needs: crate::x86::AVX2,
        suits: avx2::suits,
        least: 1,
        panel: crate::gemm::avx2::NR,
        pace: avx2::PACE,
        scratch: avx2::scratch,
        packed: avx2::packed,
        pack: avx2::pack,
        run: avx2::run,
    },
    #[cfg(target_arch = "x86_64")]
    QRow {
        name: "u8i8_winograd_6x16__avx2",
        needs: crate::x86::AVX2,
        suits: avx2_winograd::suits,
        least: 1,
        panel: crate::gemm::avx2::NR,
        pace: avx2_winograd::PACE,
        scratch: avx2_winograd::scratch,
        packed: avx2_winograd::packed,
        pack: avx2_winograd::pack,
        run: avx2_winograd::run,
    },
    #[cfg(target_arch = "x86_64")]
    QRow {
        name: "u8i8_rowconv_6x16__avxvnni",
        needs: crate::x86::AVX_VNNI,
        suits: avxvnni::suits,
        least: 1,
        panel: usize::MAX,
        pace: Pace::WIDE,
        scratch: none,
        packed: avxvnni::packed,
        pack: avxvnni::pack,
        run: avxvnni::run,
    },
    #[cfg(target_arch = "x86_64")]
    QRow {
        name: "u8i8_rowdwconv_64__avx512vnni",
        needs: crate::x86::AVX512_VNNI,
        suits: avx512::depthwise_suits,
        least: 1,
        panel: usize::MAX,
        pace: Pace::WIDE,
        scratch: none,
        packed: avx512::depthwise_packed,
        pack: avx512::depthwise_pack,
        run: avx512::depthwise,
    },
    #[cfg(target_arch = "x86_64")]
    QRow {
        name: "u8i8_rowconv_6x64__avx512vnni",
        needs: crate::x86::AVX512_VNNI,
        suits: avx512_tile::suits::<1>,
        least: 8,
        panel: avx512_tile::panel::<1>(),
        pace: Pace::WIDE,
        scratch: none,
        packed: avx512_tile::packed::<1>,
        pack: avx512_tile::pack::<1>,
        run: avx512_tile::run::<1>,
    },
    #[cfg(target_arch = "x86_64")]
    QRow {
        name: "u8i8_rowconv_12x32__avx512vnni",
        needs: crate::x86::AVX512_VNNI,
        suits: avx512_tile::suits::<2>,
        least: 8,
        panel: avx512_tile::panel::<2>(),
        pace: Pace::WIDE,
        scratch: none,
        packed: avx512_tile::packed::<2>,
        pack: avx512_tile::pack::<2>,
        run: avx512_tile::run::<2>,
    },
    #[cfg(target_arch = "x86_64")]
    QRow {
        name: "u8i8_rowconv_24x16__avx512vnni",
        needs: crate::x86::AVX512_VNNI,
        suits: avx512_tile::suits::<4>,
        least: 16,
        panel: avx512_tile::panel::<4>(),
        pace: Pace::WIDE,
        scratch: none,
        packed: avx512_tile::packed::<4>,
        pack: avx512_tile::pack::<4>,
        run: avx512_tile::run::<4>,
    },
    #[cfg(target_arch = "x86_64")]
    QRow {
        name: "u8i8_rowconv_16x16__avx512vbmi",
        needs: crate::x86::AVX512_VNNI.and(Features::AVX512_VBMI),
        suits: avx512::full_suits,
        least: 1,
        panel: usize::MAX,
        pace: Pace::WIDE,
        scratch: none,
        packed: avx512::full_packed,
        pack: avx512::full_pack,
        run: avx512::full,
    },
    #[cfg(target_arch = "x86_64")]
    QRow {
        name: "u8i8_rowconv_32x32__amx",
        needs: crate::x86::AMX,
        suits: amx::suits,
        least: 4,
        panel: amx::COLS,
        pace: Pace::WIDE,
        scratch: amx::scratch,
        packed: amx::packed,
        pack: amx::pack,
        run: amx::run,
    },
];

/// [`QRow::scratch`] of a row that needs none.
fn none(_: &Shape, _: usize, _: usize) -> usize {
    0
}

/// The sizes of a layer, and what follows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Kernel height and width.
    pub kernel: [usize; 2],
    /// Input lines from output line to output line, and input pixels from output pixel to output pixel.
    pub strides: [usize; 2],
    /// Input channels.
    pub channels: usize,
    /// Output channels.
    pub outputs: usize,
    /// Whether output channel `i` reads input channel `i` alone; all of them otherwise.
    pub depthwise: bool,
    /// Whether another tensor is added to what is requantized.
    pub residual: bool,
}

impl Shape {
    /// Input channels that an output channel reads.
    pub const fn k(&self) -> usize {
        if self.depthwise { 1 } else { self.channels }
    }

    /// Kernel taps.
    pub const fn taps(&self) -> usize {
        self.kernel[0] * self.kernel[1]
    }

    /// Bytes from what an output pixel reads to what its neighbour reads.
    pub const fn step(&self) -> usize {
        self.strides[1] * self.channels
    }

    /// Bytes of channels under a kernel row.
    pub const fn run(&self) -> usize {
        self.kernel[1] * self.channels
    }

    /// Bytes of an input line that `pixels` output pixels read.
    pub const fn row_bytes(&self, pixels: usize) -> usize {
        let columns = pixels.saturating_sub(1).saturating_mul(self.strides[1]).saturating_add(self.kernel[1]);
        columns.saturating_mul(self.channels)
    }
}

/// Output lines of one call.
#[derive(Debug, Clone, Copy)]
pub struct QArgs {
    /// The layer.
    pub shape: Shape,
    /// Output lines.
    pub lines: usize,
    /// Output pixels a line.
    pub pixels: usize,
    /// The first output channel that is computed.
    pub first: usize,
    /// The output channel before which to stop.
    pub last: usize,
    /// The first input line.
    pub x: *const u8,
    /// Bytes from input line to input line.
    pub line: usize,
    /// Packed weights.
    pub w: *const i8,
    /// Bias (with the input offset folded in), one an output channel.
    pub bias: *const i32,
    /// What is added to every weight of an output channel, padded as the bias is; null where nothing is. As in
    /// [`gemm::Args`](crate::gemm::Args).
    pub offset: *const i32,
    /// The output's first element, of channel 0 whatever `first` is.
    pub y: *mut u8,
    /// Elements from output pixel to output pixel: the channels, or more where the pixels are those of a joined value;
    /// the channels for a depthwise layer.
    pub y_stride: usize,
    /// From accumulators to what is stored, or to what is added.
    pub requant: Requant,
    /// The other tensor, where the shape says that there is one; its rows are the output's pixels.
    pub residual: Option<Residual>,
    /// Room for [`QRow::scratch`] bytes, which starts at a multiple of 64.
    pub scratch: *mut u8,
}

impl QArgs {
    /// The input line that kernel row `ky` of an output line reads.
    ///
    /// # Safety
    /// `line` is one of the call's and `ky` one of the kernel's.
    #[inline]
    pub unsafe fn row(&self, line: usize, ky: usize) -> *const u8 {
        // SAFETY: the caller's promise: the line is there.
        unsafe { self.x.add((line * self.shape.strides[0] + ky) * self.line) }
    }
}

/// What a row does in a cycle, about.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// Multiply-accumulates.
    pub macs: f64,
    /// Output lines, and pixels of them, that are computed together: fewer take the time of all.
    pub block: [usize; 2],
    /// Bytes of input lines that a call makes ready, once for all of its channels.
    pub input: f64,
    /// Bytes of weights that a call fetches, or makes ready.
    pub weights: f64,
}

impl Pace {
    /// Of rows that read lines where they are, and weights as they are.
    const WIDE: Pace = Pace { macs: 256.0, block: [1, 1], input: f64::INFINITY, weights: 32.0 };

    /// Pixels that so many lines of so many pixels take the time of.
    pub fn whole(&self, lines: usize, pixels: usize) -> usize {
        let [down, all] = self.block.map(|n| n.max(1));
        let square = |n: usize| n.checked_next_multiple_of(down).unwrap_or(n);
        square(lines).saturating_mul(square(pixels)).checked_next_multiple_of(all).unwrap_or(usize::MAX)
    }
}

/// A row of the table.
#[derive(Debug, Clone, Copy)]
pub struct QRow {
    /// Name.
    pub name: &'static str,
    /// CPU needs.
    pub needs: Features,
    /// Whether it computes layers of this shape faster than the rows of `gemm` and `dwconv` of the same instruction set
    /// do. A row need compute no others, except the scalar one, which is the reference of them all.
    pub suits: fn(&Shape) -> bool,
    /// Output pixels of a line from which on that holds; fewer are computed all the same.
    pub least: usize,
    /// A call's channels may start at, and end before, multiples of this.
    pub panel: usize,
    /// How fast it is, by which tiles are cut.
    pub pace: Pace,
    /// Bytes that a call for so many output lines of so many pixels needs for itself: no fewer than for fewer lines of as
    /// many pixels, and for fewer pixels of a single line.
    pub scratch: fn(&Shape, usize, usize) -> usize,
    /// Bytes that packed weights take.
    pub packed: fn(&Shape) -> usize,
    /// Packs weights given as `w[(output * taps + tap) * k + i]` into a slice of `packed` bytes.
    pub pack: fn(&Shape, &[i8], &mut [i8]),
    /// Computes.
    ///
    /// # Safety
    /// The CPU has `needs`, the row suits the shape, and all pointers are valid as the contract says.
    pub run: unsafe fn(&QArgs),
}

impl QRow {
    /// Whether this row computes layers of this shape, of so many output pixels a line, faster than a row of `gemm` or
    /// `dwconv` that needs `other` of the CPU.
    pub fn beats(&self, other: Features, shape: &Shape, width: usize) -> bool {
        self.needs.has(other) && self.least <= width && (self.suits)(shape)
    }
}

impl Row for QRow {
    fn name(&self) -> &'static str {
        self.name
    }
    fn needs(&self) -> Features {
        self.needs
    }
}

/// Output channels that bias and multipliers are padded to.
pub const fn padded(outputs: usize) -> usize {
    outputs.next_multiple_of(64)
}
