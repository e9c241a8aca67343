//! Tables of text: numbers to the right, words to the left.

use crate::output::Paper;

/// Which side a column leans to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

/// Rows under titles.
#[derive(Debug)]
pub struct Table {
    columns: Vec<(String, Side)>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these titles.
    pub fn new(columns: &[(&str, Side)]) -> Self {
        Table { columns: columns.iter().map(|(title, side)| (title.to_string(), *side)).collect(), rows: Vec::new() }
    }

    /// One more row, one cell a column.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// The text, every line indented by `indent` spaces; no titles if all are empty.
    pub fn print(&self, paper: &Paper, indent: usize) -> String {
        let titles: Vec<String> = self.columns.iter().map(|(title, _)| title.clone()).collect();
        let widths: Vec<usize> = (0..titles.len())
            .map(|i| {
                self.rows.iter().chain([&titles]).filter_map(|row| row.get(i)).map(|c| width(c)).max().unwrap_or(0)
            })
            .collect();
        let line = |cells: &[String]| {
            let padded: Vec<String> = cells
                .iter()
                .zip(&widths)
                .zip(&self.columns)
                .map(|((cell, &w), (_, side))| {
                    let space = " ".repeat(w.saturating_sub(width(cell)));
                    match side {
                        Side::Left => format!("{cell}{space}"),
                        Side::Right => format!("{space}{cell}"),
                    }
                })
                .collect();
            padded.join("  ").trim_end().to_string()
        };
        let indent = " ".repeat(indent);
        let mut out = String::new();
        if titles.iter().any(|t| !t.is_empty()) {
            out.push_str(&format!("{indent}{}\n", paper.dim(&line(&titles))));
        }
        self.rows.iter().for_each(|row| out.push_str(&format!("{indent}{}\n", line(row))));
        out
    }
}

/// Cells on a terminal, near enough: one a character.
fn width(text: &str) -> usize {
    text.chars().count()
}

/// At most `width` characters; the end gives way to an ellipsis.
pub fn clip(text: &str, width: usize) -> String {
    match text.chars().count() > width {
        true => text.chars().take(width.saturating_sub(1)).chain(['…']).collect(),
        false => text.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_lean_right() {
        let mut table = Table::new(&[("layer", Side::Left), ("ms", Side::Right)]);
        table.row(["conv".into(), "10.5".into()]);
        table.row(["größe".into(), "1.5".into()]);
        let text = table.print(&Paper::new(true), 2);
        assert_eq!(text, "  layer    ms\n  conv   10.5\n  größe   1.5\n");
    }

    #[test]
    fn long_texts_are_clipped() {
        assert_eq!(clip("abcdef", 4), "abc…");
        assert_eq!(clip("äbcd", 4), "äbcd");
    }
}
