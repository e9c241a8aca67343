//! The plain row.

use core::hint::black_box;

/// Sums.
const SUMS: usize = 8;
/// Products a step.
pub const MACS: usize = SUMS;

/// # Safety
/// None is needed.
pub unsafe fn q8(steps: usize) -> i32 {
    let (mut sums, w) = ([1i32; SUMS], black_box(3i8));
    for step in 0..steps {
        for sum in &mut sums {
            *sum = sum.wrapping_add(i32::from(step as u8) * i32::from(w));
        }
        sums = black_box(sums);
    }
    sums.into_iter().fold(0, i32::wrapping_add)
}
