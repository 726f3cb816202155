"""Sums whose weights change, as drop-ins: the published rules, state that is saved and gone on with, keys, refusals."""

from __future__ import annotations

import copy
import importlib.util
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

import lossforge
from lossforge.errors import LossError
from lossforge.evaluation.space_trainings import loss_key
from lossforge.export.torch_module import Export, module_source
from lossforge.inspection.losses import explain
from lossforge.losses.candidates import candidate_spec, parse_candidate
from lossforge.losses.compiled import LossSpec
from lossforge.losses.library import loss_spec, named_sum
from lossforge.losses.term_losses.changing_weights import WeightedFusionLoss

SUM = "focal + 0.5 * dice(e=1) + brier"
TEXTS = (f"uncertainty({SUM})", f"dwa({SUM}, temperature=1.5)", f"gradnorm({SUM}, alpha=0.5)")


def batch(seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(12, 5, generator=generator), torch.arange(12) % 5


def parts(x: Tensor, y: Tensor) -> list[Tensor]:
    return [weight * lossforge.loss(name)(x, y) for name, weight in (("focal", 1), ("dice", 0.5), ("brier", 1))]


def trained(criterion: Any, layer: nn.Linear, steps: range, optimizer: torch.optim.Optimizer) -> None:
    for step in steps:
        x, y = batch(step)
        optimizer.zero_grad()
        loss = criterion(layer(x), y)
        criterion.balance(layer.weight)
        loss.backward()
        optimizer.step()
        if step % 3 == 2:
            criterion.end_epoch()


def parameters_of(criterion: Any, layer: nn.Linear) -> torch.optim.Optimizer:
    return torch.optim.Adam([*layer.parameters(), *criterion.parameters()], lr=0.05)


def exported(tmp_path: Path, text: str) -> Any:
    path = tmp_path / "losses.py"
    path.write_text(module_source([Export("Own", loss_spec(text).formula)], "here"))
    assert "lossforge.losses" not in path.read_text()
    spec = importlib.util.spec_from_file_location("exported_losses", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Own()


@pytest.mark.parametrize("text", TEXTS)
def test_it_begins_as_the_plain_sum(text: str) -> None:
    x, y = batch(0)
    assert torch.allclose(lossforge.loss(text)(x, y), lossforge.loss(SUM)(x, y))
    assert torch.allclose(lossforge.loss(text, match=5)(x, y), lossforge.loss(SUM, match=5)(x, y), rtol=1e-4)


def test_uncertainty_is_kendalls() -> None:
    criterion = lossforge.loss(SUM, dynamic="uncertainty")
    assert isinstance(criterion, WeightedFusionLoss)
    with torch.no_grad():
        criterion.log_variances.copy_(torch.tensor([0.3, -1.0, 2.0]))
    x, y = batch(1)
    wanted = sum(value / math.exp(s) + s / 2 for value, s in zip(parts(x, y), (0.3, -1.0, 2.0), strict=True))
    loss = criterion(x, y)
    assert torch.allclose(loss, torch.as_tensor(wanted))
    loss.backward()
    slopes = [0.5 - value / math.exp(s) for value, s in zip(parts(x, y), (0.3, -1.0, 2.0), strict=True)]
    assert criterion.log_variances.grad is not None
    assert torch.allclose(criterion.log_variances.grad, torch.stack(slopes))


def test_dwa_is_lius() -> None:
    criterion = lossforge.loss(SUM, dynamic="dwa", temperature=1.5)
    means = []
    for epoch in range(4):
        values = []
        for number in range(2):
            x, y = batch(10 * epoch + number)
            x = x + epoch * nn.functional.one_hot(y, 5)
            values.append(torch.stack(parts(x, y)))
            criterion(x.requires_grad_(), y)
            with torch.no_grad():
                criterion(x, y)  # looking does not count
        means.append(torch.stack(values).mean(0).detach())
        criterion.end_epoch()
        wanted = torch.ones(3)
        if epoch:
            exponents = (means[-1] / means[-2] / 1.5).exp()
            wanted = 3 * exponents / exponents.sum()
        assert torch.allclose(criterion.factors, wanted, atol=1e-5)


def test_gradnorm_is_chens() -> None:
    layer, criterion = nn.Linear(5, 5), lossforge.loss(SUM, dynamic="gradnorm", alpha=0.5)
    first: Tensor | None = None
    for step in range(3):
        x, y = batch(step)
        weights = criterion.factors.detach().clone().requires_grad_()
        values = parts(layer(x), y)
        first = torch.stack(values).detach() if first is None else first
        lengths = torch.stack(
            [
                torch.autograd.grad(weight * value, layer.weight, create_graph=True)[0].norm()
                for weight, value in zip(weights, values, strict=True)
            ]
        )
        ratio = torch.stack(values).detach() / first
        wanted = lengths.mean().detach() * (ratio / ratio.mean()) ** 0.5
        (slope,) = torch.autograd.grad((lengths - wanted).abs().sum(), weights)
        criterion(layer(x), y)
        criterion.balance(layer.weight)
        assert torch.allclose(criterion.factors.grad, slope, atol=1e-5)
        with torch.no_grad():
            criterion.factors.sub_(0.1 * slope)
            layer.weight.mul_(1.3)
        assert float(criterion(layer(x), y).detach()) > 0
        assert float(criterion.factors.detach().sum()) == pytest.approx(3)


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("export", [False, True])
def test_state_is_saved_loaded_and_gone_on_with(text: str, export: bool, tmp_path: Path) -> None:
    def new() -> Any:
        return exported(tmp_path, text) if export else lossforge.loss(text)

    torch.manual_seed(0)
    criterion, layer = new(), nn.Linear(5, 5)
    optimizer = parameters_of(criterion, layer)
    trained(criterion, layer, range(7), optimizer)
    saved = copy.deepcopy((criterion.state_dict(), layer.state_dict(), optimizer.state_dict()))
    trained(criterion, layer, range(7, 14), optimizer)
    again, its = new(), nn.Linear(5, 5)
    resumed = parameters_of(again, its)
    for one, state in zip((again, its, resumed), saved, strict=True):
        one.load_state_dict(state)
    trained(again, its, range(7, 14), resumed)
    assert all(torch.equal(one, other) for one, other in zip(its.parameters(), layer.parameters(), strict=True))
    for name, value in criterion.state_dict().items():
        assert torch.equal(value.nan_to_num(), again.state_dict()[name].nan_to_num())
    begun = new().state_dict()
    assert any(not torch.equal(value.nan_to_num(), begun[name].nan_to_num()) for name, value in saved[0].items())


@pytest.mark.parametrize("text", TEXTS)
def test_the_exported_class_is_the_loss(text: str, tmp_path: Path) -> None:
    own, ours = exported(tmp_path, text), lossforge.loss(text)
    for criterion in (own, ours):
        torch.manual_seed(0)
        layer = nn.Linear(5, 5)
        trained(criterion, layer, range(7), parameters_of(criterion, layer))
    x, y = batch(99)
    torch.testing.assert_close(own(x, y), ours(x, y))
    assert type(own).__doc__ is not None
    method = text.partition("(")[0]
    told = {"uncertainty": "criterion.parameters()", "dwa": "end_epoch()", "gradnorm": "balance(weight)"}[method]
    assert told in type(own).__doc__


@pytest.mark.parametrize("text", TEXTS)
def test_its_text_reads_back(text: str) -> None:
    candidate = parse_candidate(text)
    assert str(parse_candidate(str(candidate))) == str(candidate)
    spec = candidate_spec(str(candidate), "softmax")
    assert [part.name for part in spec.parts] == ["focal", "0.5 * dice(e=1.0)", "brier"]
    assert loss_spec(spec.formula) == spec
    assert spec.is_term
    assert spec.terms == ()
    assert spec.elementwise is None
    assert copy.deepcopy(lossforge.loss(text)).formula == spec.formula


def test_the_key_is_the_rule_around_the_losses() -> None:
    def key(text: str) -> str:
        return loss_key(loss_spec(text), keep_scale=False)

    assert key("dwa(focal + dice)") == key("dwa(dice + focal, temperature=2)")
    assert key("uncertainty(smooth_l1(beta=1) + dice)") == key("uncertainty(0.5 * brier + dice)")
    keys = ["dwa(focal + dice)", "dwa(focal + dice, temperature=3)", "uncertainty(focal + dice)", "focal + dice"]
    keys += ["dwa(focal + 2 * dice)", "gradnorm(focal + dice)"]
    assert len({key(text) for text in keys}) == len(keys)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("uncertainty(focal)", "add two or more"),
        ("uncertainty(focal - dice)", "subtracted"),
        ("uncertainty(focal + dice, alpha=1)", "it has none"),
        ("dwa(focal + dice, alpha=1)", "its parameter is temperature"),
        ("dwa(focal + dice, temperature=0)", "temperature must be in"),
        ("gradnorm(focal + dice, alpha=x)", "must be a number"),
        ("dwa(uncertainty(focal + dice) + brier)", "stands in another place|takes one sum|unknown|no loss"),
        ("2 * dwa(focal + dice)", "."),
    ],
)
def test_what_cannot_be_weighed_is_refused(text: str, told: str) -> None:
    with pytest.raises(lossforge.errors.LossforgeError, match=told):
        loss_spec(text)


def test_arguments_are_checked() -> None:
    with pytest.raises(LossError, match="dynamic must be"):
        lossforge.loss("focal + dice", dynamic="magic")
    with pytest.raises(ValueError, match="reduction"):
        lossforge.loss("focal + dice", dynamic="dwa", reduction="none")
    criterion = lossforge.loss("focal + dice", dynamic="gradnorm")
    with pytest.raises(ValueError, match="call the criterion first"):
        criterion.balance(torch.zeros(1))
    with pytest.raises(LossError, match=r"task\.python"):
        LossSpec(criterion.formula).require_fixed("task.python")


@given(st.lists(st.floats(0.01, 5), min_size=2, max_size=5), st.floats(0.1, 10))
def test_dwas_factors_add_up_to_their_number(values: list[float], temperature: float) -> None:
    names = ["focal", "dice", "brier", "cross_entropy", "generalized_ce"][: len(values)]
    criterion = lossforge.loss(" + ".join(names), dynamic="dwa", temperature=temperature)
    for scale in (1.0, 0.5):
        criterion.totals += scale * torch.tensor(values)
        criterion.batches += 1
        criterion.end_epoch()
    assert float(criterion.factors.sum()) == pytest.approx(len(values), rel=1e-5)
    assert torch.allclose(criterion.factors, torch.ones(len(values)), atol=1e-5)  # all fell alike


@pytest.mark.parametrize("text", ["focal + dice", "cross_entropy + brier", "dwa(focal + dice)"])
def test_rare_classes_weigh_more_in_a_sum(text: str) -> None:
    counts = [20, 8, 2, 0]
    x, y = batch(0)
    x, y = x[:, :4], y.clamp(max=2)
    balanced = torch.tensor([30 / (3 * 20), 30 / (3 * 8), 30 / (3 * 2), 0])
    wanted = lossforge.loss(text, weight=balanced)(x, y)
    torch.testing.assert_close(lossforge.loss(text, weight="balanced", class_counts=counts)(x, y), wanted)
    assert not torch.equal(wanted, lossforge.loss(text)(x, y))
    effective = lossforge.loss(text, weight="effective", class_counts=counts).weight
    assert effective is not None
    assert float((effective * torch.tensor(counts)).sum() / 30) == pytest.approx(1)
    ratio = (1 - 0.999**20) / (1 - 0.999**2)
    assert float(effective[2] / effective[0]) == pytest.approx(ratio, rel=1e-4)
    with pytest.raises(LossError, match="class_counts"):
        lossforge.loss(text, weight="balanced")
    with pytest.raises(LossError, match="'effective', not"):
        lossforge.loss(text, weight="rare", class_counts=counts)


def test_parts_of_a_rule_are_told() -> None:
    assert named_sum("dwa(focal + dice)") is not None
    found = explain("dwa(focal + dice)")
    assert [part["loss"] for part in found["parts"]] == ["focal", "dice"]
