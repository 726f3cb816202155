"""What was found, as Python code and LaTeX.

``PUBLIC`` is what other rooms use, by module; the rest is free to change.
"""

from __future__ import annotations

PUBLIC: dict[str, tuple[str, ...]] = {
    "formats": ("FORMATS",),
    "latex": ("latex", "latex_by_class"),
    "load": ("load",),
    "package": ("export_package",),
    "references": ("export_references",),
    "run_export": ("export_run",),
}
