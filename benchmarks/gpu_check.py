"""Ten minutes on a GPU: everything that is claimed of it, tried in order of importance, and told as numbers.

    python benchmarks/gpu_check.py --out DIR [--npz cifar10.npz] [--budget-seconds 570] [--wheels DIR] [--parts ...]
    python benchmarks/gpu_check.py --out DIR --dry-run        # every part on a CPU, in small

It needs no installation, no network and no Ray: a source tree, torch, and what `make gpu-wheels` fetches where the
machine lacks it. Every part is a process of its own with a limit of its own and writes DIR/PART.json case by case; a
case that hangs or dies costs itself, and its part goes on behind it. DIR/summary.txt and DIR/summary.json are written
anew after every part. A part that no longer fits into the budget is left out, and that is said.

The exit code is 0 if all parts came to their end or were left out and no case failed, else 1; 2 for a wrong call.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "benchmarks")]

from gpu.parts import BUDGET, PARTS, Part, Settings, result_file  # noqa: E402
from gpu.record import FAILED, read  # noqa: E402
from gpu.runner import Runner, StoppedError, end_group, end_on_signals, was_interrupted  # noqa: E402
from gpu.summary import succeeded, write_summary  # noqa: E402
from gpu.wheels import unpack  # noqa: E402

WHEELS = ROOT / ".wheels"
_ARRAYS = ("x_train", "y_train", "x_test", "y_test")


def main() -> int:
    words = sys.argv[1:]
    if words[:1] == ["--run-part"]:
        return _in_part(words[1:])
    options = options_of(words)
    out = options.out.resolve()
    held = [part.name for part in PARTS if result_file(out, part.name).exists()]
    if held:
        print(f"error: {out} holds results of an earlier check ({held[0]}.json); give another folder", file=sys.stderr)
        return 2
    if options.npz and (missing := _missing_arrays(options.npz)):
        print(f"error: {options.npz}: {missing}; give an .npz file with {', '.join(_ARRAYS)}", file=sys.stderr)
        return 2
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="gpu-check-", ignore_cleanup_errors=True) as work:
        return check(options, out, Path(work))


def check(options: argparse.Namespace, out: Path, work: Path) -> int:
    """Run the parts; returns the exit code."""
    end_on_signals()
    settings = Settings(
        out=str(out),
        work=str(work),
        device="cpu" if options.dry_run else "cuda",
        dry=options.dry_run,
        npz=str(options.npz.resolve()) if options.npz else "",
    )
    settings_file = work / "settings.json"
    settings.write(settings_file)
    command = (sys.executable, str(Path(__file__).resolve()), "--run-part")
    parts = [
        replace(part, command=(*command, part.name, str(settings_file))) for part in PARTS if part.name in options.parts
    ]
    environment = _environment(unpack(options.wheels, work / "site"))

    def summarised() -> None:
        write_summary(out, parts, settings)
        for part in parts:
            _say(part, out)

    runner = Runner(out, work, options.budget_seconds, environment, summarised)
    with compiling(environment, work):
        try:
            runner.run(parts, lambda: _why_not(out))
        except StoppedError as stop:
            was_interrupted(out, parts, f"the check was stopped by {stop}")
            write_summary(out, parts, settings)
    print((out / "summary.txt").read_text(encoding="utf-8"))
    return 0 if succeeded(out, parts) else 1


def options_of(words: list[str]) -> argparse.Namespace:
    names = [part.name for part in PARTS]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for the result files")
    parser.add_argument("--budget-seconds", type=float, default=BUDGET, help="of the whole check, kept to within 10 s")
    parser.add_argument("--npz", type=Path, help=f"CIFAR-10: {', '.join(_ARRAYS)}; random images without it")
    parser.add_argument("--wheels", type=Path, default=WHEELS, help="folder of wheels, used where a package is absent")
    parser.add_argument("--parts", nargs="+", choices=names, default=names, metavar="PART", help=", ".join(names))
    parser.add_argument("--dry-run", action="store_true", help="every part on a CPU, in small")
    return parser.parse_args(words)


def _in_part(words: list[str]) -> int:
    """This process is a part's: ``PART SETTINGS --result FILE --seconds N``."""
    from gpu.child import run_part

    parser = argparse.ArgumentParser()
    parser.add_argument("part")
    parser.add_argument("settings", type=Path)
    parser.add_argument("--result", type=Path, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    told = parser.parse_args(words)
    os.chdir(ROOT)
    return run_part(told.part, Settings.read(told.settings), told.result, told.seconds)


def _missing_arrays(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as file:
            held = {name.removesuffix(".npy") for name in file.namelist()}
    except (OSError, zipfile.BadZipFile) as error:
        return f"cannot be read ({error})"
    missing = [name for name in _ARRAYS if name not in held]
    return f"has no '{missing[0]}'" if missing else ""


def _environment(site: Path | None) -> dict[str, str]:
    """What parts run with: the sources in front, then what was unpacked; no caches of the user's."""
    given = os.environ.get("PYTHONPATH")
    folders = [ROOT / "src", ROOT / "benchmarks", *([site] if site else []), *([given] if given else [])]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(map(str, folders)),
        "LOSSFORGE_CACHE": "off",
        "PYTHONUNBUFFERED": "1",
    }


@contextlib.contextmanager
def compiling(environment: dict[str, str], work: Path) -> Iterator[None]:
    """Meanwhile another process compiles the kernels for the CPU, half a minute's work that later parts find done."""
    code = "from lossforge.screening.descent import compile_kernels; compile_kernels()"
    with (work / "compiling.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", code], stdout=log, stderr=log, start_new_session=True, env=environment
        )
        try:
            yield
        finally:
            end_group(process)


def _why_not(out: Path) -> str:
    """A reason to run no further part: there is no torch, or no GPU."""
    device = read(result_file(out, "machine")).get("cases", {}).get("device", {})
    return str(device["reason"]) if device.get("status") == FAILED else ""


_said: set[str] = set()


def _say(part: Part, out: Path) -> None:
    """One line when a part is over."""
    found = read(result_file(out, part.name))
    status = found.get("status", "running")
    if status != "running" and part.name not in _said:
        _said.add(part.name)
        print(
            f"{part.name}: {status} after {found.get('seconds', 0):g} s {found.get('reason', '')}".rstrip(), flush=True
        )


if __name__ == "__main__":
    sys.exit(main())
