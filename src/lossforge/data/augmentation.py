"""From stored samples to what the network is given: scaled and, in training, augmented."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from lossforge.data.samples import IGNORED
from lossforge.errors import DataError
from lossforge.seeding import derive_seed

if TYPE_CHECKING:
    from lossforge.data.scale import Scale
    from lossforge.spaces.schema import AugmentationSection

_LUMA = (0.299, 0.587, 0.114)
_DRAWS = 10
"""Random numbers a sample: two of the crop, flip, angle, three of colour, two of the cutout, one in reserve."""
_MORE_DRAWS = 4
"""And where images are zoomed or shifted: two of the zoom, two of the shift; without it all others are as ever."""


class Preparation:
    """Maps samples ``(K, B, C, H, W)`` or ``(B, C, H, W)``, uint8 or float32, to float32 of the same shape.

    With ``ignoring`` what is brought in from beyond an edge does not count, where there are masks. Bytes become [0, 1];
    then come crop, flip, rotation, zoom and shift, then colour, then the training part's mean and
    deviation, then the cutout, so that what is cut out is the mean. Every sample has its own random numbers.
    """

    def __init__(
        self,
        augmentation: AugmentationSection,
        scale: Scale | None,
        shape: tuple[int, int, int],
        *,
        ignoring: bool = False,
    ) -> None:
        self.augmentation = augmentation
        self.ignoring = ignoring
        self.scale = scale
        self.augments = augmentation.is_on
        self._draws = _DRAWS + (_MORE_DRAWS if augmentation.zoom or augmentation.shift else 0)
        if self.augments:
            _check(augmentation, shape)

    def generators(self, seeds: Sequence[int]) -> list[torch.Generator]:
        """A generator for each replica; none where nothing is augmented."""
        if not self.augments:
            return []
        return [torch.Generator().manual_seed(derive_seed(seed, "augmentation")) for seed in seeds]

    def __call__(self, x: Tensor, generators: Sequence[torch.Generator] = ()) -> Tensor:
        """The network's input. Augmented where there are generators: one a replica, or one for all of a batch."""
        return self._prepared(x, None, generators)[0]

    def with_masks(self, x: Tensor, masks: Tensor, generators: Sequence[torch.Generator] = ()) -> tuple[Tensor, Tensor]:
        """The network's input, and its masks ``(K, B, H, W)`` or ``(B, H, W)``, class indices, moved in the same way.

        Crop, flip, rotation, zoom and shift move a mask with its image, by the nearest pixel; colour and cutout leave
        it alone. What comes in from beyond an edge is mirrored, so that its class is known; with ``ignoring`` it does
        not count.
        """
        prepared, moved = self._prepared(x, masks, generators)
        assert moved is not None
        return prepared, moved

    def _prepared(
        self, x: Tensor, masks: Tensor | None, generators: Sequence[torch.Generator]
    ) -> tuple[Tensor, Tensor | None]:
        stored_as_bytes = x.dtype == torch.uint8
        if stored_as_bytes:
            x = x.float().div_(255)
        cut: Tensor | None = None
        if generators:
            shape = x.shape
            x = x.flatten(0, -4)
            each = len(x) // len(generators)
            draws = torch.cat([torch.rand(each, self._draws, generator=one) for one in generators]).to(x.device)
            flat = None if masks is None else masks.flatten(0, -3)
            x, flat = self._turned(*self._shifted(x, flat, draws), draws)
            masks = None if flat is None else flat.view(*shape[:-3], *shape[-2:])
            x = self._coloured(x.contiguous(), draws, clamp=stored_as_bytes)
            cut = self._cut(x, draws)
            x = x.view(shape)
            cut = None if cut is None else cut.view(*shape[:-3], 1, *shape[-2:])
        if self.scale is not None:
            x = (x - self.scale.mean.view(-1, 1, 1)).div_(self.scale.std.view(-1, 1, 1))
        return x if cut is None else x.masked_fill(cut, 0.0), masks

    def _shifted(self, x: Tensor, masks: Tensor | None, draws: Tensor) -> tuple[Tensor, Tensor | None]:
        """Crop from a padded image, and flip: whole pixels, so nothing is blurred."""
        spec = self.augmentation
        if not (spec.crop or spec.flip):
            return x, masks
        count, _, height, width = x.shape
        top, left = (draws[:, :2] * (2 * spec.crop + 1)).long().clamp(max=2 * spec.crop).unbind(1)
        rows = top[:, None] + torch.arange(height, device=x.device)
        columns = torch.arange(width, device=x.device).expand(count, width)
        if spec.flip:
            columns = torch.where(draws[:, 2:3] < 0.5, width - 1 - columns, columns)
        columns = columns + left[:, None]
        if masks is None:
            x = functional.pad(x, (spec.crop,) * 4)
        else:
            rows, columns = rows - spec.crop, columns - spec.crop
            beyond = _outside(rows, height)[:, :, None] | _outside(columns, width)[:, None, :]
            rows, columns = _mirrored(rows, height), _mirrored(columns, width)
        sample = torch.arange(count, device=x.device)[:, None, None]
        place = (sample, rows[:, :, None], columns[:, None, :])
        shifted = x.permute(0, 2, 3, 1)[place].permute(0, 3, 1, 2)
        if masks is None:
            return shifted, None
        return shifted, masks[place].masked_fill(beyond, IGNORED) if self.ignoring else masks[place]

    def _turned(self, x: Tensor, masks: Tensor | None, draws: Tensor) -> tuple[Tensor, Tensor | None]:
        """Rotate about the middle, zoom and shift: images between pixels, masks by the nearest.

        What comes in from beyond an edge is black after a rotation alone, and the pixel at the edge after a zoom or a
        shift, as Keras has it unless told otherwise.
        """
        spec = self.augmentation
        moved = bool(spec.zoom or spec.shift)
        if not (spec.rotation or moved):
            return x, masks
        angle = (2 * draws[:, 3] - 1) * math.radians(spec.rotation)
        cosine, sine, zero = angle.cos(), angle.sin(), torch.zeros_like(angle)
        # The grid runs from -1 to 1 along both sides: an oblong image needs its ratio, or it would be sheared.
        ratio = x.shape[2] / x.shape[3]
        turn = torch.stack([cosine, -sine * ratio, zero, sine / ratio, cosine, zero], 1).view(-1, 2, 3)
        if moved:
            more = 2 * draws[:, _DRAWS:] - 1
            turn[:, :, :2] *= (1 + spec.zoom * more[:, :2])[:, None]
            turn[:, :, 2] = 2 * spec.shift * more[:, 2:]
        grid = functional.affine_grid(turn, list(x.shape), align_corners=False)
        if masks is None:
            beyond = "border" if moved else "zeros"
            return functional.grid_sample(x, grid, padding_mode=beyond, align_corners=False), None
        turned = functional.grid_sample(
            masks[:, None].float(), grid, mode="nearest", padding_mode="reflection", align_corners=False
        )
        found = turned[:, 0].to(masks.dtype)
        if self.ignoring:
            found = found.masked_fill((grid.abs() > 1).any(-1), IGNORED)
        return functional.grid_sample(x, grid, padding_mode="reflection", align_corners=False), found

    def _coloured(self, x: Tensor, draws: Tensor, *, clamp: bool) -> Tensor:
        """Brightness, contrast and saturation, each by a factor within 1 ± its strength."""
        spec = self.augmentation
        strengths = (spec.brightness, spec.contrast, spec.saturation)
        if not any(strengths):
            return x
        brightness, contrast, saturation = (
            (1 + (2 * draws[:, 4 + place] - 1) * strength).view(-1, 1, 1, 1) for place, strength in enumerate(strengths)
        )
        x = x * brightness
        if spec.contrast:
            middle = _grey(x).mean((1, 2, 3), keepdim=True)
            x = middle + (x - middle) * contrast
        if spec.saturation:
            grey = _grey(x)
            x = grey + (x - grey) * saturation
        return x.clamp(0, 1) if clamp else x

    def _cut(self, x: Tensor, draws: Tensor) -> Tensor | None:
        """True ``(N, 1, H, W)`` in a square of each sample, its middle anywhere in the image; None where none is."""
        side = self.augmentation.cutout
        if not side:
            return None
        spans = []
        for place, length in ((7, x.shape[2]), (8, x.shape[3])):
            start = (draws[:, place : place + 1] * length).long().clamp(max=length - 1) - side // 2
            position = torch.arange(length, device=x.device)
            spans.append((position >= start) & (position < start + side))
        return (spans[0][:, :, None] & spans[1][:, None, :])[:, None]


def _outside(place: Tensor, length: int) -> Tensor:
    return (place < 0) | (place >= length)


def _mirrored(place: Tensor, length: int) -> Tensor:
    """Places up to ``length`` beyond either end, taken back inside as in a mirror at the end."""
    place = torch.where(place < 0, -1 - place, place)
    return torch.where(place >= length, 2 * length - 1 - place, place)


def _grey(x: Tensor) -> Tensor:
    """Brightness ``(N, 1, H, W)`` of colour images; another number of channels is averaged."""
    if x.shape[1] != 3:
        return x.mean(1, keepdim=True)
    return (x * torch.tensor(_LUMA, device=x.device).view(1, 3, 1, 1)).sum(1, keepdim=True)


def _check(spec: AugmentationSection, shape: tuple[int, int, int]) -> None:
    channels, height, width = shape
    if height == width == 1:
        raise DataError("task.augmentation: is for images, and this data set is a table; leave it out")
    if spec.cutout > min(height, width):
        raise DataError(f"task.augmentation.cutout: is {spec.cutout}, larger than the images ({height}×{width})")
    if spec.crop >= min(height, width):
        raise DataError(f"task.augmentation.crop: is {spec.crop}, too much padding for images of {height}×{width}")
    if spec.saturation and channels != 3:
        raise DataError(f"task.augmentation.saturation: needs images of 3 channels, and these have {channels}")
