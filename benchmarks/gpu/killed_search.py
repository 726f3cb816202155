"""Part 5: a small search from end to end; then the same, killed and resumed: the tables must be the same bytes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

from gpu.parts import ROOT, Case, Settings, Tell
from lossforge.errors import StoreError
from lossforge.store.ledger import Ledger

TABLE = "hall_of_fame.csv"
CHANGES = (
    "task.train=320",
    "task.validation=200",
    "recipe.epochs=6",
    "recipe.batch_size=32",
    "recipe.learning_rate=0.01",
    "evolution.population=6",
    "budget.generations=3",
    "validation.after_search=false",
)
"""Sixty steps a training: enough for steps to be captured."""
_SMALL = ("task.train=200", "task.validation=100", "recipe.epochs=1")


def cases(settings: Settings) -> list[Case]:
    return [
        Case("a search", partial(_whole, settings), 60),
        Case("killed and resumed", partial(_killed, settings), 90),
    ]


def _folder(settings: Settings, name: str) -> Path:
    return Path(settings.work) / name


def _begin(settings: Settings, run: Path) -> list[str]:
    changes = [*CHANGES, *(_SMALL if settings.dry else ())]
    space = str(ROOT / "search_spaces" / "smoke.toml")
    options = ["--seed", "1", "--workers", "1", "--device", settings.device]
    return ["search", space, "--run", str(run), *options, *(word for one in changes for word in ("--set", one))]


def _whole(settings: Settings, tell: Tell) -> None:
    run = _folder(settings, "whole")
    began = time.perf_counter()
    _until_trained(_begin(settings, run), run, None)
    tell("seconds", time.perf_counter() - began)
    tell("trainings", trained(run))


def _killed(settings: Settings, tell: Tell) -> None:
    whole, run = _folder(settings, "whole"), _folder(settings, "killed")
    if not (whole / TABLE).exists():
        raise RuntimeError("there is nothing to compare with: the search before came to no end")
    total = trained(whole)
    words, killed = _begin(settings, run), 0
    for share in (0.5,) if settings.dry else (0.3, 0.7):
        if _until_trained(words, run, max(1, round(share * total))):
            killed += 1
            tell(f"kill {killed}, trainings so far", trained(run))
        words = ["resume", str(run)]
    began = time.perf_counter()
    _until_trained(words, run, None)
    tell("seconds_of_the_last_resume", time.perf_counter() - began)
    tell("kills", killed)
    tell("trainings", trained(run))
    mine, other = ((folder / TABLE).read_text(encoding="utf-8").splitlines() for folder in (run, whole))
    same = (run / TABLE).read_bytes() == (whole / TABLE).read_bytes()
    tell("same_bytes", same)
    if not same:
        pairs = [list(pair) for pair in zip(mine, other, strict=False) if pair[0] != pair[1]]
        tell("different_lines", pairs[:3])
        raise AssertionError(f"{len(pairs)} of {len(other)} lines of {TABLE} differ, or their number does")
    if not killed:
        raise AssertionError("the search ended before it could be killed")
    if trained(run) != total:
        raise AssertionError(f"{trained(run)} trainings instead of {total}")


def _until_trained(words: list[str], run: Path, count: int | None) -> bool:
    """Run lossforge; kill it when ``count`` trainings are in the ledger. Whether it was killed."""
    process = subprocess.Popen(
        [sys.executable, "-m", "lossforge", *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    while count is not None and process.poll() is None:
        if trained(run) >= count:
            os.kill(process.pid, signal.SIGKILL)
            process.communicate()
            return True
        time.sleep(0.02)
    told, _ = process.communicate()
    if process.returncode:
        raise RuntimeError(f"lossforge {words[0]} ended with exit code {process.returncode}: {told.strip()[-800:]}")
    return False


def trained(run: Path) -> int:
    """Trainings in a run's ledger so far."""
    if not (run / "ledger.sqlite").exists():
        return 0
    try:
        ledger = Ledger(run / "ledger.sqlite", read_only=True)
    except StoreError:  # being made just now
        return 0
    try:
        return ledger.training_count()
    except StoreError:
        return 0
    finally:
        ledger.close()
