"""Labels that people gave, from a file: one array, or the dictionaries of CIFAR-10N and CIFAR-100N.

CIFAR-10N and -100N (Wei et al. 2022, arXiv 2110.12088) come as dictionaries of arrays, in ``.pt`` or ``.npy``:
``clean_label``, and ``aggre_label``, ``worse_label``, ``random_label1`` to 3, or ``noisy_label``. A label belongs to
the sample of that place in the data set's own training part. Nothing in a file is run: of pickles arrays are read,
and all else is refused.
"""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

import numpy

from lossforge.data.samples import Array, Labels
from lossforge.errors import DataError, offered
from lossforge.spaces.base_folder import from_base

_CLEAN = "clean_label"


def label_file_digest(name: str) -> str:
    """sha256 of the file of ``task.noise_file``; "" where no file is named. Raises DataError where there is none."""
    if not name:
        return ""
    path = from_base(name)
    try:
        state = path.stat()
        return _digest(path, state.st_mtime_ns, state.st_size)
    except FileNotFoundError:
        raise DataError(f"task.noise_file: there is no file '{path}'; give the path of one with labels") from None
    except OSError as error:
        raise DataError(f"task.noise_file: '{path}' cannot be read ({error.strerror or error})") from None


@lru_cache(maxsize=16)
def _digest(path: Path, changed: int, size: int) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def human_labels(name: str, key: str, clean: Labels, names: tuple[str, ...]) -> Labels:
    """Labels ``(N,)`` of ``task.noise_file``, under ``task.noise_key`` where it holds several, as class numbers.

    ``clean`` are the true ones of the set's own training part, ``names`` those of the classes. Raises DataError where
    the file is for other samples: another number, a label that is no class, or other true labels.
    """
    path = from_base(name)
    held = _held(path)
    if isinstance(held, Mapping):
        given = _chosen(held, key, path)
        if _CLEAN in held:
            _refuse_others(_as_numbers(held[_CLEAN], _CLEAN, path, len(clean), names), clean, path)
    elif key:
        raise DataError(f"task.noise_key: '{path}' holds one array and no keys; leave noise_key out")
    else:
        key, given = "labels", held
    return _as_numbers(given, key, path, len(clean), names)


def _chosen(held: Mapping[str, Any], key: str, path: Path) -> Any:
    """What is under the key, or the only labels there are besides the clean ones, which ``key`` may leave unsaid."""
    others = [name for name in held if name != _CLEAN and numpy.ndim(held[name]) == 1]
    if key and key not in held:
        raise DataError(f"task.noise_key: '{path}' has no '{key}'{offered(key, others)}")
    if not key and len(others) != 1:
        listed = ", ".join(map(str, others)) or "none"
        raise DataError(f"task.noise_key: '{path}' holds several labels a sample ({listed}); name one of them")
    return held[key or others[0]]


def _as_numbers(array: Any, key: str, path: Path, count: int, names: tuple[str, ...]) -> Labels:
    found = numpy.asarray(array)
    if found.shape != (count,):
        raise DataError(
            f"task.noise_file: '{path}': '{key}' has shape {found.shape}, and the data set's own training part has "
            f"{count:,} samples: give a label for each of them, in their order"
        )
    if found.dtype.kind == "U":
        number = {text: place for place, text in enumerate(names)}
        unknown = next((text for text in found.tolist() if text not in number), None)
        if unknown is not None:
            raise DataError(f"task.noise_file: '{path}': '{key}' has class '{unknown}'{offered(unknown, names)}")
        return numpy.array([number[text] for text in found.tolist()], dtype=numpy.int64)
    whole = found.dtype.kind in "iub" or (found.dtype.kind == "f" and bool((found == numpy.round(found)).all()))
    if not whole or found.min() < 0 or found.max() >= len(names):
        told = f"from {found.min()} to {found.max()}" if found.dtype.kind in "iufb" else f"of type {found.dtype}"
        raise DataError(
            f"task.noise_file: '{path}': '{key}' holds labels {told}; they must be whole numbers of classes, 0 to "
            f"{len(names) - 1}, or the classes' names"
        )
    return found.astype(numpy.int64)


def _refuse_others(told: Labels, clean: Labels, path: Path) -> None:
    wrong = int((told != clean).sum())
    if wrong:
        raise DataError(
            f"task.noise_file: '{path}': its {_CLEAN} differs from the data's labels for {wrong:,} of {len(clean):,} "
            f"samples (the first is sample {int(numpy.argmax(told != clean))}): the file is for other data, or for "
            "another order of them"
        )


def _held(path: Path) -> Any:
    """An array, or a dictionary of arrays."""
    readers = {".npy": _read_npy, ".npz": _read_npz, ".pt": _read_torch, ".pth": _read_torch}
    if path.suffix.lower() not in readers:
        raise DataError(f"task.noise_file: '{path}' must be a file .npy, .npz or .pt")
    try:
        with path.open("rb") as stream:
            held = readers[path.suffix.lower()](stream)
    except DataError:
        raise
    except Exception as error:  # readers raise what they come across in a damaged file
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        raise DataError(f"task.noise_file: '{path}' cannot be read ({reason}); read are arrays of labels") from None
    if isinstance(held, Mapping):
        return {str(name): _plain(value) for name, value in held.items()}
    return _plain(held)


def _plain(value: Any) -> Array:
    """A tensor, a list or an array as an array."""
    return numpy.asarray(value.numpy() if hasattr(value, "numpy") else value)


def _read_npy(stream: IO[bytes]) -> Any:
    """A plain array, or one object, the dictionary, as numpy pickles it."""
    version = numpy.lib.format.read_magic(stream)
    header = {(1, 0): numpy.lib.format.read_array_header_1_0, (2, 0): numpy.lib.format.read_array_header_2_0}
    if version not in header:
        raise DataError("task.noise_file: is of a version of .npy that is not read; save it again with numpy.save")
    _, _, dtype = header[version](stream)
    if not dtype.hasobject:
        stream.seek(0)
        return numpy.lib.format.read_array(stream, allow_pickle=False)
    held = _ArrayUnpickler(stream).load()
    return held.item() if isinstance(held, numpy.ndarray) and held.ndim == 0 else held


def _read_npz(stream: IO[bytes]) -> Any:
    with numpy.lib.npyio.NpzFile(stream, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def _array_makers() -> dict[tuple[str, str], Any]:
    """What a pickle of arrays names, under old names too: it makes numbers, and runs nothing."""
    from numpy._core.multiarray import _reconstruct, scalar

    found: dict[tuple[str, str], Any] = {("numpy", "ndarray"): numpy.ndarray, ("numpy", "dtype"): numpy.dtype}
    for package in ("numpy.core", "numpy._core"):
        found |= {(f"{package}.multiarray", one.__name__): one for one in (_reconstruct, scalar)}
    return found


def _read_torch(stream: IO[bytes]) -> Any:
    import torch

    kinds = [getattr(numpy.dtypes, name) for name in dir(numpy.dtypes) if name.endswith("DType")]
    named = [(maker, f"{module}.{name}") for (module, name), maker in _array_makers().items()]
    with torch.serialization.safe_globals([*named, *kinds]):
        return torch.load(stream, map_location="cpu", weights_only=True)


class _ArrayUnpickler(pickle.Unpickler):
    """Reads arrays and plain values; anything else that a pickle would call is refused."""

    def find_class(self, module: str, name: str) -> Any:
        """What the pickle names, where that makes arrays."""
        makers = _array_makers()
        if (module, name) not in makers:
            raise DataError(
                f"task.noise_file: holds {module}.{name}, which would run code when it is read; save plain arrays"
            )
        return makers[module, name]
