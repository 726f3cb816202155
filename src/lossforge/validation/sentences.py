"""What a re-validation says of each loss over all its rivals, in words."""

from __future__ import annotations

from collections.abc import Sequence

from lossforge.validation.comparison import Comparison, loss_judgements, named, verdict
from lossforge.validation.paired import MOST_SEEDS
from lossforge.validation.verdicts import BASELINE, LEAST_SEEDS, LossJudgement, LossVerdict, Verdict


def loss_sentences(rows: Sequence[Comparison]) -> list[str]:
    """A sentence for each task and loss, those of which the same is said together; none with too few seeds."""
    judged = loss_judgements(rows)
    several = len({row.title for row in rows}) > 1
    said: dict[tuple[str, str], list[Comparison]] = {}
    for (task, rank), one in judged.items():
        mine = [row for row in rows if (row.title, row.rank) == (task, rank)]
        if mine[0].seeds >= LEAST_SEEDS:
            said.setdefault((task, _sentence(one, mine)), []).append(mine[0])
    return [
        f"{f'{task}, ' if several else ''}{_called(losses)}: {sentence}" for (task, sentence), losses in said.items()
    ]


def collapse_sentences(rows: Sequence[Comparison]) -> list[str]:
    """A warning for each loss and rival of which half of the networks or more predict one class only."""
    found: dict[tuple[str, str], tuple[int, int]] = {}
    for row in rows:
        for name, count in ((_called([row]), row.collapsed), (named(row.rival), row.rival_collapsed)):
            if 2 * count >= row.seeds:
                found[row.title, name] = max(found.get((row.title, name), (0, 0)), (row.seeds, count))
    together: dict[tuple[str, int, int], list[str]] = {}
    for (title, name), (seeds, count) in found.items():
        together.setdefault((title, seeds, count), []).append(name)
    return [
        f"{title}: {count} of {seeds} networks of {'; '.join(names)}{' each' if len(names) > 1 else ''} predict one "
        f"class only, whose score says nothing; train longer, or with another rate"
        for (title, seeds, count), names in together.items()
    ]


def verdicts_by_formula(rows: Sequence[Comparison]) -> dict[str, str]:
    """What is said of each loss, by the formula that was searched and the one that was trained; studies in a row."""
    judged = loss_judgements(rows)
    several = len({row.title for row in rows}) > 1
    found: dict[str, list[str]] = {}
    for (title, rank), one in judged.items():
        mine = [row for row in rows if (row.title, row.rank) == (title, rank)]
        if mine[0].seeds < LEAST_SEEDS:
            continue
        text = (f"{title}: " if several else "") + _sentence(one, mine)
        for formula in {mine[0].formula, mine[0].searched} - {""}:
            found.setdefault(formula, []).append(text)
    return {formula: "; ".join(texts) for formula, texts in found.items()}


def _called(losses: Sequence[Comparison]) -> str:
    """Discoveries go by their ranks; what a person named has its name."""
    if all(one.loss and not one.searched for one in losses):
        return "; ".join(one.loss for one in losses)
    return f"{'rank' if len(losses) == 1 else 'ranks'} {', '.join(str(one.rank) for one in losses)}"


def _sentence(judged: LossJudgement, rows: Sequence[Comparison]) -> str:
    """Of one loss in one task; its rows are those beside each rival."""
    by_rival = {row.rival: row for row in rows}
    nearest = by_rival[judged.nearest_known]
    if judged.verdict is LossVerdict.BETTER_THAN_ALL_KNOWN:
        return f"better than every known loss that it met ({len(rows)}){_on_these_images(rows)}"
    better = judged.verdict is LossVerdict.BETTER_THAN_CROSS_ENTROPY
    baseline = by_rival.get(BASELINE)
    if baseline is not None and verdict(baseline) is Verdict.WORSE:
        first = f"worse than cross-entropy{_on_these_images([baseline])}"
        return first if judged.nearest_known == BASELINE else f"{first}, {beside(nearest)}"
    first = f"{'better' if better else 'no better'} than cross-entropy"
    if better:
        first += _on_these_images([by_rival[BASELINE]])
    if judged.nearest_known == BASELINE:
        return first if better else f"{first}: {beside(nearest)}"
    if baseline is None:
        return beside(nearest)
    return f"{first}, {beside(nearest)}"


def beside(row: Comparison) -> str:
    """What there is between a loss and one rival, with what would tell them apart."""
    found, rival = verdict(row), named(row.rival)
    if found is Verdict.BETTER:
        return f"and than {rival}, but not than each rival once the number of losses counts"
    if found is Verdict.WORSE:
        return f"worse than {rival}{_on_these_images([row])}"
    if found is Verdict.EQUIVALENT:
        return f"equivalent to {rival} (within {row.margin:g} points)"
    needed = (
        f"about {row.seeds_needed:,} seeds would separate them"
        if row.seeds_needed
        else f"{MOST_SEEDS:,} seeds would not separate them"
    )
    if abs(row.gain) < row.margin:
        needed += ", or show them equivalent" if row.seeds_needed else ", fewer may show them equivalent"
    cosine = "" if row.cosine is None else f", cosine of the gradients {row.cosine:.2f}"
    return f"not separable from {rival} ({row.gain:+.2f}; {needed}{cosine})"


def _on_these_images(rows: Sequence[Comparison]) -> str:
    """That other test images may say otherwise, where the seeds' interval alone leaves zero out; "" where not."""
    open_ = [
        row
        for row in rows
        if (row.low > 0 and row.low_images is not None and row.low_images <= 0)
        or (row.high < 0 and row.high_images is not None and row.high_images >= 0)
    ]
    if not open_:
        return ""
    needed = [row.images_needed for row in open_]
    told = f" on these {open_[0].tested_on:,} test images"
    if None in needed:
        return f"{told} (with other images it may not be; more seeds are needed too)"
    return f"{told} (about {max(one for one in needed if one):,} would settle it for others)"
