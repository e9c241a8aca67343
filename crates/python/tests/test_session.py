"""Programs and sessions: what goes in, what comes out, and what is refused."""

import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Callable, Dict, List

import numpy as np
import pytest

import lowbit as lb
from lowbit.errors import CallbackError, CompileError, ModelError, RunError

TWO = """
graph "two" {
  input %a: f32[2x3]
  input %b: f32[2x3]
  %sum = Add(%a, %b)
  %difference = Sub(%a, %b)
  output %sum
  output %difference
}
"""


def test_inputs_go_by_name_and_in_order() -> None:
    session = lb.Model.from_text(TWO).compile().session()
    a, b = np.full((2, 3), 5, np.float32), np.full((2, 3), 2, np.float32)
    for given in (session.run(a, b), session.run(a=a, b=b), session.run({"b": b, "a": a}), session.run({"a": a}, b=b)):
        assert [y[0, 0] for y in given] == [7, 3]
        assert [y.dtype for y in given] == [np.float32, np.float32]


def test_what_numpy_makes_an_array_of_is_taken() -> None:
    program = lb.Model.from_text(TWO).compile()
    rows = np.arange(12, dtype=np.float32).reshape(4, 3)
    strided = rows[::2]
    assert not strided.flags.c_contiguous
    by_column = np.asfortranarray(rows[:2])
    (total, _) = program.run(strided, by_column)
    np.testing.assert_array_equal(total, strided + by_column)
    (total, _) = program.run([[1, 2, 3], [4, 5, 6.5]], rows[:2].astype(np.float64))
    np.testing.assert_array_equal(total, np.array([[1, 2, 3], [4, 5, 6.5]]) + rows[:2])
    (total, _) = program.run(rows[:2].astype(np.float16), rows[:2])
    np.testing.assert_array_equal(total, 2 * rows[:2])


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"a": 1}, "for every input, found none for 'b'"),
        ({"a": 1, "b": 1, "c": 1}, "no input is named 'c'"),
        ({"a": np.zeros((3, 2)), "b": np.zeros((2, 3))}, "expected the sizes [2, 3], found [3, 2]"),
        ({"a": np.zeros((2, 3), int), "b": np.zeros((2, 3))}, "expected elements of float32, found int64"),
    ],
)
def test_what_does_not_fit_is_refused(given: Dict[str, Any], text: str) -> None:
    with pytest.raises(RunError) as error:
        lb.Model.from_text(TWO).compile().run(given)
    assert text in str(error.value)


def test_elements_are_what_they_mean() -> None:
    program = lb.Model.from_text(TWO).compile()
    rows = np.arange(6, dtype=np.float32).reshape(2, 3)
    raw = b"x" + rows.tobytes()
    unaligned = np.frombuffer(raw, np.uint8)[1:].view(np.float32).reshape(2, 3)
    for same in (rows.astype(">f4"), rows.astype(">f8"), unaligned, np.matrix(rows), rows.astype(np.longdouble)):
        np.testing.assert_array_equal(program.run(same, rows)[0], 2 * rows)
    frozen = rows.copy()
    frozen.flags.writeable = False
    np.testing.assert_array_equal(program.run(frozen, frozen)[0], 2 * rows)


def test_other_objects_are_type_errors() -> None:
    program = lb.Model.from_text(TWO).compile()
    holes = np.ma.masked_array(np.zeros((2, 3), np.float32), mask=np.eye(2, 3, dtype=bool))
    with pytest.raises(TypeError, match="a masked one"):
        program.run(holes, holes)
    with pytest.raises(TypeError, match="larger ones"):
        program.run(np.full((2, 3), 2**63, np.uint64), np.zeros((2, 3)))
    with pytest.raises(TypeError, match="array of numbers"):
        program.run(np.zeros((2, 3), complex), np.zeros((2, 3)))
    with pytest.raises(TypeError, match="array of numbers"):
        program.run(a=np.full((2, 3), "x"), b=np.zeros((2, 3)))


def test_results_are_the_callers(quantized: lb.Quantized, image: Any) -> None:
    session = quantized.compile().session()
    (first,) = session.run(image)
    kept = first.copy()
    session.run(1 - image)
    np.testing.assert_array_equal(first, kept)
    first[:] = 0
    np.testing.assert_array_equal(session.run(image)[0], kept)


def test_threads_and_sessions_give_the_same_bits(quantized: lb.Quantized, image: Any) -> None:
    program = quantized.compile()
    expected = program.run(image)[0]
    for threads in (1, 2, 3):
        assert program.session(threads).threads == threads
        np.testing.assert_array_equal(program.session(threads).run(image)[0], expected)
    shared = program.session()
    found: List[Any] = []
    workers = [threading.Thread(target=lambda: found.extend(shared.run(image) for _ in range(50))) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(found) == 200
    for (logits,) in found:
        np.testing.assert_array_equal(logits, expected)


def test_integers_enter_as_they_are_and_floats_are_quantized(demo: lb.Model, image: Any) -> None:
    q = demo.quantize(data="random", config={"samples": 8, "io": "int8"})
    program = q.compile()
    (name,) = program.inputs
    assert program.inputs[name].dtype == "int8"
    parameters = q.integer.quantization(name)
    assert parameters is not None
    integers = np.clip(np.rint(image / parameters["scale"][0]) + parameters["zero_point"][0], -128, 127).astype(np.int8)
    by_floats, by_integers = program.run(image)[0], program.run(integers)[0]
    assert by_floats.dtype == np.int8
    assert np.abs(by_floats.astype(int) - by_integers).max() <= 1


def test_batches_are_compiled_for(demo: lb.Model, image: Any) -> None:
    many = demo.compile(batch=3)
    one = demo.compile()
    images = np.concatenate([image, 1 - image, image])
    np.testing.assert_array_equal(many.run(images)[0][2], one.run(image)[0][0])


class Waiting(lb.CustomOp):
    name = "waiting"
    session: lb.Session

    def infer(self, *inputs: lb.ValueType) -> lb.ValueType:
        return inputs[0]

    def run(self, *inputs: Any) -> Any:
        return self.session.run(*inputs)[0]


def test_an_operator_does_not_wait_for_the_run_it_is_in() -> None:
    op = Waiting()
    text = 'graph "g" {\n  input %x: f32[4]\n  %y: f32[4] = Custom(%x) {op "waiting"}\n  output %y\n}\n'
    op.session = lb.Model.from_text(text, customs=[op]).compile().session()
    with pytest.raises(CallbackError, match="the session is running on this thread"):
        op.session.run(np.zeros(4, np.float32))


class Failing(lb.CustomOp):
    name = "failing"

    def infer(self, *inputs: lb.ValueType) -> lb.ValueType:
        return inputs[0]

    def run(self, *inputs: Any) -> Any:
        raise KeyError("nothing here")


def test_an_operator_that_raises_is_the_cause() -> None:
    text = 'graph "g" {\n  input %x: f32[4]\n  %y: f32[4] = Custom(%x) {op "failing"}\n  output %y\n}\n'
    program = lb.Model.from_text(text, customs=[Failing()]).compile()
    with pytest.raises(CallbackError) as error:
        program.run(np.zeros(4, np.float32))
    assert "nothing here" in str(error.value) and "test_session.py" in str(error.value)
    assert isinstance(error.value.__cause__, KeyError)


OPEN = """
graph "open" {
  input %x: f32[NxL]
  const %w: f32[1] = [0.3]
  %m = Mul(%x, %w)
  %y = Softmax(%m) {axis 1}
  output %y
}
"""


@pytest.mark.parametrize("quantized", [False, True])
def test_a_model_runs_on_arrays_of_any_sizes(tmp_path: Path, quantized: bool) -> None:
    model = lb.Model.from_text(OPEN)
    if quantized:
        model = lb.quantize(model, config={"global_scale": 8.0}).model
    path = tmp_path / "model.onnx"
    model.save(path)
    program = lb.Program.load(path)
    session = program.session(2)
    for n, l in [(1, 3), (2, 5), (1, 3), (4, 1), (1, 7), (3, 2), (2, 9)]:
        x = np.linspace(-2, 2, n * l, dtype=np.float32).reshape(n, l)
        expected = lb.Model.load(path, shapes={"x": [n, l]}).compile().run(x)[0]
        for found in (model.run(x), model.run(x=x), program.run(x), session.run(x), lb.build(model).run(x)):
            np.testing.assert_array_equal(found[0], expected)
    with pytest.raises(CompileError):
        model.run(np.zeros(3, np.float32))


def test_a_model_with_other_constants_runs_with_them() -> None:
    model = lb.Model.from_text(OPEN)
    x = np.array([[1, 2, 3]], np.float32)
    before = model.run(x)[0]
    other = model.with_params({"w": np.array([2], np.float32)})
    assert np.abs(other.run(x)[0] - before).max() > 0.1
    np.testing.assert_array_equal(model.run(x)[0], before)


class Lazy:
    """An array as soon as somebody wants one, which it notes."""

    def __init__(self, values: Any, noted: List[int]) -> None:
        self.values, self.noted = values, noted

    def __array__(self, *_: Any, **__: Any) -> Any:
        self.noted.append(threading.get_ident())
        return self.values


class Giving(lb.CustomOp):
    """Gives its operand in one of these ways."""

    name = "giving"

    def __init__(self, how: str) -> None:
        self.how = how
        self.ran: List[int] = []
        self.noted: List[int] = []

    def infer(self, *inputs: lb.ValueType) -> lb.ValueType:
        return inputs[0]

    def run(self, *inputs: Any) -> Any:
        self.ran.append(threading.get_ident())
        lazy = Lazy(inputs[0], self.noted)
        return {"one": lazy, "list": [lazy], "tuple": (lazy,), "wide": inputs[0].astype(np.float64) * 1e60}[self.how]


GIVING = 'graph "g" {\n  input %x: f32[4]\n  %y: f32[4] = Custom(%x) {op "giving"}\n  output %y\n}\n'


@pytest.mark.parametrize("how", ["one", "list", "tuple"])
def test_what_an_operator_gives_becomes_an_array_where_it_runs(how: str) -> None:
    op = Giving(how)
    model = lb.Model.from_text(GIVING, customs=[op])
    x = np.arange(4, dtype=np.float32)
    # In calibration that is another thread than this one, and none of the core's.
    found = [model.run(x)[0], lb.evaluate(model, [x], reference=model)]
    np.testing.assert_array_equal(found[0], x)
    assert len(op.ran) == 3 and op.noted == op.ran


def test_numbers_that_do_not_fit_are_refused() -> None:
    text = 'graph "g" {\n  input %x: f32[2]\n  const %w: f16[2] = [1, 2]\n  %v = Cast(%w) {to f32}\n  %y = Mul(%x, %v)\n  output %y\n}\n'
    model = lb.Model.from_text(text)
    assert np.isinf(model.run(np.array([np.inf, 1.0]))[0][0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ValueError, match="expected numbers that float32 holds, found 1e\\+300"):
            model.run(np.array([1.0, 1e300]))
        with pytest.raises(ValueError, match="expected numbers that float32 holds, found -1e\\+39"):
            model.run([-1e39, 1.0])
    with pytest.raises(ModelError, match="expected numbers that float16 holds, found 70000"):
        model.with_params({**model.params(), "w": np.array([1.0, 70000.0])})
    giving = lb.Model.from_text(GIVING, customs=[Giving("wide")])
    with pytest.raises(CallbackError, match="expected numbers that float32 holds"):
        giving.run(np.ones(4, np.float32))


class Sharing(lb.CustomOp):
    """Asks another session, which it may share."""

    name = "sharing"

    def __init__(self) -> None:
        self.helper: Any = None

    def infer(self, *inputs: lb.ValueType) -> lb.ValueType:
        return inputs[0]

    def run(self, *inputs: Any) -> Any:
        time.sleep(0.002)
        return self.helper.run(inputs[0])[0]


SHARING = GIVING.replace("giving", "sharing")


def in_threads(work: Callable[[int], Any], count: int) -> List[Any]:
    """What each of them gave or raised."""

    def attempt(i: int) -> Any:
        try:
            return work(i)
        except Exception as error:
            return error

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(attempt, range(count)))


def test_operators_of_several_sessions_share_one() -> None:
    x = np.arange(4, dtype=np.float32)
    slow = Sharing()
    slow.helper = lb.Model.from_text(GIVING.replace('Custom(%x) {op "giving"}', "Neg(%x)")).compile().session()
    helper = lb.Model.from_text(SHARING, customs=[slow]).compile().session()
    sessions = []
    for _ in range(4):
        op = Sharing()
        op.helper = helper
        sessions.append(lb.Model.from_text(SHARING, customs=[op]).compile().session())
    found = in_threads(lambda i: [sessions[i].run(x)[0] for _ in range(20)], 4)
    for one in found:
        np.testing.assert_array_equal(one, [-x] * 20)


def test_operators_that_wait_for_one_another_are_refused() -> None:
    x = np.arange(4, dtype=np.float32)
    ops = [Sharing(), Sharing()]
    sessions = [lb.Model.from_text(SHARING, customs=[op]).compile().session() for op in ops]
    ops[0].helper, ops[1].helper = sessions[1], sessions[0]
    found = in_threads(lambda i: sessions[i].run(x), 2)
    assert all(isinstance(one, CallbackError) for one in found)
    assert any("waits, by functions of yours, for who wants it" in str(one) or "on this thread" in str(one) for one in found)


class Asking(Sharing):
    """Wants the session that it is compiled for."""

    name = "asking"

    def infer(self, *inputs: lb.ValueType) -> lb.ValueType:
        if self.helper is not None:
            self.helper.run(np.zeros((3, 4), np.float32))
        return inputs[0]


def test_an_operator_that_runs_the_session_it_is_compiled_for_is_refused() -> None:
    op = Asking()
    text = OPEN.replace("Softmax(%m) {axis 1}", 'Custom(%m) {op "asking"}')
    model = lb.Model.from_text(text, customs=[op])
    session = lb.build(model).session()
    op.helper = session
    with pytest.raises(CallbackError, match="the session is running"):
        session.run(np.zeros((2, 5), np.float32))
    op.helper = None
    op.helper = lb.Model.from_text(OPEN).build().session()
    assert session.run(np.zeros((2, 5), np.float32))[0].shape == (2, 5)


def test_quantized_models_have_the_verbs_of_models(quantized: lb.Quantized, demo: lb.Model, image: Any) -> None:
    assert quantized.compile(batch=2).inputs["image"].shape[0] == 2
    np.testing.assert_array_equal(quantized.run(image)[0], quantized.compile().run(image)[0])
    assert quantized.verify("random", samples=1) and quantized.model.verify(image, samples=1)
    assert demo.compare(quantized, image, samples=1).samples == 1
    assert quantized.explain().quantized and quantized.model.explain().quantized
    assert quantized.evaluate(image, reference=demo).samples == 1
    with pytest.raises(CompileError, match="memory"):
        quantized.compile(max_memory=1000)


@pytest.mark.parametrize("mode", ["static", "dynamic", "weight-only"])
def test_a_file_gives_the_bits_of_what_was_quantized(demo: lb.Model, tmp_path: Path, mode: str) -> None:
    """Also where the model is prepared again as it is read."""
    x = np.random.default_rng(5).standard_normal((60, 3, 32, 32)).astype(np.float32)
    wide = np.random.default_rng(1).standard_normal((16, 8)).astype(np.float32)
    product = f"input %x: f32[Nx16]\n const %w: f32[16x8] = {wide.ravel().tolist()}\n %y: f32[Nx8] = MatMul(%x, %w)\n output %y"
    rows = np.random.default_rng(0).standard_normal((400, 16)).astype(np.float32)
    for model, samples in ((demo, x), (lb.Model.from_text(f'graph "a" {{\n {product}\n}}\n'), rows)):
        quantized = model.quantize(data="random", config={"samples": 4, "mode": mode})
        quantized.save(tmp_path / "model.onnx")
        programs = [quantized.compile(), quantized.model.compile(), lb.Model.load(tmp_path / "model.onnx").compile()]
        for sample in samples:
            first, *others = [program.run(sample[None])[0].tobytes() for program in programs]
            assert others == [first, first]
