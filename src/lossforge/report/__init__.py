"""Figures for people.

``PUBLIC`` is what other rooms use, by module; the rest is free to change.
"""

from __future__ import annotations

PUBLIC: dict[str, tuple[str, ...]] = {
    "comparison_files": ("write_files",),
    "comparison_table": ("comparison_lines", "mean_lines", "rank_lines"),
    "fusion_tables": ("LEGEND", "Table", "as_csv", "as_latex", "cells", "fusion_tables"),
    "loss_plot": ("plot_losses",),
    "notebook": ("run_html",),
    "report_file": ("ReportKeeper", "write_report"),
    "watch": ("watch",),
    "sparkline": ("can_be_shown", "gains_by_seed"),
    "plots": ("write_plots",),
    "tensorboard": ("write_tensorboard",),
    "run_comparison": ("compare_runs",),
    "term_shares": ("TermShares", "share_cells", "shares_as_csv", "term_shares"),
}
