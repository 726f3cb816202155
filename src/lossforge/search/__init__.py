"""A search: its loop and generations, scores, the hall of fame, and the recorder that trains what is missing.

``PUBLIC`` is what other rooms use, by module; the rest is free to change.
"""

from __future__ import annotations

PUBLIC: dict[str, tuple[str, ...]] = {
    "audit": ("AuditReport", "audit_report"),
    "budget": ("used_up",),
    "control": ("control_key",),
    "hall_of_fame": ("Entry", "read_hall_of_fame"),
    "loop": ("is_finished", "search"),
    "progress": ("Progress", "duration", "in_notebook", "shown"),
    "recorder": ("Recorder",),
    "reference": ("known_losses", "visible_gain"),
    "scores": ("as_score", "is_score"),
    "standing": ("checked_leaders", "leaders_of", "relatives_of"),
    "starting": ("started_from",),
    "statistics": ("PairedDifference", "holm", "paired_difference", "t_quantile", "t_tail"),
    "tuning": ("MAX_EXTENSIONS", "Sweep", "require_trained", "sweep_together"),
}
