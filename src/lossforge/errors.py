"""The exception tree. Every message is one sentence: where, what was expected, what to do."""

from __future__ import annotations


class LossforgeError(Exception):
    """Base of everything that lossforge raises on purpose; the command line prints it and exits with 1."""


class FormulaError(LossforgeError):
    """A formula cannot be read: an unknown name, a syntax error, or a limit exceeded."""


class LossError(LossforgeError):
    """A named loss does not exist, or was given a parameter that it does not have."""


class SpaceError(LossforgeError):
    """A search space cannot be read, has an unknown key, or a value out of its range."""


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
