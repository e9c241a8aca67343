//! Text in HTML: whatever a model is called, it stays text.

use sha2::{Digest, Sha256};

/// A text as HTML shows it, in elements and in quoted attributes; what would steer the reader's eye is spelled out.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\n' | '\t' => out.push(c),
            // Controls are no text, and marks of direction let what follows read otherwise than it is.
            c if c.is_control() || is_direction(c) => out.extend(c.escape_unicode()),
            c => out.push(c),
        }
    }
    out
}

fn is_direction(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{2028}' | '\u{2029}')
}

/// The end of a name, where names of exporters differ: at most `width` characters, behind an ellipsis.
pub fn tail(name: &str, width: usize) -> String {
    let count = name.chars().count();
    match count > width {
        true => std::iter::once('…').chain(name.chars().skip(count + 1 - width)).collect(),
        false => name.into(),
    }
}

/// How a content security policy names a style or a script that may be: by its digest.
pub fn allowed(content: &str) -> String {
    format!("'sha256-{}'", base64(&Sha256::digest(content.as_bytes())))
}

/// RFC 4648, with padding.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let byte = |i: usize| u32::from(chunk.get(i).copied().unwrap_or(0));
        let group = byte(0) << 16 | byte(1) << 8 | byte(2);
        for i in 0..4 {
            match i <= chunk.len() {
                true => out.push(char::from(DIGITS[(group >> (18 - 6 * i)) as usize & 63])),
                false => out.push('='),
            }
        }
    }
    out
}

/// A real number in few digits: `0.0123`, `-2.02`, `1.2e-7`.
pub fn real(x: f64) -> String {
    let size = x.abs();
    match () {
        () if x == 0.0 => "0".into(),
        () if !x.is_finite() => x.to_string(),
        () if !(1e-3..1e6).contains(&size) => format!("{x:.3e}"),
        () if size >= 1000.0 => format!("{x:.0}"),
        () if size >= 10.0 => format!("{x:.2}"),
        () => format!("{x:.4}"),
    }
}

/// Decibels; no noise is exact.
pub fn decibels(db: f64) -> String {
    match () {
        () if db == f64::INFINITY => "exact".into(),
        () if db.is_nan() => "no number".into(),
        () => format!("{db:.1}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_text() {
        assert_eq!(
            escape("</script><img src=x onerror='a(\"b\")'>&amp;"),
            "&lt;/script&gt;&lt;img src=x onerror=&#39;a(&quot;b&quot;)&#39;&gt;&amp;amp;"
        );
        assert_eq!(escape("a\0b\u{202e}c\u{1b}é"), "a\\u{0}b\\u{202e}c\\u{1b}é");
        assert_eq!((tail("/a/b/conv", 6), tail("conv", 6)), ("…/conv".into(), "conv".into()));
    }

    #[test]
    fn digests_are_spelled_as_browsers_do() {
        let spelled = ["", "f", "fo", "foo", "foobar"].map(|text| base64(text.as_bytes()));
        assert_eq!(spelled, ["", "Zg==", "Zm8=", "Zm9v", "Zm9vYmFy"]);
        assert_eq!(allowed(""), "'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='");
    }

    #[test]
    fn reals_are_short() {
        assert_eq!(
            [0.0, -2.016_24, 12.345, 123_456.7, 1.25e-7].map(real),
            ["0", "-2.0162", "12.35", "123457", "1.250e-7"]
        );
        assert_eq!([f64::INFINITY, 38.24, f64::NAN].map(decibels), ["exact", "38.2", "no number"]);
    }
}
