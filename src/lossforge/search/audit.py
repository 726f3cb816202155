"""The standing audit of the funnel: a few of the losses that it rejects are trained all the same.

Only rejections that are a judgement of what a loss can learn are audited. A loss without a gradient, or one in which
a leaf does not occur, cannot learn: that is certain, and needs no training. What depends on the sizes of its guards may
well learn; that is no reason to keep it, and so no training would tell whether it was rejected rightly.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from statistics import fmean

from lossforge.expression.canonical import canonical_key
from lossforge.expression.tree import Expression
from lossforge.losses.candidates import parse_candidate
from lossforge.screening.settings import Screen
from lossforge.search.scores import as_score
from lossforge.seeding import derive_seed
from lossforge.store.ledger import CandidateRow, TrainingRow
from lossforge.store.stages import Stage

GOOD = 0.9
"""Share of cross-entropy's accuracy that a rejected loss must reach for its rejection to be called false."""


def audit_key(row: CandidateRow) -> str:
    """Key of a rejected candidate: its signature, or where it has none its canonical form's."""
    if row.signature:
        return row.signature
    candidate = parse_candidate(row.formula)
    return canonical_key(candidate) if isinstance(candidate, Expression) else row.formula


def drawn(rows: Iterable[CandidateRow], share: float, seed: int) -> dict[str, CandidateRow]:
    """The rejected candidates to train, by key. Who is drawn depends on the run's seed and the key alone."""
    return {key: row for key, row in eligible(rows).items() if derive_seed(seed, Stage.AUDIT, key) < share * 2**63}


def eligible(rows: Iterable[CandidateRow]) -> dict[str, CandidateRow]:
    """The candidates whose rejection was a judgement, by key, each the first time it occurs."""
    found: dict[str, CandidateRow] = {}
    for row in rows:
        if row.rejected_by and Screen(row.rejected_by).judges(row.reason):
            found.setdefault(audit_key(row), row)
    return found


@dataclass(frozen=True, slots=True)
class AuditReport:
    """How the rejected losses that were trained fared.

    Of ``eligible`` losses whose rejection was a judgement, ``trained`` were drawn and trained; ``false`` of them
    reached 90 % of cross-entropy's accuracy, ``better`` beat it. ``rate`` is the share of false rejections (None
    where none was drawn), ``low`` and ``high`` its 95 % interval (Wilson).
    """

    eligible: int
    trained: int
    false: int
    better: int
    rate: float | None
    low: float
    high: float

    def __str__(self) -> str:
        if self.rate is None:
            return f"none of {self.eligible} rejected losses was drawn to be trained all the same"
        return (
            f"{self.trained} of {self.eligible} rejected losses were trained all the same, and {self.false} learned: "
            f"false rejections {self.rate:.0%} (95 % interval {self.low:.0%} to {self.high:.0%})"
        )


def audit_report(
    candidates: Iterable[CandidateRow], audited: Iterable[TrainingRow], control: Iterable[TrainingRow]
) -> AuditReport:
    """The report on the trainings of stage "audit", beside cross-entropy's."""
    count = len(eligible(candidates))
    baseline = {(row.task, row.replicate): as_score(row.accuracy) for row in control}
    shares: dict[str, list[float]] = {}
    for row in audited:
        known = baseline.get((row.task, row.replicate), 0.0)
        shares.setdefault(row.key, []).append(as_score(row.accuracy) / known if known > 0 else 0.0)
    if not shares:
        return AuditReport(count, 0, 0, 0, None, 0.0, 1.0)
    from scipy.stats import binomtest

    means = [fmean(values) for values in shares.values()]
    false = sum(mean >= GOOD for mean in means)
    interval = binomtest(false, len(means)).proportion_ci(0.95, method="wilson")
    better = sum(mean > 1 for mean in means)
    return AuditReport(count, len(means), false, better, false / len(means), float(interval.low), float(interval.high))
