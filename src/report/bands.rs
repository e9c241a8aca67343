//! What colours mean: a few bands, each with words for it.

/// A band, the best first; its place is its colour.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Band {
    /// Values from here on belong to it, unless to one before.
    pub from: f64,
    /// What it is, in words.
    pub words: &'static str,
    /// Its colour in formats that have no themes, as `#rrggbb`.
    pub colour: &'static str,
    /// The colour of text on it.
    pub ink: &'static str,
}

/// Text on light colours.
const DARK: &str = "#1d1b16";
/// Text on dark colours.
const LIGHT: &str = "#ffffff";

/// Of signal to noise, in decibels.
pub static ERROR: [Band; 5] = [
    Band { from: 40.0, words: "40 dB or more", colour: "#fff6dd", ink: DARK },
    Band { from: 30.0, words: "30 to 40 dB", colour: "#fddc9a", ink: DARK },
    Band { from: 20.0, words: "20 to 30 dB", colour: "#f8ae5c", ink: DARK },
    Band { from: 10.0, words: "10 to 20 dB", colour: "#c94f1d", ink: LIGHT },
    Band { from: f64::NEG_INFINITY, words: "below 10 dB", colour: "#8a1c12", ink: LIGHT },
];

/// Of a share of the time, in percent, the least first.
pub static TIME: [Band; 5] = [
    Band { from: 0.0, words: "below 1 % of the time", colour: "#fff6dd", ink: DARK },
    Band { from: 1.0, words: "1 to 2 %", colour: "#fddc9a", ink: DARK },
    Band { from: 2.0, words: "2 to 5 %", colour: "#f8ae5c", ink: DARK },
    Band { from: 5.0, words: "5 to 10 %", colour: "#c94f1d", ink: LIGHT },
    Band { from: 10.0, words: "10 % or more", colour: "#8a1c12", ink: LIGHT },
];

/// The band of decibels; what is no number is the last.
pub fn of_error(db: f64) -> usize {
    ERROR.iter().position(|band| db >= band.from).unwrap_or(ERROR.len() - 1)
}

/// The band of a share of the time.
pub fn of_time(percent: f64) -> usize {
    TIME.iter().rposition(|band| percent >= band.from).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_has_its_band() {
        let errors = [f64::INFINITY, 40.0, 39.9, 12.0, -3.0, f64::NAN].map(of_error);
        assert_eq!(errors, [0, 0, 1, 3, 4, 4]);
        assert_eq!([0.0, 0.99, 1.0, 7.0, 100.0].map(of_time), [0, 0, 1, 3, 4]);
    }
}
