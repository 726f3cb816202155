"""Following a run that another process or machine works on, by reading alone."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lossforge.errors import StoreError
from lossforge.search.budget import used_up
from lossforge.spaces.schema import SearchSpace
from lossforge.store.checkpoint import load_checkpoint
from lossforge.store.ledger import Ledger
from lossforge.store.run_folder import RunFolder

_NOT_TRAINED = ("rejected", "duplicate", "cached")


@dataclass(frozen=True, slots=True)
class Seen:
    """How far a run was when it was looked at."""

    generations_done: int
    generations: int
    generated: int
    trained: int
    trainings: int
    finished: bool

    def told(self) -> str:
        """As a line."""
        return (
            f"generation {self.generations_done}/{self.generations} done, {self.generated:,} generated, "
            f"{self.trained:,} trained, {self.trainings:,} trainings"
        )


def look(folder: RunFolder, space: SearchSpace) -> Seen:
    """How far a run is. Raises StoreError where what is there is damaged."""
    state = load_checkpoint(folder.checkpoint_file)
    done = 0 if state is None else int(state["generation"]) + 1
    finished = False
    tally: dict[str, int] = {}
    trainings = 0
    if folder.ledger_file.exists():
        try:
            ledger = Ledger(folder.ledger_file, read_only=True)
        except StoreError:
            if done:
                raise
        else:
            try:
                tally, trainings = ledger.tally(), ledger.training_count()
                finished = used_up(space, state, ledger) != ""
            except StoreError:  # its tables are being made
                if done:
                    raise
            finally:
                ledger.close()
    trained = sum(count for name, count in tally.items() if name.partition(":")[0] not in _NOT_TRAINED)
    generations = space.budget.generations
    return Seen(done, generations, sum(tally.values()), trained, trainings, finished)


def watch(
    path: Path, show: Callable[[str], None], *, every: float = 5.0, sleep: Callable[[float], None] = time.sleep
) -> Seen:
    """Show what a run's log says from now on, and how far it is whenever that has changed, until its search is done.

    Its last lines so far come first. Looks every so many seconds; nothing is written. Raises StoreError where there is
    no run, or what is there is damaged.
    """
    folder = RunFolder.open(path)
    place, before = 0, None
    while True:
        space = folder.space()
        lines, place = _new_lines(folder.log_file, place)
        for line in lines if before is not None else lines[-10:]:
            show(line)
        seen = look(folder, space)
        if seen != before:
            show(seen.told())
        if seen.finished:
            return seen
        before = seen
        sleep(every)


def _new_lines(path: Path, place: int) -> tuple[list[str], int]:
    """Whole lines of a log behind a place in it, without their times, and the place behind them."""
    try:
        with path.open("rb") as file:
            file.seek(place)
            text = file.read()
    except FileNotFoundError:
        return [], place
    except OSError as error:
        raise StoreError(f"{path}: cannot be read ({error.strerror})") from None
    whole = text[: text.rfind(b"\n") + 1]
    lines = whole.decode("utf-8", errors="replace").splitlines()
    return [line.partition("Z ")[2] or line for line in lines], place + len(whole)
