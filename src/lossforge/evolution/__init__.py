"""Strategies that propose candidates: ask and tell. DEAP lives here and nowhere else.

``PUBLIC`` is what other rooms use, by module; the rest is free to change.
"""

from __future__ import annotations

PUBLIC: dict[str, tuple[str, ...]] = {
    "choice": ("make_strategy",),
    "grid": ("n_grams",),
    "strategy": ("Known", "Proposal", "Strategy", "Told", "WORST_FITNESS"),
}
