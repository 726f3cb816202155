"""A study's result as rows: a loss beside a rival each, with everything that is told of them."""

from __future__ import annotations

from dataclasses import asdict
from statistics import fmean

from lossforge.evaluation.feasibility import class_count, scores_unseen, validated_sizes
from lossforge.losses.analysis import gradient_cosine
from lossforge.validation.comparison import Comparison
from lossforge.validation.contenders import Contender
from lossforge.validation.paired import other_tests
from lossforge.validation.scored import over_images
from lossforge.validation.study import Judged, Result


def comparisons(result: Result) -> list[Comparison]:
    """A row for each rival and loss, rival by rival; ``rank`` numbers the losses."""
    return [_row(result, judged) for judged in result.judged]


def _row(result: Result, judged: Judged) -> Comparison:
    study, task = result.study, result.study.task
    one, rival = result.losses[judged.loss], result.rivals[judged.rival]
    mine, other = result.pair(judged)
    difference, judgement = judged.difference, judged.judgement
    images = over_images(mine, other, difference) if task.measure == "accuracy" else None
    trained_on, tested_on = validated_sizes(task)
    looks = study.settings.planned
    return Comparison(
        rank=judged.loss + 1,
        formula=one.name if one.searched else one.loss.formula,
        size=one.size,
        rival=rival.name,
        search_gain=one.search_gain,
        gain=difference.mean,
        low=difference.low,
        high=difference.high,
        p=difference.p,
        p_adjusted=judgement.p_adjusted,
        seeds=difference.count,
        task=task.title,
        accuracy=fmean(mine.scores),
        rival_accuracy=fmean(other.scores),
        learning_rate=result.sweeps[judged.loss].best,
        rival_learning_rate=result.sweeps[len(result.losses) + judged.rival].best,
        failed=mine.failed,
        rival_failed=other.failed,
        metric=task.measure,
        searched=one.searched,
        classes=class_count(task),
        trained_on=trained_on,
        tested_on=tested_on,
        unseen=scores_unseen(task),
        low_images=None if images is None else images.low,
        high_images=None if images is None else images.high,
        images_needed=None if images is None else images.images_to_settle,
        seeds_needed=judgement.seeds_needed,
        cosine=_cosine(one, rival),
        margin=study.settings.margin,
        p_equivalent=judgement.p_equivalent,
        study=study.title,
        loss=one.name,
        looks=looks if len(looks) > 1 else (),
        tuned=any(len(sweep.accuracies) > 1 for sweep in result.sweeps),
        collapsed=mine.collapsed,
        rival_collapsed=other.collapsed,
        chosen=judged.rival >= len(study.rivals),
        **asdict(other_tests(mine.differences(other), resolution=result.finest)),
    )


def _cosine(one: Contender, rival: Contender) -> float | None:
    """Of the losses' gradients on logits; None where they do not have the same logits."""
    head, other = one.space.task[0].head, rival.space.task[0].head
    return round(gradient_cosine(one.loss, rival.loss, head), 6) if head == other else None
