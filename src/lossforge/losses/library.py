"""Named losses: formula, parameters, and the source of each."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from lossforge.errors import LossError, offered
from lossforge.expression.formula import parse_formula
from lossforge.expression.heads import check_head
from lossforge.expression.tree import WHERE, format_number
from lossforge.expression.vocabulary import OPERATIONS
from lossforge.losses.behind_heads import published_behind
from lossforge.losses.compiled import ExpressionLoss, LossSpec
from lossforge.losses.terms import TERMS, TermLoss, call_parameters, called_name, term

OVER_CLASSES = "sum over classes, mean over samples"
OVER_ALL = "mean over samples and classes"
OVER_BATCH = "per class over batch and space, mean over classes"


@dataclass(frozen=True, slots=True)
class NamedLoss:
    """One entry of the library. ``make`` takes the parameters and returns the loss's description.

    ``reduction`` says how ``reduction="mean"`` comes about; ``control`` marks a loss that is there to be beaten.
    """

    name: str
    summary: str
    source: str
    parameters: dict[str, float]
    make: Callable[..., LossSpec]
    reduction: str = OVER_CLASSES
    control: bool = False

    def spec(self, **given: float) -> LossSpec:
        """Description with the given parameters. Raises LossError for one that the loss does not have."""
        unknown = sorted(set(given) - set(self.parameters))
        if unknown:
            others = offered(unknown[0], self.parameters, what="it has")
            raise LossError(f"loss '{self.name}' has no parameter '{unknown[0]}'{others}")
        for name, value in given.items():
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
                raise LossError(f"loss '{self.name}': {name} must be a finite number, not {value!r}")
        return self.make(**{**self.parameters, **given})


CROSS_ENTROPY = "-y_true * log(y_pred)"


def _n(value: float) -> str:
    text = format_number(float(value))
    return f"({text})" if value < 0 else text


def _smoothed(e: float) -> LossSpec:
    if not 0 <= e < 1:
        raise LossError(f"loss 'label_smoothing': e must be in [0, 1), not {e!r}")
    return LossSpec(CROSS_ENTROPY, label_smoothing=e)


def _generalized(q: float) -> LossSpec:
    if not 0 < q <= 1:
        raise LossError(f"loss 'generalized_ce': q must be in (0, 1], not {q!r}")
    return LossSpec(f"y_true * (1 - exp({_n(q)} * log(y_pred))) / {_n(q)}")


def _focal(gamma: float) -> LossSpec:
    if gamma < 0:
        raise LossError(f"loss 'focal': gamma must be 0 or more, not {gamma!r}")
    return LossSpec(f"-y_true * (1 - y_pred)**{_n(gamma)} * log(y_pred)" if gamma else CROSS_ENTROPY)


def _taylor(**theta: float) -> LossSpec:
    t = [_n(theta[f"t{index}"]) for index in range(8)]
    u, v = f"(y_pred - {t[1]})", f"(y_true - {t[0]})"
    terms = (
        f"{t[2]} * {u}",
        f"{t[3]} * {u}**2",
        f"{t[4]} * {u}**3",
        f"{t[5]} * {v} * {u}",
        f"{t[6]} * {v} * {u}**2",
        f"{t[7]} * {v}**2 * {u}",
    )
    return LossSpec(f"-({' + '.join(terms)})")


def _search_softmax(a: float) -> LossSpec:
    if not 0 <= a < 1:
        raise LossError(f"loss 'search_softmax': a must be in [0, 1), not {a!r}")
    return LossSpec(f"-y_true * (log(y_pred) - log({_n(a)} * y_pred + {_n(1 - a)}))")


def _smooth_l1(beta: float) -> LossSpec:
    if beta <= 0:
        raise LossError(f"loss 'smooth_l1': beta must be above 0, not {beta!r}")
    error, near = "abs(y_true - y_pred)", f"min(abs(y_true - y_pred), {_n(beta)})"
    return LossSpec(f"{near} * ({error} - 0.5 * {near}) / {_n(beta)}")


def _ngl(p: str) -> Callable[[], LossSpec]:
    return lambda: LossSpec(f"exp(2.4092 - {p} - {p} * y_true) - cos(cos(sin({p})))", class_mean=True)


def _term(name: str, summary: str, source: str, reduction: str = OVER_BATCH) -> NamedLoss:
    defaults = {parameter: about.default for parameter, about in TERMS[name].items()}
    return NamedLoss(name, summary, source, defaults, lambda **given: LossSpec(str(term(name, **given))), reduction)


_ENTRIES = (
    NamedLoss("cross_entropy", "the baseline of every comparison", "textbook", {}, lambda: LossSpec(CROSS_ENTROPY)),
    NamedLoss(
        "label_smoothing",
        "cross-entropy against (1 - e) y_true + e / C; the fair control for NGL",
        "Szegedy et al. 2016, arXiv 1512.00567",
        {"e": 0.1},
        _smoothed,
    ),
    NamedLoss(
        "focal",
        "cross-entropy with easy samples turned down",
        "Lin et al. 2017, arXiv 1708.02002",
        {"gamma": 2.0},
        _focal,
    ),
    NamedLoss(
        "brier",
        "squared error of the probabilities; mse is another name",
        "Brier 1950",
        {},
        lambda: LossSpec("(y_true - y_pred)**2"),
    ),
    NamedLoss(
        "mean_absolute_error",
        "absolute error of the probabilities; robust to wrong labels, slow to learn",
        "Ghosh et al. 2017, arXiv 1712.09482",
        {},
        lambda: LossSpec("abs(y_true - y_pred)"),
    ),
    NamedLoss(
        "generalized_ce",
        "(1 - p_t**q) / q: between cross-entropy (q to 0) and absolute error (q = 1)",
        "Zhang and Sabuncu 2018, arXiv 1805.07836",
        {"q": 0.7},
        _generalized,
    ),
    NamedLoss(
        "poly1",
        "cross-entropy plus e (1 - p_t)",
        "Leng et al. 2022, arXiv 2204.12511",
        {"e": 1.0},
        lambda e: LossSpec(f"y_true * ({_n(e)} * (1 - y_pred) - log(y_pred))"),
    ),
    NamedLoss(
        "symmetric_ce",
        "a CE(y, p) + b CE(p, y), with log(0) clipped to -4",
        "Wang et al. 2019, arXiv 1908.06112",
        {"a": 0.1, "b": 1.0},
        lambda a, b: LossSpec(f"-{_n(a)} * y_true * log(y_pred) - {_n(b)} * y_pred * max(log(y_true), -4)"),
    ),
    NamedLoss(
        "smooth_l1",
        "Huber's loss of y_true - y_pred: squared below beta, absolute above",
        "Girshick 2015, arXiv 1504.08083",
        {"beta": 0.5},
        _smooth_l1,
    ),
    NamedLoss(
        "search_softmax",
        "cross-entropy with the true class's share reshaped: -log(p_t / (a p_t + 1 - a))",
        "Wang et al. 2020, Loss Function Search for Face Recognition, ICML (the authors use margins too)",
        {"a": 0.5},
        _search_softmax,
    ),
    NamedLoss(
        "baikal",
        "log p minus y / p, negated, mean over classes; y / p bounded by p held at 1e-6 or more",
        "Gonzalez and Miikkulainen 2020, arXiv 1905.11528 (some code sums over classes)",
        {},
        lambda: LossSpec("-(log(y_pred) - y_true / y_pred)", class_mean=True),
        OVER_ALL,
    ),
    NamedLoss(
        "taylorglo",
        "third-order Taylor polynomial in y_true and y_pred; the defaults are those found for MNIST (taylorglo_mnist)",
        "Gonzalez and Miikkulainen 2021, arXiv 2002.00059",
        dict(
            zip(
                (f"t{index}" for index in range(8)),
                (-10.9408, 7.5216, 8.2896, 0.2415, 7.8726, 8.9666, 2.0184, 7.0513),
                strict=True,
            )
        ),
        _taylor,
    ),
    NamedLoss(
        "ngl",
        "Next Generation Loss, found by genetic programming; mean over samples and classes",
        "Akhmedova and Körber 2024, arXiv 2404.12948 (the authors' torch file)",
        {},
        _ngl("y_pred"),
        OVER_ALL,
    ),
    NamedLoss(
        "ngl_sigmoid",
        "NGL of the sigmoid of the softmax: the TensorFlow variant with scaling, a different loss",
        "Akhmedova and Körber 2024, arXiv 2404.12948 (the authors' TensorFlow file)",
        {},
        _ngl("sigmoid(y_pred)"),
        OVER_ALL,
    ),
    _term(
        "bce",
        "binary cross-entropy of every class: sigmoids in place of softmax, computed from the logits",
        "textbook",
        OVER_CLASSES,
    ),
    _term(
        "dice",
        "one minus the soft Dice coefficient of each class: Tversky with a = b = 1/2",
        "Milletari et al. 2016, arXiv 1606.04797 (there with squares in the denominator)",
    ),
    _term(
        "tversky",
        "1 - (TP + e) / (TP + a FP + b FN + e) of each class, with soft counts",
        "Salehi et al. 2017, arXiv 1706.05721",
    ),
    _term(
        "focal_tversky",
        "Tversky loss to the power 1 / gamma, class by class",
        "Abraham and Khan 2019, arXiv 1810.07842 (the authors' code, where their alpha is b)",
    ),
    NamedLoss(
        "exp_error",
        "a negative control: it passes cheap screens and trains worse than cross-entropy",
        "lossforge",
        {},
        lambda: LossSpec("exp(y_true - y_pred)"),
        control=True,
    ),
)

LIBRARY: dict[str, NamedLoss] = {entry.name: entry for entry in _ENTRIES}
"""Every named loss."""

ALIASES = {"mse": "brier", "taylorglo_mnist": "taylorglo"}
"""Other names of the same losses."""


def loss_spec(name_or_formula: str, *, head: str = "softmax", table: bool = False, **parameters: float) -> LossSpec:
    """Description of a named loss, of a call such as ``focal(gamma=2)``, or of a formula.

    Behind a ``head`` a named loss is what `published_behind` says, and a formula what it is. Raises LossError or
    FormulaError.
    """
    entry = _entry(name_or_formula)
    if entry is not None:
        return published_behind(entry.name, entry.spec(**parameters), head, table=table)
    if name_or_formula.isidentifier() and name_or_formula not in ("y_pred", "y_true"):
        raise LossError(f"there is no loss named '{name_or_formula}'{_others(name_or_formula)}")
    if parameters:
        raise LossError(f"the formula {name_or_formula!r} takes no parameters, but got {', '.join(parameters)}")
    called = called_name(name_or_formula)
    entry = None if called is None or WHERE in name_or_formula else _entry(called)
    if entry is not None:
        return published_behind(entry.name, entry.spec(**call_parameters(name_or_formula)), head, table=table)
    if called is not None and called not in OPERATIONS and "=" in name_or_formula and WHERE not in name_or_formula:
        raise LossError(f"there is no loss named '{called}'{_others(called)}")
    return LossSpec(str(parse_formula(name_or_formula)))


def _others(name: str) -> str:
    """What else to write than ``name``; a formula may have been meant."""
    return offered(name, [*LIBRARY, *ALIASES, "y_pred", "y_true"], "a formula works too")


def _entry(name: str) -> NamedLoss | None:
    return LIBRARY.get(ALIASES.get(name, name))


_MODULE_ARGUMENTS = ("weight", "ignore_index", "reduction", "label_smoothing", "class_share")


def loss(
    name_or_formula: str, *, match: bool | int = False, head: str = "softmax", **arguments: object
) -> ExpressionLoss | TermLoss:
    """Build a loss by name or formula: ``loss("focal", gamma=2)``, ``loss("-y_true * log(y_pred)")``.

    The result is called like ``nn.CrossEntropyLoss`` and takes its arguments ``weight``, ``ignore_index``,
    ``reduction`` and ``label_smoothing``; all others are the loss's own parameters. With ``match=True`` it is scaled so
    that its gradient near a uniform start has cross-entropy's norm, as a search trains it and an export has it: for the
    number of classes of the logits that it is called with, or for 10 with ``match=10``. ``head`` says how logits become
    probabilities: "softmax" (of C logits), "sigmoid" (C labels, each there or not) or "binary" (one logit, of class 1);
    see `lossforge.losses.heads`. Raises LossError or FormulaError.

    >>> import torch
    >>> criterion = loss("cross_entropy")
    >>> round(float(criterion(torch.zeros(4, 10), torch.arange(4))), 4)
    2.3026
    """
    module = {name: value for name, value in arguments.items() if name in _MODULE_ARGUMENTS}
    parameters = {name: value for name, value in arguments.items() if name not in _MODULE_ARGUMENTS}
    spec = loss_spec(name_or_formula, head=check_head(head), **parameters)  # type: ignore[arg-type]
    built = spec.build(head=head, **module)
    if match is True:
        built.matches = True
    elif match:
        try:
            built.match_classes(match)
        except ValueError as error:
            raise LossError(f"match={match}: {error}") from None
    return built
