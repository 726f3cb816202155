"""How training images are varied: the keys of ``[task.augmentation]``."""

from __future__ import annotations

from pydantic import Field

from lossforge.spaces.section import Section

LATER_AUGMENTATIONS = ("zoom", "shift")
"""Augmentations that runs of earlier versions do not have."""


class AugmentationSection(Section):
    """How training images are varied, anew in every epoch, each on its own.

    ``zoom`` scales height and width each by a factor within 1 ± itself, ``shift`` moves by up to that share of each.
    """

    crop: int = Field(default=0, ge=0, le=256)
    flip: bool = False
    rotation: float = Field(default=0.0, ge=0, le=180)
    zoom: float = Field(default=0.0, ge=0, lt=1)
    shift: float = Field(default=0.0, ge=0, lt=1)
    brightness: float = Field(default=0.0, ge=0, le=1)
    contrast: float = Field(default=0.0, ge=0, le=1)
    saturation: float = Field(default=0.0, ge=0, le=1)
    cutout: int = Field(default=0, ge=0, le=1024)

    @property
    def is_on(self) -> bool:
        """Whether anything is varied."""
        return self != AugmentationSection()
