"""The folder of a comparison: its plan, its ledger, its log, and what came of it."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lossforge.errors import StoreError
from lossforge.spaces.plan_schema import Plan
from lossforge.spaces.plans import dump_plan, read_plan
from lossforge.store.files import told_as_store_error
from lossforge.store.run_folder import append_log, locked_folder, machine_record, read_json, write_durably

_ELSEWHERE = "choose another folder with --output"


class PlanFolder:
    """Paths of one comparison, and its manifest. Use `open_or_create`."""

    def __init__(self, path: Path, manifest: dict[str, Any]) -> None:
        self.path = path
        self.manifest = manifest
        self.plan_file = path / "plan.toml"
        self.ledger_file = path / "ledger.sqlite"
        self.log_file = path / "log.txt"

    @classmethod
    def open_or_create(cls, path: Path, plan: Plan, data: dict[str, str] | None = None) -> PlanFolder:
        """The folder of this very plan, made where there is none yet.

        Raises StoreError where the folder holds something else, or a plan that was another one in what decides a
        result; where and how fast it runs may change.
        """
        with told_as_store_error(path, "start again", _ELSEWHERE):
            exists = path.exists()
            begun = exists and (path / "manifest.json").is_file()
            if exists and not begun and (not path.is_dir() or any(path.iterdir())):
                raise StoreError(f"{path}: exists and holds no comparison; {_ELSEWHERE}")
        return cls._begun(path, plan) if begun else cls._create(path, plan, data or {}, exists=exists)

    @classmethod
    def _begun(cls, path: Path, plan: Plan) -> PlanFolder:
        manifest = read_json(path / "manifest.json", "restore it from a copy, or choose another folder with --output")
        if not isinstance(manifest, dict) or "plan" not in manifest:
            raise StoreError(f"{path}: holds a run of a search and no comparison; {_ELSEWHERE}")
        before = read_plan(manifest["plan"], f"{path / 'manifest.json'} (plan)")
        changed = sorted(
            name
            for name in set(type(plan).model_fields) - {"execution", "budget", "description"}
            if getattr(before, name) != getattr(plan, name)
        )
        if changed:
            raise StoreError(
                f"{path}: was begun with another plan ({', '.join(changed)} changed); undo that, or {_ELSEWHERE}: "
                "what was trained there is kept"
            )
        return cls(path, manifest)

    @classmethod
    def _create(cls, path: Path, plan: Plan, data: dict[str, str], *, exists: bool) -> PlanFolder:
        manifest = {
            "format": 1,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            **machine_record(),
            "folder": str(Path.cwd()),
            "data": data,
            "plan": plan.model_dump(mode="json", exclude_none=True),
        }
        place = path.resolve()
        with told_as_store_error(path, "start again", _ELSEWHERE):
            place.parent.mkdir(parents=True, exist_ok=True)
            draft = Path(tempfile.mkdtemp(prefix=f".{place.name[:100]}.", suffix=".new", dir=place.parent))
            try:
                draft.chmod(0o755)
                write_durably(draft / "plan.toml", dump_plan(plan))
                write_durably(draft / "manifest.json", json.dumps(manifest, indent=2) + "\n")
                if exists:
                    path.rmdir()
                draft.rename(path)
            except BaseException:
                shutil.rmtree(draft, ignore_errors=True)
                raise
        return cls(path, manifest)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder for this process. Raises StoreError while another process holds it."""
        with locked_folder(self.path):
            yield

    def log(self, message: str) -> None:
        """Append a line with the time to log.txt."""
        append_log(self.log_file, message)
