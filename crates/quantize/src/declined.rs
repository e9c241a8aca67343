//! What the rules left float, as the model's metadata tells it to every later stage, and to whoever reads the file.

use crate::annotate::Declined;
use crate::realize::LeftFloat;
use lowbit_ir::{Error, Graph, Result, meta};
use std::collections::{BTreeMap, HashSet};

/// Why nodes stay float, by their names.
///
/// Only models of ours say it, and one that says something unreadable says nothing.
pub fn reasons(g: &Graph) -> BTreeMap<String, String> {
    let said = g.meta.properties.get(meta::DECLINED).and_then(|json| serde_json::from_str(json).ok());
    said.unwrap_or_default()
}

/// Writes what must stay float into the metadata.
pub(crate) fn record_firm(g: &mut Graph, declined: &[Declined]) -> Result<()> {
    record(g, declined.iter().filter(|d| d.firm))
}

/// Writes what stayed float in the end: what had to, and of the rest what realize found no integers for.
pub(crate) fn record_left(g: &mut Graph, declined: &[Declined], left: &[LeftFloat]) -> Result<()> {
    let left: HashSet<&str> = left.iter().map(|l| l.node.as_str()).collect();
    record(g, declined.iter().filter(|d| d.firm || left.contains(d.node.as_str())))
}

fn record<'a>(g: &mut Graph, declined: impl Iterator<Item = &'a Declined>) -> Result<()> {
    let reasons: BTreeMap<&str, &str> = declined.map(|d| (d.node.as_str(), d.reason.as_str())).collect();
    if reasons.is_empty() {
        g.meta.properties.remove(meta::DECLINED);
        return Ok(());
    }
    let json = serde_json::to_string(&reasons).map_err(|e| Error::new(format!("writing the reasons: {e}")))?;
    g.meta.properties.insert(meta::DECLINED.into(), json);
    Ok(())
}
