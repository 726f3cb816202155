"""The screens behind other heads: what learns passes, what cannot is rejected, and one logit is as two classes."""

from __future__ import annotations

import numpy
import pytest

from lossforge.expression.formula import parse_formula
from lossforge.expression.interpreter import Interpreter
from lossforge.expression.signature import signature
from lossforge.losses.heads import HEADS
from lossforge.losses.library import loss_spec
from lossforge.screening.descent import descend, free_targets, labelled_network, train_network
from lossforge.screening.funnel import screen
from lossforge.screening.probes import MODERATE, screen_probe
from lossforge.screening.settings import Screen, ScreenSettings

LABELS = ScreenSettings(head="sigmoid", classes=(2, 5, 40))
BINARY = ScreenSettings(head="binary", classes=(2,))
STANDARD = HEADS["sigmoid"].cross_entropy_formula


@pytest.mark.parametrize("name", ["cross_entropy", "focal", "brier", "generalized_ce", "poly1", "ngl"])
def test_what_learns_passes(name: str) -> None:
    for settings in (LABELS, BINARY):
        formula = loss_spec(name, head=settings.head).formula
        found = screen(parse_formula(formula), settings)
        assert found.passed, found.reason
        assert found.signature == signature(parse_formula(formula), head=settings.head)


@pytest.mark.parametrize(
    "formula",
    [
        "-y_true * log(y_pred)",  # every label is predicted
        "-(1 - y_true) * log(1 - y_pred)",
        "y_pred * sin(5 * y_true)**2 * 0.001 + y_pred * log(y_pred)",
    ],
)
def test_what_does_not_tell_labels_apart_is_rejected(formula: str) -> None:
    found = screen(parse_formula(formula), LABELS)
    assert found.rejected_by == Screen.DESCENT, found


def test_a_negative_sign_is_mended() -> None:
    found = screen(parse_formula("y_true * log(y_pred) + (1 - y_true) * log(1 - y_pred)"), LABELS)
    assert found.passed
    assert found.flipped
    assert found.signature == signature(parse_formula(STANDARD), head="sigmoid")


def test_small_networks_learn_several_labels() -> None:
    losses = Interpreter([parse_formula(STANDARD), parse_formula("-y_true * log(y_pred)")], head="sigmoid")
    for classes in (2, 5, 10, 40):
        reached = train_network(losses, classes, LABELS, numpy.ones(2))
        assert reached[0] > 0.9
        assert reached[1] < 0.6
        free = descend(losses, classes, LABELS, numpy.ones(2))
        assert free[0] > 0.99


def test_descents_behind_one_logit_are_those_of_two_classes() -> None:
    formulas = [parse_formula(text) for text in ("-y_true * log(y_pred)", "(y_true - y_pred)**2", "y_true * y_pred")]
    ones = numpy.ones(len(formulas))
    for measure in (descend, train_network):
        one, two = (measure(Interpreter(formulas, head=head), 2, BINARY, ones) for head in ("binary", "softmax"))
        assert one.tolist() == two.tolist()


def test_what_is_one_loss_behind_a_softmax_may_be_two_behind_sigmoids() -> None:
    first, second = (parse_formula(text) for text in (STANDARD, f"{STANDARD} + 0.7 * y_pred"))
    assert signature(first) == signature(second)
    assert signature(first, head="sigmoid") != signature(second, head="sigmoid")
    assert signature(first, head="sigmoid") == signature(parse_formula(f"3 * ({STANDARD}) + 1"), head="sigmoid")
    # Of two classes the other's probability is known.
    swapped = parse_formula("-y_true * log(y_pred) + (1 - y_true) * 0.2 * (y_pred - 1)")
    assert signature(swapped, head="binary") is not None
    symmetric = [parse_formula(text) for text in ("(y_true - y_pred)**2", "y_true * (1 - y_pred)**2")]
    assert len({signature(tree, head="binary") for tree in symmetric}) == 1
    assert len({signature(tree) for tree in symmetric}) == 2


def test_half_of_the_targets_are_labels_where_there_are_several() -> None:
    for classes in (2, 5, 40):
        x, rows, w1, w2 = labelled_network(classes, 2, True)
        assert (rows.shape, w2.shape) == ((x.shape[1], classes), (classes, w1.shape[0]))
        assert rows.mean(0).tolist() == [0.5] * classes
        assert 0.3 < free_targets(classes, True).mean() < 0.7
        assert (free_targets(classes, False).sum(1) == 1).all()
        assert (labelled_network(classes, 2, False)[1].sum(1) == 1).all()


def test_the_probe_has_samples_of_no_label_of_one_and_of_several() -> None:
    probe = screen_probe(5)
    assert {0.0, 1.0, 2.0} <= set(probe.rows[:MODERATE].sum(1).tolist())
    assert (probe.rows[-122:].argmax(1) == probe.labels[-122:]).all()
