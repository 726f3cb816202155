"""What a trained cohort's networks are worth: on the scored part, and on what else a plan asks of."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lossforge.data.samples import IGNORED
from lossforge.data.splits import Part
from lossforge.models.output_layer import output_layer
from lossforge.training.cohort import Cohort, batch_limit
from lossforge.training.correctness import KEY, packed
from lossforge.training.metrics import (
    Metrics,
    metrics_of,
    metrics_of_test_part,
    metrics_of_training_part,
    segmentation_metrics,
)
from lossforge.training.plan import Plan, ReplicaScore

NOT_FINITE = "the loss or the logits stopped being finite"
"""Why a network has no score."""
_AT_ONCE = 1024
"""Samples that are scored at once."""


def scored(plan: Plan, cohort: Cohort, lanes: Sequence[int]) -> dict[int, ReplicaScore]:
    """The score of each of the cohort's ``lanes``."""
    y, head = plan.score.y, plan.head
    rows = cohort.samples.rows_to_score()
    logits = _logits_of(plan.score, cohort, rows)
    figures = segmentation_metrics if y.ndim == 3 else metrics_of_test_part if plan.test else metrics_of
    by_seed = [_counted(y if rows is None else y[own], plan) for own in ([None] if rows is None else rows)]
    seeds = cohort.lanes.seed_of.tolist()
    finite = logits.isfinite().flatten(1).all(1).tolist()
    scores: dict[int, ReplicaScore] = {}
    for lane in lanes:
        if not finite[lane]:
            scores[lane] = ReplicaScore(None, NOT_FINITE)
            continue
        targets, counted = by_seed[0 if rows is None else seeds[lane]]
        own = logits[lane] if counted is None else logits[lane][counted]
        metrics = figures(own, targets, head)
        value = metrics[plan.metric]
        if plan.metric == "accuracy":  # exact, and not rounded as the others are
            value = int((head.predicted(own, -1) == targets).sum()) / targets.numel()
        if plan.test and y.ndim == 1:
            metrics[KEY] = packed(head.predicted(own, -1) == targets)
        scores[lane] = ReplicaScore(value, metrics=metrics)
    trained = [lane for lane in lanes if finite[lane]]
    for further in (_on_training_part(plan, cohort, trained), _probed(plan, cohort, trained)):
        for lane, found in further.items():
            scores[lane].metrics.update(found)
    return scores


def _counted(y: Tensor, plan: Plan) -> tuple[Tensor, Tensor | None]:
    """Targets that count, of samples or of pixels, and which they are (None: all)."""
    targets = y if y.ndim == 2 else y.flatten()
    if not plan.ignoring:
        return targets, None
    counted = (targets != IGNORED).nonzero().flatten()
    return targets[counted], counted


def _on_training_part(plan: Plan, cohort: Cohort, lanes: Sequence[int]) -> dict[int, Metrics]:
    """How each lane does on what it was trained on, where the plan asks."""
    if not plan.score_training or not lanes:
        return {}
    rows = cohort.samples.rows_to_train()
    logits, y = _logits_of(plan.train, cohort, rows), plan.train.y
    finite = logits.isfinite().flatten(1).all(1).tolist()
    seeds = cohort.lanes.seed_of.tolist()
    return {
        lane: metrics_of_training_part(logits[lane], y if rows is None else y[rows[seeds[lane]]], plan.head)
        for lane in lanes
        if finite[lane]
    }


def _probed(plan: Plan, cohort: Cohort, lanes: Sequence[int]) -> dict[int, Metrics]:
    """What each lane's features are worth on the plan's other data set, where there is one.

    The networks run one by one, whatever back end trained them: none of those gives features away.
    """
    if plan.probe is None or not lanes:
        return {}
    model = plan.build(0).to(cohort.device)
    layer = output_layer(model, plan.shape)
    accuracies = {lane: plan.probe.accuracy(model, layer, cohort.state_of(lane)) for lane in lanes}
    return {lane: {"linear_probe": round(value, 6)} for lane, value in accuracies.items() if value is not None}


def _logits_of(part: Part, cohort: Cohort, rows: Tensor | None) -> Tensor:
    """Logits ``(K, N, classes)`` of a part, or of those of its samples that each seed has, ``rows`` ``(S, N)``."""
    size = batch_limit(part.x, _AT_ONCE)
    stored = (x[None] for x in part.chunks(size)) if rows is None else part.batches(torch.split(rows, size, 1))
    parts = []
    with torch.no_grad():
        for x in stored:
            parts.append(cohort.logits(cohort.samples.inputs(x), training=False))
    return torch.cat(parts, 1)
