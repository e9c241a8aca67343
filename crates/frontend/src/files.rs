//! Files: read if they are regular, written whole or not at all.
//!
//! What is written is a regular file: a rename would put one in the place of a device, a pipe or a folder, so those are
//! refused. A link stays a link, and the file it leads to is replaced.

use lowbit_ir::{Error, Result};
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, FileType, OpenOptions};
use std::io::{self, BufWriter, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

/// Links that lead to links: more than this go in a circle.
const MOST_LINKS: usize = 40;

/// Writes `path` through a temporary file in the same folder, which takes its place only when it is on the disk.
pub fn write(path: &Path, fill: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>) -> Result<()> {
    replace(path, fill).map_err(|e| e.context(format!("writing '{}'", path.display())))
}

/// Reads a whole file.
pub fn read(path: &Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(path)?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Opens a regular file: a pipe may never say anything, and a device may never end.
pub fn open(path: &Path) -> Result<File> {
    let kind = fs::metadata(path)?.file_type();
    match kind.is_file() {
        true => Ok(File::open(path)?),
        false => Err(irregular(kind)),
    }
}

/// Refuses what [`write`] would refuse, for whoever has long work to do before it.
pub fn check(path: &Path) -> Result<()> {
    let probe = || -> Result<()> {
        let (temporary, file) = create_beside(&target(path)?)?;
        drop(file);
        Ok(fs::remove_file(temporary)?)
    };
    probe().map_err(|e| e.context(format!("preparing to write '{}'", path.display())))
}

/// Whether two paths lead to one file, by links of either kind too.
pub fn same(a: &Path, b: &Path) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let identity = |path: &Path| fs::metadata(path).ok().map(|m| (m.dev(), m.ino()));
        identity(a).is_some_and(|a| Some(a) == identity(b))
    }
    #[cfg(not(unix))]
    {
        // Hard links have no portable identity; they go unnoticed here.
        fs::canonicalize(a).is_ok_and(|a| fs::canonicalize(b).is_ok_and(|b| a == b))
    }
}

/// Removes what a [`write`] of this process to `path` has begun, for whoever ends the process in the middle of it.
pub fn clear(path: &Path) -> Result<()> {
    let target = target(path)?;
    let name = target.file_name().ok_or_else(|| Error::new("expected the path of a file"))?;
    let begins = temporary_of(name);
    let folder = target.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let found = entry.file_name();
        let found = found.as_encoded_bytes();
        if found.starts_with(begins.as_encoded_bytes()) && found.ends_with(b".tmp") {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// How the temporary files of this process begin.
fn temporary_of(name: &OsStr) -> OsString {
    let mut temporary = OsString::from(".");
    temporary.push(name);
    temporary.push(format!(".{}.", std::process::id()));
    temporary
}

fn replace(path: &Path, fill: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>) -> Result<()> {
    let target = target(path)?;
    let (temporary, file) = create_beside(&target)?;
    let written = finish(file, &target, fill).and_then(|()| fs::rename(&temporary, &target));
    if written.is_err() {
        // The first error is the one to tell; a leftover file is the lesser evil.
        let _ = fs::remove_file(&temporary);
    }
    Ok(written?)
}

/// The file that a write to `path` makes or replaces, behind all links.
fn target(path: &Path) -> Result<PathBuf> {
    if let Ok(found) = fs::metadata(path) {
        return match () {
            () if !found.is_file() => Err(irregular(found.file_type())),
            () if found.permissions().readonly() => {
                Err(Error::new("the file that is there may not be written").hint("another name"))
            }
            () => Ok(fs::canonicalize(path)?),
        };
    }
    // There is nothing, or links that lead to nothing yet.
    let mut target = path.to_owned();
    for _ in 0..MOST_LINKS {
        match fs::symlink_metadata(&target) {
            Ok(found) if found.is_symlink() => target = target.with_file_name(fs::read_link(&target)?),
            Ok(_) => return Ok(target),
            Err(e) if e.kind() == ErrorKind::NotFound => return new_file(target),
            Err(e) => return Err(e.into()),
        }
    }
    Err(Error::new("its links go in a circle"))
}

fn irregular(kind: FileType) -> Error {
    match kind.is_dir() {
        true => Error::new("expected a file, found a folder").hint("name a file in it"),
        false => Error::new("expected a regular file, found a device, a pipe or a socket")
            .hint("a regular file, copied from or to there"),
    }
}

/// A path at which there is nothing, if its folder is there.
fn new_file(path: PathBuf) -> Result<PathBuf> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match folder.is_dir() {
        true => Ok(path),
        false => Err(Error::new("its folder does not exist").hint(format!("make the folder '{}'", folder.display()))),
    }
}

fn create_beside(path: &Path) -> Result<(PathBuf, File)> {
    let name = path.file_name().ok_or_else(|| Error::new("expected the path of a file"))?;
    for attempt in 0..1000 {
        let mut temporary = temporary_of(name);
        temporary.push(format!("{attempt}.tmp"));
        let temporary = path.with_file_name(temporary);
        match OpenOptions::new().write(true).create_new(true).open(&temporary) {
            Ok(file) => return Ok((temporary, file)),
            Err(e) if e.kind() == ErrorKind::AlreadyExists => {}
            Err(e) => return Err(e.into()),
        }
    }
    Err(Error::new("too many temporary files beside it"))
}

fn finish(file: File, target: &Path, fill: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>) -> io::Result<()> {
    let mut out = BufWriter::new(file);
    fill(&mut out)?;
    out.flush()?;
    // Who could not read the old file shall not read the new one.
    if let Ok(old) = fs::metadata(target) {
        out.get_ref().set_permissions(old.permissions())?;
    }
    out.get_ref().sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An empty folder of this test's own.
    fn scratch(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("lowbit-files-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    fn put(path: &Path, text: &[u8]) -> Result<()> {
        write(path, |file| file.write_all(text))
    }

    #[test]
    fn folders_are_told_and_a_check_leaves_nothing() {
        let folder = scratch("folders");
        for refused in [folder.clone(), folder.join("none/x")] {
            let (checked, written) = (check(&refused).unwrap_err().to_string(), put(&refused, b"x").unwrap_err());
            assert!(checked.contains("folder") && written.to_string().contains("folder"), "{checked}");
        }
        check(&folder.join("x")).unwrap();
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
        assert!(read(&folder).unwrap_err().to_string().contains("found a folder"));
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn what_was_begun_is_cleared_and_nothing_else() {
        let folder = scratch("begun");
        let path = folder.join("x");
        put(&path, b"old").unwrap();
        let (temporary, _file) = create_beside(&path).unwrap();
        let others = folder.join(format!(".x.{}0.0.tmp", std::process::id()));
        fs::write(&others, b"another process's").unwrap();
        assert!(temporary.exists());
        clear(&path).unwrap();
        assert!(!temporary.exists() && others.exists() && fs::read(&path).unwrap() == b"old");
        fs::remove_dir_all(folder).unwrap();
    }

    #[cfg(unix)]
    #[test]
    fn links_stay_and_what_they_lead_to_is_replaced() {
        use std::os::unix::fs::symlink;
        let folder = scratch("links");
        fs::create_dir(folder.join("deep")).unwrap();
        let (link, chain, file) = (folder.join("link"), folder.join("chain"), folder.join("deep/file"));
        symlink("deep/file", &link).unwrap();
        symlink("link", &chain).unwrap();
        // A link to what does not exist yet makes it.
        put(&chain, b"one").unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"one");
        put(&link, b"two").unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"two");
        assert!(
            fs::symlink_metadata(&link).unwrap().is_symlink() && fs::symlink_metadata(&chain).unwrap().is_symlink()
        );
        assert_eq!(fs::read_dir(folder.join("deep")).unwrap().count(), 1);
        symlink("round", folder.join("round")).unwrap();
        assert!(put(&folder.join("round"), b"x").unwrap_err().to_string().contains("circle"));
        fs::remove_dir_all(folder).unwrap();
    }

    #[cfg(unix)]
    #[test]
    fn devices_and_pipes_are_refused_and_stay() {
        let folder = scratch("devices");
        let socket = folder.join("socket");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        std::os::unix::fs::symlink("/dev/null", folder.join("null")).unwrap();
        // What a process finds behind its open files looks like a link to nothing.
        let (_reader, pipe) = io::pipe().unwrap();
        let pipe = std::os::fd::AsRawFd::as_raw_fd(&pipe);
        let open = Path::new("/proc/self/fd").join(pipe.to_string());
        for path in [socket, folder.join("null"), "/dev/null".into()].into_iter().chain(open.exists().then_some(open)) {
            for e in [check(&path).unwrap_err(), put(&path, b"x").unwrap_err(), read(&path).unwrap_err()] {
                assert!(e.to_string().contains("expected a regular file"), "{e}");
            }
            assert!(!fs::metadata(&path).unwrap().is_file());
        }
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 2);
        fs::remove_dir_all(folder).unwrap();
    }

    #[cfg(unix)]
    #[test]
    fn permissions_stay_and_forbid() {
        use std::os::unix::fs::PermissionsExt;
        let folder = scratch("permissions");
        let path = folder.join("x");
        put(&path, b"one").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        put(&path, b"two").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
        assert!(put(&path, b"three").unwrap_err().to_string().contains("may not be written"));
        assert_eq!(fs::read(&path).unwrap(), b"two");
        fs::remove_dir_all(folder).unwrap();
    }

    #[cfg(unix)]
    #[test]
    fn links_of_either_kind_are_the_same_file() {
        let folder = scratch("same");
        let path = |name: &str| folder.join(name);
        fs::write(path("a"), b"x").unwrap();
        fs::write(path("b"), b"x").unwrap();
        fs::hard_link(path("a"), path("hard")).unwrap();
        std::os::unix::fs::symlink("a", path("soft")).unwrap();
        assert!(same(&path("a"), &path("hard")) && same(&path("soft"), &path("hard")));
        assert!(!same(&path("a"), &path("b")) && !same(&path("none"), &path("none")));
        fs::remove_dir_all(folder).unwrap();
    }
}
