"""Re-validation of discoveries beside rivals tuned in the same way, with statistics.

``PUBLIC`` is what other rooms use, by module; the rest is free to change.
"""

from __future__ import annotations

PUBLIC: dict[str, tuple[str, ...]] = {
    "comparison": ("Comparison", "LEGEND", "how_measured", "summaries", "told", "verdict"),
    "protocol": ("validate",),
    "results": ("read_comparisons",),
    "rivals": ("further_rivals",),
    "sentences": ("loss_sentences",),
    "second_optimizer": ("ENOUGH", "optimizer_title", "under_both"),
}
