//! Tables of the pages: shown while they grow, and written between their markers, `<!-- NAME -->` and `<!-- /NAME -->`.
//!
//! What is the same on every machine is a table and nothing else, which is written whole. Times have a block for every
//! machine that they were measured on: a line that names it, and a table, of which some rows can be measured again.

use std::fs;
use std::path::Path;

use super::machine::Machine;
use crate::Result;

/// A table of a page, or rows that are to be put into one.
pub struct Table {
    name: &'static str,
    /// The titles, and the line below them.
    head: [String; 2],
    rows: Vec<String>,
}

/// How the first line of a block starts.
const MEASURED_ON: &str = "Measured on ";

impl Table {
    pub fn new(name: &'static str, titles: &[&str]) -> Table {
        let rule = format!("|---|{}", "--:|".repeat(titles.len().saturating_sub(1)));
        Table { name, head: [format!("| {} |", titles.join(" | ")), rule], rows: Vec::new() }
    }

    pub fn row(&mut self, cells: &[String]) {
        let row = format!("| {} |", cells.join(" | "));
        eprintln!("{row}");
        self.rows.push(row);
    }

    /// Its rows.
    #[cfg(test)]
    pub fn rows(&self) -> &[String] {
        &self.rows
    }

    /// Puts it between the page's markers; of chosen models it is printed, since the page has all.
    pub fn write(&self, root: &Path, page: &str, names: &[&str]) -> Result<()> {
        if !names.is_empty() {
            println!("{}", self.lines(&self.rows));
            return Ok(());
        }
        rewrite(root, page, |text| {
            let (from, to) = self.place(text)?;
            Ok(format!("{}{}\n{}", &text[..from], self.lines(&self.rows), &text[to..]))
        })
    }

    /// Puts its rows into the page's block of a machine: see [`Table::updated`].
    pub fn update(&self, root: &Path, page: &str, machine: &Machine, order: &[&str]) -> Result<()> {
        rewrite(root, page, |text| self.updated(text, &machine.name(), order))
    }

    /// A page with these rows in its block of a machine, which becomes the last one if there is none. What a row is about
    /// stands in its first cell: rows about the same as one of these give way to them, all others stay as and where they
    /// are. Rows that are new stand before the first of those that come later in `order`.
    fn updated(&self, page: &str, machine: &str, order: &[&str]) -> Result<String> {
        let (from, to) = self.place(page)?;
        let mut blocks = blocks(&page[from..to]);
        let heading = format!("{MEASURED_ON}{machine}.\n");
        let mine = blocks.iter().position(|block| block.starts_with(&heading));
        let old: Vec<&str> = mine.map_or(Vec::new(), |i| blocks[i].lines().filter(|l| l.starts_with('|')).collect());
        let (titles, rows) = old.split_at(old.len().min(2));
        if mine.is_some() && titles != self.head {
            let found = titles.join("\n");
            return Err(format!("the table {} has other columns than {}:\n{found}", self.name, self.head.join("\n")));
        }
        let block = format!("{heading}\n{}", self.lines(&merged(rows, &self.rows, order)));
        match mine {
            Some(i) => blocks[i] = block,
            None => blocks.push(block),
        }
        Ok(format!("{}{}\n{}", &page[..from], blocks.join("\n\n"), &page[to..]))
    }

    /// Where between its markers the table's place in a page starts and ends.
    fn place(&self, page: &str) -> Result<(usize, usize)> {
        let (open, close) = (format!("<!-- {} -->\n", self.name), format!("<!-- /{} -->", self.name));
        let found = page.find(&open).map(|i| i + open.len()).zip(page.find(&close));
        found.filter(|(from, to)| from <= to).ok_or_else(|| format!("there are no markers named {}", self.name))
    }

    /// Titles and rows.
    fn lines(&self, rows: &[String]) -> String {
        [&self.head[..], rows].concat().join("\n")
    }
}

/// The blocks of a place, without the empty lines between them.
fn blocks(place: &str) -> Vec<String> {
    let mut blocks: Vec<String> = Vec::new();
    for line in place.lines() {
        match blocks.last_mut().filter(|_| !line.starts_with(MEASURED_ON)) {
            Some(block) => *block = format!("{block}\n{line}"),
            None => blocks.push(line.to_string()),
        }
    }
    blocks.iter().map(|block| block.trim_end().to_string()).filter(|block| !block.is_empty()).collect()
}

/// Rows with new ones in the place of those about the same, see [`Table::updated`].
fn merged(old: &[&str], new: &[String], order: &[&str]) -> Vec<String> {
    let rank = |row: &str| order.iter().position(|subject| *subject == about(row)).unwrap_or(order.len());
    let mut rows: Vec<String> = old.iter().map(|row| row.to_string()).collect();
    for group in new.chunk_by(|a, b| about(a) == about(b)) {
        let same = |row: &String| about(row) == about(&group[0]);
        let later = |row: &String| rank(row) > rank(&group[0]);
        let at = rows.iter().position(same).or_else(|| rows.iter().position(later)).unwrap_or(rows.len());
        rows.retain(|row| !same(row));
        rows.splice(at..at, group.iter().cloned());
    }
    rows
}

/// The first cell of a row.
fn about(row: &str) -> &str {
    row.split('|').nth(1).unwrap_or_default().trim()
}

/// Replaces a page by what becomes of it.
fn rewrite(root: &Path, page: &str, change: impl FnOnce(&str) -> Result<String>) -> Result<()> {
    let path = root.join(page);
    let text = fs::read_to_string(&path).map_err(|e| format!("{page}: {e}"))?;
    let changed = change(&text).map_err(|e| format!("{page}: {e}"))?;
    // Beside the page first: it stays as it was if the disk is full.
    let half = path.with_extension("md.part");
    fs::write(&half, changed).and_then(|()| fs::rename(&half, &path)).map_err(|e| format!("{page}: {e}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORDER: &[&str] = &["small", "middle", "large"];
    const HEAD: &str = "| network | ms |\n|---|--:|\n";

    /// A table of rows of a network and a time.
    fn table(rows: &[(&str, &str)]) -> Table {
        let mut table = Table::new("times", &["network", "ms"]);
        rows.iter().for_each(|(network, ms)| table.row(&[network.to_string(), ms.to_string()]));
        table
    }

    /// The block of a machine.
    fn block(machine: &str, rows: &[(&str, &str)]) -> String {
        let rows: String = rows.iter().map(|(network, ms)| format!("| {network} | {ms} |\n")).collect();
        format!("Measured on {machine}.\n\n{HEAD}{rows}")
    }

    /// A page with these blocks.
    fn page(blocks: &[String]) -> String {
        format!("# Times\n\n<!-- times -->\n{}<!-- /times -->\n\nMeasured on Monday.\n", blocks.join("\n"))
    }

    fn updated(page: &str, machine: &str, rows: &[(&str, &str)]) -> String {
        table(rows).updated(page, machine, ORDER).unwrap()
    }

    #[test]
    fn the_first_machine_has_the_first_block() {
        let found = updated(&page(&[]), "A (2 cores, amx)", &[("small", "1")]);
        assert_eq!(found, page(&[block("A (2 cores, amx)", &[("small", "1")])]));
    }

    #[test]
    fn another_machine_has_a_block_behind_those_of_others_which_stay() {
        let first = block("A", &[("large", "3"), ("small", "1")]);
        let found = updated(&page(std::slice::from_ref(&first)), "A (more)", &[("small", "2")]);
        let second = block("A (more)", &[("small", "2")]);
        assert_eq!(found, page(&[first.clone(), second.clone()]));
        let found = updated(&found, "B", &[("middle", "5")]);
        assert_eq!(found, page(&[first, second, block("B", &[("middle", "5")])]));
    }

    #[test]
    fn another_network_stands_in_its_place_and_the_others_where_they_were() {
        let other = block("B", &[("small", "9")]);
        let before = page(&[block("A", &[("small", "1"), ("large", "3"), ("large", "4")]), other.clone()]);
        let found = updated(&before, "A", &[("middle", "2")]);
        let rows = [("small", "1"), ("middle", "2"), ("large", "3"), ("large", "4")];
        assert_eq!(found, page(&[block("A", &rows), other]));
        let before = page(&[block("A", &[("large", "3"), ("unknown", "7"), ("small", "1")])]);
        let found = updated(&before, "A", &[("middle", "2")]);
        assert_eq!(
            found,
            page(&[block("A", &[("middle", "2"), ("large", "3"), ("unknown", "7"), ("small", "1")])]),
            "what is there is not sorted, and what no order tells stays"
        );
        let found = updated(&page(&[block("A", &[("small", "1")])]), "A", &[("large", "3")]);
        assert_eq!(found, page(&[block("A", &[("small", "1"), ("large", "3")])]));
    }

    #[test]
    fn the_same_network_gives_way_with_all_its_rows() {
        let other = block("B", &[("large", "9")]);
        let before = page(&[other.clone(), block("A", &[("large", "3"), ("large", "4"), ("small", "1")])]);
        let found = updated(&before, "A", &[("large", "5")]);
        assert_eq!(found, page(&[other.clone(), block("A", &[("large", "5"), ("small", "1")])]));
        let found = updated(&found, "A", &[("large", "8"), ("large", "6"), ("small", "2"), ("middle", "7")]);
        let rows = [("middle", "7"), ("large", "8"), ("large", "6"), ("small", "2")];
        assert_eq!(found, page(&[other, block("A", &rows)]), "rows of one network keep their order");
        assert_eq!(updated(&found, "A", &rows), found, "the same again changes nothing");
    }

    #[test]
    fn every_table_of_times_of_this_project_is_made_of_blocks() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("this crate lies in the workspace");
        let page = fs::read_to_string(root.join(super::super::PERFORMANCE)).unwrap();
        for name in ["peers", "start", "variants"] {
            let (from, to) = Table::new(name, &[]).place(&page).unwrap();
            let blocks = blocks(&page[from..to]);
            assert!(!blocks.is_empty() && blocks.iter().all(|b| b.starts_with(MEASURED_ON)), "{name}: {blocks:?}");
        }
    }

    #[test]
    fn a_page_without_markers_or_with_other_columns_is_refused() {
        let e = table(&[]).updated("# Times\n", "A", ORDER).unwrap_err();
        assert!(e.contains("no markers named times"), "{e}");
        let before = page(&[block("A", &[("small", "1")]).replace("| ms |", "| seconds |")]);
        let e = table(&[("small", "2")]).updated(&before, "A", ORDER).unwrap_err();
        assert!(e.contains("other columns") && e.contains("seconds"), "{e}");
        // Those of another machine may be as they are.
        assert!(
            table(&[("small", "2")]).updated(&before, "B", ORDER).unwrap().starts_with(&before[..before.len() / 2])
        );
    }
}
