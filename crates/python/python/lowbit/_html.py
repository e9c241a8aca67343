"""Tables for notebooks."""

from html import escape
from typing import Any, Iterable, List, Sequence, Tuple

_MOST_ROWS = 200

_COLOURS = {
    "Conv": "#33558b",
    "MatMul": "#33558b",
    "Relu": "#70291e",
    "Clip": "#70291e",
    "Add": "#70291e",
    "Concat": "#59423b",
    "MaxPool": "#335533",
    "AvgPool": "#335533",
    "GlobalAvgPool": "#335533",
    "Quantize": "#7a5c00",
    "Dequantize": "#7a5c00",
    "Requantize": "#7a5c00",
}


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], caption: str = "") -> str:
    """A table of cells that are HTML already."""
    all_rows = list(rows)
    head = "".join(f'<th style="text-align:left">{escape(c)}</th>' for c in columns)
    shown = "".join(
        "<tr>" + "".join(f'<td style="text-align:left">{cell}</td>' for cell in row) + "</tr>"
        for row in all_rows[:_MOST_ROWS]
    )
    more = len(all_rows) - _MOST_ROWS
    rest = f"<p>and {more} more</p>" if more > 0 else ""
    title = f'<caption style="text-align:left">{caption}</caption>' if caption else ""
    return f"<table>{title}<thead><tr>{head}</tr></thead><tbody>{shown}</tbody></table>{rest}"


def pairs(lines: Iterable[Tuple[str, str]]) -> str:
    """A table of names and values."""
    return table(["", ""], ([f"<b>{escape(key)}</b>", escape(value)] for key, value in lines))


def _op(name: str) -> str:
    colour = _COLOURS.get(name, "#333333")
    return f'<span style="background:{colour};color:white;border-radius:3px;padding:0 .4em">{escape(name)}</span>'


def graph(nodes: Sequence[Any], name: str) -> str:
    """The nodes of a graph."""
    rows = (
        [
            escape(node.name),
            _op(node.op),
            escape(", ".join("_" if i is None else i for i in node.inputs)),
            escape(", ".join(node.outputs)),
            escape(", ".join(f"{key}={value}" for key, value in node.attrs.items())),
        ]
        for node in nodes
    )
    return table(["node", "op", "inputs", "outputs", "attributes"], rows, f"<b>{escape(name)}</b>, {len(nodes)} nodes")


def _parameters(of: Any, name: str) -> str:
    q = of.quantization(name)
    if q is None:
        return ""
    scales = q["scale"]
    scale = f"{scales[0]:.6g}" if len(scales) == 1 else f"{len(scales)} scales {scales.min():.3g}..{scales.max():.3g}"
    zeros = q["zero_point"]
    zero = f" (q - {int(zeros[0])})" if len(zeros) == 1 and int(zeros[0]) != 0 else " q"
    axis = "" if q["axis"] is None else f", axis {q['axis']}"
    return escape(f"{scale}{zero}, {q['qmin']}..{q['qmax']}{axis}")


def model(of: Any) -> str:
    """A model: what it takes and gives, and its nodes with the parameters of their results."""
    g = of.graph
    form = "quantized" if of.is_quantized else "float"
    ends = [(f"input {name}", repr(ty)) for name, ty in of.inputs.items()]
    ends += [(f"output {name}", repr(ty)) for name, ty in of.outputs.items()]
    rows = [
        [
            escape(node.name),
            _op(node.op),
            escape(", ".join(repr(g.type(o)) for o in node.outputs)),
            "<br>".join(filter(None, (_parameters(g, o) for o in node.outputs))),
        ]
        for node in g.nodes[: _MOST_ROWS + 1]
    ]
    shown = table(["node", "op", "result", "scale, integers"], rows[:_MOST_ROWS])
    more = len(g) - _MOST_ROWS
    rest = f"<p>and {more} more</p>" if more > 0 else ""
    return f"<p><b>{escape(g.name)}</b>, {form}, {len(g)} nodes</p>{pairs(ends)}{shown}{rest}"


def _bar(share: float) -> str:
    width = max(0.0, min(1.0, share)) * 100
    return (
        '<span style="display:inline-block;width:8em;background:#eee">'
        f'<span style="display:inline-block;width:{width:.0f}%;background:#33558b">&nbsp;</span></span>'
    )


def report(of: Any, lines: List[Tuple[str, str]]) -> str:
    """The account of a quantization."""
    values = (
        [
            escape(v["value"]),
            escape(f"{v['integers'][0]}..{v['integers'][1]}"),
            escape(str(v["scale"])),
            escape(str(v["observer"])),
            escape(str(v["rule"])),
        ]
        for v in of["values"]
    )
    left = (
        [escape(n["node"]), _op(n["op"]), escape(n["rule"]), escape(n["reason"])] for n in of["left_float"]
    )
    parts = [pairs(lines), table(["value", "integers", "scale", "observer", "rule"], values, "<b>values</b>")]
    if of["left_float"]:
        parts.append(table(["node", "op", "rule", "reason"], left, "<b>left in float</b>"))
    return "".join(parts)


def quantized(of: Any) -> str:
    """A quantized model and its account."""
    return f"<p>{escape(repr(of))}</p>{of.report._repr_html_()}"


def comparison(of: Any) -> str:
    """The errors of layers, worst first."""

    def db(errors: Any) -> str:
        figure = errors["sqnr_db"] if errors else None
        return "" if figure is None else f"{figure:.1f} {_bar(figure / 60)}"

    rows = (
        [escape(layer["node"]), _op(layer["op"]), db(layer.get("isolated")), db(layer["cumulative"])]
        for layer in of["layers"]
    )
    caption = f"<b>signal to noise in dB</b>, {of['samples']} samples"
    return table(["layer", "op", "alone", "together"], rows, caption)


def explanation(of: Any, lines: List[Tuple[str, str]]) -> str:
    """Who chose what."""

    def sums(layer: Any) -> str:
        found = layer.get("accumulator")
        return "" if found is None else escape(f"{found['bits']} bits in {found['dtype']}")

    def scale(tensor: Any) -> str:
        found = tensor["scale"]
        if found is None:
            return ""
        least, greatest = found["least"], found["greatest"]
        span = f"{least:.6g}" if found["count"] == 1 else f"{found['count']}: {least:.3g}..{greatest:.3g}"
        return escape(f"{span}, by {tensor['scale_by']}")

    layers = (
        [
            escape(layer["node"]),
            _op(layer["op"]),
            "integers" if layer["integer"] else "floats",
            sums(layer),
            escape(layer["rule"] or ""),
            escape(layer.get("reason") or ""),
        ]
        for layer in of["layers"]
    )
    tensors = (
        [
            escape(tensor["name"]),
            escape(f"{tensor['dtype']} {tensor['range'][0]}..{tensor['range'][1]}, by {tensor['dtype_by']}"),
            scale(tensor),
            escape("" if tensor["seen"] is None else f"{tensor['seen'][0]:.4g}..{tensor['seen'][1]:.4g}"),
            escape("" if tensor["clipped_percent"] is None else f"{tensor['clipped_percent']:.3g} %"),
            escape(tensor["rule"] or ""),
        ]
        for tensor in of["tensors"]
    )
    parts = [
        pairs(lines),
        table(["layer", "op", "computes", "sums", "rule", "why float"], layers, "<b>layers</b>"),
        table(["tensor", "integers", "scale", "seen", "clipped", "rule"], tensors, "<b>tensors</b>"),
    ]
    return "".join(parts)


def difference(of: Any, lines: List[Tuple[str, str]]) -> str:
    """What changed."""
    parts = [pairs(lines)]
    for key, changes in of.items():
        if isinstance(changes, list) and changes:
            shown = ([escape(str(change.get(column, ""))) for column in changes[0]] for change in changes)
            parts.append(table(list(changes[0]), shown, f"<b>{escape(key.replace('_', ' '))}</b>"))
    return "".join(parts)
