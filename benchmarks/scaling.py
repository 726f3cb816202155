"""What one driver costs, and how many workers it keeps busy.

    python benchmarks/scaling.py [--executor local|ray] [--parts abcd] [--candidates 100000] [--write]

Everything is on the task and the recipe of one search space. Printed are

(a) the speed of two worker processes over one, on CPU-bound trainings of equal work, in turns; both are started, and
    have trained once, before anything is timed.
(b) the driver's own time a candidate, by part: real generations, on an executor that answers at once. A candidate is
    what a generation generates, trained or not; time is the process's own, and for the disk also the waiting.
(c) the workers that one driver keeps busy: the same driver, with N simulated workers. A training occupies one of them
    for a second, a cohort for as many seconds as it has trainings (see `simulated.py`). Utilisation counts whole
    generations, with their ends, where workers have nothing to do until the last training is told.
(d) the driver's time a candidate, waiting apart, and its memory, as the ledger grows.
"""

from __future__ import annotations

import argparse
import datetime
import itertools
import os
import platform
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import torch

from lossforge.evaluation.records import TrainingRequest, pack
from lossforge.evaluation.space_trainings import trainings
from lossforge.executors.local import PoolExecutor
from lossforge.executors.protocol import Executor
from lossforge.losses.compiled import LossSpec
from lossforge.losses.library import CROSS_ENTROPY
from lossforge.screening.descent import compile_kernels
from lossforge.search.generation import long_lived
from lossforge.spaces.load import load_space
from lossforge.spaces.schema import SearchSpace
from lossforge.store.run_folder import hardware
from simulated import RATE, SimulatedSearch

RESULTS = Path(__file__).parent / "results" / "scaling.md"
PARTS = ("ask", "screen", "look-up", "messages", "record", "bookkeeping", "candidates", "files")
"""Of the driver's time. Look-up: fingerprints, cohorts, the ledger's answers; messages: requests and results as text;
record: trainings into the ledger; bookkeeping: fitness, order; candidates: their rows; files: checkpoint and table."""


def space_of(options: argparse.Namespace, *changes: str) -> SearchSpace:
    return load_space(options.space, ["seed=1", *changes, *options.set])


@contextmanager
def executor_of(options: argparse.Namespace, workers: int) -> Iterator[Executor]:
    section = space_of(options, f"execution.executor={options.executor}", f"execution.workers={workers}").execution
    if options.executor == "ray":
        from lossforge.executors.ray_pool import RayExecutor

        executor: Executor = RayExecutor(section)
    else:
        executor = PoolExecutor(workers, "cpu")
    try:
        yield executor
    finally:
        executor.close()


def cohorts_of(options: argparse.Namespace, count: int) -> list[TrainingRequest]:
    space = space_of(options, f"recipe.epochs={options.epochs}")
    (task,) = space.task
    seeds = range(count * space.recipe.cohort)
    return pack(trainings(space, task, LossSpec(CROSS_ENTROPY), "ce", RATE, seeds, stage="scaling"))


def speed_up(options: argparse.Namespace) -> list[str]:
    """(a)."""
    requests = cohorts_of(options, options.requests)
    seconds: dict[int, list[float]] = {1: [], 2: []}
    # One after the other: a pool that waits would still be there, and a Ray takes the machine for itself.
    for _ in range(options.rounds):
        for workers in seconds:
            with executor_of(options, workers) as executor:
                list(executor.run(requests[: 2 * workers], lambda: False))
                started = time.perf_counter()
                list(executor.run(requests, lambda: False))
                seconds[workers].append(time.perf_counter() - started)
    ratios = [one / two for one, two in zip(seconds[1], seconds[2], strict=True)]
    size = len(requests[0].replicas)
    return [
        f"(a) {options.executor} executor, {len(requests)} requests of {size} trainings each, {options.rounds} turns: "
        f"2 workers / 1 worker {median(ratios):.2f} (median; {', '.join(f'{ratio:.2f}' for ratio in ratios)});",
        f"    1 worker {median(seconds[1]):.1f} s, 2 workers {median(seconds[2]):.1f} s",
    ]


def costs(options: argparse.Namespace) -> list[str]:
    """(b)."""
    space = space_of(options, f"evolution.population={options.population}")
    with tempfile.TemporaryDirectory() as folder:
        search = SimulatedSearch(space, Path(folder))
        search.step()  # random trees, of which nine in ten are rejected: not what most generations are like
        before, already, trained = dict(search.parts.seconds), search.generated, len(search.scores.judged)
        while search.generated < already + 5000:
            search.step()
        search.parts.total()
        spent = {part: search.parts.seconds[part] - before.get(part, 0.0) for part in PARTS}
        generated, judged = search.generated - already, len(search.scores.judged) - trained
        search.close()
    told = ", ".join(f"{part} {1000 * spent[part] / generated:.3f}" for part in PARTS)
    total = 1000 * sum(spent.values())
    return [
        f"(b) the driver's ms a candidate, {generated} generated and {judged} trained ({space.fitness.seeds} seeds, "
        f"cohorts of {space.recipe.cohort}, population {options.population}):",
        f"    {told}; together {total / generated:.2f}, or {total / judged:.2f} for each that is trained",
    ]


def busy(options: argparse.Namespace) -> list[str]:
    """(c)."""
    lines = ["(c) workers kept busy, one second a training:"]
    for race, cohort, workers in itertools.product(options.races, options.cohorts, options.workers):
        # So many that the end of a generation, where workers wait for the last, is small beside it.
        trained = workers * options.waves // 4
        space = space_of(
            options,
            f"evolution.population={trained}",
            f"recipe.cohort={cohort}",
            "fitness.seeds=4",
            f"fitness.race={race}",
        )
        with tempfile.TemporaryDirectory() as folder:
            search = SimulatedSearch(space, Path(folder), workers)
            search.step()  # random trees, of which nine in ten are rejected: not what most generations are like
            executor = search.executor
            executor.seconds = lambda request: float(len(request.trainings))
            work, count, driven = executor.busy, executor.trainings, search.parts.total()
            with long_lived():
                generated, started = search.generated, time.perf_counter()
                search.step()
            seconds = time.perf_counter() - started
            share = (executor.busy - work) / (workers * seconds)
            own, generated = search.parts.total() - driven, search.generated - generated
            helpers = 0 if search.helpers is None else search.helpers.count
            lines.append(
                f"    {workers} workers, requests of {cohort} training(s): {share:.1%} busy over a generation of "
                f"{trained} candidates, a share of {space.fitness.race:g} of them with {space.fitness.seeds} seeds "
                f"({generated} generated, {executor.trainings - count} trainings in {seconds:.1f} s; {helpers} "
                f"helper(s); the driver worked {own / seconds:.0%} of that)"
            )
            print(lines[-1], flush=True)
            search.close()
    return lines


def growth(options: argparse.Namespace) -> list[str]:
    """(d)."""
    space = space_of(options, f"evolution.population={options.population}")
    lines = [f"(d) the driver's ms a candidate as the ledger grows (population {options.population}):"]
    with tempfile.TemporaryDirectory() as folder:
        search = SimulatedSearch(space, Path(folder))
        ends = [options.candidates // 100, *(options.candidates * tenth // 10 for tenth in range(1, 11))]
        for end in ends:
            start, judged = search.generated, len(search.scores.judged)
            before, waited = search.parts.total(), search.parts.waited
            screening = search.parts.seconds["screen"]
            while search.generated < end:
                search.step()
            spent = 1000 * (search.parts.total() - before - search.parts.waited + waited)
            waits = 1000 * (search.parts.waited - waited)
            screened = 1000 * (search.parts.seconds["screen"] - screening)
            new, trained = search.generated - start, len(search.scores.judged) - judged
            lines.append(
                f"    {start} to {search.generated} ({trained} of them trained): {spent / new:.2f} each, without "
                f"screening {(spent - screened) / new:.2f}; {(spent - screened) / trained:.2f} for each trained; and "
                f"{waits / new:.2f} of waiting for the disk (or, on a busy machine, for a core); {resident():.0f} MiB"
            )
            print(lines[-1], flush=True)
        size = (Path(folder) / "ledger.sqlite").stat().st_size / 2**20
        lines.append(f"    ledger: {search.ledger.training_count()} trainings, {size:.0f} MiB")
        search.close()
    return lines


def resident() -> float:
    """MiB of this process in memory."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1]) / 1024


def options_of(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--space", type=Path, default=Path(__file__).parents[1] / "search_spaces" / "digits.toml")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change a key of the space")
    parser.add_argument("--executor", choices=["local", "ray"], default="local", help="of (a)")
    parser.add_argument("--epochs", type=int, default=10, help="of a training in (a)")
    parser.add_argument("--requests", type=int, default=12, help="in a turn of (a)")
    parser.add_argument("--rounds", type=int, default=3, help="turns of (a)")
    parser.add_argument("--population", type=int, default=100, help="of (b) and (d)")
    parser.add_argument("--workers", type=int, nargs="+", default=[500, 1000], help="of (c)")
    parser.add_argument("--cohorts", type=int, nargs="+", default=[1], help="trainings of a request in (c)")
    parser.add_argument("--races", type=float, nargs="+", default=[1.0, 0.3], help="fitness.race in (c)")
    parser.add_argument("--waves", type=int, default=60, help="trainings of a generation for each worker in (c)")
    parser.add_argument("--candidates", type=int, default=100_000, help="of (d)")
    parser.add_argument("--parts", default="abcd", help="which of the figures to take")
    parser.add_argument("--write", action="store_true", help=f"write results/{RESULTS.name} too")
    return parser.parse_args(arguments)


def main() -> None:
    options = options_of(sys.argv[1:])
    torch.set_num_threads(1)
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    lines = [
        f"torch {torch.__version__}, Python {platform.python_version()}, {hardware()['processor']}, "
        f"{os.cpu_count()} cores; load before (1, 5, 15 minutes): {load}"
    ]
    print(lines[0], flush=True)
    compile_kernels()
    for letter, part in (("a", speed_up), ("b", costs), ("c", busy), ("d", growth)):
        if letter in options.parts:
            found = part(options)
            print("\n".join(found), flush=True)
            lines += found
    if options.write:
        command = " ".join(["python benchmarks/scaling.py", *(word for word in sys.argv[1:] if word != "--write")])
        told = "\n".join(f"    {line}" for line in lines)
        RESULTS.write_text(
            f"# What one driver costs, and how many workers it keeps busy\n\nCommand: `{command}`, at the commit that "
            f"wrote this file, on {datetime.date.today()}. One run.\n\n{told}\n",
            encoding="utf-8",
        )


if __name__ == "__main__":
    main()
