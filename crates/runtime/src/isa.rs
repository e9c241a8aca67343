//! Which instruction sets this machine has, and which of them may be used.

use lowbit_ir::suggest::did_you_mean;
use lowbit_ir::{Error, Result};
use lowbit_kernels::Features;
use lowbit_kernels::isa::SETS;

/// A named row set, allowed on this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Isa {
    /// Its name, as `--isa` takes it.
    pub name: &'static str,
    /// What kernels may use.
    pub features: Features,
}

impl Isa {
    /// The best this machine has.
    pub fn host() -> Isa {
        Isa::available().pop().unwrap_or(Isa { name: "scalar", features: Features::NONE })
    }

    /// Every row set this machine can run, oldest first.
    pub fn available() -> Vec<Isa> {
        let cpu = detect();
        SETS.iter().filter(|(_, needs)| cpu.has(*needs)).map(|(name, needs)| allow(name, *needs, cpu)).collect()
    }

    /// The row set of this name; an error says which there are and whether this machine has it.
    pub fn named(name: &str) -> Result<Isa> {
        let cpu = detect();
        let known: Vec<&str> = SETS.iter().map(|(n, _)| *n).collect();
        match SETS.iter().find(|(n, _)| *n == name) {
            Some((name, needs)) if cpu.has(*needs) => Ok(allow(name, *needs, cpu)),
            Some(_) => Err(Error::new(format!("this CPU lacks what the instruction set '{name}' needs"))
                .hint(format!("one of {}", Isa::available().iter().map(|i| i.name).collect::<Vec<_>>().join(", ")))),
            None => {
                let near = did_you_mean(name, known.iter().copied());
                Err(Error::new(format!("no instruction set is named '{name}'{near}"))
                    .hint(format!("one of {}", known.join(", "))))
            }
        }
    }
}

/// A set's own features, and with the AVX-512 sets the optional extras that this CPU happens to have.
fn allow(name: &'static str, needs: Features, cpu: Features) -> Isa {
    let extras = match needs.has(Features::AVX512) && cpu.has(Features::AVX512_VBMI) {
        true => Features::AVX512_VBMI,
        false => Features::NONE,
    };
    Isa { name, features: needs.and(extras) }
}

/// What this CPU (and its operating system) has.
pub fn detect() -> Features {
    lowbit_kernels::detect!()
}

/// The CPU's own name, for reports.
#[cfg(target_arch = "x86_64")]
pub fn cpu_name() -> String {
    use std::arch::x86_64::__cpuid;
    if __cpuid(0x8000_0000).eax < 0x8000_0004 {
        return "x86-64".into();
    }
    let mut bytes = Vec::new();
    for leaf in 0x8000_0002..=0x8000_0004u32 {
        let r = __cpuid(leaf);
        for word in [r.eax, r.ebx, r.ecx, r.edx] {
            bytes.extend(word.to_le_bytes());
        }
    }
    String::from_utf8_lossy(&bytes).trim_matches(['\0', ' ']).to_string()
}

/// The CPU's own name, for reports.
#[cfg(not(target_arch = "x86_64"))]
pub fn cpu_name() -> String {
    std::env::consts::ARCH.into()
}
