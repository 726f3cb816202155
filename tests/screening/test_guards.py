"""The screen for guards: what the sizes of protections decide is rejected, what has a limit or is folded is not."""

from __future__ import annotations

import numpy
import pytest
from hypothesis import given
from tests.helpers.trees import law, short_constants, trees

from lossforge.expression.adjoint import joint_program
from lossforge.expression.canonical import canonical_form
from lossforge.expression.formula import parse_formula
from lossforge.expression.primitives import GUARDS
from lossforge.expression.program import guards_can_act
from lossforge.expression.tree import Expression
from lossforge.losses.library import CROSS_ENTROPY, LIBRARY
from lossforge.screening.funnel import screen
from lossforge.screening.guards import _LIKELIEST, OTHERS, _least, changed, guard_reasons
from lossforge.screening.settings import Screen, ScreenSettings

SETTINGS = ScreenSettings()
ACCIDENTS = [
    "sin(y_pred / y_true)",  # sin(1e6 p)
    "-y_true * log(y_pred) - 0.000001 * cos(y_pred / y_true)",
    "y_true * y_pred - tanh(0.00001 * (y_pred / y_true))",
    "(y_pred / y_true)**2",  # held at 1e12 as soon as 1e6 is 1e7
    "exp(0.0001 * (y_pred / y_true)) - y_true * log(y_pred)",  # flat above 27
    "(exp(y_true) / min(y_pred, y_true) + erf(y_pred))**2",
]
LOSSES = [
    CROSS_ENTROPY,
    "y_pred / y_true",  # mean absolute error's direction, whatever the guard
    "log(y_pred) / y_true",
    "sqrt(y_pred / y_true)",
    "-min(y_pred, 0.026 + 0.721 * y_true)",
    "-min(max(abs(y_pred), -1.63), sqrt(sqrt(y_true / -1.39) / -1.52))",  # the same, with a guard that is folded
    "y_pred * log(y_true)",
    "(1 / y_true - 3) * sin(y_pred) - y_true * log(y_pred)",
    "-y_true * log(y_pred) - exp(y_true / (y_pred / y_pred))",  # a guard, but far from ordinary probabilities
    "y_true / y_pred",
    "y_true * log(y_pred - 0.3)",  # a pole between the probabilities
]


def reasons(*formulas: str, settings: ScreenSettings = SETTINGS) -> list[str]:
    return guard_reasons([canonical_form(parse_formula(formula)) for formula in formulas], settings)


@pytest.mark.parametrize("formula", ACCIDENTS)
def test_an_accident_of_the_guards_is_rejected_by_name(formula: str) -> None:
    verdict = screen(canonical_form(parse_formula(formula)), SETTINGS)
    assert verdict.rejected_by == Screen.GUARDS == "guards"
    assert verdict.reason.startswith("an accident of its guards: with 1e-0")
    assert "in place of 1e-06 and 1e+12" in verdict.reason
    assert verdict.reason.endswith("% of the gradients at ordinary probabilities are others")
    assert verdict.signature is None


@pytest.mark.parametrize("formula", LOSSES)
@pytest.mark.parametrize("classes", [2, 10, 100])
def test_what_has_a_limit_or_is_folded_passes(formula: str, classes: int) -> None:
    assert reasons(formula, settings=ScreenSettings(classes=(classes,))) == [""]


@pytest.mark.parametrize("classes", [2, 3, 10, 100, 1000])
def test_no_known_loss_is_an_accident(classes: int) -> None:
    formulas = [entry.spec().formula for entry in LIBRARY.values() if not entry.spec().is_term]
    assert set(reasons(*formulas, settings=ScreenSettings(classes=(classes,)))) == {""}


def test_it_can_be_turned_off() -> None:
    off = ScreenSettings(guards=False)
    assert all(screen(parse_formula(formula), off).rejected_by != Screen.GUARDS for formula in ACCIDENTS)


def test_one_number_of_classes_is_enough_to_be_rejected() -> None:
    # Below 1e-5 is ordinary among 1,000 classes, and is not among ten.
    formula = "log(0.01 * y_pred) * (y_pred - y_true)"
    few, many = ScreenSettings(classes=(2,)), ScreenSettings(classes=(1000,))
    assert reasons(formula, settings=few) == [""]
    for settings in (many, ScreenSettings(classes=(2, 1000))):
        assert reasons(formula, settings=settings) != [""]


def test_with_smoothed_targets_no_divisor_is_zero() -> None:
    smoothed = ScreenSettings(label_smoothing=0.1)
    assert reasons("sin(y_pred / y_true)", "log(y_true) * y_pred", settings=smoothed) == ["", ""]
    assert reasons("sin(y_pred / sin(0.0001 * y_true))", settings=smoothed) != [""]


@pytest.mark.parametrize("scale", ["0.001 * ({})", "-({})", "3 - 100 * ({})"])
def test_scale_and_sign_decide_nothing(scale: str) -> None:
    for formula in ("sin(y_pred / y_true)", "y_pred / y_true", "y_true / y_pred"):
        assert bool(reasons(scale.format(formula))[0]) == bool(reasons(formula)[0])


def test_verdicts_do_not_depend_on_who_else_is_asked() -> None:
    formulas = [*LOSSES, *ACCIDENTS]
    together = reasons(*formulas)
    assert together == [reasons(formula)[0] for formula in formulas]
    assert reasons(*formulas[::-1]) == together[::-1]


@given(trees(max_leaves=8, numbers=short_constants()))
@law(300)
def test_what_is_not_evaluated_could_not_have_changed(tree: Expression) -> None:
    form = canonical_form(tree)
    program = joint_program(form, guards=GUARDS)
    if not program.guarded:
        assert all(joint_program(form, guards=sizes) == program for sizes in OTHERS)
    if not guards_can_act(form, _LIKELIEST, _least(5)):
        assert not changed([form], 5).any()


@given(trees(max_leaves=6, numbers=short_constants(), primitives=("add", "sub", "mul", "neg", "square", "sin", "tanh")))
@law(100)
def test_a_loss_without_protected_operations_is_never_rejected(tree: Expression) -> None:
    assert guard_reasons([canonical_form(tree)], SETTINGS) == [""]


def test_other_guards_are_evaluated_as_they_would_be() -> None:
    # With hard labels sin(p / y) is sin(p / eps) for wrong classes: its gradient by finite differences of numpy.
    from lossforge.expression.interpreter import Interpreter
    from lossforge.screening.probes import run

    logits = numpy.random.default_rng(0).normal(size=(4, 3))
    labels = numpy.array([0, 1, 2, 0])
    sizes = GUARDS._replace(eps=0.5)

    def value(z: numpy.ndarray) -> numpy.ndarray:
        shares = numpy.exp(z) / numpy.exp(z).sum(1, keepdims=True)
        return numpy.sin(shares / numpy.maximum(numpy.eye(3)[labels], 0.5)).sum(1)

    values, gradient = run(Interpreter([parse_formula("sin(y_pred / y_true)")], guards=sizes), logits, labels)
    numpy.testing.assert_allclose(values[0], value(logits), rtol=1e-12)
    for c in range(3):
        step = numpy.eye(3)[c] * 1e-6
        expected = (value(logits + step) - value(logits - step)) / 2e-6
        numpy.testing.assert_allclose(gradient[0, :, c], expected, atol=1e-8)
