//! Input that nobody meant: disks that are full, numbers that are none, files that claim more than there is.

mod support;

use lowbit::data::{npy, npz};
use lowbit::frontend;
use lowbit::ir::{DType, Tensor, Type, text};
use std::path::Path;
use std::process::Command;
use support::{Folder, Ran, demo, error, json, quantized, ran, run};

/// Runs a command whose files may not grow beyond so many blocks of 512 bytes: what a full disk does, for everybody.
#[cfg(unix)]
fn on_a_small_disk(blocks: usize, arguments: &[&str]) -> Ran {
    let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" \"$@\"");
    ran(Command::new("sh").args(["-c", &script, env!("CARGO_BIN_EXE_lowbit")]).args(arguments).output().unwrap())
}

/// Everything that writes a file, with what it writes first.
#[cfg(unix)]
fn writers(out: &str) -> Vec<(Vec<String>, String)> {
    let (model, data) = (demo("model.onnx"), demo("calibration"));
    let at = |name: &str| format!("{out}/{name}");
    let args = |all: &[&str]| all.iter().map(ToString::to_string).collect::<Vec<_>>();
    let noise = ["--data", "random", "--samples", "2"];
    vec![
        (args(&[&["quantize", &model, "-o", &at("q.onnx"), "--no-report"], &noise[..]].concat()), at("q.onnx")),
        (args(&["calibrate", &model, "--data", &data, "--samples", "2", "-o", &at("stats")]), at("stats")),
        (args(&[&["run", &model, "--values", "--output", out], &noise[..]].concat()), format!("{out}/")),
    ]
}

#[cfg(unix)]
#[track_caller]
fn refused_for_want_of_room(ran: &Ran, folder: &str, target: &str, said: &str) {
    assert_eq!(ran.code, Some(1), "{target}: {} {}", ran.stdout, ran.stderr);
    assert!(
        ran.stderr.contains(said) && ran.stderr.contains(&format!("writing '{target}")),
        "{target}: {}",
        ran.stderr
    );
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        // Of several files the first may be whole; nothing is half written, and nothing temporary stays.
        assert!(!name.ends_with(".tmp"), "{target}: '{name}' is left over");
        match name == "old" {
            true => assert_eq!(std::fs::read(&path).unwrap(), b"old"),
            false => drop(npy::read(&path).unwrap()),
        }
    }
}

#[cfg(unix)]
#[test]
fn files_that_cannot_be_finished_leave_nothing() {
    let folder = Folder::new();
    let out = folder.path("");
    let out = out.trim_end_matches('/');
    std::fs::write(folder.path("old"), b"old").unwrap();
    for (arguments, target) in writers(out) {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let ran = on_a_small_disk(2, &arguments);
        refused_for_want_of_room(&ran, out, &target, "the file is too large for its disk");
        // Neither does what was there change.
        if !target.ends_with('/') {
            std::fs::write(&target, b"before").unwrap();
            on_a_small_disk(2, &arguments);
            assert_eq!(std::fs::read(&target).unwrap(), b"before");
            std::fs::remove_file(&target).unwrap();
        }
    }
}

/// A file system of its own, where one may be mounted.
#[cfg(target_os = "linux")]
struct Disk(Folder);

#[cfg(target_os = "linux")]
impl Disk {
    fn new(size: &str) -> Option<Disk> {
        let folder = Folder::new();
        let mount = ["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs", &folder.path("")];
        let mounted = Command::new("mount").args(mount).output();
        mounted.is_ok_and(|out| out.status.success()).then_some(Disk(folder))
    }
}

#[cfg(target_os = "linux")]
impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path("")).output();
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_told_and_left_clean() {
    let Some(disk) = Disk::new("16k") else {
        eprintln!("SKIPPED: no file system can be mounted here (only root may), so no full disk was tried");
        return;
    };
    let out = disk.0.path("");
    let out = out.trim_end_matches('/');
    std::fs::write(disk.0.path("old"), b"old").unwrap();
    for (arguments, target) in writers(out) {
        let ran = run(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
        refused_for_want_of_room(&ran, out, &target, "the disk is full");
        disk.0.files().iter().filter(|name| *name != "old").for_each(|name| {
            std::fs::remove_file(disk.0.path(name)).unwrap();
        });
    }
}

/// Results that nobody can take are a failure too, and no panic.
#[cfg(target_os = "linux")]
#[test]
fn a_full_standard_output_is_an_error() {
    for more in [&[][..], &["--json"]] {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let mut command = support::lowbit();
        let ran = ran(command.args(["inspect", &demo("model.onnx")]).args(more).stdout(full).output().unwrap());
        assert_eq!(ran.code, Some(1), "{}", ran.stderr);
        assert!(ran.stderr.contains("cannot write to standard output"), "{}", ran.stderr);
    }
}

/// A model whose second value is not finite for some inputs: a logarithm, an overflow, and nothing divided by nothing.
fn fragile(folder: &Folder, name: &str, middle: &str) -> String {
    let text = format!(
        "graph \"g\" {{\n  input %x: f32[Nx4]\n  const %w: f32[4x4] = [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1]\n  \
         %a = MatMul(%x, %w)\n{middle}  %y = MatMul(%bad, %w)\n  output %y\n}}\n"
    );
    let path = folder.path(name);
    frontend::save(&text::parse(&text).unwrap(), Path::new(&path)).unwrap();
    path
}

#[test]
fn activations_that_are_not_finite_name_the_sample_and_the_value() {
    let folder = Folder::new();
    let data = folder.path("x.npz");
    let x = Tensor::from_f32(&[3, 4], vec![0.5, 1.0, 1.5, 2.0, 0.5, 1.0, 1.5, 2.0, 0.5, -1.0, 1.5, 90.0]).unwrap();
    let label = Tensor::from_ints(Type::plain(DType::I64, vec![3]), &[0, 1, 2]).unwrap();
    npz::write(Path::new(&data), &[("x", &x), ("label", &label)]).unwrap();
    let (out, into) = (folder.path("out"), folder.path("into"));
    for (name, middle, found, at) in [
        ("log.onnx", "  %bad = Log(%a)\n", "NaN", 1),
        ("exp.onnx", "  %bad = Exp(%a)\n", "inf", 3),
        ("div.onnx", "  %r = Relu(%a)\n  %bad = Div(%r, %r)\n", "NaN", 1),
    ] {
        let model = fragile(&folder, name, middle);
        for verb in [
            &["quantize", &model, "--data", &data, "-o", &out][..],
            &["calibrate", &model, "--data", &data, "-o", &out],
        ] {
            let stderr = error(verb, 1);
            let place = format!("value 'bad': expected finite values to calibrate on, found {found} (element {at})");
            assert!(stderr.contains(&place) && stderr.contains("on sample 2"), "{verb:?}: {stderr}");
        }
        let stderr = error(&["evaluate", &model, "--data", &data], 1);
        assert!(stderr.contains("value 'y'") && stderr.contains("sample 'x.npz[2]'"), "{stderr}");
        let place = format!("warning: value 'bad' is {found} at element {at} on sample 2");
        for verb in
            [&["compare", &model, &model, "--data", &data][..], &["verify", &model, "--data", &data, "--samples", "3"]]
        {
            let ran = run(verb);
            assert!(ran.code == Some(0) && ran.stderr.contains(&place), "{verb:?}: {}", ran.stderr);
            let ran = run(&[verb, &["--json"]].concat());
            let told: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
            assert_eq!((&told["not_finite"]["sample"], &told["not_finite"]["element"]), (&2.into(), &at.into()));
        }
        let ran = run(&["run", &model, "--data", &data, "--output", &into]);
        assert!(ran.code == Some(0) && ran.stderr.contains("values of result 'y'"), "{}", ran.stderr);
        assert!(ran.stderr.contains(&format!("{place}, where it begins")), "{}", ran.stderr);
    }
    let told = json(&["compare", &demo("model.onnx"), &quantized().0, "--data", &demo("test"), "--samples", "2"]);
    assert!(told.get("not_finite").is_none(), "{told}");
}

#[test]
fn inputs_that_are_not_finite_name_the_sample_and_the_input() {
    let folder = Folder::new();
    let (data, out) = (folder.path("x.npy"), folder.path("out"));
    let model = fragile(&folder, "plain.onnx", "  %bad = Relu(%a)\n");
    npy::write(
        Path::new(&data),
        &Tensor::from_f32(&[2, 4], vec![1.0, 2.0, 3.0, 4.0, 1.0, 2.0, f32::NAN, 4.0]).unwrap(),
    )
    .unwrap();
    for verb in ["quantize", "calibrate"] {
        let stderr = error(&[verb, &model, "--data", &data, "-o", &out], 1);
        assert!(stderr.contains("value 'x'") && stderr.contains("found NaN (element 2)"), "{stderr}");
        assert!(stderr.contains("on sample 1"), "{stderr}");
    }
    for verb in [&["compare", &model, &model, "--data", &data][..], &["verify", &model, "--data", &data]] {
        let ran = run(verb);
        assert!(ran.stderr.contains("warning: value 'x' is NaN at element 2 on sample 1"), "{}", ran.stderr);
    }
}

#[test]
fn configurations_that_make_no_sense_are_refused() {
    let folder = Folder::new();
    let (model, file, out) = (demo("model.onnx"), folder.path("c.toml"), folder.path("out"));
    let many: String = (0..100_000).map(|i| format!("layer.'x{i}'.skip = true\n")).collect();
    let deep = format!("a = {}", "[".repeat(100_000));
    let cases: &[(&[u8], &str)] = &[
        (b"input.bits = 0", "expected bits in 2..=16, found 0"),
        (b"input.bits = -1", "input.bits"),
        (b"weight.bits = 99999999999999999999", "weight"),
        (b"input.bits = 255", "found 255"),
        (b"samples = -3", "samples"),
        (b"input.observer = 'percentile(nan)'", "percentile(nan)"),
        (b"input.observer = 'percentile(1e999)'", "between 0 and 100"),
        (b"weight.per = 'block(0)'", "block(0)"),
        (b"\xff\xfe", "UTF-8"),
        (b"input.bits = 8\0", "reading the configuration"),
        (deep.as_bytes(), "recurs"),
        (&[b'a'; 900_000], "reading the configuration"),
        (many.as_bytes(), "up to 1 MiB"),
    ];
    for (bytes, part) in cases {
        std::fs::write(&file, bytes).unwrap();
        let stderr = error(&["config", &file], 1);
        assert!(stderr.contains(part), "config: {part}: {stderr}");
        let stderr = error(&["quantize", &model, "--data", "random", "-o", &out, "--config", &file], 1);
        // What is known only of the whole configuration names the choice.
        let place = stderr.contains("c.toml") || stderr.contains("while checking input.observer");
        assert!(stderr.contains(part) && place, "expected '{part}' in: {stderr}");
        assert!(stderr.len() < 2000, "an error of {} bytes", stderr.len());
    }
    assert_eq!(folder.files(), ["c.toml"]);
}

/// A PNG of these sizes whose pixels are all 0: a few bytes a million of them.
fn png(width: u32, height: u32, rows: u32) -> Vec<u8> {
    fn crc(bytes: &[u8]) -> u32 {
        !bytes.iter().fold(!0u32, |crc, byte| {
            (0..8).fold(crc ^ u32::from(*byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 })
        })
    }
    let chunk = |kind: &[u8], data: &[u8]| {
        let body = [kind, data].concat();
        [&(data.len() as u32).to_be_bytes()[..], &body, &crc(&body).to_be_bytes()].concat()
    };
    // Stored blocks: nothing shrinks, and nothing need be computed.
    let raw = vec![0u8; ((width as usize).div_ceil(8) + 1) * rows as usize];
    let (mut a, mut b) = (1u32, 0u32);
    for byte in &raw {
        a = (a + u32::from(*byte)) % 65521;
        b = (b + a) % 65521;
    }
    let mut stream = vec![0x78, 0x01];
    let blocks = raw.chunks(65535).count();
    for (i, block) in raw.chunks(65535).enumerate() {
        stream.push(u8::from(i + 1 == blocks));
        stream.extend((block.len() as u16).to_le_bytes());
        stream.extend((!(block.len() as u16)).to_le_bytes());
        stream.extend(block);
    }
    stream.extend((b << 16 | a).to_be_bytes());
    // One bit a pixel.
    let header = [&width.to_be_bytes()[..], &height.to_be_bytes(), &[1, 0, 0, 0, 0]].concat();
    let parts = [b"\x89PNG\r\n\x1a\n".to_vec(), chunk(b"IHDR", &header), chunk(b"IDAT", &stream), chunk(b"IEND", b"")];
    parts.concat()
}

#[test]
fn images_that_claim_too_much_are_refused_by_name() {
    let (images, folder) = (Folder::new(), Folder::new());
    let (model, out, spec) = (demo("model.onnx"), folder.path("out.onnx"), images.path(""));
    let refused = |more: &[&str], parts: &[&str]| {
        let quantize = ["quantize", &model, "--data", &spec, "-o", &out, "--resize", "32", "--crop", "32"];
        let stderr = error(&[&quantize[..], more].concat(), 1);
        for part in parts {
            assert!(stderr.contains(part), "expected '{part}' in: {stderr}");
        }
    };
    refused(&[], &["at least one sample", ".jpg or .png"]);
    let put = |bytes: &[u8]| std::fs::write(images.path("a.png"), bytes).unwrap();
    put(&png(60000, 60000, 1));
    refused(&[], &["a.png", "60000x60000", "178956970 pixels"]);
    put(&png(13000, 13000, 1));
    refused(&[], &["a.png", "13000x13000"]);
    put(&png(4000, 4000, 4000));
    refused(&["--max-memory", "64M"], &["a.png", "decoding an image of 4000x4000 pixels", "at most 64 MiB"]);
    json(&["quantize", &model, "--data", &spec, "-o", &out, "--resize", "32", "--crop", "32", "--no-report"]);
    put(&[0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n']);
    refused(&[], &["a.png", "unreadable PNG"]);
    // A folder named like a picture is one of its classes, and a pipe would be waited for.
    std::fs::remove_file(images.path("a.png")).unwrap();
    #[cfg(unix)]
    {
        let pipe = Command::new("mkfifo").arg(images.path("a.png")).status();
        match pipe.is_ok_and(|status| status.success()) {
            true => refused(&[], &["a.png", "expected a regular file"]),
            false => eprintln!("SKIPPED: there is no mkfifo here, so no pipe was tried"),
        }
    }
}

#[test]
fn arrays_that_claim_too_much_are_refused_by_name() {
    let folder = Folder::new();
    let (model, out) = (demo("model.onnx"), folder.path("out.onnx"));
    let header = |shape: &str| {
        let text = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}\n");
        [b"\x93NUMPY\x01\x00", &(text.len() as u16).to_le_bytes()[..], text.as_bytes()].concat()
    };
    let file = folder.path("x.npy");
    let shapes =
        ["(1000000000000, 3, 32, 32)", "(18446744073709551615, 18446744073709551615)", "(1, 99, 32, 32)", "(-1,)"];
    for shape in shapes {
        std::fs::write(&file, header(shape)).unwrap();
        for verb in [
            &["quantize", &model, "--data", &file, "-o", &out][..],
            &["run", &model, "--input", &file, "--output", &folder.path("into")],
        ] {
            assert!(error(verb, 1).contains("x.npy"), "{shape}");
        }
    }
    // What an archive holds counts when it is unpacked.
    let bomb = folder.path("x.npz");
    let zeros = Tensor::from_f32(&[400, 3, 32, 32], vec![0.0; 400 * 3072]).unwrap();
    npz::write(Path::new(&bomb), &[("image", &zeros)]).unwrap();
    let stderr = error(&["quantize", &model, "--data", &bomb, "-o", &out, "--max-memory", "4M"], 1);
    assert!(stderr.contains("x.npz") && stderr.contains("'image'") && stderr.contains("at most 4 MiB"), "{stderr}");
    let stderr = error(&["run", &model, "--data", &bomb, "--output", &out, "--max-memory", "8M"], 1);
    assert!(stderr.contains("inputs and results up to sample") && stderr.contains("at most 8 MiB"), "{stderr}");
    assert!(!folder.files().contains(&"out.onnx".to_string()));
}

#[test]
fn constants_are_computed_within_the_memory_by_inspect_too() {
    let folder = Folder::new();
    let model = folder.path("big.onnx");
    let text = "graph \"g\" {\n  input %x: f32[1]\n  const %c: f32[1] = [1]\n  %big = Expand(%c) {dims [100000]}\n  \
                %y = Add(%x, %big)\n  output %y\n}\n";
    frontend::save(&text::parse(text).unwrap(), Path::new(&model)).unwrap();
    json(&["inspect", &model, "--lowered"]);
    let stderr = error(&["inspect", &model, "--lowered", "--max-memory", "100K"], 1);
    assert!(stderr.contains("node 'big'") && stderr.contains("at most 100 KiB"), "{stderr}");
}
