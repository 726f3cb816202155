"""Cohort training: independence of replicas, matching of gradients, failures."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from lossforge.data.augmentation import Preparation
from lossforge.data.datasets import load_task
from lossforge.data.splits import Part
from lossforge.losses.compiled import LossSpec
from lossforge.losses.library import CROSS_ENTROPY, loss_spec
from lossforge.models.registry import build_model
from lossforge.spaces.schema import AugmentationSection, RecipeSection, TaskSection
from lossforge.training.cohort import Plan, Replica, TrainingTimeoutError, _Cohort, train_cohort

TASK = TaskSection(data="digits", train=300, validation=300, width=4, label_noise=0.2)


def plan(epochs: int = 2, learning_rate: float = 0.02, deadline: float = float("inf"), **recipe: object) -> Plan:
    data = load_task(TASK, "cpu")
    return Plan(
        train=data.train,
        score=data.validation,
        classes=data.classes,
        recipe=RecipeSection(**recipe),  # type: ignore[arg-type]
        epochs=epochs,
        learning_rate=learning_rate,
        label_noise=TASK.label_noise,
        build=lambda seed: build_model("small_cnn", data.shape, data.classes, TASK.width, seed),
        deadline=deadline,
    )


def replicas(*formulas: str, seed: int = 0) -> list[Replica]:
    return [Replica(LossSpec(formula), seed + index) for index, formula in enumerate(formulas)]


def test_training_learns_and_repeats_to_the_last_bit() -> None:
    first = train_cohort(plan(epochs=4), replicas(CROSS_ENTROPY, CROSS_ENTROPY))
    assert first == train_cohort(plan(epochs=4), replicas(CROSS_ENTROPY, CROSS_ENTROPY))
    assert all(score.accuracy is not None and score.accuracy > 0.5 for score in first)


def test_replicas_with_other_seeds_end_elsewhere() -> None:
    one, two = train_cohort(plan(), replicas(CROSS_ENTROPY, CROSS_ENTROPY))
    assert one.accuracy != two.accuracy


def test_a_replica_that_diverges_changes_nothing_in_its_neighbours() -> None:
    # Both neighbours are other losses than the first, so both cohorts go through one code path.
    good = train_cohort(plan(), replicas(CROSS_ENTROPY, "(y_true - y_pred)**2"))
    beside_zero_gradient = train_cohort(plan(), replicas(CROSS_ENTROPY, "sign(y_pred - y_true)"))
    assert beside_zero_gradient[0] == good[0]
    assert beside_zero_gradient[1].accuracy is None
    assert "zero" in beside_zero_gradient[1].reason


def test_a_loss_that_becomes_nan_is_reported_and_contained(monkeypatch: pytest.MonkeyPatch) -> None:
    good = train_cohort(plan(), replicas(CROSS_ENTROPY, "(y_true - y_pred)**2"))
    loss, calls = _Cohort.loss, 0

    def poisoned(self: _Cohort, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        nonlocal calls
        calls += 1
        factor = torch.tensor([1.0, float("nan") if calls > 4 else 1.0])
        return loss(self, logits, targets) * factor

    monkeypatch.setattr(_Cohort, "loss", poisoned)
    scores = train_cohort(plan(), replicas(CROSS_ENTROPY, "(y_true - y_pred)**2"))
    assert scores[0] == good[0]
    assert scores[1].accuracy is None
    assert "finite" in scores[1].reason


def test_scale_and_offset_of_a_loss_change_nothing() -> None:
    plain = train_cohort(plan(optimizer="sgd", learning_rate=0.1), replicas(CROSS_ENTROPY, CROSS_ENTROPY))
    scaled = "-1000 * y_true * log(y_pred) + 5"
    found = train_cohort(plan(optimizer="sgd", learning_rate=0.1), replicas(scaled, scaled))
    assert [score.accuracy for score in found] == [score.accuracy for score in plain]
    # The curve is in the loss's own units.
    curves = [score.metrics["curve"] for score in (*plain, *found)]
    assert curves[2] == pytest.approx([1000 * value + 50 for value in curves[0]], rel=1e-3)


@pytest.mark.parametrize("name", ["brier", "ngl", "generalized_ce", "bce", "focal_tversky"])
def test_every_loss_starts_with_cross_entropys_gradient_norm(name: str) -> None:
    cohort = _Cohort(plan(), [Replica(loss_spec(name), 3), Replica(loss_spec("cross_entropy"), 3)])
    x, targets = cohort.batch(torch.arange(300).expand(2, 300))
    buffers = {key: value.clone() for key, value in cohort.buffers.items()}
    assert cohort.match_gradients() == ["", ""]
    assert all(torch.equal(cohort.buffers[key], value) for key, value in buffers.items())
    logits = cohort.logits(x, training=True).detach().requires_grad_()
    (gradient,) = torch.autograd.grad(cohort.loss(logits, targets).sum(), logits)
    mine, cross_entropys = gradient.flatten(1).norm(dim=1).tolist()
    assert mine == pytest.approx(cross_entropys, rel=1e-4)


def test_a_loss_of_the_batch_is_taken_of_each_replicas_own_batch() -> None:
    targets = torch.nn.functional.one_hot(torch.arange(40).reshape(2, 20) % 10, 10).float()
    logits = torch.randn(2, 20, 10, generator=torch.Generator().manual_seed(0))
    dice = loss_spec("dice")
    expected = torch.stack([dice.build()(logits[k], targets[k]) for k in (0, 1)])
    for others in (dice, loss_spec("tversky")):
        cohort = _Cohort(plan(), [Replica(dice, 0), Replica(others, 1)])
        found = cohort.loss(logits, targets)
        torch.testing.assert_close(found[0], expected[0])
        assert torch.equal(found[1] == expected[1], torch.tensor(others == dice))
    scores = train_cohort(plan(epochs=4), [Replica(dice, 0), Replica(dice, 1)])
    assert all(score.accuracy is not None and score.accuracy > 0.5 for score in scores)


def test_without_matching_the_scale_stays_one() -> None:
    spaced = plan(match_gradient=False, optimizer="sgd", learning_rate=1e-6)
    cohort = _Cohort(spaced, replicas(CROSS_ENTROPY))
    assert cohort.scale.tolist() == [1.0]


def test_a_cohort_trains_as_each_network_would_alone() -> None:
    together = train_cohort(plan(), replicas(CROSS_ENTROPY, CROSS_ENTROPY, CROSS_ENTROPY))
    alone = [train_cohort(plan(), [replica])[0] for replica in replicas(CROSS_ENTROPY, CROSS_ENTROPY, CROSS_ENTROPY)]
    for one, other in zip(together, alone, strict=True):
        assert one.accuracy is not None
        assert other.accuracy is not None
        # Kernels for K networks round differently; over two epochs that moves a few of 300 images.
        assert abs(one.accuracy - other.accuracy) <= 0.03


def test_the_deadline_stops_a_training() -> None:
    with pytest.raises(TrainingTimeoutError):
        train_cohort(plan(deadline=0.0), replicas(CROSS_ENTROPY))


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd", "muon"])
@pytest.mark.parametrize("schedule", ["one_cycle", "cosine", "constant"])
def test_every_optimizer_and_schedule_trains(optimizer: str, schedule: str) -> None:
    rate = {"sgd": 0.1, "muon": 0.03}.get(optimizer, 0.01)
    (score,) = train_cohort(plan(optimizer=optimizer, schedule=schedule, learning_rate=rate), replicas(CROSS_ENTROPY))
    assert score.accuracy is not None
    assert score.accuracy > 0.2


def test_validation_labels_are_clean() -> None:
    data = load_task(TASK, "cpu")
    cohort = _Cohort(plan(), replicas(CROSS_ENTROPY))
    noisy = cohort.targets[0].argmax(1)
    wrong = (noisy != data.train.y).float().mean().item()
    assert 0.12 < wrong < 0.2  # a fifth is redrawn, and a tenth of those keeps its class
    clean = load_task(TASK.model_copy(update={"label_noise": 0.0}), "cpu")
    assert torch.equal(data.validation.y, clean.validation.y)
    assert torch.equal(data.test.y, clean.test.y)


def test_steps_count_instead_of_epochs() -> None:
    beats: list[int] = []
    counted = replace(plan(epochs=10, steps=11, batch_size=64), on_epoch=lambda: beats.append(1))
    cohort_steps = train_cohort(counted, replicas(CROSS_ENTROPY, CROSS_ENTROPY))
    assert len(beats) == 3  # 300 samples: 4 + 4 + 3 batches of 64
    assert cohort_steps == train_cohort(plan(epochs=5, steps=22, batch_size=64), replicas(CROSS_ENTROPY, CROSS_ENTROPY))
    whole = train_cohort(plan(epochs=3, batch_size=64), replicas(CROSS_ENTROPY, CROSS_ENTROPY))
    assert whole == train_cohort(plan(epochs=10, steps=12, batch_size=64), replicas(CROSS_ENTROPY, CROSS_ENTROPY))


def test_label_smoothing_spreads_every_training_target() -> None:
    plain, smooth = (_Cohort(plan(label_smoothing=share), replicas(CROSS_ENTROPY)).targets for share in (0.0, 0.2))
    torch.testing.assert_close(smooth, 0.8 * plain + 0.02)
    recipe = train_cohort(plan(label_smoothing=0.2), replicas(CROSS_ENTROPY, CROSS_ENTROPY))
    loss = train_cohort(plan(), [Replica(LossSpec(CROSS_ENTROPY, label_smoothing=0.2), seed) for seed in (0, 1)])
    for one, other in zip(recipe, loss, strict=True):
        assert one.accuracy == pytest.approx(other.accuracy, abs=0.05)


def test_a_clip_that_never_acts_changes_nothing_and_a_tight_one_slows() -> None:
    free = train_cohort(plan(optimizer="sgd", learning_rate=0.1), replicas(CROSS_ENTROPY, CROSS_ENTROPY))
    loose = plan(optimizer="sgd", learning_rate=0.1, clip_norm=1e9)
    assert train_cohort(loose, replicas(CROSS_ENTROPY, CROSS_ENTROPY)) == free
    tight = plan(optimizer="sgd", learning_rate=0.1, clip_norm=1e-6)
    for one, other in zip(train_cohort(tight, replicas(CROSS_ENTROPY, CROSS_ENTROPY)), free, strict=True):
        assert one.accuracy is not None
        assert other.accuracy is not None
        assert one.accuracy < other.accuracy - 0.1


def mask_plan(**recipe: object) -> Plan:
    """Images that show their own masks, cut and mirrored anew in every batch."""
    masks = torch.randint(0, 3, (24, 16, 16), generator=torch.Generator().manual_seed(1))
    part = Part((100 * masks[:, None]).byte(), masks)
    return Plan(
        train=part,
        score=part,
        classes=3,
        recipe=RecipeSection(batch_size=8, **recipe),  # type: ignore[arg-type]
        epochs=1,
        learning_rate=0.01,
        label_noise=0.0,
        build=lambda seed: build_model("unet", (1, 16, 16), 3, 1, seed, dense=True),
        prepare=Preparation(AugmentationSection(crop=4, flip=True), None, (1, 16, 16)),
    )


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_masks_move_with_their_images(smoothing: float) -> None:
    cohort = _Cohort(mask_plan(label_smoothing=smoothing), replicas(CROSS_ENTROPY, CROSS_ENTROPY))
    order = cohort.epoch_order()
    for x, targets in cohort.batches(order, 3, 8):
        shown = (x * 255 / 100).round().long().squeeze(2).flatten(1)
        expected = torch.nn.functional.one_hot(shown, 3) * (1 - smoothing) + smoothing / 3
        assert torch.allclose(targets, expected)
    first = cohort.targets_of(order[:, 16:])
    assert not torch.equal(targets, first)
