//! One range for every value of the model.
//!
//! Of integers of b bits the scale is S / 2^(b-1) and zero is in the middle, whether they are signed or not and the zero
//! point is free or not: all of them reach from -S up to the last step before S. What is known of a value, such as that a
//! Clip leaves nothing above 6, changes nothing: then its scale would be another. So it needs no samples.

use super::{Parameter, Range, Row, scale};

pub const OBSERVER: Row = Row {
    name: "global_scale",
    summary: "S for every value, whatever was seen or is known: b bits from -S up have the scale S / 2^(b-1)",
    parameter: Some(Parameter { meaning: "a scale", usual: 8.0, between: (0.0, f64::INFINITY) }),
    known: false,
    needs_samples: false,
    range: |_, request, s| {
        let (qmin, qmax) = request.range();
        let middle = scale::middle(request);
        // The integer beyond the greatest stands for S, so that the scale is S over a power of two.
        let step = s / (qmax + 1 - middle) as f64;
        Ok(Range { low: ((qmin - middle) as f64 * step) as f32, high: ((qmax - middle) as f64 * step) as f32 })
    },
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Spec;
    use crate::observe::{Bounds, Seen, choose};
    use lowbit_ir::Kind;

    #[test]
    fn the_scale_is_the_parameter_over_a_power_of_two() {
        let affine = |spec: Spec, s: f64| {
            let request = spec.request(Kind::Input, 0, 0);
            let range = (OBSERVER.range)(&Seen::new(), &request, s).unwrap();
            choose(range, Bounds::NONE, &request)
        };
        let scale = |spec: Spec, s: f64| affine(spec, s).scale;
        assert_eq!(scale(Spec::bits(8).signed().symmetric(), 8.0), 8.0 / 128.0);
        assert_eq!(scale(Spec::bits(8).signed().symmetric().power_of_two(), 16.0), 16.0 / 128.0);
        assert_eq!(scale(Spec::bits(4).signed().symmetric(), 3.0), 3.0 / 8.0);
        assert_eq!(scale(Spec::bits(8).signed().symmetric().narrow(), 8.0), 8.0 / 128.0);
        // The same grid, stored otherwise.
        for spec in [Spec::bits(8).unsigned().asymmetric(), Spec::bits(8).unsigned().symmetric()] {
            assert_eq!((affine(spec.clone(), 8.0).scale, affine(spec, 8.0).zero_point), (8.0 / 128.0, 128));
        }
        let free = affine(Spec::bits(8).signed().asymmetric(), 8.0);
        assert_eq!((free.scale, free.zero_point), (8.0 / 128.0, 0));
        assert_eq!(scale(Spec::bits(16).signed().symmetric(), 8.0), 8.0 / 32768.0);
    }
}
