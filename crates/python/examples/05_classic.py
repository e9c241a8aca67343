"""The classic workflow: a graph with its parameters, a configuration in a block, a rule for an operator.

Run it with ``python crates/python/examples/05_classic.py``, from the folder of the repository; or with the files of a
model of yours behind, an ONNX file, or the symbol and the parameters of an MXNet model, and the sizes of what it shall
run on, such as 1x3x24x24, where the model leaves them open.
"""

import sys
from typing import List

import numpy as np

import lowbit as lb
from lowbit import (
    QFieldKind,
    attach_simulated_quantize,
    frontend,
    qconfig,
    quantize,
    register_annotate_function,
)


def annotate_conv2d(ref_call: lb.Call, new_args: List[lb.Value], ctx: lb.Context) -> lb.Call:
    lhs, rhs = new_args
    lhs = attach_simulated_quantize(lhs, sign=False, rounding="round")
    rhs = attach_simulated_quantize(rhs, sign=True, rounding="stochastic_round")
    return lb.Call(ref_call.op, [lhs, rhs], ref_call.attrs)


def main(model: str = "demo/model.onnx", *more: str) -> None:
    parameters = [file for file in more if file.endswith(".params")]
    sizes = [[int(n) for n in given.split("x")] for given in more if given not in parameters]
    if model.endswith(".json"):
        graph, params = frontend.from_mxnet(model, next(iter(parameters), None))
    else:
        graph, params = frontend.from_onnx(model)
    with lb.rules():
        register_annotate_function("nn.conv2d", annotate_conv2d, override=True)
        with qconfig(nbit_dict={QFieldKind.ACTIVATION: 24}, global_scale=8.0, skip_k_conv=1):
            qgraph, qparams = quantize(graph, params)
    program = lb.build(qgraph, qparams)
    (name, ty), *_ = program.inputs.items()
    size = sizes[0] if sizes else [n if isinstance(n, int) else 1 for n in ty.shape]
    x = np.random.default_rng(0).random(size, np.float32)
    output = program.run({name: x})
    for name, array in zip(program.outputs, output):
        print(name, array.shape, array.dtype)
        assert np.isfinite(array).all()
    assert lb.verify(qgraph, x[:1])


if __name__ == "__main__":
    main(*sys.argv[1:])
