"""A pass of your own: it changes the graph at a phase of the workflow.

The graph is checked behind every pass, and what the model takes and gives must stay.

Run it with ``python crates/python/examples/03_pass.py``, from the folder of the repository.
"""

import lowbit as lb


@lb.graph_pass("prepared")
def limit_relus(graph: lb.Graph) -> None:
    """Makes every Relu a Clip to 0..6, so that ranges are known before anything is seen."""
    for node in graph.nodes:
        if node.op == "Relu":
            (result,) = graph.add_node("Clip", node.inputs, {"min": 0.0, "max": 6.0}, node.name)
            graph.replace(node.outputs[0], result)


def main() -> None:
    model = lb.Model.load("demo/model.onnx")
    config = {"samples": 32}
    plain = model.quantize(data="demo/calibration", config=config)
    limited = model.quantize(data="demo/calibration", config=config, passes=[limit_relus])

    ops = [node.op for node in limited.float.nodes]
    print(f"{ops.count('Clip')} limits, {ops.count('Relu')} without")
    assert "Relu" in {node.op for node in plain.float.nodes}
    assert "Relu" not in ops and "Clip" in ops
    assert limited.report.integer_macs_percent == 100.0


if __name__ == "__main__":
    main()
