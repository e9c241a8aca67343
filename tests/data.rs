//! The data side of the facade: files in, tensors out, bit for bit as NumPy and Pillow have them.
//!
//! The fixtures under `tests/data` are made by the Python scripts beside them.

use lowbit::data::decode::{Image, decode};
use lowbit::data::npz::{self, Npz};
use lowbit::data::preprocess::{ImageInput, resolve};
use lowbit::data::resize::{bilinear, center_crop, short_side};
use lowbit::data::{Channels, Dataset, InputSpec, Overrides, PRESETS, Preprocess, npy};
use lowbit_ir::{DType, Tensor, Type};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

/// An empty folder of this test's own.
fn scratch(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("data").join(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    folder
}

fn input(name: &str, dtype: DType, shape: &[usize]) -> InputSpec {
    let shape = shape.iter().map(|d| Some(*d).filter(|d| *d > 0)).collect();
    InputSpec { name: name.into(), dtype, shape, below: None, quant: None }
}

fn open(path: &Path, inputs: &[InputSpec], preprocess: Option<&str>) -> lowbit_ir::Result<Dataset> {
    let preprocess = preprocess.map(|name| Preprocess::preset(name).unwrap());
    Dataset::open(path.to_str().unwrap(), inputs, preprocess.as_ref())
}

fn png_file(path: &Path, image: &Image) {
    let mut encoder = png::Encoder::new(fs::File::create(path).unwrap(), image.width as u32, image.height as u32);
    encoder.set_color(if image.channels == 1 { png::ColorType::Grayscale } else { png::ColorType::Rgb });
    encoder.write_header().unwrap().write_image_data(&image.pixels).unwrap();
}

/// The image that make_resize_fixtures.py draws.
fn draw(width: usize, height: usize, channels: usize) -> Image {
    let value = |x: usize, y: usize, c: usize| {
        x * 7 + y * 13 + c * 101 + (x * y) % 17 * 11 + ((x * x + 3 * y) >> 2) + ((x ^ y) & 1) * 97
    };
    let mut pixels = Vec::new();
    for y in 0..height {
        for x in 0..width {
            pixels.extend((0..channels).map(|c| value(x, y, c) as u8));
        }
    }
    Image::new(width, height, channels, pixels).unwrap()
}

fn fnv(bytes: &[u8]) -> String {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    format!("{:016x}", bytes.iter().fold(0xcbf2_9ce4_8422_2325, step))
}

#[test]
fn resizes_and_crops_are_pillows_and_torchvisions() {
    let text = fs::read_to_string(fixture("resize.txt")).unwrap();
    let mut seen = 0;
    for line in text.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let n = |i: usize| words[i].parse::<usize>().unwrap();
        match words[0] {
            "resize" => assert_eq!(fnv(&bilinear(&draw(n(1), n(2), n(3)), n(4), n(5)).pixels), words[6], "{line}"),
            "crop" => assert_eq!(fnv(&center_crop(&draw(n(1), n(2), n(3)), n(4), n(5)).pixels), words[6], "{line}"),
            "short" => assert_eq!(short_side(n(1), n(2), n(3)), (n(4), n(5)), "{line}"),
            other => panic!("unknown fixture {other}"),
        }
        seen += 1;
    }
    assert_eq!(seen, 56);
}

#[test]
fn images_are_decoded_as_pillow_does() {
    let mut expected = Npz::open(&fixture("images/expected.npz")).unwrap();
    let names: Vec<String> = expected.names();
    let files: Vec<&str> = names.iter().filter_map(|name| name.strip_suffix(".rgb")).collect();
    assert_eq!(files.len(), 27);
    for file in files {
        let image = decode(&fs::read(fixture("images").join(file)).unwrap()).unwrap();
        let rgb = image.clone().into_rgb();
        let l = image.into_luminance();
        for (found, name) in [(rgb, format!("{file}.rgb")), (l, format!("{file}.l"))] {
            let array = expected.read(&name).unwrap();
            assert_eq!(&array.dims()[..2], [found.height, found.width], "{name}");
            let differences = || found.pixels.iter().zip(array.bytes().iter()).map(|(a, b)| a.abs_diff(*b));
            match file.ends_with(".png") {
                true => assert_eq!(found.pixels, array.bytes().as_ref(), "{name}"),
                // Chroma upsampling rounds otherwise than libjpeg-turbo's; luminance has only the inverse transform.
                false => {
                    let most = if name.ends_with(".l") { 1 } else { 3 };
                    assert!(differences().all(|d| d <= most), "{name}: {:?}", differences().max());
                }
            }
        }
    }
}

#[test]
fn adobes_marker_says_what_three_components_are() {
    let bytes = fs::read(fixture("images/rgb.jpg")).unwrap();
    let mut numbered = bytes.clone();
    let at = |marker: [u8; 2]| bytes.windows(2).position(|found| found == marker).unwrap();
    let (frame, scan) = (at([0xff, 0xc0]), at([0xff, 0xda]));
    for (i, name) in [1, 2, 3].into_iter().enumerate() {
        numbered[frame + 10 + 3 * i] = name;
        numbered[scan + 5 + 2 * i] = name;
    }
    assert_ne!(numbered, bytes);
    assert_eq!(decode(&numbered).unwrap(), decode(&bytes).unwrap());
}

/// Element `i` as make_array_fixtures.py fills it.
fn filled(kind: &str, i: usize) -> i64 {
    match kind.as_bytes()[0] {
        b'u' => (i as i64 * 3 - 7).rem_euclid(200),
        b'b' => i as i64 % 2,
        _ => i as i64 * 3 - 7,
    }
}

#[test]
fn npy_files_of_numpy_are_read() {
    let kinds = [
        ("f2", DType::F16),
        ("f4", DType::F32),
        ("f8", DType::F32),
        ("i1", DType::I8),
        ("u1", DType::U8),
        ("i2", DType::I16),
        ("u2", DType::U16),
        ("i4", DType::I32),
        ("u4", DType::I64),
        ("i8", DType::I64),
        ("u8", DType::I64),
        ("b1", DType::Bool),
    ];
    let ordered = ["little", "big"]
        .into_iter()
        .flat_map(|order| kinds.map(|(kind, dtype)| (format!("{order}_{kind}.npy"), kind, dtype)));
    let others = [
        ("version1.npy".to_owned(), "f4", DType::F32),
        ("version2.npy".to_owned(), "f4", DType::F32),
        ("version3.npy".to_owned(), "f4", DType::F32),
        ("fortran_f4.npy".to_owned(), "f4", DType::F32),
        ("fortran_i2.npy".to_owned(), "i2", DType::I16),
    ];
    for (name, kind, dtype) in ordered.chain(others) {
        let path = fixture("arrays").join(&name);
        let tensor = npy::read(&path).unwrap();
        assert_eq!((tensor.dtype(), tensor.dims()), (dtype, &[2, 3, 4][..]), "{name}");
        let expected: Vec<f32> = (0..24).map(|i| filled(kind, i) as f32).collect();
        assert_eq!(tensor.reals().unwrap(), expected, "{name}");
        let rows = npy::Rows::open(&path).unwrap();
        for i in 0..2 {
            let row = rows.get(Some(i)).unwrap();
            assert_eq!(row.dims(), [3, 4], "{name}");
            assert_eq!(*row.reals().unwrap(), expected[i * 12..(i + 1) * 12], "{name}");
        }
        assert!(rows.get(Some(2)).is_err());
    }
    assert_eq!(*npy::read(&fixture("arrays/scalar.npy")).unwrap().reals().unwrap(), [-7.0]);
    assert_eq!(npy::read(&fixture("arrays/empty.npy")).unwrap().dims(), [0, 3]);
}

/// A tensor of every dtype.
fn every_tensor() -> Vec<Tensor> {
    let tensor = |dtype: DType| match dtype.range() {
        None => Tensor::from_floats(Type::plain(dtype, vec![2, 3]), vec![0.0, -1.5, 2.0, f32::INFINITY, 1e-3, -0.0]),
        Some((lo, hi)) => Tensor::from_ints(Type::plain(dtype, vec![2, 3]), &[lo, hi, 0, 1, lo.max(0), hi]),
    };
    DType::ALL.into_iter().map(|dtype| tensor(dtype).unwrap()).collect()
}

#[test]
fn every_tensor_comes_back_from_npy_and_npz() {
    let folder = scratch("roundtrip");
    let tensors = every_tensor();
    let names: Vec<String> = tensors.iter().map(|t| t.dtype().to_string()).collect();
    let arrays: Vec<(&str, &Tensor)> = names.iter().map(String::as_str).zip(&tensors).collect();
    let archive = folder.join("all.npz");
    npz::write(&archive, &arrays).unwrap();
    let mut archive = Npz::open(&archive).unwrap();
    assert_eq!(archive.names().len(), DType::ALL.len());
    for (name, tensor) in arrays {
        let path = folder.join(name).with_extension("npy");
        npy::write(&path, tensor).unwrap();
        for found in [npy::read(&path).unwrap(), archive.read(name).unwrap()] {
            assert_eq!(found.dims(), tensor.dims(), "{name}");
            assert_eq!(found.reals().unwrap(), tensor.reals().unwrap(), "{name}");
            let stored = match tensor.dtype() {
                DType::BF16 => DType::F32,
                DType::I4 | DType::I2 => DType::I8,
                DType::U4 | DType::U2 => DType::U8,
                same => same,
            };
            assert_eq!(found.dtype(), stored, "{name}");
        }
    }
    let scalar = folder.join("scalar.npy");
    npy::write(&scalar, &Tensor::scalar(2.5)).unwrap();
    assert_eq!(npy::read(&scalar).unwrap(), Tensor::scalar(2.5));
    // NumPy aligns the data of its files to 64 bytes; nothing but the files remains in the folder.
    assert_eq!(fs::read(&scalar).unwrap().len(), 128 + 4);
    assert_eq!(fs::read_dir(&folder).unwrap().count(), DType::ALL.len() + 2);
}

#[test]
fn a_failed_write_leaves_the_old_file() {
    let folder = scratch("atomic");
    let path = folder.join("x.npy");
    npy::write(&path, &Tensor::scalar(1.0)).unwrap();
    let failed = lowbit::frontend::files::write(&path, |file| {
        file.write_all(b"half")?;
        Err(std::io::Error::other("the disk is full"))
    });
    assert!(failed.unwrap_err().to_string().contains("the disk is full"));
    assert_eq!(npy::read(&path).unwrap(), Tensor::scalar(1.0));
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
    let e = npy::write(&folder.join("none/x.npy"), &Tensor::scalar(1.0)).unwrap_err().to_string();
    assert!(e.contains("none/x.npy"), "{e}");
}

#[test]
fn npz_files_of_numpy_are_read() {
    for name in ["stored.npz", "deflated.npz"] {
        let mut file = Npz::open(&fixture("arrays").join(name)).unwrap();
        assert_eq!(file.names(), ["x", "ids", "label"]);
        assert_eq!(file.read("label").unwrap().ints().unwrap(), [1, 0]);
        assert_eq!(file.read("ids").unwrap().dims(), [2, 5]);
        assert!(file.read("y").is_err());
    }
}

#[test]
fn arrays_become_samples() {
    let x = input("x", DType::F32, &[0, 3, 4]);
    let data = open(&fixture("arrays/little_u1.npy"), std::slice::from_ref(&x), None).unwrap();
    assert_eq!((data.len(), data.has_labels(), data.is_random()), (2, false, false));
    let sample = data.sample(1).unwrap();
    let (name, tensor) = &sample.inputs[0];
    assert_eq!((name.as_str(), tensor.dtype(), tensor.dims()), ("x", DType::F32, &[1, 3, 4][..]));
    assert_eq!(tensor.reals().unwrap()[0], filled("u1", 12) as f32);
    assert_eq!(sample.name, "little_u1.npy[1]");
    assert!(data.sample(2).is_err());

    // One dimension fewer is a single sample, one more gives each sample its own batch dimension.
    let single = open(&fixture("arrays/little_f4.npy"), &[input("x", DType::F32, &[0, 2, 3, 4])], None).unwrap();
    assert_eq!((single.len(), single.sample(0).unwrap().inputs[0].1.dims()), (1, &[1, 2, 3, 4][..]));
    let outer = open(&fixture("arrays/little_f4.npy"), &[input("x", DType::F32, &[3, 4])], None).unwrap();
    assert_eq!((outer.len(), outer.sample(1).unwrap().inputs[0].1.dims()), (2, &[3, 4][..]));

    let e =
        open(&fixture("arrays/little_f4.npy"), &[input("x", DType::F32, &[0, 4, 4])], None).unwrap_err().to_string();
    assert!(e.contains("f32[?x4x4]") && e.contains("2x3x4"), "{e}");
    let e = open(&fixture("arrays/empty.npy"), &[input("x", DType::F32, &[0, 3])], None).unwrap_err().to_string();
    assert!(e.contains("at least one sample"), "{e}");
}

#[test]
fn archives_feed_inputs_by_name() {
    let inputs = [input("ids", DType::I64, &[0, 5]), input("x", DType::F32, &[0, 3, 4])];
    for name in ["arrays/stored.npz", "arrays/deflated.npz"] {
        let data = open(&fixture(name), &inputs, None).unwrap();
        assert_eq!((data.len(), data.has_labels()), (2, true));
        let sample = data.sample(0).unwrap();
        assert_eq!(sample.label, Some(1));
        assert_eq!((sample.inputs[0].0.as_str(), sample.inputs[0].1.dtype()), ("ids", DType::I64));
        assert_eq!(sample.inputs[1].1.dims(), [1, 3, 4]);
    }
    // What is no input and no label is a slip, in whatever order it lies.
    let e = open(&fixture("arrays/stored.npz"), &inputs[1..], None).unwrap_err().to_string();
    assert!(e.contains("found 'ids'") && e.contains("arrays named x, label"), "{e}");

    let folder = scratch("npz");
    let x = Tensor::from_f32(&[2, 1], vec![1.0, 2.0]).unwrap();
    let one = [input("data", DType::F32, &[0, 1])];
    let refused = |inputs: &[InputSpec], arrays: &[(&str, &Tensor)]| {
        let path = folder.join("refused.npz");
        npz::write(&path, arrays).unwrap();
        open(&path, inputs, None).unwrap_err().to_string()
    };
    let e = refused(&one, &[("dtaa", &x)]);
    assert!(e.contains("found 'dtaa'") && e.contains("did you mean 'data'"), "{e}");
    assert!(refused(&one, &[("data", &x), ("labels", &x)]).contains("did you mean 'label'"));
    assert!(refused(&one, &[]).contains("expected an array named 'data', found none"));
    assert!(refused(&one, &[("label", &x)]).contains("expected an array named 'data', found label"));
    let two = [input("data", DType::F32, &[0, 1]), input("mask", DType::F32, &[0, 1])];
    assert!(refused(&two, &[("data", &x)]).contains("expected an array named 'mask', found data"));
    assert!(refused(&two, &[("arr_0", &x)]).contains("found 'arr_0'"));
    let write = |name: &str, label: &[i64]| {
        let path = folder.join(name);
        npz::write(&path, &[("arr_0", &x), ("label", &Tensor::from_i64(&[label.len()], label.to_vec()).unwrap())])
            .unwrap();
        open(&path, &[input("data", DType::F32, &[0, 1])], None)
    };
    assert_eq!(write("sole.npz", &[5, 6]).unwrap().sample(1).unwrap().label, Some(6));
    assert!(write("short.npz", &[5]).unwrap_err().to_string().contains("expected 2 labels, found 1"));
    assert!(write("negative.npz", &[5, -6]).unwrap_err().to_string().contains("found -6"));
}

#[test]
fn integers_are_never_rounded_into_an_input() {
    let folder = scratch("convert");
    let file = |name: &str, tensor: Tensor| {
        npy::write(&folder.join(name), &tensor).unwrap();
        folder.join(name)
    };
    let u8s = [input("x", DType::U8, &[0, 2])];
    let whole = file("whole.npy", Tensor::from_f32(&[1, 2], vec![0.0, 255.0]).unwrap());
    assert_eq!(open(&whole, &u8s, None).unwrap().sample(0).unwrap().inputs[0].1.ints().unwrap(), [0, 255]);
    for bad in [0.5, -1.0, 256.0, f32::NAN, f32::INFINITY, 1e30] {
        let path = file("bad.npy", Tensor::from_f32(&[1, 2], vec![0.0, bad]).unwrap());
        let e = open(&path, &u8s, None).unwrap().sample(0).unwrap_err().to_string();
        assert!(e.contains("'x'") && e.contains("converting f32 to u8"), "{e}");
    }
    let half = [input("x", DType::F16, &[0, 2])];
    let sample = open(&whole, &half, None).unwrap().sample(0).unwrap();
    assert_eq!(*sample.inputs[0].1.floats().unwrap(), [0.0, 255.0]);
}

/// Idx bytes: this type, these sizes, this data.
fn idx(kind: u8, dims: &[u32], data: &[u8]) -> Vec<u8> {
    let sizes = dims.iter().flat_map(|d| d.to_be_bytes());
    [0, 0, kind, dims.len() as u8].into_iter().chain(sizes).chain(data.iter().copied()).collect()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn idx_pairs_are_found_by_name() {
    let pixels: Vec<u8> = (0..24).map(|i| i * 10).collect();
    let images = idx(8, &[2, 3, 4], &pixels);
    let labels = idx(8, &[2], &[7, 1]);
    let model = [input("x", DType::F32, &[0, 1, 3, 4])];
    let cases = [
        ("plain", "train-images-idx3-ubyte", images.clone(), "train-labels-idx1-ubyte", labels.clone()),
        ("gzip", "t10k-images-idx3-ubyte.gz", gzip(&images), "t10k-labels-idx1-ubyte.gz", gzip(&labels)),
        ("mixed", "t10k-images-idx3-ubyte.gz", gzip(&images), "t10k-labels-idx1-ubyte", labels.clone()),
    ];
    for (name, images_name, images, labels_name, labels) in cases {
        let folder = scratch(&format!("idx-{name}"));
        fs::write(folder.join(images_name), images).unwrap();
        let unlabelled = open(&folder.join(images_name), &model, Some("raw")).unwrap();
        assert!(!unlabelled.has_labels());
        fs::write(folder.join(labels_name), labels).unwrap();
        for path in [folder.join(images_name), folder.clone()] {
            let data = open(&path, &model, Some("raw")).unwrap();
            assert_eq!((data.len(), data.has_labels()), (2, true));
            let sample = data.sample(1).unwrap();
            assert_eq!((sample.label, sample.inputs[0].1.dims()), (Some(1), &[1, 1, 3, 4][..]));
            let expected: Vec<f32> = pixels[12..].iter().map(|p| f32::from(*p)).collect();
            assert_eq!(sample.inputs[0].1.reals().unwrap(), expected);
        }
        let e = open(&folder.join(images_name), &model, None).unwrap_err().to_string();
        assert!(e.contains("imagenet") && e.contains("raw"), "{e}");
        let e = open(&folder.join(labels_name), &model, Some("raw")).unwrap_err().to_string();
        assert!(e.contains("images file of the pair"), "{e}");
    }
    let folder = scratch("idx-wrong");
    fs::write(folder.join("a-images-idx3-ubyte"), &images).unwrap();
    fs::write(folder.join("a-labels-idx1-ubyte"), idx(8, &[3], &[7, 1, 2])).unwrap();
    assert!(open(&folder, &model, Some("raw")).unwrap_err().to_string().contains("expected 2 labels"));
    fs::write(folder.join("b-images-idx3-ubyte"), &images).unwrap();
    assert!(open(&folder, &model, Some("raw")).unwrap_err().to_string().contains("found 2 images files"));
}

#[test]
fn folders_of_images_have_labels_by_class_or_table() {
    let model = [input("x", DType::F32, &[0, 3, 2, 2])];
    let image = |level: u8| Image::new(2, 2, 1, vec![level; 4]).unwrap();
    let root = scratch("folders");

    let classes = root.join("classes");
    for (file, level) in [("dog/b.png", 1), ("dog/a.PNG", 2), ("cat/z.png", 3), ("zebra/c.jpg", 4)] {
        fs::create_dir_all(classes.join(file).parent().unwrap()).unwrap();
        png_file(&classes.join(file), &image(level));
    }
    fs::create_dir_all(classes.join(".hidden")).unwrap();
    png_file(&classes.join(".hidden/h.png"), &image(5));
    fs::write(classes.join("cat/notes.txt"), "not an image").unwrap();
    let data = open(&classes, &model, Some("raw")).unwrap();
    let found: Vec<(String, Option<u32>, f32)> = (0..data.len())
        .map(|i| data.sample(i).map(|s| (s.name, s.label, s.inputs[0].1.reals().unwrap()[0])).unwrap())
        .collect();
    let expected = [("cat/z.png", 0, 3.0), ("dog/a.PNG", 1, 2.0), ("dog/b.png", 1, 1.0), ("zebra/c.jpg", 2, 4.0)];
    assert_eq!(found, expected.map(|(name, label, level)| (name.to_owned(), Some(label), level)));

    // A folder without images may be no class; if it is, a table of labels can say so.
    let stray = classes.join("__MACOSX");
    fs::create_dir(&stray).unwrap();
    fs::write(stray.join("._z.png"), "resource fork").unwrap();
    let e = open(&classes, &model, Some("raw")).unwrap_err().to_string();
    assert!(e.contains("'__MACOSX', which would be class 0 of") && e.contains("remove the folder"), "{e}");
    assert!(e.contains("labels.csv"), "{e}");
    fs::remove_dir_all(&stray).unwrap();

    let flat = root.join("flat");
    fs::create_dir(&flat).unwrap();
    for name in ["b.png", "a.png"] {
        png_file(&flat.join(name), &image(9));
    }
    let data = open(&flat, &model, Some("raw")).unwrap();
    assert_eq!((data.len(), data.has_labels(), data.sample(0).unwrap().name.as_str()), (2, false, "a.png"));

    fs::write(flat.join("labels.csv"), "file,label\nb.png,4\na.png,2\n").unwrap();
    let data = open(&flat, &model, Some("raw")).unwrap();
    let sample = data.sample(0).unwrap();
    assert_eq!((data.has_labels(), sample.name.as_str(), sample.label), (true, "b.png", Some(4)));

    fs::write(flat.join("labels.csv"), "file,label\nb.png,4\nmissing.png,2\n").unwrap();
    assert!(open(&flat, &model, Some("raw")).unwrap_err().to_string().contains("missing.png"));
    fs::write(flat.join("labels.csv"), "file,label\n").unwrap();
    assert!(open(&flat, &model, Some("raw")).unwrap_err().to_string().contains("at least one sample"));

    png_file(&classes.join("stray.png"), &image(1));
    assert!(open(&classes, &model, Some("raw")).unwrap_err().to_string().contains("found both"));
    fs::remove_file(classes.join("stray.png")).unwrap();
    fs::write(classes.join("cat/a.webp"), "").unwrap();
    assert!(open(&classes, &model, Some("raw")).unwrap_err().to_string().contains("a.webp"));
    fs::create_dir(root.join("empty")).unwrap();
    assert!(open(&root.join("empty"), &model, Some("raw")).unwrap_err().to_string().contains("at least one sample"));
    assert!(open(&root.join("nowhere"), &model, Some("raw")).unwrap_err().to_string().contains("nowhere"));
}

#[test]
fn unreadable_images_and_missing_presets_are_named() {
    let folder = scratch("unreadable");
    fs::write(folder.join("broken.jpg"), b"\xff\xd8\xff\xe0 not a picture").unwrap();
    fs::write(folder.join("text.png"), b"hello").unwrap();
    let model = [input("x", DType::F32, &[0, 3, 2, 2])];
    let data = open(&folder, &model, Some("raw")).unwrap();
    for (i, name) in ["broken.jpg", "text.png"].into_iter().enumerate() {
        let e = data.sample(i).unwrap_err().to_string();
        assert!(e.contains(name), "{e}");
    }
    let e = open(&folder, &model, None).unwrap_err().to_string();
    assert!(PRESETS.iter().all(|preset| e.contains(preset.name)), "{e}");
    // The library's user has no flags, but functions.
    assert!(e.contains("Preprocess::preset") && e.contains("model.stored_preprocess()") && !e.contains("--"), "{e}");
    let e = open(&folder, &[model[0].clone(), model[0].clone()], Some("raw")).unwrap_err().to_string();
    assert!(e.contains("one input"), "{e}");
    let e = open(&folder, &[input("x", DType::F32, &[0, 640, 7, 9])], Some("raw")).unwrap_err().to_string();
    assert!(e.contains("takes images") && e.contains("f32[?x640x7x9]"), "{e}");
}

fn applied(preprocess: &Preprocess, image: &Image, shape: &[usize]) -> lowbit_ir::Result<Tensor> {
    preprocess.apply(image.clone(), &ImageInput::new(&input("x", DType::F32, shape))?)
}

#[test]
fn presets_normalize_as_documented() {
    let levels = Image::new(16, 16, 1, (0..=255).collect()).unwrap();
    let all = |name: &str, shape: &[usize]| {
        let tensor = applied(&Preprocess::preset(name).unwrap(), &levels, shape).unwrap();
        tensor.reals().unwrap().into_owned()
    };
    let raw: Vec<f32> = (0..256).map(|p| p as f32).collect();
    assert_eq!(all("raw", &[0, 1, 16, 16]), raw);
    assert_eq!(all("unit", &[0, 1, 16, 16]), raw.iter().map(|p| p / 255.0).collect::<Vec<_>>());
    assert_eq!(all("inception", &[0, 1, 16, 16]), raw.iter().map(|p| (p / 255.0 - 0.5) / 0.5).collect::<Vec<_>>());

    let imagenet = Preprocess { resize: None, crop: None, ..Preprocess::preset("imagenet").unwrap() };
    let colours = Image::new(2, 1, 3, vec![10, 20, 30, 40, 50, 60]).unwrap();
    let expect = |order: [usize; 6]| {
        let (mean, std) = ([0.485f32, 0.456, 0.406], [0.229f32, 0.224, 0.225]);
        order.map(|i| ((i as f32 + 1.0) * 10.0 / 255.0 - mean[i % 3]) / std[i % 3]).to_vec()
    };
    let found = |preprocess: &Preprocess, shape: &[usize]| {
        applied(preprocess, &colours, shape).unwrap().reals().unwrap().into_owned()
    };
    assert_eq!(found(&imagenet, &[0, 3, 1, 2]), expect([0, 3, 1, 4, 2, 5]));
    assert_eq!(found(&imagenet, &[0, 0, 2, 3]), expect([0, 1, 2, 3, 4, 5]));
    assert_eq!(found(&imagenet, &[3, 1, 2]), expect([0, 3, 1, 4, 2, 5]));
    // Mean and std that nobody gave stay with their colours.
    let bgr = imagenet.clone().with(&Overrides { channels: Some(Channels::Bgr), ..Overrides::default() }).unwrap();
    assert_eq!(found(&bgr, &[0, 3, 1, 2]), expect([2, 5, 1, 4, 0, 3]));
    assert_eq!(bgr.mean, [0.406, 0.456, 0.485]);
    // Those that are given are in the model's order, as they are stored.
    let given = Overrides { mean: Some(vec![0.1, 0.2, 0.3]), std: Some(vec![1.0]), ..Overrides::default() };
    let own = imagenet.with(&Overrides { channels: Some(Channels::Bgr), ..given }).unwrap();
    assert_eq!(own.mean, [0.1, 0.2, 0.3]);
    let [blue, red] = [(30.0 / 255.0 - 0.1f32), (10.0 / 255.0 - 0.3f32)];
    assert_eq!((found(&own, &[0, 3, 1, 2])[0], found(&own, &[0, 3, 1, 2])[4]), (blue, red));
}

#[test]
fn imagenet_is_short_side_256_and_centre_224() {
    let photo = draw(320, 280, 3);
    let expected = center_crop(&bilinear(&photo, 292, 256), 224, 224);
    let imagenet = Preprocess::preset("imagenet").unwrap();
    let found = applied(&imagenet, &photo, &[0, 3, 224, 224]).unwrap();
    assert_eq!(found.dims(), [1, 3, 224, 224]);
    let red = (f32::from(expected.pixels[0]) / 255.0 - 0.485) / 0.229;
    assert_eq!(found.reals().unwrap()[0], red);

    // Images stored at 227x227 are cropped without a resize.
    let stored = draw(227, 227, 3);
    let cropped = imagenet.with(&Overrides { resize: Some(None), ..Overrides::default() }).unwrap();
    let found = applied(&cropped, &stored, &[0, 3, 224, 224]).unwrap();
    let first = stored.pixels[(2 * 227 + 2) * 3];
    assert_eq!(found.reals().unwrap()[0], (f32::from(first) / 255.0 - 0.485) / 0.229);
}

#[test]
fn wrong_sizes_name_the_flags_that_help() {
    let unit = Preprocess::preset("unit").unwrap();
    let imagenet = Preprocess::preset("imagenet").unwrap();
    let message = |preprocess: &Preprocess, image: &Image, shape: &[usize]| {
        applied(preprocess, image, shape).unwrap_err().to_string()
    };
    let e = message(&unit, &draw(227, 227, 3), &[0, 3, 224, 224]);
    assert!(e.contains("224x224") && e.contains("227x227") && e.contains("--resize none --crop 224"), "{e}");
    let e = message(&imagenet, &draw(32, 32, 3), &[0, 3, 32, 32]);
    assert!(e.contains("--resize none --crop none"), "{e}");
    let e = message(&unit, &draw(100, 50, 3), &[0, 3, 96, 96]);
    assert!(e.contains("--resize 96 --crop 96"), "{e}");
    let e = message(&unit, &draw(100, 50, 3), &[0, 3, 240, 320]);
    assert!(e.contains("320x240"), "{e}");
    // The advice is right.
    for (preprocess, image, side, resize, crop) in [
        (&unit, draw(227, 227, 3), 224, None, Some(224)),
        (&unit, draw(227, 227, 3), 224, Some(224), Some(224)),
        (&imagenet, draw(32, 32, 3), 32, None, None),
        (&unit, draw(100, 50, 3), 96, Some(96), Some(96)),
    ] {
        let advised = Overrides { resize: Some(resize), crop: Some(crop), ..Overrides::default() };
        applied(&preprocess.clone().with(&advised).unwrap(), &image, &[0, 3, side, side]).unwrap();
    }
}

#[test]
fn layouts_follow_the_shape() {
    let gray = Image::new(3, 2, 1, vec![1, 2, 3, 4, 5, 6]).unwrap();
    let raw = Preprocess::preset("raw").unwrap();
    let dims = |shape: &[usize]| applied(&raw, &gray, shape).map(|t| t.dims().to_vec());
    assert_eq!(dims(&[0, 1, 2, 3]).unwrap(), [1, 1, 2, 3]);
    assert_eq!(dims(&[0, 2, 3, 1]).unwrap(), [1, 2, 3, 1]);
    assert_eq!(dims(&[0, 3, 0, 0]).unwrap(), [1, 3, 2, 3]);
    assert_eq!(dims(&[0, 0, 0, 3]).unwrap(), [1, 2, 3, 3]);
    assert_eq!(dims(&[0, 0, 0, 0]).unwrap(), [1, 3, 2, 3]);
    assert_eq!(dims(&[2, 3, 3]).unwrap(), [2, 3, 3]);
    assert!(dims(&[0, 2, 2, 2]).is_err() && dims(&[0]).is_err());
    let square = draw(28, 28, 1);
    assert_eq!(applied(&raw, &square, &[0, 784]).unwrap().dims(), [1, 784]);
    assert_eq!(applied(&raw, &square, &[0, 784 * 3]).unwrap().dims(), [1, 784 * 3]);
}

#[test]
fn preprocessing_is_stored_as_json() {
    let imagenet = Preprocess::preset("imagenet").unwrap();
    let json = imagenet.to_json().unwrap();
    assert_eq!(
        json,
        r#"{"resize":256,"crop":224,"mean":[0.485,0.456,0.406],"std":[0.229,0.224,0.225],"channels":"rgb"}"#
    );
    for preset in &PRESETS {
        let found = Preprocess::preset(preset.name).unwrap();
        assert_eq!(Preprocess::from_json(&found.to_json().unwrap()).unwrap(), found);
    }
    assert!(Preprocess::preset("raw").unwrap().to_json().unwrap().contains(r#""divisor":1.0"#));
    for bad in [
        "",
        "{}",
        r#"{"mean":[0.5],"std":[0]}"#,
        r#"{"mean":[0.5,0.5],"std":[1]}"#,
        r#"{"mean":[0.5],"std":[1],"colour":"rgb"}"#,
        r#"{"mean":[0.5],"std":[1],"crop":0}"#,
        r#"{"mean":[0.5],"std":[1],"divisor":0}"#,
        r#"{"mean":[0.5],"std":[1],"channels":"gbr"}"#,
        r#"{"mean":[1e60],"std":[1]}"#,
    ] {
        assert!(Preprocess::from_json(bad).is_err(), "{bad}");
    }
}

#[test]
fn flags_override_what_the_model_stores() {
    let none = Overrides::default();
    let stored = Preprocess::preset("imagenet").unwrap().to_json().unwrap();
    assert_eq!(resolve(None, None, &none).unwrap(), None);
    assert_eq!(resolve(None, Some(&stored), &none).unwrap(), Some(Preprocess::preset("imagenet").unwrap()));
    assert_eq!(resolve(Some("unit"), Some(&stored), &none).unwrap(), Some(Preprocess::preset("unit").unwrap()));
    assert!(resolve(Some("vgg"), None, &none).unwrap_err().to_string().contains("inception"));

    let crop = Overrides { crop: Some(Some(96)), ..Overrides::default() };
    let found = resolve(None, Some(&stored), &crop).unwrap().unwrap();
    assert_eq!((found.resize, found.crop, found.mean.len()), (Some(256), Some(96), 3));

    // Mean and std in full need no preset; they speak of pixel / 255, on raw too.
    let own = Overrides { mean: Some(vec![0.25]), std: Some(vec![0.5]), ..Overrides::default() };
    for preset in [None, Some("raw")] {
        let found = resolve(preset, None, &own).unwrap().unwrap();
        assert_eq!((found.mean, found.std, found.divisor), (vec![0.25], vec![0.5], 255.0));
    }
    let mean = Overrides { mean: Some(vec![0.5]), ..Overrides::default() };
    let found = resolve(Some("raw"), None, &mean).unwrap().unwrap();
    assert_eq!((found.std, found.divisor), (vec![1.0 / 255.0], 255.0));

    // One alone is missing the other.
    let alone = |overrides: Overrides| resolve(None, None, &overrides).unwrap_err().to_string();
    assert!(alone(mean.clone()).contains("expected a std too, found a mean alone"));
    let std = Overrides { std: Some(vec![0.5]), ..Overrides::default() };
    assert!(alone(std).contains("expected a mean too, found a std alone"));
    assert!(alone(crop).contains("expected a mean and a std too"));

    // Three means do not fit one channel.
    let gray = applied(&Preprocess::from_json(&stored).unwrap(), &draw(256, 256, 1), &[0, 1, 224, 224]);
    assert!(gray.unwrap_err().to_string().contains("1 values of mean"));
}

#[test]
fn noise_is_normal_and_repeatable() {
    let inputs = [
        input("x", DType::F32, &[0, 3, 50, 50]),
        input("ids", DType::I64, &[8, 100]),
        input("q", DType::U8, &[0, 4096]),
    ];
    let data = Dataset::open("random", &inputs, None).unwrap();
    assert!(data.is_random() && !data.has_labels());
    let sample = data.sample(3).unwrap();
    let dims: Vec<&[usize]> = sample.inputs.iter().map(|(_, t)| t.dims()).collect();
    // A first dimension that the model fixes is no batch: it is a part of the sample.
    assert_eq!(dims, [&[1, 3, 50, 50][..], &[8, 100], &[1, 4096]]);
    let again = Dataset::open("random", &inputs, None).unwrap().sample(3).unwrap();
    assert_eq!(sample.inputs, again.inputs);
    assert_ne!(sample.inputs, data.sample(4).unwrap().inputs);

    let x = sample.inputs[0].1.reals().unwrap();
    let mean = x.iter().sum::<f32>() / x.len() as f32;
    let variance = x.iter().map(|v| v * v).sum::<f32>() / x.len() as f32;
    assert!(mean.abs() < 0.05 && (variance - 1.0).abs() < 0.06, "{mean} {variance}");
    // The first bits are pinned: they must not change with platform or release.
    assert_eq!(fnv(sample.inputs[0].1.bytes()), NOISE);
    let ids = sample.inputs[1].1.ints().unwrap();
    assert!(ids.iter().all(|i| (0..100).contains(i)));
    let levels: std::collections::BTreeSet<i64> = sample.inputs[2].1.ints().unwrap().into_iter().collect();
    assert!(levels.len() > 250, "{}", levels.len());

    let open_size = Dataset::open("random", &[input("x", DType::F32, &[0, 3, 0, 50])], None);
    assert!(open_size.unwrap_err().to_string().contains("--shape x="));
}

/// A quantized input may take less than its storage type holds.
#[test]
fn noise_keeps_to_the_range_of_a_quantized_input() {
    let quant = lowbit_ir::Quant::per_tensor(0.5, 0, -127, 127);
    let narrow = InputSpec { quant: Some(quant), ..input("q", DType::I8, &[0, 4096]) };
    let data = Dataset::open("random", &[narrow], None).unwrap();
    let levels: std::collections::BTreeSet<i64> =
        (0..4).flat_map(|i| data.sample(i).unwrap().inputs[0].1.ints().unwrap()).collect();
    assert_eq!(levels, (-127..=127).collect());
}

const NOISE: &str = "0f0c168645303f69";

#[test]
fn spreads_are_even() {
    let folder = scratch("spread");
    npy::write(&folder.join("x.npy"), &Tensor::from_f32(&[10, 1], vec![0.0; 10]).unwrap()).unwrap();
    let data = open(&folder.join("x.npy"), &[input("x", DType::F32, &[0, 1])], None).unwrap();
    assert_eq!(data.spread(4), [0, 2, 5, 7]);
    assert_eq!(data.spread(0), [0usize; 0]);
    assert_eq!(data.spread(99), (0..10).collect::<Vec<_>>());
}

#[test]
fn threads_share_a_data_set() {
    let data = open(&fixture("arrays/little_f4.npy"), &[input("x", DType::F32, &[0, 3, 4])], None).unwrap();
    let expected: Vec<_> = (0..2).map(|i| data.sample(i).unwrap().inputs).collect();
    std::thread::scope(|scope| {
        for i in [0, 1, 0, 1] {
            let (data, expected) = (&data, &expected);
            scope.spawn(move || assert_eq!(data.sample(i).unwrap().inputs, expected[i]));
        }
    });
}

/// Every prefix of a file, and the file with each of its bytes changed by a bit or by all.
fn corruptions(bytes: &[u8]) -> impl Iterator<Item = Vec<u8>> + '_ {
    let prefixes = (0..bytes.len()).map(|n| bytes[..n].to_vec());
    let flips = (0..bytes.len()).map(|i| {
        let mut changed = bytes.to_vec();
        changed[i] ^= [0x01, 0x80, 0xff][i % 3];
        changed
    });
    prefixes.chain(flips)
}

#[test]
fn corrupt_images_are_errors_or_pictures() {
    let mut refused = 0;
    for name in
        ["420.jpg", "progressive.jpg", "cmyk.jpg", "restart.jpg", "one.jpg", "rgb8.png", "palette4.png", "la16.png"]
    {
        let bytes = fs::read(fixture("images").join(name)).unwrap();
        for changed in corruptions(&bytes) {
            match decode(&changed) {
                Ok(image) => assert_eq!(image.pixels.len(), image.width * image.height * image.channels),
                Err(_) => refused += 1,
            }
        }
        // A prefix that lacks image data is refused, not filled up with grey.
        assert!(decode(&bytes[..bytes.len() * 3 / 4]).is_err(), "{name}");
    }
    assert!(refused > 1000);
}

#[test]
fn corrupt_arrays_are_errors_or_samples() {
    let folder = scratch("corrupt");
    let model = vec![input("x", DType::F32, &[0, 3, 4])];
    let npz_model = vec![model[0].clone(), input("ids", DType::I64, &[0, 5])];
    let idx_model = vec![input("x", DType::F32, &[0, 1, 3, 4])];
    let pixels = idx(8, &[2, 3, 4], &[100; 24]);
    let files = [
        ("a.npy", fs::read(fixture("arrays/little_f4.npy")).unwrap(), &model),
        ("b.npy", fs::read(fixture("arrays/fortran_f4.npy")).unwrap(), &model),
        ("c.npz", fs::read(fixture("arrays/stored.npz")).unwrap(), &npz_model),
        ("d.npz", fs::read(fixture("arrays/deflated.npz")).unwrap(), &npz_model),
        ("e-images-idx3-ubyte", pixels.clone(), &idx_model),
        ("f-images-idx3-ubyte.gz", gzip(&pixels), &idx_model),
    ];
    for (name, bytes, model) in files {
        let path = folder.join(name);
        fs::write(&path, &bytes).unwrap();
        let read = || -> lowbit_ir::Result<Vec<Tensor>> {
            let data = open(&path, model, Some("raw"))?;
            (0..data.len()).map(|i| Ok(data.sample(i)?.inputs.swap_remove(0).1)).collect()
        };
        assert_eq!(read().unwrap().len(), 2, "{name}");
        for changed in corruptions(&bytes) {
            fs::write(&path, &changed).unwrap();
            let found = read();
            // Archives carry checksums, the others a size: no prefix passes.
            assert!(changed.len() == bytes.len() || found.is_err(), "{name}: {} bytes", changed.len());
        }
    }
}

#[test]
fn absurd_headers_allocate_nothing() {
    let header = |shape: &str| {
        let text = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}\n");
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend((text.len() as u16).to_le_bytes());
        bytes.extend(text.bytes());
        bytes
    };
    for shape in ["(1000000000000,)", "(4294967296, 4294967296, 4294967296)", "(9, 9)"] {
        let e = npy::parse(header(shape).into()).unwrap_err().to_string();
        assert!(e.contains("bytes of data follow"), "{e}");
    }
    let folder = scratch("absurd");
    let model = [input("x", DType::F32, &[0, 1, 3, 4])];
    let huge = idx(8, &[u32::MAX, u32::MAX, u32::MAX], &[0; 24]);
    for (name, bytes) in [("a-images-idx3-ubyte", huge.clone()), ("b-images-idx3-ubyte.gz", gzip(&huge))] {
        fs::write(folder.join(name), bytes).unwrap();
        let e = open(&folder.join(name), &model, Some("raw")).unwrap_err().to_string();
        assert!(e.contains("too short"), "{e}");
    }
    // A picture of 13000 x 13000 in a few hundred bytes.
    let mut jpeg = fs::read(fixture("images/420.jpg")).unwrap();
    let frame = jpeg.windows(2).position(|marker| marker == [0xff, 0xc0]).unwrap();
    jpeg[frame + 5..frame + 9].copy_from_slice(&[0x32, 0xc8, 0x32, 0xc8]);
    assert!(decode(&jpeg).unwrap_err().to_string().contains("too short"));
}

#[test]
fn what_would_not_fit_is_not_read() {
    use lowbit::ir::{DType, memory::MAX_MEMORY};
    let input = |sizes: &[usize]| {
        let shape = std::iter::once(None).chain(sizes.iter().map(|n| Some(*n))).collect();
        vec![lowbit::data::InputSpec { name: "x".into(), dtype: DType::F32, shape, below: None, quant: None }]
    };
    let open = |spec: &str, sizes: &[usize], most| Dataset::open_within(spec, &input(sizes), None, most);
    let e = open("random", &[3, 60000, 60000], MAX_MEMORY).unwrap_err().to_string();
    assert!(e.contains("value 'x'") && e.contains("at most 2 GiB") && e.contains("--max-memory"), "{e}");
    let folder = std::env::temp_dir().join(format!("lowbit-memory-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("x.npz");
    let tensor = Tensor::from_f32(&[64, 4], vec![1.0; 256]).unwrap();
    lowbit::data::npz::write(&path, &[("x", &tensor)]).unwrap();
    let spec = path.display().to_string();
    assert_eq!(open(&spec, &[4], 2048).unwrap().len(), 64);
    let e = open(&spec, &[4], 512).unwrap_err().to_string();
    assert!(e.contains("read whole") && e.contains("at most 512 B"), "{e}");
    std::fs::remove_dir_all(&folder).unwrap();
}
