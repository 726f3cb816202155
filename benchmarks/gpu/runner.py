"""Runs the parts, each in a process of its own that is killed past its limit, and keeps the budget."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType

from gpu.parts import BUDGET, Part, result_file
from gpu.record import DIED, FAILED, FINISHED, KILLED, RUNNING, SKIPPED, Record

END = 3.0
"""Seconds of the budget that are kept for the last summary."""
_POLL = 0.1
_OFTEN = 5.0
_TAIL = 3000
"""Characters of a part's output that its result file keeps."""


class StoppedError(Exception):
    """Somebody wants this process to end."""


def end_on_signals() -> None:
    """From here on SIGTERM and Ctrl-C raise StoppedError."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise StoppedError(signal.Signals(number).name)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)


class Runner:
    """Runs parts within a budget.

    Args:
        out: folder of the result files.
        work: folder of the parts' output.
        budget: seconds for all parts, from now on.
        changed: is called when a part begins, every few seconds, and when it is over.
    """

    def __init__(
        self,
        out: Path,
        work: Path,
        budget: float,
        environment: dict[str, str] | None = None,
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        self.out, self.work, self.changed = out, work, changed
        self.environment = environment
        self.end = time.monotonic() + budget - END
        self.share = max(1.0, budget / BUDGET)

    def run(self, parts: Sequence[Part], go_on: Callable[[], str] = lambda: "") -> None:
        """Run all parts that still fit. ``go_on`` is asked before each: a reason not to, or ""."""
        for part in parts:
            record = Record(result_file(self.out, part.name), part.name, part.title)
            left = self.end - time.monotonic()
            reason = go_on()
            if not reason and left < part.least:
                reason = f"{max(0.0, left):.1f} s are left of the budget, and it needs {part.least:g} s at least"
            if reason:
                record.close(SKIPPED, reason, seconds=0.0)
            else:
                record.write()
                self.changed()
                self.run_one(part, min(part.seconds * self.share, left))
            self.changed()

    def run_one(self, part: Part, limit: float) -> None:
        """Run a part for ``limit`` seconds at most. After a case that hung or killed the process, another goes on."""
        began = time.monotonic()
        result, output = result_file(self.out, part.name), self.work / f"{part.name}.log"
        status = reason = ""
        with output.open("ab") as log:
            while not status:
                left = began + limit - time.monotonic()
                if left < min(part.least, limit) / 2:
                    status, reason = KILLED, "no time was left to go on behind the case that failed"
                    break
                known = len(Record(result).cases)
                command = [*part.command, "--result", str(result), "--seconds", f"{left - _grace(limit):.1f}"]
                process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    env=self.environment,
                )
                try:
                    status, reason = self._watch(process, result, began + limit, known)
                finally:
                    if not end_group(process):
                        status, reason = KILLED, "it was killed and did not end"
        seconds = round(time.monotonic() - began, 1)
        tail = output.read_bytes()[-_TAIL:].decode("utf-8", "replace")
        Record(result, part.name, part.title).close(status, reason, seconds=seconds, output=tail)

    def _watch(self, process: subprocess.Popen[bytes], result: Path, until: float, known: int) -> tuple[str, str]:
        """How the part ended; empty where another process is to go on, since this one came further than ``known``."""
        told = time.monotonic()
        while process.poll() is None:
            if time.monotonic() > told + _OFTEN:
                told = time.monotonic()
                self.changed()
            record = Record(result)
            running = record.running()
            if time.monotonic() > until:
                end_group(process)
                _close_case(result, KILLED, "the part's time was up")
                return KILLED, "its time was up"
            if running and time.time() > running[1]:
                end_group(process)
                _close_case(result, KILLED, f"it took longer than {record.cases[running[0]]['limit']:g} s")
                return "", ""
            with suppress(subprocess.TimeoutExpired):
                process.wait(_POLL)
        code = process.returncode
        if code == 0:
            return FINISHED, ""
        reason = f"by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
        _close_case(result, DIED, f"its process ended {reason}")
        if len(Record(result).cases) > known:
            return "", ""
        return FAILED, f"its process ended {reason} before it began a case"


def _grace(limit: float) -> float:
    """Seconds before a part's limit at which it begins no further case."""
    return min(8.0, 0.15 * limit)


def _close_case(result: Path, status: str, reason: str) -> None:
    """Close the case that was running when its process ended, if one was."""
    record = Record(result)
    running = record.running()
    if running is not None:
        record.end(running[0], status, reason)


def end_group(process: subprocess.Popen[bytes]) -> bool:
    """Kill a process and all that it started; whether it ended."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        return False
    return True


def was_interrupted(out: Path, parts: Sequence[Part], reason: str) -> None:
    """Say in the result files that the check was stopped."""
    for part in parts:
        path = result_file(out, part.name)
        record = Record(path, part.name, part.title)
        if record.data["status"] == RUNNING:
            if path.exists():
                _close_case(path, KILLED, reason)
            Record(path, part.name, part.title).close(KILLED if path.exists() else SKIPPED, reason)
