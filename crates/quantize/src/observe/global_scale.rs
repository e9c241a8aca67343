//! One range for every value of the model.

use super::{Parameter, Range, Row};

pub const OBSERVER: Row = Row {
    name: "global_scale",
    summary: "S for every value, whatever was seen: signed integers of b bits have the scale S / 2^(b-1)",
    parameter: Some(Parameter { meaning: "a scale", usual: 8.0, between: (0.0, f64::INFINITY) }),
    range: |_, request, s| {
        let (qmin, qmax) = request.range();
        let middle = if request.signed || !request.symmetric { 0 } else { (qmin + qmax + 1) / 2 };
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
        let scale = |spec: Spec, s: f64| {
            let request = spec.request(Kind::Input, 0, 0);
            let range = (OBSERVER.range)(&Seen::new(), &request, s).unwrap();
            choose(range, Bounds::NONE, &request).scale
        };
        assert_eq!(scale(Spec::bits(8).signed().symmetric(), 8.0), 8.0 / 128.0);
        assert_eq!(scale(Spec::bits(8).signed().symmetric().power_of_two(), 16.0), 16.0 / 128.0);
        assert_eq!(scale(Spec::bits(4).signed().symmetric(), 3.0), 3.0 / 8.0);
        assert_eq!(scale(Spec::bits(8).signed().symmetric().narrow(), 8.0), 8.0 / 128.0);
        assert_eq!(scale(Spec::bits(8).unsigned().asymmetric(), 8.0), 8.0 / 256.0);
        assert_eq!(scale(Spec::bits(16).signed().symmetric(), 8.0), 8.0 / 32768.0);
    }
}
