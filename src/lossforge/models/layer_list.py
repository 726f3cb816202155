"""What a network is made of, as a list of layers that `layer_kernel` knows; read off the network by `torch.fx`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

INPUT = 0
"""The value that is a network's samples."""
_FEW = 2
"""Channels of samples up to which they are unfolded."""

LANES = 16
"""Samples in a vector of the kernels."""

Pair = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Geometry:
    """How a window goes over an image of ``size`` (H, W) and gives one of ``out``; all in pixels, rows first."""

    size: Pair
    out: Pair
    kernel: Pair
    stride: Pair = (1, 1)
    padding: Pair = (0, 0)
    dilation: Pair = (1, 1)


@dataclass(frozen=True, slots=True)
class Convolution:
    """Value ``y`` of ``outs`` channels from ``x`` of ``channels``; a linear layer where an image is one pixel.

    ``weight`` and ``bias`` are names of parameters. Of one that is ``transposed`` the geometry is that of the
    convolution whose way back it is.
    """

    x: int
    y: int
    channels: int
    outs: int
    geometry: Geometry
    weight: str
    bias: str | None = None
    transposed: bool = False


@dataclass(frozen=True, slots=True)
class Norm:
    """A BatchNorm by its name; ``momentum`` as torch has it."""

    name: str
    epsilon: float
    momentum: float


@dataclass(frozen=True, slots=True)
class Combination:
    """Value ``y``: ``x``, normalised where there is a ``norm``, plus ``second`` where there is one, and ReLU of it."""

    x: int
    y: int
    channels: int
    size: Pair
    norm: Norm | None = None
    second: int | None = None
    rectified: bool = False


@dataclass(frozen=True, slots=True)
class Windows:
    """The ``outs`` channels of ``y`` from ``lead`` on: of each window of ``x`` its largest number, or its mean.

    ``windows`` are, for each pixel of ``out`` in turn, a divisor and the pixels of ``x``; ``filled``: the other
    channels are 0. A window of one pixel copies it, and one of none is 0: so images are cut, padded and joined. Of
    the largest numbers there may be a ``norm``, of what is read, and ReLU, of what comes out, as in `Combination`.
    """

    x: int
    y: int
    kind: Literal["largest", "mean"]
    channels: int
    outs: int
    size: Pair
    out: Pair
    windows: tuple[tuple[int, tuple[int, ...]], ...]
    lead: int = 0
    filled: bool = False
    norm: Norm | None = None
    rectified: bool = False


Layer = Convolution | Combination | Windows


@dataclass(frozen=True, slots=True)
class LayerList:
    """A network: its layers in turn, the numbers of each value for one sample, and the value that it gives.

    ``shape`` is that of a sample, ``(C, H, W)``, and ``output`` that of what it gives for one. Where there is an
    ``unfolded`` geometry, the first value has what each window of it reads as channels, ``(C * taps, out)``.
    """

    layers: tuple[Layer, ...]
    sizes: tuple[int, ...]
    result: int
    shape: tuple[int, int, int]
    output: tuple[int, ...]
    unfolded: Geometry | None = None


def unfolding(found: LayerList) -> LayerList:
    """The same with convolutions of samples of one or two channels as ones of a single tap, where all read alike.

    The kernels take channels by fours: of one alone they would use a quarter of their arithmetic.
    """
    first = [layer for layer in found.layers if INPUT in reads(layer)]
    geometries = {layer.geometry for layer in first if isinstance(layer, Convolution) and not layer.transposed}
    alike = len(geometries) == 1 and all(isinstance(layer, Convolution) for layer in first)
    if found.shape[0] > _FEW or not alike or {geometry.size for geometry in geometries} != {found.shape[1:]}:
        return found
    (geometry,) = geometries
    channels = found.shape[0] * geometry.kernel[0] * geometry.kernel[1]
    one = Geometry(geometry.out, geometry.out, (1, 1))
    layers = tuple(
        replace(layer, channels=channels, geometry=one) if isinstance(layer, Convolution) and layer in first else layer
        for layer in found.layers
    )
    sizes = (channels * geometry.out[0] * geometry.out[1], *found.sizes[1:])
    return replace(found, layers=layers, sizes=sizes, unfolded=geometry)


def joined(layers: list[Layer], result: int) -> list[Layer]:
    """The same with BatchNorm, addition, pooling and ReLU in a row as one layer, where nobody else reads."""
    found = list(layers)
    place = 0
    while place < len(found):
        layer = found[place]
        follower = _only_reader(found, layer.y, result)
        both = None if follower is None else _both(layer, found[follower])
        if both is None or follower is None:
            place += 1
        else:
            found[follower] = both
            del found[place]
    return found


def _only_reader(layers: list[Layer], value: int, result: int) -> int | None:
    readers = [number for number, layer in enumerate(layers) for read in reads(layer) if read == value]
    return readers[0] if len(readers) == 1 and value != result else None


def _both(first: Layer, then: Layer) -> Layer | None:
    """Two layers as one, where there is such a one."""
    if isinstance(first, Combination) and isinstance(then, Windows):
        fitting = then.kind == "largest" and first.second is None
        return replace(then, x=first.x, norm=first.norm, rectified=first.rectified) if fitting else None
    if not isinstance(then, Combination) or then.norm is not None or isinstance(first, Convolution):
        return None
    if isinstance(first, Windows):
        fitting = first.kind == "largest" and then.second is None
        return replace(first, y=then.y, rectified=True) if fitting and then.rectified else None
    if first.rectified:
        return None
    if then.second is None:
        return replace(first, y=then.y, rectified=then.rectified)
    if first.second is not None:
        return None
    other = then.second if then.x == first.y else then.x
    return replace(first, y=then.y, second=other, rectified=then.rectified)


def reads(layer: Layer) -> tuple[int, ...]:
    """The values that a layer reads."""
    second = layer.second if isinstance(layer, Combination) else None
    return (layer.x,) if second is None else (layer.x, second)


def fills_vectors(batch: int) -> bool:
    """Whether a batch fills half of the kernels' vectors: with less they would mostly compute nothing."""
    return 2 * batch >= -(-batch // LANES) * LANES
