"""What becomes of accuracy, speed and stability where a network's ReLU is a special function.

    python benchmarks/activations.py [--seeds 12] [--epochs 30] [--model small_cnn] [--learned] [--out FILE.md]

A paper on fused losses reports 91 % with ReLU and "approximately 94 %" with the four functions together, without saying
which, on what data, with which rates or over how many seeds. Here every activation trains the same network on the same
digits with cross-entropy, from the same seeds:

- accuracy: on test data, each with its own best learning rate of a grid (by validation data, other seeds; the grid goes
  on beyond an end where the best is there), paired with ReLU's by seed, Holm's correction over all of them;
- speed: seconds of a cohort over ReLU's by the same back end, and over ReLU's by its own, turn by turn, medians;
- stability: trainings that did not end with finite numbers at that rate, and at 4 and 16 times it, with the accuracy
  that is left there.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from lossforge.evaluation.evaluate import evaluate
from lossforge.evaluation.records import Setup, Training, TrainingRequest, TrainingResult
from lossforge.losses.compiled import LossSpec
from lossforge.losses.library import CROSS_ENTROPY
from lossforge.models.activations.registry import ACTIVATIONS, USUAL
from lossforge.seeding import derive_seed
from lossforge.spaces.schema import RecipeSection, TaskSection
from lossforge.validation.statistics import holm, paired_difference

RATES = [0.0006, 0.002, 0.006, 0.02]
LEARNED = [
    "jacobi_sn(m=learned)",
    "lerch(s=learned, a=learned)",
    "weierstrass(a=learned, b=learned)",
    "weierstrass_p(m=learned)",
    "mittag_leffler(alpha=learned, beta=learned)",
]
FACTORS = (4, 16)
PAPER = "the paper: 91 % with ReLU and about 94 % with such functions"


@dataclass(frozen=True)
class Bench:
    """The network, its data and how it is trained."""

    model: str
    width: int
    epochs: int
    seeds: int
    tuning_seeds: int
    turns: int

    def train(
        self, activation: str, rate: float, part: str, purpose: str, count: int, backend: str = "rule"
    ) -> TrainingResult:
        """One cohort of ``count`` seeds, those of ``purpose``."""
        task = TaskSection(
            data="digits",
            train=800,
            validation=500,
            test=497,
            model=self.model,
            width=self.width,
            activation=activation,
        )
        recipe = RecipeSection(epochs=self.epochs, cohort=count, backend=backend, stop_at=0.0)
        setup = Setup(task, recipe, self.epochs, part, seconds=3600.0)
        loss = LossSpec(CROSS_ENTROPY)
        seeds = [derive_seed(0, "activations", purpose, number) for number in range(count)]
        return evaluate(
            TrainingRequest(
                setup,
                tuple(Training(setup, "cross_entropy", loss, rate, number, seed) for number, seed in enumerate(seeds)),
            ),
            "cpu",
        )

    def tuned_rate(self, activation: str) -> float:
        """The rate with the best mean accuracy on validation data."""
        found: dict[float, float] = {}
        rates = list(RATES)
        while True:
            for rate in rates:
                if rate not in found:
                    found[rate] = mean(self.train(activation, rate, "validation", "tuning", self.tuning_seeds))
            best = max(found, key=lambda rate: found[rate])
            further = {min(rates): min(rates) / 3, max(rates): max(rates) * 3}.get(best)
            if further is None or len(rates) >= len(RATES) + 3:
                return best
            rates.append(further)


def percent(result: TrainingResult) -> list[float]:
    """Accuracies in percent; a training without one counts as 0."""
    return [100 * (accuracy or 0.0) for accuracy in result.accuracies]


def mean(result: TrainingResult) -> float:
    return statistics.fmean(percent(result))


@dataclass
class Found:
    """What became of one activation."""

    name: str
    rate: float
    accuracies: list[float]
    failed: int
    left: dict[int, tuple[float, int]] = field(default_factory=dict)
    slower: float = 1.0
    slower_than_own: float = 1.0


def examined(bench: Bench, name: str) -> Found:
    """Accuracy and stability of one activation."""
    rate = bench.tuned_rate(name)
    tested = bench.train(name, rate, "test", "test", bench.seeds)
    found = Found(name, rate, percent(tested), sum(one is None for one in tested.accuracies))
    for factor in FACTORS:
        harder = bench.train(name, factor * rate, "test", "test", bench.tuning_seeds)
        found.left[factor] = mean(harder), sum(one is None for one in harder.accuracies)
    return found


def time_all(bench: Bench, found: Sequence[Found]) -> None:
    """How much slower each is, in turns, so that a load on the machine meets all alike."""
    sides = [(one.name, "vmap") for one in found] + [(USUAL, "rule")]
    seconds: dict[tuple[str, str], list[float]] = {side: [] for side in sides}
    for side in sides:
        bench.train(side[0], 1e-3, "validation", "time", bench.tuning_seeds, side[1])
    for _ in range(bench.turns):
        for side in sides:
            result = bench.train(side[0], 1e-3, "validation", "time", bench.tuning_seeds, side[1])
            seconds[side].append(result.seconds)
    medians = {side: statistics.median(values) for side, values in seconds.items()}
    for one in found:
        own = medians[one.name, "vmap"]
        one.slower = own / medians[USUAL, "vmap"]
        one.slower_than_own = own / medians[USUAL, "rule"]


def table(found: Sequence[Found], test_samples: int) -> list[str]:
    """Markdown: a row an activation, ReLU first."""
    usual, others = found[0], found[1:]
    differences = [
        paired_difference(
            [a - b for a, b in zip(one.accuracies, usual.accuracies, strict=True)], resolution=100 / test_samples
        )
        for one in others
    ]
    adjusted = holm([one.p for one in differences])
    head = " | ".join(f"{factor} × rate" for factor in FACTORS)
    lines = [
        f"| activation | rate | accuracy % | against ReLU | p (Holm) | not finite | {head} | time by vmap | time |",
        "|---|---|---|---|---|---|" + "---|" * len(FACTORS) + "---|---|",
    ]
    for place, one in enumerate(found):
        against, p = "", ""
        if place:
            gain = differences[place - 1]
            against, p = f"{gain.mean:+.2f} [{gain.low:+.2f}, {gain.high:+.2f}]", f"{adjusted[place - 1]:.3g}"
        left = " | ".join(
            f"{accuracy:.1f}" + (f" ({failed} not finite)" if failed else "") for accuracy, failed in one.left.values()
        )
        lines.append(
            f"| {one.name} | {one.rate:.3g} | {statistics.fmean(one.accuracies):.2f} | {against} | {p} | "
            f"{one.failed} of {len(one.accuracies)} | {left} | {one.slower:.2f} × | {one.slower_than_own:.2f} × |"
        )
    better = [
        one.name for one, gain, p in zip(others, differences, adjusted, strict=True) if p < 0.05 and gain.mean > 0
    ]
    worse = [one.name for one, gain, p in zip(others, differences, adjusted, strict=True) if p < 0.05 and gain.mean < 0]
    return [
        *lines,
        "",
        f"Better than ReLU beyond chance: {', '.join(better) or 'none'}; worse: {', '.join(worse) or 'none'}.",
        f"For comparison, {PAPER}; it names neither data, nor rates, nor seeds.",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="small_cnn", help="a network with ReLU; see lossforge list models")
    parser.add_argument("--width", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--seeds", type=int, default=12, help="of the test accuracies, 2 or more")
    parser.add_argument("--tuning-seeds", type=int, default=4, help="for each rate, and for each time")
    parser.add_argument("--turns", type=int, default=5, help="of the timing")
    parser.add_argument("--learned", action="store_true", help="those with learned parameters too")
    parser.add_argument("--only", nargs="+", default=[], help="these activations alone, beside ReLU")
    parser.add_argument("--out", type=Path, help="a Markdown file; else standard output")
    given = parser.parse_args()
    bench = Bench(given.model, given.width, given.epochs, given.seeds, given.tuning_seeds, given.turns)
    torch.set_num_threads(1)
    names = given.only or [*(name for name in ACTIVATIONS if name != USUAL), *(LEARNED if given.learned else ())]
    found = []
    for name in [USUAL, *names]:
        found.append(examined(bench, name))
        print(f"{name}: {statistics.fmean(found[-1].accuracies):.2f} %", file=sys.stderr)
    time_all(bench, found)
    command = " ".join(["python", "benchmarks/activations.py", *sys.argv[1:]])
    text = "\n".join(
        [
            "# Special functions in the place of ReLU, on digits",
            "",
            f"Command: `{command}`; torch {torch.__version__}, Python {platform.python_version()}, one thread.",
            f"{given.model} of width {given.width}, {given.epochs} epochs, cross-entropy, {given.seeds} seeds on 497 "
            f"test digits after {given.tuning_seeds} for each rate. Times are of a cohort of {given.tuning_seeds}, "
            "against ReLU's by vmap, and against ReLU's by the back end that the rule gives it.",
            "",
            *table(found, 497),
            "",
        ]
    )
    if given.out:
        given.out.write_text(text, encoding="utf-8")
    else:
        print(text)


if __name__ == "__main__":
    main()
