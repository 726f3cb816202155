"""Cohort training: independence of replicas, matching of gradients, failures."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from lossforge.data.augmentation import Preparation
from lossforge.data.datasets import load_task
from lossforge.data.splits import Part
from lossforge.losses.compiled import LossSpec
from lossforge.losses.drop_in import cross_entropy_norm, start_probe
from lossforge.losses.library import CROSS_ENTROPY, loss_spec
from lossforge.models.registry import build_model
from lossforge.spaces.schema import AugmentationSection, RecipeSection, TaskSection
from lossforge.training.cohort import Cohort
from lossforge.training.cohort_loss import CohortLoss
from lossforge.training.early_stop import RunningAccuracy
from lossforge.training.lanes import LaneState
from lossforge.training.loss_scaling import unscaled
from lossforge.training.plan import Plan, Replica, TrainingTimeoutError
from lossforge.training.schedules import plateau_rates
from lossforge.training.stacked import Flat
from lossforge.training.train import train_cohort

TASK = TaskSection(data="digits", train=300, validation=300, width=4, label_noise=0.2)


def plan(epochs: int = 2, deadline: float = float("inf"), **recipe: object) -> Plan:
    data = load_task(TASK, "cpu")
    return Plan(
        train=data.train,
        score=data.validation,
        classes=data.classes,
        recipe=RecipeSection(**recipe),  # type: ignore[arg-type]
        epochs=epochs,
        label_noise=TASK.label_noise,
        build=lambda seed: build_model("small_cnn", data.shape, data.classes, TASK.width, seed),
        deadline=deadline,
    )


def replicas(*formulas: str, seed: int = 0, rate: float = 0.02, floor: float = 0.0) -> list[Replica]:
    return [Replica(LossSpec(formula), seed + index, rate, floor) for index, formula in enumerate(formulas)]


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


def poisoned_after(monkeypatch: pytest.MonkeyPatch, calls: int, lane: int) -> None:
    """From the call of the loss on, a lane gives NaN."""
    loss, called = Cohort.loss, 0

    def poisoned(
        self: Cohort, logits: torch.Tensor, targets: torch.Tensor, parts: torch.Tensor | None = None
    ) -> torch.Tensor:
        nonlocal called
        called += 1
        factor = torch.ones(len(logits))
        factor[lane] = float("nan") if called >= calls else 1.0
        return loss(self, logits, targets, parts) * factor

    monkeypatch.setattr(Cohort, "loss", poisoned)


@pytest.mark.parametrize("optimizer", ["adam", "sgd", "muon"])
def test_a_loss_that_becomes_nan_in_step_3_changes_no_bit_of_its_neighbours(
    monkeypatch: pytest.MonkeyPatch, optimizer: str
) -> None:
    formulas = (CROSS_ENTROPY, "(y_true - y_pred)**2", "-y_true * y_pred")
    without = train_cohort(plan(optimizer=optimizer), replicas(*formulas), left_out=[1])
    poisoned_after(monkeypatch, 3, lane=1)
    scores = train_cohort(plan(optimizer=optimizer), replicas(*formulas))
    assert [scores[0], scores[2]] == without
    assert scores[1].accuracy is None
    assert "finite" in scores[1].reason


def test_lanes_that_are_filled_up_have_no_score_and_change_none() -> None:
    five = replicas(CROSS_ENTROPY, "(y_true - y_pred)**2", "-y_true * y_pred", CROSS_ENTROPY, CROSS_ENTROPY)
    whole = train_cohort(plan(), five)
    assert train_cohort(plan(), five[:3], lanes=5) == whole[:3]
    assert train_cohort(plan(), five, left_out=[0, 3, 4]) == whole[1:3]


def test_each_replica_has_its_own_learning_rate() -> None:
    slow, fast = replicas(CROSS_ENTROPY, rate=1e-6)[0], replicas(CROSS_ENTROPY, rate=0.02)[0]
    one, other = train_cohort(plan(epochs=4), [slow, fast])
    assert one.accuracy is not None
    assert other.accuracy is not None
    assert one.accuracy < 0.3 < 0.5 < other.accuracy


HOPELESS = "y_true * log(y_pred)"  # climbs


def test_what_is_far_below_its_floor_is_stopped_early_and_says_so() -> None:
    good, hopeless = train_cohort(plan(epochs=6), replicas(CROSS_ENTROPY, HOPELESS, floor=0.2))
    assert good.accuracy is not None
    assert good.metrics["running_accuracy"] > 0.2
    assert hopeless.stopped
    assert hopeless.accuracy is None
    assert "stopped at step 7: accuracy 0.0" in hopeless.reason
    assert hopeless.reason.endswith("on training batches, below 0.200")
    # Without a floor, and in a recipe without early stops, it goes to its bitter end.
    for never in (
        train_cohort(plan(epochs=6), replicas(CROSS_ENTROPY, HOPELESS)),
        train_cohort(plan(epochs=6, stop_at=0.0), replicas(CROSS_ENTROPY, HOPELESS, floor=0.9)),
    ):
        assert never[1].accuracy is not None
        assert never[0].accuracy == good.accuracy


def test_a_floor_that_few_samples_miss_by_chance_stops_nobody() -> None:
    running, correct = RunningAccuracy(4), torch.zeros(1)
    logits = torch.nn.functional.one_hot(torch.zeros(1, 20, dtype=torch.long), 10).float()
    targets = torch.tensor([[0] * 4 + [1] * 16])
    running.see(1, torch.zeros_like(logits), targets, 20, correct)  # before its half: not counted
    running.see(2, logits, targets, 20, correct)
    assert running.values(correct).tolist() == pytest.approx([0.2])
    assert running.below(torch.tensor([0.35]), correct).tolist() == [False]
    assert running.below(torch.tensor([0.45]), correct).tolist() == [True]
    # As pixels of one image, the same numbers prove nothing.
    masks, correct = RunningAccuracy(4), torch.zeros(1)
    masks.see(2, logits, targets, 1, correct)
    assert masks.below(torch.tensor([0.45]), correct).tolist() == [False]
    assert plan(epochs=4, stop_at=0.3).decision_step == 5
    assert plan(epochs=3, stop_at=0.3).decision_step == 0  # too soon to say


def test_survivors_of_several_heats_are_put_together_and_end_as_they_would_have() -> None:
    losses = [CROSS_ENTROPY, HOPELESS, "(y_true - y_pred)**2", HOPELESS, "-y_true * y_pred", HOPELESS]
    wanted = replicas(*losses, floor=0.15)
    heats = train_cohort(plan(epochs=6, clip_norm=5.0), wanted, lanes=2)
    alone = [train_cohort(plan(epochs=6, clip_norm=5.0), [one], lanes=2)[0] for one in wanted]
    assert [score.stopped for score in heats] == [False, True] * 3
    for one, other in zip(heats, alone, strict=True):
        assert one.stopped == other.stopped
        if not one.stopped:
            assert one.accuracy == pytest.approx(other.accuracy, abs=0.02)
            assert one.metrics["curve"] == pytest.approx(other.metrics["curve"], rel=1e-2)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_precision_trains_as_float32_does(precision: str) -> None:
    losses = (CROSS_ENTROPY, "(y_true - y_pred)**2")
    halves = train_cohort(plan(epochs=4, precision=precision), replicas(*losses))
    wholes = train_cohort(plan(epochs=4), replicas(*losses))
    assert halves != wholes
    for half, whole in zip(halves, wholes, strict=True):
        assert half.accuracy == pytest.approx(whole.accuracy, abs=0.06)


def test_gradients_that_overflow_float16_cost_a_replica_a_step_and_no_neighbour() -> None:
    lanes = LaneState.begin(Flat.of([torch.zeros(2, 3), torch.zeros(2, 2, 2)]), torch.ones(2), 0)
    layout = lanes.weights.layout
    assert lanes.overflow_scale.tolist() == [8192.0, 8192.0]
    gradient = layout.spread(torch.tensor([8192.0, 8192.0]))
    gradient[layout.lanes * 3 - 1] = float("inf")  # the last number of the second replica's first parameter
    found, kept = unscaled(lanes, gradient)
    assert kept.tolist() == [False, True]
    assert lanes.overflow_scale.tolist() == [8192.0, 4096.0]
    assert [row.tolist() for row in layout.rows(found)] == [[[1.0] * 3, [0.0] * 3], [[1.0] * 4, [0.0] * 4]]
    for _ in range(500):
        unscaled(lanes, torch.ones_like(gradient))
    assert lanes.overflow_scale.tolist() == [16384.0, 8192.0]


def test_scale_and_offset_of_a_loss_change_nothing() -> None:
    plain = train_cohort(plan(optimizer="sgd"), replicas(CROSS_ENTROPY, CROSS_ENTROPY, rate=0.1))
    scaled = "-1000 * y_true * log(y_pred) + 5"
    found = train_cohort(plan(optimizer="sgd"), replicas(scaled, scaled, rate=0.1))
    assert [score.accuracy for score in found] == [score.accuracy for score in plain]
    # The curve is in the loss's own units.
    curves = [score.metrics["curve"] for score in (*plain, *found)]
    assert curves[2] == pytest.approx([1000 * value + 50 for value in curves[0]], rel=1e-3)


@pytest.mark.parametrize("name", ["brier", "ngl", "generalized_ce", "bce", "focal_tversky"])
def test_every_loss_has_one_scale_whatever_seed_and_samples(name: str) -> None:
    cohort = Cohort(plan(), [Replica(loss_spec(name), seed, 0.02) for seed in (3, 4)])
    assert cohort.match_gradients() == ["", ""]
    logits, targets = start_probe(10)
    z = logits.float().expand(2, *logits.shape).clone().requires_grad_()
    (gradient,) = torch.autograd.grad(cohort.loss(z, targets.expand(2, -1)).sum(), z)
    assert gradient.flatten(1).norm(dim=1).tolist() == pytest.approx([cross_entropy_norm(10)] * 2, rel=1e-4)
    assert cohort.lanes.scale.tolist() == pytest.approx([loss_spec(name).build().match_classes(10).scale] * 2)


def test_a_loss_of_the_batch_is_taken_of_each_replicas_own_batch() -> None:
    targets = torch.arange(40).reshape(2, 20) % 10
    logits = torch.randn(2, 20, 10, generator=torch.Generator().manual_seed(0))
    dice = loss_spec("dice")
    expected = torch.stack([dice.build()(logits[k], targets[k]) for k in (0, 1)])
    for others in (dice, loss_spec("tversky")):
        cohort = Cohort(plan(), [Replica(dice, 0, 0.02), Replica(others, 1, 0.02)])
        found = cohort.loss(logits, targets)
        torch.testing.assert_close(found[0], expected[0])
        assert torch.equal(found[1] == expected[1], torch.tensor(others == dice))
    scores = train_cohort(plan(epochs=4), [Replica(dice, 0, 0.02), Replica(dice, 1, 0.02)])
    assert all(score.accuracy is not None and score.accuracy > 0.5 for score in scores)


def test_without_matching_the_scale_stays_one() -> None:
    cohort = Cohort(plan(match_gradient=False), replicas(CROSS_ENTROPY))
    assert cohort.lanes.scale.tolist() == [1.0]


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
@pytest.mark.parametrize("schedule", ["one_cycle", "cosine", "constant", "plateau"])
def test_every_optimizer_and_schedule_trains(optimizer: str, schedule: str) -> None:
    rate = {"sgd": 0.1, "muon": 0.03}.get(optimizer, 0.01)
    (score,) = train_cohort(plan(optimizer=optimizer, schedule=schedule), replicas(CROSS_ENTROPY, rate=rate))
    assert score.accuracy is not None
    assert score.accuracy > 0.2


@pytest.mark.parametrize("heats", [1, 2])
def test_on_a_plateau_each_network_lowers_its_own_rate(heats: int, monkeypatch: pytest.MonkeyPatch) -> None:
    cohorts: list[Cohort] = []
    setting_up = Cohort.__init__

    def kept(self: Cohort, *given: Any, **keys: Any) -> None:
        setting_up(self, *given, **keys)
        cohorts.append(self)

    monkeypatch.setattr(Cohort, "__init__", kept)
    asked = plan(epochs=8, schedule="plateau", plateau_epochs=2, plateau_floor=0.0, stop_at=0.3)
    wanted = [*replicas(CROSS_ENTROPY, rate=0.02), *replicas(CROSS_ENTROPY, rate=1e-7)]
    doomed = replicas(CROSS_ENTROPY, CROSS_ENTROPY, rate=1e-7, floor=1.0) if heats == 2 else []
    scores = train_cohort(asked, [*wanted, *doomed], lanes=2)
    assert [score.accuracy is not None for score in scores] == [True, True, False, False][: len(scores)]
    last = next(one for one in cohorts if len(one.lanes.curve) == 8)
    peaks = torch.tensor([0.02, 1e-7])
    assert torch.equal(last.lanes.rates, plateau_rates(peaks, last.lanes.curve, asked.recipe))
    assert float(last.lanes.rates[0]) == pytest.approx(0.02)
    assert float(last.lanes.rates[1]) < 1e-7


def test_validation_labels_are_clean() -> None:
    data = load_task(TASK, "cpu")
    cohort = Cohort(plan(), replicas(CROSS_ENTROPY))
    noisy = cohort.samples.labels[0]
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
    smooth = Cohort(plan(label_smoothing=0.2), replicas(CROSS_ENTROPY, "dice(e=1.0)"))
    own = [LossSpec(formula, label_smoothing=0.2) for formula in (CROSS_ENTROPY, "dice(e=1.0)")]
    both = [LossSpec(formula, label_smoothing=0.5) for formula in (CROSS_ENTROPY, "dice(e=1.0)")]
    logits, targets = torch.randn(2, 20, 10), torch.randint(10, (2, 20))
    torch.testing.assert_close(smooth.loss(logits, targets), CohortLoss(own, 0.0)(logits, targets))
    torch.testing.assert_close(CohortLoss(own, 0.375)(logits, targets), CohortLoss(both, 0.0)(logits, targets))


def test_a_clip_that_never_acts_changes_nothing_and_a_tight_one_slows() -> None:
    free = train_cohort(plan(optimizer="sgd"), replicas(CROSS_ENTROPY, CROSS_ENTROPY, rate=0.1))
    loose = plan(optimizer="sgd", clip_norm=1e9)
    assert train_cohort(loose, replicas(CROSS_ENTROPY, CROSS_ENTROPY, rate=0.1)) == free
    tight = plan(optimizer="sgd", clip_norm=1e-6)
    for one, other in zip(train_cohort(tight, replicas(CROSS_ENTROPY, CROSS_ENTROPY, rate=0.1)), free, strict=True):
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
        label_noise=0.0,
        build=lambda seed: build_model("unet", (1, 16, 16), 3, 1, seed, dense=True),
        prepare=Preparation(AugmentationSection(crop=4, flip=True), None, (1, 16, 16)),
    )


def test_masks_move_with_their_images() -> None:
    cohort = Cohort(mask_plan(), replicas(CROSS_ENTROPY, CROSS_ENTROPY))
    cohort.samples.new_epoch()
    for x, targets in cohort.batches(0, 3):
        shown = (x * 255 / 100).round().long().squeeze(2).flatten(1)
        assert torch.equal(targets, shown)
    order = torch.stack([stream.indices for stream in cohort.samples.streams if stream.indices is not None])
    first = cohort.samples.targets(order[:, 16:]).flatten(1)
    assert not torch.equal(targets, first)
