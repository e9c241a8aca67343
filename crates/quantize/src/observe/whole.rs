//! Whole numbers stand for themselves.
//!
//! Of what was divided by its scale before, nothing need be found: the range is that of the integers, so that the scale
//! is 1 and the zero point is 0 where the integers have a 0. Dynamic quantization asks for it.

use super::{Range, Row};

pub const OBSERVER: Row = Row {
    name: "whole",
    summary: "the integers themselves, of scale 1, whatever was seen: for what is in units of its scale already",
    parameter: None,
    known: false,
    needs_samples: false,
    range: |_, request, _| {
        let (qmin, qmax) = request.range();
        Ok(Range { low: qmin as f32, high: qmax as f32 })
    },
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Spec;
    use crate::observe::{Bounds, Seen, choose};
    use lowbit_ir::Kind;

    #[test]
    fn the_scale_is_one() {
        for spec in [
            Spec::bits(8).signed().symmetric().narrow(),
            Spec::bits(4).signed().symmetric().narrow(),
            Spec::bits(16).signed().symmetric().narrow(),
            Spec::bits(8).unsigned().asymmetric(),
        ] {
            let request = spec.request(Kind::Input, 0, 0);
            let range = (OBSERVER.range)(&Seen::new(), &request, 0.0).unwrap();
            let found = choose(range, Bounds::NONE, &request);
            assert_eq!((found.scale, found.zero_point), (1.0, 0), "{request}");
        }
    }
}
