"""How the best losses of a search are trained again: the keys of ``[validation]``."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from lossforge.spaces.recipe_section import Rate
from lossforge.spaces.section import Section


class ValidationSection(Section):
    """How the best losses are trained again, beside rivals tuned in the same way.

    Beside the ``rivals`` stand the ``best_known`` losses of those that are ``known`` (empty: the library), which a
    coarse pass on validation data chooses. ``looks``: pairs are judged at 4, 8, 16 ... seeds, and those that are
    decided get no more; ``margin``: points within which two losses are equivalent (0: they never are).
    """

    after_search: bool = True
    top: int = Field(default=5, ge=1)
    seeds: int = Field(default=8, ge=2, le=1000)
    looks: bool = True
    margin: float = Field(default=0.5, ge=0)
    best_known: int = Field(default=3, ge=0, le=100)
    known: list[str] = Field(default=[])
    coarse_seeds: int = Field(default=1, ge=1, le=100)
    epochs: int | None = Field(default=None, ge=1)
    tuning_seeds: int = Field(default=2, ge=1, le=100)
    learning_rates: list[Rate] = Field(default=[0.001, 0.003, 0.01], min_length=1)
    rivals: list[str] = Field(default=["cross_entropy", "label_smoothing", "ngl"])
    second_optimizer: Literal["auto", "none", "adam", "adamw", "sgd", "muon"] = "auto"
    second_learning_rates: list[Rate] = Field(default=[])
    second_tuning_seeds: int = Field(default=2, ge=1, le=100)
    second_seeds: int = Field(default=4, ge=1, le=1000)

    @model_validator(mode="after")
    def _known(self) -> ValidationSection:
        if self.second_learning_rates != sorted(set(self.second_learning_rates)):
            raise ValueError("second_learning_rates: must rise, without repetition")
        if "cross_entropy" not in self.rivals:
            raise ValueError("rivals: cross_entropy must be among them")
        if self.learning_rates != sorted(set(self.learning_rates)):
            raise ValueError("learning_rates: must rise, without repetition")
        return self
