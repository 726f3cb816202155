"""What a data set is like: sizes, classes, balance, and samples that are in both training and test parts."""

from __future__ import annotations

import hashlib
from collections import Counter

from lossforge.data.splits import Part, TaskData

_UNBALANCED = 10.0
"""Ratio of the largest class to the smallest from which accuracy says little."""


def describe(data: TaskData) -> list[tuple[str, str, str]]:
    """Rows of ``(what, "good" | "note", told)``."""
    sizes = ", ".join(f"{name} {len(part):,}" for name, part in _parts(data).items())
    channels, height, width = data.shape
    kind = str(data.train.x.dtype).removeprefix("torch.")
    form = f"{channels} features" if height == width == 1 else f"{height}×{width}, {channels} channels"
    where = "" if data.train.rows is None else "; too large for the device, so its batches stream there"
    return [
        ("parts", "good", sizes),
        ("samples", "good", f"{form}, {kind}{where}"),
        _classes(data),
        _balance(data),
        _duplicates(data),
    ]


def _parts(data: TaskData) -> dict[str, Part]:
    return {"training": data.train, "validation": data.validation, "test": data.test}


def _classes(data: TaskData) -> tuple[str, str, str]:
    shown = ", ".join(data.names[:10]) + (", ..." if data.classes > 10 else "")
    return "classes", "good", f"{data.classes}{' of each pixel' if data.segmentation else ''}: {shown}"


def _balance(data: TaskData) -> tuple[str, str, str]:
    import torch

    counts = torch.bincount(data.train.y.flatten().cpu(), minlength=data.classes)
    low, high = int(counts.argmin()), int(counts.argmax())
    unit = "pixels" if data.segmentation else "samples"
    told = (
        f"from {int(counts[low]):,} training {unit} ({data.names[low]}) to {int(counts[high]):,} ({data.names[high]})"
    )
    if counts[low] == 0:
        return "balance", "note", f"{told}: a class without samples cannot be learned"
    if counts[high] > _UNBALANCED * counts[low]:
        return "balance", "note", f"{told}: accuracy says little about the rare classes"
    return "balance", "good", told


def _duplicates(data: TaskData) -> tuple[str, str, str]:
    counts = duplicates(data)
    told = (
        f"{counts['test']:,} of {len(data.test):,} test samples and {counts['validation']:,} of "
        f"{len(data.validation):,} validation samples are in the training part too, {counts['training']:,} training "
        "samples are there more than once (every value alike)"
    )
    return "duplicates", "note" if counts["test"] or counts["validation"] else "good", told


def duplicates(data: TaskData) -> dict[str, int]:
    """Samples of the test and validation parts that are in the training part too; and repeats within that part."""
    hashes = {name: _hashes(part) for name, part in _parts(data).items()}
    known = Counter(hashes["training"])
    return {
        "test": sum(one in known for one in hashes["test"]),
        "validation": sum(one in known for one in hashes["validation"]),
        "training": sum(count - 1 for count in known.values()),
    }


def _hashes(part: Part) -> list[bytes]:
    return [
        hashlib.blake2b(sample.tobytes(), digest_size=16).digest()
        for chunk in part.chunks(1024)
        for sample in chunk.cpu().contiguous().numpy()
    ]
