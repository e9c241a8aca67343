#!/usr/bin/env python3
"""Compares what lowbit reads of MXNet models with MXNet itself: single operators, and whole models.

Every case is a symbol with arrays of seeded noise, written as files in the way of MXNet and run by both.
Prints one line a case that differs, and one JSON object with the greatest relative error of each.
Needs mxnet 1.9.1 and numpy below 1.24, which Python up to 3.11 has.
"""
import argparse
import json
import os
import pathlib
import subprocess
import sys
import zlib

# Operators of its own: those of its other library compute some cases otherwise, and refuse some.
OTHER_LIBRARY = "MXNET_MKLDNN_ENABLED"
os.environ.setdefault(OTHER_LIBRARY, "0")
os.environ.update(MXNET_SUBGRAPH_VERBOSE="0", MXNET_STORAGE_FALLBACK_LOG_VERBOSE="0")
import mxnet as mx
import numpy as np

# Where its own operators differ from its other library, which does as the definition says.
BY_OTHER_LIBRARY = {"deconv_dilated"}
S = mx.sym
X = (2, 6, 9, 11)


def x(name="data"):
    return S.Variable(name)


def cases():
    """Name: (symbol, shapes of its inputs)."""
    found = {}

    def add(name, symbol, **shapes):
        found[name] = (symbol, shapes or {"data": X})

    conv = dict(kernel=(3, 3), num_filter=8)
    add("conv", S.Convolution(x(), **conv))
    add("conv_padded", S.Convolution(x(), stride=(2, 1), pad=(1, 2), dilate=(2, 1), no_bias=True, **conv))
    add("conv_groups", S.Convolution(x(), num_group=2, **conv))
    add("conv_depthwise", S.Convolution(x(), kernel=(3, 3), num_filter=6, num_group=6, pad=(1, 1)))
    add("conv_1d", S.Convolution(x(), kernel=(3,), num_filter=4, stride=(2,)), data=(2, 5, 17))
    add("conv_3d", S.Convolution(x(), kernel=(2, 3, 2), num_filter=4), data=(1, 3, 5, 6, 7))
    add("deconv", S.Deconvolution(x(), **conv))
    add("deconv_strided", S.Deconvolution(x(), stride=(2, 3), pad=(1, 0), adj=(1, 2), no_bias=False, **conv))
    add("deconv_groups", S.Deconvolution(x(), stride=(2, 2), num_group=3, kernel=(4, 4), num_filter=9, pad=(1, 1)))
    add("deconv_dilated", S.Deconvolution(x(), stride=(2, 2), dilate=(2, 2), **conv))
    add("deconv_target", S.Deconvolution(x(), stride=(2, 2), target_shape=(18, 22), kernel=(4, 4), num_filter=3, no_bias=False))
    add("deconv_1d", S.Deconvolution(x(), kernel=(3,), stride=(2,), num_filter=4), data=(2, 5, 7))
    add("dense", S.FullyConnected(x(), num_hidden=5))
    add("dense_no_bias", S.FullyConnected(x(), num_hidden=5, no_bias=True), data=(3, 7))
    add("dense_last_axis", S.FullyConnected(x(), num_hidden=5, flatten=False))
    for fix in (True, False):
        for stats in (True, False):
            add(f"batch_norm_{fix}_{stats}", S.BatchNorm(x(), fix_gamma=fix, use_global_stats=stats, eps=2e-5))
    add("batch_norm_flat", S.BatchNorm(x(), fix_gamma=False), data=(3, 7))
    add("instance_norm", S.InstanceNorm(x(), eps=1e-3))
    add("layer_norm", S.LayerNorm(x(), eps=1e-4))
    add("group_norm", S.GroupNorm(x(), num_groups=3))
    add("group_norm_whole", S.GroupNorm(x(), num_groups=6))
    add("lrn", S.LRN(x(), nsize=5, alpha=0.3, beta=0.6, knorm=1.5))
    for mode in ("instance", "channel", "spatial"):
        add(f"l2_{mode}", S.L2Normalization(x(), mode=mode))
    for kind in ("relu", "sigmoid", "tanh", "softrelu", "softsign"):
        add(f"activation_{kind}", S.Activation(x(), act_type=kind))
    for kind in ("leaky", "elu", "selu", "gelu", "prelu"):
        add(f"leaky_{kind}", S.LeakyReLU(x(), act_type=kind, slope=0.3))
    add("leaky_rrelu", S.LeakyReLU(x(), act_type="rrelu")[0])
    add("prelu_flat", S.LeakyReLU(x(), act_type="prelu"), data=(3, 7))
    for kind in ("max", "avg", "sum"):
        pool = dict(pool_type=kind, kernel=(3, 2))
        add(f"pool_{kind}", S.Pooling(x(), stride=(2, 2), **pool))
        add(f"pool_{kind}_padded", S.Pooling(x(), stride=(2, 2), pad=(1, 1), **pool))
        add(f"pool_{kind}_global", S.Pooling(x(), global_pool=True, pool_type=kind, kernel=(1, 1)))
        add(f"pool_{kind}_1d", S.Pooling(x(), pool_type=kind, kernel=(3,), stride=(2,)), data=(2, 5, 12))
        if kind != "sum":
            full = dict(pooling_convention="full", **pool)
            add(f"pool_{kind}_full", S.Pooling(x(), stride=(2, 2), **full), data=(2, 3, 8, 10))
            add(f"pool_{kind}_full_padded", S.Pooling(x(), stride=(2, 2), pad=(1, 1), **full), data=(2, 3, 8, 10))
    add("pool_avg_not_counted", S.Pooling(x(), kernel=(3, 3), pad=(1, 1), pool_type="avg", count_include_pad=False))
    not_counted = dict(kernel=(3, 3), stride=(2, 2), pad=(1, 1), pooling_convention="full", count_include_pad=False)
    add("pool_avg_full_not_counted", S.Pooling(x(), pool_type="avg", **not_counted), data=(2, 3, 8, 10))
    same = dict(kernel=(3,), stride=(2,), pad=(0, 0, 0), pooling_convention="same")
    add("pool_same", S.Pooling(x(), pool_type="max", **same), data=(2, 5, 13))
    add("adaptive_1", S.contrib.AdaptiveAvgPooling2D(x(), output_size=1))
    add("adaptive_3x11", S.contrib.AdaptiveAvgPooling2D(x(), output_size=(3, 11)))
    two = {"data": X, "other": X}
    for name in ("elemwise_add", "elemwise_sub", "elemwise_mul", "elemwise_div", "maximum", "minimum"):
        f = getattr(S, name, None) or getattr(S, "broadcast_" + name)
        add(f"two_{name}", f(x(), x("other")), **two)
    for name in ("add", "sub", "mul", "div", "maximum", "minimum"):
        f = getattr(S, "broadcast_" + name)
        add(f"broadcast_{name}", f(x(), x("other")), data=X, other=(1, 6, 1, 1))
    for name, symbol in {
        "plus": x() + 2, "minus": x() - 2, "rminus": 2 - x(), "mul": x() * 3, "div": x() / 3, "rdiv": 3 / x(),
        "power": S.abs(x()) ** 1.5, "rpower": 2 ** x() if hasattr(x(), "__rpow__") else S.exp(x()),
        "maximum": S.maximum(x(), 0.1), "minimum": S.minimum(x(), 0.1),
    }.items():
        add(f"scalar_{name}", symbol)
    add("add_n", S.add_n(x(), x("b"), x("c")), data=X, b=X, c=X)
    for name in ("abs", "ceil", "cos", "erf", "exp", "floor", "hard_sigmoid", "negative", "relu", "sigmoid", "sin",
                 "softsign", "square", "tanh"):
        add(f"unary_{name}", getattr(S, name)(x()))
    for name in ("arcsinh", "arctan", "cosh", "sign", "sinh"):
        add(f"unary_{name}", getattr(S, name)(x()))
    for name in ("arccos", "arcsin", "arctanh", "tan"):
        add(f"unary_{name}", getattr(S, name)(S.tanh(x()) * 0.9))
    add("unary_arccosh", S.arccosh(S.abs(x()) + 1.1))
    for name in ("log", "reciprocal", "rsqrt", "sqrt"):
        add(f"unary_{name}", getattr(S, name)(S.abs(x()) + 0.1))
    add("clip", S.clip(x(), a_min=-0.3, a_max=0.6))
    add("concat", S.Concat(x(), x("b"), dim=2), data=X, b=(2, 6, 3, 11))
    add("stack", S.stack(x(), x("b"), axis=1), data=X, b=X)
    parts = S.SliceChannel(x(), num_outputs=3, axis=1)
    add("split", parts[0] + parts[2])
    singles = S.SliceChannel(x(), num_outputs=9, axis=2, squeeze_axis=True)
    add("split_squeezed", singles[1] - singles[8])
    add("split_all", S.SliceChannel(x(), num_outputs=2, axis=1))
    add("slice_axis", S.slice_axis(x(), axis=-1, begin=2, end=-1))
    add("slice_axis_open", S.slice_axis(x(), axis=2, begin=-4, end=None))
    add("slice", S.slice(x(), begin=(None, 1, 2), end=(None, 5, None), step=(1, 2, 3)))
    add("slice_back", S.slice(x(), begin=(None, None, 7), end=(None, None, 1), step=(1, 1, -2)))
    add("slice_like", S.slice_like(x(), x("b"), axes=(2, 3)), data=X, b=(2, 6, 4, 5))
    add("crop", S.Crop(x(), num_args=1, h_w=(4, 5), offset=(1, 2)))
    add("crop_center", S.Crop(x(), num_args=1, h_w=(4, 5), center_crop=True))
    add("crop_like", S.Crop(x(), x("b"), num_args=2, center_crop=True), data=X, b=(2, 6, 4, 5))
    add("flatten", S.Flatten(x()))
    shapes = {"plain": (2, 54, 11), "copies": (0, 0, -1), "rest": (-1, 6, -2), "joins": (0, -3, 0), "divides": (0, -4, 2, -1, -2)}
    for name, shape in shapes.items():
        add(f"reshape_{name}", S.Reshape(x(), shape=shape))
    add("reshape_reversed", S.Reshape(x(), shape=(-1, 0), reverse=True))
    add("transpose", S.transpose(x(), axes=(0, 2, 3, 1)))
    add("transpose_all", S.transpose(x()))
    add("swap_axis", S.SwapAxis(x(), dim1=1, dim2=3))
    add("expand_dims", S.expand_dims(x(), axis=2))
    add("squeeze", S.squeeze(x()), data=(1, 3, 1, 5))
    add("squeeze_one", S.squeeze(x(), axis=2), data=(1, 3, 1, 5))
    for mode in ("constant", "edge", "reflect"):
        add(f"pad_{mode}", S.Pad(x(), mode=mode, pad_width=(0, 0, 0, 0, 1, 2, 3, 1), constant_value=0.7))
    add("broadcast_axis", S.broadcast_axis(x(), axis=(1, 2), size=(3, 4)), data=(2, 1, 1, 5))
    add("broadcast_to", S.broadcast_to(x(), shape=(0, 3, 4, 0)), data=(2, 1, 1, 5))
    add("where", S.where(S.relu(x()), x("b"), x("c")), data=X, b=X, c=X)
    for name in ("mean", "sum", "max", "min"):
        add(f"reduce_{name}", getattr(S, name)(x(), axis=(2, 3)))
        add(f"reduce_{name}_all", getattr(S, name)(x()))
        add(f"reduce_{name}_each", getattr(S, name)(x(), axis=(0, 1, 2, 3)))
        add(f"reduce_{name}_others", getattr(S, name)(x(), axis=1, exclude=True, keepdims=True))
    add("softmax", S.softmax(x(), axis=1, temperature=2.0))
    add("softmax_last", S.softmax(x()))
    add("softmin", S.softmin(x(), axis=1))
    add("log_softmax", S.log_softmax(x(), axis=1))
    add("softmax_activation", S.SoftmaxActivation(x()))
    add("softmax_activation_channel", S.SoftmaxActivation(x(), mode="channel"))
    add("softmax_output", S.SoftmaxOutput(x(), name="softmax"), data=(3, 7))
    add("softmax_output_all", S.SoftmaxOutput(x(), name="softmax"))
    add("softmax_output_multi", S.SoftmaxOutput(x(), multi_output=True, name="softmax"))
    add("softmax_output_kept", S.SoftmaxOutput(x(), preserve_shape=True, name="softmax"))
    add("linear_output", S.LinearRegressionOutput(x(), name="out"), data=(3, 7))
    add("logistic_output", S.LogisticRegressionOutput(x(), name="out"), data=(3, 7))
    add("dropout", S.Dropout(x(), p=0.5))
    add("block_grad", S.BlockGrad(x() * 2))
    add("cast", S.Cast(x(), dtype="float32"))
    add("cast_int32", S.Cast(S.Cast(x() * 10, dtype="int32"), dtype="float32"))
    add("cast_uint8", S.Cast(S.Cast(S.abs(x()) * 10, dtype="uint8"), dtype="float32"))
    add("max_axis", S.max_axis(x(), axis=1))
    # No size is told: what is compiled fits the arrays that come.
    conv = dict(kernel=(3, 3), num_filter=8, pad=(1, 1))
    pool = dict(kernel=(3, 3), stride=(2, 2), pool_type="max", pooling_convention="full")
    open_net = S.Pooling(S.Activation(S.Convolution(x(), **conv), act_type="relu"), **pool)
    add("open_net", S.Concat(open_net, S.slice_axis(open_net, axis=1, begin=2, end=5), dim=1))
    add("open_means", S.mean(S.BatchNorm(S.Convolution(x(), **conv), fix_gamma=False), axis=(2, 3)))
    add("open_up", S.UpSampling(S.Deconvolution(x(), kernel=(2, 2), stride=(2, 2), num_filter=3), scale=2, sample_type="nearest"))
    add("open_flat", S.SoftmaxOutput(S.FullyConnected(x(), num_hidden=5), name="softmax"), data=(3, 7))
    add("up_nearest", S.UpSampling(x(), scale=3, sample_type="nearest"))
    add("up_bilinear", S.UpSampling(x(), x("w_weight"), scale=2, sample_type="bilinear", num_filter=6, num_args=2))
    add("up_bilinear_3", S.UpSampling(x(), x("w_weight"), scale=3, sample_type="bilinear", num_filter=6, num_args=2))
    add("resize", S.contrib.BilinearResize2D(x(), height=15, width=7))
    add("resize_scaled", S.contrib.BilinearResize2D(x(), scale_height=2.0, scale_width=2.0))
    add("dot", S.dot(x(), x("b"), transpose_b=True), data=(3, 7), b=(4, 7))
    add("dot_turned", S.dot(x(), x("b"), transpose_a=True), data=(7, 3), b=(7, 4))
    add("batch_dot", S.batch_dot(x(), x("b"), transpose_a=True), data=(2, 7, 3), b=(2, 7, 4))
    return found


def run_lowbit(lowbit, folder, symbol, params, inputs):
    command = [lowbit, "run", str(symbol), "--params", str(params), "--output", str(folder / "out"), "--json"]
    for name, value in inputs.items():
        np.save(folder / f"{name}.npy", value)
        command += ["--input", f"{name}={folder / (name + '.npy')}"]
        if not folder.name.startswith("open_"):
            command += ["--shape", f"{name}={'x'.join(map(str, value.shape))}"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr.strip())
    return [np.load(o["file"]) for o in json.loads(done.stdout)["outputs"]]


def error(ours, theirs):
    if ours.shape != theirs.shape:
        raise RuntimeError(f"shape {ours.shape}, MXNet has {theirs.shape}")
    size = float(np.abs(theirs).max()) or 1.0
    return float(np.abs(ours.astype(np.float64) - theirs).max()) / size


def compare(lowbit, folder, symbol, arg, aux, inputs, symbol_file, params_file):
    bound = symbol.bind(mx.cpu(), {**{k: mx.nd.array(v) for k, v in inputs.items()}, **arg}, aux_states=aux, grad_req="null")
    theirs = [o.asnumpy() for o in bound.forward(is_train=False)]
    ours = run_lowbit(lowbit, folder, symbol_file, params_file, inputs)
    if len(ours) != len(theirs):
        raise RuntimeError(f"{len(ours)} outputs, MXNet has {len(theirs)}")
    return max(error(a, b) for a, b in zip(ours, theirs))


def noise(seed, shape, positive=False):
    values = np.random.default_rng(seed).normal(0, 1, shape).astype(np.float32)
    return np.abs(values) + 0.5 if positive else values


def one(lowbit, folder, name, symbol, shapes):
    folder.mkdir(parents=True, exist_ok=True)
    seed = zlib.crc32(name.encode())
    arg_shapes, _, aux_shapes = symbol.infer_shape(**shapes)
    inputs, arg, aux = {}, {}, {}
    for i, (key, shape) in enumerate(zip(symbol.list_arguments(), arg_shapes)):
        value = noise(seed + i, shape)
        if key in shapes:
            inputs[key] = value
        else:
            arg[key] = mx.nd.array(value)
    for i, (key, shape) in enumerate(zip(symbol.list_auxiliary_states(), aux_shapes)):
        aux[key] = mx.nd.array(noise(seed + 100 + i, shape, "var" in key))
    symbol_file, params_file = folder / "m-symbol.json", folder / "m-0000.params"
    symbol.save(str(symbol_file))
    labels = [k for k in arg if k.endswith("_label")]
    saved = {f"arg:{k}": v for k, v in arg.items() if k not in labels} | {f"aux:{k}": v for k, v in aux.items()}
    mx.nd.save(str(params_file), saved or {"arg:unused": mx.nd.zeros((1,))})
    return compare(lowbit, folder, symbol, arg, aux, inputs, symbol_file, params_file)


def whole(lowbit, folder, symbol_file, params_file, shape):
    """A model of the user's, on noise."""
    folder.mkdir(parents=True, exist_ok=True)
    symbol = mx.sym.load(str(symbol_file))
    saved = mx.nd.load(str(params_file))
    arg = {k[4:]: v for k, v in saved.items() if k.startswith("arg:")}
    aux = {k[4:]: v for k, v in saved.items() if k.startswith("aux:")}
    inputs = {"data": noise(7, shape)}
    arg_shapes, _, _ = symbol.infer_shape(data=shape)
    for key, size in zip(symbol.list_arguments(), arg_shapes):
        if key not in arg and key != "data":
            arg[key] = mx.nd.zeros(size)
    return compare(lowbit, folder, symbol, arg, aux, inputs, symbol_file, params_file)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lowbit", required=True)
    parser.add_argument("--folder", required=True, type=pathlib.Path)
    parser.add_argument("--only", default="")
    parser.add_argument("--tolerance", type=float, default=2e-5)
    parser.add_argument("--model", action="append", default=[], help="SYMBOL,PARAMS,1x3x224x224")
    args = parser.parse_args()
    results, bad = {}, 0
    todo = [(n, lambda n=n, s=s, z=z: one(args.lowbit, args.folder / n, n, s, z)) for n, (s, z) in cases().items()]
    for spec in args.model:
        symbol, params, shape = spec.split(",")
        name = pathlib.Path(symbol).name
        shape = tuple(map(int, shape.split("x")))
        todo.append((name, lambda s=symbol, p=params, z=shape, n=name: whole(args.lowbit, args.folder / n, s, p, z)))
    own = os.environ[OTHER_LIBRARY] == "0"
    if own and any(args.only in name for name in BY_OTHER_LIBRARY):
        done = subprocess.run([sys.executable, *sys.argv], env={**os.environ, OTHER_LIBRARY: "1"}, stdout=subprocess.PIPE)
        bad += done.returncode != 0
        results.update(json.loads(done.stdout)["errors"])
    for name, run in todo:
        if args.only not in name or (name in BY_OTHER_LIBRARY) == own:
            continue
        try:
            results[name] = run()
            wrong = "" if results[name] <= args.tolerance else f"relative error {results[name]:.2g}"
        except Exception as e:  # whatever it is, the other cases go on
            wrong = str(e)
        if wrong:
            bad += 1
            print(f"{name}: {wrong}", file=sys.stderr)
    print(json.dumps({"cases": len(results), "failed": bad, "worst": max(results.values(), default=0.0), "errors": results}))
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
