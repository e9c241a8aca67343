//! MXNet models: what is read of symbols and parameters, and what is said of those that are not.

use bytes::Bytes;
use lowbit_frontend::{ImportOptions, Remark, load, mxnet};
use lowbit_ir::{Dim, Graph, Result};

/// A file of parameters: f32, every element of an array the same.
fn params(arrays: &[(&str, &[usize], f32)]) -> Bytes {
    let mut file = Vec::new();
    file.extend(0x112u64.to_le_bytes());
    file.extend(0u64.to_le_bytes());
    file.extend((arrays.len() as u64).to_le_bytes());
    for (_, dims, value) in arrays {
        file.extend(0xF993_FAC9u32.to_le_bytes());
        file.extend(0u32.to_le_bytes());
        file.extend((dims.len() as u32).to_le_bytes());
        dims.iter().for_each(|d| file.extend((*d as u64).to_le_bytes()));
        file.extend([1, 0, 0, 0, 0, 0, 0, 0]);
        file.extend(0u32.to_le_bytes());
        (0..dims.iter().product()).for_each(|_| file.extend(value.to_le_bytes()));
    }
    file.extend((arrays.len() as u64).to_le_bytes());
    for (name, ..) in arrays {
        file.extend((name.len() as u64).to_le_bytes());
        file.extend(name.as_bytes());
    }
    file.into()
}

/// A symbol of nodes: operator, name, attributes, operands.
fn symbol(nodes: &[(&str, &str, &str, &[usize])], heads: &[usize]) -> String {
    let node = |(op, name, attributes, inputs): &(&str, &str, &str, &[usize])| {
        let attributes: Vec<String> = attributes
            .split(';')
            .filter_map(|a| a.split_once('='))
            .map(|(key, value)| format!("\"{}\": \"{}\"", key.trim(), value.trim()))
            .collect();
        let inputs: Vec<String> = inputs.iter().map(|i| format!("[{i}, 0, 0]")).collect();
        format!(
            "{{\"op\": \"{op}\", \"name\": \"{name}\", \"attrs\": {{{}}}, \"inputs\": [{}]}}",
            attributes.join(", "),
            inputs.join(", ")
        )
    };
    let nodes: Vec<String> = nodes.iter().map(node).collect();
    let heads: Vec<String> = heads.iter().map(|h| format!("[{h}, 0, 0]")).collect();
    format!("{{\"nodes\": [{}], \"heads\": [{}]}}", nodes.join(", "), heads.join(", "))
}

fn with(symbol: &str, params: Bytes, shapes: &[(&str, &[usize])]) -> Result<(Graph, Vec<Remark>)> {
    let shapes = shapes.iter().map(|(name, dims)| ((*name).to_string(), dims.to_vec())).collect();
    mxnet::import(symbol.as_bytes(), Some(params), &ImportOptions { shapes, ..ImportOptions::default() })
}

/// Conv, BatchNorm whose gamma is fixed, a rounded up pool, a dense layer, SoftmaxOutput with its label.
fn network() -> (String, Bytes) {
    let nodes: &[(&str, &str, &str, &[usize])] = &[
        ("null", "data", "", &[]),
        ("null", "conv_weight", "__init__=zeros", &[]),
        ("null", "conv_bias", "__lr_mult__=2.0", &[]),
        ("Convolution", "conv", "kernel=(3, 3); num_filter=4; pad=(1, 1); workspace=1024", &[0, 1, 2]),
        ("null", "bn_gamma", "", &[]),
        ("null", "bn_beta", "", &[]),
        ("null", "bn_moving_mean", "", &[]),
        ("null", "bn_moving_var", "", &[]),
        ("BatchNorm", "bn", "eps=0.001; momentum=0.9; fix_gamma=True", &[3, 4, 5, 6, 7]),
        ("Activation", "relu", "act_type=relu", &[8]),
        (
            "Pooling",
            "pool",
            "kernel=(2, 2); stride=(2, 2); pool_type=max; pooling_convention=full; global_pool=False",
            &[9],
        ),
        ("Pooling", "mean", "kernel=(1, 1); pool_type=avg; global_pool=True", &[10]),
        ("null", "fc_weight", "", &[]),
        ("null", "fc_bias", "", &[]),
        ("FullyConnected", "fc", "num_hidden=2", &[11, 12, 13]),
        ("null", "softmax_label", "", &[]),
        ("SoftmaxOutput", "softmax", "grad_scale=1.0", &[14, 15]),
    ];
    let arrays = params(&[
        ("arg:conv_weight", &[4, 3, 3, 3], 0.5),
        ("arg:conv_bias", &[4], 0.25),
        ("arg:bn_gamma", &[4], 7.0),
        ("arg:bn_beta", &[4], 0.5),
        ("aux:bn_moving_mean", &[4], 1.0),
        ("aux:bn_moving_var", &[4], 2.0),
        ("arg:fc_weight", &[2, 4], 1.5),
        ("arg:fc_bias", &[2], -1.0),
        ("arg:not_read", &[2], -1.0),
    ]);
    (symbol(nodes, &[16]), arrays)
}

#[test]
fn a_network_is_read_with_open_sizes_or_with_known_ones() {
    let (symbol, arrays) = network();
    let (graph, remarks) = with(&symbol, arrays.clone(), &[]).unwrap();
    assert_eq!(remarks, [Remark::Unread { name: "not_read".into() }]);
    let [input] = graph.inputs.as_slice() else { panic!("{:?}", graph.inputs) };
    assert_eq!(graph.value(*input).name.to_string(), "data");
    let open = |i: usize| Dim::Symbol(format!("data_{i}").into());
    assert_eq!(graph.ty(*input).shape.0, [open(0), Dim::Known(3), open(2), open(3)]);
    let [output] = graph.outputs.as_slice() else { panic!("{:?}", graph.outputs) };
    assert_eq!(graph.value(*output).name.to_string(), "softmax_output");
    assert_eq!(graph.ty(*output).shape.0, [open(0), Dim::Known(2)]);
    // Gamma is what MXNet computes with, not what stands in the file.
    let gamma = graph.values().find(|(_, v)| &*v.name == "bn.gamma").unwrap().0;
    assert_eq!(*graph.constant(gamma).unwrap().floats().unwrap(), [1.0; 4]);
    assert!(graph.find("not_read").is_none() && graph.find("softmax_label").is_none());

    let (graph, _) = with(&symbol, arrays, &[("data", &[2, 3, 9, 11])]).unwrap();
    let pool = graph.find("pool_output").unwrap();
    assert_eq!(graph.ty(pool).shape.dims(), Some(vec![2, 4, 5, 6]));
}

#[test]
fn before_version_0_9_some_parameters_are_not_listed() {
    let nodes: &[(&str, &str, &str, &[usize])] = &[
        ("null", "data", "", &[]),
        ("null", "bn_gamma", "", &[]),
        ("null", "bn_beta", "", &[]),
        ("BatchNorm", "bn", "fix_gamma=False", &[0, 1, 2]),
    ];
    let arrays = params(&[
        ("arg:bn_gamma", &[4], 7.0),
        ("arg:bn_beta", &[4], 0.5),
        ("aux:bn_moving_mean", &[4], 1.0),
        ("aux:bn_moving_var", &[4], 2.0),
    ]);
    let (graph, _) = with(&symbol(nodes, &[3]), arrays, &[("data", &[1, 4, 2, 2])]).unwrap();
    assert!(graph.find("bn_moving_mean").is_some() && graph.find("bn_moving_var").is_some());
}

#[test]
fn all_that_cannot_be_read_is_said_at_once() {
    let nodes: &[(&str, &str, &str, &[usize])] = &[
        ("null", "data", "", &[]),
        ("Activatoin", "first", "act_type=relu", &[0]),
        ("Activation", "second", "act_type=swish", &[0]),
        ("Activation", "third", "act_type=relu; fast=True", &[0]),
        ("RNN", "fourth", "", &[0]),
        ("RNN", "fifth", "", &[4]),
    ];
    let symbol = symbol(nodes, &[1, 2, 3, 5]);
    let error = with(&symbol, params(&[]), &[("data", &[1, 4])]).unwrap_err().to_string();
    for expected in [
        "5 nodes of the model cannot be read",
        "Activatoin: the operator is not supported (did you mean 'Activation'?)",
        "expected act_type relu",
        "attribute 'fast' (True) is not supported",
        "RNN",
    ] {
        assert!(error.contains(expected), "{expected}: {error}");
    }
}

#[test]
fn parameters_that_are_missing_or_unknown_are_errors() {
    let (symbol, _) = network();
    let error = with(&symbol, params(&[("arg:conv_weigth", &[4, 3, 3, 3], 0.5)]), &[]).unwrap_err().to_string();
    assert!(error.contains("no array for 8 of them: 'conv_weight'") && error.contains("'conv_weigth'"), "{error}");
    let (symbol, arrays) = network();
    let error = with(&symbol, arrays, &[("dat", &[1, 3, 9, 9])]).unwrap_err().to_string();
    assert!(error.contains("no input is named 'dat' (did you mean 'data'?)"), "{error}");
}

#[test]
fn an_input_of_which_nothing_tells_the_shape_must_be_given_one() {
    let nodes: &[(&str, &str, &str, &[usize])] = &[("null", "data", "", &[]), ("Flatten", "flat", "", &[0])];
    let symbol = symbol(nodes, &[1]);
    let error = with(&symbol, params(&[]), &[]).unwrap_err().to_string();
    assert!(error.contains("--shape data="), "{error}");
    let (graph, _) = with(&symbol, params(&[]), &[("data", &[2, 3, 4])]).unwrap();
    assert_eq!(graph.ty(graph.outputs[0]).shape.dims(), Some(vec![2, 12]));
    let stated = [("null", "data", "__shape__=(0, 3, 4)", [].as_slice()), ("Flatten", "flat", "", &[0])];
    let (graph, _) = with(&self::symbol(&stated, &[1]), params(&[]), &[]).unwrap();
    assert_eq!(graph.ty(graph.outputs[0]).shape.0, [Dim::Symbol("data_0".into()), Dim::Known(12)]);
}

#[test]
fn the_parameters_are_found_beside_the_symbol() {
    let folder = std::env::temp_dir().join(format!("lowbit-mxnet-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let (symbol, arrays) = network();
    let path = folder.join("net-symbol.json");
    std::fs::write(&path, symbol).unwrap();
    let none = load(&path, &ImportOptions::default()).unwrap_err().to_string();
    assert!(none.contains("net-0000.params") && none.contains("--params"), "{none}");
    std::fs::write(folder.join("net-0010.params"), &arrays).unwrap();
    std::fs::write(folder.join("network-0010.params"), b"another model's").unwrap();
    let graph = load(&path, &ImportOptions::default()).unwrap();
    assert_eq!(graph.name, "net");
    std::fs::write(folder.join("net-0020.params"), &arrays).unwrap();
    let two = load(&path, &ImportOptions::default()).unwrap_err().to_string();
    assert!(two.contains("found 2, the last of them") && two.contains("--params"), "{two}");
    let chosen = ImportOptions { params: Some(folder.join("net-0020.params")), ..ImportOptions::default() };
    load(&path, &chosen).unwrap();
    let wrong_way = load(&folder.join("net-0020.params"), &ImportOptions::default()).unwrap_err().to_string();
    assert!(wrong_way.contains("-symbol.json"), "{wrong_way}");
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn sizes_beyond_all_memory_are_errors() {
    let huge = "9223372036854775807";
    for (op, attributes) in [
        ("Pooling", format!("kernel=({huge}, {huge}); pool_type=sum; stride=({huge}, 1)")),
        ("Pooling", format!("kernel=(2, 2); pad=({huge}, {huge}); pooling_convention=full; pool_type=max")),
        ("Pooling", format!("kernel=({huge},); pooling_convention=same; pool_type=max")),
        ("UpSampling", format!("scale={huge}; sample_type=nearest")),
        ("Pad", format!("mode=edge; pad_width=({huge}, {huge}, 0, 0, 0, 0, 0, 0)")),
        ("Reshape", format!("shape=({huge}, {huge}, -1)")),
        ("broadcast_to", format!("shape=({huge}, {huge}, {huge}, {huge})")),
        ("SliceChannel", format!("num_outputs={huge}; axis=1")),
        ("Crop", format!("h_w=({huge}, 1); offset=({huge}, {huge}); num_args=1")),
    ] {
        let nodes: &[(&str, &str, &str, &[usize])] = &[("null", "data", "", &[]), (op, "node", &attributes, &[0])];
        for shape in [&[1, 2, 3, 4][..], &[1, 2, 3]] {
            drop(with(&symbol(nodes, &[1]), params(&[]), &[("data", shape)]));
        }
    }
    let conv = format!("kernel=(3, 3); num_filter=1; stride=({huge}, {huge}); pad=({huge}, {huge}); no_bias=True");
    for op in ["Convolution", "Deconvolution"] {
        let nodes: &[(&str, &str, &str, &[usize])] =
            &[("null", "data", "", &[]), ("null", "w", "", &[]), (op, "node", &conv, &[0, 1])];
        let arrays = params(&[("w", &[1, 1, 3, 3], 1.0)]);
        with(&symbol(nodes, &[2]), arrays, &[("data", &[1, 1, 5, 5])]).unwrap_err();
    }
}

#[test]
fn damaged_symbols_and_parameters_are_errors() {
    let (symbol, arrays) = network();
    for cut in 0..symbol.len() {
        with(&symbol[..cut], arrays.clone(), &[]).unwrap_err();
    }
    for at in (0..arrays.len()).step_by(7) {
        let mut damaged = arrays.to_vec();
        damaged[at] ^= 0x55;
        // A changed number is still one; nothing may panic or hang.
        drop(with(&symbol, damaged.into(), &[]));
    }
    for (from, to) in
        [("[0, 0, 0]", "[40, 0, 0]"), ("(3, 3)", "(3, 99999999999)"), ("(2, 2)", "(0, 2)"), ("(1, 1)", "(1)")]
    {
        with(&symbol.replace(from, to), arrays.clone(), &[]).unwrap_err();
    }
}
