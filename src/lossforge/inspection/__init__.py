"""Questions that change nothing: about a run, a loss, the machine, and what there is to choose from.

``PUBLIC`` is what other rooms use, by module; the rest is free to change.
"""

from __future__ import annotations

PUBLIC: dict[str, tuple[str, ...]] = {
    "doctor": ("examine", "examine_data"),
    "listings": ("LISTS", "listing", "losses_of_file", "matching"),
    "losses": ("explain_all",),
    "network_doctor": ("examine_network",),
    "ray_doctor": ("examine_ray",),
    "runs": ("Status", "leader_seeds", "run_relatives", "run_status", "run_top", "run_verdicts"),
}
