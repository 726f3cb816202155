"""A user's arrays: ``npz:PATH``, as Keras writes them, and segmentation pairs in the same form."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

import numpy

from lossforge.data.samples import (
    Array,
    Form,
    Labels,
    RawData,
    Samples,
    as_images,
    as_labels,
    as_whole,
    from_labels,
)
from lossforge.errors import DataError


def read_arrays(path: Path, keys: tuple[str, str, str, str]) -> dict[str, Array]:
    """The arrays that ``keys`` name: two of training, two of testing, the latter both or not at all.

    Raises DataError that names file and key. Nothing in the file is run: arrays of Python objects are refused.
    """
    try:
        with path.open("rb") as stream, numpy.lib.npyio.NpzFile(stream, allow_pickle=False) as file:
            missing = [key for key in keys[:2] if key not in file]
            if missing:
                raise DataError(f"{path}: has no '{missing[0]}' (it has {', '.join(file) or 'nothing'})")
            if (keys[2] in file) != (keys[3] in file):
                raise DataError(f"{path}: has one of '{keys[2]}' and '{keys[3]}'; give both or none")
            found = {}
            for key in keys:
                if key in file:
                    found[key] = _array(file, key, path)
            return found
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such file; give the path of an .npz file") from None
    except (OSError, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: cannot be read as .npz ({error}); write it with numpy.savez") from None


def _array(file: numpy.lib.npyio.NpzFile, key: str, path: Path) -> Array:
    try:
        array = numpy.asarray(file[key])
    except (ValueError, EOFError, OSError, zlib.error, zipfile.BadZipFile, MemoryError) as error:
        what = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{path}: '{key}' cannot be read ({what}); write it again with numpy.savez") from None
    if array.ndim == 0 or len(array) == 0:
        raise DataError(f"{path}: '{key}' has no samples")
    return array


def read_npz(place: str, form: Form) -> RawData:
    """``x_train``, ``y_train`` and, where it has them, ``x_test`` and ``y_test``."""
    path = Path(place)
    arrays = read_arrays(path, ("x_train", "y_train", "x_test", "y_test"))
    found: dict[str, tuple[Array, Labels]] = {}
    for part in ("train", "test"):
        if f"x_{part}" in arrays:
            x = as_images(arrays[f"x_{part}"], f"{path}: 'x_{part}'")
            found[part] = (x, as_labels(arrays[f"y_{part}"], len(x), f"{path}: 'y_{part}'"))
    x_test, y_test = found.get("test", (None, None))
    return from_labels(*found["train"], x_test, y_test, str(path))


def read_npz_masks(path: Path) -> RawData:
    """``x_train``, ``m_train`` and, where it has them, ``x_test`` and ``m_test``; masks ``(N, H, W)``."""
    arrays = read_arrays(path, ("x_train", "m_train", "x_test", "m_test"))
    pairs = []
    for part in ("train", "test"):
        if f"x_{part}" in arrays:
            x = as_images(arrays[f"x_{part}"], f"{path}: 'x_{part}'")
            pairs.append((x, _masks(arrays[f"m_{part}"], x, f"{path}: 'm_{part}'")))
    return from_masks(pairs[0], pairs[1] if len(pairs) > 1 else None, str(path))


def _masks(array: Array, x: Array, origin: str) -> Labels:
    count, _, height, width = x.shape
    expected = (count, height, width)
    if array.shape not in (expected, (*expected, 1), (count, 1, height, width)):
        raise DataError(f"{origin}: has shape {array.shape}; it must be {expected}, a mask for each image")
    return as_whole(array.reshape(expected), origin)


def from_masks(train: tuple[Array, Labels], test: tuple[Array, Labels] | None, origin: str) -> RawData:
    """Number the classes of the masks 0, 1 ... in the order of their values: 0 and 255 become 0 and 1."""
    found = numpy.unique(train[1])
    if len(found) < 2:
        raise DataError(f"{origin}: every mask holds {found[0]} alone; there must be two classes at least")
    if len(found) > 256:
        raise DataError(f"{origin}: masks hold {len(found)} different values; a mask holds a class's number a pixel")
    parts = []
    for x, masks in (train, test) if test else (train,):
        unknown = numpy.setdiff1d(masks, found)
        if len(unknown):
            raise DataError(f"{origin}: test masks hold {unknown[0]}, which no training mask holds")
        parts.append(Samples(x, numpy.searchsorted(found, masks).astype(numpy.int64)))
    if len(parts) > 1 and parts[0].x.shape[1:] != parts[1].x.shape[1:]:
        raise DataError(
            f"{origin}: test images are {parts[1].x.shape[1:]}, training images {parts[0].x.shape[1:]}; give one size"
        )
    return RawData(parts[0], parts[1] if len(parts) > 1 else None, tuple(str(value) for value in found.tolist()))
