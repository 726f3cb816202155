"""Re-validation: tuned alike, fresh seeds, the test part, paired differences, resumable."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import ttest_1samp

import lossforge
from lossforge.data.datasets import load_task
from lossforge.errors import InterruptedSearchError, LossforgeError, StoreError
from lossforge.losses.library import loss_spec
from lossforge.search.progress import Progress
from lossforge.store.ledger import Ledger, TrainingRow
from lossforge.store.run_folder import RunFolder
from lossforge.training.correctness import unpacked
from lossforge.validation import protocol
from lossforge.validation.paired import sign_p
from lossforge.validation.results import read_comparisons
from lossforge.validation.statistics import paired_difference


def rows_of(run: Path, stage: str) -> list[TrainingRow]:
    ledger = Ledger(run / "ledger.sqlite", read_only=True)
    rows = ledger.trainings(stage)
    ledger.close()
    return rows


def test_every_loss_meets_every_rival(finished_run: Path) -> None:
    results = read_comparisons(RunFolder.open(finished_run))
    assert {row.rival: row.chosen for row in results} == {
        **dict.fromkeys(("cross_entropy", "label_smoothing", "ngl"), False),
        "generalized_ce": True,
    }
    assert len(results) == 2 * 4
    assert all(row.low <= row.gain <= row.high for row in results)
    assert all(row.p <= row.p_adjusted <= 1 for row in results)
    assert {row.seeds for row in results} == {4}


def test_gain_and_interval_come_from_paired_test_accuracies(finished_run: Path) -> None:
    rows = rows_of(finished_run, "validation")
    assert {row.part for row in rows} == {"test"}
    by_loss: dict[str, dict[int, float]] = {}
    formulas = {row.fingerprint: row.formula for row in rows}
    for row in rows:
        by_loss.setdefault(row.fingerprint, {})[row.seed] = row.accuracy or 0.0
    (task,) = RunFolder.open(finished_run).space().task
    one_image = 100 / len(load_task(task, "cpu").test)
    for result in read_comparisons(RunFolder.open(finished_run)):
        (mine,) = (by_loss[name] for name, formula in formulas.items() if formula == result.formula)
        rivals = [
            found
            for name, found in by_loss.items()
            if formulas[name] == loss_spec(result.rival).formula and set(found) == set(mine)
        ]
        expected = [
            paired_difference([100 * (mine[seed] - rival[seed]) for seed in sorted(mine)], resolution=one_image)
            for rival in rivals
        ]
        # Cross-entropy and label smoothing are one formula: one of the two is this rival.
        assert any(
            (result.gain, result.low, result.high) == pytest.approx((one.mean, one.low, one.high)) for one in expected
        )


def test_correctness_of_every_test_image_is_kept_and_an_independent_computation_agrees(finished_run: Path) -> None:
    rows = rows_of(finished_run, "validation")
    (task,) = RunFolder.open(finished_run).space().task
    images = len(load_task(task, "cpu").test)
    table = {}
    for row in rows:
        correct = unpacked(json.loads(row.metrics))
        assert correct is not None
        assert len(correct) == images
        assert correct.mean() == pytest.approx(row.accuracy)
        table[row.formula, row.fingerprint, row.seed] = correct
    assert all(unpacked(json.loads(row.metrics)) is None for row in rows_of(finished_run, "search"))
    for result in read_comparisons(RunFolder.open(finished_run)):
        assert result.low_images is not None
        assert result.high_images is not None
        assert result.low_images <= result.low <= result.high <= result.high_images
        assert result.cosine is not None
        assert -1 <= result.cosine <= 1
        mine = np.array([found for (formula, _, _), found in table.items() if formula == result.formula])
        others = [
            np.array([found for (_, name, _), found in table.items() if name == rival])
            for rival in {name for formula, name, _ in table if formula == loss_spec(result.rival).formula}
        ]
        gains = [100 * (mine.mean(1) - other.mean(1)) for other in others]
        gain = next(one for one in gains if one.mean() == pytest.approx(result.gain))
        if gain.std(ddof=1) > 100 / images and result.high - result.low > 2.01 * 100 / images:
            assert result.p == pytest.approx(ttest_1samp(gain, 0).pvalue)
        assert result.p_sign == pytest.approx(sign_p(gain.tolist()))


def test_ledgers_without_correctness_are_read_and_nothing_is_trained_again(finished_run: Path, tmp_path: Path) -> None:
    run = shutil.copytree(finished_run, tmp_path / "run")
    with closing(sqlite3.connect(run / "ledger.sqlite")) as older, older:
        older.execute("UPDATE trainings SET metrics = json_remove(metrics, '$.correct')")
    before = read_comparisons(RunFolder.open(run))
    progress = Progress()
    rows = lossforge.validate(run, workers=1, progress=progress)
    assert progress.trainings == 0
    assert {row.low_images for row in rows} == {None}
    assert [replace(row, low_images=None, high_images=None, images_needed=None) for row in before] == rows


def test_every_contender_is_tuned_on_the_same_rates_and_never_on_test_data(finished_run: Path) -> None:
    rows = rows_of(finished_run, "tuning")
    assert {row.part for row in rows} == {"validation"}
    grid = {0.01, 0.03}
    for key in {(row.key, row.fingerprint[:0]) for row in rows}:
        assert {row.learning_rate for row in rows if row.key == key[0]} >= grid


def test_seeds_of_the_validation_were_never_used_by_the_search(finished_run: Path) -> None:
    used = {row.seed for stage in ("search", "control", "tuning") for row in rows_of(finished_run, stage)}
    assert not used & {row.seed for row in rows_of(finished_run, "validation")}


def test_validating_again_trains_nothing_and_says_the_same(finished_run: Path, tmp_path: Path) -> None:
    run = shutil.copytree(finished_run, tmp_path / "run")
    before = read_comparisons(RunFolder.open(run))
    progress = Progress()
    lossforge.validate(run, workers=1, progress=progress)
    assert progress.trainings == 0
    assert read_comparisons(RunFolder.open(run)) == before


def test_a_resume_takes_a_finished_validation_as_it_is_and_makes_up_for_missing_seeds(
    finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = shutil.copytree(finished_run, tmp_path / "run")
    before = read_comparisons(RunFolder.open(run))
    fewer = lossforge.validate(run, seeds=3, workers=1)
    assert {row.seeds for row in fewer} == {3}
    progress = Progress()
    assert lossforge.resume(run, workers=1, progress=progress).validation() == before
    assert progress.trainings == 0

    def again(*_: object, **__: object) -> None:
        raise AssertionError("a finished re-validation was made again")

    monkeypatch.setattr(protocol, "validate", again)
    assert lossforge.resume(run, workers=1).validation() == before
    assert read_comparisons(RunFolder.open(run)) == before


def test_more_seeds_only_add_trainings(finished_run: Path, tmp_path: Path) -> None:
    run = shutil.copytree(finished_run, tmp_path / "run")
    progress = Progress()
    rows = lossforge.validate(run, seeds=6, workers=1, progress=progress)
    assert max(row.seeds for row in rows) == 6
    decided = {row.seeds for row in rows} - {6}
    assert decided <= {4}  # at the first look, and no seed was added for those
    assert 0 < progress.trainings <= 2 * (2 + 4)


class _Stopper(Progress):
    def __init__(self) -> None:
        super().__init__()
        self.armed = True

    def trained(self, count: int) -> None:
        super().trained(count)
        if self.armed:
            import os
            import signal

            self.armed = False
            os.kill(os.getpid(), signal.SIGINT)


def test_a_stopped_validation_goes_on_where_it_stopped(finished_run: Path, tmp_path: Path) -> None:
    run = shutil.copytree(finished_run, tmp_path / "run")
    before = _Stopper()
    with pytest.raises(InterruptedSearchError, match="lossforge validate"):
        lossforge.validate(run, seeds=8, workers=1, progress=before)
    progress, at_once = Progress(), Progress()
    stopped = lossforge.validate(run, seeds=8, workers=1, progress=progress)
    whole = lossforge.validate(shutil.copytree(finished_run, tmp_path / "whole"), seeds=8, workers=1, progress=at_once)
    assert 0 < before.trainings < at_once.trainings
    assert progress.trainings == at_once.trainings - before.trainings
    assert stopped == whole


def test_impossible_seeds_and_a_run_without_losses_are_refused(finished_run: Path, tmp_path: Path) -> None:
    with pytest.raises(LossforgeError, match="seeds: must be a whole number, 2 or more, not 1"):
        lossforge.validate(finished_run, seeds=1)
    run = shutil.copytree(finished_run, tmp_path / "run")
    (run / "hall_of_fame.csv").unlink()
    with pytest.raises(StoreError, match="not there yet"):
        lossforge.validate(run)
