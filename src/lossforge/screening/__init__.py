"""The funnel that rejects candidates before they cost a training.

``PUBLIC`` is what other rooms use, by module; the rest is free to change.
"""

from __future__ import annotations

PUBLIC: dict[str, tuple[str, ...]] = {
    "candidates": ("CandidateScreener", "Judgement", "Lot"),
    "descent": ("compile_kernels", "kernels_are_compiled", "kernels_folder"),
    "helpers": ("Helpers", "helper_count"),
    "screener": ("Begun", "Screened", "Screener"),
    "settings": ("Screen", "ScreenSettings"),
    "terms": ("screen_term",),
}
