"""Does the screening funnel reject what cannot train, and nothing else?

    python benchmarks/funnel_accuracy.py [--losses 128] [--seed 0] [--out FILE] [--pool FILE]

Draws losses and trains every one fully, as written and negated, on the digits (`funnel_pool.py` says how), and asks
the funnel, with its default thresholds, about each.

A loss is good where the better of its two signs reaches 93 % accuracy in the plain loop, and bad where it stays below
50 %; of those between, nothing is asked. Drawing goes on until both kinds suffice for a pool with 54 good ones and 65
bad ones in 128, which is then sampled from all that were trained; the rates over all that were trained are printed too.

What the screen for guards rejects is counted apart, good or bad: it does not say that a loss cannot train. Wrong sign:
passed, but the sign that the funnel chose is not good while the other is. Such a loss is lost to a search as a rejected
one is.
"""

from __future__ import annotations

import argparse
import math
import os
import platform
import random
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from funnel_pool import BAD, BAD_SHARE, GOOD, GOOD_SHARE, Trained, pool
from lossforge.expression.canonical import canonical_form
from lossforge.expression.formula import parse_formula
from lossforge.expression.interpreter import Interpreter
from lossforge.expression.signature import probe_gradients
from lossforge.losses.library import CROSS_ENTROPY
from lossforge.screening.screener import Screened, Screener
from lossforge.screening.settings import Screen, ScreenSettings
from lossforge.seeding import derive_seed

ENOUGH = 0.9
"""Share of cross-entropy's accuracy from which the search's own trainer has learnt a loss."""


@dataclass(frozen=True, slots=True)
class Judged:
    """A loss that was trained, and what the funnel said of it."""

    trained: Trained
    said: Screened
    flipped: bool

    @property
    def guards(self) -> bool:
        """Whether the screen for guards rejected it."""
        return self.said.rejected_by == Screen.GUARDS

    @property
    def rejected(self) -> bool:
        """Whether another screen did."""
        return self.said.rejected_by is not None and not self.guards

    @property
    def wrong_sign(self) -> bool:
        """Whether it passed with a sign that is not good, while the other is."""
        passed = self.said.rejected_by is None
        return passed and self.trained.good and self.trained.plain[self.flipped] < GOOD


def judge(trained: Trained, screener: Screener) -> Judged:
    expression = parse_formula(trained.formula)
    said = screener(expression)
    # The same direction, or the opposite one where the funnel repaired the sign.
    first, second = probe_gradients(Interpreter([canonical_form(expression), canonical_form(said.expression)]))
    return Judged(trained, said, bool(first @ second < 0))


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


def summary(title: str, losses: list[Judged]) -> str:
    good = [loss for loss in losses if loss.trained.good and not loss.guards]
    bad = [loss for loss in losses if loss.trained.bad and not loss.guards]
    guards = [loss.trained for loss in losses if loss.guards]
    apart = f"{len(guards)}: {sum(one.good for one in guards)} good, {sum(one.bad for one in guards)} bad"
    return (
        f"| {title} | {len(losses)} | {told(sum(loss.rejected for loss in good), len(good))} "
        f"| {sum(loss.wrong_sign for loss in good)} | {told(sum(loss.rejected for loss in bad), len(bad))} | {apart} |"
    )


def row(loss: Judged, what: str) -> str:
    one = loss.trained
    numbers = " | ".join(f"{accuracy:.1%}" for accuracy in (*one.plain, *one.search))
    return f"| {what} | `{one.formula}` | {numbers} | {loss.said.reason} | {one.origin} |"


def rows(judged: list[Judged], learnt: float) -> list[str]:
    """Everything that went otherwise than asked, and the rest of what a search would miss."""
    wanted = sorted(judged, key=lambda loss: -loss.trained.best)
    return [
        *(row(loss, "good, rejected") for loss in wanted if loss.trained.good and loss.rejected),
        *(row(loss, "good, wrong sign") for loss in wanted if loss.wrong_sign),
        *(row(loss, "guards") for loss in wanted if loss.guards),
        *(row(loss, "bad, passed") for loss in wanted if loss.trained.bad and loss.said.rejected_by is None),
        *(
            row(loss, "not good, rejected, learnt by the search's network")
            for loss in wanted
            if loss.rejected and not loss.trained.good and max(loss.trained.search) >= learnt
        ),
    ]


def sampled(judged: list[Judged], size: int, seed: int) -> list[Judged]:
    """A pool: good and bad ones in their shares, the rest from those between."""
    good, bad = round(GOOD_SHARE * size), round(BAD_SHARE * size)
    chosen = random.Random(derive_seed(seed, "sample"))
    between = [loss for loss in judged if not loss.trained.good and not loss.trained.bad]
    return [
        *chosen.sample([loss for loss in judged if loss.trained.good], good),
        *chosen.sample([loss for loss in judged if loss.trained.bad], bad),
        *chosen.sample(between, min(size - good - bad, len(between))),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--losses", type=int, default=128, help="size of the pool")
    parser.add_argument("--seed", type=int, default=0, help="of the drawing")
    parser.add_argument("--out", type=Path, help="write the report here too")
    parser.add_argument("--pool", type=Path, help="keep what is trained here, or take it from here")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    started = time.monotonic()
    trained = pool(arguments.losses, arguments.seed, arguments.pool)
    reference = next(one for one in trained if one.formula == CROSS_ENTROPY)
    settings = ScreenSettings()
    screener = Screener(settings)
    judged = [judge(one, screener) for one in trained]
    lines = [
        f"# The funnel against full trainings, {arguments.losses} losses, seed {arguments.seed}; "
        f"{os.cpu_count()} cores, {processor()}, Python {platform.python_version()}, torch {torch.__version__}",
        "",
        f"Cross-entropy reaches {reference.plain[0]:.1%} in the plain loop and {reference.search[0]:.1%} in the "
        f"search's trainer. Good: {GOOD:.0%} or more in the plain loop; bad: below {BAD:.0%}.",
        "",
        "| losses | all | good ones rejected | wrong sign | bad ones rejected | rejected by guards |",
        "|---|---|---|---|---|---|",
        summary("pool", sampled(judged, arguments.losses, arguments.seed)),
        summary("all trained", judged),
        "",
        "Of all that were trained:",
        "",
        "| what | formula | plain loop | negated | search's trainer | negated | reason | origin |",
        "|---|---|---|---|---|---|---|---|",
        *rows(judged, ENOUGH * reference.search[0]),
        "",
        f"{settings}; {time.monotonic() - started:.0f} s. Intervals are Wilson's, 95 %.",
    ]
    print("\n".join(lines))
    if arguments.out:
        arguments.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


def processor() -> str:
    from lossforge.store.run_folder import hardware

    return str(hardware()["processor"])


if __name__ == "__main__":
    main()
