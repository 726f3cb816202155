"""The funnel with a memory: verdicts depend on the canonical form alone."""

from __future__ import annotations

import random

import pytest
import torch
from hypothesis import given
from tests.helpers.reference import emitted, points
from tests.helpers.trees import law, short_constants, trees

from lossforge.expression.canonical import canonical_form, fold_constants
from lossforge.expression.formula import parse_formula
from lossforge.expression.tree import Expression
from lossforge.losses.library import CROSS_ENTROPY
from lossforge.screening import screener
from lossforge.screening.funnel import Findings, descended, findings_of
from lossforge.screening.screener import Screened, Screener
from lossforge.screening.settings import Screen, ScreenSettings

SETTINGS = ScreenSettings()


@pytest.fixture
def screened(monkeypatch: pytest.MonkeyPatch) -> list[Expression]:
    """What has gone through the probe so far."""
    seen: list[Expression] = []

    def watched(forms: list[Expression], settings: ScreenSettings) -> list[Findings]:
        seen.extend(forms)
        return findings_of(forms, settings)

    monkeypatch.setattr(screener, "findings_of", watched)
    return seen


@pytest.fixture
def descending(monkeypatch: pytest.MonkeyPatch) -> list[Expression]:
    """What has descended so far."""
    seen: list[Expression] = []

    def watched(found: list[Findings], settings: ScreenSettings) -> list[Findings]:
        seen.extend(one.form for one in found)
        return descended(found, settings)

    monkeypatch.setattr(screener, "descended", watched)
    return seen


def ask(ask_screener: Screener, formula: str) -> Screened:
    return ask_screener(parse_formula(formula))


def test_the_same_form_is_screened_once(screened: list[Expression]) -> None:
    remembers = Screener(SETTINGS)
    answers = [ask(remembers, form) for form in ("y_true * -log(y_pred)", "-(log(y_pred) * y_true)", CROSS_ENTROPY)]
    assert len(screened) == 1
    assert len({answer.signature for answer in answers}) == 1
    assert answers[0].rejected_by is None


def test_what_is_screened_is_the_canonical_form(screened: list[Expression]) -> None:
    ask(Screener(SETTINGS), "y_true * -log(y_pred) + 0")
    assert screened == [canonical_form(parse_formula(CROSS_ENTROPY))]


def test_what_comes_back_is_the_proposal_itself_with_its_constants_folded() -> None:
    remembers = Screener(SETTINGS)
    assert str(ask(remembers, "-log(y_pred) * (y_true * (1 + 1))").expression) == "-log(y_pred) * (y_true * 2)"
    assert str(ask(remembers, "2 * (y_true * -log(y_pred))").expression) == "2 * (y_true * -log(y_pred))"


@pytest.mark.parametrize(
    ("formula", "repaired"),
    [
        ("y_true * log(y_pred)", "-(y_true * log(y_pred))"),
        ("-(-y_true * log(y_pred))", "-y_true * log(y_pred)"),
        ("0 - -y_true * log(y_pred)", "-y_true * log(y_pred) - 0"),
        (CROSS_ENTROPY, CROSS_ENTROPY),
    ],
)
def test_the_sign_is_repaired_from_memory_too(formula: str, repaired: str, screened: list[Expression]) -> None:
    remembers = Screener(SETTINGS)
    for _ in range(2):
        assert str(ask(remembers, formula).expression) == repaired
    assert len(screened) == 1


def test_a_rejection_is_remembered_with_its_reason(screened: list[Expression]) -> None:
    remembers = Screener(SETTINGS)
    first, again = ask(remembers, "y_true + y_pred"), ask(remembers, "y_pred + y_true")
    assert (first.rejected_by, first.reason, first.signature) == (Screen.PROBE, "the gradient is zero", None)
    assert (again.rejected_by, again.reason, again.signature) == (Screen.PROBE, "the gradient is zero", None)
    assert str(again.expression) == "y_pred + y_true"
    assert len(screened) == 1


def test_memory_changes_no_verdict(screened: list[Expression]) -> None:
    formulas = [CROSS_ENTROPY, "(y_true - y_pred)**2", "y_pred", "y_true * sin(y_pred)", CROSS_ENTROPY, "y_pred"]
    one_by_one, together = Screener(SETTINGS), Screener(SETTINGS)
    answers = [ask(one_by_one, formula) for formula in formulas]
    assert len(screened) == 4
    assert answers == together.screen([parse_formula(formula) for formula in formulas])
    assert len(screened) == 8


BRIER = "(y_true - y_pred)**2"


def test_what_is_trained_already_passes_without_a_descent(descending: list[Expression]) -> None:
    (answer,) = Screener(SETTINGS).screen([parse_formula(BRIER)])
    assert len(descending) == 1
    trained = {str(answer.signature): answer.expression}
    proposals = [parse_formula(text) for text in (f"3 * {BRIER} + 1", f"2 - {BRIER}", CROSS_ENTROPY)]
    found = Screener(SETTINGS).screen(proposals, trained)
    assert len(descending) == 2
    assert [one.signature in trained for one in found] == [True, True, False]
    # Each has the sign of the loss that it repeats.
    assert [str(one.expression) for one in found] == [f"3 * {BRIER} + 1", f"{BRIER} - 2", CROSS_ENTROPY]


def test_those_of_one_signature_repeat_the_first_that_passes(descending: list[Expression]) -> None:
    found = Screener(SETTINGS).screen([parse_formula(text) for text in (f"2 - {BRIER}", BRIER, f"-5 * {BRIER}")])
    assert len(descending) == 1
    assert len({one.signature for one in found}) == 1
    assert [str(one.expression) for one in found] == [f"{BRIER} - 2", BRIER, f"-(-5 * {BRIER})"]


def test_a_rejection_is_no_other_forms_rejection() -> None:
    # One signature, but the first is so steep at a clamp that its descent fails.
    settings = ScreenSettings(guards=False)
    steep, plain = "(exp(y_true) / min(y_pred, y_true) + erf(y_pred))**2", "(y_true / y_pred)**2"
    for order in ((steep, plain), (plain, steep)):
        together = Screener(settings).screen([parse_formula(text) for text in order])
        assert together[0].signature == together[1].signature
        assert together[order.index(plain)].rejected_by is None
    one, other = Screener(settings), Screener(settings)
    ask(one, steep)
    assert ask(one, plain) == ask(other, plain)


def test_what_was_asked_before_changes_nothing() -> None:
    generator = random.Random(3)
    texts = [
        CROSS_ENTROPY,
        BRIER,
        f"-{BRIER}",
        "y_true * cos(20 * y_pred)",
        f"2 - {BRIER}",
        "y_pred",
        "sign(y_pred) * y_true",
    ]
    alone = {text: ask(Screener(SETTINGS), text) for text in texts}
    used = Screener(SETTINGS)
    for _ in range(20):
        text = generator.choice(texts)
        assert ask(used, text) == alone[text]
    trained = {str(alone[BRIER].signature): alone[BRIER].expression}
    fresh = Screener(SETTINGS)
    for text in texts:
        assert used.screen([parse_formula(text)], trained) == fresh.screen([parse_formula(text)], trained)


@given(trees(max_leaves=6, numbers=short_constants()))
@law(60)
def test_the_order_of_proposals_changes_no_verdict(tree: Expression) -> None:
    settings = ScreenSettings(classes=(3,), descent_steps=5)
    fresh, used = Screener(settings), Screener(settings)
    ask(used, CROSS_ENTROPY)
    used(canonical_form(tree))
    assert used(tree) == fresh(tree)
    answer = fresh(tree)
    assert torch.equal(emitted(answer.expression, points()).abs(), emitted(fold_constants(tree), points()).abs())


@pytest.mark.parametrize("squares", [8, 12])
def test_any_tree_that_a_space_allows_can_be_screened(squares: int) -> None:
    # SearchSpace lets max_height be 20.
    formula = "(" * squares + "y_pred" + ")**2" * squares + " - y_true * y_pred"
    assert ask(Screener(SETTINGS), formula).rejected_by is None


def test_how_much_is_remembered_changes_no_verdict(screened: list[Expression]) -> None:
    rng = random.Random(3)
    formulas = [
        CROSS_ENTROPY, "y_true * log(y_pred)", "square(y_true - y_pred)", "3 * square(y_true - y_pred) + 1",
        "y_true * y_pred", "-y_true * y_pred", "log(y_pred)", "y_true", "y_pred - y_true * log(y_pred)",
    ]  # fmt: skip
    proposals = [parse_formula(formula) for _ in range(6) for formula in rng.sample(formulas, len(formulas))]
    trained = {str(Screener(SETTINGS)(proposals[0]).signature): proposals[0]}
    all_of_it, little = Screener(SETTINGS), Screener(SETTINGS, remembered=2)
    for start in range(0, len(proposals), 5):
        batch = proposals[start : start + 5]
        assert little.screen(batch, trained) == all_of_it.screen(batch, trained)
        assert len(little._memory) <= 2
        assert len(little._signs) <= 2


def test_what_was_asked_about_last_is_remembered(screened: list[Expression]) -> None:
    screener = Screener(SETTINGS, remembered=2)
    for formula in (CROSS_ENTROPY, "square(y_true - y_pred)", CROSS_ENTROPY, "y_true * y_pred", CROSS_ENTROPY):
        screener(parse_formula(formula))
    assert len(screened) == 3
    screener(parse_formula("square(y_true - y_pred)"))
    assert len(screened) == 4
