"""What runs in a part's process: its cases, one after the other."""

from __future__ import annotations

import sys
import time
import traceback
from functools import partial
from importlib import import_module
from pathlib import Path

from gpu.parts import Case, Settings
from gpu.record import DONE, FAILED, LEFT_OUT, Record

BROKEN = 3
"""Exit code of a process whose device no longer answers: another is to go on."""


def run_part(part: str, settings: Settings, result: Path, seconds: float) -> int:
    """Run the cases of a part that are not in its result file yet; returns the exit code."""
    until = time.monotonic() + seconds
    record = Record(result, part)
    cases: list[Case] = import_module(f"gpu.{part}").cases(settings)
    for case in cases:
        if case.name in record.cases:
            continue
        if time.monotonic() > until:
            record.end(case.name, LEFT_OUT, "no time was left")
            continue
        record.begin(case.name, case.limit)
        try:
            case.run(partial(record.tell, case.name))
        except Exception as error:
            record.end(case.name, FAILED, told(error))
            traceback.print_exc()
            if not _device_answers():
                return BROKEN
        else:
            record.end(case.name, DONE)
    return 0


def told(error: BaseException) -> str:
    """An error's kind, its text, and where it was raised."""
    where = traceback.extract_tb(error.__traceback__)
    places = " < ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in reversed(where[-3:]))
    return f"{type(error).__name__}: {str(error).strip()[:600]} ({places})"


def _device_answers() -> bool:
    """Whether the GPU still works in this process: after some errors it does not."""
    if "torch" not in sys.modules:
        return True
    import torch

    if not torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        return True
    try:
        torch.cuda.synchronize()
    except RuntimeError:
        return False
    return True
