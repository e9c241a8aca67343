"""Rules: registered in blocks, listed, undone; and what a wrong one is told."""

import re
import threading
from typing import Any, List, Set, Tuple

import pytest

import lowbit as lb
from lowbit import QFieldKind, attach_simulated_quantize, register_annotate_function
from lowbit.errors import ConfigError, RuleError


def keep(call: lb.Call, args: List[lb.Value], ctx: lb.Context) -> Any:
    return lb.Call(call.op, [attach_simulated_quantize(a) for a in args], call.attrs)


def leave(call: lb.Call, args: List[lb.Value], ctx: lb.Context) -> Any:
    return None


def quantize(model: lb.Model, rule: Any, op: str = "Conv", **more: Any) -> lb.Quantized:
    rules = lb.Rules()
    rules.register(op, rule, override=True)
    return model.quantize(data="random", config={"samples": 2, **more}, rules=rules)


def test_blocks_scope_list_and_undo() -> None:
    assert lb.registered_rules() == ()
    with lb.rules() as outer:
        register_annotate_function("nn.conv2d", keep, override=True)
        with lb.rules():
            register_annotate_function("Conv", leave, override=True)
            register_annotate_function("nn.dense", leave, override=True)
            assert [(r.op, r.function) for r in lb.registered_rules()] == [("Conv", leave), ("MatMul", leave)]
            assert lb.unregister_annotate_function("nn.conv2d") is leave
            assert [(r.op, r.function) for r in lb.registered_rules()] == [("Conv", keep), ("MatMul", leave)]
        (rule,) = lb.registered_rules()
        assert (rule.op, rule.function, rule.line) == ("Conv", keep, keep.__code__.co_firstlineno)
        assert "test_rules.py" in rule.file and "keep" in repr(outer)
    assert lb.registered_rules() == ()


def test_outside_of_blocks_rules_stay_until_they_are_undone() -> None:
    @register_annotate_function("Conv", override=True)
    def own(call: lb.Call, args: List[lb.Value], ctx: lb.Context) -> Any:
        return None

    try:
        assert [r.function for r in lb.registered_rules()] == [own]
    finally:
        assert lb.unregister_annotate_function("Conv") is own
    assert lb.registered_rules() == ()
    with pytest.raises(RuleError, match="no rule was registered here"):
        lb.unregister_annotate_function("Conv")


def test_rules_are_replaced_only_when_it_is_said() -> None:
    with lb.rules() as scope:
        with pytest.raises(RuleError, match="the standard rule 'conv'(.|\n)*override=True"):
            register_annotate_function("nn.conv2d", keep)
        register_annotate_function("nn.conv2d", keep, override=True)
        with pytest.raises(RuleError, match="keep"):
            register_annotate_function("Conv", leave)
        with pytest.raises(RuleError, match="keep"):
            scope.register("Conv", leave)
        with pytest.raises(ConfigError, match="did you mean"):
            register_annotate_function("nn.conv2dd", keep, override=True)


def test_an_explicit_table_is_taken_alone(demo: lb.Model) -> None:
    with lb.rules():
        register_annotate_function("Conv", leave, override=True)
        q = quantize(demo, keep, "MatMul")
    assert q.report.integer_macs_percent == 100.0


def test_a_rule_sees_data_and_weight_of_every_convolution(demo: lb.Model) -> None:
    seen = []

    def rule(call: lb.Call, args: List[lb.Value], ctx: lb.Context) -> Any:
        data, weight = args
        assert weight.is_constant and not data.is_constant
        assert weight.numpy().shape == weight.shape
        assert call.op == "Conv" and call.name and set(call.attrs) >= {"strides", "pads", "group"}
        assert ctx.config["samples"] == 2
        seen.append(call.name)
        return keep(call, args, ctx)

    q = quantize(demo, rule)
    layers = [layer for layer in q.report.layers if layer["op"] == "Conv"]
    assert sorted(seen) == sorted(layer["node"] for layer in layers)
    assert all(layer["integer"] for layer in layers)
    # Their biases came along.
    assert all(len(node.inputs) == 3 for node in q.integer.nodes if node.op == "Conv")


def test_kinds_default_to_what_the_value_is(demo: lb.Model) -> None:
    kinds: Set[Tuple[bool, str]] = set()

    def rule(call: lb.Call, args: List[lb.Value], ctx: lb.Context) -> Any:
        simulated = [attach_simulated_quantize(a) for a in args]
        kinds.update((a.is_constant, re.findall("as (\\w+)", repr(s))[0]) for a, s in zip(args, simulated))
        return lb.Call(call.op, simulated, call.attrs)

    quantize(demo, rule)
    assert kinds == {(True, "weight"), (False, "input")}


def test_none_leaves_in_float_with_the_reason(demo: lb.Model) -> None:
    q = quantize(demo, leave)
    left = [n for n in q.report.left_float if n["op"] == "Conv"]
    assert left and all(n["rule"] == "override Conv (leave)" and "None" in n["reason"] for n in left)
    assert not any(layer["integer"] for layer in q.report.layers if layer["op"] == "Conv")


def test_the_standard_rule_may_decide(demo: lb.Model) -> None:
    own = quantize(demo, lambda call, args, ctx: ctx.standard)
    plain = demo.quantize(data="random", config={"samples": 2}, rules=lb.Rules())
    assert [v["scale"] for v in own.report.values] == [v["scale"] for v in plain.report.values]


def test_what_a_rule_says_is_done(demo: lb.Model) -> None:
    def rule(call: lb.Call, args: List[lb.Value], ctx: lb.Context) -> Any:
        data, weight = args
        data = attach_simulated_quantize(data, QFieldKind.INPUT, sign=True, rounding="floor", bits=7, symmetric=True)
        weight = attach_simulated_quantize(weight, "weight", bits=5, per="tensor", observer="mse")
        return lb.Call("nn.conv2d", [data, weight], call.attrs)

    values = quantize(demo, rule).report.values
    # Their biases are as wide as accumulators.
    own = [v for v in values if v["rule"].startswith("override Conv (rule)") and v["integers"][1] < 2**31 - 1]
    assert {tuple(v["integers"]) for v in own} == {(-64, 63), (-15, 15)}


KEPT: List[lb.Value] = []


def another(call: lb.Call, args: List[lb.Value], ctx: lb.Context) -> Any:
    KEPT.extend(args)
    return lb.Call(call.op, [attach_simulated_quantize(v) for v in KEPT[:2]], call.attrs)


def test_a_rule_cannot_make_another_network(demo: lb.Model) -> None:
    for rule in (another, lambda call, args, ctx: lb.Call(call.op, args[::-1], call.attrs)):
        with pytest.raises(RuleError, match="which is another value"):
            quantize(demo, rule)


def test_a_rule_that_asks_for_itself_ends(demo: lb.Model) -> None:
    rules = lb.Rules()

    def rule(call: lb.Call, args: List[lb.Value], ctx: lb.Context) -> Any:
        demo.quantize(data="random", config={"samples": 1, "equalize": False, "refinements": []}, rules=rules)

    rules.register("Conv", rule, override=True)
    with pytest.raises(RuleError, match="within one another"):
        demo.quantize(data="random", config={"samples": 1}, rules=rules)


def test_functions_run_in_the_scopes_of_who_calls(demo: lb.Model) -> None:
    seen: List[Any] = []

    def rule(call: lb.Call, args: List[lb.Value], ctx: lb.Context) -> Any:
        seen.append((lb.current_config()["samples"], [r.op for r in lb.registered_rules()]))
        return ctx.standard

    with lb.rules(), lb.qconfig(samples=3):
        register_annotate_function("Conv", rule, override=True)
        demo.quantize(data="random")
    assert seen and all(one == (3, ["Conv"]) for one in seen)


def test_errors_of_threads_keep_their_causes(demo: lb.Model) -> None:
    def failing(call: lb.Call, args: List[lb.Value], ctx: lb.Context) -> Any:
        raise KeyError(f"of thread {threading.get_ident()}")

    found: List[bool] = []

    def work(bad: bool) -> None:
        for _ in range(5):
            try:
                if bad:
                    demo.quantize(data="random", config={"samples": 1, "layer": {"none": {"skip": True}}})
                else:
                    quantize(demo, failing)
            except lb.Error as e:
                found.append(isinstance(e.__cause__, KeyError) != bad and isinstance(e, RuleError) != bad)

    threads = [threading.Thread(target=work, args=(i % 2 == 0,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [True] * 20


WRONG: List[Tuple[Any, str]] = [
    (lambda call, args, ctx: 3, "expected a lowbit.Call over simulated values, or None"),
    (lambda call, args, ctx: lb.Call("nn.dense", args, call.attrs), "expected a call of Conv, found one of nn.dense"),
    (lambda call, args, ctx: lb.Call(call.op, args[:1], call.attrs), "expected 2 arguments of Conv, found 1"),
    (lambda call, args, ctx: lb.Call(call.op, args, {}), "expected the attributes"),
    (lambda call, args, ctx: lb.Call(call.op, args, call.attrs), "found none: None leaves the call in float"),
    (lambda call, args, ctx: lb.Call(call.op, ["x", 2], call.attrs), "expected values for the arguments"),  # type: ignore[list-item]
    (lambda call, args, ctx: 1 / 0, "ZeroDivisionError: division by zero"),
    (lambda call, args: None, "TypeError"),
    (lambda call, args, ctx: attach_simulated_quantize(args[0], bits=40), "expected bits in 2..=16, found 40"),
    (lambda call, args, ctx: attach_simulated_quantize(args[0], rounding="rond"), "unknown rounding"),
    (lambda call, args, ctx: attach_simulated_quantize(args[0], kind="bias"), "found 'bias'"),
    (lambda call, args, ctx: attach_simulated_quantize(attach_simulated_quantize(args[0])), "simulated already"),
    (lambda call, args, ctx: lb.Call(call.op, [attach_simulated_quantize(args[0], "weight"), args[1]], call.attrs),
     "expected a constant for Kind::Weight"),
    (lambda c, a, x: lb.Call(c.op, [attach_simulated_quantize(a[0], "activation"), a[1]], c.attrs),
     "expected Kind::Input or Kind::Weight of what a layer reads"),
    (lambda call, args, ctx: lb.Call(call.op, [attach_simulated_quantize(args[0], observer="mime"), args[1]], call.attrs),
     "no observer is named 'mime' (did you mean 'mse'?)"),
]


@pytest.mark.parametrize(("rule", "text"), WRONG, ids=[text[:40] for _, text in WRONG])
def test_a_wrong_rule_is_pointed_at(demo: lb.Model, rule: Any, text: str) -> None:
    with pytest.raises(RuleError) as error:
        quantize(demo, rule)
    told = str(error.value)
    assert text in told
    assert f"test_rules.py:{rule.__code__.co_firstlineno}" in told
    assert error.value.node, told
