//! Matrix product and convolution: one tile of output pixels by output channels.
//!
//! ## Contract
//! A convolution is a matrix product whose left rows are gathered: for output pixel `row` and kernel tap `tap`, the
//! pointer `x[tap * mr + row]` leads to that tap's input channels (consecutive bytes), or to a row of zero points where
//! the tap lies in the padding. A dense layer has one tap. The caller fills all `mr` pointers of each tap; those beyond
//! `rows` may repeat any valid pointer. Tile: `1 <= rows <= mr`, `1 <= cols <= nr`; only `rows x cols` are stored.
//!
//! Weights are packed by the compiler ([`Gemm::pack`]) into panels of `nr` channels, `[tap][k / group][nr][group]`, channels
//! and `k` padded with zeros. A panel takes what [`Gemm::packed`] says of `nr` channels. Bias and multipliers have one entry
//! a channel, padded to whole panels. Input rows of integers are read in whole registers: what lies beyond the last
//! channel, up to `SLACK` bytes, meets zero weights or none. So is the other tensor of an epilogue. Inputs and weights
//! that start at multiples of 64 bytes are read fastest.
//!
//! A row of [`Q16`] may want its activations as planes of bytes ([`Gemm::planes`]): the caller has [`SPLIT`] write what
//! the taps of each row of a tile read, one behind the other, as two planes, once for all panels of channels. Then there is
//! one tap of as many channels as a plane has bytes ([`Gemm::depth`]), and a pointer for each of `mr` rows: `x[row]` leads
//! to the plane of upper bytes, behind which is that of lower bytes, and rows are [`apart`] bytes apart. Bytes that fill a
//! plane up are zeros.
//!
//! Integer products sum modulo 2^32: the compiler has proven that the true sum fits (input offset included: `bias`
//! holds bias - zero_point * sum(w)). Float: the accumulator starts at the bias, one fused multiply-add a step, taps
//! outermost, channels ascending.

#[cfg(target_arch = "x86_64")]
mod amx_q16;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx2_wide;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512;
#[cfg(target_arch = "x86_64")]
mod avx512_q16;
#[cfg(target_arch = "x86_64")]
mod avx512_store;
#[cfg(target_arch = "x86_64")]
mod avx512_wide;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avxvnni;
mod scalar;
mod split;
pub(crate) mod sums;

use crate::requant::{Epilogue, FloatEpilogue, Requant};
use crate::{Features, Kernel, Row};

/// u8 activations by i8 weights, 32-bit accumulators. Of one instruction set the widest tile comes first, the narrower
/// ones for layers of few channels follow, which need more pixels to fill them.
pub static Q8: &[QGemm] = &[
    QGemm {
        name: "u8i8_gemm_4x8__scalar",
        needs: Features::NONE,
        mr: 4,
        nr: 8,
        group: 4,
        suits: any,
        planes: 0,
        run: scalar::q8::<4, 8>,
    },
    #[cfg(target_arch = "x86_64")]
    QGemm {
        name: "u8i8_gemm_6x16__avx2",
        needs: crate::x86::AVX2,
        mr: avx2::MR,
        nr: avx2::NR,
        group: 4,
        suits: any,
        planes: 0,
        run: avx2::q8,
    },
    #[cfg(target_arch = "x86_64")]
    QGemm {
        name: "u8i8_gemm_6x16__avxvnni",
        needs: crate::x86::AVX_VNNI,
        mr: avx2::MR,
        nr: avx2::NR,
        group: 4,
        suits: any,
        planes: 0,
        run: avxvnni::q8,
    },
    #[cfg(target_arch = "x86_64")]
    QGemm {
        name: "u8i8_gemm_6x64__avx512vnni",
        needs: crate::x86::AVX512_VNNI,
        mr: avx512::MR,
        nr: avx512::NR,
        group: 4,
        suits: any,
        planes: 0,
        run: avx512::q8,
    },
    #[cfg(target_arch = "x86_64")]
    QGemm {
        name: "u8i8_gemm_12x32__avx512vnni",
        needs: crate::x86::AVX512_VNNI,
        mr: 2 * avx512::MR,
        nr: avx512::NR / 2,
        group: 4,
        suits: halves,
        planes: 0,
        run: avx512::q8_narrow::<2>,
    },
    #[cfg(target_arch = "x86_64")]
    QGemm {
        name: "u8i8_gemm_24x16__avx512vnni",
        needs: crate::x86::AVX512_VNNI,
        mr: 4 * avx512::MR,
        nr: avx512::NR / 4,
        group: 4,
        suits: quarters,
        planes: 0,
        run: avx512::q8_narrow::<4>,
    },
];

/// [`Gemm::suits`] of a row for all layers.
const fn any(_: Sizes) -> bool {
    true
}

/// Of tiles half as wide as the widest: for few channels, and where the last of wide tiles would be half empty.
#[cfg(target_arch = "x86_64")]
const fn halves(sizes: Sizes) -> bool {
    let few = sizes.outputs <= 32 || (sizes.outputs > 64 && sizes.outputs <= 96);
    few && sizes.pixels > avx512::MR
}

/// Of tiles a quarter as wide as the widest.
#[cfg(target_arch = "x86_64")]
const fn quarters(sizes: Sizes) -> bool {
    sizes.outputs <= 16 && sizes.pixels > avx512::MR
}

/// Of AMX, a step of which takes 64 products of a channel: those that have as many.
#[cfg(target_arch = "x86_64")]
const fn deep(sizes: Sizes) -> bool {
    sizes.depth >= 64
}

/// The sizes of a layer by which a row is chosen.
#[derive(Debug, Clone, Copy)]
pub struct Sizes {
    /// Output channels (of one group).
    pub outputs: usize,
    /// Output pixels.
    pub pixels: usize,
    /// Products that an output sums up.
    pub depth: usize,
}

/// f32.
pub static F32: &[FGemm] = &[
    FGemm {
        name: "f32_gemm_4x8__scalar",
        needs: Features::NONE,
        mr: 4,
        nr: 8,
        group: 1,
        suits: any,
        planes: 0,
        run: scalar::f32::<4, 8>,
    },
    #[cfg(target_arch = "x86_64")]
    FGemm {
        name: "f32_gemm_6x16__avx2",
        needs: crate::x86::AVX2,
        mr: avx2::MR,
        nr: avx2::NR,
        group: 1,
        suits: any,
        planes: 0,
        run: avx2::f32,
    },
    #[cfg(target_arch = "x86_64")]
    FGemm {
        name: "f32_gemm_6x64__avx512",
        needs: crate::x86::AVX512,
        mr: avx512::MR,
        nr: avx512::NR,
        group: 1,
        suits: any,
        planes: 0,
        run: avx512::f32,
    },
    #[cfg(target_arch = "x86_64")]
    FGemm {
        name: "f32_gemm_12x32__avx512",
        needs: crate::x86::AVX512,
        mr: 2 * avx512::MR,
        nr: avx512::NR / 2,
        group: 1,
        suits: halves,
        planes: 0,
        run: avx512::f32_narrow,
    },
];

/// u16 activations by i8 weights, 64-bit accumulators.
pub static Q16: &[QGemm16] = &[
    QGemm16 {
        name: "u16i8_gemm_4x8__scalar",
        needs: Features::NONE,
        mr: 4,
        nr: 8,
        group: 4,
        suits: any,
        planes: 0,
        run: scalar::q16::<4, 8>,
    },
    #[cfg(target_arch = "x86_64")]
    QGemm16 {
        name: "u16i8_gemm_4x16__avx2",
        needs: crate::x86::AVX2,
        mr: avx2_wide::MR,
        nr: avx2_wide::NR,
        group: 2,
        suits: any,
        planes: 0,
        run: avx2_wide::u16_by_bytes,
    },
    #[cfg(target_arch = "x86_64")]
    QGemm16 {
        name: "u16i8_gemm_12x32__avx512vnni",
        needs: crate::x86::AVX512_VNNI,
        mr: avx512_q16::MR,
        nr: avx512_q16::NR,
        group: 4,
        suits: any,
        planes: 4,
        run: avx512_q16::q16,
    },
    #[cfg(target_arch = "x86_64")]
    QGemm16 {
        name: "u16i8_gemm_32x32__amx",
        needs: crate::x86::AMX,
        mr: amx_q16::MR,
        nr: amx_q16::NR,
        group: 4,
        suits: deep,
        planes: 64,
        run: amx_q16::q16,
    },
];

/// u16 activations by i16 weights, 64-bit accumulators.
pub static Q16_W16: &[Gemm<Q16W16Args>] = &[
    Gemm {
        name: "u16i16_gemm_4x8__scalar",
        needs: Features::NONE,
        mr: 4,
        nr: 8,
        group: 1,
        suits: any,
        planes: 0,
        run: scalar::w16::<4, 8, u16>,
    },
    #[cfg(target_arch = "x86_64")]
    Gemm {
        name: "u16i16_gemm_4x8__avx2",
        needs: crate::x86::AVX2,
        mr: avx2_wide::MR,
        nr: avx2_wide::NR_PARTS,
        group: 2,
        suits: any,
        planes: 0,
        run: avx2_wide::u16_by_words,
    },
    #[cfg(target_arch = "x86_64")]
    Gemm {
        name: "u16i16_gemm_6x32__avx512vnni",
        needs: crate::x86::AVX512_VNNI,
        mr: avx512_wide::MR,
        nr: avx512_wide::NR,
        group: 2,
        suits: any,
        planes: 0,
        run: avx512_wide::u16_by_words,
    },
];

/// u8 activations by i16 weights, 64-bit accumulators.
pub static Q8_W16: &[Gemm<Q8W16Args>] = &[
    Gemm {
        name: "u8i16_gemm_4x8__scalar",
        needs: Features::NONE,
        mr: 4,
        nr: 8,
        group: 1,
        suits: any,
        planes: 0,
        run: scalar::w16::<4, 8, u8>,
    },
    #[cfg(target_arch = "x86_64")]
    Gemm {
        name: "u8i16_gemm_4x16__avx2",
        needs: crate::x86::AVX2,
        mr: avx2_wide::MR,
        nr: avx2_wide::NR,
        group: 2,
        suits: any,
        planes: 0,
        run: avx2_wide::u8_by_words,
    },
    #[cfg(target_arch = "x86_64")]
    Gemm {
        name: "u8i16_gemm_6x32__avx512vnni",
        needs: crate::x86::AVX512_VNNI,
        mr: avx512_wide::MR,
        nr: avx512_wide::NR,
        group: 2,
        suits: any,
        planes: 0,
        run: avx512_wide::u8_by_words,
    },
];

/// What rows of u8 sum up to.
pub static SUMS: &[Kernel<SumsFn>] = &[
    Kernel { name: "u8_sums__scalar", needs: Features::NONE, run: sums::scalar },
    #[cfg(target_arch = "x86_64")]
    Kernel { name: "u8_sums__avx2", needs: crate::x86::AVX2, run: sums::avx2 },
    #[cfg(target_arch = "x86_64")]
    Kernel { name: "u8_sums__avx512", needs: crate::x86::AVX512, run: sums::avx512 },
];

/// u16 as planes of their bytes.
pub static SPLIT: &[Kernel<SplitFn>] = &[
    Kernel { name: "u16_split__scalar", needs: Features::NONE, run: split::scalar },
    #[cfg(target_arch = "x86_64")]
    Kernel { name: "u16_split__avx512", needs: crate::x86::AVX512, run: split::avx512 },
];

/// All in one.
pub type SplitFn = unsafe fn(&SplitArgs);

/// A row to split into planes of bytes.
#[derive(Debug, Clone, Copy)]
pub struct SplitArgs {
    /// What the row reads, one behind the other.
    pub runs: *const Run,
    /// How many runs.
    pub count: usize,
    /// Bytes of a plane: as many as the runs have elements, and less than 64 more.
    pub plane: usize,
    /// Room for two planes.
    pub planes: *mut u8,
}

/// Neighbouring elements.
#[derive(Debug, Clone, Copy)]
pub struct Run {
    /// The first.
    pub x: *const u16,
    /// How many.
    pub n: usize,
}

/// Bytes from the planes of a row to those of the next, of planes of so many bytes: an odd number of cache lines, so that
/// neighbours do not meet in a set.
pub const fn apart(plane: usize) -> usize {
    match plane.checked_next_multiple_of(64) {
        Some(plane) => plane.saturating_mul(2).saturating_add(64),
        None => usize::MAX,
    }
}

/// All in one: as [`Args`], with `apart` pointers from tap to tap; there is a row, and `sums` has room for a multiple of
/// four of them.
pub type SumsFn = unsafe fn(&SumsArgs);

/// Rows to sum up.
#[derive(Debug, Clone, Copy)]
pub struct SumsArgs {
    /// Rows.
    pub rows: usize,
    /// `taps * apart` input pointers.
    pub x: *const *const u8,
    /// Kernel taps.
    pub taps: usize,
    /// Pointers from tap to tap.
    pub apart: usize,
    /// Input channels a tap.
    pub k: usize,
    /// The sums, modulo 2^32.
    pub sums: *mut i32,
}

/// One tile: activations `X` by weights `W`, sums of the bias' type `B`, stored at `Y` as the epilogue `E` says.
#[derive(Debug, Clone, Copy)]
pub struct Args<X, W, B, Y, E> {
    /// Output pixels of this tile.
    pub rows: usize,
    /// Output channels of this tile.
    pub cols: usize,
    /// `taps * mr` input pointers.
    pub x: *const *const X,
    /// Kernel taps.
    pub taps: usize,
    /// Input channels a tap.
    pub k: usize,
    /// This panel's weights.
    pub w: *const W,
    /// This panel's bias (integers: with the input offset folded in).
    pub bias: *const B,
    /// What is added to every weight of a channel of the panel, where bytes cannot hold the weights less their zero
    /// points; null where nothing is. Rows of [`Q8`] do it, no others are asked to.
    pub offset: *const B,
    /// What each row reads, summed up by [`SUMS`], for `mr` rows; asked for only where there is an offset.
    pub sums: *const B,
    /// The output's first element; bytes where the epilogue says what it is.
    pub y: *mut Y,
    /// Bytes between output rows.
    pub y_stride: usize,
    /// What is stored.
    pub epilogue: E,
}

/// A tile of u8 activations: u8, or i32 for [`Epilogue::Accumulator`].
pub type QArgs = Args<u8, i8, i32, u8, Epilogue>;
/// A tile of f32.
pub type FArgs = Args<f32, f32, f32, f32, FloatEpilogue>;
/// A tile of u16 activations: u16, or i64 for [`Epilogue16::Accumulator`].
pub type Q16Args = Args<u16, i8, i64, u8, Epilogue16>;

/// A tile of u16 activations and i16 weights: as [`Q16Args`].
pub type Q16W16Args = Args<u16, i16, i64, u8, Epilogue16>;
/// A tile of u8 activations and i16 weights: as [`Q16Args`].
pub type Q8W16Args = Args<u8, i16, i64, u8, Epilogue16>;

/// A row of a table.
#[derive(Debug, Clone, Copy)]
pub struct Gemm<A> {
    /// Name.
    pub name: &'static str,
    /// CPU needs.
    pub needs: Features,
    /// Output pixels a tile.
    pub mr: usize,
    /// Output channels a tile.
    pub nr: usize,
    /// Weights of a channel that lie together.
    pub group: usize,
    /// Whether this row is meant for layers of these sizes.
    pub suits: fn(Sizes) -> bool,
    /// Activations come as planes of bytes, of a multiple of so many; 0 if they are what pointers lead to, as in all tables
    /// but [`Q16`].
    pub planes: usize,
    /// Computes one tile.
    ///
    /// # Safety
    /// The CPU has `needs`; all pointers are valid as the contract says.
    pub run: unsafe fn(&A),
}

/// A row of [`Q8`].
pub type QGemm = Gemm<QArgs>;
/// A row of [`F32`].
pub type FGemm = Gemm<FArgs>;
/// A row of [`Q16`].
pub type QGemm16 = Gemm<Q16Args>;

/// What a kernel with 64-bit accumulators stores.
#[derive(Debug, Clone, Copy)]
pub enum Epilogue16 {
    /// The i64 accumulators.
    Accumulator,
    /// u16.
    Requant {
        /// From accumulators to what is stored.
        how: Requant,
        /// Whether the accumulators are proven to fit 32 bits, by which a row may compute less.
        narrow: bool,
    },
}

impl<A> Row for Gemm<A> {
    fn name(&self) -> &'static str {
        self.name
    }
    fn needs(&self) -> Features {
        self.needs
    }
}

impl<A> Gemm<A> {
    /// Elements of packed weights: whole panels.
    pub const fn packed(&self, channels: usize, taps: usize, k: usize) -> usize {
        let (taps, k) = self.depth(taps, k);
        channels.next_multiple_of(self.nr) * taps * k.next_multiple_of(self.group)
    }

    /// The taps and the channels a tap that the row is told of.
    pub const fn depth(&self, taps: usize, k: usize) -> (usize, usize) {
        match self.planes {
            0 => (taps, k),
            multiple => match taps.saturating_mul(k).checked_next_multiple_of(multiple) {
                Some(plane) => (1, plane),
                None => (1, usize::MAX),
            },
        }
    }

    /// Packs weights given as `w[(channel * taps + tap) * k + i]` into as many elements as [`Gemm::packed`] says.
    pub fn pack<T: Copy + Default>(&self, w: &[T], channels: usize, taps: usize, k: usize, out: &mut [T]) {
        let (steps, depth) = self.depth(taps, k);
        if (steps, depth) == (taps, k) && k.is_multiple_of(self.group) {
            match self.group {
                1 => return pack_whole::<T, 1>(w, channels, taps * k, self.nr, out),
                2 => return pack_whole::<T, 2>(w, channels, taps * k, self.nr, out),
                4 => return pack_whole::<T, 4>(w, channels, taps * k, self.nr, out),
                _ => {}
            }
        }
        // In planes the channels of all taps follow each other, as they do in `w`.
        let run = taps * k / steps.max(1);
        let mut groups = out.chunks_exact_mut(self.group);
        for panel in (0..channels).step_by(self.nr) {
            for step in 0..steps {
                for first in (0..depth).step_by(self.group) {
                    for channel in panel..panel + self.nr {
                        let Some(group) = groups.next() else { return };
                        let n = if channel < channels { run.saturating_sub(first).min(self.group) } else { 0 };
                        let at = (channel * steps + step) * run + first;
                        let from = w.get(at..at + n).unwrap_or_default();
                        let (used, rest) = group.split_at_mut(from.len());
                        used.copy_from_slice(from);
                        rest.fill(T::default());
                    }
                }
            }
        }
    }
}

/// [`Gemm::pack`] where every channel is a run of whole groups.
fn pack_whole<T: Copy + Default, const GROUP: usize>(w: &[T], channels: usize, run: usize, nr: usize, out: &mut [T]) {
    // Groups of a channel that are written before those of the next one: what they go into stays in the nearest cache.
    const NEAR: usize = 32;
    let w = w.get(..channels * run).unwrap_or(w);
    let (groups, _) = out.as_chunks_mut::<GROUP>();
    let panels = groups.chunks_exact_mut((run / GROUP * nr).max(1));
    for (panel, first) in panels.zip((0..channels).step_by(nr)) {
        for (i, near) in panel.chunks_mut(NEAR * nr).enumerate() {
            for column in 0..nr {
                let at = (first + column) * run + i * NEAR * GROUP;
                let (from, _) = w.get(at..(first + column + 1) * run).unwrap_or_default().as_chunks::<GROUP>();
                let mut from = from.iter();
                for group in near.iter_mut().skip(column).step_by(nr) {
                    *group = from.next().copied().unwrap_or([T::default(); GROUP]);
                }
            }
        }
    }
}
