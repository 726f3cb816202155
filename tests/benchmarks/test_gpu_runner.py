"""Parts of the check of a GPU: one that hangs, dies or fails costs itself, and the others go on."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from gpu.parts import Part, Settings, result_file
from gpu.record import read
from gpu.runner import Runner
from gpu.summary import succeeded, write_summary

ROOT = Path(__file__).resolve().parents[2]
CASES = """
import sys, time, os
sys.path.insert(0, {benchmarks!r})
from pathlib import Path
from gpu.record import Record
result = Path(sys.argv[sys.argv.index("--result") + 1])
record = Record(result, "part")
for name in {names!r}:
    if name in record.cases:
        continue
    record.begin(name, 1.0)
    record.tell(name, "pid", os.getpid())
    if name == "hangs":
        time.sleep(1000)
    if name == "dies":
        os.kill(os.getpid(), 9)
    record.end(name, "done")
"""


def part(name: str, script: str, *, seconds: float = 20.0, least: float = 1.0) -> Part:
    return Part(name, name, seconds, least, (sys.executable, "-c", script))


def of_cases(name: str, *cases: str, **more: float) -> Part:
    return part(name, CASES.format(benchmarks=str(ROOT / "benchmarks"), names=cases), **more)


def ran(tmp_path: Path, *parts: Part, budget: float = 60.0) -> dict[str, dict[str, Any]]:
    out = tmp_path / "out"
    out.mkdir()
    settings = Settings(str(out), str(tmp_path), "cpu", dry=True)
    Runner(out, tmp_path, budget, changed=lambda: write_summary(out, parts, settings)).run(parts)
    return {one.name: read(result_file(out, one.name)) for one in parts}


def states(result: dict[str, Any]) -> dict[str, str]:
    return {name: case["status"] for name, case in result["cases"].items()}


def test_a_part_that_sleeps_for_ever_is_killed_and_the_others_go_on(tmp_path: Path) -> None:
    sleeping = "import subprocess, sys, time; subprocess.run([sys.executable, '-c', 'import time; time.sleep(1000)'])"
    parts = part("hangs", sleeping, seconds=1.5), of_cases("good", "one")
    results = ran(tmp_path, *parts)
    assert results["hangs"]["status"] == "killed"
    assert results["hangs"]["reason"] == "its time was up"
    assert (results["good"]["status"], states(results["good"])) == ("finished", {"one": "done"})
    summary = (tmp_path / "out" / "summary.txt").read_text(encoding="utf-8")
    assert "1. hangs (hangs.json): killed after" in summary
    assert "2. good (good.json): finished after" in summary
    assert read(tmp_path / "out" / "summary.json")["parts"] == results
    assert not succeeded(tmp_path / "out", parts)
    # What it had started is gone too.
    commands = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert "-c import time; time.sleep(1000)" not in commands


@pytest.mark.parametrize(("kind", "status"), [("hangs", "killed"), ("dies", "died")])
def test_a_part_goes_on_behind_a_case_that_hangs_or_dies(tmp_path: Path, kind: str, status: str) -> None:
    result = ran(tmp_path, of_cases("part", "first", kind, "last"))["part"]
    assert states(result) == {"first": "done", kind: status, "last": "done"}
    assert result["status"] == "finished"
    pids = [case["values"]["pid"] for case in result["cases"].values()]
    assert pids[0] == pids[1] != pids[2]
    reason = result["cases"][kind]["reason"]
    assert reason == ("it took longer than 1 s" if kind == "hangs" else "its process ended by SIGKILL")


def test_a_part_that_cannot_begin_is_tried_once(tmp_path: Path) -> None:
    result = ran(tmp_path, part("broken", "print('tried'); raise SystemExit('no such library')"))["broken"]
    assert result["status"] == "failed"
    assert result["reason"] == "its process ended with exit code 1 before it began a case"
    assert result["output"].count("tried") == 1
    assert "no such library" in result["output"]


def test_the_budget_is_kept_and_what_no_longer_fits_is_said_to_be_skipped(tmp_path: Path) -> None:
    began = time.monotonic()
    results = ran(
        tmp_path,
        part("first", "import time; time.sleep(1000)", seconds=100.0),
        of_cases("second", "one", least=0.0),
        of_cases("third", "one", least=100.0),
        budget=5.0,
    )
    assert time.monotonic() - began < 15
    assert results["first"]["status"] == "killed"
    assert results["third"]["status"] == "skipped"
    assert results["third"]["reason"].endswith("s are left of the budget, and it needs 100 s at least")
    summary = (tmp_path / "out" / "summary.txt").read_text(encoding="utf-8")
    assert "3. third (third.json): skipped: " in summary


def test_a_result_file_that_says_nonsense_does_not_cost_the_summary(tmp_path: Path) -> None:
    nonsense = 'import sys; open(sys.argv[2], \'w\').write(\'{"cases": {"one": {"values": {"K=1": 3}}}}\')'
    parts = part("throughput_on_device", nonsense), of_cases("good", "one")
    results = ran(tmp_path, *parts)
    assert results["good"]["status"] == "finished"
    text = (tmp_path / "out" / "summary.txt").read_text(encoding="utf-8")
    assert "could not be told" in text
    assert "2. good (good.json): finished" in text


def test_a_check_that_is_stopped_says_so_in_its_summary(tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = [sys.executable, str(ROOT / "benchmarks" / "gpu_check.py"), "--dry-run", "--out", str(out)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    until = time.monotonic() + 60
    while not (out / "summary.json").exists() and time.monotonic() < until:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    told, _ = process.communicate(timeout=30)
    assert process.returncode == 1, told
    assert "machine.json): killed" in told
    assert "the check was stopped by SIGTERM" in told
    assert {read(path)["status"] for path in out.glob("*_*.json")} == {"skipped"}
