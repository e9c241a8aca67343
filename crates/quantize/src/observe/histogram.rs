//! A histogram that widens without loss.
//!
//! Bins are dyadic and anchored at zero: bin i covers i * 2^e up to (i + 1) * 2^e. When values outgrow the bins, pairs
//! of neighbours merge into bins of twice the width, and since every bin of the wider grid is exactly two of the
//! narrower, nothing is lost. The width is the least that holds the range seen, so it depends on what was seen and not
//! on the order: statistics of parts, merged in any order, are the statistics of the whole, to the bit.

use lowbit_ir::{Error, Result};

/// Bins on either side of zero.
pub const BINS: usize = 4096;

/// Finest bin width, as a power of two; what is smaller shares the bins next to zero.
const FINEST: i32 = -120;

/// What is known of the values of a tensor.
#[derive(Debug, Clone, PartialEq)]
pub struct Histogram {
    /// Bins are 2^exponent wide.
    exponent: i32,
    /// Counts of the bins from zero up; zero itself is counted apart.
    positive: Vec<u64>,
    /// Counts of the bins from zero down.
    negative: Vec<u64>,
    /// How many values were exactly zero, which every quantization represents exactly.
    zeros: u64,
    min: f32,
    max: f32,
}

/// What a histogram is made of: the bins that hold something, by their distance from zero, and what gives their width.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Parts {
    pub min: f32,
    pub max: f32,
    pub zeros: u64,
    pub positive: Vec<(usize, u64)>,
    pub negative: Vec<(usize, u64)>,
}

/// So many values are worth tables of their own.
const MANY: usize = 4 * BINS;

/// Tables that are counted in by turns.
const TABLES: usize = 4;

/// Slots of each for zeros.
const ZEROS: usize = 16;

/// So many values at once that no count leaves 32 bits.
const MOST_AT_ONCE: usize = 1 << 31;

/// More values than this are in no histogram that is read: sums of thousands of such do not overflow, and floats hold
/// every count exactly.
const MOST: u64 = 1 << 53;

impl Default for Histogram {
    fn default() -> Self {
        Histogram {
            exponent: FINEST,
            positive: Vec::new(),
            negative: Vec::new(),
            zeros: 0,
            min: f32::INFINITY,
            max: f32::NEG_INFINITY,
        }
    }
}

impl Histogram {
    /// Counts these values; NaN and infinities are errors.
    pub fn add(&mut self, data: &[f32]) -> Result<()> {
        self.count_in(data).map(|_| ())
    }

    /// As [`Self::add`]; tells the least and the greatest of these values, infinities if there are none.
    pub(crate) fn count_in(&mut self, data: &[f32]) -> Result<Ends> {
        let (min, max) = ends(data)?;
        self.cover(min, max);
        if data.len() >= MANY {
            data.chunks(MOST_AT_ONCE).for_each(|part| self.count_many(part));
            return Ok((min, max));
        }
        let inverse = power(-self.exponent);
        for x in data {
            // A product with a power of two is exact, and the bins cover the range, so the casts are exact.
            let scaled = f64::from(*x) * inverse;
            if *x > 0.0 {
                self.positive[scaled as usize] += 1;
            } else if *x < 0.0 {
                self.negative[(-scaled) as usize] += 1;
            } else {
                self.zeros += 1;
            }
        }
        Ok((min, max))
    }

    /// As the loop of [`Self::count_in`], of values that the bins cover already: in tables that have a slot for every bin,
    /// so that no branch asks for the sign of a value, and in turn in several, so that equal neighbours do not wait for
    /// each other. Zeros, of which there are whole runs, have many slots between the two sides.
    fn count_many(&mut self, data: &[f32]) {
        let (below, above) = (self.negative.len(), self.negative.len() + ZEROS);
        let mut tables = vec![[0u32; TABLES]; above + self.positive.len()];
        // Exact, or so small that the bin is the first one anyway.
        let inverse = power(-self.exponent) as f32;
        let mut block = [0i32; 16 * ZEROS];
        for part in data.chunks(block.len()) {
            for (i, (place, x)) in block.iter_mut().zip(part).enumerate() {
                let bin = whole(x.abs() * inverse);
                let negative = if *x < 0.0 { below as i32 - 1 - bin } else { below as i32 + (i % ZEROS) as i32 };
                *place = if *x > 0.0 { above as i32 + bin } else { negative };
            }
            for (i, at) in block.iter().take(part.len()).enumerate() {
                tables[*at as usize][i % TABLES] += 1;
            }
        }
        let count = |of: &[u32; TABLES]| of.iter().map(|n| u64::from(*n)).sum::<u64>();
        let (negative, others) = tables.split_at(below);
        let (zeros, positive) = others.split_at(ZEROS);
        self.negative.iter_mut().zip(negative.iter().rev()).for_each(|(bin, n)| *bin += count(n));
        self.positive.iter_mut().zip(positive).for_each(|(bin, n)| *bin += count(n));
        self.zeros += zeros.iter().map(count).sum::<u64>();
    }

    /// Adds what another histogram counted.
    pub fn merge(&mut self, other: &Histogram) {
        self.cover(other.min, other.max);
        let mut other = other.clone();
        other.widen(self.exponent);
        let add = |to: &mut Vec<u64>, from: &[u64]| to.iter_mut().zip(from).for_each(|(a, b)| *a += b);
        add(&mut self.positive, &other.positive);
        add(&mut self.negative, &other.negative);
        self.zeros += other.zeros;
    }

    /// Makes the bins cover these values too.
    fn cover(&mut self, min: f32, max: f32) {
        // One zero, whichever comes first.
        self.min = self.min.min(min) + 0.0;
        self.max = self.max.max(max) + 0.0;
        let reach = self.max.max(-self.min).max(0.0);
        let mut exponent = self.exponent;
        while bin(reach, exponent) >= BINS {
            exponent += 1;
        }
        self.widen(exponent);
        let grow = |bins: &mut Vec<u64>, x: f32| bins.resize(bins.len().max(bin(x, exponent) + 1), 0);
        if self.max > 0.0 {
            grow(&mut self.positive, self.max);
        }
        if self.min < 0.0 {
            grow(&mut self.negative, -self.min);
        }
    }

    fn widen(&mut self, exponent: i32) {
        let by = (exponent - self.exponent).max(0) as u32;
        for bins in [&mut self.positive, &mut self.negative] {
            let width = 1usize.checked_shl(by).unwrap_or(usize::MAX);
            *bins = bins.chunks(width).map(|pair| pair.iter().sum()).collect();
        }
        self.exponent = self.exponent.max(exponent);
    }

    /// What would have been seen of values limited to `low..=high`, a range around zero.
    pub fn limited(&self, low: f32, high: f32) -> Histogram {
        let mut limited = self.clone();
        limited.min = limited.min.max(low);
        limited.max = limited.max.min(high);
        for (bins, end) in [(&mut limited.positive, high), (&mut limited.negative, -low)] {
            let last = bin(end.max(0.0), self.exponent);
            if last < bins.len().saturating_sub(1) {
                let beyond: u64 = bins.drain(last + 1..).sum();
                bins[last] += beyond;
            }
        }
        limited
    }

    /// What a file holds of it; see [`Self::from_parts`].
    pub(crate) fn parts(&self) -> Parts {
        // Of the two zeros whichever came first was kept, and files do not depend on the order.
        let one_zero = |x: f32| x + 0.0;
        let filled = |bins: &[u64]| bins.iter().copied().enumerate().filter(|(_, n)| *n > 0).collect();
        Parts {
            min: one_zero(self.min),
            max: one_zero(self.max),
            zeros: self.zeros,
            positive: filled(&self.positive),
            negative: filled(&self.negative),
        }
    }

    /// The histogram of these parts, if there is one: the width and the number of bins follow from the least and the
    /// greatest value.
    pub(crate) fn from_parts(parts: &Parts) -> Result<Histogram> {
        let mut h = Histogram::default();
        let wrong = |what: &str| Err(Error::new(format!("expected the counts of a histogram, found {what}")));
        let nothing = parts.min == f32::INFINITY && parts.max == f32::NEG_INFINITY;
        if !nothing {
            if !(parts.min.is_finite() && parts.max.is_finite() && parts.min <= parts.max) {
                return wrong(&format!("values from {} to {}", parts.min, parts.max));
            }
            h.cover(parts.min, parts.max);
        }
        h.zeros = parts.zeros;
        let mut total = parts.zeros;
        for (bins, filled) in [(&mut h.positive, &parts.positive), (&mut h.negative, &parts.negative)] {
            for (i, n) in filled {
                let Some(bin) = bins.get_mut(*i) else { return wrong("some beyond the greatest value") };
                *bin = *n;
                total = total.saturating_add(*n);
            }
            // What reaches furthest was counted.
            if bins.last() == Some(&0) {
                return wrong("none of the greatest value");
            }
        }
        if total > MOST {
            return wrong("more of them than any samples have");
        }
        if nothing == (total > 0) || (h.zeros > 0) && (parts.min > 0.0 || parts.max < 0.0) {
            return wrong("others than its range has");
        }
        Ok(h)
    }

    /// How many bins it keeps, empty ones too.
    pub(crate) fn kept(&self) -> usize {
        self.positive.len() + self.negative.len()
    }

    /// How many values were counted.
    pub fn count(&self) -> u64 {
        self.zeros + self.positive.iter().chain(&self.negative).sum::<u64>()
    }

    /// How many values were exactly zero.
    pub fn zeros(&self) -> u64 {
        self.zeros
    }

    /// The least and greatest value, zero included: every range has to contain it.
    pub fn range(&self) -> (f32, f32) {
        (self.min.min(0.0), self.max.max(0.0))
    }

    /// Width of a bin.
    pub fn width(&self) -> f64 {
        power(self.exponent)
    }

    /// The bins that hold something, ascending: centre and count. The outermost centres are within what was seen.
    pub fn bins(&self) -> impl Iterator<Item = (f64, u64)> + '_ {
        let (width, min, max) = (self.width(), f64::from(self.min), f64::from(self.max));
        let centre = move |i: usize| (i as f64 + 0.5) * width;
        let below = self.negative.iter().enumerate().rev().map(move |(i, n)| ((-centre(i)).max(min), *n));
        let above = self.positive.iter().enumerate().map(move |(i, n)| (centre(i).min(max), *n));
        below.chain(std::iter::once((0.0, self.zeros))).chain(above).filter(|(_, n)| *n > 0)
    }
}

/// The least and the greatest of some values.
pub(crate) type Ends = (f32, f32);

/// The least and the greatest of values, of none infinities; NaN and infinities are errors.
pub(crate) fn ends(data: &[f32]) -> Result<Ends> {
    // Several side by side: a single one would wait for itself at every value.
    const LANES: usize = 16;
    let (mut least, mut greatest) = ([f32::INFINITY; LANES], [f32::NEG_INFINITY; LANES]);
    // What is finite leaves nothing behind when it is multiplied by zero.
    let mut left = [0.0f32; LANES];
    let (whole, rest) = data.as_chunks::<LANES>();
    for part in whole {
        for (((least, greatest), left), x) in least.iter_mut().zip(&mut greatest).zip(&mut left).zip(part) {
            *least = if *x < *least { *x } else { *least };
            *greatest = if *x > *greatest { *x } else { *greatest };
            *left += x * 0.0;
        }
    }
    if left.iter().any(|left| *left != 0.0) || rest.iter().any(|x| !x.is_finite()) {
        check_finite(data)?;
    }
    let least = rest.iter().chain(&least).copied().fold(f32::INFINITY, f32::min);
    let greatest = rest.iter().chain(&greatest).copied().fold(f32::NEG_INFINITY, f32::max);
    Ok((least, greatest))
}

/// Refuses NaN and infinities.
pub fn check_finite(data: &[f32]) -> Result<()> {
    // Without a branch for each element, since nearly always all are finite.
    if data.iter().fold(true, |finite, x| finite & x.is_finite()) {
        return Ok(());
    }
    let at = data.iter().position(|x| !x.is_finite()).unwrap_or(0);
    let bad = data.get(at).copied().unwrap_or(f32::NAN);
    Err(Error::new(format!("expected finite values to calibrate on, found {bad} (element {at})"))
        .hint("check the calibration data and the model's preprocessing"))
}

/// The whole part of a number below a million that is not negative. A cast, which says of every float what it is, would be
/// one number at a time.
fn whole(x: f32) -> i32 {
    // Floats from here to twice as much are whole numbers, one apart: a sum with it is rounded to one.
    const WHOLE: f32 = (1 << 23) as f32;
    let nearest = x + WHOLE;
    let beyond = i32::from(nearest - WHOLE > x);
    (nearest.to_bits() - WHOLE.to_bits()) as i32 - beyond
}

fn bin(x: f32, exponent: i32) -> usize {
    (f64::from(x) * power(-exponent)) as usize
}

/// 2^e, exactly, for exponents of floats.
fn power(e: i32) -> f64 {
    f64::from_bits(((1023 + e.clamp(-1022, 1023)) as u64) << 52)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(data: &[f32]) -> Histogram {
        let mut h = Histogram::default();
        h.add(data).unwrap();
        h
    }

    proptest! {
        #[test]
        fn parts_merged_in_any_order_are_the_whole(
            parts in prop::collection::vec(prop::collection::vec(prop_oneof![-1e3f32..1e3, -1e-6f32..1e-6, Just(0.0)], 0..40), 1..6)
        ) {
            let whole = of(&parts.concat());
            let mut one_by_one = Histogram::default();
            parts.iter().for_each(|p| one_by_one.add(p).unwrap());
            let mut backwards = Histogram::default();
            parts.iter().rev().for_each(|p| backwards.merge(&of(p)));
            prop_assert_eq!(&whole, &one_by_one);
            prop_assert_eq!(&whole, &backwards);
            prop_assert_eq!(whole.count(), parts.concat().len() as u64);
        }

        #[test]
        fn parts_give_the_histogram_back(data in prop::collection::vec(prop_oneof![-1e3f32..1e3, -1e-6f32..1e-6, Just(0.0), Just(-0.0)], 0..40)) {
            let h = of(&data);
            prop_assert_eq!(&Histogram::from_parts(&h.parts()).unwrap(), &h);
            let backwards: Vec<f32> = data.iter().rev().copied().collect();
            prop_assert_eq!(format!("{:?}", of(&backwards).parts()), format!("{:?}", h.parts()));
        }

        #[test]
        fn every_value_lies_in_its_bin(data in prop::collection::vec(-1e4f32..1e4, 1..50)) {
            let h = of(&data);
            for x in &data {
                let near = h.bins().any(|(c, _)| (c - f64::from(*x)).abs() <= h.width());
                prop_assert!(near, "{x} is in no bin of width {}", h.width());
            }
        }
    }

    #[test]
    fn many_values_are_counted_like_few() {
        for scale in [1e-44f32, 1e-36, 1.0, 3e34] {
            let of_place = |i: usize| ((i * 7919) % 10_007) as f32 - 2000.0;
            let data: Vec<f32> =
                (0..MANY + 5).map(|i| (of_place(i) * scale).max(if i % 3 == 0 { 0.0 } else { -1e30 })).collect();
            let mut few = Histogram::default();
            data.chunks(100).for_each(|part| few.add(part).unwrap());
            assert_eq!(of(&data), few, "{scale}");
        }
    }

    #[test]
    fn limits_gather_what_is_beyond_them() {
        let h = of(&[-100.0, -3.0, 0.0, 1.0, 50.0]).limited(-4.0, f32::INFINITY);
        assert_eq!((h.count(), h.range()), (5, (-4.0, 50.0)));
        assert_eq!(h.bins().next().map(|(c, n)| (c >= -4.0 - h.width(), n)), Some((true, 1)));
        assert_eq!(of(&[2.0]).limited(-1.0, 3.0), of(&[2.0]));
    }

    #[test]
    fn parts_of_no_histogram_are_refused() {
        let good = of(&[-1.0, 0.0, 2.0]).parts();
        let refused = |change: &dyn Fn(&mut Parts)| {
            let mut parts = good.clone();
            change(&mut parts);
            Histogram::from_parts(&parts).unwrap_err().to_string()
        };
        for (change, why) in [
            (&(|p: &mut Parts| p.max = f32::NAN) as &dyn Fn(&mut Parts), "to NaN"),
            (&|p| p.min = 3.0, "from 3 to 2"),
            (&|p| p.positive.push((BINS, 1)), "beyond the greatest"),
            (&|p| p.negative.clear(), "none of the greatest"),
            (&|p| p.zeros = u64::MAX, "more of them"),
            (&|p| (p.min, p.negative) = (1.0, Vec::new()), "others than its range"),
            (&|p| (p.min, p.max) = (f32::INFINITY, f32::NEG_INFINITY), "beyond the greatest"),
        ] {
            let error = refused(change);
            assert!(error.contains(why), "{why}: {error}");
        }
    }

    #[test]
    fn memory_does_not_depend_on_the_data() {
        let h = of(&[1e-30, -3e38, 3e38, 1.0]);
        assert!(h.positive.len() <= BINS && h.negative.len() <= BINS);
        assert_eq!(h.range(), (-3e38, 3e38));
    }

    #[test]
    fn what_is_not_finite_is_refused_by_place() {
        let error = Histogram::default().add(&[1.0, f32::NAN]).unwrap_err().to_string();
        assert!(error.contains("NaN") && error.contains("element 1"), "{error}");
        assert!(Histogram::default().add(&[f32::INFINITY]).is_err());
    }
}
