"""The live display: whole at any width, drawn where there is a terminal, and harmless where there is none."""

from __future__ import annotations

import io
import sys
import time
from collections import Counter

import pytest
from rich.console import Console

from lossforge import api
from lossforge.executors.meter import Meter
from lossforge.search.hall_of_fame import Entry
from lossforge.search.progress import LineProgress, LiveProgress, Progress, duration, in_notebook
from lossforge.search.progress import shown as progress_shown

FORMULA = "-(y_true * log(y_pred)) + 0.125 * square(sin(y_pred - y_true)) / aq(y_pred, 3.25)"


def entry() -> Entry:
    return Entry(
        rank=1,
        formula=FORMULA,
        signature="0",
        size=17,
        fitness=0.0312,
        gain=None,
        search_gain=3.12,
        accuracy=0.9,
        control=0.87,
        seeds=4,
        generation=2,
        origin="crossover",
        metric="accuracy",
    )


def go_through(progress: Progress) -> None:
    """A search of three generations, as the loop tells of it."""
    meter = Meter()
    meter.now(2, 1)
    progress.working(meter)
    progress.phase("sweeping cross-entropy's learning rate")
    progress.trained(8)
    progress.start_search(3, {"trained": 0})
    for number in range(3):
        progress.start_generation(number)
        progress.asked(Counter({"trained": 20, "duplicate": 3, "probe": 11, "descent": 7}), 41)
        progress.trained(20)
        progress.end_generation(number, [entry()], [0.01, 0.02])
    progress.line("audit: none of 18 rejected losses was drawn to be trained all the same")


def shown(progress: LiveProgress) -> str:
    console = progress.console
    with console.capture() as capture:
        console.print(progress._table())
    return capture.get()


@pytest.mark.parametrize("width", [20, 40, 60, 80, 120, 200])
def test_the_panel_fits_any_width_and_tells_all_of_it(width: int) -> None:
    progress = LiveProgress(Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None))
    go_through(progress)
    lines = shown(progress).splitlines()
    assert max(map(len, lines)) <= width
    told = "".join("".join(lines).split())
    for part in ("generation3of3", "+3.12inthesearch", FORMULA, "+1.50pointsagainstcross-entropy", "2workers"):
        assert set("".join(part.split())) <= set(told)
        if width >= 60:
            assert "".join(part.split()) in told
    assert "…" not in told


def test_before_the_first_generation_there_is_a_panel_too() -> None:
    progress = LiveProgress(Console(file=io.StringIO(), width=60, force_terminal=True, color_system=None))
    assert "trainings" in shown(progress)
    progress.start_search(3, {})
    assert "nothing yet" in shown(progress)


def test_lines_scroll_above_the_panel_and_the_panel_goes_at_the_end() -> None:
    file = io.StringIO()
    with LiveProgress(Console(file=file, width=80, force_terminal=True, color_system=None)) as progress:
        go_through(progress)
        progress.line("[bold]not markup[/bold]")
    text = file.getvalue()
    assert "audit: none of 18 rejected losses" in text
    assert "[bold]not markup[/bold]" in text
    assert "\x1b[?25l" in text
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l"), "the cursor stays hidden"
    assert text.rindex("\x1b[2K") > text.rindex("trainings"), "the panel stays on the screen"


def test_where_there_is_no_terminal_only_lines_are_written() -> None:
    file = io.StringIO()
    with LiveProgress(Console(file=file, width=80, force_terminal=False)) as progress:
        go_through(progress)
    text = file.getvalue()
    assert "\x1b" not in text
    assert text.splitlines()[0].startswith("audit: none of 18 rejected losses")


def test_an_error_gives_the_terminal_back() -> None:
    file = io.StringIO()
    with pytest.raises(ZeroDivisionError), LiveProgress(Console(file=file, force_terminal=True)):
        raise ZeroDivisionError
    text = file.getvalue()
    assert text.count("\x1b[?25h") == text.count("\x1b[?25l") == 1


def test_a_file_gets_a_line_for_each_generation_with_every_figure() -> None:
    lines: list[str] = []
    go_through(LineProgress(lines.append))
    first, *generations, last = lines
    assert first == "sweeping cross-entropy's learning rate"
    assert last.startswith("audit: ")
    for number, line in enumerate(generations, 1):
        assert line.startswith(f"generation {number}/3: best {FORMULA} +3.12 in the search, median +1.50; ")
        assert f"; {41 * number} generated, " in line
        assert f"{18 * number} rejected (" in line
        assert f"{3 * number} duplicates" in line
    assert generations[-1].endswith("search finished")


class _Stream(io.StringIO):
    """What a notebook or a service puts in standard error's place."""

    def fileno(self) -> int:
        raise io.UnsupportedOperation


@pytest.mark.parametrize("stream", [_Stream(), None, object()], ids=["no descriptor", "none", "no stream at all"])
def test_whatever_standard_error_is_progress_goes_on(stream: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", stream)
    with progress_shown() as progress:
        go_through(progress)
    assert isinstance(progress, LineProgress)
    if isinstance(stream, _Stream):
        assert "generation 3/3: best" in stream.getvalue()


@pytest.mark.parametrize("widgets", [True, False])
def test_a_notebook_gets_a_panel_where_it_can_draw_one_and_lines_elsewhere(
    widgets: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = _Stream()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(Console, "is_jupyter", True, raising=False)
    module = sys.modules["lossforge.search.progress"]
    monkeypatch.setattr(module, "in_notebook", lambda: True)
    monkeypatch.setattr(module, "find_spec", lambda name: object() if widgets else None)
    if widgets:
        monkeypatch.setattr("rich.live.Live.refresh", lambda live: None)
    with progress_shown() as progress:
        progress.line("learning rate")
    assert isinstance(progress, LiveProgress if widgets else LineProgress)


def test_outside_a_notebook_a_program_is_told_nothing_unless_it_asks(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert not in_notebook()
    for asked in (None, False):
        with api.shown_progress(asked) as progress:
            progress.line("a line")
        assert type(progress) is Progress
    assert capsys.readouterr().err == ""
    with api.shown_progress(True) as progress:
        progress.line("a line")
    assert capsys.readouterr().err == "a line\n"
    with api.shown_progress(progress) as same:
        assert same is progress


def test_time_left_goes_by_the_pace_and_what_is_not_needed_any_more_counts_as_done(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    told = Progress()
    assert told.work_left() == ""
    told.expect(1000.0)
    told.unit = 2.0
    assert told.work_left() == ""
    clock[0] = 100.0
    told.trained(100)  # 200 seconds of work in 100: two workers' pace
    assert told.work_left() == f"about {duration(800.0 / (230 / 130))} left at most"
    told.reached(900.0)
    assert told.work_left() == f"about {duration(100.0 / (230 / 130))} left at most"
    told.reached(1000.0)
    assert told.work_left() == ""


def test_the_funnel_is_a_bar_of_what_became_of_all() -> None:
    told = Progress()
    assert told.funnel(40) == []
    told.start_search(4, {"trained": 10, "duplicate": 20, "rejected:static": 10})
    assert [(len(part), style) for part, style in told.funnel(40)] == [(10, "blue"), (20, "dim"), (10, "dim")]
    assert told.short_counts() == "40 generated, 10 trained"
