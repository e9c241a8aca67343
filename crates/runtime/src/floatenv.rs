//! The float environment: rounding to nearest even, subnormals kept.
//!
//! A host process may have set flush-to-zero or another rounding mode, and threads inherit it. Promised bits need the
//! default, so a run sets it on entry, on every thread, and gives the host its own back on exit. Where setting it is not
//! written yet, another environment is refused.

use lowbit_ir::Result;

/// Holds the default float environment until dropped.
#[derive(Debug)]
pub struct DefaultFloat {
    #[cfg(target_arch = "x86_64")]
    saved: u32,
}

/// MXCSR after reset: all exceptions masked, round to nearest even, subnormals kept.
#[cfg(target_arch = "x86_64")]
const DEFAULT_MXCSR: u32 = 0x1f80;

#[cfg(target_arch = "x86_64")]
fn mxcsr() -> u32 {
    let mut value = 0u32;
    // SAFETY: stmxcsr stores four bytes to a local; SSE is part of x86-64.
    unsafe { std::arch::asm!("stmxcsr [{}]", in(reg) &mut value, options(nostack, preserves_flags)) };
    value
}

#[cfg(target_arch = "x86_64")]
fn set_mxcsr(value: u32) {
    // SAFETY: ldmxcsr reads four bytes of a local, and only valid bits are set: either the reset value or one that
    // stmxcsr gave. Code between set and restore is this crate's own kernels, which ask for exactly this mode.
    unsafe { std::arch::asm!("ldmxcsr [{}]", in(reg) &value, options(nostack, preserves_flags)) };
}

impl DefaultFloat {
    /// Sets the default environment on this thread.
    #[cfg(target_arch = "x86_64")]
    pub fn enter() -> Result<Self> {
        let saved = mxcsr();
        set_mxcsr(DEFAULT_MXCSR);
        Ok(DefaultFloat { saved })
    }

    /// Refuses a thread that is in another environment.
    #[cfg(not(target_arch = "x86_64"))]
    pub fn enter() -> Result<Self> {
        lowbit_ir::check_float_mode().map(|()| DefaultFloat {})
    }
}

impl Drop for DefaultFloat {
    fn drop(&mut self) {
        #[cfg(target_arch = "x86_64")]
        set_mxcsr(self.saved);
    }
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;
    use std::hint::black_box;

    #[test]
    fn a_host_that_flushes_subnormals_gets_them_back_flushed() {
        let before = mxcsr();
        let tiny = || black_box(f32::MIN_POSITIVE) * black_box(0.5);
        set_mxcsr(DEFAULT_MXCSR | 0x8040);
        assert_eq!(tiny(), 0.0);
        {
            let _default = DefaultFloat::enter().unwrap();
            assert_ne!(tiny(), 0.0);
        }
        assert_eq!(tiny(), 0.0);
        set_mxcsr(before);
    }
}
