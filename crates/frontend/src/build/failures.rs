//! What could not be read of a model, as one report.

use lowbit_ir::{Error, Result};
use std::collections::BTreeMap;

/// A node that could not be read.
#[derive(Debug)]
pub struct Failure {
    /// The kind of node, as the file names it.
    pub kind: String,
    /// Why.
    pub error: Error,
}

/// Most node names listed for one reason.
const NAMES_SHOWN: usize = 5;

/// All failures as one error: one line a kind of node and reason, most frequent first.
pub fn report(mut failures: Vec<Failure>) -> Result<()> {
    if failures.len() < 2 {
        return match failures.pop() {
            None => Ok(()),
            Some(f) => Err(f.error.context(format!("reading a node of type {}", f.kind))),
        };
    }
    let mut groups: BTreeMap<(String, String), Vec<&Failure>> = BTreeMap::new();
    for f in &failures {
        groups.entry((f.kind.clone(), f.error.message().to_string())).or_default().push(f);
    }
    let mut lines: Vec<(usize, String)> = Vec::new();
    for ((kind, why), members) in groups {
        let names: Vec<String> =
            members.iter().take(NAMES_SHOWN).map(|f| format!("'{}'", f.error.node().unwrap_or_default())).collect();
        let more = match members.len().saturating_sub(NAMES_SHOWN) {
            0 => String::new(),
            n => format!(" and {n} more"),
        };
        lines.push((members.len(), format!("{} x {kind}: {why} (node {}{more})", members.len(), names.join(", "))));
    }
    lines.sort_by_key(|(count, _)| std::cmp::Reverse(*count));
    let lines: Vec<String> = lines.into_iter().map(|(_, line)| line).collect();
    let open = failures.iter().any(|f| f.error.to_string().contains("--shape"));
    let error =
        Error::new(format!("{} nodes of the model cannot be read:\n    {}", failures.len(), lines.join("\n    ")));
    Err(if open {
        error.hint("bind the open dimensions of the inputs, for instance --shape name=1x3x224x224")
    } else {
        error
    })
}
