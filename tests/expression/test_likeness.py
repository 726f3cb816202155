from __future__ import annotations

import numpy
import pytest

from lossforge.expression.canonical import canonical_form
from lossforge.expression.formula import parse_formula
from lossforge.expression.likeness import cosines, directions

CE = "-y_true * log(y_pred)"


def of(*formulas: str, head: str = "softmax") -> numpy.ndarray:
    return directions([canonical_form(parse_formula(formula)) for formula in formulas], head)[0]


@pytest.mark.parametrize("head", ["softmax", "binary", "sigmoid"])
def test_sign_scale_and_form_do_not_count(head: str) -> None:
    found = of("y_true * y_pred", "-3 * y_pred * y_true", "y_true * y_pred / 2 + 1", head=head)
    assert cosines(found, found) == pytest.approx(numpy.ones((3, 3)))
    assert numpy.linalg.norm(found, axis=1) == pytest.approx(1, abs=1e-5)
    assert (found == found[0]).all()


def test_cross_entropy_leads_from_predictions_to_targets_and_is_unlike_its_robust_kin() -> None:
    found = of(CE, "abs(y_true - y_pred)", "square(y_true - y_pred)")
    near = cosines(found[:1], found)[0]
    assert near[0] == pytest.approx(1, abs=1e-9)
    assert near[1] < near[2] < 0.99


def test_what_has_no_gradient_has_no_direction() -> None:
    found, norms = directions([parse_formula("sign(y_true - y_pred)"), parse_formula("y_true * y_pred")])
    assert not found[0].any()
    assert norms[0] == 0 < norms[1]


def test_a_direction_does_not_depend_on_what_else_is_asked() -> None:
    formulas = [CE, "abs(y_true - y_pred)", "y_true / (y_pred + 0.1)"] * 30
    assert (of(*formulas)[1] == of(formulas[1])[0]).all()


def test_losses_that_change_in_a_training_are_told_apart_by_its_course() -> None:
    forms = [
        canonical_form(parse_formula(text))
        for text in (CE, f"{CE} * (0.5 + progress)", f"progress * ({CE}) + y_pred * y_pred")
    ]
    still, _ = directions(forms[:2])
    assert cosines(still, still)[0, 1] == pytest.approx(1)
    moving, _ = directions([forms[0], forms[2]], changing=True)
    assert cosines(moving, moving)[0, 1] < 0.99
