"""Linear-probe transfer: what a trained network's features are worth on data that it never saw.

The network stays as it is. What enters its last linear layer is taken of each sample of another data set, and a linear
classifier is fitted on that. Losses that win where they were trained often carry less to elsewhere (Kornblith et al.,
"Why do better loss functions lead to less transferable features?", NeurIPS 2021).

The classifier is ridge regression on the classes' indicators, on standardised features, its penalty by leave-one-out:
it has a closed form, so that it neither has to converge nor depends on a solver's patience, the same penalties suit
features of any size, and a hundred networks' probes take seconds. Multinomial regression, as others have it, orders
losses alike and needs a penalty that is tuned for each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    import numpy
    from numpy.typing import NDArray

    from lossforge.data.splits import Part

_AT_ONCE = 512
_PENALTIES = (-2, 6, 17)
"""Penalties are 10 to the power of these: first, last, and how many."""


@dataclass(frozen=True, slots=True)
class Probe:
    """Another data set: a part to fit the classifier on, and one to score it on; each sample has one class.

    ``prepare`` makes stored samples ``(B, ...)`` what the network takes.
    """

    train: Part
    test: Part
    prepare: Callable[[Tensor], Tensor]

    def accuracy(self, model: nn.Module, layer: str, state: Mapping[str, Tensor]) -> float | None:
        """The classifier's accuracy on the test part, of the features of a network with this ``state``.

        ``layer`` names the network's last one. None where a feature is not finite.
        """
        fitted, scored = (self._features(model, layer, state, part) for part in (self.train, self.test))
        if not (bool(fitted.isfinite().all()) and bool(scored.isfinite().all())):
            return None
        arrays = [tensor.double().cpu().numpy() for tensor in (fitted, scored)]
        labels = [part.y.cpu().numpy() for part in (self.train, self.test)]
        return probe_accuracy(arrays[0], labels[0], arrays[1], labels[1])

    def _features(self, model: nn.Module, layer: str, state: Mapping[str, Tensor], part: Part) -> Tensor:
        chunks = part.chunks(_AT_ONCE)
        with torch.no_grad():
            return torch.cat([features(model, layer, state, self.prepare(x)) for x in _whole(chunks)])


def _whole(chunks: Iterator[Tensor]) -> Iterator[Tensor]:
    return (x for x in chunks if len(x))


def features(model: nn.Module, layer: str, state: Mapping[str, Tensor], x: Tensor) -> Tensor:
    """What enters the ``layer`` of a network for samples ``(B, C, H, W)``, as ``(B, features)``.

    ``state`` are weights and buffers by name, in the place of the network's own. The network is in evaluation.
    """
    found: list[Tensor] = []

    def kept(module: nn.Module, given: tuple[Tensor, ...]) -> None:
        found.append(given[0])

    hook = model.eval().get_submodule(layer).register_forward_pre_hook(kept)
    try:
        torch.func.functional_call(model, dict(state), (x,))
    finally:
        hook.remove()
    return found[-1].flatten(1)


def probe_accuracy(
    x: NDArray[numpy.float64], y: NDArray[numpy.int64], x_test: NDArray[numpy.float64], y_test: NDArray[numpy.int64]
) -> float:
    """Accuracy, in [0, 1], on ``x_test`` ``(M, F)`` of a ridge classifier fitted on ``x`` ``(N, F)``; classes ``(N,)``.

    Features that never vary are left out: a network whose features all do guesses the commonest class.
    """
    import numpy
    from sklearn.linear_model import RidgeClassifierCV

    varies = x.std(0) > 1e-9 * (1 + numpy.abs(x).max(0))
    classes, counts = numpy.unique(y, return_counts=True)
    if not varies.any() or len(classes) < 2:
        return float((y_test == classes[counts.argmax()]).mean())
    mean, std = x[:, varies].mean(0), x[:, varies].std(0)
    classifier = RidgeClassifierCV(alphas=numpy.logspace(*_PENALTIES))
    classifier.fit((x[:, varies] - mean) / std, y)
    return float(classifier.score((x_test[:, varies] - mean) / std, y_test))
