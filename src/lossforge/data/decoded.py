"""Many images in one form, decoded in threads; what takes long is kept in the data folder and mapped."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy

from lossforge.data.array_files import create_array_file, map_array_file
from lossforge.data.decoding import pixels, size_told
from lossforge.data.places import data_folder
from lossforge.data.samples import Array, Form, Samples
from lossforge.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image

_KEPT_FROM = 2_000
"""Images from which the decoded form is kept in the data folder: a worker then maps it instead of decoding again."""
_LARGE_KEPT_FROM = 200
"""The same of images of millions of pixels each."""
_AT_ONCE = 1_024


class Images(Protocol):
    """Images with their labels, as torchvision's data sets give them."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> tuple[Image, int]: ...


@dataclass(slots=True)
class Report:
    """Of image files: those that cannot be read, each with the reason, and the depths of the others."""

    broken: dict[str, str] = field(default_factory=dict)
    bytes: int = 0
    words: int = 0
    coarse: int = 0

    def add(self, other: Report) -> None:
        """Count another part's files too."""
        self.broken |= other.broken
        self.bytes += other.bytes
        self.words += other.words
        self.coarse += other.coarse


@dataclass(frozen=True, slots=True)
class Work:
    """How each of the images becomes an array and a label: ``one`` raises DataError where it is broken."""

    one: Callable[[int], tuple[Array, int]]
    names: Sequence[str]
    dtype: type
    report: Report


def decode(images: Images, form: Form, origin: str, key: str) -> Samples:
    """Every image in the form asked for, uint8 ``(N, C, H, W)``; many are kept on disk under ``key`` and mapped."""

    def one(index: int) -> tuple[Array, int]:
        image, label = images[index]
        return pixels(image, form), int(label)

    def work() -> Work:
        return Work(one, [f"image {index}" for index in range(len(images))], numpy.uint8, Report())

    samples, report = kept_or_decoded(work, len(images), origin, f"{key} {form.size} {form.greyscale} {len(images)}")
    for reason in report.broken.values():
        raise DataError(reason)
    return samples


def kept_or_decoded(
    work: Callable[[], Work], count: int, origin: str, key: str, *, large: bool = False
) -> tuple[Samples, Report]:
    """The samples as they are kept on disk, made now where they are not; few are decoded into memory every time.

    ``large`` images are kept where there are fewer of them.
    """
    if count < (_LARGE_KEPT_FROM if large else _KEPT_FROM):
        return _decode(work(), count, origin, numpy.empty)
    name = hashlib.sha256(key.encode()).hexdigest()[:32]
    folder = data_folder() / "decoded"
    kept = (folder / f"{name}.x.npy", folder / f"{name}.y.npy")
    told = folder / f"{name}.report.json"
    try:
        if not all(file.is_file() for file in kept):
            print(f"{origin}: decoding {count:,} images, once", file=sys.stderr, flush=True)  # noqa: T201
            folder.mkdir(parents=True, exist_ok=True)
            _decode_to(kept, told, work(), count, origin)
        x, y = (map_array_file(file) for file in kept)
        report = Report(**json.loads(told.read_text(encoding="utf-8"))) if told.is_file() else Report()
    except (OSError, json.JSONDecodeError):
        # A folder that cannot be written, a full disk, a damaged file: decode into memory, now and next time.
        return _decode(work(), count, origin, numpy.empty)
    return Samples(x[: len(y)], numpy.asarray(y)), report


def _decode_to(kept: tuple[Path, Path], told: Path, work: Work, count: int, origin: str) -> None:
    """Decode into files; where some are broken, ``x`` has places at its end that ``y`` has not."""
    drafts = [file.with_name(f"{file.name}.{os.getpid()}.new") for file in (*kept, told)]
    try:
        samples, report = _decode(work, count, origin, partial(create_array_file, drafts[0]))
        create_array_file(drafts[1], samples.y.shape, numpy.int64)[:] = samples.y
        if report != Report(bytes=report.bytes):
            drafts[2].write_text(json.dumps(asdict(report)), encoding="utf-8")
            drafts[2].replace(told)
        for draft, file in zip(drafts, kept, strict=False):
            draft.replace(file)
    finally:
        for draft in drafts:
            with suppress(OSError):
                draft.unlink()


def _decode(
    work: Work, count: int, origin: str, make: Callable[[tuple[int, ...], type], Array]
) -> tuple[Samples, Report]:
    def one(index: int) -> tuple[Array, int] | str:
        try:
            return work.one(index)
        except DataError as error:
            return str(error)

    x: Array | None = None
    y = numpy.empty(count, numpy.int64)
    done = 0
    with ThreadPoolExecutor() as pool:
        for start in range(0, count, _AT_ONCE):
            indices = range(start, min(start + _AT_ONCE, count))
            for index, result in zip(indices, pool.map(one, indices), strict=True):
                if isinstance(result, str):
                    work.report.broken[work.names[index]] = result
                    continue
                sample, label = result
                if x is None:
                    x = make((count, *sample.shape), work.dtype)
                if sample.shape != x.shape[1:]:
                    raise DataError(
                        f"{origin}: images differ in size ({size_told(x.shape)} and {size_told(sample.shape)}); set "
                        "task.resize, such as resize = 32"
                    )
                x[done], y[done] = sample, label
                done += 1
    if x is None:
        x = make((1, 1, 1, 1), work.dtype)
    return Samples(x[:done], y[:done]), work.report
