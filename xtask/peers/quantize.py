#!/usr/bin/env python3
"""Quantizes a float ONNX model as its users would with another tool, on samples of seeded noise or of a file.

    quantize.py onnxruntime MODEL OUT.onnx [--signed] [--method minmax|entropy]
                                                          QDQ, 8 bits, weights per channel
    quantize.py nncf MODEL OUT.xml [--transformer]        post-training quantization, saved for OpenVINO

Both take --samples FILE.npy, of which every entry along the first axis is a sample.

The figures of merit here are times, which do not depend on the samples; accuracy is measured elsewhere, on real ones.
"""
import argparse
import logging
import pathlib
import tempfile
import warnings

import numpy as np

warnings.filterwarnings("ignore")
logging.disable(logging.WARNING)
SAMPLES = 8


def samples(args, shape):
    """Those of the file, which is read as it is used; of noise there are few."""
    if args.samples:
        data = np.load(args.samples, mmap_mode="r")
        return [data[i : i + 1] for i in range(len(data))]
    generator = np.random.default_rng(1)
    return [generator.standard_normal(shape).astype(np.float32) for _ in range(SAMPLES)]


def by_onnxruntime(args):
    import onnx
    import onnx.version_converter
    from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):
        def __init__(self, port):
            shape = [max(1, d.dim_value) for d in port.type.tensor_type.shape.dim]
            self.samples = ({port.name: np.array(x)} for x in samples(args, shape))

        def get_next(self):
            return next(self.samples, None)

    weights = {t.name for t in onnx.load(args.model).graph.initializer}
    port = next(i for i in onnx.load(args.model).graph.input if i.name not in weights)
    with tempfile.TemporaryDirectory() as folder:
        prepared, newer = (str(pathlib.Path(folder) / name) for name in ("prepared.onnx", "newer.onnx"))
        model = onnx.load(args.model)
        # Biases of one scale a channel came with opset 13; of older models it writes files that it cannot load.
        if next(o.version for o in model.opset_import if o.domain in ("", "ai.onnx")) < 13:
            model = onnx.version_converter.convert_version(model, 13)
        onnx.save(model, newer)
        quant_pre_process(newer, prepared, skip_symbolic_shape=True)
        quantize_static(
            prepared,
            args.out,
            Reader(port),
            calibrate_method={"minmax": CalibrationMethod.MinMax, "entropy": CalibrationMethod.Entropy}[args.method],
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QInt8 if args.signed else QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            extra_options={"ActivationSymmetric": args.signed, "WeightSymmetric": True},
        )


def by_nncf(args):
    import nncf
    import openvino

    model = openvino.Core().read_model(args.model)
    shape = [d.get_length() if d.is_static else 1 for d in model.inputs[0].partial_shape]
    model.reshape(shape)
    data = samples(args, shape)
    quantized = nncf.quantize(
        model,
        nncf.Dataset(data, np.array),
        subset_size=len(data),
        preset=nncf.QuantizationPreset.PERFORMANCE,
        model_type=nncf.ModelType.TRANSFORMER if args.transformer else None,
    )
    openvino.save_model(quantized, args.out, compress_to_fp16=False)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tool", choices=["onnxruntime", "nncf"])
    parser.add_argument("model")
    parser.add_argument("out")
    parser.add_argument("--signed", action="store_true")
    parser.add_argument("--transformer", action="store_true")
    parser.add_argument("--samples")
    parser.add_argument("--method", choices=["minmax", "entropy"], default="minmax")
    args = parser.parse_args()
    {"onnxruntime": by_onnxruntime, "nncf": by_nncf}[args.tool](args)


if __name__ == "__main__":
    main()
