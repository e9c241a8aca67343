//! The most products of bytes that an instruction set makes: what other kernels are measured by.
//!
//! ## Contract
//! A call does `steps` times the products that its row says, of registers by registers, in as many independent sums as
//! keep the units busy; no memory is touched. What comes back depends on all of them, so that none can be left out.

#[cfg(target_arch = "x86_64")]
mod amx;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "x86_64")]
mod avxvnni;
mod scalar;

use crate::{Features, Row};

/// u8 by i8, summed in 32 bits.
pub static Q8: &[Peak] = &[
    Peak { name: "u8i8_peak__scalar", needs: Features::NONE, macs: scalar::MACS, run: scalar::q8 },
    #[cfg(target_arch = "x86_64")]
    Peak { name: "u8i8_peak__avx2", needs: crate::x86::AVX2, macs: avx2::MACS, run: avx2::q8 },
    #[cfg(target_arch = "x86_64")]
    Peak { name: "u8i8_peak__avxvnni", needs: crate::x86::AVX_VNNI, macs: avxvnni::MACS, run: avxvnni::q8 },
    #[cfg(target_arch = "x86_64")]
    Peak { name: "u8i8_peak__avx512vnni", needs: crate::x86::AVX512_VNNI, macs: avx512::MACS, run: avx512::q8 },
    #[cfg(target_arch = "x86_64")]
    Peak { name: "u8i8_peak__amx", needs: crate::x86::AMX, macs: amx::MACS, run: amx::q8 },
];

/// A row of the table.
#[derive(Debug, Clone, Copy)]
pub struct Peak {
    /// Name.
    pub name: &'static str,
    /// CPU needs.
    pub needs: Features,
    /// Multiply-accumulates a step.
    pub macs: usize,
    /// Does so many steps.
    ///
    /// # Safety
    /// The CPU has `needs`.
    pub run: unsafe fn(usize) -> i32,
}

impl Row for Peak {
    fn name(&self) -> &'static str {
        self.name
    }
    fn needs(&self) -> Features {
        self.needs
    }
}
