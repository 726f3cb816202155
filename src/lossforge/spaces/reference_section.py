"""The known losses that a search trains before its first generation: the keys of ``[reference]``."""

from __future__ import annotations

from pydantic import Field

from lossforge.spaces.section import Section


class ReferenceSection(Section):
    """What a search learns of its ground before it begins; see `lossforge.search.reference`.

    ``losses`` are names, calls or formulas; "library" stands for the whole library, and none leaves it out. Each is
    trained at cross-entropy's rate with ``coarse_seeds``; the ``tuned`` best at more rates with ``tuning_seeds`` each;
    the best of those, and cross-entropy, on ``seeds`` more.
    """

    losses: list[str] = Field(default=["library"])
    coarse_seeds: int = Field(default=1, ge=1, le=100)
    tuned: int = Field(default=4, ge=1, le=100)
    tuning_seeds: int = Field(default=3, ge=1, le=100)
    seeds: int = Field(default=8, ge=2, le=1000)
