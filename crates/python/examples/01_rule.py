"""A rule of your own: how an operator is annotated for quantization.

A rule sees a call and what it reads, and gives the call over values that are to be narrow. What it leaves open, the
configuration says. What is registered inside of ``with lb.rules()`` is gone behind it.

Run it with ``python crates/python/examples/01_rule.py``, from the folder of the repository.
"""

from typing import List

import lowbit as lb
from lowbit import attach_simulated_quantize, register_annotate_function


def main() -> None:
    model = lb.Model.load("demo/model.onnx")

    with lb.rules():

        # Depthwise layers have few weights, so they keep 8 bits; all others get 4.
        @register_annotate_function("nn.conv2d", override=True)
        def conv2d(ref_call: lb.Call, new_args: List[lb.Value], ctx: lb.Context) -> lb.Call:
            data, weight = new_args
            depthwise = ref_call.attrs["group"] > 1
            data = attach_simulated_quantize(data, bits=8, sign=False, rounding="half-even")
            weight = attach_simulated_quantize(weight, bits=8 if depthwise else 4, per="channel")
            return lb.Call(ref_call.op, [data, weight], ref_call.attrs)

        print(lb.registered_rules())
        quantized = model.quantize(data="demo/calibration", config={"samples": 32})

    own = [value for value in quantized.report.values if value["rule"].startswith("override Conv (conv2d)")]
    for value in own[:4]:
        print(value["value"], value["integers"], "by the rule", value["rule"])
    print(f"{quantized.report.bytes_before} bytes of constants became {quantized.report.bytes_after}")
    assert any(value["integers"] == [-7, 7] for value in own)
    assert quantized.report.integer_macs_percent == 100.0
    assert lb.registered_rules() == ()


if __name__ == "__main__":
    main()
