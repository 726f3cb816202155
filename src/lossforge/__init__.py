"""lossforge: a genetic-programming search engine for loss functions.

Three nouns: a search *space* is a TOML file, a *candidate* is one loss expression, a *run* is one folder.

    import lossforge

    criterion = lossforge.loss("ngl")              # or a formula; called like nn.CrossEntropyLoss
    if __name__ == "__main__":                     # worker processes import the script again
        run = lossforge.search("digits")           # a shipped space, the path of a TOML file, or a dict
        run = lossforge.resume(run.path)           # after a stop; nothing is trained twice
        lossforge.validate(run.path, seeds=32)     # the best losses beside tuned rivals, on the test part
        lossforge.compare(["ngl", "focal"])        # any losses, names or formulas, in the same way

    criterion = lossforge.load("runs/digits-...")[0]  # the best loss of a run, scaled as it was validated
    run = lossforge.Run("runs/digits-...")         # open a run: top(), status(), validation(), export()

What is named here is public, with the fields of `Entry`, `Comparison`, `Status` and `AuditReport`; the rest may change.
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lossforge.api import Execution as Execution
    from lossforge.api import resume as resume
    from lossforge.api import search as search
    from lossforge.api import validate as validate
    from lossforge.comparing import compare as compare
    from lossforge.errors import LossforgeError as LossforgeError
    from lossforge.export.load import load as load
    from lossforge.inspection.runs import Status as Status
    from lossforge.losses.library import loss as loss
    from lossforge.run import Run as Run
    from lossforge.search.audit import AuditReport as AuditReport
    from lossforge.search.hall_of_fame import Entry as Entry
    from lossforge.search.progress import Progress as Progress
    from lossforge.validation.comparison import Comparison as Comparison

try:
    __version__ = version("lossforge")
except PackageNotFoundError:  # running from a source tree that was not installed
    __version__ = "0+unknown"

__all__ = [
    "__version__",
    "loss",
    "load",
    "search",
    "resume",
    "validate",
    "compare",
    "Run",
    "Execution",
    "Entry",
    "Comparison",
    "Status",
    "AuditReport",
    "Progress",
    "LossforgeError",
]

_ROOMS = {
    "loss": "losses.library",
    "load": "export.load",
    "search": "api",
    "resume": "api",
    "validate": "api",
    "compare": "comparing",
    "Run": "run",
    "Execution": "api",
    "Entry": "search.hall_of_fame",
    "Comparison": "validation.comparison",
    "Status": "inspection.runs",
    "AuditReport": "search.audit",
    "Progress": "search.progress",
    "LossforgeError": "errors",
}
"""Where what is public lives: torch and DEAP load with the first use, not with the import."""


def __dir__() -> list[str]:
    return sorted(__all__)


if not TYPE_CHECKING:  # which would take any name for one of ours

    def __getattr__(name: str) -> object:
        if name in _ROOMS:
            return getattr(import_module(f"lossforge.{_ROOMS[name]}"), name)
        raise AttributeError(f"module 'lossforge' has no attribute '{name}'")

    class _Package(ModuleType):
        """``lossforge.search`` stays the function, though a room has that name: imports set it as an attribute."""

        @property
        def search(self) -> object:
            return __getattr__("search")

        @search.setter
        def search(self, room: ModuleType) -> None:
            """The room is found in ``sys.modules``, as every import finds it."""

    sys.modules[__name__].__class__ = _Package
