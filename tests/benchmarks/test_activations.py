"""The benchmark of activations: what its table says of figures that are known."""

from __future__ import annotations

import statistics

import pytest

from activations import RATES, USUAL, Bench, Found, table
from lossforge.evaluation.records import Outcome, TrainingResult


def found(name: str, accuracies: list[float], failed: int = 0) -> Found:
    return Found(name, 0.006, accuracies, failed, {4: (80.0, 0), 16: (10.0, 2)}, 2.5, 7.25)


def test_a_difference_is_told_where_it_is_beyond_chance_and_only_there() -> None:
    usual = [90.0, 91.0, 92.0, 91.5, 90.5]
    rows = [
        found(USUAL, usual),
        found("better", [value + 5 + 0.1 * place for place, value in enumerate(usual)]),
        found("worse", [value - 5 - 0.1 * place for place, value in enumerate(usual)], failed=1),
        found("equal", usual[::-1]),
    ]
    lines = table(rows, 497)
    better = next(line for line in lines if line.startswith("| better"))
    assert f"{statistics.fmean(usual) + 5.2:.2f}" in better
    assert "+5.20 [" in better
    assert "10.0 (2 not finite)" in better
    assert "2.50 × | 7.25 ×" in better
    assert "1 of 5" in next(line for line in lines if line.startswith("| worse"))
    assert "Better than ReLU beyond chance: better; worse: worse." in lines


def test_the_grid_goes_on_beyond_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    best = 3 * max(RATES)
    tried: list[float] = []

    def train(self: Bench, activation: str, rate: float, *others: object) -> TrainingResult:
        tried.append(rate)
        return TrainingResult((Outcome.TRAINED,), (1 - abs(rate - best),), ("",), 1.0, ({},))

    monkeypatch.setattr(Bench, "train", train)
    assert Bench("small_cnn", 4, 1, 2, 1, 1).tuned_rate("lerch") == pytest.approx(best)
    assert len(tried) == len(set(tried)) == len(RATES) + 2
