"""The result file of one part: JSON, whole at every moment, whatever becomes of the process that writes it."""

from __future__ import annotations

import json
import math
import os
import time
from pathlib import Path
from typing import Any

RUNNING, DONE, FAILED, DIED, KILLED, LEFT_OUT = "running", "done", "failed", "died", "killed", "left out"
FINISHED, SKIPPED = "finished", "skipped"

Case = dict[str, Any]


class Record:
    """What is known of a part so far. Every change is written at once.

    Cases that are in the file already are kept: a process that takes over from one that died goes on behind them.
    """

    def __init__(self, path: Path, part: str = "", title: str = "") -> None:
        self.path = path
        known = read(path)
        self.data: dict[str, Any] = known or {"part": part, "title": title, "status": RUNNING, "reason": ""}
        self.cases: dict[str, Case] = self.data.setdefault("cases", {})

    def begin(self, case: str, limit: float) -> None:
        """A case begins, that may take ``limit`` seconds."""
        self.cases[case] = {"status": RUNNING, "reason": "", "began": time.time(), "limit": limit, "values": {}}
        self.write()

    def tell(self, case: str, name: str, value: Any) -> None:
        """Keep a value that a case has found."""
        self.cases[case]["values"][name] = value
        self.write()

    def end(self, case: str, status: str, reason: str = "") -> None:
        """A case is over."""
        found = self.cases.setdefault(case, {"values": {}})
        if "began" in found:
            found["seconds"] = round(time.time() - found["began"], 3)
        found.update(status=status, reason=reason)
        self.write()

    def running(self) -> tuple[str, float] | None:
        """The case that runs, and by when it must be done (`time.time`)."""
        for name, case in self.cases.items():
            if case["status"] == RUNNING:
                return name, case["began"] + case["limit"]
        return None

    def close(self, status: str, reason: str = "", **more: Any) -> None:
        """The part is over."""
        self.data.update(status=status, reason=reason, **more)
        self.write()

    def write(self) -> None:
        write_json(self.path, self.data)


def read(path: Path) -> dict[str, Any]:
    """A result file; empty where there is none, or it is none."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def write_json(path: Path, data: Any) -> None:
    write_text(path, json.dumps(_plain(data), indent=1) + "\n")


def write_text(path: Path, text: str) -> None:
    """Put a whole file in place of the old one."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


def _plain(value: Any) -> Any:
    """As JSON knows it: a number that is not finite becomes text."""
    if isinstance(value, dict):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    return value if isinstance(value, str | int | None) else str(value)
