"""Cohort training: many replicas of one network in one training.

``PUBLIC`` is what other rooms use, by module; the rest is free to change.
"""

from __future__ import annotations

PUBLIC: dict[str, tuple[str, ...]] = {
    "backends": ("HEAVY", "LARGE", "gainful_lanes", "make_backend", "weights_times_pixels"),
    "captured": ("forget",),
    "correctness": ("KEY", "packed", "unpacked"),
    "metrics": ("chance_score", "metrics_of", "metrics_of_test_part"),
    "probe": ("Probe",),
    "plan": ("Plan", "Replica", "ReplicaScore", "TrainingTimeoutError"),
    "schedules": ("plateau_rates", "schedule_values"),
    "scoring": ("NOT_FINITE",),
    "train": ("train_cohort",),
}
