"""Does bfloat16 rank candidates as float32 does? Gains over cross-entropy of the same candidates in both.

    python benchmarks/precision.py [--candidates 60] [--seeds 2] [--epochs 3] [--model resnet8] [--width 8] [--write]

A candidate's gain is its accuracy less cross-entropy's on the same seeds. Told are Spearman's rank correlations of the
gains: float32 with bfloat16 on the same seeds, and float32 with float32 on other seeds, which is what the noise of
seeds leaves. bfloat16 is recommended only where the first is no less than the second; the time of both is told too.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from statistics import fmean

from scipy.stats import spearmanr

from lossforge.evaluation.evaluate import evaluate
from lossforge.evaluation.precision import has_bfloat16
from lossforge.evaluation.records import pack
from lossforge.evaluation.space_trainings import trainings
from lossforge.evaluation.threads import one_thread
from lossforge.losses.compiled import LossSpec
from lossforge.losses.library import CROSS_ENTROPY
from lossforge.spaces.schema import RecipeSection, SearchSpace, TaskSection
from lossforge.store.stages import Stage
from throughput_sides import screened

RESULTS = Path(__file__).parent / "results" / "precision.md"


def gains(space: SearchSpace, formulas: list[str], seeds: range, rate: float) -> tuple[list[float], float]:
    """Each formula's mean gain over cross-entropy, 0 accuracy where it failed; and the processor time of all."""
    wanted = [
        one
        for formula in [CROSS_ENTROPY, *formulas]
        for one in trainings(space, space.task[0], LossSpec(formula), formula, rate, seeds, stage=Stage.SEARCH)
    ]
    started = time.process_time()
    found = [accuracy or 0.0 for request in pack(wanted) for accuracy in evaluate(request, "cpu").accuracies]
    seconds = time.process_time() - started
    means = [fmean(found[start : start + len(seeds)]) for start in range(0, len(found), len(seeds))]
    return [mean - means[0] for mean in means[1:]], seconds


def with_precision(space: SearchSpace, precision: str) -> SearchSpace:
    """The space with trainings in this precision."""
    return space.model_copy(update={"recipe": space.recipe.model_copy(update={"precision": precision})})


def compared(space: SearchSpace, count: int, seeds: int, rate: float) -> list[str]:
    """The lines of the result."""
    formulas = screened(space, count)
    wide, seconds = gains(space, formulas, range(seeds), rate)
    other, _ = gains(space, formulas, range(seeds, 2 * seeds), rate)
    half, half_seconds = gains(with_precision(space, "bfloat16"), formulas, range(seeds), rate)
    between, noise = (float(spearmanr(wide, values).statistic) for values in (half, other))
    verdict = "recommended" if between >= noise else "not recommended"
    return [
        f"{count} candidates of {seeds} seeds, rank correlation of their gains:",
        f"float32 and bfloat16, the same seeds: {between:.3f}",
        f"float32 and float32, other seeds: {noise:.3f}",
        f"time in float32 / time in bfloat16: {seconds / half_seconds:.2f}",
        f"bfloat16 for searches of this task: {verdict}",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--candidates", type=int, default=60)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--data", default="digits")
    parser.add_argument("--model", default="resnet8")
    parser.add_argument("--width", type=int, default=8)
    parser.add_argument("--rate", type=float, default=0.006)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    one_thread()
    task = TaskSection(data=options.data, model=options.model, width=options.width, label_noise=0.2)
    recipe = RecipeSection(epochs=options.epochs, cohort=8, backend="loop", learning_rate=options.rate, stop_at=0.0)
    space = SearchSpace(name="precision", task=[task], recipe=recipe)
    if not has_bfloat16("cpu"):
        print("this CPU has no instructions for bfloat16: the ranks are its, the time is not")
    told = compared(space, options.candidates, options.seeds, options.rate)
    print("\n".join(told))
    if options.write:
        command = " ".join(["python benchmarks/precision.py", *(word for word in sys.argv[1:] if word != "--write")])
        lines = "\n".join(f"    {line}" for line in told)
        RESULTS.write_text(
            f"# bfloat16 in a search's trainings\n\nCommand: `{command}`\n\n"
            f"{options.data}, {options.model} of width {options.width}, {options.epochs} epochs, 20 % wrong labels\n\n"
            f"{lines}\n",
            encoding="utf-8",
        )


if __name__ == "__main__":
    main()
