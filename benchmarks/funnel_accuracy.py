"""Does the screening funnel reject what cannot train, and nothing else?

    python benchmarks/funnel_accuracy.py [--losses 128] [--seed 0] [--out FILE] [--pool FILE]

Draws losses as a search draws them (random trees, mutants of the library's losses, and the library itself;
no two with one signature, none without either leaf), trains every one fully, as written and negated, on the
digits with clean labels, and asks the funnel, with its default thresholds, about each. No screen decides what
is drawn: the funnel's answers are compared with the trainings only at the end.

A loss is good where the better of its two signs reaches 90 % of cross-entropy's accuracy (mean of two seeds; a
seed that diverges counts as chance). Drawing goes on until both kinds suffice for a pool with 46 % good ones,
which is then sampled from all that were trained; the rates over all that were trained are printed too.

Wrong sign: passed, but the sign that the funnel chose is not good while the other is. Such a loss is lost to a
search as a rejected one is.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import random
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from lossforge.data.datasets import load_task
from lossforge.errors import FormulaError
from lossforge.evolution.random_state import RandomState
from lossforge.evolution.variation import Variation
from lossforge.expression.canonical import canonical_form, fold_constants
from lossforge.expression.formula import parse_formula
from lossforge.expression.interpreter import Interpreter
from lossforge.expression.signature import probe_gradients, signature
from lossforge.expression.tree import Expression, call, format_formula
from lossforge.losses.compiled import LossSpec
from lossforge.losses.library import CROSS_ENTROPY, LIBRARY
from lossforge.models.registry import build_model
from lossforge.screening.screener import Screener
from lossforge.screening.settings import ScreenSettings
from lossforge.seeding import derive_seed
from lossforge.spaces.schema import RecipeSection, SearchSpace, TaskSection
from lossforge.training.plan import Plan, Replica, ReplicaScore
from lossforge.training.train import train_cohort

GOOD_SHARE = 0.46
"""Share of good losses in the pool: 59 of 128."""
ENOUGH = 0.9
"""Share of cross-entropy's accuracy from which a loss is good."""
RANDOM_SHARE = 0.5
"""Share of random trees; the rest are mutants, of one to three steps."""
CHANCE = 0.1
SEEDS = (1, 2)
TASK = TaskSection(data="digits", train=1000, validation=500, test=297, width=8)
RECIPE = RecipeSection(epochs=10, batch_size=64, learning_rate=0.01)


@dataclass(frozen=True, slots=True)
class Judged:
    """A loss, what its trainings reached as written and negated, and what the funnel said."""

    formula: str
    origin: str
    accuracy: float
    negated: float
    rejected_by: str
    reason: str
    flipped: bool

    @property
    def best(self) -> float:
        return max(self.accuracy, self.negated)

    @property
    def chosen(self) -> float:
        """Accuracy of the sign that the funnel would have trained."""
        return self.negated if self.flipped else self.accuracy


def known_losses() -> dict[str, Expression]:
    """The library's losses as expressions, where they are one."""
    losses = {"label_smoothing": parse_formula("-(0.9 * y_true + 0.01) * log(y_pred)")}
    for name, entry in LIBRARY.items():
        if name in losses:
            continue
        with suppress(FormulaError):  # such as dice: no expression over one class of one sample
            losses[name] = parse_formula(entry.spec().formula)
    return losses


def draw(seed: int) -> Iterator[tuple[Expression, str]]:
    """The library, then random trees and mutants for ever: all with their origin, each signature once."""
    variation = Variation(SearchSpace(name="pool", task=[TASK]))
    state = RandomState(derive_seed(seed, "pool"))
    known = known_losses()
    seen: set[str] = set()

    def new(expression: Expression) -> bool:
        form = canonical_form(expression)
        key = signature(expression) if form.uses("y_pred") and form.uses("y_true") else None
        fresh = key is not None and key not in seen
        seen.update([key] if key else [])
        return fresh

    yield from ((expression, name) for name, expression in known.items() if new(expression))
    while True:
        with state.active():
            if random.random() < RANDOM_SHARE:
                tree, origin = variation.fresh()
            else:
                name = random.choice(list(known))
                tree, origin = variation.vocabulary.to_individual(known[name]), f"mutant of {name}"
                for _ in range(random.choices((1, 2, 3), (3, 2, 1))[0]):
                    tree = variation.mutation(tree)[0]
        expression = fold_constants(variation.vocabulary.to_expression(tree))
        if new(expression):
            yield expression, origin


def make_plan() -> Plan:
    data = load_task(TASK, "cpu")
    return Plan(
        train=data.train,
        score=data.validation,
        classes=data.classes,
        recipe=RECIPE,
        epochs=RECIPE.epochs,
        label_noise=0.0,
        build=lambda seed: build_model(TASK.model, data.shape, data.classes, TASK.width, seed),
    )


def train(plan: Plan, expression: Expression) -> tuple[float, float]:
    """Mean accuracy of the loss as written, and negated: one cohort."""
    formulas = [format_formula(expression), format_formula(call("neg", expression))]
    scores = train_cohort(
        plan, [Replica(LossSpec(formula), seed, float(RECIPE.learning_rate)) for formula in formulas for seed in SEEDS]
    )
    return mean(scores[: len(SEEDS)]), mean(scores[len(SEEDS) :])


def mean(scores: list[ReplicaScore]) -> float:
    return sum(CHANCE if score.accuracy is None else score.accuracy for score in scores) / len(scores)


def judge(expression: Expression, origin: str, screener: Screener, plan: Plan) -> Judged:
    accuracy, negated = train(plan, expression)
    said = screener(expression)
    # The same direction, or the opposite one where the funnel repaired the sign.
    first, second = probe_gradients(Interpreter([expression, said.expression]))
    agreement = first @ second
    return Judged(
        format_formula(expression),
        origin,
        accuracy,
        negated,
        str(said.rejected_by) if said.rejected_by else "",
        said.reason,
        bool(agreement < 0),
    )


def wilson(count: int, total: int, z: float = 1.96) -> tuple[float, float]:
    """95 % interval of a share."""
    if not total:
        return 0.0, 1.0
    share, square = count / total, z * z / total
    middle, reach = share + square / 2, z * math.sqrt(share * (1 - share) / total + square / total / 4)
    return max(0.0, (middle - reach) / (1 + square)), min(1.0, (middle + reach) / (1 + square))


def told(count: int, total: int) -> str:
    low, high = wilson(count, total)
    return f"{count} of {total} = {count / max(total, 1):.1%} [{low:.1%}, {high:.1%}]"


def summary(title: str, good: list[Judged], bad: list[Judged], bar: float) -> str:
    false = sum(bool(loss.rejected_by) for loss in good)
    wrong = sum(not loss.rejected_by and loss.chosen < bar for loss in good)
    caught = sum(bool(loss.rejected_by) for loss in bad)
    return (
        f"| {title} | {len(good) + len(bad)} | {len(good)} | {len(bad)} | {told(false, len(good))} "
        f"| {told(wrong, len(good))} | {told(caught, len(bad))} |"
    )


def row(loss: Judged, what: str) -> str:
    return (
        f"| {what} | `{loss.formula}` | {loss.accuracy:.1%} | {loss.negated:.1%} | "
        f"{f'{loss.rejected_by}: {loss.reason}' if loss.rejected_by else ''} | {loss.origin} |"
    )


def split(losses: list[Judged], bar: float) -> tuple[list[Judged], list[Judged]]:
    """Good ones and bad ones."""
    return [loss for loss in losses if loss.best >= bar], [loss for loss in losses if loss.best < bar]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--losses", type=int, default=128, help="size of the pool; 46 %% of it are good ones")
    parser.add_argument("--seed", type=int, default=0, help="of the drawing")
    parser.add_argument("--out", type=Path, help="write the report here too")
    parser.add_argument("--pool", type=Path, help="write every trained loss here, as lines of JSON")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    started = time.monotonic()
    lines: list[str] = []

    def tell(*new: str) -> None:
        lines.extend(new)
        print("\n".join(new), flush=True)

    tell(
        f"# The funnel against full trainings, {arguments.losses} losses, seed {arguments.seed}; "
        f"{os.cpu_count()} cores, {processor()}, Python {platform.python_version()}, torch {torch.__version__}",
        "",
    )
    plan = make_plan()
    reference = train(plan, parse_formula(CROSS_ENTROPY))[0]
    bar = ENOUGH * reference
    tell(f"Cross-entropy reaches {reference:.1%}; a loss is good from {bar:.1%} on.", "")
    settings = ScreenSettings()
    screener = Screener(settings)
    want_good = round(GOOD_SHARE * arguments.losses)
    want_bad = arguments.losses - want_good
    judged: list[Judged] = []
    good: list[Judged] = []
    bad: list[Judged] = []
    for expression, origin in draw(arguments.seed):
        judged.append(judge(expression, origin, screener, plan))
        good, bad = split(judged, bar)
        if len(good) >= want_good and len(bad) >= want_bad:
            break
    sample = random.Random(derive_seed(arguments.seed, "sample"))
    tell(
        "| losses | pool | good | bad | good ones rejected | wrong sign | bad ones rejected |",
        "|---|---|---|---|---|---|---|",
        summary("pool", sample.sample(good, want_good), sample.sample(bad, want_bad), bar),
        summary("all trained", good, bad, bar),
        "",
        "Of all that were trained (accuracy as written, negated):",
        "",
        "| what | formula | as written | negated | reason | origin |",
        "|---|---|---|---|---|---|",
        *(row(loss, "good, rejected") for loss in good if loss.rejected_by),
        *(row(loss, "good, wrong sign") for loss in good if not loss.rejected_by and loss.chosen < bar),
        *(row(loss, "bad, passed") for loss in sorted(bad, key=lambda loss: loss.best) if not loss.rejected_by),
        "",
        f"{settings}; {time.monotonic() - started:.0f} s. Intervals are Wilson's, 95 %.",
    )
    if arguments.pool:
        arguments.pool.write_text("".join(json.dumps(asdict(loss)) + "\n" for loss in judged), encoding="utf-8")
    if arguments.out:
        arguments.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


def processor() -> str:
    from lossforge.store.run_folder import hardware

    return str(hardware()["processor"])


if __name__ == "__main__":
    main()
