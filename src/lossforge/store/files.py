"""Writing files so that a reader, or a kill at any moment, finds the old one or the new one, whole."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from lossforge.errors import StoreError

_RESUME = "resume: nothing finished is lost"
_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EIO} if hasattr(errno, "EDQUOT") else {errno.ENOSPC, errno.EIO}
"""Errors that are the disk's; any other is the place's."""


@contextmanager
def told_as_store_error(path: Path, remedy: str = _RESUME, elsewhere: str = "") -> Iterator[None]:
    """Turn an operating system's error into one sentence with the ``remedy``.

    Where the path is the user's to choose, ``elsewhere`` says how; that helps where the disk is not at fault.
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or type(error).__name__
        helps = elsewhere if elsewhere and error.errno not in _DISK else f"free or repair the disk, then {remedy}"
        raise StoreError(f"{path}: cannot be written ({reason}); {helps}") from error


def write_atomically(path: Path, content: str | bytes, remedy: str = _RESUME, elsewhere: str = "") -> None:
    """Write bytes, or text as UTF-8, by temporary file, fsync and rename.

    Raises StoreError, and leaves the old file, on failure.

    ``remedy`` and ``elsewhere`` are those of `told_as_store_error`.
    """
    temporary = path.parent / f".{path.name}.{os.getpid()}.tmp"
    with told_as_store_error(path, remedy, elsewhere):
        try:
            with temporary.open("wb") as file:
                file.write(content.encode() if isinstance(content, str) else content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Make a rename in the folder durable, where the system can; the file itself is whole already."""
    if hasattr(os, "O_DIRECTORY"):
        with suppress(OSError):
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
