"""What a search tells while it runs: lines for a file, a live panel for a terminal, nothing for a program."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from statistics import median
from typing import TYPE_CHECKING

from lossforge.evaluation.records import Outcome
from lossforge.expression.tree import WHERE
from lossforge.layout import wrapped
from lossforge.screening.settings import Screen

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from lossforge.executors.meter import Meter
    from lossforge.search.hall_of_fame import Entry
    from lossforge.search.tuning import Sweep


_MARGIN = 14
"""Columns of the panel's names."""


_WIDE = 100
"""Columns of a terminal from which on the panel says what each screen rejected."""
_EVERY = 30.0
"""Seconds between two lines on how far a long comparison is."""


_SHORT = 5.0
"""Seconds below which nothing is said of the time left."""
_GUESS = 30.0
"""Seconds of work that the estimate of a training's length counts for."""


def duration(seconds: float) -> str:
    """Seconds, minutes or hours, as people say them.

    >>> duration(42), duration(600), duration(9000)
    ('42 s', '10 min', '2.5 h')
    """
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


class Progress:
    """Told by the search; this one keeps the figures and shows nothing."""

    def __init__(self) -> None:
        self.started = time.monotonic()
        self.text = ""
        self.generations = 0
        self.generation = 0
        self.done = 0
        self.first_generation = 0
        self.totals: Counter[str] = Counter()
        self.current: Counter[str] = Counter()
        self.generated = 0
        self.trainings = 0
        self.best: Entry | None = None
        self.best_fitness = 0.0
        self.median_fitness = 0.0
        self.remark = ""
        self.search_started = self.started
        self.judged_before = 0
        self.meter: Meter | None = None
        self.seconds_left = 0.0
        self.known_name = ""
        self.known_gain = 0.0
        self.work_total = self.work_done = self.work_timed = 0.0
        self.unit = 0.0
        self.work_started = self.started

    def expect(self, work: float) -> None:
        """So many seconds of work are to be done, at most, by all workers together."""
        self.work_total, self.work_done, self.work_timed = work, 0.0, 0.0
        self.work_started = time.monotonic()

    def reached(self, work: float) -> None:
        """So much of the expected work is behind us: done, known from before, or not needed any more."""
        self.work_done = max(self.work_done, work)
        self.changed()

    def work_left(self) -> str:
        """Time left at most, from the pace so far; "" where nothing is known of it."""
        if not self.work_total or not self.work_timed:
            return ""
        # Until there is more to go by, workers are taken to be as fast as a training alone was.
        workers = self.meter.workers if self.meter and self.meter.workers else 1
        known = _GUESS / workers + time.monotonic() - self.work_started
        pace = (_GUESS + self.work_timed) / known
        left = (self.work_total - min(self.work_done, self.work_total)) / pace
        return f"about {duration(left)} left at most" if left > _SHORT else ""

    def changed(self) -> None:
        """Called after every change of a figure."""

    def line(self, text: str) -> None:
        """Called with every line worth keeping."""

    def phase(self, text: str) -> None:
        """A phase begins."""
        self.text = text
        self.changed()

    def swept(self, task: str, sweep: Sweep, measured: str) -> None:
        """A task's learning rate is known, by what was ``measured``."""
        value = sweep.accuracies[sweep.best]
        self.line(
            f"learning rate of {task}: {sweep.best:g}, cross-entropy's best ({measured} {value:.1%} on validation data)"
        )

    def known(self, name: str, gain: float) -> None:
        """The best known loss is trained; ``gain`` is its own over cross-entropy, in points."""
        self.known_name, self.known_gain = name, gain
        self.changed()

    def best_told(self) -> str:
        """The best so far: its gain over cross-entropy, and over the best known loss."""
        if self.best is None:
            return "nothing yet"
        over = f", {self.best.search_gain - self.known_gain:+.2f} over {self.known_name}" if self.known_name else ""
        over = "" if self.best.gain is not None else over
        return f"{self.best.told_gain}{over}"

    def working(self, meter: Meter) -> None:
        """Workers are there; ``meter`` is theirs."""
        self.meter = meter

    def trained(self, count: int) -> None:
        """Trainings were finished."""
        self.trainings += count
        self.work_done += count * self.unit
        self.work_timed += count * self.unit
        self.changed()

    def recalled(self, count: int) -> None:
        """Trainings were known already, from before a stop: they are behind us, and say nothing of the pace."""
        self.work_done += count * self.unit

    def start_search(self, generations: int, tally: Mapping[str, int]) -> None:
        """The generations begin; ``tally`` counts the candidates of an earlier part of the run."""
        self.generations = generations
        self.totals = Counter()
        for outcome, count in tally.items():
            self.totals[outcome.rpartition(":")[2]] += count
        self.generated = sum(self.totals.values())
        self.judged_before = self.judged()
        self.first_generation = -1
        self.search_started = time.monotonic()

    def start_generation(self, number: int) -> None:
        """A generation begins."""
        if self.first_generation < 0:
            self.first_generation = number
        self.generation = self.done = number
        self.current = Counter()
        self.text = f"generation {number + 1} of {self.generations}"
        self.changed()

    def asked(self, tally: Counter[str], generated: int) -> None:
        """Candidates of the present generation were generated and screened."""
        self.current = tally
        self.changed()

    def end_generation(self, number: int, best: list[Entry], fitness: list[float]) -> None:
        """A generation is told and written; ``remark`` is what the strategy said of it."""
        self.done = number + 1
        self.generated += sum(self.current.values())
        self.totals.update(self.current)
        self.current = Counter()
        self.best = best[0] if best else None
        self.best_fitness = self.best.fitness if self.best else 0.0
        self.median_fitness = median(fitness) if fitness else 0.0
        formula = f"{self.best.formula.partition(WHERE)[0]} {self.best_told()}" if self.best else "nothing yet"
        told = f"{self.remark}; " if self.remark else ""
        self.line(
            f"generation {number + 1}/{self.generations}: best {formula}, median {100 * self.median_fitness:+.2f}; "
            f"{told}{self.counts()}; {self.work()}; {self.remaining()}"
        )
        self.changed()

    def remaining(self) -> str:
        """Time left, from the pace of this part of the search."""
        done = self.generation + 1 - max(self.first_generation, 0)
        left = self.generations - self.generation - 1
        seconds = (time.monotonic() - self.search_started) / max(done, 1) * left
        if self.seconds_left:
            seconds = min(seconds, max(0.0, self.seconds_left - self.elapsed()))
        return f"{seconds / 60:.1f} min left" if left else "search finished"

    def searched(self) -> float:
        """Seconds of this part of the search's generations."""
        return time.monotonic() - self.search_started

    def elapsed(self) -> float:
        """Seconds of this part of the search, with what comes before its generations."""
        return time.monotonic() - self.started

    def ends_after(self, seconds: float) -> None:
        """A budget of hours has so many seconds left for this part of the search; 0: there is none."""
        self.seconds_left = seconds

    def judged(self) -> int:
        """Candidates that were trained, whatever became of it."""
        total = self.totals + self.current
        return sum(total[outcome] for outcome in Outcome if outcome.of_training)

    def work(self) -> str:
        """Workers, how busy they were, what failed, and candidates trained an hour."""
        hours = (time.monotonic() - self.search_started) / 3600
        pace = (self.judged() - self.judged_before) / hours if hours > 0 else 0.0
        told = f"{pace:,.0f} candidates an hour"
        return f"{self.meter.told()}; {told}" if self.meter else told

    def counts(self) -> str:
        """Generated, rejected by screen, duplicates, found in the cache, trained."""
        total = self.totals + self.current
        rejected = {str(name): total[name] for name in Screen}
        told = ", ".join(f"{name} {count}" for name, count in rejected.items())
        return (
            f"{sum(total.values())} generated, {sum(rejected.values())} rejected ({told}), "
            f"{total[Outcome.DUPLICATE]} duplicates, {total[Outcome.CACHED]} in the cache, {self.judged()} trained"
        )

    def short_counts(self) -> str:
        """The same for a narrow terminal."""
        return f"{sum((self.totals + self.current).values()):,} generated, {self.judged():,} trained"

    def funnel(self, width: int) -> list[tuple[str, str]]:
        """What became of all candidates as a bar: trained, known before, rejected; each part with its style."""
        total = self.totals + self.current
        generated = sum(total.values())
        if not generated or width < 1:
            return []
        known = total[Outcome.DUPLICATE] + total[Outcome.CACHED]
        trained = round(width * self.judged() / generated)
        before = round(width * (self.judged() + known) / generated)
        parts = ((trained, "█", "blue"), (before - trained, "▓", "dim"), (width - before, "░", "dim"))
        return [(sign * count, style) for count, sign, style in parts if count]


class LineProgress(Progress):
    """One line an event, for files and pipes."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._told = time.monotonic()
        super().__init__()
        self._write = write

    def line(self, text: str) -> None:
        """Write the line."""
        self._write(text)

    def phase(self, text: str) -> None:
        """Write the phase."""
        super().phase(text)
        left = self.work_left()
        self._told = time.monotonic()
        self._write(f"{text} ({left})" if left else text)

    def changed(self) -> None:
        """Write how far a long comparison is, now and then."""
        if self.work_total and time.monotonic() - self._told > _EVERY and (left := self.work_left()):
            self._told = time.monotonic()
            self._write(f"{self.trainings} trainings done, {left}")


class LiveProgress(Progress):
    """A panel that is drawn again as figures change; lines worth keeping scroll above it."""

    def __init__(self, console: Console) -> None:
        from rich.live import Live

        super().__init__()
        self.console = console
        self._live = Live(get_renderable=self._table, console=console, refresh_per_second=4, transient=True)

    def __enter__(self) -> LiveProgress:
        self._live.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._live.__exit__(None, None, None)

    def line(self, text: str) -> None:
        """Print the line above the panel; generations are in the panel."""
        if not text.startswith("generation "):
            self.console.print(text, highlight=False, markup=False)

    def _table(self) -> Table:
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        table = Table.grid(padding=(0, 2))
        table.add_column(no_wrap=True)
        table.add_column(overflow="fold")
        table.add_row("[bold]lossforge", Text(self.text))
        if self.generations:
            table.add_row("", ProgressBar(total=self.generations, completed=self.done, width=40))
            best = f"{self.best_told()}: {self.best.formula.partition(WHERE)[0]}" if self.best else "nothing yet"
            table.add_row("best", Text("\n".join(wrapped(best, self.console.width - _MARGIN)), no_wrap=True))
            table.add_row("median", f"{100 * self.median_fitness:+.2f} points against cross-entropy")
            wide = self.console.width >= _WIDE
            table.add_row("candidates", self.counts() if wide else self.short_counts())
            table.add_row("", Text.assemble(*self.funnel(min(40, self.console.width - _MARGIN))))
            if self.remark:
                name, colon, said = self.remark.partition(": ")
                table.add_row(*((name, said) if colon else ("", self.remark)))
        if self.meter and self.meter.workers:
            table.add_row("workers", self.work() if self.generations else self.meter.told())
        elapsed = time.monotonic() - self.started
        left = f", {self.remaining()}" if self.generations and self.generation > self.first_generation else ""
        if told := self.work_left():
            share = min(self.work_done / self.work_total, 1.0)
            table.add_row("", ProgressBar(total=1.0, completed=share, width=40))
            left = f", {told}"
        table.add_row("trainings", f"{self.trainings} in {elapsed:.0f} s{left}")
        return table


@contextmanager
def shown() -> Iterator[Progress]:
    """Progress that people see, on standard error: a live panel on a terminal or in a notebook, lines elsewhere."""
    if _has_panel():
        from rich.console import Console

        with LiveProgress(Console(stderr=True)) as told:
            yield told
    else:
        yield LineProgress(_write_line)


def in_notebook() -> bool:
    """Whether this runs in a cell of a notebook."""
    from rich.console import Console

    return Console(stderr=True).is_jupyter


def _has_panel() -> bool:
    """A notebook draws panels where ipywidgets is installed."""
    if in_notebook():
        return find_spec("ipywidgets") is not None
    try:
        return bool(sys.stderr.isatty())
    except (AttributeError, OSError, ValueError):  # none, closed, or something else that can be written to
        return False


def _write_line(text: str) -> None:
    with suppress(AttributeError, OSError, ValueError):
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()
