"""What a candidate is judged by: how far it is above cross-entropy on each task, and how tasks are weighed.

Every value lies in [-1, 1], and that of cross-entropy itself is 0. ``fitness.measure`` says what is compared, on the
same replicate:

- ``points``: the task's metric, its difference;
- ``errors``: what is missing to 1 in the metric. 0.25 is a quarter of cross-entropy's errors less, -0.25 a quarter of
  its own that cross-entropy would not make: a point counts more where few are left to gain;
- ``likelihood``: the probability given to what is true, its geometric mean over samples, its difference. It rewards
  probabilities that can be believed, which some losses of high accuracy do not give.

``fitness.aggregate`` says how several tasks become one number: their mean, or the worst of them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from statistics import fmean
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lossforge.spaces.schema import FitnessSection
    from lossforge.store.ledger import TrainingRow


def figure_of(row: TrainingRow, settings: FitnessSection) -> float | None:
    """What a training is judged by, in [0, 1]; None where it failed."""
    if settings.measure != "likelihood" or row.accuracy is None:
        return row.accuracy
    value = json.loads(row.metrics).get("negative_log_likelihood")
    return None if value is None else math.exp(-float(value))


def advantage(mine: float, control: float, settings: FitnessSection) -> float:
    """How far a figure is above cross-entropy's, in [-1, 1]."""
    if settings.measure != "errors":
        return mine - control
    worse = max(1 - mine, 1 - control)
    return (mine - control) / worse if worse > 0 else 0.0


def aggregated(by_task: Sequence[Sequence[float]], settings: FitnessSection) -> float:
    """One number of the advantages of every task, a replicate each."""
    means = [fmean(values) for values in by_task]
    return min(means) if settings.aggregate == "worst" else fmean(means)
