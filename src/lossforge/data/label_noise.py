"""Training labels made wrong, as the literature does it: anew for each seed, or as people erred.

- **symmetric**: a share of the labels, exactly, is drawn anew from all classes, the true one included.
- **asymmetric**: of every class that has a confusion the share, exactly, gets the label of that other class; see
  `lossforge.data.confusions`.
- **instance**: which samples are mislabelled, and as what, depends on the sample (Xia et al. 2020, arXiv 2006.07836,
  algorithm 2): a flip rate for each from a normal distribution with deviation 0.1 about the noise rate, cut off at 0
  and 1; the wrong class from a softmax of the sample's values, bytes as [0, 1], projected by a matrix of standard
  normal numbers that its true class has.
- **human**: the labels of a file, the same for every seed; see `lossforge.data.human_labels`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lossforge.errors import DataError
from lossforge.seeding import derive_seed

if TYPE_CHECKING:
    from torch import Tensor

    from lossforge.data.noise_kinds import LabelNoise
    from lossforge.data.splits import Part

_SPREAD = 0.1
"""Standard deviation of flip rates, as Xia et al. have it."""
_AT_ONCE = 1_024


def wrong_labels(noise: LabelNoise, part: Part, rate: float, classes: int, seed: int) -> Tensor | None:
    """Labels of a part with a share ``rate`` of them wrong, on the CPU; None where all stay as they are."""
    clean = part.y.cpu()
    if noise.kind == "human":
        if part.given is None:
            raise DataError("task.noise_file: these samples have no labels that people gave")
        return part.given.cpu()
    if not rate:
        return None
    seed = derive_seed(seed, "noise")
    if noise.kind == "asymmetric":
        return confused_labels(clean, rate, noise.taken_for, seed)
    if noise.kind == "instance":
        return instance_labels(part, rate, classes, seed)
    return noisy_labels(clean, rate, classes, seed)


def wrong_share(noise: LabelNoise, part: Part, rate: float, classes: int) -> float:
    """The share of a part's labels that is wrong, or is to be expected so."""
    if noise.kind == "human":
        return 0.0 if part.given is None else float((part.given != part.y).double().mean())
    if noise.kind == "asymmetric":
        counts = part.counts(classes)
        moved = [place for place, other in enumerate(noise.taken_for) if place != other]
        return rate * float(counts[moved].sum() / counts.sum())
    return rate * (classes - 1) / classes if noise.kind == "symmetric" else rate


def noisy_labels(labels: Tensor, noise: float, classes: int, seed: int) -> Tensor:
    """Replace a share ``noise`` of the labels, exactly, by classes drawn at random (the true one included).

    Of rows of labels ``(N, C)`` each label's assignments are replaced apart: those of the share are dealt out anew
    among the samples that had them, so that a label stays as frequent as it was.
    """
    import torch

    if noise == 0:
        return labels
    generator = torch.Generator().manual_seed(seed)
    count = round(noise * len(labels))
    if labels.ndim == 2:
        noisy = labels.clone()
        for label in range(labels.shape[1]):
            chosen = torch.randperm(len(labels), generator=generator)[:count]
            noisy[chosen, label] = labels[chosen[torch.randperm(count, generator=generator)], label]
        return noisy
    chosen = torch.randperm(len(labels), generator=generator)[:count]
    noisy = labels.clone()
    noisy[chosen] = torch.randint(classes, (count,), generator=generator)
    return noisy


def confused_labels(labels: Tensor, noise: float, taken_for: tuple[int, ...], seed: int) -> Tensor:
    """Give a share ``noise``, exactly, of each class ``(N,)`` that is taken for another the label of that."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    noisy = labels.clone()
    for source, target in enumerate(taken_for):
        if source == target:
            continue
        own = (labels == source).nonzero().flatten()
        chosen = torch.randperm(len(own), generator=generator)[: round(noise * len(own))]
        noisy[own[chosen]] = target
    return noisy


def instance_labels(part: Part, noise: float, classes: int, seed: int) -> Tensor:
    """Labels ``(N,)`` that are wrong by what is to be seen in each sample; ``noise`` is the mean flip rate."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    y = part.y.cpu()
    low, high = (torch.special.ndtr(torch.tensor((end - noise) / _SPREAD, dtype=torch.float64)) for end in (0, 1))
    drawn, wanted = torch.rand(2, len(y), generator=generator, dtype=torch.float64)
    rates = (noise + _SPREAD * torch.special.ndtri(low + (high - low) * drawn)).clamp(0, 1)
    noisy, size = y.clone(), part.x[0].numel()
    for label in y.bincount().nonzero().flatten().tolist():
        way = torch.randn(size, classes, generator=torch.Generator().manual_seed(derive_seed(seed, "class", label)))
        for own in (y == label).nonzero().flatten().split(_AT_ONCE):
            stored = part.samples(own.to(part.y.device)).cpu()
            # float64: what a sum is rounded to on another machine moves no label.
            x = stored.flatten(1).double() / (255 if stored.dtype == torch.uint8 else 1)
            scores = x @ way.double()
            scores[:, label] = -torch.inf
            chances = rates[own, None] * (scores - scores.logsumexp(1, keepdim=True)).exp()
            chances[:, label] = 1 - rates[own]
            noisy[own] = (chances.cumsum(1) <= wanted[own, None]).sum(1).clamp(max=classes - 1)
    return noisy
