//! Seeded noise, the same on every machine: the data set called `random`.

use super::InputSpec;
use lowbit_ir::{Error, Result, Tensor, Type, bail};

/// Number of samples there are.
pub(super) const LEN: usize = 512;

/// Largest value for inputs of 32 or 64 bits: those are indices and masks, and tables are rarely shorter.
const LARGEST_INDEX: i64 = 99;

/// Refuses inputs whose sizes are open, except the batch.
pub(super) fn check(inputs: &[InputSpec]) -> Result<()> {
    inputs.iter().try_for_each(|input| sizes(input).map(drop))
}

/// Noise for an input: floats are close to a standard normal distribution, narrow integers uniform over their range.
pub(super) fn tensor(input: &InputSpec, sample: u64, position: u64) -> Result<Tensor> {
    let dims = sizes(input)?;
    let count = dims.iter().product();
    let mut state = Random(sample.wrapping_mul(0x1_0000_0001).wrapping_add(position));
    let ty = Type::plain(input.dtype, dims);
    match input.dtype.range() {
        None => Tensor::from_floats(ty, (0..count).map(|_| state.normal()).collect()),
        Some((lo, hi)) => {
            let (lo, hi) = if input.dtype.bits() > 16 { (0, LARGEST_INDEX) } else { (lo, hi) };
            let ints: Vec<i64> = (0..count).map(|_| lo + (state.next() >> 32) as i64 % (hi - lo + 1)).collect();
            Tensor::from_ints(ty, &ints)
        }
    }
}

fn sizes(input: &InputSpec) -> Result<Vec<usize>> {
    let known = |(i, d): (usize, &Option<usize>)| match (i, d) {
        (0, _) if input.shape.len() > 1 => Ok(1),
        (_, Some(d)) => Ok(*d),
        (_, None) => Err(Error::new(format!("expected known sizes for random data, found {input}"))
            .at_value(&input.name)
            .hint(format!("--shape {}=1x3x224x224 binds them", input.name))),
    };
    let dims: Vec<usize> = input.shape.iter().enumerate().map(known).collect::<Result<_>>()?;
    match dims.iter().try_fold(1usize, |n, d| n.checked_mul(*d)) {
        Some(count) if count <= MAX_ELEMENTS => Ok(dims),
        _ => bail!("expected at most {MAX_ELEMENTS} elements for random data, found {input}"),
    }
}

const MAX_ELEMENTS: usize = 1 << 28;

/// The generator splitmix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let x = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    /// The sum of twelve uniform numbers less its mean has variance 1 and needs no function of any libm.
    fn normal(&mut self) -> f32 {
        let halves = |x: u64| (x >> 32) as i64 + (x & 0xffff_ffff) as i64;
        let sum: i64 = (0..6).map(|_| halves(self.next())).sum();
        ((sum - 6 * ((1 << 32) - 1)) as f64 / (1u64 << 32) as f64) as f32
    }
}
