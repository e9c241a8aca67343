//! The AMX row.

use crate::x86::amx::{self, SIDE};

/// Products a step: four tiles of sums.
pub const MACS: usize = 4 * SIDE * SIDE * 64;

/// # Safety
/// The CPU has AMX, and the system lets the process use it.
pub unsafe fn q8(steps: usize) -> i32 {
    let mut sums = [0; 2 * SIDE * 2 * SIDE];
    // SAFETY: the caller's promise; there is room for the sums of two tiles of rows.
    unsafe {
        amx::configure([SIDE, SIDE]);
        amx::idle_products(steps.max(1));
        amx::store::<true>(sums.as_mut_ptr(), SIDE);
        amx::release();
    }
    sums.into_iter().fold(0, i32::wrapping_add)
}
