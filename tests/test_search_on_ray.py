"""The same search on every executor, on a cluster in trouble, and what Ray leaves behind."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import ROOT, SMOKE, TINY
from tests.helpers.ray_cluster import Chaos, cluster, gone, workers_of

import lossforge
from lossforge.inspection.runs import run_status

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(900)]

TABLE = "hall_of_fame.csv"
SPACE = [*TINY, "recipe.epochs=4", "evolution.population=8", "budget.generations=4", "execution.device=cpu"]
"""About 60 trainings of a fifth of a second."""


def search(run: Path, **changes: Any) -> bytes:
    """The table of the search's hall of fame."""
    path = lossforge.search(SMOKE, run=run, seed=3, overrides=SPACE, **changes).path
    return (path / TABLE).read_bytes()


def trainings(run: Path) -> list[tuple[object, ...]]:
    """Every training and what came of it, without when and how fast."""
    with sqlite3.connect(run / "ledger.sqlite") as db:
        rows = db.execute("SELECT fingerprint, seed, stage, outcome, accuracy FROM trainings").fetchall()
    db.close()
    return sorted(rows)


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("reference") / "run"
    search(run, workers=1)
    return run


@pytest.fixture(scope="module")
def three_nodes() -> Iterator[Any]:
    with cluster(3) as made:
        yield made


def test_a_pool_and_a_local_ray_find_the_same(reference: Path, tmp_path: Path) -> None:
    expected = (reference / TABLE).read_bytes()
    assert expected.count(b"\n") > 3
    assert search(tmp_path / "pool", workers=2) == expected
    assert search(tmp_path / "ray", workers=2, executor="ray") == expected
    assert trainings(tmp_path / "ray") == trainings(reference)


def test_a_cluster_finds_the_same_and_is_left_as_it_was(reference: Path, three_nodes: Any, tmp_path: Path) -> None:
    assert search(tmp_path / "run", executor="ray", address=three_nodes.address) == (reference / TABLE).read_bytes()
    assert trainings(tmp_path / "run") == trainings(reference)
    assert gone(workers_of(three_nodes))
    assert three_nodes.remaining_processes_alive()


def test_dying_workers_and_coming_and_going_nodes_change_nothing(
    reference: Path, three_nodes: Any, tmp_path: Path
) -> None:
    with Chaos(three_nodes, seconds=2.0) as chaos:
        found = search(tmp_path / "run", executor="ray", address=three_nodes.address)
    assert chaos.errors == []
    assert chaos.killed >= 2
    assert found == (reference / TABLE).read_bytes()
    assert trainings(tmp_path / "run") == trainings(reference)
    assert "workers replaced" in (tmp_path / "run" / "log.txt").read_text(encoding="utf-8")


COMMAND = [sys.executable, "-m", "lossforge"]


def started(*words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*COMMAND, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT, start_new_session=True
    )


def of_session(session: int) -> list[int]:
    """Every process that the command started, and theirs; Ray keeps them in its session."""
    found = []
    for place in Path("/proc").iterdir():
        try:
            fields = (place / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        except OSError:
            continue
        if place.name.isdigit() and int(fields[3]) == session and fields[0] != "Z":
            found.append(int(place.name))
    return found


def wait_for(condition: Any, seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def count(run: Path) -> int:
    try:
        return run_status(run).trainings
    except Exception:
        return 0


def options(run: Path) -> list[str]:
    overrides = [word for override in SPACE for word in ("--set", override)]
    return ["search", str(SMOKE), "--run", str(run), "--seed", "3", "--executor", "ray", "--workers", "2", *overrides]


def listening(processes: list[int]) -> set[str]:
    """Addresses, in hexadecimal, on which these processes listen."""
    sockets = set()
    for process in processes:
        try:
            files = list(Path(f"/proc/{process}/fd").iterdir())
        except OSError:
            continue
        for file in files:
            try:
                sockets.add(str(file.readlink()).removeprefix("socket:[").removesuffix("]"))
            except OSError:
                continue
    rows = [
        row.split()
        for table in ("tcp", "tcp6")
        for row in Path(f"/proc/net/{table}").read_text(encoding="utf-8").splitlines()[1:]
    ]
    return {row[1].partition(":")[0] for row in rows if row[3] == "0A" and row[9] in sockets}


LOOPBACK = {"0100007F", "00000000000000000000000001000000", "0000000000000000FFFF00000100007F"}


@pytest.mark.skipif(not Path("/proc/net/tcp").is_file(), reason="reads /proc")
def test_ctrl_c_ends_in_order_and_leaves_no_process_and_resume_goes_on(reference: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    driver = started(*options(run))
    wait_for(lambda: count(run) >= 8 or driver.poll() is not None)
    processes = of_session(driver.pid)
    assert len(processes) > 3
    assert listening(processes) <= LOOPBACK
    assert listening(processes)
    assert {b"RAY_AUTH_MODE=token"} <= set(environment_of(processes))
    os.killpg(driver.pid, signal.SIGINT)
    out, err = driver.communicate(timeout=120)
    assert driver.returncode == 130, (out, err)
    assert "finishing what is under way" in err
    assert "Traceback" not in err
    assert gone(of_session(driver.pid))
    answer = subprocess.run(
        [*COMMAND, "resume", str(run), "--executor", "local", "--json"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=True,
    )
    assert json.loads(answer.stdout)["run"] == str(run)
    assert (run / TABLE).read_bytes() == (reference / TABLE).read_bytes()


def workers_below(session: int) -> list[int]:
    return [process for process in of_session(session) if command_of(process).startswith(b"ray::RayWorker")]


def command_of(process: int) -> bytes:
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:
        return b""


def environment_of(processes: list[int]) -> list[bytes]:
    """The environment of the process that keeps the cluster's books."""
    books = [process for process in processes if b"gcs_server" in command_of(process)]
    return Path(f"/proc/{books[0]}/environ").read_bytes().split(b"\0")


def test_a_killed_driver_takes_its_ray_along_and_loses_nothing(reference: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    driver = started(*options(run))
    wait_for(lambda: count(run) >= 8 or driver.poll() is not None)
    driver.kill()
    driver.communicate(timeout=60)
    left = of_session(driver.pid)
    # Two agents of Ray's own try to tell their dead cluster for a minute.
    agents = [process for process in left if b"Agent" in command_of(process)]
    assert gone([process for process in left if process not in agents])
    before = trainings(run)
    again = started("resume", str(run), "--json")
    wait_for(lambda: workers_below(again.pid) or again.poll() is not None)
    os.kill(workers_below(again.pid)[0], signal.SIGKILL)
    out, err = again.communicate(timeout=240)
    assert again.returncode == 0, err
    json.loads(out)  # Ray prints nothing among it, not even of the worker's death
    assert set(before) <= set(trainings(run))
    assert (run / TABLE).read_bytes() == (reference / TABLE).read_bytes()
    assert trainings(run) == trainings(reference)
