"""The library: every named loss is the one its source describes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from tests.helpers.library import ready
from tests.helpers.published_losses import MEANINGS, SHARES, Meaning
from torch import Tensor
from torch.nn import functional

import lossforge
from lossforge.errors import FormulaError, LossError
from lossforge.expression.formula import parse_formula
from lossforge.expression.signature import signature
from lossforge.expression.vocabulary import EVERY_LEAF, OPERATIONS
from lossforge.losses.compiled import LossSpec
from lossforge.losses.library import (
    ALIASES,
    CROSS_ENTROPY,
    GROUPS,
    LIBRARY,
    OVER_ALL,
    OVER_BATCH,
    OVER_CLASSES,
    head_of,
    loss,
    loss_spec,
)
from lossforge.screening.funnel import ScreenSettings, screen

CLASSES = 10


def value_and_gradient(criterion: Callable[[Tensor], Tensor], logits: Tensor) -> tuple[Tensor, Tensor]:
    z = logits.clone().requires_grad_()
    value = criterion(z)
    (gradient,) = torch.autograd.grad(value.sum(), z)
    return value.detach(), gradient


def batch() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(9)
    logits = torch.randn(32, CLASSES, generator=generator, dtype=torch.float64) * 3
    return logits, torch.randint(CLASSES, (32,), generator=generator)


def extreme_batch() -> tuple[Tensor, Tensor]:
    """Logits of ±50, right, wrong and in between, and of ±1000, where probabilities are 0 and 1."""
    generator = torch.Generator().manual_seed(4)
    target = torch.arange(24) % CLASSES
    one_hot = functional.one_hot(target, CLASSES).double()
    signs = torch.randint(2, (24, CLASSES), generator=generator) * 2.0 - 1
    rows = [50 * (2 * one_hot - 1), 50 * signs, 25 * signs.double() + 20 * one_hot, 1000 * (2 * one_hot - 1)]
    wrong = [row.roll(1, 0) for row in (rows[0], rows[3])]
    return torch.cat([*rows, *wrong]).double(), target.repeat(6)


@pytest.mark.parametrize("make", [batch, extreme_batch])
@pytest.mark.parametrize(
    ("name", "parameters", "meaning"), MEANINGS, ids=[f"{name}-{given}" for name, given, _ in MEANINGS]
)
def test_a_named_loss_is_what_its_source_says(
    name: str, parameters: dict[str, float], meaning: Meaning, make: Callable[[], tuple[Tensor, Tensor]]
) -> None:
    logits, target = make()
    one_hot = functional.one_hot(target, CLASSES).double()
    shares = {"class_share": SHARES} if LIBRARY[name].needs else {}
    reduction = "mean" if LIBRARY[name].reduction == OVER_BATCH else "none"
    criterion = loss(name, reduction=reduction, **shares, **parameters)
    found = value_and_gradient(lambda z: criterion(z, target), logits)
    expected = value_and_gradient(lambda z: meaning(z, one_hot), logits)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


def test_a_root_of_what_is_wrong_differs_from_its_source_where_its_slope_would_be_infinite_alone() -> None:
    logits, target = batch()
    criterion = loss("focal", gamma=0.5, reduction="none")
    p = torch.softmax(logits, 1)[torch.arange(32), target]
    far = 1 - p > 1e-6
    torch.testing.assert_close(criterion(logits, target)[far], (-((1 - p) ** 0.5) * p.log())[far])
    assert criterion(logits.double() * 100, target).isfinite().all()


def test_every_entry_has_its_meaning_checked_here() -> None:
    assert {name for name, _, _ in MEANINGS} == set(LIBRARY)


@pytest.mark.parametrize("name", [name for name, entry in LIBRARY.items() if not entry.spec().is_term])
def test_every_formula_passes_the_funnel_as_it_stands(name: str) -> None:
    tree = parse_formula(loss(name).formula)
    # The usual step is too long for ngl_sigmoid: it circles around its minimiser, where p_t is 0.36.
    step = 0.1 if name == "ngl_sigmoid" else 0.5
    settings = ScreenSettings(classes=(CLASSES,), step=step, head=LIBRARY[name].head)
    verdict = screen(tree, settings)
    assert (verdict.passed, verdict.reason) == (True, "")
    assert verdict.expression == tree


@pytest.mark.parametrize("name", LIBRARY)
def test_every_entry_says_what_it_is_and_where_it_is_from(name: str) -> None:
    entry = LIBRARY[name]
    assert entry.name == name
    assert entry.summary
    assert entry.source
    assert entry.spec(**entry.parameters) == entry.spec()
    assert entry.control == (name == "exp_error")


@pytest.mark.parametrize("name", LIBRARY)
def test_every_entry_says_how_it_is_reduced(name: str) -> None:
    logits, target = batch()
    each = ready(name, CLASSES, reduction="none")(logits, target)
    reduction = LIBRARY[name].reduction
    assert each.shape == ((CLASSES,) if reduction == OVER_BATCH else target.shape)
    if reduction != OVER_BATCH:
        assert reduction == (OVER_ALL if loss_spec(name).class_mean else OVER_CLASSES)


@pytest.mark.parametrize(("alias", "name"), ALIASES.items())
def test_an_alias_is_the_same_loss(alias: str, name: str) -> None:
    assert alias not in LIBRARY
    assert loss_spec(alias) == loss_spec(name)


@pytest.mark.parametrize("name", [name for name, entry in LIBRARY.items() if entry.parameters])
def test_every_parameter_changes_the_loss(name: str) -> None:
    entry = LIBRARY[name]
    for parameter, default in entry.parameters.items():
        other = {"t2": 1.5, "stopped": 1.0}.get(parameter, default * 0.5 or 0.5)
        assert entry.spec(**{parameter: other}) != entry.spec(), parameter


@pytest.mark.parametrize(
    ("name", "parameters", "expected"),
    [
        ("focal", {"alpha": 1.0}, r"loss 'focal' has no parameter 'alpha' \(it has: gamma\)"),
        ("cross_entropy", {"e": 0.1}, r"loss 'cross_entropy' has no parameter 'e' \(it has: none\)"),
        ("focal", {"gamma": -1.0}, "gamma must be 0 or more, not -1.0"),
        ("generalized_ce", {"q": 0.0}, r"q must be in \(0, 1\], not 0.0"),
        ("generalized_ce", {"q": 1.5}, r"q must be in \(0, 1\], not 1.5"),
        ("generalized_ce", {"q": math.nan}, "q must be a finite number, not nan"),
        ("label_smoothing", {"e": 1.0}, r"e must be in \[0, 1\), not 1.0"),
        ("label_smoothing", {"e": -0.1}, r"e must be in \[0, 1\), not -0.1"),
        ("crossentropy", {}, r"no loss named 'crossentropy'; did you mean 'cross_entropy'\?"),
        ("-y_true * log(y_pred)", {"gamma": 2.0}, "takes no parameters, but got gamma"),
        ("dice", {"e": 0.0}, r"loss 'dice': e must be in \[1e-12, 1e\+06\], not 0.0"),
        ("tversky", {"alpha": 0.5}, r"loss 'tversky' has no parameter 'alpha' \(it has: a, b, e\)"),
        ("tversky(a=0.5)", {"b": 0.5}, "takes no parameters, but got b"),
    ],
)
def test_a_wrong_name_or_parameter_is_refused_by_name(name: str, parameters: dict[str, float], expected: str) -> None:
    with pytest.raises(LossError, match=expected):
        loss(name, **parameters)


@pytest.mark.parametrize("gamma", [math.nan, math.inf])
def test_a_parameter_that_is_no_number_is_refused_by_name(gamma: float) -> None:
    with pytest.raises(LossError, match="gamma"):
        loss("focal", gamma=gamma)


def test_a_formula_that_cannot_be_read_is_refused_as_such() -> None:
    with pytest.raises(FormulaError, match="unknown name 'foo'"):
        loss("foo(y_pred)")


@pytest.mark.parametrize("name", ["y_pred", "y_true"])
def test_a_leaf_is_a_formula_and_no_name(name: str) -> None:
    assert loss_spec(name) == LossSpec(name)


def test_a_formula_is_described_in_plain_style() -> None:
    assert loss_spec("-(y_true)*log( y_pred )") == LossSpec(CROSS_ENTROPY)


def test_the_modules_arguments_and_the_losss_own_go_their_ways() -> None:
    weight = torch.arange(1.0, CLASSES + 1)
    criterion = loss("focal", gamma=1, weight=weight, reduction="sum", ignore_index=3, label_smoothing=0.1)
    assert criterion.formula == loss("focal", gamma=1).formula
    assert criterion.weight is weight
    assert (criterion.reduction, criterion.ignore_index, criterion.label_smoothing) == ("sum", 3, 0.1)


def test_smoothing_given_to_the_module_replaces_that_of_the_loss() -> None:
    assert loss("label_smoothing").label_smoothing == 0.1
    assert loss("label_smoothing", label_smoothing=0.0).label_smoothing == 0.0


def test_the_package_offers_it() -> None:
    logits, target = batch()
    assert torch.equal(lossforge.loss("brier")(logits, target), loss("brier")(logits, target))


SETTINGS = [name for name, entry in LIBRARY.items() if entry.settings]


@pytest.mark.parametrize("name", SETTINGS)
def test_a_setting_for_a_hundred_classes_is_those_parameters(name: str) -> None:
    entry = LIBRARY[name]
    spec = entry.spec(**{**entry.parameters, **entry.settings[100]})
    assert loss_spec(name, classes=100) == loss_spec(f"{name}(classes=100)") == spec != entry.spec()
    assert loss_spec(name, classes=10) == entry.spec()
    assert {*entry.settings[100]} <= {*entry.parameters}
    with pytest.raises(
        LossError, match=rf"loss '{name}' has settings for 10 and 100 classes, not for 37: give its par"
    ):
        loss_spec(name, classes=37)


def test_a_parameter_that_is_given_stands_beside_the_setting() -> None:
    assert loss_spec("nce_rce", classes=100, b=0.2) == loss_spec("nce_rce", a=10, b=0.2)


@pytest.mark.parametrize(
    "name", sorted(name for name, entry in LIBRARY.items() if not (entry.settings or entry.of_ten))
)
def test_a_loss_with_one_setting_has_it_for_any_number_of_classes(name: str) -> None:
    assert loss_spec(name, classes=100) == loss_spec(name, classes=37) == loss_spec(name)


def test_every_loss_has_one_group_and_every_name_one_loss() -> None:
    assert [*GROUPS] == ["clean", "label noise", "imbalance", "segmentation", "evolved"]
    assert sum(map(len, GROUPS.values())) == len(LIBRARY) == 45
    assert len(ALIASES) == sum(len(entry.aliases) for entry in LIBRARY.values())
    assert {*ALIASES} & {*LIBRARY, *OPERATIONS, *EVERY_LEAF} == {*LIBRARY} & {*OPERATIONS, *EVERY_LEAF} == set()


@pytest.mark.parametrize(
    ("name", "given", "told"),
    [
        ("taylor_ce", {"n": 1.5}, r"n must be a whole number in \[1, 20\], not 1.5"),
        ("agce", {"a": 0}, "a must be above 0, not 0"),
        ("aul", {"a": 0.5}, "a must be 1 or more, not 0.5"),
        ("search_softmax", {"a": 1}, "a must be below 1, not 1"),
        ("negative_label_smoothing", {"r": 0.1}, "r must be 0 or less, not 0.1"),
        ("jensen_shannon", {"pi1": 1}, r"pi1 must be in \(0, 1\), not 1"),
        ("bi_tempered", {"t1": 1}, r"t1 must be in \[0, 0.999\], not 1"),
        ("bi_tempered", {"t2": 0.5}, r"t2 must be in \[1, 5\], not 0.5"),
        ("logit_norm", {"tau": 0}, "tau must be in"),
        ("asymmetric", {"stopped": 0.5}, "stopped must be a whole number"),
    ],
)
def test_a_parameter_out_of_its_range_is_told_with_the_range(name: str, given: dict[str, float], told: str) -> None:
    with pytest.raises(LossError, match=f"loss '{name}': {told}"):
        loss(name, **given)


@pytest.mark.parametrize("other", ["rce", "taylor_ce(n=1)", "generalized_ce(q=1)", "ce_epsilon_mae(alpha=0)"])
def test_a_multiple_of_absolute_error_has_its_signature(other: str) -> None:
    found = signature(parse_formula(loss_spec(other).formula))
    assert found == signature(parse_formula(loss_spec("mean_absolute_error").formula)) is not None


@pytest.mark.parametrize("name", ["ldam", "balanced_softmax", "class_balanced_focal"])
def test_class_counts_say_shares_and_the_number_of_samples(name: str) -> None:
    logits, target = batch()
    counts = [4000, 10, 300, 250, 90, 10, 700, 41, 5, 1000]
    shares = torch.tensor(counts, dtype=torch.float64) / sum(counts)
    samples = {"samples": sum(counts)} if name == "class_balanced_focal" else {}
    expected = loss(name, class_share=shares, **samples)(logits, target)
    for given in (counts, torch.tensor(counts)):
        torch.testing.assert_close(loss(name, class_counts=given)(logits, target), expected, rtol=0, atol=0)
    assert loss(name, class_counts=counts)(logits, target) != loss(name, class_counts=counts[::-1])(logits, target)
    with pytest.raises(ValueError, match="give class_share"):
        loss(name)(logits, target)


def test_the_number_of_samples_may_be_given_beside_the_counts() -> None:
    given = loss("class_balanced_focal", class_counts=[1, 2], samples=7).formula
    assert given == loss("class_balanced_focal", samples=7).formula != loss("cb_focal", class_counts=[1, 2]).formula
    assert loss("cb_focal(samples=7)", class_counts=[1, 2]).formula == given
    three = loss("class_balanced_focal", beta=0.9, samples=3).formula
    assert loss("class_balanced_focal(beta=0.9)", class_counts=[1, 2]).formula == three


@pytest.mark.parametrize("counts", [[], [0, 0], [-1, 2], [[1, 2]], [math.nan, 1], [math.inf, 1]])
def test_counts_that_are_none_are_refused(counts: list[float]) -> None:
    with pytest.raises(LossError, match="class_counts must have the number of training samples of each class"):
        loss("ldam", class_counts=counts)


def test_shares_and_counts_say_the_same_and_are_not_given_both() -> None:
    with pytest.raises(LossError, match="class_counts and class_share say the same: give one of them"):
        loss("ldam", class_counts=[1, 2], class_share=torch.tensor([0.3, 0.7]))


@pytest.mark.parametrize("name", ["ldam", "balanced_softmax", "class_balanced_focal"])
def test_a_class_without_training_samples_leaves_the_loss_finite(name: str) -> None:
    logits, target = batch()
    criterion = loss(name, class_counts=[0, *range(1, CLASSES)])
    value, gradient = value_and_gradient(lambda z: criterion(z, target), logits)
    assert value.isfinite()
    assert gradient.isfinite().all()
    assert gradient[target != 0].any()


@pytest.mark.parametrize("name", LIBRARY)
def test_float32_is_near_float64(name: str) -> None:
    logits, target = batch()
    both = [
        value_and_gradient(lambda z: ready(name, CLASSES)(z, target), logits.to(dtype))
        for dtype in (torch.float32, torch.float64)
    ]
    size = float(both[1][1].abs().max())
    torch.testing.assert_close(both[0][0].double(), both[1][0], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(both[0][1].double(), both[1][1], rtol=1e-4, atol=1e-5 * size)


@pytest.mark.parametrize("name", [name for name, entry in LIBRARY.items() if entry.reduction != OVER_BATCH])
def test_its_gradient_can_be_differentiated_again(name: str) -> None:
    logits, target = batch()
    criterion = ready(name, CLASSES)
    assert torch.autograd.gradgradcheck(lambda z: criterion(z, target[:3]), logits[:3].clone().requires_grad_())


@pytest.mark.parametrize("given", [None, 3, ["ngl"], b"ngl"])
def test_what_is_no_text_is_no_loss(given: Any) -> None:
    with pytest.raises(LossError, match=r"^a loss is a name or a formula, as text, not"):
        lossforge.loss(given)


def test_a_setting_that_could_not_be_read_and_an_operation_s_name_are_told() -> None:
    with pytest.raises(LossError, match="'jal_ce' has a setting for 10 classes, not for 100: give its parameters"):
        loss_spec("jal_ce", classes=100)
    with pytest.raises(LossError, match="classes must be a whole number, not '100'"):
        loss("nce_rce", classes="100")
    with pytest.raises(LossError, match=r"it is an operation, written stop\(x\) in a formula"):
        loss("stop")


@pytest.mark.parametrize(
    ("name", "head", "told"),
    [
        ("asymmetric", "softmax", "it is for labels that are each there or not, so its head is 'sigmoid'"),
        ("class_balanced_focal", "binary", "it is for labels that are each there or not, so its head is 'sigmoid'"),
        ("nce", "sigmoid", "it compares the classes of a sample"),
        ("balanced_softmax", "sigmoid", "it compares the classes of a sample"),
        ("bi_tempered", "sigmoid", "it compares the classes of a sample"),
        ("logit_norm", "sigmoid", "it divides the logits of a sample by their norm"),
        ("logit_norm", "binary", "it divides the logits of a sample by their norm"),
    ],
)
def test_a_head_that_a_loss_cannot_have_is_told_in_one_sentence(name: str, head: str, told: str) -> None:
    for make in (loss, loss_spec):
        with pytest.raises(LossError, match=f"loss '{name}' cannot have the head '{head}': {told}") as caught:
            make(name, head=head)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", [name for name, entry in LIBRARY.items() if entry.head == "sigmoid"])
def test_a_loss_of_labels_has_their_head_unless_one_is_given(name: str) -> None:
    logits, _ = batch()
    labels = (logits.roll(1, 0) > 1).long()
    found, given = (ready(name, CLASSES, **head)(logits, labels) for head in ({}, {"head": "sigmoid"}))
    assert torch.equal(found, given)
    assert head_of(f"{name}(gamma_neg=2)") == head_of(name) == "sigmoid"
    assert head_of("nce") == head_of("y_pred") == head_of("max(y_pred, 0.1)") == "softmax"


def test_several_labels_a_sample_are_what_the_source_says() -> None:
    logits, _ = batch()
    labels = (logits.roll(1, 0) > 1).double()
    for name, parameters, meaning in MEANINGS:
        if name == "asymmetric":
            found = loss(name, reduction="none", **parameters)(logits, labels)
            torch.testing.assert_close(found, meaning(logits, labels))
