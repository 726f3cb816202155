"""Cohort training: many replicas of one network in one training.

``PUBLIC`` is what other rooms use, by module; the rest is free to change.
"""

from __future__ import annotations

PUBLIC: dict[str, tuple[str, ...]] = {
    "backends": ("gainful_lanes", "make_backend"),
    "captured": ("forget",),
    "correctness": ("unpacked",),
    "metrics": ("chance_score",),
    "probe": ("Probe",),
    "plan": ("Plan", "Replica", "ReplicaScore", "TrainingTimeoutError"),
    "train": ("train_cohort",),
}
