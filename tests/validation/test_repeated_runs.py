"""The plan on one sigmoid neuron and two softmax neurons, in a small form, as a user runs it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lossforge.comparing import compare
from lossforge.errors import StoreError
from lossforge.store.ledger import Ledger
from lossforge.validation.repeated_runs import repeats_of
from lossforge.validation.repeats import chance_of_gap, paired, scatter

PIMA = Path(__file__).resolve().parents[3] / "shared" / "data" / "pima.csv"
WAYS = ["one sigmoid", "two softmax", "two softmax, matched", "one sigmoid, clipped", "two softmax, clipped"]
SEEDS = 20


def small(folder: Path, data: Path, seeds: int, epochs: int) -> None:
    compare(
        plan="bce_cce",
        seeds=seeds,
        output=folder,
        overrides=[f"task.data=csv:{data}", f"recipe.epochs={epochs}", "recipe.cohort=20"],
        workers=1,
        device="cpu",
    )


@pytest.mark.shared_data
def test_one_neuron_or_two_on_real_patients(tmp_path: Path) -> None:
    if not PIMA.exists():
        pytest.skip("the shared data are not there")
    small(tmp_path / "run", PIMA, SEEDS, 20)
    studies = {study.title: found for study, found in repeats_of(tmp_path / "run")}
    assert {title: [*found] for title, found in studies.items()} == dict.fromkeys(("raw", "scaled", "as_asked"), WAYS)
    for found in studies.values():
        assert all(one.failed == 0 and len(one.trained) == SEEDS for one in found.values())
        one, matched = found["one sigmoid"], found["two softmax, matched"]
        # In float32 a few samples near the border change sides, in both directions.
        assert paired(matched.trained, one.trained, 1.0, 0.2)[1] < 0.05
        # A network that is dead predicts one class.
        assert all(way.dead <= way.one_class for way in found.values())
    scaled, asked = studies["scaled"], studies["as_asked"]
    for clipped, plain in (("one sigmoid, clipped", "one sigmoid"), ("two softmax, clipped", "two softmax")):
        # Scaled features make no sure mistakes: a probability below 1e-7 does not occur, and the clip changes nothing.
        assert paired(scaled[clipped].trained, scaled[plain].trained, 1.0, 0.2)[1] < 0.05
        assert scaled[clipped].one_class == 0
        # Raw ones do: many more networks never get away from one class.
        assert asked[clipped].one_class >= asked[plain].one_class + 2 / SEEDS
        assert scatter(asked[clipped].trained).deviation > 1.5 * scatter(asked[plain].trained).deviation
    assert chance_of_gap(asked["two softmax, clipped"].trained, 7.2) > 0.02
    assert chance_of_gap(asked["two softmax"].trained, 7.2) < 1e-3


def test_every_run_is_found_by_its_way_and_keeps_its_figures(tmp_path: Path) -> None:
    data = tmp_path / "table.csv"
    lines = [f"{a},{b},{(7 * a + 3 * b) % 11},{a - b},{int(a + b > 36)}" for a in range(28) for b in range(28)]
    data.write_text("\n".join(lines) + "\n", encoding="utf-8")
    run = tmp_path / "run"
    small(run, data, 4, 2)
    found = repeats_of(run)
    assert [study.title for study, _ in found] == ["raw", "scaled", "as_asked"]
    ledger = Ledger(run / "ledger.sqlite", read_only=True)
    rows = ledger.trainings()
    ledger.close()
    assert len(rows) == 3 * len(WAYS) * 4
    for row in rows:
        metrics = json.loads(row.metrics)
        assert {"train_accuracy", "predicted_share", "one_class", "dead", "temperature"} <= metrics.keys()
        assert metrics["one_class"] == (metrics["predicted_share"] == 1)
    for study, ways in found:
        own = sorted(100 * row.accuracy for row in rows if row.task == study.title and row.accuracy is not None)
        assert sorted(score for one in ways.values() for score in one.held_out if score is not None) == own
    # A run that lacks something says so.
    (run / "ledger.sqlite").unlink()
    Ledger(run / "ledger.sqlite").close()
    with pytest.raises(StoreError, match="has no runs of one sigmoid in the study 'raw'; finish it first"):
        repeats_of(run)
