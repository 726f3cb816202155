"""A user's arrays: ``npz:PATH``, as Keras, MedMNIST and scikit-learn name them, and segmentation pairs."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy

from lossforge.data.labels import as_labels, as_whole, from_labels
from lossforge.data.mask_colours import ColourTable, number_of, table_of
from lossforge.data.samples import IGNORED, Array, Form, Labels, RawData, Samples, as_images, as_vectors
from lossforge.errors import DataError

Keys = tuple[str, str]
"""The names of a part's samples, and of its labels or masks."""

_VOID = 255
"""What most published masks have where nobody says what is to be seen."""
_AT_ONCE = 1_024
_VALIDATION = ("val", "valid", "validation", "dev")
_FORMS = (("x_{}", "y_{}"), ("{}_x", "{}_y"), ("{}_images", "{}_labels"), ("{}_data", "{}_labels"))
_ALONE = (("x", "y"), ("images", "labels"), ("data", "target"), ("data", "labels"))
_READ = (
    "x_train and y_train (and x_val, y_val, x_test, y_test), train_images and train_labels (and val_..., test_...), or "
    "x and y"
)


def _layouts(forms: tuple[Keys, ...]) -> list[dict[str, list[Keys]]]:
    """For each form, the keys that a part may have."""
    names = {"train": ("train",), "validation": _VALIDATION, "test": ("test",)}
    return [
        {part: [(x.format(name), y.format(name)) for name in known] for part, known in names.items()} for x, y in forms
    ]


def read_arrays(path: Path, layouts: list[dict[str, list[Keys]]], known: str) -> dict[str, tuple[Keys, Array, Array]]:
    """Of each part that the file has, ``train`` at least: its keys, its samples, and its labels or masks.

    Keys are found whatever their case. Raises DataError that names file and key, and the layouts that are ``known``.
    Nothing in the file is run: arrays of Python objects are refused.
    """
    try:
        with path.open("rb") as stream, numpy.lib.npyio.NpzFile(stream, allow_pickle=False) as file:
            chosen = _chosen(path, list(file), layouts, known)
            return {
                part: (keys, _array(file, keys[0], path), _array(file, keys[1], path)) for part, keys in chosen.items()
            }
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such file; give the path of an .npz file") from None
    except (OSError, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: cannot be read as .npz ({error}); write it with numpy.savez") from None


def _chosen(path: Path, held: list[str], layouts: list[dict[str, list[Keys]]], known: str) -> dict[str, Keys]:
    """The keys, as the file writes them, of each part of the one layout that it is in."""
    written = {key.lower(): key for key in held}
    found = [layout for layout in layouts if any(set(keys) <= set(written) for keys in layout["train"])]
    if not found:
        half = next((keys for layout in layouts for keys in layout["train"] if set(keys) & set(written)), None)
        missing = (
            f"'{next(key for key in half if key not in written)}'" if half else "no training samples that are known"
        )
        has = "has no" if half else "has"
        raise DataError(f"{path}: {has} {missing} (it has {', '.join(held) or 'nothing'}); read are {known}")
    if len(found) > 1:
        names = " and ".join(layout["train"][0][0] for layout in found)
        raise DataError(f"{path}: holds {names}, each with labels; leave one of them out")
    chosen: dict[str, Keys] = {}
    for part, choices in found[0].items():
        for keys in choices:
            given = [key for key in keys if key in written]
            if len(given) == 1:
                raise DataError(f"{path}: has one of '{keys[0]}' and '{keys[1]}'; give both or none")
            if given and part in chosen:
                raise DataError(f"{path}: has '{chosen[part][0]}' and '{written[keys[0]]}'; leave one of them out")
            if given:
                chosen[part] = (written[keys[0]], written[keys[1]])
    return chosen


def _array(file: numpy.lib.npyio.NpzFile, key: str, path: Path) -> Array:
    try:
        array = numpy.asarray(file[key])
    except (ValueError, EOFError, OSError, zlib.error, zipfile.BadZipFile, MemoryError) as error:
        if "allow_pickle" in str(error):
            raise DataError(
                f"{path}: '{key}' cannot be read: it holds Python objects, which run code when they are read; write it "
                "as numbers, or as text with astype(str)"
            ) from None
        what = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{path}: '{key}' cannot be read ({what}); write it again with numpy.savez") from None
    if array.ndim == 0 or len(array) == 0:
        raise DataError(f"{path}: '{key}' has no samples")
    return array


def read_npz(place: str, form: Form) -> RawData:
    """Images or vectors with labels, in training, validation and test parts or in one.

    The layouts are Keras's (``x_train``, ``y_train``), MedMNIST's (``train_images``, ``train_labels``), and ``x`` with
    ``y`` alone. Of several labels a sample, where the form allows it, ``y`` is ``(N, C)`` of 0 and 1.
    """
    path = Path(place)
    alone: list[dict[str, list[Keys]]] = [{"train": [keys]} for keys in _ALONE]
    parts = {}
    for part, ((x_key, y_key), x, y) in read_arrays(path, _layouts(_FORMS) + alone, _READ).items():
        if x.ndim == 2:
            samples = as_vectors(x, f"{path}: '{x_key}'", keep_missing=form.keep_missing)
        else:
            samples = as_images(x, f"{path}: '{x_key}'")
        labels = as_labels(y, len(samples), f"{path}: '{y_key}'", several=form.several_labels)
        parts[part] = (samples, labels)
    return from_labels(parts["train"], str(path), validation=parts.get("validation"), test=parts.get("test"))


def read_npz_masks(path: Path, form: Form) -> RawData:
    """Images and masks ``(N, H, W)``: ``x_train``, ``m_train``; where it has them, ``x_val``, ``x_test`` and theirs.

    Masks of colours are ``(N, H, W, 3)``, uint8.
    """
    table = table_of(form, [path.parent]) if form.mask_colours else None
    names: tuple[str, ...] = ("0", "1") if form.mask_threshold is not None else ()
    names = table.names if table else names
    ignore = number_of(form.ignore, names, str(path))
    layouts = _layouts((("x_{}", "m_{}"), ("{}_images", "{}_masks")))
    parts = {}
    known = "x_train and m_train (and x_val, m_val, x_test, m_test), or train_images and train_masks"
    for part, ((x_key, m_key), x, masks) in read_arrays(path, layouts, known).items():
        images = as_images(x, f"{path}: '{x_key}'")
        origin = f"{path}: '{m_key}'"
        if table is not None:
            masks = _numbers(masks, table, origin)
        held = _masks(masks, images, origin)
        if table is None and form.mask_threshold is not None:
            held = (held >= form.mask_threshold).astype(numpy.int64)
        parts[part] = (images, held)
    return from_masks(
        parts["train"], parts.get("test"), str(path), validation=parts.get("validation"), ignore=ignore, called=names
    )


def _numbers(masks: Array, table: ColourTable, origin: str) -> Array:
    """Classes ``(N, H, W)`` of masks of colours, some at a time."""
    if masks.ndim != 4 or masks.shape[3] != 3 or masks.dtype != numpy.uint8:
        raise DataError(
            f"{origin}: is {masks.dtype} of shape {masks.shape}; masks of colours (task.mask_colours) are uint8, "
            "(N, H, W, 3)"
        )
    starts = range(0, len(masks), _AT_ONCE)
    return numpy.concatenate([table.numbers(masks[start : start + _AT_ONCE], origin) for start in starts])


def _masks(array: Array, x: Array, origin: str) -> Labels:
    count, _, height, width = x.shape
    expected = (count, height, width)
    if array.shape not in (expected, (*expected, 1), (count, 1, height, width)):
        raise DataError(f"{origin}: has shape {array.shape}; it must be {expected}, a mask for each image")
    return as_whole(array.reshape(expected), origin)


def from_masks(
    train: tuple[Array, Array],
    test: tuple[Array, Array] | None,
    origin: str,
    *,
    validation: tuple[Array, Array] | None = None,
    ignore: int | None = None,
    called: Sequence[str] = (),
) -> RawData:
    """Number the classes of the masks 0, 1 ... in the order of their values: 0 and 255 become 0 and 1.

    Pixels of the value ``ignore`` are of no class, and become `IGNORED`. ``called`` has the name of each value; without
    it the value is the name.
    """

    def told(value: int) -> str:
        return called[value] if value < len(called) else str(value)

    values = _held(train[1])
    found = values if ignore is None else values[values != ignore]
    if len(found) < 2:
        held = " and ".join(map(told, values.tolist()))
        rest = f", of which task.ignore = {told(ignore or 0)} is no class" if len(found) < len(values) else ""
        raise DataError(f"{origin}: every mask holds {held} alone{rest}; there must be two classes at least")
    if len(found) > 256:
        raise DataError(f"{origin}: masks hold {len(found)} different values; a mask holds a class's number a pixel")
    given = {"training": train, "validation": validation, "test": test}
    parts = {}
    for name, part in given.items():
        if part is None:
            continue
        x, masks = part
        unknown = numpy.setdiff1d(_held(masks), values if ignore is None else [*values, ignore])
        if len(unknown):
            raise DataError(f"{origin}: {name} masks hold {told(unknown[0])}, which no training mask holds")
        if x.shape[1:] != train[0].shape[1:]:
            raise DataError(
                f"{origin}: {name} images are {x.shape[1:]}, training images {train[0].shape[1:]}; give one size"
            )
        parts[name] = Samples(x, _numbered(masks, found, ignore))
    names = tuple(map(told, found.tolist()))
    notes = _notes(values.tolist(), ignore, told)
    return RawData(parts["training"], parts.get("test"), names, validation=parts.get("validation"), notes=notes)


def _held(masks: Array) -> Array:
    """The values in masks ``(N, H, W)``, sorted; of some at a time, since they may be mapped from a disk."""
    starts = range(0, len(masks), _AT_ONCE)
    return numpy.unique(numpy.concatenate([numpy.unique(masks[start : start + _AT_ONCE]) for start in starts]))


def _numbered(masks: Array, found: Array, ignore: int | None) -> Array:
    """Masks with the place of each value in ``found``, int16: they are the largest of what is kept in memory."""
    numbered = numpy.empty(masks.shape, numpy.int16)
    for start in range(0, len(masks), _AT_ONCE):
        some, into = masks[start : start + _AT_ONCE], numbered[start : start + _AT_ONCE]
        into[:] = numpy.searchsorted(found, some)
        if ignore is not None:
            into[some == ignore] = IGNORED
    return numbered


def _notes(values: list[int], ignore: int | None, told: Callable[[int], str]) -> tuple[str, ...]:
    """Whether the value of pixels that do not count is there, or one that usually is it."""
    if ignore is not None and ignore not in values:
        return (f"no training mask holds {told(ignore)} (task.ignore): no pixel of them is left out",)
    if ignore is None and _VOID in values and len(values) > 2:
        return (
            f"masks hold {_VOID} beside {len(values) - 1} other values, and it is a class like them; where it marks "
            f"pixels that do not count, set task.ignore = {_VOID}",
        )
    return ()
