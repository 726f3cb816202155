"""What a task does to labels: those that people gave beside the true ones, confusions, and a long tail of classes."""

from __future__ import annotations

from dataclasses import replace

import numpy
import torch
from torch import Tensor

from lossforge.data.confusions import confusions
from lossforge.data.duplicates import Parts
from lossforge.data.human_labels import human_labels
from lossforge.data.label_noise import wrong_share
from lossforge.data.noise_kinds import LabelNoise
from lossforge.data.samples import RawData
from lossforge.data.splits import Part
from lossforge.errors import DataError
from lossforge.seeding import derive_seed
from lossforge.spaces.schema import TaskSection


def with_given_labels(raw: RawData, task: TaskSection) -> RawData:
    """The set with the labels of ``task.noise_file`` beside those of its training part, in its published order."""
    if task.noise_kind != "human":
        return raw
    _refuse_several(raw, "noise_kind", task)
    given = human_labels(task.noise_file, task.noise_key, raw.train.y, raw.names)
    return replace(raw, train=replace(raw.train, given=given))


def noise_of(raw: RawData, task: TaskSection) -> LabelNoise:
    """How the task's labels are made wrong. Raises DataError where that cannot be done to such labels."""
    if task.noise_kind in ("asymmetric", "instance"):
        _refuse_several(raw, "noise_kind", task)
    if task.noise_kind == "asymmetric":
        return LabelNoise("asymmetric", confusions(task.noise_pairs, task.data, raw.names))
    return LabelNoise(task.noise_kind)


def labels_told(task: TaskSection, noise: LabelNoise, train: Part, names: tuple[str, ...]) -> tuple[str, ...]:
    """A sentence for all that a task does to its training labels."""
    told = []
    if task.imbalance > 1:
        counts = train.counts(len(names))
        told.append(
            f"long tail (task.imbalance = {task.imbalance:g}): from {int(counts[0]):,} training samples of class "
            f"'{names[0]}' to {int(counts[-1]):,} of '{names[-1]}'; validation and test parts are as they were"
        )
    if task.split == "replicate":
        told.append(
            "every replicate draws its own training and validation samples (task.split = 'replicate'); the test part "
            "is always the same"
        )
    if task.noise_kind == "human" or task.label_noise:
        told.append(f"{_how(task, noise, train, names)}; labels that are scored on are the true ones")
    return tuple(told)


def _how(task: TaskSection, noise: LabelNoise, train: Part, names: tuple[str, ...]) -> str:
    if train.y.ndim == 2:
        return f"of each label {task.label_noise:.0%} of the training assignments are dealt out anew for every seed"
    wrong = f"{wrong_share(noise, train, task.label_noise, len(names)):.1%} of the training labels"
    if task.noise_kind == "human":
        which = f" ({task.noise_key})" if task.noise_key else ""
        return f"training labels are those of '{task.noise_file}'{which}: {wrong} differ from the true ones"
    if task.noise_kind == "asymmetric":
        pairs = [f"'{names[k]}' as '{names[other]}'" for k, other in enumerate(noise.taken_for) if k != other]
        shown = ", ".join(pairs[:5]) + (f" and {len(pairs) - 5} more" if len(pairs) > 5 else "")
        return f"asymmetric label noise: for every seed {task.label_noise:.0%} of {shown}, so {wrong} are wrong"
    if task.noise_kind == "instance":
        return f"instance-dependent label noise: for every seed about {wrong} are wrong, by what a sample shows"
    return (
        f"symmetric label noise: for every seed {task.label_noise:.0%} of the training labels are drawn anew from all "
        f"classes, so about {wrong} are wrong"
    )


def _refuse_several(raw: RawData, key: str, task: TaskSection) -> None:
    if raw.train.y.ndim != 1:
        raise DataError(
            f"task.{key}: is for one class a sample, and a sample of '{task.data}' has several labels, or none; leave "
            "it out"
        )


def long_tailed(parts: Parts, task: TaskSection, classes: int) -> tuple[Parts, Tensor]:
    """The parts with a long tail in the training part, and the validation samples that are pooled with it.

    Class k keeps n * factor^(-k / (C - 1)) samples of the n that the largest class has, or all where it has fewer, and
    one at least (Cui et al. 2019, arXiv 1901.05555). Validation and test parts stay as they are, as in the literature:
    every class counts there. Which samples are kept follows from ``task.split_seed``.
    """
    if parts.train.y.ndim != 1:
        raise DataError(
            f"task.imbalance: is for one class a sample, and a sample of '{task.data}' has several labels, or none; "
            "leave it out"
        )
    kept = _tail(parts.train, task, classes, "training")
    return parts._replace(train=parts.train.chosen(kept)), _tail(parts.validation, task, classes, "validation")


def _tail(part: Part, task: TaskSection, classes: int, name: str) -> Tensor:
    """Places ``(n,)`` of the samples of a part that are kept, in their order."""
    y = part.y.cpu().numpy()
    largest = int(numpy.bincount(y, minlength=classes).max())
    mixer = numpy.random.Generator(numpy.random.PCG64(derive_seed(task.split_seed, "long tail", name)))
    kept = []
    for label in range(classes):
        # As a whole number of the published code; what is left of rounding takes no sample away.
        wanted = int(largest * task.imbalance ** (-label / (classes - 1)) + 1e-9)
        kept.append(mixer.permutation(numpy.flatnonzero(y == label))[: max(1, wanted)])
    return torch.from_numpy(numpy.sort(numpy.concatenate(kept)))
