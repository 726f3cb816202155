"""Who trains: this process, local workers or Ray, all with one protocol.

``PUBLIC`` is what other rooms use, by module; the rest is free to change.
"""

from __future__ import annotations

PUBLIC: dict[str, tuple[str, ...]] = {
    "choice": ("make_executor", "needs_isolation"),
    "devices": ("resolve_device", "worker_count"),
    "local": ("PoolExecutor",),
    "meter": ("Meter",),
    "protocol": ("Executor", "Stop"),
    "ray_pool": ("RayExecutor", "import_ray"),
    "ray_session": ("environment",),
    "trainee": ("data_seen",),
}
