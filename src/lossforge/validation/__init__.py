"""Re-validation of discoveries beside rivals tuned in the same way, with statistics.

``PUBLIC`` is what other rooms use, by module; the rest is free to change.
"""

from __future__ import annotations

PUBLIC: dict[str, tuple[str, ...]] = {
    "coarse": ("candidates",),
    "comparison": ("Comparison", "LEGEND", "how_measured", "loss_judgements", "named", "summaries", "told", "verdict"),
    "contenders": ("contender",),
    "cost": ("told",),
    "plans": ("Discovered", "Place", "check_studies", "costs_of", "run_plan", "said_twice", "studies_of"),
    "protocol": ("best_of_run", "log_rows", "settings_of", "validate"),
    "published": ("check_studies_named",),
    "published_text": ("write_beside",),
    "ranks": ("RankComparison", "compare_ranks"),
    "results": ("comparisons_by_plan", "comparisons_in", "read_comparisons", "verdicts_of_run"),
    "rivals": ("further_rivals",),
    "sentences": ("collapse_sentences", "loss_sentences", "verdicts_by_formula"),
    "statistics": ("holm", "paired_difference", "t_quantile"),
    "standings": ("loss_of", "over_studies", "scores_by_study"),
    "verdicts": ("LEAST_SEEDS", "LossVerdict", "Verdict"),
    "second_optimizer": ("ENOUGH", "optimizer_title", "second_optimizer", "under_both"),
}
