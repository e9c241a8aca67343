//! The power of two above the largest weight.

use super::{Range, WeightRow};

pub const OBSERVER: WeightRow = WeightRow {
    name: "power2",
    summary: "the least power of two that is no smaller than the largest magnitude",
    range: |weights, request| {
        let largest = weights.iter().fold(0.0f32, |m, w| m.max(w.abs()));
        if largest == 0.0 {
            return Range { low: 0.0, high: 0.0 };
        }
        let power = super::scale::power_of_two_above(f64::from(largest));
        // The integer beyond the greatest stands for the power, so that the scale is a power of two as well.
        let (_, qmax) = request.range();
        let high = (f64::from(power) * qmax as f64 / (qmax + 1) as f64) as f32;
        Range { low: -high, high }
    },
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Spec;
    use crate::observe::{Bounds, choose};
    use lowbit_ir::Kind;

    #[test]
    fn scales_are_the_power_over_a_power() {
        let scale = |weights: &[f32], spec: Spec| {
            let request = spec.power_of_two().request(Kind::Weight, 0, 1);
            choose((OBSERVER.range)(weights, &request), Bounds::NONE, &request).scale
        };
        assert_eq!(scale(&[0.3, -0.51], Spec::bits(8)), 1.0 / 128.0);
        assert_eq!(scale(&[0.5], Spec::bits(8)), 0.5 / 128.0);
        assert_eq!(scale(&[3.0, -1.0], Spec::bits(4)), 4.0 / 8.0);
    }
}
