"""Which pixel reads which, as tables for the kernels. All places are in numbers: a pixel has as many as samples."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from lossforge.models.layer_list import LANES, Geometry, Windows

_TILE = 4
_ROWS = 1
"""Rows of a convolution's output in one segment of `pairs`: few, so that they are in the nearest cache for all taps."""

Triple = tuple[int, int, int]
"""A tap, the pixel that is read, and the pixel that it is read for."""


@lru_cache(maxsize=256)
def triples(geometry: Geometry) -> tuple[Triple, ...]:
    """All that a convolution reads, in the order of what it is read for."""
    (height, width), (rows, columns) = geometry.size, geometry.out
    (tall, wide), (down, right) = geometry.kernel, geometry.stride
    (top, left), (far, wider) = geometry.padding, geometry.dilation
    found = []
    for target in range(rows * columns):
        i, j = target // columns * down - top, target % columns * right - left
        for tap in range(tall * wide):
            y, x = i + tap // wide * far, j + tap % wide * wider
            if 0 <= y < height and 0 <= x < width:
                found.append((tap, y * width + x, target))
    return tuple(found)


def turned(read: Iterable[Triple]) -> tuple[Triple, ...]:
    """The way back: what was read for a pixel is given to it."""
    return tuple(sorted(((tap, target, source) for tap, source, target in read), key=lambda one: (one[2], one[0])))


def classes(read: Iterable[Triple], pixels: int, padded: int, place: int) -> list[int]:
    """The table of `convolution_kernel.convolve`, which will stand at ``place``.

    Pixels that read the same taps at the same distances are a class; its vectors are in tiles of four.
    """
    reads: dict[int, list[tuple[int, int]]] = {pixel: [] for pixel in range(pixels)}
    for tap, source, target in read:
        reads[target].append((tap, source))
    kinds: dict[tuple[tuple[int, int], ...], list[tuple[int, int]]] = {}
    for target, found in reads.items():
        first = found[0][1] if found else 0
        kinds.setdefault(tuple((tap, source - first) for tap, source in found), []).append((first, target))
    heads = [len(kinds)]
    body: list[int] = []
    at = place + 1 + 4 * len(kinds)
    for kind, members in kinds.items():
        start = at + len(body)
        for tap, distance in kind:
            body += tap * _TILE, distance * padded
        middle = at + len(body)
        vectors = [
            (source * padded + lane, target * padded + lane)
            for source, target in members
            for lane in range(0, padded, LANES)
        ]
        vectors += [vectors[-1]] * (-len(vectors) % _TILE)
        for first in range(0, len(vectors), _TILE):
            tile = vectors[first : first + _TILE]
            body += [source for source, _ in tile] + [target for _, target in tile]
        heads += start, middle, middle, at + len(body)
    return heads + body


def pairs(read: Iterable[Triple], columns: int, padded: int, place: int) -> list[int]:
    """The table of `convolution_kernel.correlate`, which will stand at ``place``: segments of rows, tap by tap."""
    segments: dict[tuple[int, int], list[int]] = {}
    for tap, source, target in read:
        segments.setdefault((target // columns // _ROWS, tap), []).extend((source * padded, target * padded))
    heads = [len(segments)]
    body: list[int] = []
    at = place + 1 + 3 * len(segments)
    for (_, tap), found in sorted(segments.items()):
        heads += tap, at + len(body), at + len(body) + len(found)
        body += found
    return heads + body


def windows(layer: Windows, padded: int, place: int) -> list[int]:
    """The table of pooling: for each pixel its place, its divisor, and where the places of what it reads stand."""
    heads, body, at = [len(layer.windows)], list[int](), place + 1 + 4 * len(layer.windows)
    for target, (divisor, pixels) in enumerate(layer.windows):
        heads += target * padded, divisor, at + len(body), at + len(body) + len(pixels)
        body += [pixel * padded for pixel in pixels]
    return heads + body
