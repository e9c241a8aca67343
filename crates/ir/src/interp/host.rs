//! The float mode of the host, on which every float operator depends.

use crate::{Error, Result};
use std::hint::black_box;

/// Refuses a thread whose floats flush subnormals to zero or do not round half to even.
///
/// The mode belongs to the thread, and a library loaded into the process can have changed it.
pub fn check_float_mode() -> Result<()> {
    let least = black_box(f32::from_bits(1));
    let flushes = black_box(f32::MIN_POSITIVE) * black_box(0.5) == 0.0;
    let ignores = least * black_box(f32::MAX) == 0.0;
    // Half a step above 1 and above 1 + step: half-even stays at the first and leaves the second upwards.
    let half = black_box(f32::EPSILON / 2.0);
    let rounds = black_box(1.0f32) + half == 1.0 && black_box(1.0 + f32::EPSILON) + half == 1.0 + 2.0 * f32::EPSILON;
    if flushes || ignores {
        return Err(Error::new("the host process flushes subnormal floats to zero, so results would differ").hint(
            "clear the FTZ and DAZ bits (a library compiled with -ffast-math sets them), or run in a fresh thread",
        ));
    }
    if !rounds {
        return Err(Error::new("the host process has changed the rounding mode of floats, so results would differ")
            .hint("set the rounding mode back to nearest (fesetround(FE_TONEAREST))"));
    }
    Ok(())
}
