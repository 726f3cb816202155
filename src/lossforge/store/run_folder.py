"""The run folder: creating it whole or not at all, opening it, locking it, and what lies where."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from lossforge.errors import SpaceError, StoreError
from lossforge.spaces.base_folder import best_base
from lossforge.spaces.load import dump_space, forbidden_changes, read_toml, validate_frozen
from lossforge.spaces.schema import SearchSpace
from lossforge.store.files import told_as_store_error, write_atomically

FORMAT = 2
"""Version of the folder: of a newer one nothing is read; one of an older one is read, and resumed where scores compare.

2: gradients are matched on one fixed probe, no longer on each network's first samples.
"""

_ELSEWHERE = "choose another folder with --run"
_PACKAGES = ("lossforge", "torch", "torchvision", "numpy", "deap", "sympy", "pebble", "scikit-learn", "pydantic")


class RunFolder:
    """Paths of one run, and its manifest. Use `create` or `open`."""

    def __init__(self, path: Path, manifest: dict[str, Any]) -> None:
        self.path = path
        self.manifest = manifest
        self._made_in_folder = False
        self.space_file = path / "space.toml"
        self.manifest_file = path / "manifest.json"
        self.ledger_file = path / "ledger.sqlite"
        self.checkpoint_file = path / "checkpoint.json"
        self.hall_of_fame_file = path / "hall_of_fame.csv"
        self.log_file = path / "log.txt"
        self.validation_folder = path / "validation"
        self.export_folder = path / "export"

    @classmethod
    def create(cls, path: Path, space: SearchSpace, data: dict[str, str] | None = None) -> RunFolder:
        """Make a new run folder. Raises StoreError where there is one already, or it cannot be written.

        ``data`` is the sha256 of each of the user's own data sets.
        """
        with told_as_store_error(path, "start again", _ELSEWHERE):
            exists = path.exists()
        if exists:
            if (path / "manifest.json").exists():
                raise StoreError(f"{path}: already holds a run; continue it with 'lossforge resume {path}'")
            if not path.is_dir() or any(path.iterdir()):
                raise StoreError(f"{path}: exists and is not a run; {_ELSEWHERE}")
        place = path.resolve()
        # Where relative paths of the space start from, as it is and as seen from the run: both may be moved together.
        origin = {"folder": str(Path.cwd()), "folder_from_run": os.path.relpath(Path.cwd(), place)}
        manifest = {**_manifest(space), "data": data or {}, **origin}
        if place == Path.cwd().resolve():
            raise StoreError(f"{path}: is the current folder, and a run makes its own; {_ELSEWHERE}")
        with told_as_store_error(path, "start again", _ELSEWHERE):
            place.parent.mkdir(parents=True, exist_ok=True)
            draft = Path(tempfile.mkdtemp(prefix=f".{place.name[:100]}.", suffix=".new", dir=place.parent))
            try:
                draft.chmod(0o755)
                write_durably(draft / "space.toml", dump_space(space))
                write_durably(draft / "manifest.json", _manifest_text(manifest))
                if path.exists():
                    path.rmdir()
                draft.rename(path)
            except BaseException:
                shutil.rmtree(draft, ignore_errors=True)
                raise
        made = cls(path, manifest)
        made._made_in_folder = exists
        return made

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """Open a run. Raises StoreError where there is none, it is damaged, or of a newer version."""
        file = path / "manifest.json"
        try:
            found = file.is_file()
        except OSError as error:
            raise StoreError(f"{path}: cannot be opened ({error.strerror}); give the path of a run folder") from None
        if not found:
            raise StoreError(
                f"{path}: is not a run folder (it has no manifest.json); start one with 'lossforge search'"
            )
        manifest = read_json(file, "restore it from a copy of the run")
        if not isinstance(manifest, dict) or not isinstance(manifest.get("format"), int):
            raise StoreError(f"{file}: is not a run's manifest; restore it from a copy of the run")
        if manifest["format"] > FORMAT:
            raise StoreError(
                f"{path}: was written by a newer lossforge (run format {manifest['format']}, this one reads up to "
                f"{FORMAT}); update lossforge"
            )
        return cls(path, manifest)

    def space(self) -> SearchSpace:
        """The run's space: as frozen, with the budget and execution keys of its space.toml.

        Raises SpaceError, naming the keys, where anything else was changed since the run began.
        """
        frozen = validate_frozen(self.manifest.get("space"), f"{self.manifest_file} (space)")
        if not self.space_file.is_file():
            raise StoreError(f"{self.space_file}: is missing; copy it back from where the run was copied from")
        space = validate_frozen(read_toml(self.space_file), str(self.space_file))
        if "asked" in self.manifest:
            asked = validate_frozen(self.manifest["asked"], f"{self.manifest_file} (asked)")
            if forbidden_changes(frozen, space) and not forbidden_changes(asked, space):
                # The process was killed between the two files that `settle` writes.
                return frozen.model_copy(update={"budget": space.budget, "execution": space.execution})
        refuse_changes(frozen, space, str(self.space_file))
        return space

    def refuse_other_scores(self) -> None:
        """Raise StoreError where trainings of today cannot be compared with those in the ledger."""
        if self.manifest["format"] < 2 and self.space().recipe.match_gradient:
            raise StoreError(
                f"{self.path}: was begun by a lossforge that scaled losses in another way (commit "
                f"{self.manifest.get('commit')}), so its scores and new ones do not compare; start a new run with its "
                "space.toml (status, top and export still read this one)"
            )

    def base_folder(self, space: SearchSpace) -> Path:
        """The folder that relative paths of the space start from: where its search was started.

        The folder that lies to the run as that one did comes first, since both may have been moved or copied
        together; then that one itself, and then the current one, which is all that a run older than this record has.
        """
        candidates = []
        if isinstance(self.manifest.get("folder_from_run"), str):
            candidates.append(Path(os.path.normpath(self.path.resolve() / self.manifest["folder_from_run"])))
        if isinstance(self.manifest.get("folder"), str):
            candidates.append(Path(self.manifest["folder"]))
        return best_base([folder for folder in (*candidates, Path.cwd()) if folder.is_dir()], space)

    def discard(self) -> None:
        """Remove a run in which nothing was trained; an empty folder that it was made in stays."""
        shutil.rmtree(self.path, ignore_errors=True)
        if self._made_in_folder:
            self.path.mkdir(exist_ok=True)

    def settle(self, space: SearchSpace) -> None:
        """Freeze the space that a search has settled on before its first training; what was ``asked`` is kept too."""
        asked = self.manifest.get("asked", self.manifest["space"])
        self.manifest = {**self.manifest, "space": _frozen(space), "asked": asked}
        write_atomically(self.manifest_file, _manifest_text(self.manifest))
        self.update_space(space)

    def update_space(self, space: SearchSpace) -> None:
        """Freeze changed budget and execution keys; the manifest keeps the space as it began."""
        write_atomically(self.space_file, dump_space(space))

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the run for this process. Raises StoreError while another process holds it."""
        with locked_folder(self.path):
            yield

    def log(self, message: str) -> None:
        """Append a line with the time to log.txt."""
        append_log(self.log_file, message)


@contextmanager
def locked_folder(path: Path) -> Iterator[None]:
    """Hold a folder for this process. Raises StoreError while another process holds it."""
    from filelock import FileLock, Timeout

    with told_as_store_error(path):
        lock = FileLock(path / ".lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise StoreError(
                f"{path}: another lossforge process is working on this run; wait for it or stop it"
            ) from None
    try:
        yield
    finally:
        lock.release()


def append_log(file: Path, message: str) -> None:
    """Append a line with the time to a log. Raises StoreError where it cannot be written."""
    # A message may hold what somebody's code said, in letters that cannot be written.
    with told_as_store_error(file), file.open("a", encoding="utf-8", errors="backslashreplace") as opened:
        opened.write(f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} {message}\n")


def refuse_changes(old: SearchSpace, new: SearchSpace, origin: str) -> None:
    """Raise SpaceError that names every changed key which may not change on resume."""
    changed = forbidden_changes(old, new)
    if changed:
        raise SpaceError(
            f"{origin}: {', '.join(changed)} changed since the run began; undo that, or start a new run with the "
            "changed space (a run goes on with other budget and execution keys only)"
        )


def read_json(path: Path, remedy: str) -> Any:
    """Read a JSON file. Raises StoreError with the remedy where it is damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise StoreError(f"{path}: is damaged ({error}); {remedy}") from None
    except OSError as error:
        raise StoreError(f"{path}: cannot be read ({error.strerror}); {remedy}") from None


def write_durably(path: Path, text: str) -> None:
    """Write a file, and wait until it is on the disk."""
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _manifest_text(manifest: dict[str, Any]) -> str:
    return json.dumps(manifest, indent=2) + "\n"


def _manifest(space: SearchSpace) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "seed": space.seed,
        **machine_record(),
        "space": _frozen(space),
    }


def machine_record() -> dict[str, Any]:
    """What made a result besides its space: commit, versions, hardware, and the command."""
    return {
        "commit": source_commit(),
        "python": platform.python_version(),
        "packages": package_versions(),
        "hardware": hardware(),
        "command": sys.argv,
    }


def _frozen(space: SearchSpace) -> dict[str, Any]:
    return space.model_dump(mode="json", exclude_none=True)


def package_versions() -> dict[str, str | None]:
    """Versions of lossforge and of the packages that its results depend on."""
    return {name: _version(name) for name in _PACKAGES}


def hardware() -> dict[str, str | int | None]:
    """Processor, cores and system."""
    return {
        "machine": platform.machine(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.release()}",
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")


def source_commit() -> str | None:
    """The commit of the source tree that this lossforge runs from, if it is one."""
    folder = Path(__file__).resolve().parent
    try:
        answer = subprocess.run(
            ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=40"],
            capture_output=True,
            text=True,
            timeout=5,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() or None if answer.returncode == 0 else None
