//! AMX tiles: products of matrices of bytes, 16 by 16 sums of 64 bytes an instruction.
//!
//! The compiler knows no types for tiles and gives none to anybody, so that what one assembler block leaves in them is
//! there for the next: between [`configure`] and [`release`] they belong to the row that called them. They are
//! written in assembler for want of intrinsics.
//!
//! Tiles 0 to 3 hold the sums of two tiles of activations (4 and 5) by two tiles of weights (6 and 7). That is all eight,
//! and a step of four products needs four loads, each of which takes half the time of a product.

use core::arch::asm;
use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};

/// Bytes of a row of a tile.
pub const ROW: usize = 64;
/// Rows of a tile; of sums also its columns.
pub const SIDE: usize = 16;
/// Bytes of a tile of weights: `[k / 4][channel][4]`.
pub const TILE: usize = ROW * SIDE;

/// The shapes of tiles, as `ldtilecfg` takes them.
#[repr(C, align(64))]
struct Shapes {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

/// Gives the two tiles of activations, and the sums that belong to them, so many rows: 1 to 16, and 0 to 16.
///
/// # Safety
/// The CPU has AMX, and the system lets the process use it.
#[inline]
pub unsafe fn configure(rows: [usize; 2]) {
    let [first, second] = rows.map(|rows| rows.min(SIDE) as u8);
    // A tile that is not used must be of some size all the same.
    let second = second.max(1);
    let full = SIDE as u8;
    let mut shapes = Shapes { palette: 1, start_row: 0, reserved: [0; 14], row_bytes: [0; 16], rows: [0; 16] };
    let tiles = [first, first, second, second, first, second, full, full];
    for ((row_bytes, rows), tile) in shapes.row_bytes.iter_mut().zip(&mut shapes.rows).zip(tiles) {
        (*row_bytes, *rows) = (ROW as u16, tile);
    }
    // SAFETY: the caller's promise; these are shapes of palette 1, which has eight tiles of at most 16 rows of 64 bytes.
    unsafe { asm!("ldtilecfg [{}]", in(reg) &raw const shapes, options(nostack, readonly)) };
}

/// Gives the tiles back: who does not use them is switched faster by the system.
///
/// # Safety
/// The CPU has AMX, and the system lets the process use it.
#[inline]
pub unsafe fn release() {
    // SAFETY: the caller's promise.
    unsafe { asm!("tilerelease", options(nostack, nomem)) };
}

/// How weights lie: rows of tiles, four bytes for each of 16 channels.
#[derive(Clone, Copy)]
pub struct Panel {
    /// Bytes from row to row.
    pub row: usize,
    /// Bytes from the tile of the first 16 channels to that of the others.
    pub half: usize,
}

/// Tile after tile.
pub const TILES: Panel = Panel { row: ROW, half: TILE };
/// Both tiles side by side.
pub const PAIRS: Panel = Panel { row: 2 * ROW, half: ROW };

/// Where the rows of activations lie.
#[derive(Clone, Copy)]
pub struct Rows {
    /// The first row of the first tile.
    pub first: *const u8,
    /// The first row of the second tile.
    pub second: *const u8,
    /// Bytes from row to row.
    pub step: usize,
}

/// Starts the sums with a bias of 32 channels, the same for each row.
///
/// # Safety
/// The tiles are configured; `bias` leads to 32 integers.
#[inline]
pub unsafe fn start<const SECOND: bool>(bias: *const i32) {
    // SAFETY: the caller's promise. A step of 0 loads the same 64 bytes for each row.
    unsafe {
        asm!(
            "tileloadd tmm0, [{bias} + {zero}*1]",
            "tileloadd tmm1, [{bias} + {zero}*1 + 64]",
            bias = in(reg) bias, zero = in(reg) 0usize,
            out("tmm0") _, out("tmm1") _,
            options(nostack, readonly),
        );
        if SECOND {
            asm!(
                "tileloadd tmm2, [{bias} + {zero}*1]",
                "tileloadd tmm3, [{bias} + {zero}*1 + 64]",
                bias = in(reg) bias, zero = in(reg) 0usize,
                out("tmm2") _, out("tmm3") _,
                options(nostack, readonly),
            );
        }
    }
}

/// Adds the products of `chunks` times 64 bytes of each row by two tiles of weights a chunk; gives the weights behind them.
///
/// # Safety
/// The tiles are configured and their sums started; each row is readable for as many bytes, the weights for `2 * TILE` a
/// chunk; there is a chunk.
#[inline]
pub unsafe fn products<const SECOND: bool>(rows: Rows, w: *const i8, panel: Panel, chunks: usize) -> *const i8 {
    let (mut end, other) = (w, w.wrapping_add(panel.half));
    // SAFETY: the caller's promise.
    unsafe {
        if SECOND {
            asm!(
                "2:",
                "tileloadd tmm6, [{w} + {row}*1]",
                "tileloadd tmm4, [{x} + {step}*1]",
                "tileloadd tmm7, [{v} + {row}*1]",
                "tileloadd tmm5, [{z} + {step}*1]",
                "tdpbusd tmm0, tmm4, tmm6",
                "tdpbusd tmm1, tmm4, tmm7",
                "tdpbusd tmm2, tmm5, tmm6",
                "tdpbusd tmm3, tmm5, tmm7",
                "add {x}, 64",
                "add {z}, 64",
                "add {w}, 2048",
                "add {v}, 2048",
                "dec {n}",
                "jnz 2b",
                x = inout(reg) rows.first => _, z = inout(reg) rows.second => _, step = in(reg) rows.step,
                w = inout(reg) end, v = inout(reg) other => _, row = in(reg) panel.row, n = inout(reg) chunks => _,
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                options(nostack, readonly),
            );
        } else {
            asm!(
                "2:",
                "tileloadd tmm6, [{w} + {row}*1]",
                "tileloadd tmm4, [{x} + {step}*1]",
                "tileloadd tmm7, [{v} + {row}*1]",
                "tdpbusd tmm0, tmm4, tmm6",
                "tdpbusd tmm1, tmm4, tmm7",
                "add {x}, 64",
                "add {w}, 2048",
                "add {v}, 2048",
                "dec {n}",
                "jnz 2b",
                x = inout(reg) rows.first => _, step = in(reg) rows.step,
                w = inout(reg) end, v = inout(reg) other => _, row = in(reg) panel.row, n = inout(reg) chunks => _,
                out("tmm0") _, out("tmm1") _, out("tmm4") _, out("tmm6") _, out("tmm7") _,
                options(nostack, readonly),
            );
        }
    }
    end
}

/// As [`products`] of [`TILES`], where the weights are likely to be far away: asks for them some steps ahead.
///
/// # Safety
/// As [`products`].
#[inline]
#[target_feature(enable = "sse")]
pub unsafe fn first_products<const SECOND: bool>(mut rows: Rows, mut w: *const i8, chunks: usize) -> *const i8 {
    for _ in 0..chunks {
        for line in (0..2 * TILE).step_by(ROW) {
            _mm_prefetch::<_MM_HINT_T0>(w.wrapping_add(AHEAD + line));
        }
        // SAFETY: the caller's promise, a chunk at a time.
        w = unsafe { products::<SECOND>(rows, w, TILES, 1) };
        rows.first = rows.first.wrapping_add(ROW);
        rows.second = rows.second.wrapping_add(ROW);
    }
    w
}

/// Bytes of weights that [`first_products`] asks for ahead.
const AHEAD: usize = 8 * TILE;

/// Products of whatever the tiles hold, without loads: what the unit can do.
///
/// # Safety
/// The tiles are configured; there is a step.
#[inline]
pub unsafe fn idle_products(steps: usize) {
    // SAFETY: the caller's promise.
    unsafe {
        asm!(
            "2:",
            "tdpbusd tmm0, tmm4, tmm6",
            "tdpbusd tmm1, tmm4, tmm7",
            "tdpbusd tmm2, tmm5, tmm6",
            "tdpbusd tmm3, tmm5, tmm7",
            "dec {n}",
            "jnz 2b",
            n = inout(reg) steps => _,
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            options(nostack, nomem),
        );
    }
}

/// Stores the sums: rows of 32 integers, those of the second tile behind the `rows` of the first.
///
/// # Safety
/// The tiles are configured, the first with as many rows; `sums` has room for the rows of both.
#[inline]
pub unsafe fn store<const SECOND: bool>(sums: *mut i32, rows: usize) {
    // SAFETY: the caller's promise.
    unsafe {
        asm!(
            "tilestored [{sums} + {row}*1], tmm0",
            "tilestored [{sums} + {row}*1 + 64], tmm1",
            sums = in(reg) sums, row = in(reg) 2 * ROW,
            options(nostack),
        );
        if SECOND {
            asm!(
                "tilestored [{sums} + {row}*1], tmm2",
                "tilestored [{sums} + {row}*1 + 64], tmm3",
                sums = in(reg) sums.add(rows * 2 * SIDE), row = in(reg) 2 * ROW,
                options(nostack),
            );
        }
    }
}
