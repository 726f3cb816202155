"""Does a search find better losses than plain evolution, DEAP's own loop, or random sampling from as many trainings?

    python benchmarks/search_quality.py [--tasks digits_noisy,...] [--strategies all,...] [--repeats 12] [--out FOLDER]
    python benchmarks/search_quality.py --summary [--out FOLDER]

A cell is one task, one strategy and one repeat; the repeat is the run's seed, the same for every strategy, so that
differences are of pairs. A cell searches as a user would, and is then scored on seeds and images that no search saw:
the loss that led at the end of each generation, at the recipe's rate; and the last one beside the best known losses of
the library, each at its own best rate. Finished cells are files, and what is under way is resumed: stop it and go on at
any time, or run parts on several machines and put the files together. `--generations 3 --scored 4` makes small cells.

On two cores a cell of the digits takes about three minutes, one of Fashion-MNIST ten; all 192 take half a day.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from scipy.stats import t as student

import lossforge
from ea_simple import EaSimpleStrategy
from lossforge.evaluation.space_trainings import key_in, trainings
from lossforge.evolution.choice import make_strategy
from lossforge.executors.choice import make_executor
from lossforge.losses.behind_heads import baseline
from lossforge.losses.compiled import LossSpec
from lossforge.losses.library import LIBRARY
from lossforge.search import loop
from lossforge.search.control import control_key
from lossforge.search.hall_of_fame import hall_of_fame, read_hall_of_fame
from lossforge.search.recorder import Recorder
from lossforge.search.scores import as_score
from lossforge.search.standing import scores_at
from lossforge.seeding import derive_seed
from lossforge.spaces.schema import SearchSpace
from lossforge.store.checkpoint import load_checkpoint
from lossforge.store.files import write_atomically
from lossforge.store.ledger import Ledger
from lossforge.store.run_folder import RunFolder
from lossforge.validation.contenders import fitting

TASKS: dict[str, tuple[str, list[str]]] = {
    "digits_noisy": ("digits", ["task.label_noise=0.4"]),
    "digits_tail": ("digits", ["task.label_noise=0.0", "task.imbalance=20", 'task.metric="balanced_accuracy"']),
    "fashion_noisy": ("fashion_mnist", ["task.label_noise=0.4", "task.train=3000"]),
    "fashion_clean": ("fashion_mnist", []),
}
STRATEGIES: dict[str, list[str]] = {
    "all": [],
    "plain": ["evolution.surrogate.enabled=false"],
    "random": ['evolution.strategy="random"'],
    "ea_simple": ["evolution.surrogate.enabled=false", "evolution.niche=0.0"],
}
KNOWN = 5
"""Known losses, the best of the library by a coarse pass on the task, that the first is compared with."""
RATES = (0.5, 1.0, 2.0)
"""Of cross-entropy's best: those that each loss is tuned over."""
TUNING_SEEDS = 4
STAGE = "search quality"


class Judge:
    """Trains losses on replicates that no search has seen, and keeps them in a ledger of its own."""

    def __init__(self, space: SearchSpace, rate: float, file: Path, root: int) -> None:
        self.space, self.rate, self.root = space, rate, root
        self.task = space.task[0]
        self.ledger = Ledger(file)
        self.executor = make_executor(space.execution)
        self.recorder = Recorder(self.ledger, self.executor, lambda: False)

    def close(self) -> None:
        self.executor.close()
        self.ledger.close()

    def scores(self, jobs: Iterable[tuple[LossSpec, float]], seeds: int, part: str) -> list[list[float]]:
        """Scores of each loss and rate on the same replicates of a part."""
        wanted = [
            training
            for loss, rate in jobs
            for training in trainings(
                self.space,
                self.task,
                loss,
                key_in(self.space, loss),
                rate,
                range(seeds),
                stage=f"{STAGE} {part}",
                root=self.root,
                part=part,
            )
        ]
        rows = self.recorder.run(wanted, STAGE)
        return [[as_score(row.accuracy) for row in rows[at : at + seeds]] for at in range(0, len(rows), seeds)]

    def tuned(self, losses: list[LossSpec], seeds: int) -> list[tuple[float, float]]:
        """The best of the rates of each loss on validation data, and its score there."""
        rates = [factor * self.rate for factor in RATES]
        jobs = [(loss, rate) for loss in losses for rate in rates]
        means = [fmean(one) for one in self.scores(jobs, seeds, "validation")]
        found = []
        for at in range(0, len(means), len(rates)):
            best = max(range(len(rates)), key=lambda place: (means[at + place], -place))
            found.append((rates[best], means[at + best]))
        return found


def known_losses(space: SearchSpace, rate: float, folder: Path) -> list[str]:
    """Names of the known losses that are best on the task; found once a task, on seeds of no repeat."""
    file = folder / "known.json"
    if not file.exists():
        judge = Judge(space, rate, folder / "known.sqlite", derive_seed(0, "search quality, known"))
        found = [one for one in fitting(LIBRARY, space) if one.loss != baseline(space.head)]
        scores = [score for _, score in judge.tuned([one.loss for one in found], 1)]
        judge.close()
        order = sorted(range(len(found)), key=lambda place: (-scores[place], place))
        write_atomically(file, json.dumps([found[place].name for place in order[:KNOWN]]) + "\n")
    names: list[str] = json.loads(file.read_text(encoding="utf-8"))
    return names


def searched(task: str, strategy: str, repeat: int, folder: Path, changes: list[str]) -> RunFolder:
    """The finished run of a cell."""
    base, overrides = TASKS[task]
    chosen = [*overrides, *STRATEGIES[strategy], "validation.after_search=false", *changes]
    simple: Callable[..., Any] = EaSimpleStrategy
    loop.make_strategy = simple if strategy == "ea_simple" else make_strategy  # type: ignore[attr-defined]
    run = folder / "runs" / f"{strategy}-{repeat}"
    if run.exists():
        lossforge.resume(run)
    else:
        lossforge.search(base, run=run, seed=repeat, overrides=chosen, progress=True)
    return RunFolder.open(run)


def leaders(folder: RunFolder, space: SearchSpace) -> list[dict[str, Any]]:
    """What led at the end of each generation, with the trainings until then, and the last one with all its seeds."""
    state = load_checkpoint(folder.checkpoint_file)
    assert state is not None
    ledger = Ledger(folder.ledger_file, read_only=True)
    last = int(state["generation"])
    found = []
    for number in range(last + 1):
        scores = scores_at(ledger, space, number, leaders=number == last)
        entries = hall_of_fame(scores, space, control_key(space))
        count = len(ledger.trainings("search", up_to_generation=number + (number == last)))
        if entries:
            told = {name: getattr(entries[0], name) for name in type(entries[0]).__slots__}
            found.append({"generation": number + 1, "trainings": count, **told, "found_in": entries[0].generation})
    ledger.close()
    return found


def gains(mine: list[float], others: list[float]) -> list[float]:
    """Differences of pairs, in points."""
    return [100 * (one - other) for one, other in zip(mine, others, strict=True)]


def cell(task: str, strategy: str, repeat: int, folder: Path, changes: list[str], scored: int) -> dict[str, Any]:
    """Search, and score what was found on what was not seen."""
    started = time.monotonic()
    run = searched(task, strategy, repeat, folder, changes)
    space = run.space()
    state = load_checkpoint(run.checkpoint_file)
    assert state is not None
    rate = float(state["learning_rates"][space.task[0].title])
    led = leaders(run, space)
    control = baseline(space.head)
    known = [(one.name, one.loss) for one in fitting(known_losses(space, rate, folder), space)]
    judge = Judge(space, rate, folder / "runs" / f"{strategy}-{repeat}.sqlite", derive_seed(repeat, STAGE))
    formulas = list(dict.fromkeys(one["formula"] for one in led))
    (reported, *_) = read_hall_of_fame(run.hall_of_fame_file)
    specs = [LossSpec(text) for text in formulas]
    test = judge.scores([(loss, rate) for loss in (control, *specs)], scored, "test")
    true = {text: gains(test[place + 1], test[0]) for place, text in enumerate(formulas)}
    again = judge.scores([(control, rate), (LossSpec(led[-1]["searched"]), rate)], 8 * scored, "validation")
    rivals = [("cross_entropy", control), *known]
    best = judge.tuned([LossSpec(led[-1]["formula"]), *(loss for _, loss in rivals)], TUNING_SEEDS)
    losses = [LossSpec(led[-1]["formula"]), *(loss for _, loss in rivals)]
    tuned = judge.scores([(loss, own) for loss, (own, _) in zip(losses, best, strict=True)], scored, "test")
    judge.close()
    return {
        "task": task,
        "strategy": strategy,
        "repeat": repeat,
        "seconds": round(time.monotonic() - started),
        "reported": asdict(reported),
        "leaders": [{**one, "true": fmean(true[one["formula"]])} for one in led],
        "true": true[led[-1]["formula"]],
        "fresh": gains(again[1], again[0]),
        "over_known": {name: gains(tuned[0], other) for (name, _), other in zip(rivals, tuned[1:], strict=True)},
        "rates": {name: own for (name, _), (own, _) in zip([("first", control), *rivals], best, strict=True)},
    }


def interval(values: list[float], level: float = 0.95) -> tuple[float, float]:
    """Mean, and how far Student's interval of that two-sided level reaches from it."""
    if len(values) < 2:
        return fmean(values), math.inf
    reach = float(student.ppf((1 + level) / 2, len(values) - 1)) * stdev(values) / math.sqrt(len(values))
    return fmean(values), reach


def beats(one: dict[str, Any]) -> bool:
    """Whether the first is above every known loss, with its interval over seeds."""
    return all(mean - reach > 0 for mean, reach in map(interval, one["over_known"].values()))


def summary(folder: Path) -> list[str]:
    """Tables of all cells that there are."""
    cells = [json.loads(file.read_text(encoding="utf-8")) for file in sorted(folder.glob("*/*-*.json"))]
    lines = [
        "| task | strategy | repeats | trainings | true gain | minus random, lower 95 % | reported minus fresh "
        "| fresh within the reported interval | beats every known |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for task in TASKS:
        by = {
            name: {one["repeat"]: one for one in cells if (one["task"], one["strategy"]) == (task, name)}
            for name in STRATEGIES
        }
        for name, own in by.items():
            if not own:
                continue
            mean, reach = interval([fmean(one["true"]) for one in own.values()])
            pairs = [fmean(own[k]["true"]) - fmean(by["random"][k]["true"]) for k in own if k in by["random"]]
            low = "" if name == "random" or len(pairs) < 2 else _one_sided(pairs)
            told = [one for one in own.values() if one["reported"]["gain"] is not None]
            bias, width = interval([one["reported"]["gain"] - fmean(one["fresh"]) for one in told] or [math.nan])
            within = sum(one["reported"]["low"] <= fmean(one["fresh"]) <= one["reported"]["high"] for one in told)
            trained = fmean(one["leaders"][-1]["trainings"] for one in own.values())
            won = sum(map(beats, own.values()))
            lines.append(
                f"| {task} | {name} | {len(own)} | {trained:.0f} | {mean:+.2f} ± {reach:.2f} | {low} "
                f"| {bias:+.2f} ± {width:.2f} | {within} of {len(told)} | {won} of {len(own)} |"
            )
        if by["all"] and by["plain"]:
            lines += _sooner(task, by["all"], by["plain"])
    return lines


def _one_sided(pairs: list[float]) -> str:
    mean, reach = interval(pairs, 0.9)
    return f"{mean:+.2f}, {mean - reach:+.2f}"


def _sooner(task: str, ours: dict[int, dict[str, Any]], plain: dict[int, dict[str, Any]]) -> list[str]:
    """From which share of plain evolution's trainings the mean true gain is what plain evolution's is at its end."""
    shared = sorted(set(ours) & set(plain))
    if not shared:
        return []
    goal = fmean(plain[k]["leaders"][-1]["true"] for k in shared)
    whole = fmean(plain[k]["leaders"][-1]["trainings"] for k in shared)
    for step in range(min(len(ours[k]["leaders"]) for k in shared)):
        if fmean(ours[k]["leaders"][step]["true"] for k in shared) >= goal:
            share = fmean(ours[k]["leaders"][step]["trainings"] for k in shared) / whole
            return ["", f"{task}: plain evolution's final {goal:+.2f} is reached with {share:.0%} of its trainings", ""]
    return ["", f"{task}: plain evolution's final {goal:+.2f} is not reached", ""]


def names(text: str, known: Iterable[str]) -> list[str]:
    found = text.split(",")
    unknown = set(found) - set(known)
    if unknown:
        raise argparse.ArgumentTypeError(f"{', '.join(sorted(unknown))}: there are {', '.join(known)}")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=partial(names, known=TASKS), default=list(TASKS))
    parser.add_argument("--strategies", type=partial(names, known=STRATEGIES), default=list(STRATEGIES))
    parser.add_argument("--repeats", type=int, default=12)
    parser.add_argument("--first", type=int, default=1000, help="seed of the first repeat; those after count up")
    parser.add_argument("--scored", type=int, default=16, help="fresh seeds that the first is scored on")
    parser.add_argument("--generations", type=int, help="default: the space's")
    parser.add_argument("--set", dest="changes", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--out", type=Path, default=Path("search_quality"))
    parser.add_argument("--summary", action="store_true", help="only print the tables of the cells that there are")
    arguments = parser.parse_args()
    changes = list(arguments.changes)
    if arguments.generations:
        changes.append(f"budget.generations={arguments.generations}")
    if not arguments.summary:
        for repeat in range(arguments.first, arguments.first + arguments.repeats):
            for task in arguments.tasks:
                for strategy in arguments.strategies:
                    folder = arguments.out / task
                    file = folder / f"{strategy}-{repeat}.json"
                    if file.exists():
                        continue
                    (folder / "runs").mkdir(parents=True, exist_ok=True)
                    found = cell(task, strategy, repeat, folder, changes, arguments.scored)
                    write_atomically(file, json.dumps(found, indent=1) + "\n")
                    print(
                        f"{task} {strategy} {repeat}: {fmean(found['true']):+.2f} true, {found['seconds']} s",
                        flush=True,
                    )
    print("\n".join(summary(arguments.out)))


if __name__ == "__main__":
    main()
