"""Which samples were right: bits that come back as they were, and that are the accuracy beside them."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lossforge.data.datasets import load_task
from lossforge.losses.compiled import LossSpec
from lossforge.losses.library import CROSS_ENTROPY
from lossforge.models.registry import build_model
from lossforge.spaces.schema import RecipeSection, TaskSection
from lossforge.training.correctness import KEY, packed, unpacked
from lossforge.training.plan import Plan, Replica
from lossforge.training.train import train_cohort


@given(st.lists(st.booleans(), max_size=40))
def test_bits_come_back_in_order(correct: list[bool]) -> None:
    kept = json.loads(json.dumps({KEY: packed(torch.tensor(correct, dtype=torch.bool))}))
    found = unpacked(kept)
    assert found is not None
    assert found.tolist() == correct


@pytest.mark.parametrize(
    "kept",
    [{}, {KEY: None}, {KEY: {"samples": 9, "bits": "AA=="}}, {KEY: {"samples": 8, "bits": "?"}}, {KEY: {"samples": 8}}],
)
def test_what_older_runs_lack_or_is_damaged_is_none(kept: dict[str, Any]) -> None:
    assert unpacked(kept) is None


@pytest.mark.parametrize("keep", [True, False])
def test_a_training_keeps_them_where_it_is_told_to(keep: bool) -> None:
    task = TaskSection(data="digits", train=200, validation=203, width=4)
    data = load_task(task, "cpu")
    plan = Plan(
        train=data.train,
        score=data.validation,
        classes=data.classes,
        recipe=RecipeSection(),
        epochs=1,
        label_noise=0.0,
        build=lambda seed: build_model("small_cnn", data.shape, data.classes, 4, seed),
        test=keep,
    )
    scores = train_cohort(plan, [Replica(LossSpec(CROSS_ENTROPY), seed, 0.02) for seed in (0, 1)])
    for score in scores:
        correct = unpacked(score.metrics)
        assert (correct is not None) == keep
        if correct is not None:
            assert len(correct) == 203
            assert correct.mean() == pytest.approx(score.accuracy)
            # As the confusion matrix has it, class by class: the samples are in the part's order.
            hits = torch.bincount(data.validation.y[torch.from_numpy(correct)], minlength=10)
            assert hits.tolist() == [row[place] for place, row in enumerate(score.metrics["confusion_matrix"])]
