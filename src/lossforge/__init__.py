"""lossforge: a genetic-programming search engine for loss functions.

Three nouns: a search *space* is a TOML file, a *candidate* is one loss expression, a *run* is one folder.

    import lossforge
    criterion = lossforge.loss("ngl")          # or a formula; called like nn.CrossEntropyLoss
    run = lossforge.search("search_spaces/digits.toml")
"""

from __future__ import annotations

import sys
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lossforge.api import resume as resume
    from lossforge.api import search as search
    from lossforge.api import validate as validate
    from lossforge.losses.library import loss as loss

try:
    __version__ = version("lossforge")
except PackageNotFoundError:  # running from a source tree that was not installed
    __version__ = "0+unknown"

__all__ = ["__version__", "loss", "resume", "search", "validate"]


def __getattr__(name: str) -> Any:
    # torch and DEAP load with the first use, not with the import.
    if name == "loss":
        from lossforge.losses.library import loss

        return loss
    if name in ("resume", "validate"):
        from lossforge import api

        return getattr(api, name)
    raise AttributeError(f"module 'lossforge' has no attribute '{name}'")


class _Package(ModuleType):
    """``lossforge.search`` stays the function, though a room has that name: imports set it as an attribute."""

    @property
    def search(self) -> Any:
        from lossforge import api

        return api.search

    @search.setter
    def search(self, room: ModuleType) -> None:
        """The room is found in ``sys.modules``, as every import finds it."""


sys.modules[__name__].__class__ = _Package
