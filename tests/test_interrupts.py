from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from lossforge.interrupts import stop_on_signal

SIGNALS = [signal.SIGINT, signal.SIGTERM]


@pytest.fixture(autouse=True)
def _handlers_are_given_back() -> Iterator[None]:
    before = [signal.getsignal(number) for number in SIGNALS]
    yield
    assert [signal.getsignal(number) for number in SIGNALS] == before


@pytest.mark.parametrize("number", SIGNALS)
def test_the_first_signal_asks_to_stop(number: int) -> None:
    told: list[bool] = []
    with stop_on_signal(lambda: told.append(True)) as stop:
        assert not stop()
        os.kill(os.getpid(), number)
        assert stop()
    assert told == [True]


@pytest.mark.parametrize("second", SIGNALS)
@pytest.mark.parametrize("first", SIGNALS)
def test_the_second_signal_ends_at_once(first: int, second: int) -> None:
    told: list[bool] = []
    with stop_on_signal(lambda: told.append(True)) as stop:
        os.kill(os.getpid(), first)
        assert stop()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), second)
    assert told == [True]


def test_without_a_signal_nothing_stops() -> None:
    with stop_on_signal() as stop:
        assert not stop()


def test_an_error_gives_the_handlers_back() -> None:
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(ZeroDivisionError), stop_on_signal():
        raise ZeroDivisionError
    assert signal.getsignal(signal.SIGINT) is before


def test_a_stop_does_not_reach_the_next_search() -> None:
    with stop_on_signal() as first:
        os.kill(os.getpid(), signal.SIGINT)
    with stop_on_signal() as second:
        assert first()
        assert not second()


def test_outside_the_main_thread_signals_are_left_alone() -> None:
    found: dict[str, Any] = {}

    def work() -> None:
        with stop_on_signal() as stop:
            found["stop"] = stop()
            found["handler"] = signal.getsignal(signal.SIGINT)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == {"stop": False, "handler": signal.getsignal(signal.SIGINT)}


def test_a_process_drains_and_ends_by_itself() -> None:
    script = """
import time
from lossforge.interrupts import stop_on_signal
with stop_on_signal(lambda: print("stopping", flush=True)) as stop:
    print("ready", flush=True)
    while not stop():
        time.sleep(0.005)
    print("drained", flush=True)
"""
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        assert process.stdout.read() == "stopping\ndrained\n"
    assert process.returncode == 0
