"""Which samples of a scored part a network got right: a bit each, as text that a ledger keeps with the metrics."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy
    from numpy.typing import NDArray
    from torch import Tensor

KEY = "correct"
"""Its name among the metrics (see `lossforge.training.metrics`)."""


def packed(correct: Tensor) -> dict[str, int | str]:
    """Booleans ``(N,)``, in the order of the samples: their number, and the bits, eight a byte, in base64."""
    import numpy

    bits = numpy.packbits(correct.cpu().numpy())
    return {"samples": len(correct), "bits": base64.b64encode(bits.tobytes()).decode("ascii")}


def unpacked(metrics: Mapping[str, Any]) -> NDArray[numpy.bool_] | None:
    """The booleans ``(N,)`` that a training's metrics hold; None where they hold none, as in older runs."""
    import numpy

    kept = metrics.get(KEY)
    try:
        count, data = int(kept["samples"]), base64.b64decode(kept["bits"], validate=True)  # type: ignore[index]
    except (TypeError, KeyError, ValueError, binascii.Error):
        return None
    if len(data) != (count + 7) // 8:
        return None
    return numpy.unpackbits(numpy.frombuffer(data, numpy.uint8), count=count).astype(bool)
