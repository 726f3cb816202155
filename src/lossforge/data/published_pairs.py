"""Images with masks of a set that somebody published: decoded once, resized alike, and counted as they are stored."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy

from lossforge.data.changes import stamp
from lossforge.data.decode_files import decode_files
from lossforge.data.decoded import Report, Work, kept_or_decoded
from lossforge.data.decoding import open_image, read_placing, size_told
from lossforge.data.mask_colours import MaskReading, number_of
from lossforge.data.npz_files import from_masks
from lossforge.data.samples import Array, Form, Labels, RawData, Samples
from lossforge.data.tree import read_tree
from lossforge.errors import DataError

Pairs = list[tuple[Path, Path]]
"""Image and mask files."""

_MOST_COUNTED = 48
"""Classes of which a mask's counts fit into 64 bits: the largest in the lower 8, above them which there are."""


class Counts(NamedTuple):
    """Of masks as they are stored: the class ``(N,)`` with the most pixels, and which classes occur, ``(N, C)``."""

    largest: Labels
    occurs: Array

    def told(self, names: tuple[str, ...]) -> str:
        """Images in which each class occurs, and of which it is the largest."""
        most = numpy.bincount(self.largest, minlength=len(names))
        pairs = zip(names, self.occurs.sum(0).tolist(), most.tolist(), strict=True)
        shown = ", ".join(f"{name} {among:,} / {first:,}" for name, among, first in pairs)
        total = int(self.occurs.sum())
        return f"images in which a class occurs / is the largest: {shown}; in all {total:,} / {len(self.largest):,}"


def read_pairs(
    parts: dict[str, Pairs], root: Path, form: Form, name: str, reading: MaskReading, *, large: bool = False
) -> RawData:
    """Images and masks of the parts, ``train`` at least; the classes are those that training masks hold."""
    key = check_pairs(parts, name)
    numbered = {part: [(image, 0) for image, _ in pairs] for part, pairs in parts.items()}
    masks = {part: _masks(pairs, form, root, f"{key} {part}", reading, large) for part, pairs in parts.items()}
    samples, notes = decode_files(numbered, replace(form, skip_broken=False), root, key, large=large)
    both = {part: (samples[part].x, masks[part].x[:, 0]) for part in parts}
    ignore = number_of(form.ignore, reading.names, name)
    raw = from_masks(both["train"], both.get("test"), str(root), ignore=ignore, called=reading.names)
    if large:
        notes.append(_counts(list(masks.values()), reading).told(reading.names))
    return replace(raw, notes=(*notes, *raw.notes))


def count_masks(parts: dict[str, Pairs], root: Path, name: str, reading: MaskReading) -> dict[str, Counts]:
    """What each part's masks hold, of large ones; the masks themselves are not kept."""
    key = check_pairs(parts, name)
    found = {
        part: _masks(pairs, Form(size=(1, 1)), root, f"{key} {part}", reading, large=True)
        for part, pairs in parts.items()
    }
    return {part: _counts([one], reading) for part, one in found.items()}


def check_pairs(parts: dict[str, Pairs], name: str) -> str:
    """A text that changes whenever images or masks are added, removed or written over.

    Raises FileNotFoundError where a part has no pair, or a file of a pair is not there.
    """
    for part, pairs in parts.items():
        if not pairs:
            raise FileNotFoundError(f"the {part} part has no pair of an image and a mask")
        missing = next((file for pair in pairs for file in pair if not file.is_file()), None)
        if missing is not None:
            raise FileNotFoundError(f"there is no file {missing}")
    folders = dict.fromkeys(file.parent for pairs in parts.values() for pair in pairs[:1] for file in pair)
    return f"{name} {' '.join(stamp(read_tree(folder)) for folder in folders)}"


def _counts(masks: list[Samples], reading: MaskReading) -> Counts:
    packed = numpy.concatenate([one.y for one in masks])
    occurs = (packed[:, None] >> (8 + numpy.arange(len(reading.names)))) & 1
    return Counts(packed & 255, occurs.astype(bool))


def _masks(pairs: Pairs, form: Form, root: Path, key: str, reading: MaskReading, large: bool) -> Samples:
    """Masks ``x`` of shape ``(N, 1, H, W)``, uint8, and their counts ``y``, packed; many are kept on disk."""
    work = partial(Work, partial(_mask, pairs, form, reading), [mask.name for _, mask in pairs], numpy.uint8, Report())
    told = f"{key} masks {form.size} {form.ignore} {reading.told}".rstrip()
    samples, report = kept_or_decoded(work, len(pairs), str(root), told, large=large)
    for reason in report.broken.values():
        raise DataError(reason)
    return samples


def _mask(pairs: Pairs, form: Form, reading: MaskReading, index: int) -> tuple[Array, int]:
    """One mask ``(1, H, W)``, cut to the middle and resized as its image is, by the nearest pixel; and its counts."""
    import PIL.Image
    from PIL import ImageOps
    from PIL.Image import Resampling

    pictured, path = pairs[index]
    try:
        image, _ = open_image(path)
        shown = read_placing(pictured).shown
    except DataError as error:
        raise DataError(f"{path}: cannot be read, or its image ({error})") from None
    if image.size != shown:
        raise DataError(
            f"{path}: is {size_told(image.size[::-1])}, its image {size_told(shown[::-1])}; they must be alike"
        )
    values = reading.values(image, path).astype(numpy.uint8)
    packed = _packed(values) if len(reading.names) <= _MOST_COUNTED else 0
    if form.size is not None:
        values = numpy.asarray(ImageOps.fit(PIL.Image.fromarray(values), form.size[::-1], Resampling.NEAREST))
    return values[None], packed


def _packed(values: Array) -> int:
    """The number with the most pixels in the lower 8 bits (the first of equals), above a bit for each that occurs."""
    counts = numpy.bincount(values.reshape(-1), minlength=1)[:_MOST_COUNTED]
    return int(counts.argmax()) | sum(1 << (8 + int(number)) for number in counts.nonzero()[0])
