"""How many candidates a second does lossforge train, and judge, against a plain loop of DEAP and torch?

    python benchmarks/throughput.py [--epochs 5] [--batch 64] [--seeds 4] [--cohort 16] [--rounds 3] [--write]
    python benchmarks/throughput.py --networks [--only NETWORK ...] [--precision bf16] [--rounds 3] [--quick] [--write]
    python benchmarks/throughput.py --device cuda --space search_spaces/cifar10.toml --npz PATH/cifar10.npz

Both sides have the task and the recipe of one search space, a fixed learning rate (--rate), and the same cores. They
take turns, slice by slice, so that a noisy machine is noisy for both. The rival is `plain_loop.py`, with as many
processes or threads as are faster here (both are measured). Workers are started, and kernels compiled, before anything
is timed. Printed are

(a) trained: both train the same screened candidates, each on --seeds seeds. One training is one loss and one seed;
    a candidate is --seeds of them. Accuracies are compared training by training.
(b) judged: lossforge runs generations of a search (--population), from asking to telling. The rival has the same
    proposals, and trains all that use both leaves and whose text is new; some (--candidates of each generation) it
    does train, and that time, in proportion, stands for the others. A loop that does not look for both leaves trains
    more, all that have a gradient; the same time for each says how much longer that takes.
(c) the share of the machine's peak arithmetic rate: the operations of the matrix products and convolutions of the
    trainings, against a large float32 matrix product on the same cores.
(d) memory: growth of a process's peak, over what it needs with data and modules loaded, with K networks at once.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import fmean, median
from typing import TypeVar

import torch

import networks
from lossforge.evaluation.calibrate import with_gainful_cohorts
from lossforge.evaluation.records import Outcome
from lossforge.evaluation.space_trainings import replicate_seed
from lossforge.executors.choice import make_executor
from lossforge.executors.meter import Meter
from lossforge.expression.formula import parse_formula
from lossforge.expression.tree import Expression
from lossforge.losses.library import CROSS_ENTROPY
from lossforge.screening.descent import compile_kernels
from lossforge.screening.screener import Screener
from lossforge.search.generation import Generation
from lossforge.search.loop import screen_settings
from lossforge.search.recorder import Recorder
from lossforge.search.scores import Scores, floors
from lossforge.spaces.load import load_space
from lossforge.spaces.schema import SearchSpace
from lossforge.store.ledger import Ledger
from lossforge.store.run_folder import hardware
from lossforge.store.stages import Stage
from machine_limits import peak_rate, training_operations
from plain_loop import PlainLoop
from throughput_sides import (
    WARM_UP,
    Recorded,
    lanes_memory,
    lossforge_trains,
    prefix,
    screened,
    trainings_of,
    uses_both,
)

RESULTS = Path(__file__).parent / "results" / "throughput.md"
LANES = (1, 4, 8, 16, 32)
BUSY = 0.8
"""Share of the workers' time below which a part of the benchmark warns that some had nothing to do."""


class Benchmark:
    """Both sides on one space, ready to be timed."""

    def __init__(self, space: SearchSpace, options: argparse.Namespace) -> None:
        self.space, self.options = space, options
        (self.task,) = space.task
        self.device: str = options.device
        self.cores = len(os.sched_getaffinity(0))
        self.modes: list[str] = []
        self.busy: list[float] = []
        self.executor = make_executor(space.execution)
        lossforge_trains(self.executor, space, WARM_UP * 4, options.seeds, options.rate)
        self.rival = self.faster_rival()

    def rival_jobs(self, trees: Sequence[Expression]) -> list[tuple[str, int]]:
        seeds = [
            replicate_seed(self.space.seed, Stage.SEARCH, self.task, number) for number in range(self.options.seeds)
        ]
        return [(prefix(tree), seed) for tree in trees for seed in seeds]

    def faster_rival(self) -> PlainLoop:
        """The plain loop in the mode in which it trains more a second."""
        rates = {}
        jobs = self.rival_jobs([parse_formula(formula) for formula in WARM_UP])[: 2 * self.cores]
        on_gpu = {(1, 1), (2, 1), (4, 1)}
        for processes, threads in on_gpu if self.device == "cuda" else {(self.cores, 1), (1, self.cores)}:
            loop = self.plain_loop(processes, threads)
            loop.train(jobs[:processes])
            rates[processes, threads], _ = timed(partial(loop.train, jobs))
            loop.close()
        best = min(rates, key=lambda mode: rates[mode])
        for (processes, threads), seconds in sorted(rates.items()):
            used = ", used" if (processes, threads) == best else ""
            self.modes.append(
                f"plain loop, {processes} process(es) of {threads} thread(s): {len(jobs) / seconds:.2f} trainings "
                f"a second{used}"
            )
        print("\n".join(self.modes), flush=True)
        loop = self.plain_loop(*best)
        loop.train(jobs)
        return loop

    def plain_loop(self, processes: int, threads: int) -> PlainLoop:
        return PlainLoop(processes, threads, self.task, self.space.recipe, self.options.rate, self.device)

    def watched(self, run: Callable[[], Result]) -> tuple[float, Result]:
        """As `timed`, a turn of lossforge's; the workers' busy share is kept."""
        self.executor.meter = meter = Meter()
        seconds, result = timed(run)
        self.busy.append(meter.utilisation())
        return seconds, result

    def idle_workers(self, part: str) -> list[str]:
        """A warning where workers had too little to do in the part's turns so far, which are forgotten then."""
        busy, self.busy = median(self.busy), []
        if busy >= BUSY or self.executor.workers < 2:
            return []
        lanes = self.space.recipe.of(self.task).lanes
        return [
            f"warning: in ({part}) workers were {busy:.0%} busy; {self.options.candidates} candidates of "
            f"{self.options.seeds} seeds in cohorts of {lanes} do not keep {self.executor.workers} workers busy: the "
            "ratio is not that of a search with more candidates"
        ]

    def close(self) -> None:
        self.executor.close()
        self.rival.close()

    def trained(self) -> list[str]:
        """(a) and (c)."""
        options = self.options
        found = screened(self.space, options.rounds * options.candidates)
        ours: list[float] = []
        theirs: list[float] = []
        pairs: list[tuple[float, float]] = []
        failed = 0
        for start in range(0, len(found), options.candidates):
            formulas = found[start : start + options.candidates]
            jobs = self.rival_jobs([parse_formula(formula) for formula in formulas])
            seconds, theirs_scored = timed(partial(self.rival.train, jobs))
            theirs.append(len(jobs) / seconds)
            train = partial(lossforge_trains, self.executor, self.space, formulas, options.seeds, options.rate)
            seconds, scored = self.watched(train)
            ours.append(len(scored) / seconds)
            both = list(zip(scored, theirs_scored, strict=True))
            pairs += [(a, b) for a, b in both if a is not None and b is not None]
            failed += sum((a is None) != (b is None) for a, b in both)
        share = fmean(ours) * training_operations(self.task, self.space.recipe) / peak_rate(self.device, self.cores)
        gap = fmean(abs(a - b) for a, b in pairs)
        return [
            f"(a) trained, {len(found)} candidates of {options.seeds} seeds in {options.rounds} turns, median turn:",
            f"    plain loop {median(theirs):.2f} trainings a second, lossforge {median(ours):.2f}; "
            f"lossforge / plain loop {median(a / b for a, b in zip(ours, theirs, strict=True)):.2f}",
            f"    mean accuracy: plain loop {fmean(b for _, b in pairs):.4f}, "
            f"lossforge {fmean(a for a, _ in pairs):.4f}; "
            f"mean difference of a pair {gap:.4f}; {failed} of {len(pairs) + failed} failed on one side only",
            f"(c) share of the peak rate of {self.cores} cores or the GPU: {share:.1%}",
            *self.idle_workers("a"),
        ]

    def judged(self) -> list[str]:
        """(b). Which candidates the rival trains is known of all; what that takes is measured on some."""
        options = self.options
        screener, strategy = Screener(screen_settings(self.space)), Recorded(self.space)
        ours = theirs = 0.0
        judged = passed = trainable = unlooked = 0
        seen: set[str] = set()
        with tempfile.TemporaryDirectory() as folder:
            ledger = Ledger(Path(folder) / "ledger.sqlite")
            recorder, scores = Recorder(ledger, self.executor, lambda: False), Scores()
            control = recorder.run(
                trainings_of(self.space, [CROSS_ENTROPY], options.seeds, options.rate), Stage.CONTROL
            )
            scores.add_control(control)
            stops = floors(control, self.space.recipe)
            rates = {self.task.title: options.rate}
            generation = Generation(self.space, strategy, screener, scores, recorder, rates, floors=stops)
            for number in range(options.generations):
                strategy.proposed.clear()
                seconds, rows = self.watched(partial(generation.run, number))
                ours += seconds
                judged += len(rows)
                passed += sum(Outcome(row.outcome).of_training for row in rows)
                new = {prefix(tree): tree for tree in strategy.proposed[: len(rows)]}
                unseen = [tree for text, tree in new.items() if text not in seen and tree.uses("y_pred")]
                trees = [tree for tree in unseen if uses_both(tree)]
                seen.update(new)
                trainable, unlooked = trainable + len(trees), unlooked + len(unseen)
                sample = trees[:: max(1, len(trees) // options.candidates)]
                seconds, _ = timed(partial(self.rival.train, self.rival_jobs(sample)))
                theirs += seconds * len(trees) / max(1, len(sample))
            ledger.close()
        ours_rate, rival_rate = judged / ours, judged / theirs
        return [
            f"(b) judged, {options.generations} generations of a population of {self.space.evolution.population}, "
            f"{judged} candidates, {options.seeds} seeds each;",
            f"    lossforge trained {passed}, a share of {self.space.fitness.race:g} of them on all seeds, the "
            f"plain loop would train {trainable}:",
            f"    plain loop {rival_rate:.2f} candidates a second, lossforge {ours_rate:.2f}; "
            f"lossforge / plain loop {ours_rate / rival_rate:.1f}",
            f"    a loop that does not look for both leaves would train {unlooked}: lossforge / that loop "
            f"{ours_rate / rival_rate * unlooked / trainable:.1f}",
            *self.idle_workers("b"),
        ]


Result = TypeVar("Result")


def timed(run: Callable[[], Result]) -> tuple[float, Result]:
    started = time.perf_counter()
    result = run()
    return time.perf_counter() - started, result


def memory(arguments: list[str]) -> list[str]:
    """(d), each number of networks in a process of its own."""
    told = []
    for lanes in LANES:
        command = [sys.executable, __file__, *arguments, "--memory-of", str(lanes)]
        answer = subprocess.run(command, capture_output=True, text=True, check=True)
        told.append(f"K = {lanes}: {float(answer.stdout):.0f} MiB")
    return ["(d) growth of a process's peak memory over one that has trained one network: " + ", ".join(told)]


def options_of(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--space", type=Path, default=Path("search_spaces/digits.toml"))
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change a key of the space")
    parser.add_argument("--npz", type=Path, help="the task's data, as npz:PATH")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rate", type=float, default=0.002, help="learning rate")
    parser.add_argument("--seeds", type=int, default=4, help="trainings of a candidate")
    parser.add_argument("--cohort", type=int, default=16, help="networks that lossforge trains at once, at most")
    parser.add_argument("--workers", type=int, default=0, help="lossforge's processes; 0: one a core, on a GPU one")
    parser.add_argument("--candidates", type=int, default=8, help="that are trained in one turn")
    parser.add_argument("--rounds", type=int, default=3, help="turns of (a)")
    parser.add_argument("--generations", type=int, default=3, help="turns of (b)")
    parser.add_argument("--population", type=int, default=0, help="of (b); 0: the space's")
    parser.add_argument("--seed", type=int, default=0, help="of the stream of candidates")
    parser.add_argument("--parts", default="abcd", help="which of the figures to take")
    parser.add_argument("--write", action="store_true", help=f"write results/{RESULTS.name} too")
    parser.add_argument("--networks", action="store_true", help="instead, a table of all networks; see networks.py")
    parser.add_argument("--only", nargs="*", metavar="NETWORK", help="of --networks: these")
    parser.add_argument("--precision", default="float32", help="of --networks")
    parser.add_argument("--quick", action="store_true", help="of --networks: two tiny ones, to see that it works")
    parser.add_argument("--memory-of", type=int, help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def space_of(options: argparse.Namespace) -> SearchSpace:
    workers = options.workers or (1 if options.device == "cuda" else len(os.sched_getaffinity(0)))
    changes = [
        f"seed={options.seed}",
        f"recipe.epochs={options.epochs}",
        f"recipe.batch_size={options.batch}",
        f"recipe.learning_rate={options.rate}",
        f"recipe.cohort={options.cohort}",
        f"fitness.seeds={options.seeds}",
        f"fitness.finalist_seeds={options.seeds}",
        "fitness.finalists=0",  # both sides judge on the same seeds
        "screening.audit=0",
        f"execution.device={options.device}",
        f"execution.workers={workers}",
        *([f"evolution.population={options.population}"] if options.population else []),
        *([f"task.data=npz:{options.npz.resolve()}"] if options.npz else []),
        *options.set,
    ]
    return with_gainful_cohorts(load_space(options.space, changes), options.device)


def main() -> None:
    arguments = sys.argv[1:]
    options = options_of(arguments)
    if options.networks:
        networks.main(options, arguments)
        return
    space = space_of(options)
    if options.memory_of:
        print(lanes_memory(space, options.memory_of, options.rate, options.device))
        return
    shown = set(options.parts)
    place = torch.cuda.get_device_name() if options.device == "cuda" else hardware()["processor"]
    (task,) = space.task
    lines = [
        f"torch {torch.__version__}, Python {platform.python_version()}, {place}, {os.cpu_count()} cores",
        f"{task.title}: {task.model} of width {task.width}, {options.epochs} epochs of batches of {options.batch}, "
        f"rate {options.rate:g}; lossforge: cohorts of {space.recipe.of(task).lanes}, "
        f"{space.execution.workers} worker(s)",
    ]
    print("\n".join(lines), flush=True)
    parts = [part for letters, part in (("ac", Benchmark.trained), ("b", Benchmark.judged)) if set(letters) & shown]
    if parts:
        compile_kernels()
        benchmark = Benchmark(space, options)
        lines += benchmark.modes
        try:
            for part in parts:
                found = part(benchmark)
                print("\n".join(found), flush=True)
                lines += found
        finally:
            benchmark.close()
    if "d" in shown:
        found = memory(arguments)
        print("\n".join(found))
        lines += found
    if options.write:
        RESULTS.write_text(page(lines, arguments), encoding="utf-8")


def page(lines: list[str], arguments: list[str]) -> str:
    command = " ".join(["python benchmarks/throughput.py", *(word for word in arguments if word != "--write")])
    told = "\n".join(f"    {line}" for line in lines)
    return (
        f"# Trained and judged candidates a second, against a plain loop\n\nCommand: `{command}`, at the commit that "
        f"wrote this file, on {datetime.date.today()}.\nOne run; both sides take turns.\n\n{told}\n"
    )


if __name__ == "__main__":
    main()
