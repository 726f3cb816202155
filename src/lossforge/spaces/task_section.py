"""The task of a search space: data, parts, noise, network and augmentation."""

from __future__ import annotations

from pathlib import PurePath
from typing import Annotated, Any

from pydantic import Field

from lossforge.spaces.section import Section

Side = Annotated[int, Field(ge=1, le=4096)]


class AugmentationSection(Section):
    """How training images are varied, anew in every epoch, each on its own."""

    crop: int = Field(default=0, ge=0, le=256)
    flip: bool = False
    rotation: float = Field(default=0.0, ge=0, le=180)
    brightness: float = Field(default=0.0, ge=0, le=1)
    contrast: float = Field(default=0.0, ge=0, le=1)
    saturation: float = Field(default=0.0, ge=0, le=1)
    cutout: int = Field(default=0, ge=0, le=1024)

    @property
    def is_on(self) -> bool:
        """Whether anything is varied."""
        return self != AugmentationSection()


class TaskSection(Section):
    """What candidates are judged on: data, parts, noise and network."""

    name: str = Field(default="", pattern=r"^[\w.-]*$")
    data: str = Field(min_length=1)
    train: int | None = Field(default=None, ge=10)
    validation: int | None = Field(default=None, ge=10)
    test: int | None = Field(default=None, ge=10)
    split_seed: int = Field(default=0, ge=0)
    label_noise: float = Field(default=0.0, ge=0, lt=1)
    resize: Side | tuple[Side, Side] | None = None
    greyscale: bool = False
    normalize: bool | None = None
    augmentation: AugmentationSection = AugmentationSection()
    model: str = "small_cnn"
    width: int = Field(default=16, ge=1, le=1024)

    @property
    def title(self) -> str:
        """The task's name: as given, or its data set's, or its own file's."""
        kind, colon, place = self.data.partition(":")
        return self.name or (PurePath(place.partition("#")[0]).stem if colon else kind)

    @property
    def image_size(self) -> tuple[int, int] | None:
        """Height and width that images are resized to; None: as they are."""
        return (self.resize, self.resize) if isinstance(self.resize, int) else self.resize

    def identity(self) -> dict[str, Any]:
        """All that decides a training's result, as plain data.

        Keys of the input enter where they are not at their default: runs that are older than these keys go on.
        """
        inputs = {"resize", "greyscale", "normalize", "augmentation"}
        unused = {name for name in inputs if getattr(self, name) == type(self).model_fields[name].default}
        return self.model_dump(mode="json", exclude=unused)
