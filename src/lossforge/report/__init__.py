"""Figures for people.

``PUBLIC`` is what other rooms use, by module; the rest is free to change.
"""

from __future__ import annotations

PUBLIC: dict[str, tuple[str, ...]] = {
    "comparison_files": ("write_files",),
    "comparison_table": ("comparison_lines", "rank_lines"),
    "loss_plot": ("plot_losses",),
}
