"""Terms: read and written as calls, and computed as their sources say."""

from __future__ import annotations

import math
import pickle

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from lossforge.errors import LossError
from lossforge.evaluation.space_trainings import loss_key
from lossforge.losses.analysis import gradient_ratio, minimiser, nearest
from lossforge.losses.compiled import LossSpec
from lossforge.losses.library import LIBRARY, loss, loss_spec
from lossforge.losses.term_losses.overlap import SMALLEST_MISS, focused
from lossforge.losses.terms import TERMS, Term, call_parameters, parse_term, term

CLASSES = 4


def images(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(12)
    logits = torch.randn(3, CLASSES, 5, 2, generator=generator, dtype=torch.float64) * 3
    return logits.to(dtype), torch.randint(CLASSES, (3, 5, 2), generator=generator)


# Text


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("bce()", "bce()"),
        (" bce ( ) ", "bce()"),
        ("dice()", "dice(e=1.0)"),
        ("dice(e=1)", "dice(e=1.0)"),
        ("dice(e=1e-06)", "dice(e=1e-06)"),
        ("tversky(b=+.8,\n a=2.e-1)", "tversky(a=0.2, b=0.8, e=1.0)"),
        ("focal_tversky(gamma=2)", "focal_tversky(a=0.3, b=0.7, gamma=2.0, e=1.0)"),
    ],
)
def test_a_call_is_read_and_written_back(text: str, written: str) -> None:
    found = parse_term(text)
    assert str(found) == written
    assert parse_term(written) == found == pickle.loads(pickle.dumps(found))
    assert loss_spec(text) == LossSpec(written)


@pytest.mark.parametrize("value", [0.1 + 0.2, 1e-12, 1 / 3, 999.9999999999999])
def test_numbers_come_back_to_the_last_bit(value: float) -> None:
    made = term("tversky", a=value, b=value)
    assert parse_term(str(made)) == made
    assert dict(made.parameters)["a"] == value


@pytest.mark.parametrize("text", ["", "dice", "-y_true * log(y_pred)", "exp(y_pred)", "foo(e=1)", "("])
def test_other_texts_are_no_terms(text: str) -> None:
    assert parse_term(text) is None
    assert not LossSpec(text).is_term


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("dice(smooth=1)", r"loss 'dice' has no parameter 'smooth' \(it has: e\)"),
        ("bce(e=1)", r"loss 'bce' has no parameter 'e' \(it has: none\)"),
        ("tversky(a=-0.1)", r"loss 'tversky': a must be in \[0, 1000\], not -0.1"),
        ("tversky(a=0, b=0)", "a and b must not both be 0"),
        ("focal_tversky(gamma=0)", r"gamma must be in \[0.1, 10\], not 0"),
        ("dice(e=0)", r"e must be in \[1e-12, 1e\+06\], not 0"),
        ("dice(e=1e999)", "e must be a finite number, not 1e999"),
        ("dice(e=nan)", "'e=nan' does not fit"),
        ("dice(e=1, e=2)", "loss 'dice': e is given twice"),
        ("tversky(0.3, 0.7)", "with its parameters by name, such as tversky.*; '0.3' does not fit"),
        ("dice(e=1,)", "'' does not fit"),
        ("dice(e=__import__('os'))", "does not fit"),
        ("dice(e=1", "a call that stands alone"),
        ("dice(" * 3, "a call that stands alone"),
    ],
)
def test_a_call_that_cannot_be_read_is_told_in_one_sentence(text: str, told: str) -> None:
    for read in (parse_term, loss_spec, lambda text: LossSpec(text).build(), lambda text: LossSpec(text).is_term):
        with pytest.raises(LossError, match=told) as caught:
            read(text)
        assert "\n" not in str(caught.value)


def test_a_call_of_no_loss_is_told_so() -> None:
    with pytest.raises(LossError, match=r"no loss named 'dicee'; did you mean 'dice'\?"):
        loss("dicee(e=1)")


def test_every_named_loss_may_be_written_as_a_call() -> None:
    assert loss_spec("focal(gamma=3)") == loss_spec("focal", gamma=3)
    assert loss_spec("brier()") == loss_spec("mse") == loss_spec("brier")
    with pytest.raises(LossError, match="loss 'focal' has no parameter 'beta'"):
        loss_spec("focal(beta=3)")
    with pytest.raises(LossError, match="a call that stands alone"):
        call_parameters("no call")


@pytest.mark.parametrize("name", TERMS)
def test_name_call_and_description_build_the_same_loss(name: str) -> None:
    logits, target = images()
    spec = loss_spec(name)
    assert spec.is_term
    assert spec.formula == str(term(name))
    assert dict(term(name).parameters) == LIBRARY[name].parameters
    built = [loss(name), loss(spec.formula), spec.build(), term(name).build()]
    assert {criterion.formula for criterion in built} == {spec.formula}
    assert len({float(criterion(logits, target)) for criterion in built}) == 1
    assert spec.build(reduction="sum", label_smoothing=0.2).label_smoothing == 0.2
    assert LossSpec(spec.formula, label_smoothing=0.1).build().label_smoothing == 0.1


def test_a_term_cannot_be_averaged_over_classes_by_its_description() -> None:
    with pytest.raises(LossError, match="loss 'bce' has its own reduction over classes"):
        LossSpec("bce()", class_mean=True).build()


# Values


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_bce_is_torchs(reduction: str, smoothing: float) -> None:
    logits, target = images()
    logits = logits * 40  # to ±300
    y_true = functional.one_hot(target, CLASSES).movedim(-1, 1).double() * (1 - smoothing) + smoothing / CLASSES
    z = logits.clone().requires_grad_()
    found = loss("bce", reduction=reduction, label_smoothing=smoothing)(z, target)
    (gradient,) = torch.autograd.grad(found.sum(), z)
    each = functional.binary_cross_entropy_with_logits(logits, y_true, reduction="none").sum(1)
    expected = {"mean": each.mean(), "sum": each.sum(), "none": each}[reduction]
    torch.testing.assert_close(found, expected)
    share = each.numel() if reduction == "mean" else 1
    torch.testing.assert_close(gradient, (torch.sigmoid(logits) - y_true) / share)


def tversky_by_hand(logits: Tensor, target: Tensor, a: float, b: float, e: float) -> np.ndarray:
    """1 - Tversky index of every class, pixel by pixel."""
    scores = np.exp(logits.numpy())
    p = scores / scores.sum(axis=1, keepdims=True)
    values = []
    for c in range(logits.shape[1]):
        tp = fp = fn = 0.0
        for place, true_class in np.ndenumerate(target.numpy()):
            share = p[(place[0], c, *place[1:])]
            if true_class == c:
                tp, fn = tp + share, fn + 1 - share
            else:
                fp += share
        values.append(1 - (tp + e) / (tp + a * fp + b * fn + e))
    return np.array(values)


@pytest.mark.parametrize(
    ("text", "a", "b", "e", "exponent"),
    [
        ("dice", 0.5, 0.5, 1.0, 1.0),
        ("dice(e=0.001)", 0.5, 0.5, 0.001, 1.0),
        ("tversky", 0.3, 0.7, 1.0, 1.0),
        ("tversky(a=1, b=1, e=2)", 1.0, 1.0, 2.0, 1.0),
        ("tversky(a=0)", 0.0, 0.7, 1.0, 1.0),
        ("focal_tversky", 0.3, 0.7, 1.0, 0.75),
        ("focal_tversky(a=0.5, b=0.5, gamma=0.5, e=0.1)", 0.5, 0.5, 0.1, 2.0),
    ],
)
def test_overlap_is_counted_as_by_hand(text: str, a: float, b: float, e: float, exponent: float) -> None:
    logits, target = images()
    expected = torch.from_numpy(tversky_by_hand(logits, target, a, b, e) ** exponent)
    torch.testing.assert_close(loss(text, reduction="none")(logits, target), expected)
    torch.testing.assert_close(loss(text)(logits, target), expected.mean())


def test_dice_is_one_minus_twice_the_overlap_over_the_sizes() -> None:
    logits, target = images()
    p, y = torch.softmax(logits, 1), functional.one_hot(target, CLASSES).movedim(-1, 1)
    over = (0, 2, 3)
    coefficient = (2 * (p * y).sum(over) + 2) / (p.sum(over) + y.sum(over) + 2)
    torch.testing.assert_close(loss("dice")(logits, target), (1 - coefficient).mean())


def test_a_false_negative_costs_more_than_a_false_positive() -> None:
    # Two samples of class 0 and one of class 1; the second sample is taken for class 1, or the third for class 0.
    target = torch.tensor([0, 0, 1])
    missed, invented = torch.tensor([0, 1, 1]), torch.tensor([0, 0, 0])
    values = [
        loss("tversky", reduction="none")(functional.one_hot(guess, 2) * 100.0, target)[0]
        for guess in (missed, invented)
    ]
    torch.testing.assert_close(torch.stack(values), torch.tensor([1 - 2 / 2.7, 1 - 3 / 3.3]))


# Ends


@pytest.mark.parametrize("name", ["dice", "tversky", "focal_tversky"])
def test_the_best_prediction_costs_nothing_and_the_worst_almost_one(name: str) -> None:
    target = torch.arange(400) % CLASSES
    right = functional.one_hot(target, CLASSES) * 1000.0
    assert loss(name)(right, target) == 0
    assert 0.98 < loss(name)(right.roll(1, 1), target) < 1


@pytest.mark.parametrize("name", TERMS)
@pytest.mark.parametrize("size", [50.0, 1e4, 1e30])
def test_the_gradient_is_finite_however_large_the_logits_and_whatever_class_is_absent(name: str, size: float) -> None:
    target = torch.zeros(6, dtype=torch.long)
    right = functional.one_hot(target, CLASSES) * 2.0 - 1
    for logits in (right * size, -right * size, torch.zeros_like(right), torch.full_like(right, size)):
        for smallest in (name, f"{name}(e=1e-12)") if "e" in TERMS[name].parameters else (name,):
            z = logits.clone().requires_grad_()
            loss(smallest, reduction="sum")(z, target).backward()
            assert z.grad is not None
            assert z.grad.isfinite().all()


@pytest.mark.parametrize("gamma", [0.1, 1.5, 10.0])
def test_focal_tversky_goes_straight_to_zero(gamma: float) -> None:
    miss = torch.tensor([0.0, SMALLEST_MISS / 2, SMALLEST_MISS, 0.25], dtype=torch.float64, requires_grad=True)
    value = focused(miss, 1 / gamma)
    (slope,) = torch.autograd.grad(value.sum(), miss)
    end = SMALLEST_MISS ** (1 / gamma)
    torch.testing.assert_close(
        value.detach(), torch.tensor([0, end / 2, end, 0.25 ** (1 / gamma)], dtype=torch.float64)
    )
    assert slope.isfinite().all()
    assert (slope >= 0).all()


@pytest.mark.parametrize("name", ["dice", "tversky", "focal_tversky"])
@pytest.mark.parametrize("samples", [0, 3])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_without_a_sample_that_counts_a_classs_value_and_the_gradient_are_zero(
    name: str, samples: int, reduction: str
) -> None:
    logits = torch.randn(samples, CLASSES, requires_grad=True)
    value = loss(name, reduction=reduction)(logits, torch.full((samples,), -100))
    assert value.isnan() if reduction == "mean" else not value.detach().any()
    value.sum().backward()
    assert logits.grad is not None
    assert not logits.grad.any()


def test_an_absent_class_costs_what_is_predicted_of_it() -> None:
    logits, target = torch.zeros(6, 2), torch.zeros(6, dtype=torch.long)
    value = loss("tversky", reduction="none")(logits, target)
    assert float(value[1]) == pytest.approx(0.3 * 3 / (0.3 * 3 + 1))


# What is told of a term


@pytest.mark.parametrize("name", TERMS)
def test_what_is_told_of_a_term(name: str) -> None:
    spec = loss_spec(name)
    assert loss_key(spec, keep_scale=False) == loss_key(spec, keep_scale=True) == spec.formula
    for classes in (2, 10):
        assert minimiser(spec, classes) == pytest.approx(1.0, abs=1e-5)
    relative, similarity = nearest(spec)
    assert (relative, similarity) == (name, pytest.approx(1.0))


def test_the_minimiser_is_that_of_the_batch_of_one() -> None:
    smoothed = LossSpec("tversky(a=0.5, b=0.5, e=1.0)", label_smoothing=0.5)
    criterion = smoothed.build()
    p = torch.linspace(0, 1, 10_001, dtype=torch.float64)
    values = [float(criterion(torch.stack([one, 1 - one])[None].log().clamp(min=-700), torch.tensor([0]))) for one in p]
    assert minimiser(smoothed, 2) == pytest.approx(float(p[int(np.argmin(values))]), abs=2e-4)


def test_the_gradient_of_bce_is_known() -> None:
    # All logits zero: a half off in every class, against 1/C and 1 - 1/C.
    expected = math.sqrt(0.25 * 10) / math.sqrt(0.9**2 + 9 * 0.1**2)
    assert gradient_ratio(loss_spec("bce"), 10) == pytest.approx(expected)


def test_dice_is_nearer_to_tversky_than_to_cross_entropy() -> None:
    assert nearest(loss_spec("tversky(a=0.31, b=0.69)"))[0] == "tversky"
    assert nearest(loss_spec("tversky(a=0.5, b=0.5)")) == ("dice", pytest.approx(1.0))


def test_a_term_is_a_plain_value() -> None:
    assert term("dice") == Term("dice", (("e", 1.0),))
    assert len({term("dice"), term("dice", e=1), term("dice", e=2)}) == 2
