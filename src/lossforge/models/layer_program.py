"""A `LayerList` as arrays for `layer_kernel`, for one number of samples: its layers, where values lie, and tables."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from lossforge.models.layer_list import INPUT, LANES, Combination, Convolution, Layer, LayerList, reads
from lossforge.models.layer_tables import classes, pairs, triples, turned, windows

if TYPE_CHECKING:
    import numpy
    from numpy.typing import NDArray


_CHEAP = 32
"""Numbers that a convolution reads for one of its own, up to which it is computed again on the way back."""
_CLASH = 1024
"""Numbers of a plane from which on planes would share places in the nearest cache."""


class Parameters:
    """Where each parameter stands in the row that has all of a network's, and each BatchNorm among its channels."""

    def __init__(self, layers: LayerList) -> None:
        self.places: dict[str, int] = {}
        self.norms: dict[str, int] = {}
        self.size = self.channels = 0
        for layer in layers.layers:
            if isinstance(layer, Convolution):
                self._add(layer.weight, layer.outs * layer.channels * math.prod(layer.geometry.kernel))
                if layer.bias is not None:
                    self._add(layer.bias, layer.outs)
            elif layer.norm is not None:
                self._add(f"{layer.norm.name}.weight", layer.channels)
                self._add(f"{layer.norm.name}.bias", layer.channels)
                self.norms[layer.norm.name] = self.channels
                self.channels += layer.channels

    def _add(self, name: str, size: int) -> None:
        self.places[name] = self.size
        self.size += size


@dataclass
class Program:
    """Arrays for `layer_kernel`, and how much memory they are for, in numbers.

    Memory has batches of samples first, then ``shared`` numbers that one network after the other uses, then ``kept``
    of each network, among them what it gives, ``result`` numbers behind the first of them. Gradients have ``given``
    of each network first, those on what it gave, then ``slopes`` that one after the other uses.
    """

    layers: NDArray[Any]
    values: NDArray[Any]
    tables: NDArray[numpy.uint64]
    padded: int
    samples: int
    shared: int
    kept: int
    result: int
    given: int
    slopes: int
    plane: int
    scratch: int
    sums: int


@dataclass
class _Room:
    """Gives places in memory out, and takes them back."""

    size: int = 0
    free: list[tuple[int, int]] = field(default_factory=list)

    def take(self, size: int) -> int:
        """The place of ``size`` numbers: the smallest gap that has room, or at the end."""
        fitting = [gap for gap in self.free if gap[1] >= size]
        if not fitting:
            self.size += size
            return self.size - size
        place, length = min(fitting, key=lambda gap: (gap[1], gap[0]))
        self.free.remove((place, length))
        if length > size:
            self.free.append((place + size, length - size))
        return place

    def give(self, place: int, size: int) -> None:
        """Take ``size`` numbers back; gaps that meet become one."""
        for gap in [*self.free]:
            if gap[0] + gap[1] == place:
                self.free.remove(gap)
                place, size = gap[0], gap[1] + size
            elif place + size == gap[0]:
                self.free.remove(gap)
                size += gap[1]
        self.free.append((place, size))


def make_program(layers: LayerList, batch: int, networks: int, batches: int, *, training: bool) -> Program:
    """The program for ``networks`` networks on ``batches`` batches of ``batch`` samples each.

    In evaluation a value's memory is used again as soon as nobody reads it any more.
    """
    import numpy

    from lossforge.models.layer_kernel import LAYER, VALUE

    padded = -(-batch // LANES) * LANES
    parameters = Parameters(layers)
    planes = _planes(layers, padded)
    sizes = [size * padded for size in layers.sizes]
    for value, (channels, plane) in planes.items():
        sizes[value] = channels * plane
    rows = numpy.zeros(len(layers.layers), LAYER)
    tables = _Tables(padded)
    for number, layer in enumerate(layers.layers):
        _fill(rows[number], layer, parameters, tables)
        row = rows[number]
        for name, value in (("x", layer.x), ("y", layer.y), ("second", row["second"])):
            pixels = row["y_pixels"] if name == "y" else row["x_pixels"]
            row[f"{name}_plane"] = planes[int(value)][1] if int(value) in planes else int(pixels) * padded
    memory, steps, shared, kept = _memory(layers, sizes, networks, batches, training)
    slopes, room = _slopes(layers, sizes, rows) if training else ([0] * len(sizes), 0)
    values = numpy.zeros(len(sizes), VALUE)
    values["at"], values["step"] = memory, steps
    given = sizes[layers.result]
    values["gradient"] = [place + networks * given for place in slopes]
    values["gradient"][layers.result] = 0
    values["gradient_step"][layers.result] = given
    convolutions = [layer for layer in layers.layers if isinstance(layer, Convolution)]
    others = [layer for layer in layers.layers if not isinstance(layer, Convolution)]
    plane = max((math.prod(one.size) * padded for one in others), default=0)
    return Program(
        layers=rows,
        values=values,
        tables=numpy.array(tables.numbers, numpy.int64).view(numpy.uint64),
        padded=padded,
        samples=sizes[INPUT],
        shared=shared,
        kept=kept,
        result=memory[layers.result] - batches * sizes[INPUT] - shared,
        given=given,
        slopes=networks * given + room + 2 * plane,
        plane=networks * given + room,
        scratch=max((_packed_size(layer) for layer in convolutions), default=0),
        sums=max(padded, *(_sums_size(layer, padded) for layer in convolutions)),
    )


def _planes(layers: LayerList, padded: int) -> dict[int, tuple[int, int]]:
    """Channels and room of a plane of the values whose planes need not lie close: one pixel more than there is.

    The same pixel of all channels would otherwise be a power of two apart, and in the same few places of a cache.
    What is read as other channels than it was written, samples, and what is given, lie close.
    """
    shapes: dict[int, set[tuple[int, int]]] = {}
    for layer in layers.layers:
        if isinstance(layer, Convolution):
            geometry = layer.geometry
            size, out = (geometry.out, geometry.size) if layer.transposed else (geometry.size, geometry.out)
        else:
            size, out = (layer.size, layer.size) if isinstance(layer, Combination) else (layer.size, layer.out)
        outs = layer.channels if isinstance(layer, Combination) else layer.outs
        shapes.setdefault(layer.y, set()).add((outs, math.prod(out)))
        for value in reads(layer):
            shapes.setdefault(value, set()).add((layer.channels, math.prod(size)))
    found = {}
    for value, kinds in shapes.items():
        channels, pixels = next(iter(kinds))
        if len(kinds) == 1 and pixels * padded >= _CLASH and pixels > 1 and value not in (INPUT, layers.result):
            found[value] = channels, (pixels + 1) * padded
    return found


def _packed_size(layer: Convolution) -> int:
    outs, channels = (-(-size // 4) * 4 for size in (layer.outs, layer.channels))
    return (outs * channels) * math.prod(layer.geometry.kernel) + max(outs, channels)


def is_flat(layer: Convolution) -> bool:
    """Whether a convolution is a linear layer, or one on images of one pixel."""
    geometry = layer.geometry
    return math.prod(geometry.size) == math.prod(geometry.out) == math.prod(geometry.kernel) == 1


def _is_cheap(layer: Convolution) -> bool:
    """Whether it takes less to compute a convolution again than to keep what came of it."""
    return layer.x == INPUT and layer.channels * math.prod(layer.geometry.kernel) <= _CHEAP


def _sums_size(layer: Convolution, padded: int) -> int:
    if not is_flat(layer):
        return LANES * LANES * math.prod(layer.geometry.kernel)
    wide = -(-layer.channels // LANES) * LANES
    return (layer.outs + LANES) * (padded + 1) + (padded + layer.outs) * wide


class _Tables:
    """All tables, one behind the other; layers that need the same one share it."""

    def __init__(self, padded: int) -> None:
        self.padded = padded
        self.numbers: list[int] = []
        self._places: dict[Any, int] = {}

    def place(self, key: Any, make: Callable[[int], list[int]]) -> int:
        """Where the table of this key stands; ``make`` makes one that stands at a place."""
        if key not in self._places:
            self._places[key] = len(self.numbers)
            self.numbers += make(len(self.numbers))
        return self._places[key]

    def convolution(self, layer: Convolution) -> tuple[int, int, int]:
        """Tables of a convolution: its own, that of the way back, and that of the gradient on its weights."""
        geometry, padded = layer.geometry, self.padded
        size, out = math.prod(geometry.size), math.prod(geometry.out)
        read, columns = triples(geometry), geometry.out[1]
        ahead = self.place(("ahead", geometry), partial(classes, read, out, padded))
        back = self.place(("back", geometry), partial(classes, turned(read), size, padded))
        if is_flat(layer):
            vectors = -(-layer.channels // LANES)
            alone = [(0, vector, vector) for vector in range(vectors)]
            between = self.place(("flat", vectors), partial(classes, alone, vectors, LANES))
        else:
            between = self.place(("pairs", geometry), partial(pairs, read, columns, padded))
        return (back, ahead, between) if layer.transposed else (ahead, back, between)


def _fill(row: Any, layer: Layer, parameters: Parameters, tables: _Tables) -> None:
    """A layer's row, and its tables."""
    from lossforge.models.layer_kernel import AVERAGE, COMBINE, CONVOLVE, LARGEST

    row["x"], row["y"], row["channels"] = layer.x, layer.y, layer.channels
    if isinstance(layer, Convolution):
        size, out = math.prod(layer.geometry.size), math.prod(layer.geometry.out)
        if layer.transposed:
            size, out = out, size
        row["op"], row["across"], row["outs"] = CONVOLVE, layer.transposed, layer.outs
        row["x_pixels"], row["y_pixels"], row["taps"] = size, out, math.prod(layer.geometry.kernel)
        row["weight"] = parameters.places[layer.weight]
        row["biased"] = layer.bias is not None
        row["bias"] = parameters.places.get(layer.bias or "", 0)
        row["flat"], row["again"] = is_flat(layer), _is_cheap(layer)
        row["ahead"], row["back"], row["pairs"] = tables.convolution(layer)
    elif isinstance(layer, Combination):
        row["op"], row["x_pixels"], row["y_pixels"] = COMBINE, math.prod(layer.size), math.prod(layer.size)
        row["outs"], row["rectified"] = layer.channels, layer.rectified
        row["beside"], row["second"] = layer.second is not None, layer.second or 0
    else:
        row["op"] = LARGEST if layer.kind == "largest" else AVERAGE
        row["outs"], row["lead"], row["filled"] = layer.outs, layer.lead, layer.filled
        row["x_pixels"], row["y_pixels"] = math.prod(layer.size), math.prod(layer.out)
        row["rectified"] = layer.rectified
        row["ahead"] = tables.place((layer.size, layer.windows), partial(windows, layer, tables.padded))
    if not isinstance(layer, Convolution) and layer.norm is not None:
        row["normed"], row["epsilon"] = 1, layer.norm.epsilon
        row["channel"] = parameters.norms[layer.norm.name]
        row["weight"] = parameters.places[f"{layer.norm.name}.weight"]
        row["bias"] = parameters.places[f"{layer.norm.name}.bias"]


def _memory(
    layers: LayerList, sizes: Sequence[int], networks: int, batches: int, training: bool
) -> tuple[list[int], list[int], int, int]:
    """Where each value is and its step from network to network; how much is shared, and how much each one keeps."""
    places, steps = [0] * len(sizes), [0] * len(sizes)
    steps[INPUT] = sizes[INPUT]
    keeping = {layers.result}
    if training:
        keeping |= {layer.y for layer in layers.layers if isinstance(layer, Convolution) and not _is_cheap(layer)}
    last = {value: number for number, layer in enumerate(layers.layers) for value in (layer.y, *reads(layer))}
    room, kept = _Room(), _Room()
    begun = {INPUT}
    for number, layer in enumerate(layers.layers):
        if layer.y not in begun:
            begun.add(layer.y)
            places[layer.y] = (kept if layer.y in keeping else room).take(sizes[layer.y])
        for value in {layer.y, *reads(layer)} if not training else ():
            if last[value] == number and value != INPUT and value not in keeping:
                room.give(places[value], sizes[value])
    first = batches * sizes[INPUT]
    for value in begun - {INPUT}:
        own = value in keeping
        places[value] += first + (room.size if own else 0)
        steps[value] = kept.size if own else 0
    return places, steps, room.size, kept.size


def _slopes(layers: LayerList, sizes: Sequence[int], rows: NDArray[Any]) -> tuple[list[int], int]:
    """Where the gradient of each value is, and how much room they take; what is wanted and added, into ``rows``."""
    trained = {value for layer in layers.layers for value in _trained(layer)}
    for layer in layers.layers:
        if trained.intersection(reads(layer)):
            trained.add(layer.y)
    places, room, begun = [0] * len(sizes), _Room(), {layers.result}
    first: dict[int, int] = {}
    for number, layer in enumerate(layers.layers):
        first.setdefault(layer.y, number)
    for number in reversed(range(len(layers.layers))):
        layer, row = layers.layers[number], rows[number]
        second = layer.second if isinstance(layer, Combination) else None
        for name, value in (("second", second), ("x", layer.x)):
            if value is None or value not in trained:
                continue
            row[f"to_{name}"], row[f"add_{name}"] = 1, value in begun
            if value not in begun:
                begun.add(value)
                places[value] = room.take(sizes[value])
        if first[layer.y] == number and layer.y != layers.result and layer.y in begun:
            room.give(places[layer.y], sizes[layer.y])
    return places, room.size


def _trained(layer: Layer) -> tuple[int, ...]:
    """The values that depend on parameters by this layer alone."""
    own = isinstance(layer, Convolution) or layer.norm is not None
    return (layer.y,) if own else ()
