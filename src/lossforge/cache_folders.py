"""Where this program keeps what it can make again: the user's cache folder, as each system has it."""

from __future__ import annotations

from pathlib import Path


def cache_folder() -> Path | None:
    """``lossforge`` in the user's cache folder (``XDG_CACHE_HOME`` or ``~/.cache`` on Linux); None without a home."""
    import platformdirs

    try:
        path = platformdirs.user_cache_path("lossforge", appauthor=False)
    except RuntimeError:  # what it raises since 4.10; before, the path is not absolute
        return None
    return path if path.is_absolute() else None
