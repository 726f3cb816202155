"""What was found, as Python code and LaTeX.

``PUBLIC`` is what other rooms use, by module; the rest is free to change.
"""

from __future__ import annotations

PUBLIC: dict[str, tuple[str, ...]] = {
    "latex": ("latex", "latex_by_class"),
    "run_export": ("export_run",),
}
