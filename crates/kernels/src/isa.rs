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
            ];
            found.into_iter().filter(|(_, here)| *here).fold($crate::Features::NONE, |all, (f, _)| all.and(f))
        }
        // No vector rows are written for others yet.
        #[cfg(not(target_arch = "x86_64"))]
        $crate::Features::NONE
    }};
}

/// The row sets a user can force by name, oldest first: `scalar`, `avx2`, `avxvnni`, `avx512vnni`.
pub static SETS: &[(&str, Features)] = &[
    ("scalar", Features::NONE),
    ("avx2", Features::AVX2),
    ("avxvnni", Features::AVX2.and(Features::AVX_VNNI)),
    ("avx512vnni", Features::AVX2.and(Features::AVX512).and(Features::AVX512_VNNI)),
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
