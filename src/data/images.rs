//! A folder of images and where their labels come from.
//!
//! A `labels.csv` of file,label decides if there is one; else class sub-folders, whose alphabetical order is the order
//! of the labels; else the images have none.
//! A class without images is an error, since it may be no class, and then every label behind it is another one's.
//! What a dot hides is passed over.

use super::decode::{Image, decode_in, format};
use super::room::Room;
use lowbit_frontend::files;
use lowbit_ir::{Error, Result, bail, memory};
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

/// The images of a folder, in the order of `labels.csv` or sorted by class and name.
#[derive(Debug)]
pub struct Folder {
    root: PathBuf,
    /// Paths below the folder.
    pub files: Vec<PathBuf>,
    /// One label an image.
    pub labels: Option<Vec<u32>>,
    /// Memory for those that are being read.
    room: Room,
}

impl Folder {
    /// Lists a folder; the images stay unread. `max_memory` is what reading some at a time may take.
    pub fn open(root: &Path, max_memory: usize) -> Result<Folder> {
        let table = root.join("labels.csv");
        let rows = match table.is_file() {
            true => labelled(root, &table)?,
            false => listed(root)?,
        };
        let (files, labels): (Vec<_>, Vec<_>) = rows.into_iter().unzip();
        // All have a label or none has.
        let labels = labels.into_iter().collect::<Option<Vec<u32>>>().filter(|labels| !labels.is_empty());
        Ok(Folder { root: root.to_owned(), files, labels, room: Room::new(max_memory) })
    }

    /// Reads and decodes image `i`.
    pub fn image(&self, i: usize) -> Result<Image> {
        let path = self.path(i)?;
        let read = || -> Result<Image> {
            let file = files::open(&path)?;
            let length = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
            memory::check("the file of an image", length, self.room.all())?;
            let mut bytes = Vec::new();
            file.take(length as u64).read_to_end(&mut bytes)?;
            decode_in(&bytes, &self.room)
        };
        read().map_err(|e| e.context(format!("reading image '{}'", path.display())))
    }

    /// Whether image `i` is there and starts as an image does: what can be told without decoding it.
    pub fn check(&self, i: usize) -> Result<()> {
        let path = self.path(i)?;
        let start = || -> Result<Vec<u8>> {
            let mut start = Vec::new();
            files::open(&path)?.take(8).read_to_end(&mut start)?;
            Ok(start)
        };
        let found = start().and_then(|start| format(&start));
        found.map(drop).map_err(|e| e.context(format!("reading image '{}'", path.display())))
    }

    fn path(&self, i: usize) -> Result<PathBuf> {
        match self.files.get(i) {
            Some(file) => Ok(self.root.join(file)),
            None => bail!("expected an image number below {}, found {i}", self.files.len()),
        }
    }
}

/// An image and its label.
type Row = (PathBuf, Option<u32>);

/// The rows of a `labels.csv`, whose files must exist.
fn labelled(root: &Path, table: &Path) -> Result<Vec<Row>> {
    let in_table = |e: Error| e.context(format!("reading '{}'", table.display()));
    let text = fs::read_to_string(table).map_err(|e| in_table(e.into()))?;
    let rows = parse_labels(&text).map_err(in_table)?;
    if let Some((file, _)) = rows.iter().find(|(file, _)| !root.join(file).is_file()) {
        return Err(in_table(Error::new(format!("the image '{}' it names does not exist", file.display()))));
    }
    Ok(rows.into_iter().map(|(file, label)| (file, Some(label))).collect())
}

/// Lines of file,label. A header, if there is one, says which columns those are.
fn parse_labels(text: &str) -> Result<Vec<(PathBuf, u32)>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()).peekable();
    let (mut file_column, mut label_column) = (0, 1);
    if let Some((_, first)) = lines.peek() {
        let columns = fields(first);
        let named = |names: &[&str]| columns.iter().position(|c| names.contains(&c.to_lowercase().as_str()));
        let (file, label) = (named(&["file", "filename", "image", "path"]), named(&["label"]));
        (file_column, label_column) = (file.unwrap_or(0), label.unwrap_or(1));
        if file.is_some() || label.is_some() {
            lines.next();
        }
    }
    let row = |(number, line): (usize, &str)| {
        let columns = fields(line);
        let label = columns.get(label_column).and_then(|l| l.parse().ok());
        match (columns.get(file_column), label) {
            (Some(file), Some(label)) if !file.is_empty() => Ok((PathBuf::from(file), label)),
            _ => bail!("expected file,label with a label from 0 in line {}, found '{line}'", number + 1),
        }
    };
    lines.map(row).collect()
}

/// The fields of a line of comma-separated values; quotes keep commas, a doubled quote is one.
fn fields(line: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut quoted = false;
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        let field = match fields.last_mut() {
            Some(field) => field,
            None => break,
        };
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                field.push('"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(String::new()),
            c => field.push(c),
        }
    }
    fields.iter().map(|f| f.trim().to_owned()).collect()
}

/// Class sub-folders, or images without labels.
fn listed(root: &Path) -> Result<Vec<Row>> {
    let (classes, images) = entries(root)?;
    if classes.is_empty() {
        return Ok(images.into_iter().map(|name| (name, None)).collect());
    }
    if let Some(image) = images.first() {
        bail!(
            "expected class sub-folders or images in '{}', found both ('{}', '{}')",
            root.display(),
            classes[0].display(),
            image.display()
        );
    }
    let (mut rows, mut empty) = (Vec::new(), Vec::new());
    for (label, class) in (0u32..).zip(&classes) {
        let (deeper, images) = entries(&root.join(class))?;
        if let Some(folder) = deeper.first() {
            let found = class.join(folder);
            bail!("expected images in the class folders of '{}', found folder '{}'", root.display(), found.display());
        }
        // All are empty in a folder that has no images at all, which is told as such.
        if images.is_empty() {
            empty.push(class);
        }
        rows.extend(images.into_iter().map(|name| (class.join(name), Some(label))));
    }
    match empty.first().filter(|_| !rows.is_empty()) {
        Some(class) => Err(Error::new(format!(
            "expected images in every class folder, found none in '{}', which would be class {} of '{}'",
            class.display(),
            classes.iter().position(|c| c == *class).unwrap_or(0),
            root.display()
        ))
        .hint(
            "remove the folder if it is no class; or a labels.csv of file,label, in which a class may have no images",
        )),
        None => Ok(rows),
    }
}

/// Names of sub-folders and of images in a folder, each sorted; hidden ones and other files are passed over.
fn entries(folder: &Path) -> Result<(Vec<PathBuf>, Vec<PathBuf>)> {
    let failed = |e: std::io::Error| Error::from(e).context(format!("listing '{}'", folder.display()));
    let (mut folders, mut images) = (Vec::new(), Vec::new());
    for entry in fs::read_dir(folder).map_err(failed)? {
        let name = PathBuf::from(entry.map_err(failed)?.file_name());
        let extension = name.extension().map(|e| e.to_string_lossy().to_lowercase()).unwrap_or_default();
        if name.to_string_lossy().starts_with('.') {
            continue;
        }
        match extension.as_str() {
            _ if folder.join(&name).is_dir() => folders.push(name),
            "jpg" | "jpeg" | "png" => images.push(name),
            "bmp" | "gif" | "webp" | "tif" | "tiff" | "ppm" | "pgm" | "avif" | "heic" => {
                let path = folder.join(name);
                bail!("expected JPEG and PNG images, found '{}'; convert it or take it away", path.display())
            }
            _ => {}
        }
    }
    folders.sort();
    images.sort();
    Ok((folders, images))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Vec<(String, u32)> {
        let rows = parse_labels(text).unwrap();
        rows.into_iter().map(|(file, label)| (file.display().to_string(), label)).collect()
    }

    #[test]
    fn labels_are_read_with_and_without_header() {
        let expected = [("a.png".to_owned(), 3), ("b, c.png".to_owned(), 0)];
        assert_eq!(parsed("file,label\na.png,3\n\"b, c.png\",0\n"), expected);
        assert_eq!(parsed("\u{feff}a.png, 3\r\n\r\n\"b, c.png\",0"), expected);
        assert_eq!(parsed("label,classes,file\n3,12,a.png\n0,12,\"b, c.png\""), expected);
    }

    #[test]
    fn lines_without_a_label_are_named() {
        for text in ["a.png", "a.png,cat", "file,label\na.png,-1", "a.png,1\n,2"] {
            let line = text.lines().count();
            let e = parse_labels(text).unwrap_err().to_string();
            assert!(e.contains(&format!("line {line}")), "{e}");
        }
    }
}
