"""A user's own images in files: ``folder:PATH`` and ``masks:PATH``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy

from lossforge.data.changes import stamp
from lossforge.data.class_folders import LAYOUTS, labelled_files
from lossforge.data.decode_files import decode_files
from lossforge.data.mask_colours import number_of, reading_of
from lossforge.data.mask_files import MaskReader
from lossforge.data.mask_pairs import mask_pairs
from lossforge.data.npz_files import from_masks, read_npz_masks
from lossforge.data.parts import part_named
from lossforge.data.resized_masks import lost_classes
from lossforge.data.samples import Array, Form, Labels, RawData, Samples
from lossforge.data.tree import read_tree
from lossforge.errors import DataError


def read_folder(place: str, form: Form) -> RawData:
    """Labelled images in one of the layouts of `lossforge.data.class_folders`."""
    root = Path(place)
    if not root.is_dir():
        raise DataError(f"{root}: there is no such folder; {LAYOUTS}")
    tree = read_tree(root)
    found = labelled_files(tree, nested=form.nested, validation=form.own_validation)
    samples, notes = decode_files(found.parts, form, root, stamp(tree))
    return RawData(
        samples["train"],
        samples.get("test"),
        found.names,
        validation=samples.get("validation"),
        notes=(*found.notes, *notes),
    )


def read_masks(place: str, form: Form) -> RawData:
    """An .npz file, or pairs of files in one of the layouts of `lossforge.data.mask_pairs`."""
    root = Path(place)
    if not root.is_dir():
        return read_npz_masks(root, form)
    tree = read_tree(root)
    found = mask_pairs(tree, validation=form.own_validation)
    reading = reading_of(form, [root, *(folder.path for folder in tree.folders if part_named(folder.name))])
    names = reading.names if reading else ()
    ignore = number_of(form.ignore, names, str(root))
    reader = MaskReader(form, root, reading)
    masks = {part: reader.read(pairs, counted=part == "train") for part, pairs in found.parts.items()}
    reader.refuse_blurred([mask for read in masks.values() for mask in read if mask is not None])
    if ignore is not None:
        del reader.stored[ignore], reader.left[ignore]
    called = (lambda value: names[value]) if names else str
    lost = lost_classes(reader.stored, reader.left, form.size, str(root), called) if form.size else ()
    numbered = {part: [(path, place) for place, (path, _) in enumerate(pairs)] for part, pairs in found.parts.items()}
    samples, notes = decode_files(numbered, form, root, f"{stamp(tree)} masks", reader.broken)
    parts = {part: _whole_pairs(one, masks[part], root) for part, one in samples.items()}
    raw = from_masks(
        parts["train"], parts.get("test"), str(root), validation=parts.get("validation"), ignore=ignore, called=names
    )
    return replace(raw, notes=(*found.notes, *notes, *raw.notes), lost=lost)


def _whole_pairs(images: Samples, masks: list[Labels | None], root: Path) -> tuple[Array, Labels]:
    """Images whose places among the masks are their labels, with their masks; those that have none are left out."""
    chosen = [(row, mask) for row, place in enumerate(images.y.tolist()) if (mask := masks[place]) is not None]
    if not chosen:
        raise DataError(f"{root}: a part has no pair of an image and a mask that can both be read")
    rows = [row for row, _ in chosen]
    x = images.x if len(rows) == len(images) else images.x[rows]
    return x, numpy.stack([mask for _, mask in chosen])
