//! The nearest known name, for errors about unknown ones.

/// Names longer than this are not compared: nobody mistypes them, and the distance takes quadratic time.
const LONGEST: usize = 128;

/// The candidate that `name` most likely meant, if one is near enough to be a slip of the fingers.
///
/// Letter case counts nothing, and one edit in three letters is allowed; among equals the first wins.
pub fn nearest<'a, S: AsRef<str> + ?Sized + 'a>(
    name: &str,
    candidates: impl IntoIterator<Item = &'a S>,
) -> Option<&'a str> {
    let wanted = letters(name)?;
    candidates
        .into_iter()
        .filter_map(|c| {
            let found = letters(c.as_ref())?;
            let allowed = wanted.len().max(found.len()).div_ceil(3);
            // The lengths' difference is a lower bound that spares most of the work in long lists.
            let distance = match wanted.len().abs_diff(found.len()) {
                d if d > allowed => d,
                _ => distance(&wanted, &found),
            };
            (distance <= allowed && distance < wanted.len().max(1)).then_some((distance, c.as_ref()))
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, c)| c)
}

/// `" (did you mean 'x'?)"`, or nothing if no candidate is near: to be put at the end of a message.
pub fn did_you_mean<'a, S: AsRef<str> + ?Sized + 'a>(
    name: &str,
    candidates: impl IntoIterator<Item = &'a S>,
) -> String {
    nearest(name, candidates).map_or(String::new(), |c| format!(" (did you mean '{c}'?)"))
}

fn letters(name: &str) -> Option<Vec<char>> {
    let letters: Vec<char> = name.chars().flat_map(char::to_lowercase).take(LONGEST + 1).collect();
    (letters.len() <= LONGEST).then_some(letters)
}

/// Edits (insert, delete, replace, swap neighbours) that turn one word into the other.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let replaced = last[j] + usize::from(x != y);
            let mut best = replaced.min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *x == b[j - 1] && a[i - 1] == *y {
                best = best.min(before[j - 1] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
    }
    last.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_recognized() {
        let passes = ["fold-constants", "fold-batchnorm", "fuse-requantize", "sweep"];
        assert_eq!(nearest("fold-constant", &passes), Some("fold-constants"));
        assert_eq!(nearest("fold-batchnrom", &passes), Some("fold-batchnorm"));
        assert_eq!(nearest("SWEEP", passes), Some("sweep"));
        assert_eq!(nearest("swep", &passes.map(String::from)), Some("sweep"));
    }

    #[test]
    fn strangers_are_not() {
        assert_eq!(nearest("quantize", &["sweep", "plan"]), None);
        assert_eq!(nearest("", &["a"]), None);
        assert_eq!(nearest("x", &["y"]), None);
        assert_eq!(nearest("x", &[] as &[&str]), None);
        assert_eq!(nearest(&"a".repeat(1 << 20), &["aa"]), None);
    }

    #[test]
    fn distances_are_edits() {
        let of = |a: &str, b: &str| distance(&letters(a).unwrap(), &letters(b).unwrap());
        assert_eq!(of("kitten", "sitting"), 3);
        assert_eq!(of("ab", "ba"), 1);
        assert_eq!(of("", "abc"), 3);
        assert_eq!(of("same", "same"), 0);
    }
}
