//! Everything that comes as a file or as text: read, and what was read used.

use crate::choices::Choices;
use crate::executors::{self, MEMORY, accepted};
use bytes::Bytes;
use lowbit::data::{Dataset, InputSpec, Overrides, decode, idx, npy, npz, preprocess, resize};
use lowbit::frontend::onnx::Message;
use lowbit::frontend::onnx::proto::StringStringEntryProto;
use lowbit::frontend::{self, ImportOptions, mxnet};
use lowbit::ir::text::{self, Constants};
use lowbit::quantization::calibrate::file as statistics_file;
use lowbit::{Config, Graph, Model, inspect};
use std::fs;
use std::path::PathBuf;

/// How model files are read: within little memory.
pub fn import_options() -> ImportOptions {
    ImportOptions { max_memory: MEMORY, ..ImportOptions::default() }
}

/// A model of the ONNX format.
pub fn onnx(data: &[u8]) -> bool {
    let read = frontend::onnx::import(Bytes::copy_from_slice(data), None, &import_options());
    let Some((graph, remarks)) = accepted(read) else { return false };
    let _ = frontend::remark_lines(&remarks);
    used(graph)
}

/// The text form of a graph.
pub fn text(data: &[u8]) -> bool {
    let Ok(given) = std::str::from_utf8(data) else { return false };
    let Some(graph) = accepted(text::parse(given)) else { return false };
    let printed = text::print(&graph);
    let again = text::parse(&printed).unwrap_or_else(|e| panic!("what was printed is not read: {e}\n{printed}"));
    assert_eq!(text::print(&again), printed, "the text of a graph is not the text of its text");
    let _ = text::print_with(&graph, Constants::Elided);
    used(graph)
}

/// A configuration, as a file, as an assignment of the command line, and as what a file of a model stores.
pub fn config(data: &[u8]) -> bool {
    let Ok(given) = std::str::from_utf8(data) else { return false };
    for line in given.lines().take(8) {
        let _ = accepted(Config::assigned(line));
        let _ = accepted(Config::default().set(line));
    }
    let Some(config) = accepted(Config::from_toml(given)) else { return false };
    let _ = accepted(config.check());
    let _ = (config.entries(), config.filled());
    let Some(written) = accepted(config.to_toml()) else { return false };
    let again = Config::from_toml(&written).unwrap_or_else(|e| panic!("what was written is not read: {e}\n{written}"));
    let twice = again.to_toml().unwrap_or_else(|e| panic!("what was read is not written: {e}"));
    assert_eq!(twice, written, "a configuration changes when it is written and read");
    true
}

/// An array of NumPy.
pub fn npy(data: &[u8]) -> bool {
    let Some(tensor) = accepted(npy::parse(Bytes::copy_from_slice(data))) else { return false };
    let kept = Scratch::new("array.npy", &[]);
    npy::write(&kept.0, &tensor).unwrap_or_else(|e| panic!("what was read is not written: {e}"));
    let again = npy::read(&kept.0).unwrap_or_else(|e| panic!("what was written is not read: {e}"));
    assert!(executors::difference(&tensor, &again).is_none(), "an array changes when it is written and read");
    let _ = dataset(data, "rows.npy");
    true
}

/// Arrays of NumPy in a zip.
pub fn npz(data: &[u8]) -> bool {
    let kept = Scratch::new("arrays.npz", data);
    let Some(mut archive) = accepted(npz::Npz::open(&kept.0)) else { return false };
    let mut read = 0;
    for name in archive.names().iter().take(16) {
        let size = accepted(archive.size(name)).unwrap_or(usize::MAX);
        if size <= MEMORY && accepted(archive.read(name)).is_some() {
            read += 1;
        }
    }
    dataset(data, "arrays.npz") || read > 0
}

/// An image, as a file of a folder has it, resized to what a network takes.
pub fn image(data: &[u8]) -> bool {
    let _ = accepted(decode::format(data));
    // What it will take is asked for before it is taken, by who reads folders.
    if !dataset(data, "image") {
        return false;
    }
    let Some(image) = accepted(decode::decode(data)) else { return false };
    let (width, height) = resize::short_side(image.width, image.height, 9);
    if width.max(height) <= 1024 {
        let small = resize::bilinear(&image, width, height);
        assert_eq!(small.pixels.len(), width * height * small.channels, "a resized image has all its pixels");
        let cropped = resize::center_crop(&small, 7, 7);
        assert_eq!(cropped.pixels.len(), 49 * cropped.channels, "a cut image has all its pixels");
    }
    let _ = (image.clone().into_luminance(), image.into_rgb());
    true
}

/// Images of the idx format, plain or compressed.
pub fn idx(data: &[u8]) -> bool {
    let kept = Scratch::new("images-idx3-ubyte", data);
    let Some(images) = accepted(idx::Idx::open(&kept.0, MEMORY)) else { return false };
    for i in [0, 1, images.count.wrapping_sub(1), images.count] {
        let _ = accepted(images.image(i));
    }
    true
}

/// An MXNet model: the first byte says whether the symbol, its parameters or both are given.
pub fn mxnet(data: &[u8]) -> bool {
    let c = &mut Choices::of(data);
    let own = crate::seeds::mxnet_params();
    let (symbol, params): (&[u8], &[u8]) = match (c.below(3), data.get(1..).unwrap_or_default()) {
        (0, symbol) => (symbol, &own),
        (1, params) => (crate::seeds::MXNET_SYMBOL.as_bytes(), params),
        (_, both) => both.split_at(both.iter().position(|b| *b == 0).unwrap_or(both.len())),
    };
    let params = params.strip_prefix(&[0]).filter(|_| data.first().is_some_and(|b| b % 3 == 2)).unwrap_or(params);
    let shapes = vec![("data".to_owned(), vec![1, 3, 6, 5])];
    let _ = accepted(mxnet::params::read(Bytes::copy_from_slice(params)));
    let open = mxnet::import(symbol, Some(Bytes::copy_from_slice(params)), &import_options());
    let _ = accepted(open);
    let options = ImportOptions { shapes, ..import_options() };
    let Some((graph, _)) = accepted(mxnet::import(symbol, Some(Bytes::copy_from_slice(params)), &options)) else {
        return false;
    };
    used(graph)
}

/// What a quantized model says about itself: pairs of a key and a value, divided by zero bytes, where a byte below 16
/// stands for one of our keys.
pub fn metadata(data: &[u8]) -> bool {
    const KEYS: [&str; 10] = [
        lowbit::model::CONFIG,
        lowbit::model::NOISE,
        lowbit::model::REALIZERS,
        lowbit::model::PASSES,
        lowbit::ir::meta::PREPROCESS,
        lowbit::ir::meta::LABELS,
        lowbit::ir::meta::DECLINED,
        lowbit::ir::meta::EQUALIZATION,
        frontend::onnx::notes::FORMAT_KEY,
        frontend::onnx::notes::NOTES_KEY,
    ];
    let mut model = crate::damage::ORIGINALS.last().cloned().unwrap_or_default();
    let mut fields = data.split(|b| *b == 0).take(32);
    while let Some(key) = fields.next() {
        let value = String::from_utf8_lossy(fields.next().unwrap_or_default()).into_owned();
        let key = match key {
            [known @ 0..16] => KEYS[usize::from(*known) % KEYS.len()].to_owned(),
            other => String::from_utf8_lossy(other).into_owned(),
        };
        model.metadata_props.retain(|p| p.key() != key);
        model.metadata_props.push(StringStringEntryProto { key: Some(key), value: Some(value) });
    }
    let read = frontend::load_bytes(model.encode_to_vec().into(), None, &import_options());
    let Some(graph) = accepted(read) else { return false };
    let model = Model::from(graph.clone());
    let _ = (accepted(model.stored_preprocess()), accepted(model.config()));
    if let Some(preprocess) = accepted(preprocess::resolve(None, model.preprocess(), &Overrides::default())).flatten() {
        let inputs = [spec(vec![Some(1), Some(3), Some(6), Some(6)])];
        let kept = Scratch::new("image.png", crate::seeds::PNG);
        let folder = kept.0.parent().map(|f| f.display().to_string()).unwrap_or_default();
        let data = Dataset::open_within(&folder, &inputs, Some(&preprocess), MEMORY);
        let _ = accepted(data.and_then(|data| data.sample(0)));
    }
    used(graph)
}

/// A file of statistics. The last four bytes are made the checksum that they are asked to be.
pub fn statistics(data: &[u8]) -> bool {
    let _ = accepted(statistics_file::read(data));
    let content = data.get(..data.len().saturating_sub(4)).unwrap_or_default();
    let checked = [content, &crc32fast::hash(content).to_le_bytes()].concat();
    let Some(shard) = accepted(statistics_file::read(&checked)) else { return false };
    let written = statistics_file::write(&shard).unwrap_or_else(|e| panic!("what was read is not written: {e}"));
    let again = statistics_file::read(&written).unwrap_or_else(|e| panic!("what was written is not read: {e}"));
    assert_eq!(statistics_file::write(&again).ok(), Some(written), "statistics change when they are written and read");
    true
}

/// Whatever was read is described, made integers where it says so, compiled and run.
fn used(graph: Graph) -> bool {
    let _ = accepted(inspect::inspect(&graph));
    let model = Model::from(graph).within(MEMORY);
    let Some((lowered, _)) = accepted(model.lowered()) else { return false };
    let Some(sized) = accepted(lowbit::model::with_batch(&lowered, None)) else { return false };
    if !executors::is_small(&sized) {
        return false;
    }
    let Some(inputs) = accepted(executors::noise(&sized)) else { return false };
    executors::compare(&sized, &inputs, &executors::chosen(&sized), false, 1).is_some()
}

/// Bytes in a file as data for a network of one image.
fn dataset(data: &[u8], name: &str) -> bool {
    let kept = Scratch::new(name, data);
    let path = match name {
        "image" => kept.0.parent().map(|f| f.to_owned()).unwrap_or_default(),
        _ => kept.0.clone(),
    };
    let inputs = [spec(vec![None, Some(3), Some(6), Some(6)])];
    let preprocess = match name {
        "image" => accepted(preprocess::resolve(None, Some(crate::seeds::PREPROCESS), &Overrides::default())).flatten(),
        _ => None,
    };
    let opened = Dataset::open_within(&path.display().to_string(), &inputs, preprocess.as_ref(), MEMORY);
    let Some(opened) = accepted(opened) else { return false };
    let _ = accepted(opened.check(opened.len()));
    accepted(opened.sample(0)).is_some()
}

fn spec(shape: Vec<Option<usize>>) -> InputSpec {
    InputSpec { name: "data".into(), dtype: lowbit::ir::DType::F32, shape, below: None, quant: None }
}

/// A file in a folder of its own, both gone when it is dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str, data: &[u8]) -> Self {
        let thread = format!("{:?}", std::thread::current().id()).replace(|c: char| !c.is_ascii_digit(), "");
        let folder = std::env::temp_dir().join(format!("lowbit-fuzz-{}-{thread}", std::process::id())).join(name);
        // Images are known by the ends of their names.
        let name = match (name, data) {
            ("image", [0x89, ..]) => "a.png",
            ("image", _) => "a.jpg",
            (name, _) => name,
        };
        let path = folder.join(name);
        let made = fs::create_dir_all(&folder).and_then(|()| fs::write(&path, data));
        made.unwrap_or_else(|e| panic!("a scratch file cannot be written: {e}"));
        Scratch(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let folder = self.0.parent().map(|f| f.to_owned()).unwrap_or_default();
        let _ = fs::remove_dir_all(folder);
    }
}
