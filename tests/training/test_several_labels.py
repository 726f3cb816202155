"""Targets of several labels, and of one logit, on their way through a cohort."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy
import pytest
import torch

from lossforge.data.datasets import load_task
from lossforge.evaluation.evaluate import make_plan
from lossforge.evaluation.records import Setup, TrainingRequest
from lossforge.losses.compiled import LossSpec
from lossforge.losses.heads import HEADS
from lossforge.spaces.schema import RecipeSection, TaskSection
from lossforge.training.cohort import Cohort
from lossforge.training.cohort_loss import CohortLoss
from lossforge.training.early_stop import RunningAccuracy
from lossforge.training.plan import Plan, Replica
from lossforge.training.train import train_cohort

SIGMOID = HEADS["sigmoid"].cross_entropy_formula


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = numpy.random.default_rng(0)
    x = rng.normal(size=(400, 6)).astype(numpy.float32)
    path = tmp_path_factory.mktemp("data") / "many.npz"
    numpy.savez(path, x=x, y=(x @ rng.normal(size=(6, 3)) > [-1.0, 0.5, 2.0]).astype(int))
    return path


def plan_of(data: Path, label_noise: float = 0.0) -> Plan:
    task = TaskSection(data=f"npz:{data}", head="sigmoid", model="mlp", width=1, label_noise=label_noise)
    setup = Setup(task, RecipeSection(epochs=1, batch_size=20, cohort=4), 1, "validation", 60.0)
    return make_plan(TrainingRequest(setup, ()), "cpu")


def test_every_lane_is_given_its_seeds_rows_of_labels(data: Path) -> None:
    plan = plan_of(data, label_noise=0.5)
    cohort = Cohort(plan, [Replica(LossSpec(SIGMOID), seed, 0.01) for seed in (1, 1, 2, 2)])
    cohort.samples.new_epoch()
    for place, (x, targets) in enumerate(cohort.batches(0, 3)):
        assert x.shape[:2] == (2, 20)
        assert targets.shape == (4, 20, 3)
        assert targets.dtype == torch.float32
        assert targets[0].equal(targets[1])
        assert not targets[1].equal(targets[2])
        for lane, stream in ((0, 0), (2, 1)):
            indices = cohort.samples.streams[stream].indices
            labels = cohort.samples.streams[stream].labels
            assert indices is not None
            assert labels is not None
            assert targets[lane].equal(labels[indices[place * 20 : place * 20 + 20]].float())


def test_shares_of_several_labels_are_of_the_samples_that_have_them(data: Path) -> None:
    plan = plan_of(data)
    cohort = Cohort(plan, [Replica(LossSpec(f"({SIGMOID}) / class_share"), seed, 0.01) for seed in (1, 2)])
    assert cohort.class_share is not None
    rows = load_task(TaskSection(data=f"npz:{data}", head="sigmoid"), "cpu").train.y.float()
    torch.testing.assert_close(cohort.class_share, rows.mean(0).expand(2, 3))
    (score, _) = train_cohort(plan, cohort.replicas)
    assert score.accuracy is not None


def test_losses_of_a_cohort_are_those_of_their_modules() -> None:
    specs = [
        LossSpec(SIGMOID),
        LossSpec("(y_true - y_pred)**2", class_mean=True),
        LossSpec("bce()"),
        LossSpec(SIGMOID, 0.1),
    ]
    z = torch.randn(4, 9, 3, generator=torch.Generator().manual_seed(0))
    rows = (torch.rand(4, 9, 3, generator=torch.Generator().manual_seed(1)) < 0.4).float()
    for smoothing in (0.0, 0.2):
        found = CohortLoss(specs, smoothing, HEADS["sigmoid"])(z, rows)
        for lane, spec in enumerate(specs):
            both = 1 - (1 - spec.label_smoothing) * (1 - smoothing)
            alone = replace(spec, label_smoothing=both).build(head="sigmoid")(z[lane], rows[lane])
            torch.testing.assert_close(found[lane], alone)
    one = z[:, :, :1]
    target = rows[:, :, 0].long()
    specs = [
        LossSpec("-y_true * log(y_pred)"),
        LossSpec("(y_true - y_pred)**2", class_mean=True),
        LossSpec("dice(e=1.0)"),
    ]
    found = CohortLoss(specs, 0.0, HEADS["binary"])(one[:3], target[:3])
    for lane, spec in enumerate(specs):
        torch.testing.assert_close(found[lane], spec.build(head="binary")(one[lane], target[lane]))


@pytest.mark.parametrize("head", ["sigmoid", "binary"])
def test_a_cohort_of_cross_entropy_alone_is_torchs_own(head: str) -> None:
    spec = LossSpec(HEADS[head].cross_entropy_formula)
    z = torch.randn(2, 9, 1 if head == "binary" else 3)
    targets = torch.randint(2, (2, 9)) if head == "binary" else torch.randint(2, (2, 9, 3)).float()
    together = CohortLoss([spec, spec], 0.0, HEADS[head])
    assert together.room == ("cross_entropy", 0.0)
    mixed = CohortLoss([spec, LossSpec("(y_true - y_pred)**2")], 0.0, HEADS[head])
    torch.testing.assert_close(together(z, targets)[0], mixed(z, targets)[0])


def test_running_accuracy_counts_samples_whose_likeliest_label_is_theirs() -> None:
    running, correct = RunningAccuracy(2, HEADS["sigmoid"]), torch.zeros(2)
    logits = torch.tensor([[[3.0, 1, 0], [0, 1, 2], [5, 1, 2]], [[0, 1, 0], [0, 1, 2], [0, 1, 2]]])
    rows = torch.tensor([[1.0, 1, 0], [1, 0, 0], [0, 0, 0]]).expand(2, 3, 3)
    running.see(1, logits, rows, 3, correct)
    assert running.values(correct).tolist() == pytest.approx([1 / 3, 1 / 3])
    binary, correct = RunningAccuracy(2, HEADS["binary"]), torch.zeros(1)
    binary.see(1, torch.tensor([[[-1.0], [2.0], [0.5]]]), torch.tensor([[0, 1, 0]]), 3, correct)
    assert binary.values(correct).tolist() == pytest.approx([2 / 3])
