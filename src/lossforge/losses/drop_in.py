"""The shell around an elementwise loss that makes it a drop-in for ``nn.CrossEntropyLoss``.

This file needs torch alone, and the heads beside it, and both are shipped word for word at the head of every export, so
what was searched and what is exported are one text.
"""

from __future__ import annotations

import copy
import math
import operator
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from lossforge.losses.heads import HEADS, SOFTMAX, Head

START_SPREAD = 0.5
"""Standard deviation of the logits of `start_probe`."""


class About(NamedTuple):
    """What a loss may depend on besides a class's own probability and target.

    ``dim``: where the logits' classes lie; the others are tensors that broadcast to the logits.
    """

    dim: int
    n_classes: Tensor
    progress: Tensor
    class_share: Tensor
    logits: Tensor


class DropInLoss(nn.Module):
    """An elementwise loss f(y_pred, y_true) over classes, called like ``nn.CrossEntropyLoss``.

    The logits become ``y_pred`` by softmax over classes, or by another ``head``, the target becomes ``y_true``
    (one-hot, or the probabilities given), f is summed over classes (``class_mean=True``: averaged), and the samples are
    reduced. ``weight`` multiplies the class's term of the sum, and the mean over samples with class indices is divided
    by the weights of their classes: for -y_true * log(y_pred) that is what ``nn.CrossEntropyLoss`` does in every case.
    float16 and bfloat16 logits are computed in float32, and their gradient is held within what their type can say.

    A loss may change in the course of a training: then ``criterion.progress = epoch / epochs`` says how far it is,
    from 0 to 1. One that looks at how frequent the classes are takes ``class_share``. Both are in ``state_dict``.

    All of it is multiplied by ``scale``. `match_classes` sets it so that the gradient near a uniform start has
    cross-entropy's norm: then cross-entropy's learning rates suit the loss.

    Args:
        weight: shape ``(C,)``, or None.
        ignore_index: class index whose samples do not count (class-index targets only).
        reduction: "mean", "sum" or "none".
        label_smoothing: in [0, 1]; mixes the target with 1/C. None: as the loss was trained, ``smoothing``.
        class_share: shape ``(C,)``, each class's share of the training labels; for losses that need it.
    """

    weight: Tensor | None
    shares: Tensor | None
    reached: Tensor | None
    class_mean = False
    uses_log = True
    scale = 1.0
    classes = 0
    """The number of classes that ``scale`` is for; 0: any."""
    smoothing = 0.0
    hard_labels = False
    """Whether the formula means something else where ``y_true`` is neither 0 nor 1."""
    matches = False
    """Whether ``scale`` follows the logits' number of classes; see `match_classes`."""
    about = False
    """Whether the formula's function has a fourth argument, an `About`."""
    of_sample = False
    """Whether the formula is one number a sample, which is not summed over classes."""
    head = "softmax"
    """What makes probabilities of the logits; a name in `HEADS`."""
    needs: tuple[str, ...] = ()
    """Which of "progress" and "class_share" have to be told."""

    def __init__(
        self,
        weight: Tensor | None = None,
        ignore_index: int = -100,
        reduction: str = "mean",
        label_smoothing: float | None = None,
        class_share: Tensor | None = None,
    ) -> None:
        super().__init__()
        label_smoothing = self.smoothing if label_smoothing is None else label_smoothing
        if reduction not in ("mean", "sum", "none"):
            raise ValueError(f"reduction must be 'mean', 'sum' or 'none', not {reduction!r}")
        if not 0.0 <= label_smoothing <= 1.0:
            raise ValueError(f"label_smoothing must be in [0, 1], not {label_smoothing!r}")
        self.register_buffer("weight", weight)
        self.register_buffer("shares", None if class_share is None else shares_of(class_share))
        self.register_buffer("reached", torch.full((), -1.0) if "progress" in self.needs else None)
        self.ignore_index = ignore_index
        self.reduction = reduction
        self.label_smoothing = label_smoothing
        self._told: set[str] = set()
        self._follows = False
        """Whether it was told how far the training is; asked in place of the tensor, for which a GPU would wait."""

    @property
    def progress(self) -> float | None:
        """How far the training is, from 0 at its first step to 1 at its last; None until it is told."""
        return None if self.reached is None or self.reached < 0 else float(self.reached)

    @progress.setter
    def progress(self, value: float | Tensor) -> None:
        if self.reached is None:
            self.register_buffer("reached", torch.zeros(()))
            assert self.reached is not None
        if not isinstance(value, Tensor) and not (isinstance(value, (int, float)) and 0.0 <= value <= 1.0):
            raise ValueError(f"progress must be in [0, 1]: epoch / epochs, not {value!r}")
        self.reached.fill_(value)
        self._follows = True

    @property
    def class_share(self) -> Tensor | None:
        """Each class's share of the training labels, ``(C,)``; None where it was not given."""
        return self.shares

    @class_share.setter
    def class_share(self, value: Tensor | None) -> None:
        self.shares = None if value is None else shares_of(value)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        for name in ("shares", "reached"):  # what is not yet told is told by the state
            if getattr(self, name) is None and prefix + name in state_dict:
                setattr(self, name, torch.empty_like(state_dict[prefix + name]))
        self._follows |= bool(state_dict.get(prefix + "reached", torch.tensor(-1.0)) >= 0)
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def context(self, y_pred: Tensor, logits: Tensor, dim: int) -> About:
        """What the fourth argument of the formula's function says. Raises ValueError for what was not told."""
        classes = y_pred.shape[dim]
        none = y_pred.new_zeros(())
        if "progress" in self.needs and not self._follows:
            raise ValueError(
                f"{type(self).__name__} depends on how far the training is: set criterion.progress = epoch / epochs, "
                "from 0 to 1, before it is called"
            )
        share = none
        if "class_share" in self.needs:
            if self.shares is None or self.shares.shape != (classes,):
                found = "none was given" if self.shares is None else f"it has shape {tuple(self.shares.shape)}"
                raise ValueError(
                    f"{type(self).__name__} depends on how frequent the classes are: give class_share, a tensor of "
                    f"shape ({classes},) with each class's share of the training labels; {found}"
                )
            share = self.shares.to(y_pred).view([-1] + [1] * (y_pred.dim() - 1 - dim)).expand_as(y_pred)
        progress = none if self.reached is None else self.reached.to(y_pred)
        return About(dim, y_pred.new_full((), classes), progress, share, self.behind.logit(logits))

    @property
    def behind(self) -> Head:
        """The head itself."""
        return HEADS[self.head]

    def columns(self, logits: Tensor) -> int:
        """The number of classes for such logits."""
        return self.behind.classes(logits.shape[0 if logits.dim() == 1 else 1])

    def match_classes(self, classes: int) -> DropInLoss:
        """Set ``scale`` for this number of classes, and return the loss itself.

        With it the gradient on the logits of `start_probe` has the norm of plain cross-entropy's. Raises ValueError
        where the gradient there is zero or not finite, or ``classes`` is no whole number from 2 up.
        """
        try:
            classes = operator.index(classes)
        except TypeError:
            raise ValueError(f"classes must be a whole number, 2 or more, not {classes!r}") from None
        if classes < 2:
            raise ValueError(f"classes must be a whole number, 2 or more, not {classes!r}")
        scale = matched_scale(self, classes)
        if scale is None:
            raise ValueError(self._unmatched(classes))
        self.scale, self.classes = scale, classes
        return self

    def _unmatched(self, classes: int) -> str:
        return f"{self!r}: its gradient near a uniform start is zero or not finite for {classes} classes"

    def elementwise_function(self) -> Callable[..., Tensor]:
        """The function ``(y_pred, y_true, log_y_pred) -> loss``; each loss has its own."""
        raise TypeError(f"{type(self).__name__} has no formula; use one of its subclasses")

    def encoded(self, input: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Logits in float32 or wider, ``y_true`` with a column a class, and which samples count (None: all)."""
        self.behind.check(input, target, self.weight)
        logits = widened(input)
        dim = 0 if logits.dim() == 1 else 1
        y_true, kept = self.behind.encoded(logits, target, dim, self.ignore_index)
        if self.label_smoothing > 0:
            y_true = self.behind.smoothed(y_true, self.label_smoothing, y_true.shape[dim])
        return logits, y_true, kept

    def class_terms(self, logits: Tensor, y_true: Tensor, dim: int) -> Tensor:
        """The loss of every sample and class, in the shape of ``y_true``, whose classes lie along ``dim``.

        Of a formula that is one number a sample: that number, with one class in place of all.
        """
        if self.uses_log:
            log_y_pred = self.behind.log_probabilities(logits, dim)
            y_pred = log_y_pred.exp()
        else:
            y_pred = self.behind.probabilities(logits, dim)
            log_y_pred = y_pred
        function = self.elementwise_function()
        if not self.about:
            terms = function(y_pred, y_true, log_y_pred)
            return terms.narrow(dim, 0, 1) if self.of_sample else terms
        terms = function(y_pred, y_true, log_y_pred, self.context(y_pred, logits, dim))
        return terms.expand_as(y_pred.narrow(dim, 0, 1) if self.of_sample else y_pred)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Loss of logits ``(N, C)``, ``(N, C, d1, ...)`` or ``(C,)``.

        ``target`` holds class indices, ``(N,)``, ``(N, d1, ...)`` or ``()``, of any integer type (of two classes
        also bool), or probabilities in the shape of the logits. With no sample that counts, "mean" is NaN and its
        gradient 0, as torch has it. Behind independent sigmoids it may hold labels of 0 and 1, integers or bool, in the
        logits' shape; with one logit, ``(N, 1)`` or ``(N, 1, d1, ...)``, floats are probabilities of class 1. Raises
        ValueError for shapes, types or indices that do not fit.
        """
        if self.classes or self.hard_labels or self.matches:
            self.behind.check(input, target, self.weight)
            self._look_at(input, target)
        loss = self.unscaled(input, target)
        return loss if self.scale == 1.0 else loss * self.scale

    def unscaled(self, input: Tensor, target: Tensor) -> Tensor:
        """The loss before it is multiplied by ``scale``; see `forward`."""
        logits, y_true, kept = self.encoded(input, target)
        dim = 0 if logits.dim() == 1 else 1
        loss = self.class_terms(logits, y_true, dim)
        if self.weight is not None:
            weight = self.class_weight(logits)
            loss = loss * ((weight * y_true).sum(dim, keepdim=True) if self.of_sample else weight)
        return self.reduced(loss.sum(dim), logits, target, kept)

    def _look_at(self, input: Tensor, target: Tensor) -> None:
        """Match the scale to the number of classes where that is asked for, else warn where the loss is another one."""
        classes = self.columns(input)
        if torch.compiler.is_compiling():
            if self.matches and classes != self.classes:
                if not torch.compiler.is_dynamo_compiling():  # nothing can be computed while torch.export looks on
                    raise ValueError(f"call match_classes({classes}) before torch.export")
                classes = operator.index(classes)  # a number, where torch.compile has a symbol
                found = _scale_when_compiled(self, classes)
                if not found:
                    raise ValueError(self._unmatched(classes))
                self.scale, self.classes = found, classes
            return
        if self.matches and classes != self.classes:
            self.match_classes(classes)
        if self.hard_labels and (self.label_smoothing > 0 or self.behind.may_be_soft(target)):
            self._warn(
                "was made for labels of 0 and 1: on soft targets, label_smoothing among them, its formula is another "
                "loss, and not this one with softer labels"
            )
        if self.classes not in (0, classes) and f"for {classes}" not in self._told:
            self._told.add(f"for {classes}")
            scale = matched_scale(self, classes)
            if scale is None or not 0.8 < scale / self.scale < 1.25:
                self._warn(
                    f"is scaled for {self.classes} classes, and the logits have {classes}: call "
                    f"match_classes({classes}), or find a learning rate for it"
                )

    def _warn(self, message: str) -> None:
        """Warn of something once."""
        if message not in self._told:
            self._told.add(message)
            warnings.warn(f"{type(self).__name__} {message}", stacklevel=5)

    def class_weight(self, logits: Tensor) -> Tensor:
        """``weight`` in a shape that broadcasts to the logits."""
        assert self.weight is not None
        return self.weight.to(logits.dtype).view([-1] + [1] * max(0, logits.dim() - 2))

    def reduced(self, loss: Tensor, logits: Tensor, target: Tensor, kept: Tensor | None) -> Tensor:
        """The losses of the samples, summed over classes, by ``reduction``; those not kept do not count."""
        if self.class_mean and not self.of_sample:
            loss = loss / self.columns(logits)
        if kept is not None:
            loss = torch.where(kept, loss, torch.zeros_like(loss))
        if self.reduction == "none":
            return loss
        if self.reduction == "sum":
            return loss.sum()
        if kept is None:
            return loss.mean()
        if self.weight is None or not self.behind.means_by_weight:
            return loss.sum() / kept.sum()
        indices = target.long().where(kept, 0)
        return loss.sum() / (self.weight.to(logits.dtype)[indices] * kept).sum()


def shares_of(value: Any) -> Tensor:
    """Each class's share as a tensor ``(C,)``. Raises ValueError for numbers that are no shares."""
    try:
        shares = torch.as_tensor(value).detach().clone()
        fits = shares.dim() == 1 and bool((shares >= 0).all()) and abs(float(shares.sum()) - 1) <= 0.01
    except (TypeError, ValueError, RuntimeError):
        fits = False
    if not fits:
        raise ValueError(
            "class_share must have each class's share of the training labels, numbers of 0 or more that add up to 1 "
            "(counts divided by their sum)"
        )
    return shares


def start_probe(classes: int, head: Head = SOFTMAX) -> tuple[Tensor, Tensor]:
    """A head's logits ``(N, outputs)`` near a uniform start, float64, and class indices ``(N,)``, the same everywhere.

    They are normal with a standard deviation of `START_SPREAD`; every class is true equally often, up to one sample.
    """
    rows = max(32, min(512, 2**18 // classes))
    # Not drawn: what a generator gives may differ from version to version, and scales must not.
    spread = (torch.arange(1, rows * classes + 1, dtype=torch.float64).sin() * 43758.5453).frac().abs()
    logits = torch.erfinv((2 * spread - 1).clamp(-0.999999, 0.999999)) * (math.sqrt(2) * START_SPREAD)
    return head.probe(logits.view(rows, classes)), torch.arange(rows) % classes


def rounded_scale(wanted: float, found: float, value: float) -> float | None:
    """``wanted / found``, norms of gradients, to six digits; None where ``found`` is zero or not finite.

    What is left of rounding beside a loss of the size ``value`` is zero.
    """
    ratio = wanted / found if abs(value) * 1e-15 < found < math.inf else 0.0
    return float(f"{ratio:.6g}") if ratio > 0 and math.isfinite(ratio) else None


def cross_entropy_norm(classes: int, head: Head = SOFTMAX) -> float:
    """Norm of plain cross-entropy's gradient on the logits of `start_probe`."""
    logits, target = start_probe(classes, head)
    gradient = head.probabilities(logits, 1) - functional.one_hot(target, classes)
    return float(head.of_outputs(gradient, 1).norm()) / len(target)


STAGES = (0.0, 0.5, 1.0)
"""Where in a training a loss that changes in its course is matched: the mean square of the norms there counts."""


def matched_scale(loss: DropInLoss, classes: int) -> float | None:
    """What to multiply ``loss`` by, so that its gradient on `start_probe` has plain cross-entropy's norm.

    Six digits. ``weight``, ``ignore_index`` and ``reduction`` do not enter; classes are equally frequent. None where
    the gradient is zero or not finite.
    """
    return rounded_scale(cross_entropy_norm(classes, loss.behind), *start_norm(loss, classes))


def start_norm(loss: DropInLoss, classes: int) -> tuple[float, float]:
    """Norm of the gradient on `start_probe`, over the course of a training, and the loss's largest value there."""
    kept = loss.weight, loss.ignore_index, loss.reduction, loss.shares, loss.reached, loss._follows
    loss.weight, loss.ignore_index, loss.reduction, loss._follows = None, -100, "mean", True
    loss.shares, loss.reached = torch.full((classes,), 1 / classes, dtype=torch.float64), torch.zeros(())
    norms, largest = [], 0.0
    try:
        for stage in STAGES if "progress" in loss.needs else STAGES[:1]:
            loss.reached.fill_(stage)
            norm, value = _norm_and_value(loss, classes)
            norms.append(norm)
            largest = max(largest, abs(value))
    finally:
        loss.weight, loss.ignore_index, loss.reduction, loss.shares, loss.reached, loss._follows = kept
    norm = norms[0] if len(norms) == 1 else math.sqrt(sum(norm * norm for norm in norms) / len(norms))
    return norm, largest


def _scale_when_compiled(loss: DropInLoss, classes: int) -> float:
    """The scale, or 0, found while torch.compile traces the loss: a constant of what it makes."""
    return matched_scale(copy.deepcopy(loss), classes) or 0.0


# As torch.compiler.assume_constant_result marks it, which would load the compiler with every import.
_scale_when_compiled._dynamo_marked_constant = True  # type: ignore[attr-defined]


def _norm_and_value(loss: DropInLoss, classes: int) -> tuple[float, float]:
    """Norm of the gradient on the logits of `start_probe`, and the loss there."""
    logits, target = start_probe(classes, loss.behind)
    logits.requires_grad_()
    with torch.enable_grad():
        value = loss.unscaled(logits, target)
        (gradient,) = torch.autograd.grad(value, logits, allow_unused=True) if value.requires_grad else (None,)
    return 0.0 if gradient is None else float(gradient.norm()), float(value.detach())


def widened(logits: Tensor) -> Tensor:
    """float16 and bfloat16 logits in float32; their gradient is held within the narrow type's range on its way back."""
    if logits.dtype not in (torch.float16, torch.bfloat16):
        return logits
    wide = logits.float()
    if wide.requires_grad and not torch.compiler.is_compiling():
        largest = torch.finfo(logits.dtype).max
        wide.register_hook(lambda gradient: gradient.clamp(-largest, largest))  # type: ignore[no-untyped-call]
    return wide
