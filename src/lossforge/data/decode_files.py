"""A user's image files as samples: one depth for a whole set, and every broken file told at once."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy

from lossforge.data.decoded import Report, Work, kept_or_decoded
from lossforge.data.decoding import Depth, Header, deep_pixels, open_image, pixels, read_header, size_told
from lossforge.data.parts import counted
from lossforge.data.samples import Array, Form, Samples
from lossforge.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image

_READING = 2
"""Goes up whenever the same files give other numbers, so that what was decoded before is not taken."""


class ImagePaths:
    """Images in files, with a label each."""

    def __init__(self, paths: Sequence[Path], labels: Sequence[int]) -> None:
        self.paths = paths
        self.labels = labels

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int, /) -> tuple[Image, int]:
        try:
            return open_image(self.paths[index])[0], self.labels[index]
        except DataError as error:
            raise DataError(f"{self.paths[index]}: cannot be read as an image ({error})") from None


def decode_files(
    parts: dict[str, list[tuple[Path, int]]],
    form: Form,
    root: Path,
    key: str,
    masks: dict[str, str] | None = None,
    *,
    large: bool = False,
) -> tuple[dict[str, Samples], list[str]]:
    """Image files with their labels as samples ``(N, C, H, W)``, part by part, and notes for the user.

    They are uint8, or float32 where one file holds more than bytes. ``key`` changes whenever a file does; ``masks``
    are those that are broken, where each image has one; ``large`` images are worth keeping decoded where they are few.
    Raises DataError that lists every broken file of all parts,
    unless ``form.skip_broken``: then broken images are left out.
    """
    depth = _Depths([path for pairs in parts.values() for path, _ in pairs], root)
    samples, found = {}, Report()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # odd metadata; what cannot be read raises
        for part, pairs in parts.items():
            name = f"{key} {part} {_READING} {form.size} {form.greyscale} {len(pairs)}"
            work = partial(_work, pairs, depth, form, root)
            samples[part], report = kept_or_decoded(work, len(pairs), str(root), name, large=large)
            found.add(report)
    found.broken |= masks or {}
    total = sum(map(len, parts.values())) * (1 if masks is None else 2)
    if found.broken and not (form.skip_broken and all(map(len, samples.values()))):
        raise DataError(
            f"{root}: {len(found.broken):,} of {total:,} files cannot be read as an image: {_told(found.broken)}; mend "
            "or remove them, or set task.skip_broken = true to go on without them"
        )
    for part, one in samples.items():
        if one.x.shape[1:] != (shape := samples["train"].x.shape[1:]):
            sizes = f"{size_told(shape)} and {size_told(one.x.shape)}"
            raise DataError(f"{root}: images of train and {part} differ in size ({sizes}); set task.resize")
    return samples, _notes(found, total)


def _told(broken: dict[str, str], most: int = 10) -> str:
    """The first files with their reasons, and how many more there are."""
    shown = ", ".join(f"{name} ({reason})" for name, reason in list(broken.items())[:most])
    return shown if len(broken) <= most else f"{shown} and {len(broken) - most:,} more"


def _notes(found: Report, total: int) -> list[str]:
    notes = []
    if found.broken:
        notes.append(f"{len(found.broken):,} of {total:,} files are broken and left out: {_told(found.broken)}")
    if found.words and found.bytes:
        images = counted(found.words, "image")
        notes.append(f"{images} of 16 bits a pixel, {found.bytes:,} of 8: black is 0 and white 1 in either")
    if found.coarse:
        notes.append(f"{counted(found.coarse, 'image')} of 16 bits a colour, of which the upper 8 are read")
    return notes


class _Depths:
    """The headers of all files of a set, read when they are first asked for: one depth is the set's."""

    def __init__(self, paths: Sequence[Path], root: Path) -> None:
        self._paths, self._root = paths, root
        self._found: dict[Path, Header | str] = {}

    def of(self, path: Path) -> Header | str:
        """The header of a file, or why it cannot be read."""
        if not self._found:
            with ThreadPoolExecutor() as pool:
                self._found = dict(zip(self._paths, pool.map(_header, self._paths), strict=True))
        return self._found[path]

    def of_set(self) -> Depth:
        """The depth that all images are read with. Raises DataError where they have no range in common."""
        first = {found.depth: path for path in reversed(self._paths) if isinstance(found := self.of(path), Header)}
        if Depth.NUMBERS in first and len(first) > 1:
            other = next(path for depth, path in first.items() if depth != Depth.NUMBERS)
            raise DataError(
                f"{self._root}: {first[Depth.NUMBERS].relative_to(self._root)} holds floating-point numbers or whole "
                f"ones of 32 bits, and {other.relative_to(self._root)} bytes or 16 bits; save all images alike"
            )
        return max(first, default=Depth.BYTES)


def _header(path: Path) -> Header | str:
    try:
        return read_header(path)
    except DataError as error:
        return str(error)


def _work(pairs: Sequence[tuple[Path, int]], depths: _Depths, form: Form, root: Path) -> Work:
    common = depths.of_set()
    headers = [header for path, _ in pairs if isinstance(header := depths.of(path), Header)]
    report = Report(
        bytes=sum(header.depth == Depth.BYTES for header in headers),
        words=sum(header.depth == Depth.WORDS for header in headers),
        coarse=sum(header.coarse for header in headers),
    )

    def one(index: int) -> tuple[Array, int]:
        path, label = pairs[index]
        header = depths.of(path)
        if isinstance(header, str):
            raise DataError(header)
        image, depth = open_image(path)
        return (pixels(image, form) if common == Depth.BYTES else deep_pixels(image, depth, form)), label

    names = [path.relative_to(root).as_posix() for path, _ in pairs]
    return Work(one, names, numpy.uint8 if common == Depth.BYTES else numpy.float32, report)
