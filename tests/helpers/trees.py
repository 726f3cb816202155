"""Strategies that draw expression trees, and the settings of every law that is checked on them."""

from __future__ import annotations

from collections.abc import Iterable

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from lossforge.expression.primitives import BOUND, LEAVES, PRIMITIVES
from lossforge.expression.tree import Expression, call, constant, leaf


def law(examples: int) -> settings:
    """Draw the same examples in every run: a law that fails does so for everyone."""
    slow = [HealthCheck.too_slow, HealthCheck.filter_too_much]
    return settings(max_examples=examples, deadline=None, derandomize=True, suppress_health_check=slow)


def constants(limit: float = BOUND) -> st.SearchStrategy[float]:
    """Constants within ±limit: whole, short, extreme and any others."""
    return st.one_of(
        st.integers(-4, 4).map(float),
        st.floats(-3, 3).map(lambda value: round(value, 2)),
        st.sampled_from([0.5, 1e-6, -1e-6, 1e-12, limit, -limit]),
        st.floats(-limit, limit, allow_nan=False),
    )


def short_constants() -> st.SearchStrategy[float]:
    """Constants as a search draws them: three digits within ±3."""
    return st.integers(-300, 300).map(lambda value: value / 100)


def trees(
    max_leaves: int = 8,
    numbers: st.SearchStrategy[float] | None = None,
    primitives: Iterable[str] = tuple(PRIMITIVES),
) -> st.SearchStrategy[Expression]:
    """Trees of the primitives over both leaves and constants."""
    leaves = st.sampled_from([*LEAVES]).map(leaf) | (constants() if numbers is None else numbers).map(constant)

    def grown(children: st.SearchStrategy[Expression]) -> st.SearchStrategy[Expression]:
        return st.one_of(*(st.builds(call, st.just(name), *[children] * PRIMITIVES[name].arity) for name in primitives))

    return st.recursive(leaves, grown, max_leaves=max_leaves)
