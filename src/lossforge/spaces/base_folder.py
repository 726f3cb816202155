"""The folder that relative paths of a space start from: where its search was started, whatever the current one is."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

VARIABLE = "LOSSFORGE_BASE"
"""Names the folder, absolutely, while a run is worked on; worker processes inherit it."""


def base_folder() -> Path:
    """The folder that relative paths start from; the current one where no run is worked on."""
    given = os.environ.get(VARIABLE, "")
    return Path(given) if given else Path.cwd()


def from_base(path: str | Path) -> Path:
    """The path, with ``~`` read as the home folder; as it was given where the current folder is the base.

    >>> from_base("/data/scans.npz").as_posix()
    '/data/scans.npz'
    """
    found, base = Path(path).expanduser(), base_folder()
    return found if base == Path.cwd() else base / found


@contextmanager
def working_from(folder: Path) -> Iterator[None]:
    """Let relative paths start from ``folder``, here and in processes started from here."""
    before = os.environ.get(VARIABLE)
    os.environ[VARIABLE] = str(folder.absolute())
    try:
        yield
    finally:
        if before is None:
            del os.environ[VARIABLE]
        else:
            os.environ[VARIABLE] = before
