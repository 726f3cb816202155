"""numpy's evaluation of a program says what torch's does."""

from __future__ import annotations

import numpy
import pytest
import torch
from hypothesis import assume, given
from tests.helpers.trees import law, short_constants, trees

from lossforge.expression.codegen import compile_joint
from lossforge.expression.elementwise import value_and_slope
from lossforge.expression.equivalence import HARD, SOFT, element_grid, same_elements
from lossforge.expression.formula import parse_formula
from lossforge.expression.tree import Expression


@given(trees(max_leaves=10, numbers=short_constants()))
@law(300)
def test_value_and_slope_are_torchs(tree: Expression) -> None:
    grid = element_grid(SOFT)
    found = value_and_slope(tree, *grid)
    expected = compile_joint(tree).function(*(torch.from_numpy(array) for array in grid))
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.shape == grid[0].shape
        assume(bool(theirs.isfinite().all()))
        # A last digit may differ, and the sine of a large number has no other digits.
        close = numpy.isclose(ours, theirs.expand(grid[0].shape).numpy(), rtol=1e-6, atol=1e-9)
        assert close.mean() > 0.97


@pytest.mark.parametrize(
    ("first", "second", "soft", "same"),
    [
        ("y_true**2", "y_true", False, True),
        ("y_true**2", "y_true", True, False),
        ("abs(y_pred)", "y_pred", True, True),
        ("min(y_pred, 1)", "y_pred", True, True),
        ("y_pred + 1", "y_pred", False, False),
        ("exp(log(y_pred))", "y_pred", False, True),
        ("exp(log(abs(y_pred)))", "y_pred", False, False),
        ("0.000000001 * y_pred", "0", False, False),
        ("0.000000001 * y_pred", "0.00000000100001 * y_pred", False, False),
        ("1000000 * sin(y_pred)", "1000000.000001 * sin(y_pred)", False, True),
        ("y_pred", "y_pred + 0.0000000001 * log(y_pred)", False, False),
    ],
)
def test_the_same_elements_are_told_from_others(first: str, second: str, soft: bool, same: bool) -> None:
    assert same_elements(parse_formula(first), parse_formula(second), SOFT if soft else HARD) is same
