"""Arrays in files that are mapped into memory, on disks that may be full."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy
from numpy.typing import DTypeLike

from lossforge.data.samples import Array

_BLOCK = 2**20
_UNABLE = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP)


def create_array_file(path: Path, shape: tuple[int, ...], dtype: DTypeLike) -> Array:
    """A new .npy file, mapped for writing, whose whole length is taken of the disk already.

    A file that is only as long as it will be holds no place on the disk, and a write through the map to a full one
    kills the process (SIGBUS). Raises OSError where there is no place for it, and leaves no file then.
    """
    try:
        numpy.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)
        with path.open("r+b") as file:
            _allocate(file.fileno(), path.stat().st_size)
    except OSError:
        path.unlink(missing_ok=True)
        raise
    return numpy.lib.format.open_memmap(path, mode="r+")


def map_array_file(path: Path) -> Array:
    """An .npy file's array, mapped; what is written to it stays in memory. Raises OSError where it is not whole."""
    try:
        # Copy on write: torch wants arrays that could be written, and nothing ever writes.
        return numpy.lib.format.open_memmap(path, mode="c")
    except ValueError as error:
        raise OSError(errno.EIO, f"is not a whole array ({error})", str(path)) from None


def _allocate(descriptor: int, size: int) -> None:
    """Take ``size`` bytes of the disk for the file, keeping what is in it."""
    if hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(descriptor, 0, size)
        except OSError as error:
            if error.errno not in _UNABLE:
                raise
        else:
            return
    start = 0
    while start < size:  # a file system, or a system, that cannot: every byte is written
        block = os.pread(descriptor, min(_BLOCK, size - start), start)
        start += os.pwrite(descriptor, block, start)
