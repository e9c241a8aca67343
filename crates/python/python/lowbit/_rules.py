"""Rules of the user's: which operands of an operator are made narrow, and how."""

import sys
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Tuple, TypeVar, Union, overload

from ._config import QFieldKind, kind_of
from ._lowbit import Call, Context, Standard, Value, listing, operator
from .errors import RuleError

__all__ = [
    "RegisteredRule",
    "Rule",
    "Rules",
    "attach_simulated_quantize",
    "register_annotate_function",
    "registered_rules",
    "rules",
    "unregister_annotate_function",
]

#: A rule is asked about a call, with what it reads and a context. It gives a call over simulated values, None to leave
#: the call in float, or ``ctx.standard`` to have the standard rule decide.
Rule = Callable[[Call, List[Value], Context], Union[Call, Standard, None]]

_Rule = TypeVar("_Rule", bound=Rule)


class RegisteredRule(NamedTuple):
    """A rule, and where it is from."""

    #: The operator, by lowbit's name.
    op: str
    #: The function.
    function: Rule
    #: The file in which it is defined.
    file: str
    #: The line at which it begins.
    line: int

    def __repr__(self) -> str:
        name = getattr(self.function, "__qualname__", repr(self.function))
        return f"<rule {name} of {self.op}, {self.file}:{self.line}>"


class _None:
    """Stands for a function that was not given: None would be a mistake."""

    def __repr__(self) -> str:
        return "..."


_NONE = _None()


def _is_true(override: object) -> bool:
    if not isinstance(override, bool):
        raise TypeError(f"expected True or False for override, found {override!r}")
    return override


class Rules:
    """The standard rules, with functions of the user's in place of some of them.

    ``quantize(..., rules=Rules())`` takes these alone, whatever is registered elsewhere.
    """

    def __init__(self) -> None:
        # Of every operator all that were registered: the last one is in force, the others come back.
        self._own: Dict[str, List[Rule]] = {}

    @overload
    def register(self, op: str, function: _None = ..., *, override: bool = False) -> Callable[[_Rule], _Rule]: ...

    @overload
    def register(self, op: str, function: _Rule, *, override: bool = False) -> _Rule: ...

    def register(self, op: str, function: Any = _NONE, *, override: bool = False) -> Any:
        """Makes a function the rule of an operator, in either spelling (``nn.conv2d``, ``Conv``); without a function it
        is a decorator. Every operator has a rule: it is replaced only with ``override=True``."""
        name = operator(op)
        if not _is_true(override):
            rule = _standing(name, self._own)
            raise RuleError(f"'{op}' has a rule already, {rule}\n  try: override=True to replace it")
        if function is _NONE:
            return lambda function: self.register(op, function, override=override)
        if not callable(function):
            raise TypeError(f"expected a function for the rule of '{op}', found {function!r}")
        self._own.setdefault(name, []).append(function)
        return function

    def unregister(self, op: str) -> Rule:
        """Takes the last rule of an operator away, and gives it; the one before is in force again."""
        name = operator(op)
        own = self._own.get(name)
        if not own:
            raise RuleError(f"no rule was registered here for '{op}'")
        function = own.pop()
        if not own:
            del self._own[name]
        return function

    def registered(self) -> Tuple[RegisteredRule, ...]:
        """The functions in force, by operator."""
        return tuple(_entry(op, own[-1]) for op, own in sorted(self._own.items()))

    def in_force(self) -> Dict[str, Rule]:
        """The functions in force, by lowbit's names of operators."""
        return {op: own[-1] for op, own in self._own.items()}

    def __len__(self) -> int:
        return len(self._own)

    def __repr__(self) -> str:
        own = ", ".join(map(repr, self.registered()))
        return f"<lowbit.Rules: the standard ones{', with ' + own if own else ''}>"


def _entry(op: str, function: Rule) -> RegisteredRule:
    code = getattr(function, "__code__", None)
    module = sys.modules.get(getattr(function, "__module__", ""))
    file = code.co_filename if code is not None else str(getattr(module, "__file__", "?"))
    return RegisteredRule(op, function, file, code.co_firstlineno if code is not None else 0)


def _standing(op: str, own: Dict[str, List[Rule]]) -> str:
    """What is in force for an operator, in words."""
    if op in own:
        return repr(_entry(op, own[op][-1]))
    columns, rows = listing("ops")
    names, rules_of = columns.index("operator"), columns.index("rule")
    return next((f"the standard rule '{row[rules_of]}'" for row in rows if row[names] == op), "the standard rule")


# What is registered outside of every `with rules()`: for all threads.
_MODULE = Rules()

# The blocks that the running code is in.
_SCOPES: ContextVar[Tuple[Rules, ...]] = ContextVar("lowbit.rules", default=())


def _innermost() -> Rules:
    return (_SCOPES.get() or (_MODULE,))[-1]


@contextmanager
def rules() -> Iterator[Rules]:
    """A block in which rules can be registered that are gone behind it; those of outer blocks stay in force."""
    scope = Rules()
    token = _SCOPES.set((*_SCOPES.get(), scope))
    try:
        yield scope
    finally:
        _SCOPES.reset(token)


@overload
def register_annotate_function(
    op: str, function: _None = ..., *, override: bool = False
) -> Callable[[_Rule], _Rule]: ...


@overload
def register_annotate_function(op: str, function: _Rule, *, override: bool = False) -> _Rule: ...


def register_annotate_function(op: str, function: Any = _NONE, *, override: bool = False) -> Any:
    """Makes a function the rule of an operator, until the ``with rules()`` around ends or it is unregistered.

    As :meth:`Rules.register`; an operator's rule is replaced only with ``override=True``.
    """
    if not _is_true(override):
        name = operator(op)
        standing = {name: [registered] for name, registered in in_force().items()}
        raise RuleError(f"'{op}' has a rule already, {_standing(name, standing)}\n  try: override=True to replace it")
    scope = _innermost()
    return scope.register(op, override=True) if function is _NONE else scope.register(op, function, override=True)


def unregister_annotate_function(op: str) -> Rule:
    """Takes the last rule of an operator that was registered here away, and gives it."""
    return _innermost().unregister(op)


def registered_rules() -> Tuple[RegisteredRule, ...]:
    """The functions that are in force here, from all blocks, by operator."""
    return tuple(_entry(op, function) for op, function in sorted(in_force().items()))


def in_force(explicit: Optional[Rules] = None) -> Dict[str, Rule]:
    """The functions in force: those of a :class:`Rules`, or what is registered, the innermost block last."""
    if explicit is not None:
        if not isinstance(explicit, Rules):
            raise TypeError(f"expected lowbit.Rules, found {explicit!r}: register functions with Rules.register")
        return explicit.in_force()
    found: Dict[str, Rule] = {}
    for scope in (_MODULE, *_SCOPES.get()):
        found.update(scope.in_force())
    return found


def attach_simulated_quantize(
    value: Value,
    kind: Union[QFieldKind, str, None] = None,
    sign: Optional[bool] = None,
    rounding: Optional[str] = None,
    *,
    bits: Optional[int] = None,
    symmetric: Optional[bool] = None,
    narrow: Optional[bool] = None,
    per: Optional[str] = None,
    scale: Optional[str] = None,
    observer: Optional[str] = None,
) -> Value:
    """A value, to be made narrow so; what is left open, the configuration says.

    Without a kind, a constant is a WEIGHT and anything else an INPUT. ``rounding`` is one of ``half-even``, ``half-up``,
    ``half-away``, ``toward-zero``, ``floor``, ``stochastic(SEED)``, or in the classic words ``round`` (half to even) and
    ``stochastic_round`` (seed 0). ``sign`` says whether negative integers are used. ``per`` is ``tensor``, ``channel`` or ``block(N)``, ``scale`` is ``float`` or
    ``power-of-two``.
    """
    if not isinstance(value, Value):
        raise TypeError(f"expected a value from new_args, found {value!r}")
    name = None if kind is None else kind_of(kind)
    return value.simulated(name, sign, rounding, bits, symmetric, narrow, per, scale, observer)
