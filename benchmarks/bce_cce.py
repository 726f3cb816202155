"""One sigmoid neuron or two softmax neurons: the figures of docs/bce-vs-cce.md.

    lossforge compare --plan bce_cce --set task.data=csv:PATH/pima.csv --output runs/bce_cce
    python benchmarks/bce_cce.py runs/bce_cce [--gap 7.2] [--size 10] [--reference "one sigmoid"] [--start]

Reads what the comparison kept. For each study: mean and scatter of single runs and of means of ten, on the training
part and held out; how many networks died, or predict one class; whether each way is equivalent to one sigmoid neuron,
by two one-sided tests; how probable a gap of 7.2 points between means of ten is, between runs of one and the same
thing, and between one sigmoid neuron and two softmax neurons.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from statistics import fmean, median

import torch

from lossforge.data.augmentation import Preparation
from lossforge.data.datasets import load_task
from lossforge.evaluation.evaluate import network
from lossforge.evaluation.feasibility import validated_sizes
from lossforge.seeding import derive_seed
from lossforge.validation.repeated_runs import repeats_of
from lossforge.validation.repeats import Repeated, Scores, chance_of_gap, chance_of_lead, paired, scatter
from lossforge.validation.study import Study


def table(study: Study, found: dict[str, Repeated], margin: float, given: argparse.Namespace) -> list[str]:
    """A study's figures, as two Markdown tables."""
    trained, tested = validated_sizes(study.task)
    reference, gap, size = found[given.reference], given.gap, given.size
    lines = [
        f"## {study.title}: trained on {trained}, held out {tested}",
        "",
        f"| | training accuracy: mean (SD of a run) | means of {size}: SD, 95 % between | held out: mean (SD) | "
        "dead | one class only | failed |",
        "|---|---|---|---|---|---|---|",
    ]
    for one in found.values():
        on_train, held = scatter(one.trained, size), scatter(one.held_out, size)
        lines.append(
            f"| {one.name} | {on_train.mean:.2f} ({on_train.deviation:.2f}) | {on_train.deviation_of_means:.2f}, "
            f"{on_train.low:.1f} to {on_train.high:.1f} | {held.mean:.2f} ({held.deviation:.2f}) | {one.dead:.0%} | "
            f"{one.one_class:.0%} | {one.failed} |"
        )
    lines += [
        "",
        f"| against {reference.name} | training: difference [95 %], p of equivalence | held out: the same | "
        f"p of {gap:g} points between two means of {size} of its own | {size} of {reference.name} ahead by {gap:g} |",
        "|---|---|---|---|---|",
    ]
    for one in found.values():
        told = ["", ""]
        if one is not reference:
            sides = ((one.trained, reference.trained, trained), (one.held_out, reference.held_out, tested))
            told = [_difference(mine, theirs, margin, samples) for mine, theirs, samples in sides]
        ahead = chance_of_lead(reference.trained, one.trained, gap, size)
        own = chance_of_gap(one.trained, gap, size)
        lines.append(f"| {one.name} | {told[0]} | {told[1]} | {own:.2g} | {ahead:.2g} |")
    return [*lines, ""]


def _difference(mine: Scores, theirs: Scores, margin: float, samples: int) -> str:
    found, p = paired(mine, theirs, margin, 100 / samples)
    return f"{found.mean:+.2f} [{found.low:+.2f}, {found.high:+.2f}], {p:.2g}"


def at_the_start(study: Study, networks: int = 1000) -> list[str]:
    """What untrained networks give: how large the logit is, and how many samples a clip at 1e-7 would silence."""
    lines = [
        f"| {study.title}, {networks} networks before training | median size of the logit | samples at less than 1e-7 "
        "for their own class | last units of 8 that are dead | dead networks |",
        "|---|---|---|---|---|",
    ]
    for one in (*study.rivals, *study.losses):
        task = one.space.task[0]
        data = load_task(task, "cpu")
        part, prepare = data.pooled(), Preparation(task.augmentation, data.scale, data.shape)
        x, sides = prepare(part.x), 2 * part.y - 1
        sizes, silent, units, dead = [], [], [], 0
        for seed in range(networks):
            model = network(task, data, derive_seed(seed, "weights"))
            with torch.no_grad():
                hidden = model[:-1](x)  # type: ignore[index]
                logits = model[-1](hidden)  # type: ignore[index]
            logit = logits[:, 0] if logits.shape[1] == 1 else logits[:, 1] - logits[:, 0]
            sizes.append(float(logit.abs().median()))
            silent.append(float((logit * sides < -math.log(1e7 - 1)).double().mean()))
            units.append(int((hidden.amax(0) <= 0).sum()))
            dead += units[-1] == hidden.shape[1]
        lines.append(f"| {one.name} | {median(sizes):.1f} | {fmean(silent):.1%} | {fmean(units):.2f} | {dead} |")
    return [*lines, ""]


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--gap", type=float, default=7.2)
    parser.add_argument("--size", type=int, default=10)
    parser.add_argument("--reference", default="one sigmoid", help="what the others are compared with")
    parser.add_argument("--start", action="store_true", help="what 1,000 networks give before they are trained, too")
    given = parser.parse_args()
    for study, found in repeats_of(given.folder):
        print("\n".join(table(study, found, study.settings.margin, given)))
        if given.start:
            print("\n".join(at_the_start(study)))


if __name__ == "__main__":
    main()
