"""What is printed while results are being made goes to standard error, whoever prints it."""

from __future__ import annotations

import subprocess
import sys

CODE = """
import ctypes, os, subprocess, sys
from lossforge.standard_output import kept_clean, to_standard_error

def noise(name):
    print("python", name)
    os.write(1, f"raw {name}\\n".encode())
    ctypes.CDLL(None).puts(f"library {name}".encode())
    subprocess.run(["echo", "process", name], check=True)

print("before")
with kept_clean():
    noise("within")
print("result")
to_standard_error()
noise("after")
"""
KINDS = ("python", "raw", "library", "process")


def ran(code: str, **streams: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # type: ignore[call-overload, no-any-return]
        [sys.executable, "-c", code], text=True, check=False, **{"capture_output": True, **streams}
    )


def test_results_alone_are_on_standard_output() -> None:
    answer = ran(CODE)
    assert answer.stdout.split() == ["before", "result"]
    for kind in KINDS:
        for name in ("within", "after"):
            assert f"{kind} {name}" in answer.stderr


def test_an_error_within_leaves_standard_output_as_it_was() -> None:
    code = CODE.replace('noise("within")', "raise OSError").replace("with kept", "try:\n  with kept")
    code = code.replace("    raise OSError", "      raise OSError\nexcept OSError: pass")
    assert ran(code).stdout.split() == ["before", "result"]


def test_closed_streams_are_no_error() -> None:
    for closed in ("1", "2", "1 2"):
        closing = "import os\n" + "".join(f"os.close({number})\n" for number in closed.split())
        answer = ran(
            closing + "from lossforge.standard_output import *\nwith kept_clean(): pass\nto_standard_error()\n"
        )
        assert answer.returncode == 0, answer.stderr
