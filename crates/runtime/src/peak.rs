//! What this machine can do at most, for reports: a step's rate is told as a share of it.

use crate::isa::{Isa, detect};
use lowbit_kernels::{Features, peak, pick};
use std::hint::black_box;
use std::time::{Duration, Instant};

/// How long to look for the highest rate.
const EFFORT: Duration = Duration::from_millis(20);
/// A trial takes about so long: short, so that some are not disturbed.
const TRIAL: Duration = Duration::from_micros(50);

/// Products of bytes that one core makes with an instruction set, in multiply-accumulates a second: the best of many short
/// trials. None if this CPU lacks the instruction set.
pub fn products(isa: Isa) -> Option<f64> {
    let here = detect();
    let row = pick(peak::Q8, Features(isa.features.0 & here.0), |_| here.has(isa.features))?;
    let (mut steps, mut best) = (64usize, 0.0f64);
    let begin = Instant::now();
    while begin.elapsed() < EFFORT {
        let start = Instant::now();
        // SAFETY: this CPU has the features that the row was picked by.
        black_box(unsafe { (row.run)(steps) });
        let took = start.elapsed();
        if took < TRIAL {
            steps *= 2;
        } else {
            best = best.max((steps * row.macs) as f64 / took.as_secs_f64());
        }
    }
    Some(best)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_instruction_set_has_a_rate_and_what_is_not_here_has_none() {
        for isa in Isa::available() {
            let rate = products(isa).unwrap();
            assert!(rate.is_finite() && rate > 0.0, "{}: {rate}", isa.name);
        }
        assert_eq!(products(Isa { name: "none", features: Features(1 << 31) }), None);
    }
}
