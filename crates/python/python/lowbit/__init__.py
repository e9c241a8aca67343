"""lowbit: a quantization workflow and integer compiler for neural networks.

The nouns are those of the Rust API and the command line. Everything is computed by the same core.
``docs/python.md`` of the repository shows how.
"""

from . import _threads as _threads
from . import errors, frontend, reports
from ._config import QFieldKind, current_config, qconfig
from ._lowbit import (
    Call,
    Config,
    Context,
    Dataset,
    Graph,
    Model,
    Node,
    Program,
    Quantized,
    Request,
    Seen,
    Session,
    Stats,
    Value,
    ValueType,
    listing,
)
from ._lowbit import version as _version
from ._own import CustomOp, Observer, Pass, graph_pass
from ._rules import (
    RegisteredRule,
    Rule,
    Rules,
    attach_simulated_quantize,
    register_annotate_function,
    registered_rules,
    rules,
    unregister_annotate_function,
)
from ._work import (
    bench,
    build,
    calibrate,
    compare,
    diff,
    evaluate,
    explain,
    quantize,
    reproduce,
    verify,
    write_report,
)
from .errors import Error, RuleError

#: The version, and the instruction sets that this machine has, the best one last.
__version__, isas = _version()

__all__ = [
    "Call",
    "Config",
    "Context",
    "CustomOp",
    "Dataset",
    "Error",
    "Graph",
    "Model",
    "Node",
    "Observer",
    "Pass",
    "Program",
    "QFieldKind",
    "Quantized",
    "RegisteredRule",
    "Request",
    "Rule",
    "RuleError",
    "Rules",
    "Seen",
    "Session",
    "Stats",
    "Value",
    "ValueType",
    "attach_simulated_quantize",
    "bench",
    "build",
    "calibrate",
    "compare",
    "current_config",
    "diff",
    "errors",
    "evaluate",
    "explain",
    "frontend",
    "graph_pass",
    "isas",
    "listing",
    "qconfig",
    "quantize",
    "register_annotate_function",
    "registered_rules",
    "reports",
    "reproduce",
    "rules",
    "unregister_annotate_function",
    "verify",
    "write_report",
]
