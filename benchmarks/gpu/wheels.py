"""Packages for a machine without a network: fetched here as wheels, unpacked there where they are absent.

python benchmarks/gpu/wheels.py DIR        # what wheels.txt names, for Python 3.12 on Linux (x86-64)
"""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

NAMES = Path(__file__).with_name("wheels.txt")
MOST = 40
"""Megabytes that all wheels may have together."""
_TOGETHER = ({"pydantic", "pydantic-core"}, {"deap", "moocore"}, {"pytest", "pluggy"})
"""Packages that fit each other in these versions only: all are taken, or none."""
_PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_27_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64")


def fetch(folder: Path) -> int:
    """Download the wheels; returns the exit code."""
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    command += ["--python-version=3.12", "--implementation=cp", *(f"--platform={name}" for name in _PLATFORMS)]
    done = subprocess.run(
        [*command, "--dest", str(folder), "--requirement", str(NAMES)], stderr=subprocess.PIPE, text=True, check=False
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["pip said nothing"])[-1]
        print(f"error: the wheels could not be fetched, is the package registry within reach? pip says: {last}")
        return 1
    megabytes = sum(path.stat().st_size for path in folder.glob("*.whl")) / 1e6
    print(f"{len(list(folder.glob('*.whl')))} wheels of {megabytes:.1f} MB in {folder}")
    if megabytes > MOST:
        print(f"error: more than the {MOST} MB that they may have; shorten {NAMES}")
    return int(megabytes > MOST)


def unpack(folder: Path, site: Path) -> Path | None:
    """Unpack into ``site`` the wheels of packages that this Python lacks; None where there are none to be unpacked."""
    wheels = {_package(path): path for path in sorted(folder.glob("*.whl")) if _fits(path)}
    absent = {name for name in wheels if not _is_installed(name)}
    for group in _TOGETHER:
        if group & absent:
            absent |= group & set(wheels)
    for name in absent:
        with zipfile.ZipFile(wheels[name]) as wheel:
            wheel.extractall(site)
    return site if absent else None


def _package(path: Path) -> str:
    """The normalised name of a wheel's package."""
    return re.sub(r"[-_.]+", "-", path.name.split("-")[0]).lower()


def _fits(path: Path) -> bool:
    """Whether a wheel is for this Python."""
    python, abi = path.stem.split("-")[-3:-1]
    here = f"cp{sys.version_info.major}{sys.version_info.minor}"
    return abi == "abi3" or here in python.split(".") or "py3" in python.split(".")


def _is_installed(name: str) -> bool:
    try:
        version(name)
    except PackageNotFoundError:
        return False
    return True


if __name__ == "__main__":
    sys.exit(fetch(Path(sys.argv[1])))
