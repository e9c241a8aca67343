//! The registries as rows of text: what `lowbit list` prints and docs/reference.md is made of.

/// A registry: its name, what it is, and its rows.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Listing {
    /// The name that `lowbit list` takes.
    pub name: &'static str,
    /// What its rows are.
    pub summary: &'static str,
    /// Column titles.
    pub columns: Vec<&'static str>,
    /// Rows, one cell a column.
    pub rows: Vec<Vec<String>>,
}
