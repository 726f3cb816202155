"""Explaining many losses: each gets its answers, whatever sympy makes of its neighbours."""

from __future__ import annotations

import pytest

from lossforge.errors import LossError
from lossforge.expression.simplify import simplified
from lossforge.inspection.losses import explain, explain_all
from lossforge.losses.library import LIBRARY

ENDLESS = "(" * 7 + "y_pred + y_true" + ")**2 + sin(y_pred)" * 7
"""sympy needs minutes for it."""


def test_one_is_the_first_of_many() -> None:
    assert explain("focal") == explain_all(["focal", "dice"])[0]
    assert explain_all([]) == []


def test_a_loss_that_sympy_cannot_do_costs_its_time_once_and_its_neighbours_nothing() -> None:
    found = explain_all(["exp(y_pred) * exp(y_true)", ENDLESS, "exp(y_true) * exp(y_pred)"])
    assert [entry["simplified"] for entry in found] == ["exp(y_pred + y_true)", ENDLESS, "exp(y_pred + y_true)"]


def test_without_time_for_sympy_the_canonical_form_is_told() -> None:
    formulas = [ENDLESS, "exp(y_pred) * exp(y_true)", "y_pred - y_pred + y_true * y_pred"]
    found = explain_all(formulas, seconds=0.0)
    assert [entry["simplified"] for entry in found] == [*formulas[:2], "y_pred * y_true"]


def test_sympy_is_asked_once_a_call(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def counted(*args: object) -> object:
        calls.append(args)
        return simplified(*args)  # type: ignore[arg-type]

    monkeypatch.setattr("lossforge.expression.simplify.simplified", counted)
    explain_all(["cross_entropy", "brier", "dice", "exp_error"])
    assert len(calls) == 1


def test_every_loss_of_the_library_is_explained() -> None:
    found = explain_all([*LIBRARY], seconds=5.0)
    nearest = {entry["loss"]: entry["nearest"]["name"] for entry in found}
    assert (nearest["dice"], nearest["tversky"], nearest["ngl"]) == ("tversky", "focal_tversky", "ngl_sigmoid")
    for entry in found:
        assert entry["nearest"]["name"] != entry["loss"]
        assert entry["screen"]["passed"]
        is_term = LIBRARY[entry["loss"]].spec().is_term
        assert (entry["derivative"] is None) == (entry["size"] is None) == (entry["latex"] == "") == is_term
        assert {*entry["minimiser"]} == {*entry["gradient_ratio"]} == {"2", "10", "100"}


@pytest.mark.parametrize(
    "formula",
    [
        "sin(" * 99 + "y_pred" + ")" * 99,
        "(" * 80 + "y_pred + y_true" + ") / (y_pred + 2)" * 80,
        "(" * 40 + "y_pred" + ")**4" * 40,
        " * ".join(["(y_pred + 1)"] * 150),
        "aq(" * 90 + "y_pred" + ", y_pred)" * 90,
        "max(" * 90 + "y_pred" + ", y_true - y_pred)" * 90,
    ],
    ids=["calls", "quotients", "powers", "product", "analytic quotients", "maxima"],
)
def test_the_deepest_formulas_are_explained_without_a_derivative_that_nobody_reads(formula: str) -> None:
    found = explain_all([formula], seconds=0.0)[0]
    assert found["derivative"] is None or len(found["derivative"]) < 10_000


def test_a_loss_that_does_not_exist_is_told() -> None:
    with pytest.raises(LossError, match="no loss named"):
        explain_all(["ngl", "no_such_loss"])
