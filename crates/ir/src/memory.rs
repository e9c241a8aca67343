//! How much memory work on a model may ask for beyond the model itself: asked before it is taken.
//!
//! A few bytes of a file can say a padding of a billion pixels. Whoever allocates what a model says compares first.

use crate::{Error, Result, Type};

/// What may be asked for unless somebody says otherwise: 2 GiB.
pub const MAX_MEMORY: usize = 2 << 30;

/// Refuses to take more than is allowed; `what` is what the memory is for.
pub fn check(what: &str, needed: usize, allowed: usize) -> Result<()> {
    if needed <= allowed {
        return Ok(());
    }
    let whole = needed.div_ceil(1 << 30);
    Err(Error::new(format!(
        "expected at most {} of memory beyond the model, found {} for {what}",
        text(allowed),
        text(needed)
    ))
    .hint(format!(
        "a smaller input or batch, or other sizes here; --max-memory {whole}G (max_memory in Rust) where the machine has that much"
    )))
}

/// Bytes of a value; more than there can be where its sizes are open or do not fit.
pub fn bytes(ty: &Type) -> usize {
    ty.shape.count().and_then(|n| ty.dtype.bytes(n)).unwrap_or(usize::MAX)
}

/// `512 MiB`, `2 GiB`, `1.5 GiB`.
pub fn text(bytes: usize) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let (mut value, mut unit) = (bytes as f64, 0);
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        (value, unit) = (value / 1024.0, unit + 1);
    }
    let digits = usize::from(value.fract() >= 0.05);
    format!("{value:.digits$} {}", UNITS[unit])
}

/// A limit as people write it: `512M`, `2G`, a number of bytes, or `none`.
pub fn parse(text: &str) -> Result<usize> {
    let wrong = || Error::new(format!("expected an amount of memory such as 512M or 2G, or none, found '{text}'"));
    if text == "none" {
        return Ok(usize::MAX);
    }
    let (number, shift) = match text.char_indices().next_back() {
        Some((at, 'k' | 'K')) => (&text[..at], 10),
        Some((at, 'm' | 'M')) => (&text[..at], 20),
        Some((at, 'g' | 'G')) => (&text[..at], 30),
        _ => (text, 0),
    };
    match number.parse::<u64>().ok().and_then(|n| n.checked_mul(1 << shift)).filter(|n| *n > 0) {
        // More than this machine can address is no limit to it.
        Some(bytes) => Ok(usize::try_from(bytes).unwrap_or(usize::MAX)),
        None => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_read_and_told() {
        let read = |t| parse(t).unwrap();
        assert_eq!([read("512M"), read("2G"), read("3k"), read("7")], [512 << 20, 2 << 30, 3 << 10, 7]);
        assert_eq!(read("none"), usize::MAX);
        for wrong in ["", "G", "-1G", "0", "2GB", "1.5G", "99999999999G"] {
            assert!(parse(wrong).unwrap_err().to_string().contains("512M or 2G"), "{wrong}");
        }
        assert_eq!([7, 512 << 20, 2 << 30, 3 << 29].map(text), ["7 B", "512 MiB", "2 GiB", "1.5 GiB"]);
    }

    #[test]
    fn a_refusal_says_what_is_allowed_and_found() {
        check("this", 10, 10).unwrap();
        let e = check("the arena", 5 << 30, MAX_MEMORY).unwrap_err().to_string();
        assert!(
            e.contains("at most 2 GiB") && e.contains("found 5 GiB for the arena") && e.contains("--max-memory 5G")
        );
    }
}
