"""Masks that are pictures for people: a colour for each class, or grey levels that a threshold parts."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy

from lossforge.data.samples import Array, Form
from lossforge.errors import DataError
from lossforge.spaces.mask_keys import CLASS_TABLE

if TYPE_CHECKING:
    from PIL.Image import Image

Colour = tuple[int, int, int]
Named = tuple[tuple[str, Colour], ...]
"""Names of classes with their colours; a class's number is its place."""

_CODES = 2**24
_UNKNOWN = -1
_CHROMA = 32
"""What compression may make of the difference between two colours of a grey pixel."""


@dataclass(frozen=True, slots=True)
class ColourTable:
    """Numbers classes by their colours.

    With ``threshold`` each of red, green and blue is 0 below it and else 255, before it is looked up; with ``nearest``
    a colour of no class is of that whose colour has the least Euclidean distance.
    """

    named: Named
    threshold: int | None = None
    nearest: bool = False
    _numbers: list[Array] = field(default_factory=list, compare=False, repr=False)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the classes by number."""
        return tuple(name for name, _ in self.named)

    @property
    def told(self) -> str:
        """Changes whenever the same colours give other numbers."""
        return f"colours {self.named} {self.threshold} {self.nearest}"

    def numbers(self, colours: Array, path: Path | str) -> Array:
        """Classes ``(..., H, W)`` of colours ``(..., H, W, 3)``, uint8, as int16. Raises DataError for another one."""
        if self.threshold is not None:
            colours = numpy.where(colours >= self.threshold, numpy.uint8(255), numpy.uint8(0))
        codes = colours[..., 0].astype(numpy.int32) << 16
        codes |= colours[..., 1].astype(numpy.int32) << 8
        codes |= colours[..., 2]
        table = self._table()
        numbers: Array = table[codes]
        unknown = numbers == _UNKNOWN
        if unknown.any():
            if not self.nearest:
                self._refuse(codes[unknown], path)
            found = numpy.unique(codes[unknown])
            table[found] = self._nearest(found)
            numbers = table[codes]
        return numbers

    def _table(self) -> Array:
        """The class of each of the 2^24 colours, `_UNKNOWN` where there is none."""
        if not self._numbers:
            table = numpy.full(_CODES, _UNKNOWN, numpy.int16)
            for number, (_, (red, green, blue)) in enumerate(self.named):
                table[red << 16 | green << 8 | blue] = number
            self._numbers.append(table)
        return self._numbers[0]

    def _nearest(self, codes: Array) -> Array:
        own = numpy.array([colour for _, colour in self.named], dtype=numpy.int64)
        colours = numpy.stack([codes >> 16, codes >> 8 & 255, codes & 255], axis=1).astype(numpy.int64)
        nearest = numpy.empty(len(codes), numpy.int16)
        for start in range(0, len(codes), 65_536):
            some = colours[start : start + 65_536]
            nearest[start : start + 65_536] = ((some[:, None] - own) ** 2).sum(2).argmin(1)
        return nearest

    def _refuse(self, codes: Array, path: Path | str) -> None:
        found, counts = numpy.unique(codes, return_counts=True)
        code = int(found[counts.argmax()])
        colour = [code >> 16, code >> 8 & 255, code & 255]
        near = self.names[int(self._nearest(found[[counts.argmax()]])[0])]
        many = f"; so have {len(found) - 1:,} other colours" if len(found) > 1 else ""
        raise DataError(
            f"{path}: holds the colour {colour} ({int(counts.max()):,} pixels), which no class has{many} (the nearest "
            f"is '{near}'); give its class in task.mask_colours, or, where compression blurred the masks, set "
            "task.nearest_colour = true"
        )


def colours_of(image: Image, path: Path) -> Array:
    """An image's colours ``(H, W, 3)``, uint8. Raises DataError for what is see-through or deeper than bytes."""
    if image.mode in ("LA", "RGBA", "PA") or "transparency" in image.info:
        shown = image.convert("RGBA")
        if shown.getchannel("A").getextrema()[0] != 255:
            raise DataError(f"{path}: is see-through in places; save masks of colours as RGB")
        image = shown
    if image.mode.startswith(("I", "F")):
        raise DataError(f"{path}: holds grey levels of more than 8 bits ({image.mode}), and no colours; save it as RGB")
    return numpy.asarray(image.convert("RGB"))


def levels_of(image: Image, path: Path) -> Array:
    """An image's grey levels ``(H, W)``, 0 to 255, as uint8. Raises DataError for colours, and for deeper images."""
    colours = colours_of(image, path)
    if int(numpy.ptp(colours, axis=2).max()) > _CHROMA:
        raise DataError(
            f"{path}: is an image of colours ({image.mode}), and task.mask_threshold is for grey ones; name the "
            "colours in task.mask_colours"
        )
    grey: Array = numpy.asarray(image.convert("L"))
    return grey


@dataclass(frozen=True, slots=True)
class MaskReading:
    """How the pixels of an image become numbers of classes: ``values(image, path)`` gives ``(H, W)``.

    ``names`` are those of the numbers, where they have any; ``told`` changes with what the same pixels become.
    """

    values: Callable[[Image, Path], Array]
    names: tuple[str, ...]
    told: str


def by_colours(table: ColourTable) -> MaskReading:
    """A colour is a class."""
    return MaskReading(lambda image, path: table.numbers(colours_of(image, path), path), table.names, table.told)


def by_threshold(threshold: int, names: tuple[str, ...] = ("0", "1")) -> MaskReading:
    """From ``threshold`` on it is class 1, below it class 0."""

    def values(image: Image, path: Path) -> Array:
        return (levels_of(image, path) >= threshold).astype(numpy.uint8)

    return MaskReading(values, names, f"from {threshold}")


def reading_of(form: Form, folders: Sequence[Path]) -> MaskReading | None:
    """How a user's masks are read by the task's keys; None: numbers, as they are.

    ``folders`` are those in which the table of names and colours may lie. Raises DataError where it is wanted and not
    there.
    """
    if form.mask_colours:
        return by_colours(table_of(form, folders))
    return None if form.mask_threshold is None else by_threshold(form.mask_threshold)


def table_of(form: Form, folders: Sequence[Path]) -> ColourTable:
    """The colours that the task names, or those of the table in one of the ``folders``."""
    named = form.mask_colours
    if isinstance(named, str):
        found = next((folder / CLASS_TABLE for folder in folders if (folder / CLASS_TABLE).is_file()), None)
        if found is None:
            raise DataError(
                f"task.mask_colours: there is no '{CLASS_TABLE}' in {' or '.join(map(str, folders))}; put it there, a "
                "line name,r,g,b for each class, or write the table yourself: { water = [0, 0, 255] }"
            )
        named = read_class_table(found)
    return ColourTable(named, form.mask_threshold, form.nearest_colour)


def read_class_table(path: Path) -> Named:
    """The names and colours of a table with the columns name, r, g and b. Raises DataError that names the line."""
    try:
        rows = [[cell.strip() for cell in row] for row in csv.reader(path.read_text("utf-8-sig").splitlines()) if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: cannot be read ({error}); it must have the columns name, r, g, b") from None
    columns = [cell.lower() for cell in rows[0]] if rows else []
    if sorted(columns) != ["b", "g", "name", "r"]:
        raise DataError(f"{path}: has the columns {', '.join(columns) or 'none'}; they must be name, r, g, b")
    named: dict[str, Colour] = {}
    for line, row in enumerate(rows[1:], start=2):
        cells = dict(zip(columns, row, strict=False))
        parts = [cells.get(channel, "") for channel in "rgb"]
        if len(row) != 4 or not cells["name"] or not all(_is_byte(part) for part in parts):
            raise DataError(f"{path}: line {line} is {','.join(row)!r}; it must be a name and three numbers, 0 to 255")
        red, green, blue = map(int, parts)
        if cells["name"] in named or (red, green, blue) in named.values():
            raise DataError(f"{path}: line {line} ({','.join(row)}) repeats a name or a colour; leave it out")
        named[cells["name"]] = (red, green, blue)
    if len(named) < 2:
        raise DataError(f"{path}: names {len(named)} classes; there must be two at least")
    return tuple(named.items())


def _is_byte(text: str) -> bool:
    return text.isdecimal() and int(text) <= 255


def number_of(ignore: int | str | None, names: Sequence[str], origin: str) -> int | None:
    """The number of the class that ``task.ignore`` names. Raises DataError where there is none such."""
    if not isinstance(ignore, str):
        return ignore
    if ignore not in names:
        raise DataError(f"task.ignore: '{ignore}' is no class of '{origin}'; its classes are {', '.join(names)}")
    return list(names).index(ignore)
