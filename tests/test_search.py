"""The whole loop: equal results for any number of workers, after any kill, with nothing trained twice."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.conftest import SMOKE, TINY

import lossforge
from lossforge.errors import DataError, InterruptedSearchError, LossforgeError, ModelError, SpaceError, StoreError
from lossforge.inspection.runs import run_status
from lossforge.search import loop as search_loop
from lossforge.search.hall_of_fame import Entry, read_hall_of_fame
from lossforge.search.progress import Progress
from lossforge.store.ledger import Ledger

TABLE = "hall_of_fame.csv"


def search(run: Path, *overrides: str, seed: int = 1, workers: int = 1, progress: Progress | None = None) -> Path:
    chosen = [*TINY, *overrides]
    return lossforge.search(SMOKE, run=run, seed=seed, workers=workers, overrides=chosen, progress=progress).path


def trainings(run: Path) -> list[tuple[str, str]]:
    with sqlite3.connect(run / "ledger.sqlite") as db:
        rows = db.execute("SELECT fingerprint, seed FROM trainings ORDER BY id").fetchall()
    db.close()
    return rows


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return search(tmp_path_factory.mktemp("reference") / "run")


def test_a_search_leaves_a_whole_run_folder(reference: Path) -> None:
    names = {path.name for path in reference.iterdir()}
    assert names >= {"space.toml", "manifest.json", "ledger.sqlite", "checkpoint.json", TABLE, "log.txt"}
    assert not [name for name in names if name.endswith((".tmp", ".new"))]
    manifest = json.loads((reference / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["seed"] == 1
    assert manifest["packages"]["torch"]
    entries = read_hall_of_fame(reference / TABLE)
    assert [entry.rank for entry in entries] == list(range(1, len(entries) + 1))
    assert len({entry.signature for entry in entries}) == len(entries)
    assert [entry.gain is not None for entry in entries] == [True, True] + [False] * (len(entries) - 2)
    ranked = [(entry.gain is None and entry.seeds < 4, -entry.fitness) for entry in entries]
    assert ranked == sorted(ranked)


def test_gains_in_the_table_are_differences_of_the_ledgers_accuracies(reference: Path) -> None:
    ledger = Ledger(reference / "ledger.sqlite", read_only=True)
    best = read_hall_of_fame(reference / TABLE)[0]
    for stage, beside, told in (("search", "control", best.search_gain), ("fresh", "fresh", best.gain)):
        mine = {row.seed: row.accuracy or 0 for row in ledger.trainings(stage) if row.key == best.signature}
        key = ledger.trainings("control")[0].key
        control = {row.seed: row.accuracy or 0 for row in ledger.trainings(beside) if row.key == key}
        assert len(mine) == 4
        gains = [score - control[seed] for seed, score in mine.items()]
        assert told == pytest.approx(100 * sum(gains) / len(gains), abs=1e-6)
    ledger.close()


def test_two_workers_give_the_same_bytes_as_one(reference: Path, tmp_path: Path) -> None:
    assert (search(tmp_path / "run", workers=2) / TABLE).read_bytes() == (reference / TABLE).read_bytes()


def test_helpers_that_screen_ahead_change_no_byte(
    reference: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search_loop, "helper_count", lambda workers: 1)
    run = search(tmp_path / "run")
    assert (run / TABLE).read_bytes() == (reference / TABLE).read_bytes()
    candidates = []
    for folder in (run, reference):
        ledger = Ledger(folder / "ledger.sqlite", read_only=True)
        candidates.append(ledger.candidates())
        ledger.close()
    assert candidates[0] == candidates[1]


def test_a_race_trains_less_and_the_best_on_all_seeds(reference: Path, tmp_path: Path) -> None:
    run = search(tmp_path / "run", "fitness.race=0.3", "fitness.finalists=0")
    ledger = Ledger(run / "ledger.sqlite", read_only=True)
    rows = ledger.trainings("search")
    ledger.close()
    of: dict[int, dict[str, dict[int, float | None]]] = {}
    for row in rows:
        of.setdefault(row.generation, {}).setdefault(row.key, {})[row.replicate] = row.accuracy
    for generation in of.values():
        first = sorted((found[0] or 0.0 for found in generation.values()), reverse=True)
        raced = [found[0] or 0.0 for found in generation.values() if len(found) > 1]
        assert len(raced) == -(-3 * len(generation) // 10)
        assert sorted(raced, reverse=True) == first[: len(raced)]
        assert {len(found) for found in generation.values()} == {1, 2}


class _StopsAtTheEndOf(Progress):
    """Interrupts this process as Ctrl-C does, when a generation ends."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number

    def end_generation(self, number: int, best: list[Entry], fitness: list[float]) -> None:
        super().end_generation(number, best, fitness)
        if number == self.number:
            os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize(("seed", "race"), [(1, 1.0), (1, 0.3), (2, 0.3)])
def test_another_number_of_generations_later_is_as_if_it_had_been_asked_for_at_once(
    tmp_path: Path, seed: int, race: float
) -> None:
    changes = [f"fitness.race={race}", "fitness.finalists=3", "evolution.elites=2"]
    short = search(tmp_path / "short", "budget.generations=2", *changes, seed=seed)
    longer = search(tmp_path / "long", "budget.generations=4", *changes, seed=seed)
    first = (short / TABLE).read_bytes()
    lossforge.resume(short, overrides=["budget.generations=4"], workers=1)
    assert (short / TABLE).read_bytes() == (longer / TABLE).read_bytes()
    if seed == 1:
        stopped = tmp_path / "stopped"
        with pytest.raises(InterruptedSearchError):
            search(stopped, "budget.generations=4", *changes, seed=seed, progress=_StopsAtTheEndOf(1))
        lossforge.resume(stopped, overrides=["budget.generations=2"], workers=1)
        assert (stopped / TABLE).read_bytes() == first


def test_the_audit_trains_rejected_losses_and_changes_nothing_else(reference: Path, tmp_path: Path) -> None:
    run = search(tmp_path / "run", "screening.audit=1.0")
    assert (run / TABLE).read_bytes() == (reference / TABLE).read_bytes()
    ledger = Ledger(run / "ledger.sqlite", read_only=True)
    audited = {row.key: row.formula for row in ledger.trainings("audit")}
    rejected = [row for row in ledger.candidates() if row.rejected_by in ("probe", "descent")]
    judged = {row.key for row in ledger.trainings("search")}
    ledger.close()
    assert audited
    assert set(audited.values()) <= {row.formula for row in rejected}
    assert not judged & audited.keys()
    report = run_status(run).audit
    assert report is not None
    assert report.rate is not None
    assert report.trained == len(audited)
    assert 0 <= report.low <= report.rate <= report.high <= 1
    assert "audit: " in (run / "log.txt").read_text(encoding="utf-8")


def test_under_a_race_the_audit_trains_no_more_seeds_than_a_candidate_gets(tmp_path: Path) -> None:
    # With its sign not repaired, f is rejected and audited, and -f, which has f's key, may pass.
    changes = ["screening.audit=1.0", "screening.repair_sign=false", "fitness.race=0.3", "evolution.population=10"]
    whole = search(tmp_path / "whole", *changes, seed=4)
    ledger = Ledger(whole / "ledger.sqlite", read_only=True)
    assert {row.replicate for row in ledger.trainings("audit")} == {0}
    ledger.close()
    stopped = tmp_path / "stopped"
    with pytest.raises(InterruptedSearchError):
        search(stopped, *changes, seed=4, progress=_StopsAtTheEndOf(0))
    lossforge.resume(stopped, workers=1)
    assert (stopped / TABLE).read_bytes() == (whole / TABLE).read_bytes()


def test_another_seed_gives_another_search(reference: Path, tmp_path: Path) -> None:
    assert (search(tmp_path / "run", seed=2) / TABLE).read_bytes() != (reference / TABLE).read_bytes()


def _command(*words: str) -> list[str]:
    return [sys.executable, "-m", "lossforge", *words]


def _start(run: Path, workers: int) -> list[str]:
    options = [word for override in TINY for word in ("--set", override)]
    return _command("search", str(SMOKE), "--run", str(run), "--seed", "1", "--workers", str(workers), *options)


def _count(run: Path) -> int:
    try:
        return len(trainings(run)) if (run / "ledger.sqlite").exists() else 0
    except sqlite3.Error:  # being made just now
        return 0


def _killed_once_trained(command: list[str], run: Path, count: int) -> bool:
    """Kill the process as soon as the ledger holds ``count`` trainings; False where it ended before that."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    while process.poll() is None:
        if _count(run) >= count:
            process.kill()
            process.communicate()
            return True
        time.sleep(0.01)
    _, errors = process.communicate()
    assert process.returncode == 0, errors
    return False


@pytest.mark.parametrize("workers", [1, 2])
def test_killed_again_and_again_a_search_ends_with_the_same_bytes(
    reference: Path, tmp_path: Path, workers: int
) -> None:
    run = tmp_path / "run"
    draw = random.Random(workers)
    command = _start(run, workers)
    total = len(trainings(reference))
    for kill in range(5):
        # Moments spread over the search, whatever the machine's pace; the third kill takes the checkpoint with it.
        if not _killed_once_trained(command, run, kill * total // 6 + draw.randint(1, 4)):
            break
        command = _command("resume", str(run))
        if kill == 2:
            (run / "checkpoint.json").unlink(missing_ok=True)
    assert kill == 4
    subprocess.run(command, check=True, capture_output=True)
    assert (run / TABLE).read_bytes() == (reference / TABLE).read_bytes()
    found = trainings(run)
    assert len(found) == len(set(found)) == total


class _StopsAfter(Progress):
    """Sends this process SIGINT once enough was trained."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count

    def trained(self, count: int) -> None:
        super().trained(count)
        if self.trainings >= self.count:
            self.count = 10**9
            os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize("delete", [(), ("checkpoint.json",), ("checkpoint.json", "checkpoint.previous.json")])
def test_stopped_and_resumed_a_search_ends_with_the_same_bytes(
    reference: Path, tmp_path: Path, delete: tuple[str, ...]
) -> None:
    run = tmp_path / "run"
    with pytest.raises(InterruptedSearchError, match="lossforge resume"):
        search(run, progress=_StopsAfter(30))
    before = trainings(run)
    for name in delete:
        (run / name).unlink(missing_ok=True)
    lossforge.resume(run)
    assert (run / TABLE).read_bytes() == (reference / TABLE).read_bytes()
    after = trainings(run)
    assert after[: len(before)] == before
    assert len(after) == len(set(after)) == len(trainings(reference))


def test_resuming_a_finished_search_changes_nothing(reference: Path, tmp_path: Path) -> None:
    run = shutil.copytree(reference, tmp_path / "run")
    (run / TABLE).unlink()
    lossforge.resume(run)
    assert (run / TABLE).read_bytes() == (reference / TABLE).read_bytes()
    assert trainings(run) == trainings(reference)


def test_more_generations_go_on_where_the_search_ended(reference: Path, tmp_path: Path) -> None:
    run = shutil.copytree(reference, tmp_path / "run")
    lossforge.resume(run, overrides=["budget.generations=4"])
    whole = search(tmp_path / "whole", "budget.generations=4")
    assert (run / TABLE).read_bytes() == (whole / TABLE).read_bytes()
    assert "generations = 4" in (run / "space.toml").read_text(encoding="utf-8")


def test_a_changed_space_is_refused_with_the_keys_names(reference: Path, tmp_path: Path) -> None:
    run = shutil.copytree(reference, tmp_path / "run")
    with pytest.raises(SpaceError, match=r"recipe\.epochs, task\.label_noise"):
        lossforge.resume(run, overrides=["task.label_noise=0.3", "recipe.epochs=9"])
    text = (run / "space.toml").read_text(encoding="utf-8")
    (run / "space.toml").write_text(text.replace("elites = 2", "elites = 3"), encoding="utf-8")
    with pytest.raises(SpaceError, match=r"evolution\.elites"):
        lossforge.resume(run)


def test_a_run_is_never_overwritten(reference: Path) -> None:
    before = (reference / TABLE).read_bytes()
    with pytest.raises(StoreError, match="lossforge resume"):
        search(reference)
    assert (reference / TABLE).read_bytes() == before


def test_unknown_data_and_networks_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    for override in ("task.data=nonsense", "task.model=nonsense"):
        with pytest.raises((DataError, ModelError), match="nonsense"):
            search(tmp_path / "run", override)
    assert not (tmp_path / "run").exists()


def test_the_test_part_is_not_read_by_a_search(reference: Path) -> None:
    ledger = Ledger(reference / "ledger.sqlite", read_only=True)
    assert {row.part for row in ledger.trainings()} == {"validation"}
    ledger.close()


def test_every_candidate_has_a_row_that_says_why(reference: Path) -> None:
    ledger = Ledger(reference / "ledger.sqlite", read_only=True)
    rows = ledger.candidates()
    ledger.close()
    assert {row.outcome for row in rows} >= {"rejected", "trained"}
    assert all(row.reason and row.rejected_by for row in rows if row.outcome == "rejected")
    assert all(row.signature for row in rows if row.outcome != "rejected")


def test_a_task_that_cross_entropy_fails_on_ends_with_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(LossforgeError, match="cross-entropy itself failed"):
        search(tmp_path / "run", "budget.training_seconds=1e-9")


def test_the_sweep_is_recorded_and_kept_for_the_next_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOSSFORGE_CACHE", str(tmp_path / "cache"))
    swept = ["recipe.learning_rate=sweep", "recipe.learning_rates=[0.01, 0.03]", "budget.generations=1"]
    counts = []
    for name in ("first", "second"):
        progress = Progress()
        run = search(tmp_path / name, *swept, progress=progress)
        counts.append(progress.trainings)
        rows = [
            row for row in Ledger(run / "ledger.sqlite", read_only=True).trainings() if row.stage.startswith("sweep")
        ]
        assert {row.learning_rate for row in rows} >= {0.01, 0.03}
        assert "learning rate of digits" in (run / "log.txt").read_text(encoding="utf-8")
    assert counts[1] < counts[0]
    assert (tmp_path / "first" / TABLE).read_bytes() == (tmp_path / "second" / TABLE).read_bytes()


def test_a_random_search_runs_through_the_same_way(tmp_path: Path) -> None:
    run = search(tmp_path / "run", "evolution.strategy=random", "budget.generations=2")
    ledger = Ledger(run / "ledger.sqlite", read_only=True)
    assert {row.origin for row in ledger.candidates()} == {"seed", "random"}
    ledger.close()


def test_an_interrupt_is_noticed_within_a_training(tmp_path: Path) -> None:
    command = [*_start(tmp_path / "run", 2), "--set", "budget.generations=1000"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while not _count(tmp_path / "run"):
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "lossforge resume" in errors
    assert "Traceback" not in errors
    assert output == ""
