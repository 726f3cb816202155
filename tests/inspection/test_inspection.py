"""Explaining many losses: each gets its answers, whatever sympy makes of its neighbours."""

from __future__ import annotations

import re

import pytest

from lossforge.console import _loss_rows
from lossforge.errors import LossError
from lossforge.expression.simplify import simplified
from lossforge.inspection.losses import explain, explain_all
from lossforge.losses.library import LIBRARY, loss_spec

ENDLESS = "(" * 7 + "y_pred + y_true" + ")**2 + sin(y_pred)" * 7
"""sympy needs minutes for it."""


def test_one_is_the_first_of_many() -> None:
    assert explain("focal") == explain_all(["focal", "dice"])[0]
    assert explain_all([]) == []


def test_a_loss_that_sympy_cannot_do_costs_its_time_once_and_its_neighbours_nothing() -> None:
    found = explain_all(["exp(y_pred) * exp(y_true)", ENDLESS, "exp(y_true) * exp(y_pred)"])
    assert [entry["simplified"] for entry in found] == ["exp(y_pred + y_true)", ENDLESS, "exp(y_true + y_pred)"]


def test_without_time_for_sympy_our_own_rules_simplify() -> None:
    formulas = [ENDLESS, "exp(y_pred) * exp(y_true)", "y_pred - y_pred + y_true * y_pred"]
    found = explain_all(formulas, seconds=0.0)
    assert [entry["simplified"] for entry in found] == [ENDLESS, "exp(y_pred + y_true)", "y_true * y_pred"]


def test_a_loss_is_told_as_two_functions_of_p_and_in_its_final_form() -> None:
    found = explain("-min(max(abs(y_pred), -1.63), sqrt(sqrt(y_true / -1.39) / -1.52))")
    assert found["simplified"] == "-min(y_pred, sqrt(sqrt(y_true / -1.39) / -1.52))"
    assert found["final"] == "-min(y_pred, 0.02565 + 0.721 * y_true)"
    assert found["true_class"] == {"value": "-min(p, 0.747)", "slope": "0.5 * (sign(p - 0.747) - 1)"}
    assert found["wrong_class"]["value"] == "-min(p, 0.02565)"
    assert found["class_latex"] == (
        r"\begin{cases} -\min\left(p, 0.747\right) & y = 1 \\ -\min\left(p, 0.02565\right) & y = 0 \end{cases}"
    )


def test_no_long_number_is_shown_beside_what_was_asked() -> None:
    found = explain("0.33333333333333331 * erf(2.7182818284590452 * y_pred) + y_true / 7.123456789012345")
    texts = (found["simplified"], found["final"], found["derivative"], *found["true_class"].values())
    for text in texts:
        assert not re.search(r"\d\.\d{7,}", text), text


def test_a_term_and_a_loss_of_smoothed_labels_are_no_two_functions() -> None:
    for entry in explain_all(["dice", "label_smoothing"], seconds=0.0):
        assert (entry["true_class"], entry["wrong_class"], entry["class_latex"]) == (None, None, None)


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
        assert (entry["size"] is None) == (entry["latex"] == "") == is_term
        assert (entry["derivative"] is None) == (is_term or entry["mixes_classes"])
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


def test_a_loss_of_labels_is_explained_behind_its_head() -> None:
    (found,) = explain_all(["asl"], seconds=0.0)
    assert (found["head"], found["screen"]["passed"]) == ("sigmoid", True)
    assert found["minimiser"]["10"] == pytest.approx(1.0, abs=1e-4)
    # Of the losses that may have that head.
    loss_spec(found["nearest"]["name"], head="sigmoid")
    assert explain("focal")["head"] == "softmax"


def test_another_name_of_a_loss_is_not_its_nearest_relative() -> None:
    assert explain("mae")["nearest"] == explain("mean_absolute_error")["nearest"]


@pytest.mark.parametrize("formula", ["sin(y_true)", "y_pred", "3"])
def test_a_loss_without_a_gradient_asks_for_nothing(formula: str) -> None:
    found = explain_all([formula], seconds=0.0)[0]
    assert found["signature"] is None
    assert found["minimiser"] is found["gradient_ratio"] is found["nearest"] is None
    rows = dict(_loss_rows(found))
    assert rows["signature"] == "none: the gradient is zero"
    assert not {"least at", "gradient", "nearest"} & {*rows}


@pytest.mark.parametrize("head", ["sigmoid", "binary"])
def test_a_loss_is_explained_behind_the_head_that_is_asked_for(head: str) -> None:
    names = ["brier", "-y_true * log(y_pred)", *(["dice"] if head == "binary" else [])]
    for found in explain_all(names, seconds=0.0, head=head):
        assert found["head"] == head
        assert all(value == pytest.approx(1.0, abs=1e-3) for value in found["minimiser"].values())
        assert {*found["minimiser"]} == ({"2"} if head == "binary" else {"2", "10", "100"})


def test_a_head_that_a_loss_cannot_have_is_told() -> None:
    with pytest.raises(LossError, match="loss 'dice' cannot have the head 'sigmoid' here"):
        explain_all(["dice"], seconds=0.0, head="sigmoid")
