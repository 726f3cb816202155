"""Searches that select by something else than the mean gain: their table, and that a stop changes none of it."""

from __future__ import annotations

import json
from math import exp
from pathlib import Path
from statistics import fmean

import pytest
from tests.conftest import SMOKE, TINY

import lossforge
from lossforge.search.hall_of_fame import read_hall_of_fame
from lossforge.store.ledger import Ledger

LIKELIHOOD = (*TINY, "fitness.measure=likelihood")


def test_a_search_selects_by_likelihood_shows_points_and_goes_on_as_if_never_stopped(tmp_path: Path) -> None:
    whole = lossforge.search(SMOKE, run=tmp_path / "whole", seed=1, workers=1, overrides=[*LIKELIHOOD])
    part = [*LIKELIHOOD, "budget.generations=1"]
    lossforge.search(SMOKE, run=tmp_path / "parts", seed=1, workers=1, overrides=part)
    resumed = lossforge.resume(tmp_path / "parts", overrides=["budget.generations=3"])
    table = (whole.path / "hall_of_fame.csv").read_bytes()
    assert (resumed.path / "hall_of_fame.csv").read_bytes() == table

    ledger = Ledger(whole.path / "ledger.sqlite", read_only=True)
    trained = [row for row in ledger.trainings() if row.stage in ("search", "control") and row.accuracy is not None]
    ledger.close()

    def likelihood(key: str) -> dict[int, float]:
        rows = [row for row in trained if row.key == key]
        return {row.replicate: exp(-json.loads(row.metrics)["negative_log_likelihood"]) for row in rows}

    (control,) = {row.key for row in trained if row.stage == "control"}
    entries = read_hall_of_fame(whole.path / "hall_of_fame.csv")
    for entry in entries:
        mine, other = likelihood(entry.signature), likelihood(control)
        assert entry.fitness == pytest.approx(fmean(mine[one] - other[one] for one in mine))
        told = entry.search_gain if entry.gain is None else entry.gain
        assert told == pytest.approx(100 * (entry.accuracy - entry.control))
    assert any(entry.search_gain != pytest.approx(100 * entry.fitness) for entry in entries)
