//! Seeded noise, the same on every machine: the data set called `random`.

use super::{InputSpec, shape_hint};
use lowbit_ir::{Error, Result, Tensor, Type, bail};

/// Number of samples there are.
pub(super) const LEN: usize = 512;

/// Inputs of 32 or 64 bits whose limit the model does not tell are indices and masks, and tables are rarely shorter.
const USUAL_LIMIT: usize = 100;

/// Refuses inputs whose sizes are open, except the batch.
pub(super) fn check(inputs: &[InputSpec]) -> Result<()> {
    inputs.iter().try_for_each(|input| sizes(input).map(drop))
}

/// A sample's noise for an input, its batch dimension 1 where there is a batch.
pub(super) fn tensor(input: &InputSpec, sample: u64, position: u64) -> Result<Tensor> {
    noise(input, sizes(input)?, Random(sample.wrapping_mul(0x1_0000_0001).wrapping_add(position)))
}

/// Noise for inputs of these very sizes, batch included.
pub(crate) fn of_size(inputs: &[InputSpec]) -> Result<Vec<Tensor>> {
    let one = |(position, input): (usize, &InputSpec)| {
        let dims: Option<Vec<usize>> = input.shape.iter().copied().collect();
        noise(input, dims.ok_or_else(|| open(input))?, Random(position as u64))
    };
    inputs.iter().enumerate().map(one).collect()
}

/// Floats are close to a standard normal distribution, integers uniform over what the model looks up by them; others are
/// uniform over their type's range if they are quantized or narrow.
fn noise(input: &InputSpec, dims: Vec<usize>, mut state: Random) -> Result<Tensor> {
    let count = dims.iter().product();
    let ty = Type::plain(input.dtype, dims);
    // A quantized input takes what its type allows, which may be less than its storage does.
    let quant = input.quant.as_ref().filter(|_| input.dtype.bits() <= 32);
    match quant.map(|q| (q.qmin, q.qmax)).or_else(|| input.dtype.range()) {
        None => Tensor::from_floats(ty, (0..count).map(|_| state.normal()).collect()),
        Some((lo, hi)) => {
            let below = |limit: usize| (0, i64::try_from(limit).map_or(hi, |n| (n - 1).clamp(0, hi)));
            let (lo, hi) = match input.below {
                Some(limit) => below(limit),
                None if quant.is_none() && input.dtype.bits() > 16 => below(USUAL_LIMIT),
                None => (lo, hi),
            };
            let ints: Vec<i64> = (0..count).map(|_| lo + (state.next() >> 32) as i64 % (hi - lo + 1)).collect();
            Tensor::from_ints(ty, &ints)
        }
    }
}

fn sizes(input: &InputSpec) -> Result<Vec<usize>> {
    let known = |(i, d): (usize, &Option<usize>)| match (i, d) {
        (0, None) if input.has_batch() => Ok(1),
        (_, Some(d)) => Ok(*d),
        (_, None) => Err(open(input)),
    };
    let dims: Vec<usize> = input.shape.iter().enumerate().map(known).collect::<Result<_>>()?;
    match dims.iter().try_fold(1usize, |n, d| n.checked_mul(*d)) {
        Some(count) if count <= MAX_ELEMENTS => Ok(dims),
        _ => bail!("expected at most {MAX_ELEMENTS} elements for random data, found {input}"),
    }
}

fn open(input: &InputSpec) -> Error {
    Error::new(format!("expected known sizes for random data, found {input}"))
        .at_value(&input.name)
        .hint(shape_hint(&input.name, input.shape.len()))
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
