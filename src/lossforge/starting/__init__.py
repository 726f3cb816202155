"""A first search on one's own data: what the data are, what fits the time, and the space that says so.

``PUBLIC`` is what other rooms use, by module; the rest is free to change.
"""

from __future__ import annotations

PUBLIC: dict[str, tuple[str, ...]] = {
    "asking": ("Asking",),
    "dry_run": ("plan_of_compare", "plan_of_search", "plan_of_validation"),
    "new": ("Written", "new_space"),
}
