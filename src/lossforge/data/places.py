"""Where data lie: the data folder, and the files that a user's own data set is made of."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lossforge.cache_folders import cache_folder
from lossforge.spaces.base_folder import from_base

VARIABLE = "LOSSFORGE_DATA"
"""Names the folder of known data sets; worker processes inherit it."""


def data_folder() -> Path:
    """The folder of known data sets: ``LOSSFORGE_DATA``, or ``lossforge/data`` in the user's cache."""
    given = os.environ.get(VARIABLE, "")
    return Path(given).expanduser() if given else (cache_folder() or Path("lossforge")) / "data"


@contextmanager
def using_data_folder(folder: str) -> Iterator[None]:
    """Let ``folder`` be the data folder here and in processes started from here; "" changes nothing."""
    if not folder:
        yield
        return
    before = os.environ.get(VARIABLE)
    os.environ[VARIABLE] = str(from_base(folder).absolute())
    try:
        yield
    finally:
        if before is None:
            del os.environ[VARIABLE]
        else:
            os.environ[VARIABLE] = before


def files_below(path: Path) -> list[Path]:
    """The file itself, or every file in the folder and below, sorted."""
    if path.is_file():
        return [path]
    return sorted(file for file in path.rglob("*") if file.is_file())


def content_digest(path: Path) -> str:
    """sha256 of the file's content, or of the names and contents of all files in the folder."""
    digest = hashlib.sha256()
    for file in files_below(path):
        with file.open("rb") as stream:
            content = hashlib.file_digest(stream, "sha256").hexdigest()
        if file == path:
            return content
        digest.update(f"{file.relative_to(path).as_posix()}\0{content}\n".encode())
    return digest.hexdigest()
