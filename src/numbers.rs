//! Numbers for people, as the command line and reports write them.

/// `1,008`.
pub fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `1 image`, `1,008 images`.
pub fn counted(n: usize, what: &str) -> String {
    let plural = match (n, what) {
        (1, _) => "",
        (_, w) if w.ends_with(['s', 'x', 'h']) => "es",
        _ => "s",
    };
    format!("{} {what}{plural}", count(n as u64))
}

/// `416.4 KB`, in thousands.
pub fn bytes(n: u64) -> String {
    scaled(n, &["B", "KB", "MB", "GB", "TB"])
}

/// `12.1 M`, in thousands.
pub fn amount(n: u64) -> String {
    scaled(n, &["", "K", "M", "G", "T"]).trim_end().into()
}

fn scaled(n: u64, units: &[&str]) -> String {
    let mut value = n as f64;
    let mut unit = units.iter();
    let mut name = unit.next().copied().unwrap_or_default();
    // What would round to 1000.0 belongs to the next unit.
    while value >= 999.95 {
        let Some(next) = unit.next() else { break };
        (value, name) = (value / 1000.0, next);
    }
    match name == units.first().copied().unwrap_or_default() {
        true => format!("{value:.0} {name}"),
        false => format!("{value:.1} {name}"),
    }
}

/// Three digits at least: `0.512`, `12.3`, `1,234`.
pub fn milliseconds(ms: f64) -> String {
    match ms {
        ms if ms < 10.0 => format!("{ms:.3}"),
        ms if ms < 100.0 => format!("{ms:.2}"),
        ms if ms < 1000.0 => format!("{ms:.1}"),
        ms => count(ms.round() as u64),
    }
}

/// `93.75`.
pub fn percent(p: f64) -> String {
    format!("{p:.2}")
}

/// A share: `12.5`, and what is there but small is not 0.
pub fn share(p: f64) -> String {
    if p > 0.0 && p < 0.05 { "<0.1".into() } else { format!("{p:.1}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_exact_enough() {
        assert_eq!([0, 999, 1000, 1234567].map(count), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!(
            [0, 999, 1000, 416_432, 999_960, 3_500_000].map(bytes),
            ["0 B", "999 B", "1.0 KB", "416.4 KB", "1.0 MB", "3.5 MB"]
        );
        assert_eq!([12, 12_100_000].map(amount), ["12", "12.1 M"]);
        assert_eq!([0.5124, 12.345, 123.45, 1234.5].map(milliseconds), ["0.512", "12.35", "123.5", "1,235"]);
        assert_eq!([0.0, 0.01, 12.34, 100.0].map(share), ["0.0", "<0.1", "12.3", "100.0"]);
        assert_eq!((counted(1, "image"), counted(1008, "class")), ("1 image".into(), "1,008 classes".into()));
    }
}
