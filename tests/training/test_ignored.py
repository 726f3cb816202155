"""Pixels that do not count: out of every loss, behind every head, out of the metrics and the shares of the classes."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

import numpy
import pytest
import torch
from tests.helpers.cohorts import request_of
from torch import Tensor

from lossforge.data.augmentation import Preparation
from lossforge.data.samples import IGNORED
from lossforge.errors import DataError
from lossforge.evaluation.evaluate import evaluate, make_plan
from lossforge.evaluation.feasibility import check_fit
from lossforge.losses.compiled import LossSpec
from lossforge.losses.heads import HEADS
from lossforge.losses.library import loss_spec
from lossforge.spaces.schema import AugmentationSection, RecipeSection, TaskSection
from lossforge.training.cohort_loss import CohortLoss
from lossforge.training.early_stop import RunningAccuracy
from lossforge.training.metrics import segmentation_metrics
from lossforge.training.samples import Samples, Stream

PIXELS = 40
TERMS = ["dice", "tversky", "focal_tversky", "bi_tempered", "logit_norm"]


def losses_behind(head: str) -> dict[str, list[LossSpec]]:
    own = HEADS[head].cross_entropy_formula
    plain = [LossSpec(own)] * 3
    formulas = [LossSpec("(y_true - y_pred)**2"), LossSpec(own, 0.1), LossSpec("-y_true * log(y_pred) * n_classes")]
    names = ["dice", "tversky", "bce"] if head != "softmax" else TERMS
    terms = [loss_spec(name, head=head, table=False) for name in names]
    return {
        "cross_entropy": plain,
        "smoothed": [LossSpec(own, 0.1)] * 2,
        "formulas": formulas,
        "mixed": formulas + terms,
    }


def example(head: str, lanes: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    classes = 2 if head == "binary" else 3
    logits = torch.randn(lanes, PIXELS, HEADS[head].outputs(classes), generator=generator, requires_grad=True)
    targets = torch.randint(classes, (lanes, PIXELS), generator=generator)
    targets[:, :7] = IGNORED
    return logits, targets


CASES = [(head, kind) for head in HEADS for kind in ("cross_entropy", "smoothed", "formulas", "mixed")]


@pytest.mark.parametrize(("head", "kind"), CASES)
def test_a_loss_is_that_of_the_pixels_that_count_and_its_gradient_too(head: str, kind: str) -> None:
    specs = losses_behind(head)[kind]
    logits, targets = example(head, len(specs))
    found = CohortLoss(specs, 0.0, HEADS[head], ignoring=True)(logits, targets)
    counted = logits.detach()[:, 7:].contiguous().requires_grad_()
    wanted = CohortLoss(specs, 0.0, HEADS[head])(counted, targets[:, 7:])
    assert torch.allclose(found, wanted, rtol=1e-5, atol=1e-7)
    (gradient,) = torch.autograd.grad(found.sum(), logits)
    (expected,) = torch.autograd.grad(wanted.sum(), counted)
    assert (gradient[:, :7] == 0).all()
    assert torch.allclose(gradient[:, 7:], expected, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(("head", "kind"), CASES)
def test_where_nothing_counts_the_loss_is_0_and_nobody_warns(head: str, kind: str) -> None:
    specs = losses_behind(head)[kind]
    logits, targets = example(head, len(specs))
    targets[-1] = IGNORED
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = CohortLoss(specs, 0.0, HEADS[head], ignoring=True)(logits, targets)
        (gradient,) = torch.autograd.grad(found.sum(), logits)
    assert found[-1] == 0
    assert found.isfinite().all()
    assert (gradient[-1] == 0).all()
    assert gradient.isfinite().all()
    assert (gradient[0] != 0).any()


def test_the_running_accuracy_is_that_of_the_pixels_that_count() -> None:
    running, correct = RunningAccuracy(4, ignoring=True), torch.zeros(2)
    logits = torch.tensor([[3.0, 0.0]]).expand(2, 8, 2)
    targets = torch.tensor([[0, 0, 1, 1, 0, 0, 1, 1], [0, 1, *[IGNORED] * 6]])
    for step in range(4):
        running.see(step, logits, targets, 1, correct)
    assert running.values(correct).tolist() == [0.5, 0.5]


@pytest.fixture(scope="module")
def masks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bright square of class 9 on noise of class 4, in a frame of 2 pixels that does not count; and as if it did."""
    rng = numpy.random.default_rng(0)
    x = rng.integers(0, 120, (36, 16, 16), dtype=numpy.uint8)
    m = numpy.full_like(x, 4)
    for image, mask in zip(x, m, strict=True):
        top, left = rng.integers(2, 10, 2)
        image[top : top + 4, left : left + 4] += 120
        mask[top : top + 4, left : left + 4] = 9
    frame = numpy.ones((16, 16), dtype=bool)
    frame[2:-2, 2:-2] = False
    m[:, frame] = 255
    m[3] = 255
    folder = tmp_path_factory.mktemp("ignored")
    numpy.savez(folder / "a.npz", x_train=x[:26], m_train=m[:26], x_test=x[26:], m_test=m[26:])
    numpy.savez(
        folder / "blank.npz", x_train=x[:26], m_train=m[:26], x_test=x[26:], m_test=numpy.full_like(m[26:], 255)
    )
    return folder


def task_of(masks: Path, file: str = "a.npz", **keys: object) -> TaskSection:
    given = {"model": "unet", "width": 2, "train": 16, "validation": 10, "ignore": 255} | keys
    return TaskSection(data=f"masks:{masks / file}", **given)  # type: ignore[arg-type]


@pytest.mark.parametrize("backend", ["rule", "vmap", "loop"])
def test_a_training_on_masks_scores_what_counts_alone(masks: Path, backend: str) -> None:
    task = task_of(masks, augmentation={"flip": True, "crop": 2, "rotation": 15.0})
    recipe = RecipeSection(batch_size=8, backend=backend)  # type: ignore[arg-type]
    for loss in ("cross_entropy", "dice"):
        formula = loss_spec(loss).formula
        request = request_of(task, recipe, learning_rate=0.03, epochs=20, seeds=(1, 2), formula=formula)
        result = evaluate(request, "cpu")
        assert min(value or 0 for value in result.accuracies) > 0.7
        assert {len(metrics["class_iou"]) for metrics in result.metrics} == {2}


def test_a_batch_of_which_nothing_counts_fails_no_training(masks: Path) -> None:
    task = task_of(masks)
    plan = make_plan(request_of(task, RecipeSection(batch_size=8)), "cpu")
    from lossforge.training.plan import Replica
    from lossforge.training.train import train_cohort

    blank = replace(plan.train, y=torch.full_like(plan.train.y, IGNORED))
    specs = [loss_spec(name) for name in ("cross_entropy", "dice", "gce")]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scores = train_cohort(replace(plan, train=blank, epochs=1), [Replica(spec, 1, 0.01) for spec in specs])
    assert all(score.accuracy is not None for score in scores)
    assert all(score.metrics["curve"] == [0.0] for score in scores)


def test_metrics_and_shares_are_of_the_pixels_that_count(masks: Path) -> None:
    plan = make_plan(request_of(task_of(masks), RecipeSection(batch_size=8)), "cpu")
    assert plan.train.counts(2).sum() == (plan.train.y >= 0).sum() < plan.train.y.numel()
    samples = Samples(plan, [Stream.begin(plan, 1)])
    counts = plan.train.counts(2)
    assert torch.allclose(samples.class_shares()[0], counts / counts.sum())
    # A prediction of class 0 everywhere: its IoU is its share of what counts.
    y = plan.score.y.flatten()
    logits = torch.tensor([1.0, 0.0]).expand(len(y), 2)
    share = float((y == 0).sum() / (y >= 0).sum())
    found = segmentation_metrics(logits[y >= 0], y[y >= 0])
    assert found["class_iou"] == pytest.approx([share, 0.0], abs=1e-6)


def test_a_part_of_which_nothing_counts_is_refused(masks: Path) -> None:
    check_fit(task_of(masks))
    with pytest.raises(DataError, match=r"task\.ignore: no pixel of the test part .* counts"):
        check_fit(task_of(masks, "blank.npz"))


@pytest.mark.parametrize("keys", [{"crop": 3}, {"rotation": 40.0}, {"crop": 3, "rotation": 40.0, "flip": True}])
def test_what_comes_in_from_beyond_an_edge_does_not_count(keys: dict[str, float]) -> None:
    spec, shape = AugmentationSection(**keys), (1, 12, 16)  # type: ignore[arg-type]
    x = torch.ones(2, 6, *shape)
    masks = torch.ones(2, 6, 12, 16, dtype=torch.long)
    ignoring, plain = (Preparation(spec, None, shape, ignoring=on) for on in (True, False))
    moved, found = ignoring.with_masks(x, masks, ignoring.generators([1, 2]))
    same, mirrored = plain.with_masks(x, masks, plain.generators([1, 2]))
    assert torch.equal(moved, same)
    assert (mirrored == 1).all()
    assert set(found.unique().tolist()) == {1, IGNORED}
    # What is black where nothing is mirrored has come in from beyond.
    black, _ = plain._prepared(x, None, plain.generators([1, 2]))
    assert (found[black[:, :, 0] == 0] == IGNORED).all()
    assert (found[black[:, :, 0] == 1] == 1).all()
