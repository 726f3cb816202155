"""How good predictions of several labels a sample are, each there or not: mean average precision and F1.

scikit-learn gives the same (tests compare), but where nothing can be said of a label: one that no sample has is left
out of mean average precision, where scikit-learn counts it as 0; and out of macro F1 where it is not predicted either.
"""

from __future__ import annotations

import torch
from torch import Tensor

_DIGITS = 6
_MOST = 100
"""Labels beyond which no figure is kept of each."""


def label_metrics(logits: Tensor, target: Tensor) -> dict[str, object]:
    """Figures of logits ``(N, C)``, finite, against labels ``(N, C)`` of 0 and 1; a label is predicted above logit 0.

    mean_average_precision: the mean of average precision over the labels that occur, which asks how a label's samples
    are ranked and not where the threshold lies. f1_micro: of all decisions together; f1_macro: the mean over the labels
    that occur in target or prediction. subset_accuracy: the share of samples with every label right.
    label_average_precision: of each of up to 100 labels, None where no sample has it.
    """
    true, predicted = target.bool(), logits > 0
    precision = average_precision(logits, true)
    occurs = true.any(0)
    hits, asked = (true & predicted).sum(0).double(), (true.sum(0) + predicted.sum(0)).double()
    found = {
        "mean_average_precision": precision[occurs].mean() if bool(occurs.any()) else torch.zeros(()),
        "f1_micro": 2 * hits.sum() / asked.sum().clamp(min=1),
        "f1_macro": (2 * hits / asked)[asked > 0].mean() if bool((asked > 0).any()) else torch.zeros(()),
        "subset_accuracy": (true == predicted).all(1).double().mean(),
    }
    metrics: dict[str, object] = {name: round(float(value), _DIGITS) for name, value in found.items()}
    if logits.shape[1] <= _MOST:
        metrics["label_average_precision"] = [
            round(value, _DIGITS) if there else None
            for value, there in zip(precision.tolist(), occurs.tolist(), strict=True)
        ]
    return metrics


def average_precision(scores: Tensor, true: Tensor) -> Tensor:
    """Average precision ``(C,)`` of each label, in [0, 1], of scores ``(N, C)`` against ``true`` ``(N, C)``.

    The sum over thresholds of precision times the gain in recall, as scikit-learn has it: samples of one score enter
    together. 0 where no sample has the label.
    """
    ranked, order = scores.sort(dim=0, descending=True, stable=True)
    hits = true.gather(0, order).double()
    count = len(scores)
    place = torch.arange(1, count + 1, device=scores.device, dtype=torch.float64)[:, None]
    precision = hits.cumsum(0) / place
    # At each sample the precision once all of its score are in.
    last = torch.ones_like(ranked, dtype=torch.bool)
    last[:-1] = ranked[:-1] != ranked[1:]
    rows = torch.arange(count, device=scores.device)[:, None].expand_as(ranked)
    end = torch.where(last, rows, count - 1).flip(0).cummin(0).values.flip(0)
    return (hits * precision.gather(0, end)).sum(0) / hits.sum(0).clamp(min=1)


def chance_of_labels(counts: Tensor, metric: str, samples: int) -> float:
    """The best expected score of predictions that know nothing of a sample; ``counts`` ``(C,)`` samples have each.

    Average precision is then the label's share. F1 is best where a label is always predicted, 2 p / (1 + p); over all
    labels together, where the commonest ones are.
    """
    shares = (counts[counts > 0].double() / samples).sort(descending=True).values
    if metric == "mean_average_precision":
        return float(shares.mean())
    if metric == "f1_macro":
        return float((2 * shares / (1 + shares)).mean())
    predicted = torch.arange(1, len(shares) + 1, dtype=torch.float64)
    return float((2 * shares.cumsum(0) / (predicted + shares.sum())).max())
