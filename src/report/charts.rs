//! Bars and histograms as SVG.

use super::data::{BARS, Bars, Value};
use super::html::{escape, real};
use std::fmt::Write;

/// A bar of `width` pixels for a share of what is full, 0..=1; decoration beside a number.
pub fn bar(share: f64, width: usize, class: &str) -> String {
    // A NaN is no bar.
    let filled = (share.clamp(0.0, 1.0) * width as f64).max(0.0).round();
    format!(
        "<svg width=\"{width}\" height=\"10\" aria-hidden=\"true\"><rect class=\"fill {class}\" width=\"{filled}\" \
         height=\"10\"/><rect class=\"ground\" x=\".5\" y=\".5\" width=\"{}\" height=\"9\"/></svg>",
        width - 1
    )
}

const WIDTH: f64 = 288.0;
const HEIGHT: f64 = 96.0;

/// How a value lies, with its range drawn in: heights are logarithms, so that what is rare and far is seen too.
pub fn histogram(value: &Value, bars: &Bars) -> String {
    let t = &value.parameters;
    // A range far beyond what is there would leave a line of it.
    let (low, high) = t.covers.map_or((bars.low, bars.high), |(l, h)| {
        let span = bars.high - bars.low;
        (bars.low.min(l.max(bars.low - span)), bars.high.max(h.min(bars.high + span)))
    });
    let x = |at: f64| round((at - low) / (high - low) * WIDTH);
    let most = bars.counts.iter().copied().max().unwrap_or(0);
    let full = (1.0 + most as f64).ln();
    let mut path = String::new();
    let edge = |i: usize| x(bars.low + (bars.high - bars.low) * i as f64 / BARS as f64);
    for (i, n) in bars.counts.iter().enumerate().filter(|(_, n)| **n > 0) {
        let tall = round((1.0 + *n as f64).ln() / full * HEIGHT).max(1.0);
        let _ = write!(path, "M{} {HEIGHT}V{}H{}V{HEIGHT}z", edge(i), round(HEIGHT - tall), edge(i + 1));
    }
    let mut out = format!(
        "<svg viewBox=\"0 -2 {WIDTH} {}\" role=\"img\" aria-label=\"{}\"><path class=\"hist\" d=\"{path}\"/>",
        HEIGHT + 10.0,
        escape(&told(value, bars))
    );
    if let Some((least, greatest)) = t.covers {
        for (from, to, limit) in [(low, least, least), (greatest, high, greatest)] {
            let (left, right) = (x(from), x(to));
            if right > left {
                let _ = write!(
                    out,
                    "<rect class=\"cut\" x=\"{left}\" y=\"-2\" width=\"{}\" height=\"98\"/>",
                    round(right - left)
                );
            }
            if (low..=high).contains(&limit) {
                let at = x(limit).clamp(1.0, WIDTH - 1.0);
                let _ = write!(out, "<path class=\"limit\" d=\"M{at} -2V{HEIGHT}\"/>");
            }
        }
    }
    let zero = x(0.0);
    let _ = write!(out, "<path class=\"axis\" d=\"M0 {HEIGHT}H{WIDTH}M{zero} {HEIGHT}v7\"/></svg>");
    out
}

/// The same in words.
pub fn told(value: &Value, bars: &Bars) -> String {
    let t = &value.parameters;
    let mut parts = vec![format!("values from {} to {}", real(bars.low), real(bars.high))];
    if let Some((least, greatest)) = t.covers {
        let of = if t.scale.as_ref().is_some_and(|s| s.count > 1) { " of the greatest scale" } else { "" };
        parts.push(format!("range {} to {}{of}", real(least), real(greatest)));
    }
    if let Some(percent) = t.clipped_percent {
        parts.push(format!("{percent:.3} % clipped"));
    }
    let zeros = 100.0 * bars.zeros as f64 / bars.count().max(1) as f64;
    if bars.zeros > 0 {
        parts.push(format!("{zeros:.1} % exactly zero"));
    }
    parts.join(", ")
}

fn round(x: f64) -> f64 {
    (x * 10.0).round() / 10.0
}
