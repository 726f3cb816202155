"""The formats that losses are exported in: one stand-alone file each, and what none but torch's can say."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from lossforge.errors import LossError
from lossforge.export.array_module import array_module_source
from lossforge.export.latex_file import latex_document
from lossforge.export.onnx_file import onnx_bytes
from lossforge.export.torch_module import Export, module_source
from lossforge.losses.compiled import LossSpec

FORMATS: dict[str, str] = {
    "torch": "losses.py",
    "numpy": "losses_numpy.py",
    "jax": "losses_jax.py",
    "keras": "losses_keras.py",
    "latex": "losses.tex",
    "onnx": "losses.onnx",
}
"""Every format, with the name of its file."""


def exported(losses: Sequence[Export], origin: str, format: str) -> str | bytes:
    """What is written for some losses. Raises LossError where the format cannot say one of them."""
    writers: dict[str, Callable[[], str | bytes]] = {
        "torch": lambda: module_source(list(losses), origin),
        "latex": lambda: latex_document(losses, origin),
        "onnx": lambda: onnx_bytes(losses, origin),
    }
    if format not in FORMATS:
        raise LossError(f"--format: '{format}' is none of {', '.join(FORMATS)}")
    if format != "torch":
        _refuse_unsayable(losses, format)
    return writers[format]() if format in writers else array_module_source(losses, origin, format)


def _refuse_unsayable(losses: Sequence[Export], format: str) -> None:
    """Raise LossError for what is no formula of a sample: losses of the library over a batch, and sums of them."""
    named = [one for one in losses if LossSpec(one.formula).is_term]
    if not named:
        return
    first = named[0]
    fewer = losses.index(first)
    others = f", or the {fewer} before it with -n {fewer}" if fewer else ""
    raise LossError(
        f"--format {format}: {first.name}, {first.formula}, is no formula of a sample: it has losses of the library in "
        f"it that look at a whole batch, or weights that change in a training; export it with --format torch{others}"
    )
