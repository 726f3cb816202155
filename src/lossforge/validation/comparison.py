"""A loss beside a rival, and what that says in words: which losses are better, which are worse, and what is open."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from lossforge.spaces.task_section import metric_title
from lossforge.validation.statistics import PairedDifference
from lossforge.validation.verdicts import (
    BASELINE,
    LEAST_SEEDS,
    MARGIN,
    SIGNIFICANT,
    LossJudgement,
    Pair,
    Verdict,
    judge_losses,
    verdict_of,
)


@dataclass(frozen=True, slots=True)
class Comparison:
    """One discovered loss against one rival on the test part.

    ``gain``, ``low`` and ``high`` (95 % interval) are accuracy differences in percentage points, paired by
    seed; ``p_adjusted`` is Holm's over the losses compared with this rival. Accuracies are in [0, 1], and are
    what ``metric`` names; ``failed`` and ``rival_failed`` count trainings that diverged, each with accuracy 0.
    ``formula`` is what was trained, in the form that people read, and ``searched`` what the search trained. Under
    ``second_optimizer`` ("": none was tried) the loss has ``second_score`` and cross-entropy ``second_control``.
    ``trained_on`` and ``tested_on`` count samples (0: not known). Where the training is the user's own, ``metric`` is
    "score" and learning rates are 1; ``unseen`` says whether what it is scored on had no part in the search.

    ``low_images`` and ``high_images`` are the interval over seeds and test images (None: not known which samples were
    right), ``images_needed`` the images that would settle it (None: more seeds would have to,
    or show something on these images first), and ``seeds_needed``
    those that would separate what is not separable (None: no number that anyone trains). ``cosine`` is of the losses'
    gradients. ``p_equivalent`` is Holm's, of two one-sided tests that the two differ by less than ``margin`` points.
    What stands beside the t-test: exact Wilcoxon and sign tests, the BCa interval over seeds, and Hedges' g.
    ``study`` is the plan's, and ``loss`` what tables call the loss. ``looks`` are the seeds at which the pair could be
    decided: the interval holds at each of them. ``chosen`` says that the rival is one of the best known losses for the
    task, by a coarse pass, and ``tuned`` that learning rates were sought and not given.
    ``collapsed`` and ``rival_collapsed`` count networks that predict one class only.
    """

    rank: int
    formula: str
    size: int
    rival: str
    search_gain: float
    gain: float
    low: float
    high: float
    p: float
    p_adjusted: float
    seeds: int
    task: str
    accuracy: float
    rival_accuracy: float
    learning_rate: float
    rival_learning_rate: float
    failed: int = 0
    rival_failed: int = 0
    metric: str = "accuracy"
    searched: str = ""
    second_optimizer: str = ""
    second_score: float = 0.0
    second_control: float = 0.0
    second_learning_rate: float = 0.0
    classes: int = 0
    trained_on: int = 0
    tested_on: int = 0
    unseen: bool = True
    low_images: float | None = None
    high_images: float | None = None
    images_needed: int | None = None
    seeds_needed: int | None = None
    cosine: float | None = None
    margin: float = MARGIN
    p_equivalent: float = 1.0
    p_wilcoxon: float | None = None
    p_sign: float | None = None
    low_bca: float | None = None
    high_bca: float | None = None
    effect_size: float | None = None
    study: str = ""
    loss: str = ""
    looks: tuple[int, ...] = ()
    chosen: bool = False
    tuned: bool = True
    collapsed: int = 0
    rival_collapsed: int = 0

    @property
    def title(self) -> str:
        """The study's name, or the task's where there is no plan."""
        return self.study or self.task

    @property
    def verdict(self) -> Verdict:
        """What it shows of the pair: nothing where no network of either learned more than one class."""
        if self.collapsed == self.rival_collapsed == self.seeds:
            return Verdict.NOT_SEPARABLE
        return verdict_of(_pair(self).difference, self.p_adjusted, self.p_equivalent)

    @property
    def is_own(self) -> bool:
        """Whether a function of the user's own trained and scored: nothing is known of rates, or of what a score is."""
        return self.metric == "score"

    @property
    def scored(self) -> str:
        """What the numbers are points of, and where that was measured, in words."""
        if not self.is_own:
            return f"test {metric_title(self.metric)}"
        return (
            f"the training's own score{' for its test part' if self.unseen else ', on the same data as in the search'}"
        )


def how_measured(rows: Sequence[Comparison]) -> str:
    """What the differences in a table of comparisons are, and how the losses were trained for them."""
    counts = sorted({row.seeds for row in rows})
    number = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    seeds = f"with 95 % interval, {number} paired fresh seeds"
    if any(row.looks for row in rows):
        seeds += " (a pair that is decided gets no more; the interval holds for that)"
    kinds = " and ".join(dict.fromkeys(row.scored for row in rows))
    tuned = [row for row in rows if not row.is_own]
    if not tuned:
        return f"percentage points of {kinds} {seeds}, all losses trained alike, at no rate tuned for any"
    first = [row for row in tuned if row.rank == tuned[0].rank and row.task == tuned[0].task]
    rates = ", ".join(f"{row.rival} {row.rival_learning_rate:g}" for row in first)
    if len({row.title for row in tuned}) > 1:
        rates = "tables and files have them"
    where = "" if len(tuned) == len(rows) else " where lossforge trains"
    how = "every loss at its own best learning rate" if all(row.tuned for row in tuned) else "no learning rate tuned"
    return f"percentage points of {kinds} {seeds}, {how}{where} ({rates})"


LEGEND = (
    f"better, worse: adjusted p < {SIGNIFICANT:g} (Holm, over the losses), with {LEAST_SEEDS} seeds or more; "
    "equivalent: within the margin, by two one-sided tests; an interval is its pair's own, and may leave 0 out where "
    "the corrected p does not"
)
"""What the verdicts mean."""


def verdict(row: Comparison) -> Verdict:
    """What the comparison shows."""
    return row.verdict


def _pair(row: Comparison) -> Pair:
    return Pair(str(row.rank), row.rival, PairedDifference.of_interval(row.gain, row.low, row.high, row.p, row.seeds))


def loss_judgements(rows: Sequence[Comparison]) -> dict[tuple[str, int], LossJudgement]:
    """What they show of each loss over all its rivals, by study and rank."""
    found: dict[tuple[str, int], LossJudgement] = {}
    for task in dict.fromkeys(row.title for row in rows):
        judged = judge_losses([_pair(row) for row in rows if row.title == task])
        found |= {(task, int(rank)): one for rank, one in judged.items()}
    return found


TOLD = ("verdict", "loss_verdict", "nearest_known", "summary")
"""Keys that `told` adds to a comparison's own."""


def told(rows: Sequence[Comparison]) -> list[dict[str, Any]]:
    """The comparisons for programs: each with its verdict, its loss's over all rivals, and its sentence's text."""
    sentences = dict(zip(_groups(rows), summaries(rows), strict=True))
    judged = loss_judgements(rows)
    return [
        {
            **asdict(row),
            "study": row.title,
            "loss": row.loss or row.formula,
            "verdict": str(verdict(row)),
            "loss_verdict": str(judged[row.title, row.rank].verdict),
            "nearest_known": judged[row.title, row.rank].nearest_known,
            "summary": sentences[row.title, row.rival],
        }
        for row in rows
    ]


def summaries(rows: Sequence[Comparison], *, shortened: bool = False) -> list[str]:
    """A sentence for each task and rival: how many losses are better, and how many worse.

    ``shortened``: for each task beside cross-entropy, or its first rival, alone.
    """
    groups = _groups(rows)
    several = len({task for task, _ in groups}) > 1
    first: dict[str, str] = {}
    for task, rival in groups:
        if task not in first or rival == BASELINE:
            first[task] = rival
    return [
        (f"{task}: " if several else "") + _sentence([verdict(row) for row in group], named(rival), group)
        for (task, rival), group in groups.items()
        if not shortened or rival == first[task]
    ]


def _groups(rows: Sequence[Comparison]) -> dict[tuple[str, str], list[Comparison]]:
    groups: dict[tuple[str, str], list[Comparison]] = {}
    for row in rows:
        groups.setdefault((row.title, row.rival), []).append(row)
    return groups


def _sentence(verdicts: list[Verdict], rival: str, group: list[Comparison]) -> str:
    if group[0].seeds < LEAST_SEEDS:
        return (
            f"{group[0].seeds} seeds are too few to call any better than {rival}, or worse; "
            f"validate with {LEAST_SEEDS} or more"
        )
    total, better, worse = len(verdicts), verdicts.count(Verdict.BETTER), verdicts.count(Verdict.WORSE)
    unclear, equal = verdicts.count(Verdict.NOT_SEPARABLE), verdicts.count(Verdict.EQUIVALENT)
    parts = [f"{better} of {total} {_are(better)} better than {rival}" if better else f"none is better than {rival}"]
    if worse:
        parts.append(f"{worse} {_are(worse)} worse" if better else f"{worse} of {total} {_are(worse)} worse")
    if equal:
        parts.append(f"{equal} {_are(equal)} equivalent (within {group[0].margin:g} points)")
    if unclear:
        parts.append("of the others nothing is shown" if better or worse or equal else "none is worse")
    return "; ".join(parts)


def named(rival: str) -> str:
    """A rival's name as words; a formula stays as it is."""
    if not rival.isidentifier():
        return rival
    return "cross-entropy" if rival == "cross_entropy" else rival.replace("_", " ")


def _are(count: int) -> str:
    return "is" if count == 1 else "are"
