"""What a training in the ledger was for."""

from __future__ import annotations

from enum import StrEnum


class Stage(StrEnum):
    """What a training was for, as the ledger has it. Some name the seeds of their trainings too: they never change."""

    SWEEP = "sweep"
    CHECK = "check"
    CONTROL = "control"
    SEARCH = "search"
    AUDIT = "audit"
    REFERENCE = "reference"
    FRESH = "fresh"
    COARSE = "coarse"
    TUNING = "tuning"
    VALIDATION = "validation"
    SECOND_TUNING = "second optimizer, tuning"
    SECOND = "second optimizer"
