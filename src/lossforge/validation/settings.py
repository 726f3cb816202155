"""How a study goes: its seeds and looks, its margin, and how learning rates and known losses are chosen."""

from __future__ import annotations

from dataclasses import dataclass

from lossforge.validation.sequential import planned_looks


@dataclass(frozen=True, slots=True)
class Settings:
    """How a study goes: most seeds, whether it is looked at before, margin in points, and how its rates are found.

    ``known`` of those ``among`` (empty: the library) are rivals besides the named ones.
    """

    seeds: int
    looks: bool
    margin: float
    epochs: int
    rates: tuple[float, ...]
    tuning_seeds: int
    coarse_rates: tuple[float, ...] = ()
    coarse_seeds: int = 1
    known: int = 0
    among: tuple[str, ...] = ()

    @property
    def planned(self) -> tuple[int, ...]:
        """Numbers of seeds at which is looked."""
        return planned_looks(self.seeds) if self.looks else (self.seeds,)
