"""Do networks that lossforge trains end where a plain loop's do? Accuracies of the same trainings, pair by pair.

    python benchmarks/paired.py [--only NETWORK ...] [--pairs 40] [--steps 120] [--write]

A pair is one loss, one seed, one order of the samples, trained by both; they differ by rounding alone, which grows on
the way. Told is the 95 % interval of the mean difference in points of accuracy, which must contain 0 and be at most
half a point to either side. The data are those of `networks.py`, with enough samples to score that one counts little.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean, stdev

from scipy.stats import t as student

from lossforge.evaluation.threads import one_thread
from networks import ROWS, Row, data_file, side, space_of

RESULTS = Path(__file__).parent / "results" / "paired.md"
USUAL = ("small_cnn", "mlp", "resnet8", "resnet20", "inception_small", "unet")
SCORED = 1000
"""Samples, or images of masks, that are scored at most."""


def differences(row: Row, folder: Path, pairs: int) -> list[float]:
    """lossforge's accuracy less the plain loop's, in points, of each pair that both could train."""
    space = space_of(row, data_file(row, folder), "float32")
    task = space.task[0]
    space = space.model_copy(
        update={"task": [task.model_copy(update={"validation": min(SCORED, 4 * task.validation)})]}
    )
    ours, theirs = (side(name, space, pairs)[1] for name in ("lossforge", "plain"))
    return [100 * (a - b) for a, b in zip(ours, theirs, strict=True) if a is not None and b is not None]


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Mean of the values, and half the width of its 95 % interval."""
    half = float(student.ppf(0.975, len(values) - 1)) * stdev(values) / math.sqrt(len(values))
    return fmean(values), half


def line(network: str, size: str, values: Sequence[float]) -> str:
    """A row of the table."""
    mean, half = interval(values)
    verdict = "the same" if abs(mean) <= half + 1e-9 and half <= 0.5 else "apart" if abs(mean) > half else "too wide"
    return f"| {network} | {size} | {len(values)} | {mean:+.3f} ± {half:.3f} | {verdict} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", default=list(USUAL), metavar="NETWORK")
    parser.add_argument("--pairs", type=int, default=40)
    parser.add_argument("--steps", type=int, default=120)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    one_thread()
    told = ["| network | input | pairs | difference, points of accuracy | |", "|---|---|---|---|---|"]
    print("\n".join(told), flush=True)
    rows = {row.network: row for row in reversed(ROWS)}  # the smallest size of each
    with tempfile.TemporaryDirectory() as folder:
        for name in options.only:
            row = replace(rows[name], steps=options.steps)
            told.append(line(name, row.size, differences(row, Path(folder), options.pairs)))
            print(told[-1], flush=True)
    if options.write:
        command = " ".join(["python benchmarks/paired.py", *(word for word in sys.argv[1:] if word != "--write")])
        table = "\n".join(told)
        RESULTS.write_text(
            f"# Accuracies of paired trainings\n\nCommand: `{command}`\n\n{table}\n",
            encoding="utf-8",
        )


if __name__ == "__main__":
    main()
