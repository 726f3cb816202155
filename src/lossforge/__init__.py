"""lossforge: a genetic-programming search engine for loss functions.

Three nouns: a search *space* is a TOML file, a *candidate* is one loss expression, a *run* is one folder.

    import lossforge
    criterion = lossforge.loss("ngl")          # or a formula; called like nn.CrossEntropyLoss
    run = lossforge.search("search_spaces/digits.toml")
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
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
    if name in ("search", "resume", "validate"):
        from lossforge import api

        return getattr(api, name)
    raise AttributeError(f"module 'lossforge' has no attribute '{name}'")
