"""The table of primitives: each is total, and its torch text, value and bounds say the same."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.helpers.reference import Point, emitted, emitted_gradients
from tests.helpers.trees import law

from lossforge.expression.primitives import BOUND, EPS, EXP_LIMIT, PRIMITIVES, Primitive, clip
from lossforge.expression.tree import Expression, call, constant, leaf

LARGEST = 999999995904.0
"""The largest float32 within the bound."""
EXTREMES = (
    *(0.0, 1e-45, 1e-38, 1e-13, 1e-7, 1e-6, 2e-6, 0.5, 1.0, 3.0),
    *(26.9, 27.1, 100.0, 1e6, 1e8, LARGEST),
)
SIGNED = sorted({sign * value for value in EXTREMES for sign in (1, -1)})
NAMES = tuple(PRIMITIVES)

Inputs = tuple[Expression, ...]


def scaled(name: str, factor: float) -> Expression:
    """A leaf stretched by a factor: with the leaf at 1 it is any number, for code that knows only its range."""
    return call("mul", constant(factor), leaf(name))


def shapes(name: str, x: float, y: float) -> list[Expression]:
    """The primitive at (x, y), with every argument once a tensor and once a constant."""
    if PRIMITIVES[name].arity == 1:
        return [call(name, scaled("y_pred", x))]
    a, b = scaled("y_pred", x), scaled("y_true", y)
    return [call(name, a, b), call(name, a, constant(y)), call(name, constant(x), b)]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
def test_value_and_gradient_are_finite_at_every_extreme(name: str, dtype: torch.dtype) -> None:
    grid: list[Point] = [(1.0, 1.0, 0.0), (0.0, 1.0, -2000.0), (1.0, 0.0, 0.0), (0.0, 0.0, -2000.0), (1e-7, 0.3, -16.1)]
    seconds = SIGNED[::2] if PRIMITIVES[name].arity == 2 else [0.0]
    for x, y in itertools.product(SIGNED, seconds):
        for tree in shapes(name, x, y):
            assert emitted(tree, grid, dtype).isfinite().all(), tree
            assert emitted_gradients(tree, grid, dtype).isfinite().all(), tree


def arguments() -> st.SearchStrategy[Expression]:
    """Constants, leaves, stretched leaves and stretched leaves moved: anything within ±1e12."""
    numbers = st.floats(-LARGEST, LARGEST, width=32).map(constant)
    names = st.sampled_from(["y_pred", "y_true"]).map(leaf)
    stretched = st.builds(call, st.just("mul"), numbers, names)
    return st.one_of(numbers, names, stretched, st.builds(call, st.just("add"), stretched, numbers))


@given(
    st.sampled_from(NAMES),
    arguments(),
    arguments(),
    st.lists(st.tuples(st.floats(0, 1, width=32), st.floats(0, 1, width=32)), min_size=1, max_size=6),
    st.sampled_from([torch.float32, torch.float64]),
)
@law(1500)
def test_every_primitive_is_total(
    name: str, x: Expression, y: Expression, leaves: list[tuple[float, float]], dtype: torch.dtype
) -> None:
    tree = call(name, *(x, y)[: PRIMITIVES[name].arity])
    grid = [(y_pred, y_true, 0.0) for y_pred, y_true in leaves]
    assert emitted(tree, grid, dtype).isfinite().all()
    assert emitted_gradients(tree, grid, dtype).isfinite().all()


@pytest.mark.parametrize("name", NAMES)
def test_the_torch_text_computes_the_value(name: str) -> None:
    for x, y in itertools.product(SIGNED[::2], SIGNED[1::2]):
        expected = clip(PRIMITIVES[name].value(*(x, y)[: PRIMITIVES[name].arity]))
        for tree in shapes(name, x, y):
            (value,) = emitted(tree, [(1.0, 1.0, 0.0)]).tolist()
            assert value == pytest.approx(expected, rel=1e-13, abs=1e-13), tree


@pytest.mark.parametrize("name", NAMES)
def test_the_gradient_is_the_slope_of_the_value(name: str) -> None:
    primitive, step = PRIMITIVES[name], 1e-6
    for x, y in itertools.product([-2.3, -0.4, 0.2, 0.9, 3.1], [-1.7, -0.3, 0.6, 2.2]):
        for index in range(primitive.arity):
            ends = [[x, y], [x, y]]
            ends[0][index] -= step
            ends[1][index] += step
            low, high = (primitive.value(*end[: primitive.arity]) for end in ends)
            tree = shapes(name, x, y)[0]
            slope = emitted_gradients(tree, [(1.0, 1.0, 0.0)])[index, 0].item() / (x, y)[index]
            assert slope == pytest.approx((high - low) / (2 * step), rel=1e-6, abs=1e-8), tree


ENDS = st.tuples(st.floats(-BOUND, BOUND), st.floats(-BOUND, BOUND)) | st.tuples(st.floats(-3, 3), st.floats(-3, 3))


@given(st.sampled_from(NAMES), ENDS, ENDS, st.floats(0, 1), st.floats(0, 1))
@law(1500)
def test_no_value_lies_outside_its_bounds(
    name: str, a: tuple[float, float], b: tuple[float, float], along_a: float, along_b: float
) -> None:
    primitive = PRIMITIVES[name]
    intervals = [(min(ends), max(ends)) for ends in (a, b)][: primitive.arity]
    inside = [
        min(max(low + (high - low) * along, low), high)
        for (low, high), along in zip(intervals, (along_a, along_b), strict=False)
    ]
    low, high = primitive.bounds(*intervals)
    assert math.isfinite(low)
    assert math.isfinite(high)
    slack = 1e-14 * max(abs(low), abs(high))
    assert low - slack <= primitive.value(*inside) <= high + slack


@pytest.mark.parametrize("primitive", [item for item in PRIMITIVES.values() if item.arity == 2], ids=lambda p: p.name)
def test_a_primitive_is_called_commutative_where_it_is(primitive: Primitive) -> None:
    pairs = [(-2.0, 3.0), (0.5, 0.25), (0.0, 1e12), (-7.0, -7.5)]
    commutes = all(primitive.value(x, y) == primitive.value(y, x) for x, y in pairs)
    assert primitive.commutative == commutes


@pytest.mark.parametrize(
    ("name", "args", "value"),
    [
        ("div", (1.0, 0.0), 1 / EPS),
        ("div", (1.0, -0.0), 1 / EPS),
        ("div", (1.0, -1e-300), -1 / EPS),
        ("div", (3.0, -2.0), -1.5),
        ("log", (0.0,), math.log(EPS)),
        ("log", (-math.e,), 1.0),
        ("sqrt", (0.0,), math.sqrt(EPS)),
        ("sqrt", (-4.0,), 2.0),
        ("exp", (1e12,), math.exp(EXP_LIMIT)),
        ("exp", (-1e12,), 0.0),
        ("sigmoid", (-1e12,), 0.0),
        ("sigmoid", (1e12,), 1.0),
        ("sign", (-0.0,), 0.0),
        ("aq", (1.0, 0.0), 1.0),
        ("aq", (1e12, 1e12), 1.0),
    ],
)
def test_poles_are_protected_as_documented(name: str, args: tuple[float, ...], value: float) -> None:
    assert PRIMITIVES[name].value(*args) == value


def test_the_exponential_stays_within_the_bound() -> None:
    assert math.exp(EXP_LIMIT) < BOUND < math.exp(EXP_LIMIT + 1)


@pytest.mark.parametrize(
    ("value", "clipped"), [(math.inf, BOUND), (-math.inf, -BOUND), (math.nan, 0.0), (2e12, BOUND), (-3.5, -3.5)]
)
def test_clipping_makes_any_float_a_value(value: float, clipped: float) -> None:
    assert clip(value) == clipped


def test_the_table_is_keyed_by_name_and_every_primitive_has_its_own_meaning() -> None:
    assert all(primitive.name == name for name, primitive in PRIMITIVES.items())
    assert len({primitive.meaning for primitive in PRIMITIVES.values()}) == len(PRIMITIVES)
