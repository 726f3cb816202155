"""The exception tree. Every message is one sentence: where, what was expected, what to do."""

from __future__ import annotations

from collections.abc import Iterable
from os import PathLike
from pathlib import Path


class LossforgeError(Exception):
    """Base of everything that lossforge raises on purpose; the command line prints it and exits with 1."""


class FormulaError(LossforgeError):
    """A formula cannot be read: an unknown name, a syntax error, or a limit exceeded."""


class LossError(LossforgeError):
    """A named loss does not exist, or was given a parameter that it does not have."""


class SpaceError(LossforgeError):
    """A search space cannot be read, has an unknown key, or a value out of its range.

    Where several things are wrong with it, its message has a line for each.
    """


class DataError(LossforgeError):
    """A data set is missing, or does not fit the task."""


class ModelError(LossforgeError):
    """A network is unknown, or does not fit the data."""


class UserCodeError(ModelError):
    """A function of the user's own failed when it was called; what it raised is the ``__cause__``."""


class ExecutionError(LossforgeError):
    """Workers cannot be started, or keep dying for a reason that is not a candidate's."""


class StoreError(LossforgeError):
    """A run folder is missing, locked, damaged, of a newer version, or cannot be written."""


class DuplicateTellError(LossforgeError):
    """A strategy was told without having been asked, or told twice."""


class InterruptedSearchError(LossforgeError):
    """The user stopped a search; what was under way is finished and recorded. Exit code 130."""


def whole_number(value: object, what: str, least: int) -> int:
    """The value where it is a whole number of ``least`` or more. Raises LossforgeError that says ``what`` it is else.

    >>> whole_number(3, "number", 1)
    3
    """
    if isinstance(value, bool) or not hasattr(value, "__index__") or value.__index__() < least:
        raise LossforgeError(f"{what}: must be a whole number, {least} or more, not {value!r}")
    return int(value.__index__())


def given_path(value: object, what: str) -> Path:
    """The path that a caller gave. Raises LossforgeError that says ``what`` it is where it is none."""
    if not isinstance(value, str | PathLike):
        raise LossforgeError(f"{what} is given as a path, not {value!r}")
    return Path(value)


def probably_meant(name: str, known: Iterable[str]) -> list[str]:
    """The one or two of the ``known`` names that ``name`` is most like, however it is capitalised; often none.

    >>> probably_meant("taks", ["name", "task", "seed"])
    ['task']
    """
    from difflib import SequenceMatcher

    def likeness(one: str) -> float:
        return SequenceMatcher(None, name.lower(), one.lower()).ratio()

    alike = sorted(((likeness(one), one) for one in dict.fromkeys(known)), key=lambda pair: (-pair[0], pair[1]))
    return [one for ratio, one in alike[:2] if ratio >= max(_ALIKE, alike[0][0] - 0.1)]


_ALIKE = 0.65
"""Share of common letters from which on a name may be a slip for another one."""


def offered(name: str, known: Iterable[str], more: str = "", what: str = "known") -> str:
    """What to say after "there is no such name": what was probably meant, else all names, and ``more``.

    >>> offered("focl", ["focal", "dice"])
    "; did you mean 'focal'?"
    >>> offered("what", ["focal", "dice"])
    ' (known: focal, dice)'
    """
    names = list(known)
    meant = probably_meant(name, names)
    if meant:
        return f"; did you mean {' or '.join(repr(one) for one in meant)}?"
    return f" ({what}: {', '.join(names) or 'none'}{'; ' + more if more else ''})"
