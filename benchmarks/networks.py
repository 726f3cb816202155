"""Every registered network at its usual input size, against two plain loops: for `throughput.py --networks`.

The rivals are `plain_loop.py`'s loop as it stands, and the best that can be made of it with a line here and there:
``channels_last``, the recipe's precision by autocast, and matching whose network runs once a seed; both have torch's
fused optimiser. Every core has a process; the sides take turns, and all processes have the same side at a time. What
counts is processor time, which on an idle machine is the time on the clock. Data are drawn, but learnable: each class
has an image of its own, under noise; where pixels have classes, a pixel's follows from its brightness.

"alone" is a request of one training, "together" one of as many as train at once. Time until the first step, and
memory, are those of a process that has loaded its modules and has trained nothing yet.
"""

from __future__ import annotations

import argparse
import datetime
import multiprocessing
import os
import platform
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from statistics import median
from typing import Any

import numpy
import torch

from lossforge.evaluation.calibrate import with_gainful_cohorts
from lossforge.evaluation.evaluate import backend_name, evaluate
from lossforge.evaluation.records import TrainingRequest, pack
from lossforge.evaluation.space_trainings import replicate_seed
from lossforge.evaluation.threads import one_thread
from lossforge.expression.formula import parse_formula
from lossforge.models.registry import MODELS
from lossforge.spaces.schema import RecipeSection, SearchSpace, TaskSection
from lossforge.store.run_folder import hardware
from lossforge.store.stages import Stage
from machine_limits import peak_rate, step_operations
from plain_loop import Trainings
from throughput_sides import peak_resident, prefix, trainings_of

RESULTS = Path(__file__).parent / "results" / "networks.md"
FORMULAS = (
    "exp(y_pred) - y_true * log(y_pred)",
    "square(y_true - y_pred)",
    "-y_true * log(y_pred + 0.1)",
    "sqrt(y_pred) - y_true * tanh(y_pred)",
)
RATE = 0.002
SIDES = ("lossforge", "plain", "best")
CLASSES = 10


@dataclass(frozen=True, slots=True)
class Row:
    """A network at a size: ``shape`` of a sample, ``batch``, and ``steps`` of each training."""

    network: str
    shape: tuple[int, int, int]
    batch: int
    steps: int
    width: int = 16

    @property
    def size(self) -> str:
        """The sample's size, as people write it."""
        channels, height, width = self.shape
        return f"{channels}" if height == width == 1 else f"{channels}×{height}×{width}"


SMALL_IMAGE, COLOUR = (1, 8, 8), (3, 32, 32)
ROWS = (
    Row("small_cnn", SMALL_IMAGE, 64, 150, width=8),
    Row("small_cnn", (1, 28, 28), 64, 60),
    Row("resnet8", SMALL_IMAGE, 64, 80),
    Row("resnet8", COLOUR, 64, 16),
    Row("mlp", (64, 1, 1), 64, 200),
    Row("mlp", (3072, 1, 1), 64, 80),
    Row("mlp_12_8", (30, 1, 1), 64, 200),
    Row("resnet20", COLOUR, 64, 8),
    Row("inception_small", COLOUR, 64, 3),
    Row("unet", (3, 64, 64), 16, 6),
    Row("unet", (3, 128, 128), 8, 4),
    Row("resnet18", COLOUR, 32, 2),
    Row("resnet50", COLOUR, 16, 2),
    Row("vgg16", COLOUR, 32, 2),
    Row("mobilenet_v3", COLOUR, 32, 6),
    Row("convnext_tiny", COLOUR, 16, 2),
    Row("vit_small", COLOUR, 16, 2),
    Row("inception_v3", (3, 75, 75), 8, 2),
    Row("inception_v3_ngl", (3, 32, 32), 4, 1, width=8),
    Row("resnet50_ngl", (3, 32, 32), 4, 1, width=8),
    Row("deeplab_v3", (3, 64, 64), 4, 2),
)
QUICK = (Row("small_cnn", SMALL_IMAGE, 16, 6, width=4), Row("unet", (1, 16, 16), 4, 3, width=4))


@dataclass(frozen=True, slots=True)
class Measured:
    """Of one row: ratios of rivals' time to lossforge's, a turn each, and what else the table tells."""

    row: Row
    backend: str
    lanes: int
    ratios: dict[tuple[str, bool], list[float]]
    peak_share: dict[str, float]
    mebibytes: dict[str, float]
    first_step: dict[str, float]


def data_file(row: Row, folder: Path) -> Path:
    """Samples for the row, as an npz file."""
    place = folder / f"{row.network}-{'x'.join(map(str, row.shape))}.npz"
    numbers = numpy.random.default_rng(0)
    count = 10 * max(4 * row.batch, 4 * CLASSES)
    channels, height, width = row.shape
    # What fills a page of memory once is enough for the sizes at which one sample is a large image.
    count = min(count, max(16 * row.batch, int(6e7 / (channels * height * width))))
    dense = MODELS[row.network].dense
    labels = numpy.arange(count) % CLASSES
    patterns = numbers.normal(size=(CLASSES, height, width, channels))
    images = numbers.normal(size=(count, height, width, channels))
    if not dense:
        images += patterns[labels]
    images = ((images - images.min()) / (images.max() - images.min()) * 255).astype(numpy.uint8)
    if dense:
        masks = (images.mean(-1) > images.mean()).astype(numpy.uint8)
        numpy.savez(place, x_train=images, m_train=masks)
    elif height == width == 1:
        numpy.savez(place, x_train=images[:, 0, 0].astype(numpy.float32), y_train=labels)
    else:
        numpy.savez(place, x_train=images, y_train=labels)
    return place


def space_of(row: Row, data: Path, precision: str) -> SearchSpace:
    """A space whose trainings are the row's."""
    kind = "masks" if MODELS[row.network].dense else "npz"
    task = TaskSection(
        data=f"{kind}:{data}", model=row.network, width=row.width, metric="accuracy", validation=max(2 * row.batch, 20)
    )
    recipe = RecipeSection.model_validate(
        {
            "steps": row.steps,
            "epochs": 1,
            "batch_size": row.batch,
            "learning_rate": RATE,
            "stop_at": 0.0,
            "cohort": 16,
            "precision": precision,
            # It costs a pass of 512 samples: nothing beside a whole training, and too much beside few steps.
            "match_gradient": row.steps >= 60,
        }
    )
    return with_gainful_cohorts(SearchSpace(name="networks", task=[task], recipe=recipe), "cpu")


def lanes_of(space: SearchSpace) -> int:
    """Networks that train at once."""
    return space.recipe.of(space.task[0]).lanes


def requests_of(space: SearchSpace, count: int) -> list[TrainingRequest]:
    """``count`` trainings, of each formula on as many seeds as there is room for."""
    seeds = max(1, -(-count // len(FORMULAS)))
    with_lanes = space if count > 1 else _with_cohort(space, 1)
    wanted = trainings_of(with_lanes, FORMULAS[: -(-count // seeds)], seeds, RATE)[:count]
    return pack(wanted)


def _with_cohort(space: SearchSpace, lanes: int) -> SearchSpace:
    recipe = space.recipe.model_copy(update={"cohort": lanes})
    return space.model_copy(update={"recipe": recipe, "task": [space.task[0].model_copy(update={"cohort": None})]})


def jobs_of(space: SearchSpace, count: int) -> list[tuple[str, int]]:
    """The same for a plain loop."""
    seeds = max(1, -(-count // len(FORMULAS)))
    numbers = [replicate_seed(space.seed, Stage.SEARCH, space.task[0], number) for number in range(seeds)]
    trees = [prefix(parse_formula(formula)) for formula in FORMULAS]
    return [(tree, seed) for tree in trees for seed in numbers][:count]


@lru_cache(maxsize=4)
def _rival(space_text: str, best: bool) -> Trainings:
    space = SearchSpace.model_validate_json(space_text)
    return Trainings(space.task[0], space.recipe, RATE, "cpu", best=best)


def side(name: str, space: SearchSpace, count: int) -> tuple[float, list[float | None]]:
    """Processor time of ``count`` trainings by one of `SIDES` in this process, and their accuracies."""
    if name == "lossforge":
        requests = requests_of(space, count)
        started = time.process_time()
        results = [evaluate(request, "cpu") for request in requests]
        seconds = time.process_time() - started
        return seconds, [accuracy for result in results for accuracy in result.accuracies]
    rival, jobs = _rival(space.model_dump_json(), name == "best"), jobs_of(space, count)
    rival.forget()
    started = time.process_time()
    accuracies = [rival.run(tree, seed) for tree, seed in jobs]
    return time.process_time() - started, accuracies


def first_step(name: str, space: SearchSpace) -> tuple[float, float]:
    """Processor time of a process's first training, of one step, and MiB that the peak grows by with two steps more."""
    from lossforge.data.datasets import load_task

    load_task(space.task[0], "cpu")
    step = space.model_copy(update={"recipe": space.recipe.model_copy(update={"steps": 1})})
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    before = peak_resident()
    seconds, _ = side(name, step, 1)
    side(name, step.model_copy(update={"recipe": step.recipe.model_copy(update={"steps": 2})}), 1)
    return seconds, peak_resident() - before


def _core_peak(_: object) -> float:
    return peak_rate("cpu", 1, side=1024)


def _side(work: tuple[str, SearchSpace, int]) -> tuple[float, list[float | None]]:
    return side(*work)


def in_fresh(name: str, space: SearchSpace) -> tuple[float, float]:
    """`first_step` in a child of this process, which has loaded modules, trained nothing, and has no threads."""
    with multiprocessing.get_context("fork").Pool(1, one_thread) as pool:
        return pool.apply(first_step, (name, space))


class Table:
    """Measures rows, and prints them as it goes."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.processes = len(os.sched_getaffinity(0))
        context = multiprocessing.get_context("spawn")
        self._pool = context.Pool(self.processes, one_thread)

    def everywhere(self, function: Callable[[Any], Any], work: object) -> list[Any]:
        """What the function makes of the work, in every process at the same time."""
        return self._pool.map(function, [work] * self.processes, chunksize=1)

    def turn(self, name: str, space: SearchSpace, count: int) -> tuple[float, list[float | None]]:
        """Mean processor time of a process for ``count`` trainings, all processes at it; the accuracies."""
        found = self.everywhere(_side, (name, space, count))
        return sum(seconds for seconds, _ in found) / len(found), found[0][1]

    def measured(self, row: Row, space: SearchSpace, fresh: dict[str, tuple[float, float]]) -> Measured:
        """One row; ``fresh`` are its sides' `first_step`."""
        options = self.options
        lanes = lanes_of(space)
        ratios: dict[tuple[str, bool], list[float]] = {}
        seconds: dict[str, list[float]] = {name: [] for name in SIDES}
        for number in range(options.rounds + 1):  # the first warms up
            for together in (False, True):
                count = lanes if together else 1
                order = SIDES if number % 2 else SIDES[::-1]
                found = {name: self.turn(name, space, count) for name in order}
                if not number:
                    continue
                for rival in SIDES[1:]:
                    ratios.setdefault((rival, together), []).append(found[rival][0] / found["lossforge"][0])
                if together:
                    for name in SIDES:
                        seconds[name].append(found[name][0] / count)
        peak = median(self.everywhere(_core_peak, None))
        recipe = space.recipe.model_copy(update={"steps": 0})
        operations = step_operations(space.task[0], recipe) * row.steps
        return Measured(
            row=row,
            backend=backend_name(space.task[0], space.recipe.backend, lanes, "cpu"),
            lanes=lanes,
            ratios=ratios,
            peak_share={name: operations / median(times) / peak for name, times in seconds.items()},
            mebibytes={name: fresh[name][1] for name in SIDES},
            first_step={name: fresh[name][0] for name in SIDES},
        )

    def close(self) -> None:
        """End the processes."""
        self._pool.terminate()
        self._pool.join()


HEAD = (
    "| network | input, batch | back end, networks at once | / plain loop, together | alone | / best loop, together "
    "| alone | share of a core's peak: lossforge, plain, best | MiB: lossforge, best | first step, s: lossforge, best |"
)


def told_ratio(values: Sequence[float]) -> str:
    """Median, least and greatest of the turns."""
    return f"{median(values):.2f} ({min(values):.2f}–{max(values):.2f})"


def line(found: Measured) -> str:
    """A row of the table."""
    row = found.row
    cells = [
        row.network,
        f"{row.size}, {row.batch}",
        f"{found.backend}, {found.lanes}",
        *(told_ratio(found.ratios[rival, together]) for rival in SIDES[1:] for together in (True, False)),
        ", ".join(f"{found.peak_share[name]:.0%}" for name in SIDES),
        ", ".join(f"{found.mebibytes[name]:.0f}" for name in ("lossforge", "best")),
        ", ".join(f"{found.first_step[name]:.2f}" for name in ("lossforge", "best")),
    ]
    return f"| {' | '.join(cells)} |"


def rows_of(options: argparse.Namespace) -> list[Row]:
    """What is asked for."""
    rows = QUICK if options.quick else ROWS
    return [row for row in rows if not options.only or row.network in options.only]


def main(options: argparse.Namespace, arguments: Sequence[str]) -> list[Measured]:
    """Print the table, and write it where that is asked for."""
    with tempfile.TemporaryDirectory() as folder:
        rows = rows_of(options)
        spaces = [space_of(row, data_file(row, Path(folder)), options.precision) for row in rows]
        fresh = [{name: in_fresh(name, space) for name in SIDES} for space in spaces]
        table = Table(options)
        try:
            return _printed(table, options, arguments, zip(rows, spaces, fresh, strict=True))
        finally:
            table.close()


def _printed(
    table: Table,
    options: argparse.Namespace,
    arguments: Sequence[str],
    rows: Iterable[tuple[Row, SearchSpace, dict[str, tuple[float, float]]]],
) -> list[Measured]:
    told = [
        f"torch {torch.__version__}, Python {platform.python_version()}, {hardware()['processor']}, "
        f"{table.processes} cores, each with a process of one thread; {options.precision}; {options.rounds} turns, "
        "median (least to greatest)",
        "",
        HEAD,
        "|---" * HEAD.count(" | ") + "|---|",
    ]
    print("\n".join(told), flush=True)
    found: list[Measured] = []
    for row, space, fresh in rows:
        found.append(table.measured(row, space, fresh))
        told.append(line(found[-1]))
        print(told[-1], flush=True)
    if options.write:
        command = " ".join(["python benchmarks/throughput.py", *(word for word in arguments if word != "--write")])
        RESULTS.write_text(
            "# Every network against a plain loop, and the best loop that can be made of it\n\n"
            f"Command: `{command}`, at the commit that wrote this file, on {datetime.date.today()}.\n\n"
            + "\n".join(told)
            + "\n",
            encoding="utf-8",
        )
    return found
