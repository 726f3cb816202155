"""Does a long search grow? Memory of one process that searches and trains, candidate after candidate.

    python benchmarks/leak.py [--candidates 2000] [--write]

Everything runs in this process: strategy, funnel, ledger and trainings (tiny ones: digits, width 2, one epoch). After
every generation the resident set is read, once Python's garbage is collected. Printed is its growth from the first
tenth of the candidates on, which have compiled kernels and filled caches, to the end. Below 5 % is good.
"""

from __future__ import annotations

import argparse
import datetime
import gc
import platform
import tempfile
from pathlib import Path

import torch

from lossforge.evaluation.space_trainings import trainings
from lossforge.evolution.choice import make_strategy
from lossforge.executors.local import InProcessExecutor
from lossforge.losses.compiled import LossSpec
from lossforge.losses.library import CROSS_ENTROPY
from lossforge.screening.screener import Screener
from lossforge.search.generation import Generation
from lossforge.search.loop import screen_settings
from lossforge.search.recorder import Recorder
from lossforge.search.scores import Scores, floors
from lossforge.spaces.load import load_space
from lossforge.store.ledger import Ledger
from lossforge.store.run_folder import hardware
from lossforge.store.stages import Stage

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results" / "leak.md"
RATE = 0.01
CHANGES = (
    "task.train=100",
    "task.validation=50",
    "task.width=2",
    "recipe.epochs=1",
    "recipe.cohort=16",
    "fitness.seeds=1",
    "fitness.finalist_seeds=1",
    "fitness.finalists=0",
    "evolution.population=100",
    f"recipe.learning_rate={RATE}",
)


def resident() -> float:
    """MiB of this process in memory."""
    gc.collect()
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1]) / 1024


def measured(candidates: int) -> list[tuple[int, int, float]]:
    """After each generation: candidates generated and trained so far, and MiB."""
    space = load_space(ROOT / "search_spaces" / "digits.toml", list(CHANGES))
    (task,) = space.task
    found: list[tuple[int, int, float]] = []
    with tempfile.TemporaryDirectory() as folder:
        ledger = Ledger(Path(folder) / "ledger.sqlite")
        recorder, scores = Recorder(ledger, InProcessExecutor("cpu"), lambda: False), Scores()
        loss = LossSpec(CROSS_ENTROPY)
        control = recorder.run(trainings(space, task, loss, "ce", RATE, range(1), stage=Stage.SEARCH), Stage.CONTROL)
        scores.add_control(control)
        screener = Screener(screen_settings(space))
        rates = {task.title: RATE}
        generation = Generation(
            space, make_strategy(space), screener, scores, recorder, rates, floors=floors(control, space.recipe)
        )
        generated = 0
        while len(scores.judged) < candidates:
            generated += len(generation.run(len(found)))
            found.append((generated, len(scores.judged), resident()))
            print(f"{generated} generated, {found[-1][1]} trained: {found[-1][2]:.0f} MiB", flush=True)
        ledger.close()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--candidates", type=int, default=2000, help="that are trained")
    parser.add_argument("--write", action="store_true", help=f"write results/{RESULTS.name} too")
    options = parser.parse_args()
    found = measured(options.candidates)
    early = next(row for row in found if row[1] >= options.candidates / 10)
    last = found[-1]
    told = (
        f"{last[1]} candidates trained of {last[0]} generated: {early[2]:.0f} MiB after {early[1]} trained, "
        f"{last[2]:.0f} MiB at the end: growth {last[2] / early[2] - 1:.1%}"
    )
    print(told)
    if options.write:
        machine = f"torch {torch.__version__}, Python {platform.python_version()}, {hardware()['processor']}"
        RESULTS.write_text(
            "# Memory over a long search\n\n"
            f"Command: `python benchmarks/leak.py --candidates {options.candidates}`, on {datetime.date.today()}, "
            f"one run; {machine}.\n\n{told}.\n",
            encoding="utf-8",
        )


if __name__ == "__main__":
    main()
