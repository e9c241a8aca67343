//! What became of a model, for people: one page that a browser shows without anything else, the same as JSON, and
//! overlays for Model Explorer.
//!
//! [`data`] gathers it as a plain value, [`between`](mod@between) does so for any two models, [`page`](mod@page) writes it as
//! HTML, [`overlay`] as node data, [`write`] all of it into a folder. Nothing but times is different from run to run.

pub mod bands;
pub mod between;
mod charts;
pub mod data;
pub mod graph;
mod html;
pub mod overlay;
pub mod page;
mod picture;
mod tables;

pub use between::{Look, Pair, between};
pub use data::{Data, Sources, gather};
pub use page::page;

use crate::bench::Effort;
use lowbit_frontend::files;
use lowbit_ir::{Error, Result};
use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long each program is timed for a report: enough for a median, not for a record.
pub const EFFORT: Effort = Effort { warm_up: Duration::from_millis(200), duration: Duration::from_secs(1) };

/// The page's file.
pub const PAGE: &str = "index.html";

/// The file of the same as JSON.
pub const JSON: &str = "report.json";

/// Refuses a folder that [`write`] could not write to, for whoever has long work to do before it. The folder need not be
/// there, but the one that it will be in does.
pub fn check(folder: &Path) -> Result<()> {
    let names = || [PAGE, JSON].into_iter().chain(overlay::names());
    let probe = || -> Result<()> {
        let made = make(folder)?;
        let checked = names().try_for_each(|name| files::check(&folder.join(name)));
        if made {
            fs::remove_dir(folder)?;
        }
        checked
    };
    probe().map_err(|e| e.context(format!("preparing to write a report to '{}'", folder.display())))
}

/// Makes the folder, if it is not there; tells whether it made it.
fn make(folder: &Path) -> Result<bool> {
    match fs::metadata(folder) {
        Ok(found) if found.is_dir() => Ok(false),
        Ok(_) => Err(Error::new("expected a folder, found a file").hint("a folder, which is made if it is not there")),
        Err(e) if e.kind() == ErrorKind::NotFound => match fs::create_dir(folder) {
            Ok(()) => Ok(true),
            Err(e) if e.kind() == ErrorKind::NotFound => {
                let within = folder.parent().unwrap_or(Path::new("")).display().to_string();
                Err(Error::new("its folder does not exist").hint(format!("make the folder '{within}'")))
            }
            Err(e) => Err(e.into()),
        },
        Err(e) => Err(e.into()),
    }
}

/// The files of a report, rendered.
///
/// # Errors
///
/// Where JSON cannot be written.
pub fn render(data: &Data) -> Result<Vec<(&'static str, String)>> {
    let json = serde_json::to_string_pretty(data).map_err(|e| Error::new(format!("writing {JSON}: {e}")))?;
    let mut all = vec![(PAGE, page(data)), (JSON, json + "\n")];
    all.extend(overlay::files(data)?);
    Ok(all)
}

/// Writes a report into a folder, which is made if it is not there, and tells the files.
///
/// # Errors
///
/// Where something cannot be written: then nothing that was not there before is left behind.
pub fn write(data: &Data, folder: &Path) -> Result<Written> {
    let rendered = render(data)?;
    let made = make(folder).map_err(|e| e.context(format!("writing a report to '{}'", folder.display())))?;
    let mut written = Written { folder: made.then(|| folder.to_owned()), files: Vec::new(), new: Vec::new() };
    // A measure that this report has not would be that of another one.
    let stale = overlay::names().filter(|name| rendered.iter().all(|(other, _)| other != name));
    let stale: Vec<PathBuf> = stale.map(|name| folder.join(name)).filter(|path| path.is_file()).collect();
    for (name, text) in rendered {
        let path = folder.join(name);
        let new = fs::symlink_metadata(&path).is_err();
        if let Err(e) = files::write(&path, |file| file.write_all(text.as_bytes())) {
            written.undo();
            return Err(e);
        }
        if new {
            written.new.push(path.clone());
        }
        written.files.push(path);
    }
    for path in stale {
        fs::remove_file(&path).map_err(|e| Error::from(e).context(format!("removing '{}'", path.display())))?;
    }
    Ok(written)
}

/// A report in its folder.
#[derive(Debug)]
pub struct Written {
    /// The folder, if it was made.
    folder: Option<PathBuf>,
    /// The files.
    pub files: Vec<PathBuf>,
    /// Those that were not there before.
    new: Vec<PathBuf>,
}

impl Written {
    /// Takes back what was not there before, where what the report is of failed after all.
    pub fn undo(self) {
        // The error that led here is the one to tell.
        self.new.iter().for_each(|path| drop(fs::remove_file(path)));
        self.folder.iter().for_each(|folder| drop(fs::remove_dir(folder)));
    }
}
