//! Files that are wrong, cut short, damaged or beyond what is supported: an error that says where, and nothing else.

mod common;

use common::*;
use lowbit_frontend::onnx::external::External;
use lowbit_frontend::onnx::proto::tensor_proto::{DataLocation, DataType};
use lowbit_frontend::onnx::proto::{StringStringEntryProto, TensorProto};
use lowbit_frontend::{ImportOptions, Remark, load, load_bytes, onnx};
use lowbit_ir::DType;

fn small() -> Model {
    let w = integers(DType::I8, &[2, 1, 1, 1], &[3, -4]);
    Model::new(13)
        .input("x", DType::F32, &["N", "1", "4", "4"])
        .constant("w", &w)
        .constant("ws", &f32s(&[2], &[0.5, 0.25]))
        .constant("wz", &integers(DType::I8, &[2], &[0, 0]))
        .constant("s", &f32s(&[], &[0.125]))
        .constant("z", &integers(DType::U8, &[], &[128]))
        .node("QuantizeLinear", "x s z", "xq", vec![])
        .node("DequantizeLinear", "xq s z", "xd", vec![])
        .node("DequantizeLinear", "w ws wz", "wd", vec![int("axis", 0)])
        .node("Conv", "xd wd", "c", vec![ints("pads", &[1, 1, 1, 1])])
        .node("MaxPool", "c", "p", vec![ints("kernel_shape", &[2, 2])])
        .node("Shape", "p", "ps", vec![int("end", 1)])
        .constant("m", &i64s(&[-1]))
        .node("Concat", "ps m", "t", vec![int("axis", 0)])
        .node("Reshape", "p t", "y", vec![])
        .output("y")
}

#[test]
fn every_truncation_is_an_error_or_a_smaller_model() {
    let whole = small().bytes();
    assert!(small().import().is_ok());
    let mut read = 0;
    for end in 0..whole.len() {
        let part = bytes::Bytes::copy_from_slice(&whole[..end]);
        match load_bytes(part, None, &ImportOptions::default()) {
            Ok(_) => read += 1,
            Err(e) => assert!(!e.to_string().is_empty()),
        }
    }
    // Only a cut between the last fields leaves a complete graph.
    assert!(read <= 1, "{read} truncated files were read");
}

#[test]
fn every_flipped_byte_is_survived() {
    let whole = small().bytes();
    for i in 0..whole.len() {
        for flip in [0x01, 0x80, 0xff] {
            let mut damaged = whole.clone();
            damaged[i] ^= flip;
            // Any outcome but a panic is right: many bytes are names or weights.
            if let Err(e) = load_bytes(damaged.into(), None, &ImportOptions::default()) {
                assert!(!e.to_string().is_empty());
            }
        }
    }
}

#[track_caller]
fn refused(model: &Model, parts: &[&str]) {
    let error = model.import().unwrap_err().to_string();
    for part in parts {
        assert!(error.contains(part), "expected '{part}' in: {error}");
    }
}

#[test]
fn all_unsupported_nodes_are_reported_at_once() {
    let mut model = Model::new(13).input("x", DType::F32, &["2"]);
    for i in 0..7 {
        model = model.node("STFT", "x", &format!("h{i}"), vec![]);
    }
    let model = (0..7).fold(model, |m, i| m.output(&format!("h{i}")));
    let model = model.node("Relux", "h0", "r", vec![]).output("r").node("If", "x", "i", vec![]).output("i");
    refused(&model, &["9 nodes", "7 x STFT", "'STFT_h0'", "and 2 more", "1 x Relux", "did you mean 'Relu'", "1 x If"]);
    // An operator that ONNX has is meant, however near another name is.
    let mut known = Model::new(13).input("x", DType::F32, &["2"]).node("MelWeightMatrix", "x", "y", vec![]).output("y");
    let told = known.import().unwrap_err().to_string();
    assert!(told.contains("this operator of ONNX is not supported") && !told.contains("did you mean"), "{told}");
    known.graph().node[0].op_type = Some("MelWeightMatri".into());
    assert!(!known.import().unwrap_err().to_string().contains("of ONNX"));
    let mut other = Model::new(13).input("x", DType::F32, &["2"]).node("Fancy", "x", "y", vec![]).output("y");
    other.graph().node[0].domain = Some("my.own".into());
    refused(&other, &["Fancy_y", "my.own"]);
}

#[test]
fn attributes_that_are_not_understood_are_refused() {
    let base = |a| Model::new(13).input("x", DType::F32, &["2"]).node("Relu", "x", "y", vec![a]).output("y");
    refused(&base(int("surprise", 1)), &["Relu_y", "'surprise'"]);
    let wrong_type =
        Model::new(13).input("x", DType::F32, &["2"]).node("Elu", "x", "y", vec![int("alpha", 1)]).output("y");
    refused(&wrong_type, &["Elu_y", "'alpha'", "FLOAT"]);
    let conv = |group| {
        let weight = lowbit_ir::Tensor::from_f32(&[1, 1, 1], vec![1.0]).unwrap();
        let model = Model::new(13).input("x", DType::F32, &["1", "1", "4"]).constant("w", &weight);
        model.node("Conv", "x w", "y", vec![int("group", group)]).output("y")
    };
    assert!(conv(1).import().is_ok());
    refused(&conv(0), &["Conv_y", "positive group, found 0"]);
    refused(&conv(-2), &["found -2"]);
}

#[test]
fn broken_graphs_name_the_place() {
    let base = || Model::new(13).input("x", DType::F32, &["2"]);
    refused(&base().node("Relu", "nowhere", "y", vec![]).output("y"), &["Relu_y", "'nowhere'"]);
    refused(&base().node("Add", "x b", "a", vec![]).node("Neg", "a", "b", vec![]).output("b"), &["cycle", "Add_a"]);
    refused(&base().node("Relu", "x", "y", vec![]).node("Neg", "x", "y", vec![]).output("y"), &["two nodes", "'y'"]);
    refused(&base().node("Relu", "x", "y", vec![]).output("z"), &["'z'"]);
    refused(&base().node("Relu", "x", "y", vec![]), &["outputs"]);
    let mut old = base().node("Relu", "x", "y", vec![]).output("y");
    old.0.opset_import[0].version = Some(6);
    refused(&old, &["opset", "7..=28", "6"]);
    old.0.opset_import[0].version = Some(13);
    old.0.ir_version = Some(2);
    refused(&old, &["IR version"]);
    refused(&Model(Default::default()), &["graph"]);
}

#[test]
fn names_that_are_given_twice_are_named() {
    let base = || Model::new(13).input("x", DType::F32, &["2"]);
    let w = || f32s(&[2], &[1.0, 2.0]);
    let sum = |m: Model| m.node("Add", "x w", "y", vec![]).output("y");
    refused(&sum(base().constant("w", &w()).constant("w", &w())), &["value 'w'", "two initializers"]);
    refused(&sum(base().input("x", DType::F32, &["2"]).constant("w", &w())), &["value 'x'", "names of their own"]);
    let twice = sum(base().constant("w", &w())).node("Neg", "x", "w", vec![]).output("w");
    refused(&twice, &["node 'Neg_w'", "value 'w'", "two nodes, inputs or initializers"]);
    refused(&base().node("Neg", "x", "x", vec![]).output("x"), &["value 'x'", "two nodes"]);
    refused(&base().node("Split", "x", "a a", vec![]).output("a"), &["value 'a'", "two nodes"]);
    // Nodes may share a name, which is theirs alone to be told by.
    let mut shared = base().node("Neg", "x", "a", vec![]).node("Neg", "a", "y", vec![]).output("y");
    shared.graph().node.iter_mut().for_each(|n| n.name = Some("same".into()));
    let (_, remarks) = onnx::import(shared.bytes().into(), None, &ImportOptions::default()).unwrap();
    assert_eq!(remarks, [Remark::Name { name: "same".into(), count: 2 }]);
    let twice = base().node("Neg", "x", "y", vec![]).output("y").output("y");
    refused(&twice, &["value 'y'", "outputs with names of their own"]);
}

#[test]
fn sizes_beyond_all_measure_are_named() {
    let model = |dims: &[&str], op: &str, attributes| {
        Model::new(13).input("x", DType::F32, dims).node(op, "x", "y", attributes).output("y")
    };
    for dims in [["-7", "4"], ["-9223372036854775808", "4"]] {
        refused(&model(&dims, "Relu", vec![]), &["value 'x'", dims[0], "dimension 0"]);
    }
    // An open size is written as 0 or -1.
    for dims in [["-1", "4"], ["0", "4"]] {
        let g = model(&dims, "Relu", vec![]).import().unwrap();
        assert_eq!(g.ty(g.inputs[0]).shape.0[0].known(), None, "{dims:?}");
    }
    let huge = "4611686018427387904";
    for (op, attributes) in [
        ("Flatten", vec![]),
        ("GlobalAveragePool", vec![]),
        ("ReduceMean", vec![ints("axes", &[1])]),
        ("Softmax", vec![]),
    ] {
        // Nothing is computed of sizes while a file is read but other sizes: those that overflow are named.
        if let Err(e) = model(&["1", huge, huge], op, attributes).import() {
            assert!(e.to_string().contains(&format!("node '{op}_y'")), "{e}");
        }
    }
    refused(&model(&["1", huge, huge], "Flatten", vec![]), &["node 'Flatten_y'"]);
    let pads =
        |n: i64| model(&["1", "1", "4", "4"], "MaxPool", vec![ints("kernel_shape", &[2, 2]), ints("pads", &[n; 4])]);
    refused(&pads(i64::MAX), &["node 'MaxPool_y'"]);
    refused(&pads(-1), &["node 'MaxPool_y'", "-1"]);
    let kernel = |k: i64| model(&["1", "1", "4", "4"], "MaxPool", vec![ints("kernel_shape", &[k, k])]);
    for k in [0, -1, i64::MAX, i64::MIN] {
        refused(&kernel(k), &["node 'MaxPool_y'"]);
    }
    let normal = Model::new(13)
        .input("x", DType::F32, &["1", "2", "65536", "65536"])
        .constant("s", &f32s(&[2], &[1.0, 1.0]))
        .node("InstanceNormalization", "x s s", "y", vec![])
        .output("y");
    refused(&normal, &["node 'InstanceNormalization_y'", "16 GiB", "--max-memory"]);
    // Integers of a shape are followed while sizes are open, as many as a shape has.
    let many = Model::new(13)
        .input("x", DType::F32, &["N", "2"])
        .constant("n", &i64s(&[1 << 30]))
        .node("Shape", "x", "s", vec![int("end", 1)])
        .node("Expand", "s n", "e", vec![])
        .node("Reshape", "x e", "y", vec![])
        .output("y");
    refused(&many, &["node 'Expand_e'", "up to 65536"]);
}

#[test]
fn wrong_tensors_are_refused_before_memory_is_taken() {
    let with = |t: TensorProto| {
        Model::new(13).input("x", DType::F32, &["2"]).raw(t).node("Add", "x w", "y", vec![]).output("y")
    };
    let tensor = |dims: &[i64], raw: Vec<u8>| TensorProto {
        name: Some("w".into()),
        data_type: Some(1),
        dims: dims.to_vec(),
        raw_data: Some(raw.into()),
        ..TensorProto::default()
    };
    assert!(with(tensor(&[2], vec![0; 8])).import().is_ok());
    refused(&with(tensor(&[3], vec![0; 8])), &["'w'", "12 bytes", "8"]);
    refused(&with(tensor(&[-3], vec![0; 8])), &["'w'", "-3"]);
    refused(&with(tensor(&[i64::MAX, i64::MAX], vec![0; 8])), &["'w'"]);
    refused(&with(tensor(&[1 << 40], vec![])), &["'w'"]);
    refused(&with(TensorProto { data_type: Some(8), ..tensor(&[2], vec![]) }), &["'w'", "STRING"]);
    refused(&with(TensorProto { data_type: Some(99), ..tensor(&[2], vec![]) }), &["'w'", "99"]);
    let fill =
        Model::new(13).constant("s", &i64s(&[1 << 20, 1 << 20])).node("ConstantOfShape", "s", "y", vec![]).output("y");
    refused(&fill, &["too large"]);
}

#[test]
fn every_kind_of_tensor_data_is_read() {
    let read = |t: TensorProto| {
        let t = lowbit_frontend::onnx::tensor::import(&t, &mut External::new(None, 0)).unwrap();
        (t.dtype(), t.reals().unwrap().to_vec())
    };
    let typed = |data_type, n| TensorProto { data_type: Some(data_type), dims: vec![n], ..TensorProto::default() };
    assert_eq!(read(TensorProto { float_data: vec![1.5, 2.0], ..typed(1, 2) }), (DType::F32, vec![1.5, 2.0]));
    assert_eq!(read(TensorProto { double_data: vec![1.5], ..typed(11, 1) }), (DType::F32, vec![1.5]));
    assert_eq!(read(TensorProto { int32_data: vec![0x3e00], ..typed(10, 1) }), (DType::F32, vec![1.5]));
    assert_eq!(read(TensorProto { int32_data: vec![0x3fc0], ..typed(16, 1) }), (DType::F32, vec![1.5]));
    assert_eq!(read(TensorProto { raw_data: Some(vec![0x00, 0x3e].into()), ..typed(10, 1) }).1, [1.5]);
    assert_eq!(read(TensorProto { raw_data: Some(1.5f64.to_le_bytes().to_vec().into()), ..typed(11, 1) }).1, [1.5]);
    assert_eq!(read(TensorProto { int64_data: vec![-7], ..typed(7, 1) }), (DType::I64, vec![-7.0]));
    assert_eq!(read(TensorProto { uint64_data: vec![7], ..typed(12, 1) }), (DType::I64, vec![7.0]));
    assert_eq!(read(TensorProto { raw_data: Some(vec![255, 255, 255, 255].into()), ..typed(12, 1) }).1, [4294967295.0]);
    for (code, dtype) in
        [(2, DType::U8), (3, DType::I8), (4, DType::U16), (5, DType::I16), (6, DType::I32), (9, DType::Bool)]
    {
        assert_eq!(read(TensorProto { int32_data: vec![1, 0], ..typed(code, 2) }), (dtype, vec![1.0, 0.0]));
    }
    assert_eq!(read(TensorProto { int32_data: vec![0x8f, 0x01], ..typed(22, 3) }), (DType::I4, vec![-1.0, -8.0, 1.0]));
    assert_eq!(read(TensorProto { raw_data: Some(vec![0x8f].into()), ..typed(21, 2) }), (DType::U4, vec![15.0, 8.0]));
    assert_eq!(
        read(TensorProto { raw_data: Some(vec![0b11_10_01_00].into()), ..typed(25, 4) }).1,
        [0.0, 1.0, 2.0, 3.0]
    );
    assert_eq!(
        read(TensorProto { raw_data: Some(vec![0b11_10_01_00].into()), ..typed(26, 4) }).1,
        [0.0, 1.0, -2.0, -1.0]
    );
}

/// A folder of a test's own, gone when it ends.
struct Folder(std::path::PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let folder = std::env::temp_dir().join(format!("lowbit-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(folder.join("model/deep")).unwrap();
        Folder(folder)
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.0.join("model").join(name), bytes).unwrap();
    }

    /// Reads a model that multiplies by tensors with this external data, within so much memory.
    fn read(&self, dims: &[i64], tensors: &[&[(&str, &str)]], max_memory: usize) -> Result<lowbit_ir::Graph, String> {
        let mut model = Model::new(13).input("x", DType::F32, &["1"]);
        for (i, entries) in tensors.iter().enumerate() {
            let entry =
                |(k, v): &(&str, &str)| StringStringEntryProto { key: Some(k.to_string()), value: Some(v.to_string()) };
            let tensor = TensorProto {
                name: Some(format!("w{i}")),
                data_type: Some(1),
                dims: dims.to_vec(),
                data_location: Some(DataLocation::External as i32),
                external_data: entries.iter().map(entry).collect(),
                ..TensorProto::default()
            };
            let (w, y) = (format!("x w{i}"), format!("y{i}"));
            model = model.raw(tensor).node("Mul", &w, &y, vec![]).output(&y);
        }
        self.write("model.onnx", &model.bytes());
        let options = ImportOptions { max_memory, ..ImportOptions::default() };
        load(&self.0.join("model/model.onnx"), &options).map_err(|e| e.to_string())
    }

    #[track_caller]
    fn refused(&self, dims: &[i64], entries: &[(&str, &str)], parts: &[&str]) {
        let error = self.read(dims, &[entries], 1 << 20).unwrap_err();
        for part in parts.iter().chain(&["value 'w0'"]) {
            assert!(error.contains(part), "{entries:?}: expected '{part}' in: {error}");
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

const INSIDE: &str = "inside the model's folder";

#[test]
fn external_data_is_what_its_tensor_says() {
    let folder = Folder::new("external");
    let data: Vec<u8> = [9.0f32, 1.0, 2.0].iter().flat_map(|v| v.to_le_bytes()).collect();
    folder.write("weights.bin", &data);
    folder.write("deep/weights.bin", &data);
    let read = |entries: &[(&str, &str)]| folder.read(&[2], &[entries], 1 << 20).unwrap();
    for location in ["weights.bin", "./weights.bin", "deep/weights.bin", "deep/./weights.bin"] {
        let graph = read(&[("location", location), ("offset", "4"), ("length", "8")]);
        assert_eq!(run(&graph, &[f32s(&[1], &[1.0])])[0].f32s().unwrap()[..], [1.0, 2.0]);
    }
    let graph = read(&[("location", "weights.bin")]);
    assert_eq!(run(&graph, &[f32s(&[1], &[1.0])])[0].f32s().unwrap()[..], [9.0, 1.0], "as many as the sizes say");
    let at = |more: &[(&'static str, &'static str)]| [&[("location", "weights.bin")], more].concat();
    folder.refused(&[2], &[("location", "missing.bin")], &["missing.bin", "beside the model"]);
    folder.refused(&[2], &at(&[("offset", "400")]), &["8 bytes at 400", "weights.bin", "12"]);
    folder.refused(&[2], &at(&[("offset", "8")]), &["8 bytes at 8", "12"]);
    folder.refused(&[2], &at(&[("offset", "18446744073709551615")]), &["18446744073709551615"]);
    folder.refused(&[2], &at(&[("length", "99999999999999")]), &["expected 8 bytes", "99999999999999"]);
    folder.refused(&[2], &at(&[("length", "12")]), &["expected 8 bytes", "a length of 12"]);
    folder.refused(&[2], &at(&[("offset", "-1")]), &["'offset'", "-1"]);
    folder.refused(&[2], &at(&[("length", "1e3")]), &["'length'", "1e3"]);
    folder.refused(&[1 << 40], &at(&[]), &["4398046511104 bytes", "12"]);
    folder.refused(&[1 << 40, 1 << 40], &at(&[]), &["1099511627776"]);
    folder.refused(&[2], &[], &["the location"]);
    folder.refused(&[2], &[("location", "")], &["the location"]);
    folder.refused(&[2], &[("location", "deep")], &["found a folder"]);
    let alone = Model::new(13).input("x", DType::F32, &["2"]).raw(TensorProto {
        name: Some("w".into()),
        data_type: Some(1),
        dims: vec![2],
        data_location: Some(DataLocation::External as i32),
        external_data: vec![StringStringEntryProto { key: Some("location".into()), value: Some("weights.bin".into()) }],
        ..TensorProto::default()
    });
    refused(&alone.node("Mul", "x w", "y", vec![]).output("y"), &["value 'w'", "weights.bin", "without its folder"]);
}

#[test]
fn external_data_stays_inside_the_folder() {
    let folder = Folder::new("outside");
    std::fs::write(folder.0.join("secret.bin"), [0; 8]).unwrap();
    folder.write("weights.bin", &[0; 8]);
    let absolute = folder.0.join("secret.bin").display().to_string();
    let own = folder.0.join("model/weights.bin").display().to_string();
    for location in [
        "../secret.bin",
        "deep/../../secret.bin",
        "deep/../weights.bin",
        "..",
        &absolute,
        &own,
        "..\\secret.bin",
        "deep\\..\\..\\secret.bin",
        "\\secret.bin",
        "\\\\server\\share\\secret.bin",
        "C:\\secret.bin",
        "c:secret.bin",
        "weights.bin\0",
    ] {
        folder.refused(&[2], &[("location", location)], &[INSIDE]);
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::symlink;
        let model = folder.0.join("model");
        symlink("../secret.bin", model.join("link.bin")).unwrap();
        symlink("..", model.join("up")).unwrap();
        symlink("weights.bin", model.join("fine.bin")).unwrap();
        symlink("/dev/zero", model.join("zero.bin")).unwrap();
        for location in ["link.bin", "up/secret.bin", "zero.bin"] {
            folder.refused(&[2], &[("location", location)], &[INSIDE]);
        }
        folder.read(&[2], &[&[("location", "fine.bin")]], 1 << 20).unwrap();
    }
}

/// A pipe that nobody writes to would be waited for, and a socket or a device is no data.
#[cfg(unix)]
#[test]
fn external_data_is_in_regular_files() {
    let folder = Folder::new("irregular");
    let pipe = folder.0.join("model/pipe.bin");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    match made.is_ok_and(|status| status.success()) {
        true => folder.refused(&[2], &[("location", "pipe.bin")], &["expected a regular file", "pipe.bin"]),
        false => eprintln!("SKIPPED: there is no mkfifo here, so no pipe was tried"),
    }
    let _socket = std::os::unix::net::UnixListener::bind(folder.0.join("model/socket.bin")).unwrap();
    folder.refused(&[2], &[("location", "socket.bin")], &["expected a regular file", "socket.bin"]);
}

/// The model itself may be of any size. What is little on the disk and much in memory is not the model.
#[test]
fn external_data_that_is_not_on_the_disk_counts_as_memory() {
    let folder = Folder::new("holes");
    folder.write("shared.bin", &[1; 4096]);
    let all: Vec<&[(&str, &str)]> = vec![&[("location", "shared.bin")]; 8];
    folder.read(&[1024], &all, 7 * 4096).unwrap();
    let error = folder.read(&[1024], &all, 6 * 4096).unwrap_err();
    assert!(
        error.contains("value 'w7'") && error.contains("at most 24 KiB") && error.contains("--max-memory"),
        "{error}"
    );
    let holes = std::fs::File::create(folder.0.join("model/holes.bin")).unwrap();
    holes.set_len(1 << 36).unwrap();
    drop(holes);
    #[cfg(unix)]
    {
        // A hole from end to end, and one behind a block.
        folder.refused(&[1 << 34], &[("location", "holes.bin")], &["64 GiB", "--max-memory"]);
        std::os::unix::fs::FileExt::write_all_at(
            &std::fs::OpenOptions::new().write(true).open(folder.0.join("model/holes.bin")).unwrap(),
            &[1; 4096],
            0,
        )
        .unwrap();
        folder.refused(&[1 << 34], &[("location", "holes.bin")], &["64.0 GiB", "--max-memory"]);
    }
}

/// Numbers of types that the graph lacks are converted where they fit, and refused by name where they do not.
#[test]
fn numbers_that_do_not_fit_name_their_tensor() {
    let with = |data_type: DataType, raw: Vec<u8>| {
        let tensor = TensorProto {
            name: Some("w".into()),
            data_type: Some(data_type as i32),
            dims: vec![1],
            raw_data: Some(raw.into()),
            ..TensorProto::default()
        };
        Model::new(13).raw(tensor).node("Neg", "w", "y", vec![]).output("y")
    };
    refused(&with(DataType::Double, 1e39f64.to_le_bytes().to_vec()), &["'w'", "within f32", "1e39"]);
    refused(&with(DataType::Uint64, u64::MAX.to_le_bytes().to_vec()), &["'w'", "within i64", "18446744073709551615"]);
    for x in [f64::INFINITY, f64::from(f32::MAX), 1e-300] {
        let g = with(DataType::Double, x.to_le_bytes().to_vec()).import().unwrap();
        assert_eq!(run(&g, &[])[0].f32s().unwrap()[..], [-x as f32]);
    }
    assert!(with(DataType::Uint64, u64::from(u32::MAX).to_le_bytes().to_vec()).import().is_ok());
    // In a Constant node too, which is named by its output.
    let mut attribute = value("value", &f32s(&[1], &[0.0]));
    let t = attribute.t.as_mut().unwrap();
    (t.data_type, t.raw_data) = (Some(DataType::Double as i32), Some((-1e300f64).to_le_bytes().to_vec().into()));
    refused(
        &Model::new(13).node("Constant", "", "c", vec![attribute]).node("Neg", "c", "y", vec![]).output("y"),
        &["'c'", "within f32"],
    );
}

/// Everything whose type became another is told, with its name.
#[test]
fn types_that_become_others_are_told() {
    let half = |name: &str| TensorProto {
        name: Some(name.into()),
        data_type: Some(DataType::Float16 as i32),
        dims: vec![1],
        raw_data: Some(vec![0, 0x3c].into()),
        ..TensorProto::default()
    };
    let mut model = Model::new(13)
        .input("x", DType::F16, &["1"])
        .input("n", DType::I64, &["1"])
        .raw(half("w"))
        .node("Mul", "x w", "a", vec![])
        .node("Cast", "a", "b", vec![int("to", DataType::Double as i64)])
        .node("Cast", "n", "c", vec![int("to", DataType::Uint32 as i64)])
        .node("Cast", "c", "d", vec![int("to", DataType::Float as i64)])
        .node("Add", "b d", "y", vec![])
        .output("y");
    let mut output = model.graph().input[0].clone();
    output.name = Some("y".into());
    model.graph().output[0] = output;
    let remarks = lowbit_frontend::onnx::import(model.bytes().into(), None, &ImportOptions::default()).unwrap().1;
    let expected = [
        "f16 became f32: 1 input ('x'), 1 output ('y'), 1 constant ('w')",
        "f64 became f32: 1 conversion ('b')",
        "u32 became i64: 1 conversion ('c')",
    ];
    assert_eq!(lowbit_frontend::remark_lines(&remarks), expected);
    let plain = Model::new(13).input("x", DType::F32, &["1"]).node("Neg", "x", "y", vec![]).output("y");
    assert!(lowbit_frontend::onnx::import(plain.bytes().into(), None, &ImportOptions::default()).unwrap().1.is_empty());
}

#[test]
fn outputs_of_other_sizes_than_declared_are_remarked() {
    let base = || Model::new(13).input("x", DType::F32, &["N", "2"]).node("Relu", "x", "y", vec![]).output("y");
    let declared = |dims: &[&str]| base().input("y", DType::F32, dims).graph().input.pop().unwrap();
    let lines = |dims: &[&str], shapes: &[(String, Vec<usize>)]| {
        let mut model = base();
        model.graph().output[0] = declared(dims);
        let options = ImportOptions { shapes: shapes.to_vec(), ..ImportOptions::default() };
        let remarks = lowbit_frontend::onnx::import(model.bytes().into(), None, &options).unwrap().1;
        lowbit_frontend::remark_lines(&remarks)
    };
    assert_eq!(lines(&["N", "3"], &[]), ["output 'y' is Nx2, the file declares Nx3"]);
    assert_eq!(lines(&["2"], &[]), ["output 'y' is Nx2, the file declares 2"]);
    // What is open may be what is declared.
    assert!(lines(&["7", "2"], &[]).is_empty() && lines(&["M", "K"], &[]).is_empty());
    assert_eq!(lines(&["7", "2"], &[("x".into(), vec![4, 2])]), ["output 'y' is 4x2, the file declares 7x2"]);
}
