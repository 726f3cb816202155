"""The funnel: what each screen rejects, and that scale and sign decide nothing."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from tests.helpers.reference import emitted, points
from tests.helpers.trees import law, short_constants, trees

from lossforge.expression.canonical import canonical_form
from lossforge.expression.formula import parse_formula
from lossforge.expression.signature import signature
from lossforge.expression.tree import Expression
from lossforge.losses.library import CROSS_ENTROPY, LIBRARY
from lossforge.screening.funnel import negated, screen, screen_all
from lossforge.screening.settings import Screen, ScreenSettings

SETTINGS = ScreenSettings()
BRIER = "(y_true - y_pred)**2"


def rejected(formula: str, settings: ScreenSettings = SETTINGS) -> tuple[Screen | None, str]:
    verdict = screen(parse_formula(formula), settings)
    assert verdict.passed == (verdict.rejected_by is None)
    return verdict.rejected_by, verdict.reason


@pytest.mark.parametrize(
    ("formula", "missing"),
    [
        ("y_pred**2", "y_true does not occur"),
        ("sin(y_true)", "y_pred does not occur"),
        ("2", "y_pred and y_true do not occur"),
        ("y_true - y_true + y_pred", "y_true does not occur"),
        ("0 * y_pred * y_true", "y_pred and y_true do not occur"),
        ("y_pred + 0 * log(y_true)", "y_true does not occur"),
        ("y_true / 3 - y_true * (1 / 3) + y_pred - y_pred", "y_pred and y_true do not occur"),
    ],
)
def test_static_rejects_what_does_not_depend_on_both_leaves(formula: str, missing: str) -> None:
    by, reason = rejected(formula)
    assert by == Screen.STATIC
    assert reason == missing


@pytest.mark.parametrize(
    "formula", ["sign(y_pred - y_true)", "y_true + y_pred", "min(-1, y_pred) * y_true", "max(y_true, 2) + y_pred"]
)
def test_probe_rejects_a_gradient_that_is_zero(formula: str) -> None:
    assert rejected(formula) == (Screen.PROBE, "the gradient is zero")


@pytest.mark.parametrize("formula", ["y_true * exp(-log(y_pred))", "y_true * exp(-2 * log(y_pred))"])
def test_probe_rejects_a_gradient_with_spikes_higher_than_allowed(formula: str) -> None:
    by, reason = rejected(formula, ScreenSettings(max_gradient=1e4))
    assert by == Screen.PROBE
    assert reason.startswith("the gradient reaches ")
    assert "times its usual size (limit 10000)" in reason
    assert rejected(formula)[0] != Screen.PROBE


def test_probe_rejects_a_gradient_that_is_not_finite() -> None:
    # Each primitive is total, but a chain of steep ones may pass what float32 holds.
    steep = "sin(1000000000000 * " * 4 + "y_pred" + ")" * 4
    assert rejected(f"y_true * {steep}") == (Screen.PROBE, "the gradient is not finite")


@pytest.mark.parametrize(
    "formula", ["y_true * (y_pred - 0.05)**2", "y_true * cos(20 * y_pred)", "sin(40 * y_pred) * y_true"]
)
def test_descent_rejects_what_does_not_reach_the_targets(formula: str) -> None:
    by, reason = rejected(formula)
    assert by == Screen.DESCENT
    assert reason.startswith("descent reaches ")
    assert "of the targets" in reason
    assert reason.endswith("(needed: 80%)")


@pytest.mark.parametrize(
    "formula",
    [
        "-(y_true * tanh(log(y_pred)))",
        "sqrt(abs(y_true + 0.44 + y_pred))",
        "-(y_pred * log((exp(y_true) + tanh(y_pred))**2))",
    ],
)
def test_descent_rejects_what_leaves_a_network_at_one_class_for_all(formula: str) -> None:
    # A plain network without normalisation ends at 10 to 30 % of the digits with each of them.
    for written in (formula, f"-({formula})"):
        by, reason = rejected(written)
        assert by == Screen.DESCENT
        assert "a small network learns" in reason


def test_a_spike_where_no_network_is_rejects_nothing() -> None:
    # exp(27) times the usual gradient, where the true class has less than 1e-7; it trains as cross-entropy does.
    assert rejected("-y_true * log(y_pred) - exp(y_true / (y_pred / y_pred))") == (None, "")


def test_no_steps_reach_no_targets() -> None:
    assert rejected(CROSS_ENTROPY, ScreenSettings(descent_steps=0, network_steps=0))[0] == Screen.DESCENT


@pytest.mark.parametrize(
    ("formula", "repaired"),
    [
        ("y_true * log(y_pred)", "-(y_true * log(y_pred))"),
        ("-(y_true - y_pred)**2", "(y_true - y_pred)**2"),
        ("y_true * log(y_pred) - y_pred**2", "y_pred**2 - y_true * log(y_pred)"),
        ("cos(cos(sin(y_pred))) - exp(2.4092 - y_pred - y_pred * y_true)", None),
    ],
)
def test_a_loss_that_only_descends_upside_down_is_turned(formula: str, repaired: str | None) -> None:
    tree = parse_formula(formula)
    verdict = screen(tree, SETTINGS)
    assert verdict.passed
    assert verdict.expression == (negated(tree) if repaired is None else parse_formula(repaired))
    assert verdict.signature == signature(tree)
    assert verdict.flipped
    upright = screen(verdict.expression, SETTINGS)
    assert (upright.passed, upright.flipped) == (True, False)


def test_without_repair_the_upside_down_is_rejected() -> None:
    formula = "y_true * log(y_pred)"
    assert rejected(formula, ScreenSettings(repair_sign=False))[0] == Screen.DESCENT
    assert rejected(f"-({formula})", ScreenSettings(repair_sign=False)) == (None, "")


def test_the_repaired_sign_is_in_the_key_where_scale_is() -> None:
    settings = ScreenSettings(keep_scale=True)
    upside_down, upright = (screen(parse_formula(text), settings) for text in (f"-{BRIER}", BRIER))
    assert upside_down.signature == upright.signature == signature(parse_formula(BRIER), keep_scale=True)
    assert upside_down.signature != signature(parse_formula(f"-{BRIER}"), keep_scale=True)


@given(trees(max_leaves=10))
@law(200)
def test_a_negation_is_minus_the_value_and_undoes_itself(tree: Expression) -> None:
    grid = points()
    assert torch.equal(emitted(negated(tree), grid), -emitted(tree, grid))
    assert torch.equal(emitted(negated(negated(tree)), grid), emitted(tree, grid))
    assert negated(tree).size <= tree.size + 1


@pytest.mark.parametrize("scale", [1e-11, 1e-5, 1e-3, 1e3, 1e6])
@pytest.mark.parametrize(
    "formula", [CROSS_ENTROPY, BRIER, f"-{BRIER}", "y_true * cos(20 * y_pred)", "y_true * exp(-log(y_pred)) * 0.001"]
)
def test_scale_decides_nothing(formula: str, scale: float) -> None:
    plain = screen(parse_formula(formula), SETTINGS)
    scaled = screen(parse_formula(f"{scale!r} * ({formula})"), SETTINGS)
    assert (scaled.rejected_by, scaled.signature) == (plain.rejected_by, plain.signature)


@given(trees(max_leaves=8, numbers=short_constants()))
@law(60)
def test_every_tree_gets_a_verdict_with_a_reason_or_a_key(tree: Expression) -> None:
    verdict = screen(tree, ScreenSettings(classes=(3,), descent_steps=10))
    if verdict.passed:
        assert verdict.signature is not None
        assert verdict.reason == ""
        assert verdict.expression in (tree, negated(tree))
    else:
        assert verdict.reason
        assert verdict.expression in (tree, negated(tree))
        assert (verdict.signature is None) == (verdict.rejected_by != Screen.DESCENT)


def test_every_number_of_classes_must_be_passed() -> None:
    # The target's probability shall go to 0.45: for two classes that is too little, for ten it is enough.
    formula = "y_true * (y_pred - 0.45)**2"
    assert rejected(formula, ScreenSettings(classes=(10,))) == (None, "")
    assert rejected(formula, ScreenSettings(classes=(2,), repair_sign=False))[0] == Screen.DESCENT
    assert rejected(formula, ScreenSettings(classes=(10, 2), repair_sign=False))[0] == Screen.DESCENT


def test_verdicts_do_not_depend_on_who_else_is_asked() -> None:
    formulas = [
        CROSS_ENTROPY,
        f"-{BRIER}",
        "y_true * cos(20 * y_pred)",
        "y_true + y_pred",
        "y_pred",
        "abs(y_true - y_pred)",
    ]
    forms = [parse_formula(formula) for formula in formulas]
    together = screen_all(forms, SETTINGS)
    assert together == [screen(form, SETTINGS) for form in forms]
    assert screen_all(forms[::-1], SETTINGS) == together[::-1]


@pytest.mark.parametrize("name", [name for name, entry in LIBRARY.items() if not entry.spec().is_term])
@pytest.mark.parametrize("classes", [2, 3, 10, 100])
def test_every_formula_of_the_library_passes(name: str, classes: int) -> None:
    form = canonical_form(parse_formula(LIBRARY[name].spec().formula))
    settings = ScreenSettings(classes=(classes,), precisions=("float32", "bfloat16"))
    verdict = screen(form, settings)
    assert (verdict.passed, verdict.flipped, verdict.reason) == (True, False, "")


def test_a_verdict_is_the_same_twice() -> None:
    for formula in (CROSS_ENTROPY, f"-{BRIER}", "y_true * cos(20 * y_pred)", "y_true + y_pred"):
        assert screen(parse_formula(formula), SETTINGS) == screen(parse_formula(formula), SETTINGS)


def test_screening_leaves_torchs_random_numbers_alone() -> None:
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    screen(parse_formula(CROSS_ENTROPY), ScreenSettings(classes=(7,)))
    assert torch.equal(torch.rand(3), expected)
