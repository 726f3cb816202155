"""How labels are made wrong, as plain data; `lossforge.data.label_noise` does it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lossforge.spaces.noise_keys import NoiseKind


@dataclass(frozen=True, slots=True)
class LabelNoise:
    """A kind of noise; ``taken_for`` has, where it is asymmetric, the class that each is taken for."""

    kind: NoiseKind = "symmetric"
    taken_for: tuple[int, ...] = ()


SYMMETRIC = LabelNoise()
"""As noise is unless a task says otherwise."""
