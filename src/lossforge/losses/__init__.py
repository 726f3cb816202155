"""Losses as torch modules, and the library of named ones.

``PUBLIC`` is what other rooms use, by module; the rest is free to change.
"""

from __future__ import annotations

PUBLIC: dict[str, tuple[str, ...]] = {
    "analysis": (
        "CLASSES",
        "gradient_cosine",
        "gradient_ratio",
        "in_training",
        "library_gradients",
        "logits_of",
        "minimiser",
        "nearest",
        "probe_direction",
    ),
    "behind_heads": ("baseline", "opposite"),
    "candidates": ("Candidate", "candidate_spec", "parse_candidate"),
    "compiled": ("LEAST_FACTOR", "LossSpec", "WeightedFusionLoss"),
    "drop_in": ("DropInLoss",),
    "fusions": ("Call", "Fusion", "Part", "fused"),
    "heads": ("HEADS", "LEAST_LOG", "SOFTMAX", "Head"),
    "library": (
        "ALIASES",
        "CROSS_ENTROPY",
        "GROUPS",
        "LIBRARY",
        "head_of",
        "loss",
        "loss_spec",
        "named_sum",
        "sum_spec",
    ),
    "matching": ("matched_scales",),
    "population": ("PopulationLoss",),
    "shares": ("Share", "matched", "named", "part_spec", "shares_of", "weight_of"),
    "soft_labels": ("hard_labels_only",),
    "targets": ("one_hot",),
    "term_population": ("TermPopulation",),
    "term_signature": ("term_gradient", "term_key", "term_signature"),
    "terms": ("TERMS", "Term", "parse_term"),
    "weighting_rules": ("MOST_TERMS", "RULES", "Weighting", "parse_weighting", "weighting"),
}
