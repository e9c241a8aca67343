//! Bytes as choices: what a fuzzer changes are decisions, not numbers in the middle of a format.

use lowbit::Tensor;
use lowbit::ir::{Result, Type};

/// The bytes that are left; where none are, every choice is the first.
#[derive(Debug)]
pub struct Choices<'a>(&'a [u8]);

impl<'a> Choices<'a> {
    /// All of these bytes.
    pub fn of(bytes: &'a [u8]) -> Self {
        Choices(bytes)
    }

    /// Whether nothing is left to choose by.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What is left.
    pub fn rest(self) -> &'a [u8] {
        self.0
    }

    /// The next byte.
    pub fn byte(&mut self) -> u8 {
        match self.0.split_first() {
            Some((first, rest)) => {
                self.0 = rest;
                *first
            }
            None => 0,
        }
    }

    /// A number below `n`, which is at most 65536.
    pub fn below(&mut self, n: usize) -> usize {
        let low = usize::from(self.byte());
        let high = if n > 256 { usize::from(self.byte()) } else { 0 };
        (high << 8 | low) % n.max(1)
    }

    /// A number in `lo..=hi`.
    pub fn range(&mut self, lo: usize, hi: usize) -> usize {
        lo + self.below(hi + 1 - lo)
    }

    /// A number in `lo..=hi`, either of which may be negative.
    pub fn int(&mut self, lo: i64, hi: i64) -> i64 {
        lo + i64::from(self.byte()) % (hi + 1 - lo)
    }

    /// Yes once in `n` times.
    pub fn once_in(&mut self, n: usize) -> bool {
        self.below(n) == n - 1
    }

    /// One of these.
    pub fn pick<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())].clone()
    }

    /// A number of ordinary size or, seldom, an extreme one.
    pub fn float(&mut self) -> f32 {
        const EXTREMES: [f32; 10] =
            [0.0, -0.0, f32::INFINITY, f32::NEG_INFINITY, f32::NAN, 1e-45, f32::MIN_POSITIVE, 1e38, f32::MAX, -1e30];
        match self.byte() {
            byte @ 240.. => EXTREMES[usize::from(byte - 240) % EXTREMES.len()],
            byte => f32::from(byte) / 32.0 - 2.0,
        }
    }

    /// A sequence of numbers, of a seed that the next two bytes are.
    pub fn numbers(&mut self) -> Numbers {
        Numbers(u64::from(u16::from_le_bytes([self.byte(), self.byte()])) << 32)
    }

    /// Floats of one sort: ordinary, all of one value, huge or tiny, or with infinities and NaN among them.
    pub fn floats(&mut self, dims: &[usize]) -> Result<Tensor> {
        let sort = self.byte();
        let mut numbers = self.numbers();
        let special = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -0.0, 1e-45, f32::MAX];
        let data = (0..dims.iter().product()).map(|_| match sort {
            0..200 => numbers.float(),
            200..210 => 0.0,
            210..220 => numbers.float() * 1e30,
            220..230 => numbers.float() * 1e-30,
            230..240 => (numbers.float() * 4.0).round(),
            240.. => match numbers.below(4) {
                0 => special[numbers.below(special.len())],
                _ => numbers.float(),
            },
        });
        Tensor::from_f32(dims, data.collect())
    }

    /// Integers of all of a type's range, or of its ends.
    pub fn ints(&mut self, ty: &Type) -> Result<Tensor> {
        let (lo, hi) = match &ty.quant {
            Some(q) => (q.qmin, q.qmax),
            None => ty.dtype.range().unwrap_or((0, 1)),
        };
        let ends = self.once_in(4);
        let mut numbers = self.numbers();
        let count: usize = ty.shape.require()?.iter().product();
        let data: Vec<i64> = (0..count)
            .map(|_| match ends {
                true => [lo, hi][numbers.below(2)],
                false => numbers.int(lo, hi),
            })
            .collect();
        Tensor::from_ints(ty.clone(), &data)
    }
}

/// Numbers that are the same for the same seed, everywhere.
#[derive(Debug, Clone)]
pub struct Numbers(pub u64);

impl Numbers {
    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(1);
        lowbit_arithmetic::rounding::hash(0xf022, self.0)
    }

    /// A number below `n`.
    pub fn below(&mut self, n: usize) -> usize {
        (self.bits() % n.max(1) as u64) as usize
    }

    /// One of these.
    pub fn pick<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())].clone()
    }

    /// A number in `lo..=hi`.
    pub fn int(&mut self, lo: i64, hi: i64) -> i64 {
        match hi.wrapping_sub(lo).wrapping_add(1) as u64 {
            // All of i64.
            0 => self.bits() as i64,
            count => lo.wrapping_add((self.bits() % count) as i64),
        }
    }

    /// Roughly normal, within -4..4.
    pub fn float(&mut self) -> f32 {
        let unit = |bits: u64| (bits >> 40) as f32 / (1u64 << 24) as f32;
        (0..4).map(|_| unit(self.bits()) - 0.5).sum::<f32>() * 2.0
    }
}
