//! What a row needs of the CPU, and how a row is chosen.

/// A set of instruction set extensions. What a CPU has is found out elsewhere; here it is only compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Features(pub u32);

impl Features {
    /// What every machine has.
    pub const NONE: Features = Features(0);
    /// x86 AVX2 and FMA.
    pub const AVX2: Features = Features(1);
    /// x86 AVX-512 F, BW, DQ and VL.
    pub const AVX512: Features = Features(1 << 1);
    /// x86 AVX-512 VNNI.
    pub const AVX512_VNNI: Features = Features(1 << 2);
    /// x86 AVX-512 VBMI.
    pub const AVX512_VBMI: Features = Features(1 << 3);
    /// x86 AVX-VNNI: byte dot products on 256-bit registers, without AVX-512.
    pub const AVX_VNNI: Features = Features(1 << 4);
    /// x86 AMX: tiles of bytes, which the operating system must have allowed the process to use.
    pub const AMX_INT8: Features = Features(1 << 5);

    /// Both sets.
    pub const fn and(self, other: Features) -> Features {
        Features(self.0 | other.0)
    }

    /// Whether every feature of `needed` is here.
    pub const fn has(self, needed: Features) -> bool {
        self.0 & needed.0 == needed.0
    }
}

/// What this CPU and its operating system have, as [`Features`]: for the crates that may ask, which needs `std`.
#[macro_export]
macro_rules! detect {
    () => {{
        #[cfg(target_arch = "x86_64")]
        {
            use ::std::arch::is_x86_feature_detected as has;
            let avx2 = has!("avx2") && has!("fma");
            let avx512 = has!("avx512f") && has!("avx512bw") && has!("avx512dq") && has!("avx512vl");
            let found = [
                ($crate::Features::AVX2, avx2),
                ($crate::Features::AVX_VNNI, avx2 && has!("avxvnni")),
                ($crate::Features::AVX512, avx512),
                ($crate::Features::AVX512_VNNI, avx512 && has!("avx512vnni")),
                ($crate::Features::AVX512_VBMI, avx512 && has!("avx512vbmi")),
                ($crate::Features::AMX_INT8, avx512 && $crate::allow_amx!()),
            ];
            found.into_iter().filter(|(_, here)| *here).fold($crate::Features::NONE, |all, (f, _)| all.and(f))
        }
        // No vector rows are written for others yet.
        #[cfg(not(target_arch = "x86_64"))]
        $crate::Features::NONE
    }};
}

/// Whether this CPU has AMX's tiles of bytes and the operating system lets this process use them, for which it is asked:
/// the tiles make what it keeps of every thread larger, so that Linux gives them to those who ask.
#[cfg(target_arch = "x86_64")]
#[macro_export]
macro_rules! allow_amx {
    () => {{
        use ::std::arch::x86_64::{__cpuid_count, _xgetbv};
        // Leaf 7: AMX-TILE and AMX-INT8. XCR0: the system keeps the tiles' shapes and the tiles.
        const TILES: u32 = 1 << 24 | 1 << 25;
        const KEPT: u64 = 1 << 17 | 1 << 18;
        // SAFETY: a CPU with AVX has XGETBV.
        let here = __cpuid_count(7, 0).edx & TILES == TILES
            && ::std::arch::is_x86_feature_detected!("avx")
            && unsafe { _xgetbv(0) } & KEPT == KEPT;
        here && {
            let mut result: i64 = 158;
            // SAFETY: arch_prctl(ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) reads and writes no memory; a system that does
            // not know it gives an error.
            #[cfg(target_os = "linux")]
            unsafe {
                ::std::arch::asm!(
                    "syscall",
                    inlateout("rax") result, in("rdi") 0x1023u64, in("rsi") 18u64, out("rcx") _, out("r11") _,
                    options(nostack),
                );
            }
            result == 0
        }
    }};
}

/// The row sets a user can force by name, oldest first: `scalar`, `avx2`, `avxvnni`, `avx512vnni`, `amx`.
pub static SETS: &[(&str, Features)] = &[
    ("scalar", Features::NONE),
    ("avx2", Features::AVX2),
    ("avxvnni", Features::AVX2.and(Features::AVX_VNNI)),
    ("avx512vnni", Features::AVX2.and(Features::AVX512).and(Features::AVX512_VNNI)),
    ("amx", Features::AVX2.and(Features::AVX512).and(Features::AVX512_VNNI).and(Features::AMX_INT8)),
];

/// What every table's rows have in common.
pub trait Row {
    /// `<types>_<op>_<tile>__<isa>`.
    fn name(&self) -> &'static str;
    /// What it needs of the CPU.
    fn needs(&self) -> Features;
}

/// The last row of a table that `allowed` can run and that `fits` accepts. Tables start with a scalar row that needs
/// nothing, so there is an answer unless nothing fits.
pub fn pick<R: Row>(table: &'static [R], allowed: Features, fits: impl Fn(&R) -> bool) -> Option<&'static R> {
    table.iter().rev().find(|r| allowed.has(r.needs()) && fits(r))
}

/// A row of a simple table: a name, its needs and the function.
#[derive(Debug, Clone, Copy)]
pub struct Kernel<F> {
    /// Name.
    pub name: &'static str,
    /// CPU needs.
    pub needs: Features,
    /// The function. To call it is safe only on a CPU that has `needs`, with pointers valid as its table says.
    pub run: F,
}

impl<F> Row for Kernel<F> {
    fn name(&self) -> &'static str {
        self.name
    }
    fn needs(&self) -> Features {
        self.needs
    }
}
