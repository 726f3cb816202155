"""Losses that the funnel has not seen, each trained by a plain loop: what `funnel_accuracy.py` asks the funnel about.

Losses are drawn as a search draws them: random trees, mutants of the library's losses, and the library itself; no
two with one signature, none without either leaf. No screen decides what is drawn. Each is trained on the digits
with `lossforge.loss(formula)` as the criterion, as written and negated, by a loop that anybody could have written:
a perceptron of one hidden layer, Adam, two seeds. The search's own network and trainer, gradients matched, are a
second judge.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from statistics import fmean

import torch
from torch import Tensor, nn

import lossforge
from lossforge.data.datasets import load_task
from lossforge.errors import FormulaError
from lossforge.evolution.random_state import RandomState
from lossforge.evolution.variation import Variation
from lossforge.expression.canonical import canonical_form, fold_constants
from lossforge.expression.formula import parse_formula
from lossforge.expression.signature import signature
from lossforge.expression.tree import Expression, call, format_formula
from lossforge.losses.compiled import LossSpec
from lossforge.losses.library import LIBRARY
from lossforge.models.registry import build_model
from lossforge.seeding import derive_seed
from lossforge.spaces.schema import RecipeSection, SearchSpace, TaskSection
from lossforge.training.plan import Plan, Replica
from lossforge.training.train import train_cohort

GOOD, BAD = 0.93, 0.5
"""Accuracy from which a loss is good, and below which it is bad; between them nothing is asked of the funnel."""
GOOD_SHARE, BAD_SHARE = 54 / 128, 65 / 128
"""Shares of a pool."""
RANDOM_SHARE = 0.5
"""Share of random trees; the rest are mutants, of one to three steps."""
CHANCE = 0.1
SEEDS = (1, 2)
TRAINED = 1297
"""Samples of the digits that are trained on; the other 500 score."""
EPOCHS, BATCH, RATE, HIDDEN = 10, 64, 0.01, 64
TASK = TaskSection(data="digits", train=1000, validation=500, test=297, width=8)
RECIPE = RecipeSection(epochs=EPOCHS, batch_size=BATCH, learning_rate=RATE)


@dataclass(frozen=True, slots=True)
class Trained:
    """A loss and the accuracies, as written and negated: of the plain loop and of the search's own trainer."""

    formula: str
    origin: str
    plain: tuple[float, float]
    search: tuple[float, float]

    @property
    def best(self) -> float:
        return max(self.plain)

    @property
    def good(self) -> bool:
        return self.best >= GOOD

    @property
    def bad(self) -> bool:
        return self.best < BAD


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


@lru_cache(maxsize=1)
def digits() -> tuple[Tensor, Tensor]:
    """Pixels ``(1797, 64)`` in [0, 1] and labels, in a fixed order."""
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    return torch.tensor(pixels / 16, dtype=torch.float32)[order], torch.tensor(labels)[order]


def plainly_trained(formula: str, seed: int) -> float:
    """Accuracy on 500 digits after training on the others; what diverges counts as chance."""
    x, y = digits()
    torch.manual_seed(seed)
    network = nn.Sequential(nn.Linear(64, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 10))
    criterion = lossforge.loss(formula)
    optimizer = torch.optim.Adam(network.parameters(), RATE)
    for _ in range(EPOCHS):
        for batch in torch.randperm(TRAINED).split(BATCH):
            optimizer.zero_grad()
            loss = criterion(network(x[batch]), y[batch])
            if not loss.isfinite():
                return CHANCE
            loss.backward()
            optimizer.step()
    with torch.no_grad():
        return float((network(x[TRAINED:]).argmax(1) == y[TRAINED:]).float().mean())


@lru_cache(maxsize=1)
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


def train(expression: Expression, origin: str) -> Trained:
    """Train one loss, as written and negated, with both judges."""
    formulas = [format_formula(expression), format_formula(call("neg", expression))]
    replicas = [Replica(LossSpec(formula), seed, RATE) for formula in formulas for seed in SEEDS]
    found = [CHANCE if score.accuracy is None else score.accuracy for score in train_cohort(make_plan(), replicas)]
    plain = [[plainly_trained(formula, seed) for seed in SEEDS] for formula in formulas]
    search = found[: len(SEEDS)], found[len(SEEDS) :]
    return Trained(formulas[0], origin, (mean(plain[0]), mean(plain[1])), (mean(search[0]), mean(search[1])))


def mean(accuracies: list[float]) -> float:
    return round(fmean(accuracies), 4)


def pool(losses: int, seed: int, kept: Path | None = None) -> list[Trained]:
    """Train what is drawn until both kinds suffice for a pool of so many.

    ``kept`` is a file of those that are trained already, in the order drawn; what is new is added to it.
    """
    trained = read(kept) if kept is not None and kept.exists() else []
    known = iter(trained[:])
    for expression, origin in draw(seed):
        if sum(one.good for one in trained) >= round(GOOD_SHARE * losses) and sum(one.bad for one in trained) >= round(
            BAD_SHARE * losses
        ):
            break
        if (before := next(known, None)) is not None:
            if before.formula != format_formula(expression):
                raise SystemExit(f"{kept}: drawn with another seed or version: {before.formula}")
            continue
        trained.append(train(expression, origin))
        if kept is not None:
            with kept.open("a", encoding="utf-8") as file:
                file.write(json.dumps(asdict(trained[-1])) + "\n")
    return trained


def read(path: Path) -> list[Trained]:
    """Pools as `pool` keeps them."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [Trained(row["formula"], row["origin"], tuple(row["plain"]), tuple(row["search"])) for row in rows]
