"""The folder that relative paths of a space start from: where its search was started, whatever the current one is."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lossforge.spaces.schema import SearchSpace

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


def best_base(candidates: list[Path], space: SearchSpace) -> Path:
    """The first of the folders from which most of the space's relative paths lead somewhere."""
    wanted = _relative_paths(space)

    def found(folder: Path) -> int:
        return sum(any((folder / path).exists() for path in paths) for paths in wanted)

    return max(candidates, key=found)  # the first of equals


def _relative_paths(space: SearchSpace) -> list[list[Path]]:
    """For each relative path of a space where it may lie: data, modules of the user's own, the data folder."""
    wanted: list[list[Path]] = [[Path(space.execution.data_dir)]]
    for task in space.task:
        wanted += [[Path(task.data.partition(":")[2].partition("#")[0])], [Path(task.noise_file)]]
        for path in (task.python, task.model):
            module, colon, _ = path.partition(":")
            if colon:
                place = Path(*module.split("."))
                wanted.append([place.with_suffix(".py"), place / "__init__.py", place])
    return [paths for paths in wanted if paths[0].parts and not paths[0].expanduser().is_absolute()]
