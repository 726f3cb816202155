"""The run folder: ledger, checkpoint, hall of fame.

``PUBLIC`` is what other rooms use, by module; the rest is free to change.
"""

from __future__ import annotations

PUBLIC: dict[str, tuple[str, ...]] = {
    "checkpoint": ("load_checkpoint", "save_checkpoint"),
    "files": ("told_as_store_error", "write_atomically"),
    "ledger": ("CandidateRow", "Ledger", "Score", "TrainingRow"),
    "plan_folder": ("PlanFolder",),
    "run_folder": ("RunFolder", "hardware", "package_versions", "read_json", "refuse_changes", "source_commit"),
    "stages": ("Stage",),
    "sweep_cache": ("cache_file", "keep_sweep", "restore_sweep"),
}
