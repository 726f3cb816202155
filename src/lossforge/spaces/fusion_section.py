"""Sums of named losses: the keys of ``[fusion]``."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from lossforge.spaces.section import Section

Weight = Annotated[float, Field(gt=0, le=1e6)]


class FusionSection(Section):
    """Which losses are added, and how. Where there are none, candidates are formulas.

    With ``evolution.strategy`` "grid" every sum of ``orders`` many of the ``losses`` is a candidate, in that order;
    else they are the leaves of sums that evolve. ``weights``: "equal"; a weight for each loss by its name; or
    "tuned", by which every choice of ``levels`` is a candidate of its own (those of one ratio once). ``match``: each
    loss is multiplied first by what gives its gradient cross-entropy's length near a uniform start. New weights of
    sums that evolve are drawn from ``weight_range``, evenly in their logarithm.

    ``dynamic``: what changes the weights of a grid's sums in the course of a training; ``temperature`` is DWA's,
    ``alpha`` GradNorm's. ``shares``: each loss's share of the gradient is kept for every epoch of the search's
    trainings too, as it always is for those of the re-validation.
    """

    losses: list[Annotated[str, Field(min_length=1)]] = Field(default=[])
    orders: list[Annotated[int, Field(ge=1, le=16)]] = Field(default=[1, 2, 3], min_length=1)
    weights: Literal["equal", "tuned"] | dict[str, Weight] = "equal"
    levels: list[Weight] = Field(default=[1.0, 3.0], min_length=1)
    match: bool = True
    weight_range: tuple[Weight, Weight] = (0.1, 10.0)
    dynamic: Literal["none", "uncertainty", "dwa", "gradnorm"] = "none"
    temperature: float = Field(default=2.0, ge=1e-3, le=1e3)
    alpha: float = Field(default=1.5, ge=0, le=1e3)
    shares: bool = False

    @model_validator(mode="after")
    def _sane(self) -> FusionSection:
        for name in ("losses", "orders", "levels"):
            values = getattr(self, name)
            if len(set(values)) < len(values):
                raise ValueError(f"{name}: has a value twice")
        if self.losses and max(self.orders) > len(self.losses):
            raise ValueError(f"orders: {max(self.orders)} losses cannot be added, for there are {len(self.losses)}")
        if isinstance(self.weights, dict) and (unknown := sorted(set(self.weights) - set(self.losses))):
            raise ValueError(f"weights: '{unknown[0]}' is not one of fusion.losses, as they are written there")
        if self.weight_range[0] >= self.weight_range[1]:
            raise ValueError("weight_range: the first number must be below the second")
        return self
