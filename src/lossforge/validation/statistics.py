"""Paired differences, as a search has them too: see `lossforge.search.statistics`."""

from __future__ import annotations

from lossforge.search.statistics import PairedDifference, holm, paired_difference, t_quantile, t_tail

__all__ = ["PairedDifference", "holm", "paired_difference", "t_quantile", "t_tail"]
