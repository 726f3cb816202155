"""Sums of losses: read, written, known by one key, and equal to the sum of their parts in value and gradient."""

from __future__ import annotations

import copy
import pickle
import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from lossforge.errors import LossError, LossforgeError
from lossforge.evaluation.space_trainings import loss_key
from lossforge.losses.compiled import LossSpec
from lossforge.losses.heads import HEADS
from lossforge.losses.library import loss, loss_spec, named_sum
from lossforge.losses.matching import matched_scales
from lossforge.losses.term_losses.weighted_sum import FusionLoss
from lossforge.screening.settings import ScreenSettings
from lossforge.screening.terms import screen_term
from lossforge.training.cohort_loss import CohortLoss

CLASSES = 4
PARTS = ["tversky", "smooth_l1", "focal", "cross_entropy", "brier", "dice", "binary_cross_entropy", "bce", "ngl"]
BEHIND = {"softmax": PARTS, "binary": PARTS, "sigmoid": [name for name in PARTS if name not in ("tversky", "dice")]}
SUMS = [
    "focal + 0.5 * dice(e=1)",
    "tversky + smooth_l1 + focal",
    "2 * (dice - focal_tversky / 3) + cross_entropy",
    "bce + ngl + dice",
]


def batch(head: str = "softmax", *lanes: int, samples: int = 12) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(5)
    outputs, classes = (1, 2) if head == "binary" else (CLASSES, CLASSES)
    logits = 3 * torch.randn(*lanes, samples, outputs, generator=generator, dtype=torch.float64)
    return logits, torch.randint(classes, (*lanes, samples), generator=generator)


def value_and_gradient(criterion: torch.nn.Module, logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    z = logits.clone().requires_grad_()
    value = criterion(z, target)
    return value.detach(), torch.autograd.grad(value.sum(), z)[0]


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("focal + 0.5 * dice(e=1)", "focal + 0.5 * dice(e=1.0)"),
        (" dice*2-focal( gamma = 3 )/4 ", "2 * dice - 0.25 * focal(gamma=3.0)"),
        ("-(dice - 2*(ce + dice))", "dice + 2 * ce"),
        ("dice + y_true * y_pred - 3 * (y_pred + 1)", "dice + y_true * y_pred - 3 * (y_pred + 1)"),
        ("dice + half(y_pred) where half(x) = x / 2", "dice + half(y_pred) where half(x) = x / 2"),
    ],
)
def test_a_sum_is_read_and_written_back(text: str, written: str) -> None:
    found = named_sum(text)
    assert str(found) == written
    assert str(named_sum(written)) == written
    assert pickle.loads(pickle.dumps(found)) == found


def test_a_description_reads_itself() -> None:
    for text in SUMS:
        spec = loss_spec(text)
        assert spec.is_term
        assert loss_spec(spec.formula) == spec


def test_a_sum_of_elementwise_losses_is_one_formula() -> None:
    assert loss_spec("cross_entropy + mse") == LossSpec("-y_true * log(y_pred) + (y_true - y_pred)**2")
    assert loss_spec("ngl + baikal").class_mean
    assert loss_spec("ngl + focal").formula.endswith("/ n_classes + -y_true * (1 - y_pred)**2 * log(y_pred)")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("exp(dice)", "'dice' stands in another place"),
        ("focal * dice", "added to others and multiplied by a number"),
        ("2 / dice", "added to others and multiplied by a number"),
        ("y_pred * dice", "added to others and multiplied by a number"),
        ("focal +", "'focal' stands in another place"),
        ("dice / 0", "cannot be divided by 0"),
        ("dice - dice", "nothing is left"),
        ("0 * dice", "nothing is left"),
        ("focal + dice(smooth=1)", "no parameter 'smooth'"),
        ("focal + dice(1)", "'1' does not fit"),
        ("focal + dicee(e=1)", "unknown name 'dicee'"),
        ("(" * 200 + "dice" + ")" * 200, "nested deeper"),
    ],
)
def test_what_is_no_sum_is_told_in_one_sentence(text: str, told: str) -> None:
    with pytest.raises(LossforgeError, match=told) as caught:
        loss_spec(text)
    assert "\n" not in str(caught.value)


def test_losses_made_for_different_heads_are_not_added() -> None:
    assert loss("asymmetric + focal").head == "sigmoid"
    with pytest.raises(LossError, match="cannot have the head 'softmax'"):
        loss_spec("asymmetric + focal", head="softmax")


@pytest.mark.parametrize("head", HEADS)
@settings(deadline=None, max_examples=30)
@given(data=st.data())
def test_value_and_gradient_are_the_sums_of_the_parts(head: str, data: st.DataObject) -> None:
    weights = st.floats(-3, 3).filter(lambda weight: abs(weight) > 1e-3)
    names = st.lists(st.sampled_from(BEHIND[head]), min_size=1, max_size=4, unique=True)
    parts = [(data.draw(weights), name) for name in data.draw(names)]
    arguments = data.draw(st.sampled_from([{}, {"reduction": "sum"}, {"label_smoothing": 0.2}, {"ignore_index": 1}]))
    logits, target = batch(head)
    whole = loss(" + ".join(f"{weight!r} * {name}" for weight, name in parts), head=head, **arguments)  # type: ignore[arg-type]
    found = value_and_gradient(whole, logits, target)
    each = [value_and_gradient(loss(name, head=head, **arguments), logits, target) for _, name in parts]  # type: ignore[arg-type]
    for place in range(2):
        expected = sum((weight * one[place] for (weight, _), one in zip(parts, each, strict=True)), torch.zeros(()))
        torch.testing.assert_close(found[place], expected, rtol=1e-9, atol=1e-9, check_dtype=False)


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_a_cohort_computes_what_each_alone_does(head: str, smoothing: float) -> None:
    texts = [
        "focal + 0.5 * dice",
        "tversky + dice + smooth_l1",
        "cross_entropy",
        "2 * focal_tversky(gamma=2)",
        "bce + bi_tempered",
    ]
    if head == "sigmoid":
        texts = ["focal + bce", "cross_entropy", "2 * bce"]
    specs = [loss_spec(text, head=head) for text in texts]
    logits, target = batch(head, len(specs))
    found = value_and_gradient(lambda z, y: CohortLoss(specs, smoothing, HEADS[head])(z, y), logits, target)  # type: ignore[arg-type]
    each = [
        value_and_gradient(spec.build(head=head, label_smoothing=smoothing), logits[k], target[k])
        for k, spec in enumerate(specs)
    ]
    torch.testing.assert_close(found[0], torch.stack([value for value, _ in each]))
    torch.testing.assert_close(found[1], torch.stack([gradient for _, gradient in each]))


def test_what_fails_in_one_lane_stays_there() -> None:
    specs = [loss_spec(text) for text in ("dice + focal", "tversky", "dice")]
    logits, target = batch("softmax", 3)
    logits[1, 0, 0] = torch.nan
    found = CohortLoss(specs, 0.0)(logits, target)
    assert found.isfinite().tolist() == [True, False, True]


DEGENERATE = {
    "absent classes": (torch.randn(8, CLASSES), torch.zeros(8, dtype=torch.int64)),
    "a batch of one": (torch.randn(1, CLASSES), torch.tensor([2])),
    "certain and wrong": (torch.eye(CLASSES) * 2e3, (torch.arange(CLASSES) + 1) % CLASSES),
    "an empty mask": (torch.randn(2, CLASSES, 5, 5), torch.zeros(2, 5, 5, dtype=torch.int64)),
    "all positive": (torch.randn(2, CLASSES, 5, 5), torch.ones(2, 5, 5, dtype=torch.int64)),
}


@pytest.mark.parametrize("text", SUMS)
@pytest.mark.parametrize("case", DEGENERATE)
def test_sums_are_finite_on_degenerate_batches(case: str, text: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for dtype in (torch.float32, torch.bfloat16):
            value, gradient = value_and_gradient(loss(text), DEGENERATE[case][0].to(dtype), DEGENERATE[case][1])
            assert value.isfinite()
            assert gradient.isfinite().all()


def test_equal_sums_have_one_key_and_others_not() -> None:
    def key(text: str, *, keep_scale: bool = False) -> str:
        return loss_key(loss_spec(text), keep_scale=keep_scale)

    assert key("focal + 0.5 * dice") == key("dice + 2 * focal") != key("focal + dice")
    assert key("dice + smooth_l1(beta=1)") == key("2 * dice + mse") != key("dice + mse")
    assert key("focal + 0.5 * dice", keep_scale=True) != key("dice + 2 * focal", keep_scale=True)
    assert key("2 * dice") == key("dice") == "dice(e=1.0)" != key("2 * dice", keep_scale=True)
    assert key("cross_entropy + 0.5 * cross_entropy") == key("cross_entropy")


def test_a_sum_is_matched_as_any_loss() -> None:
    (scale,) = matched_scales([loss_spec("focal + 0.5 * dice")], CLASSES)
    assert scale is not None
    criterion = loss("focal + 0.5 * dice", match=CLASSES)
    assert isinstance(criterion, FusionLoss)
    assert criterion.scale == scale
    logits, target = batch()
    torch.testing.assert_close(criterion(logits, target), scale * loss("focal + 0.5 * dice")(logits, target))


def test_the_parts_have_what_the_sum_is_told() -> None:
    logits, target = batch()
    criterion = loss("ldam + dice", class_counts=[5, 4, 2, 1])
    weighted = loss("focal + dice", weight=torch.tensor([1.0, 2.0, 3.0, 4.0]))
    assert set(weighted.state_dict()) == {"weight"}
    expected = loss("ldam", class_counts=[5, 4, 2, 1])(logits, target) + loss("dice")(logits, target)
    for same in (criterion, copy.deepcopy(criterion), pickle.loads(pickle.dumps(criterion))):
        torch.testing.assert_close(same(logits, target), expected)
    weighted.ignore_index = int(target[0])
    told = loss("focal + dice", weight=weighted.weight, ignore_index=int(target[0]))
    assert weighted(logits, target) == told(logits, target)
    with pytest.raises(ValueError, match="no value for each sample"):
        loss("focal + dice", reduction="none")


@pytest.mark.parametrize("head", HEADS)
def test_sums_pass_the_screens_and_their_negatives_do_not(head: str) -> None:
    text = "focal + dice" if head != "sigmoid" else "focal + bce"
    settings = ScreenSettings(head=head, classes=(2,) if head == "binary" else (CLASSES,))
    assert screen_term(loss_spec(f"{text} + bce", head=head), settings) == (None, "")
    rejected, reason = screen_term(loss_spec(f"-1 * ({text} + bce)", head=head), settings)
    assert rejected is not None
    assert reason
