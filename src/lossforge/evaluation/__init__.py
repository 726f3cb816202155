"""From a request in plain text to a result in plain numbers.

``PUBLIC`` is what other rooms use, by module; the rest is free to change.
"""

from __future__ import annotations

PUBLIC: dict[str, tuple[str, ...]] = {
    "precision": ("check_precision", "has_bfloat16"),
    "calibrate": ("settled", "told_cuts", "training_seconds", "with_gainful_cohorts"),
    "distributed": ("DistributedTraining", "Share"),
    "evaluate": ("backend_name", "evaluate"),
    "feasibility": (
        "chance_level",
        "check_fit",
        "class_count",
        "occurring_classes",
        "resolution",
        "scores_unseen",
        "validated_sizes",
        "with_split",
    ),
    "limits": ("deterministic",),
    "names": ("check_names", "faults_of_names"),
    "records": (
        "Outcome",
        "Training",
        "TrainingRequest",
        "TrainingResult",
        "cohorts",
        "pack",
        "request_from_text",
        "request_to_text",
        "result_from_text",
        "result_to_text",
    ),
    "remedies": ("remedy",),
    "space_trainings": ("TaskTrainings", "key_in", "loss_key", "trainings"),
    "threads": ("one_thread",),
}
