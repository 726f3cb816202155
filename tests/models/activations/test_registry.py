"""Activations by name: how they are written, refused, and finite wherever an input comes from."""

from __future__ import annotations

import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from lossforge.errors import ModelError
from lossforge.models.activations.base import SpecialFunction, softly_bounded
from lossforge.models.activations.registry import ACTIVATIONS, make_activation, replace_relu

SPECIAL = [name for name in ACTIVATIONS if name != "relu"]
TINY = torch.finfo(torch.float32).tiny
INPUTS = [-1e4, -30.0, -1.0, -TINY, -TINY / 2**20, -0.0, 0.0, TINY / 2**20, TINY, 1.0, 30.0, 1e4, 3e38, -3e38]


def corners(name: str) -> list[str]:
    """The activation with every parameter at either end, and learned from near either end."""
    made = make_activation(name)
    assert isinstance(made, SpecialFunction)
    texts = [name]
    # Of Weierstrass's terms there are at most six where b is 7.
    fewest = {"terms": 6} if name == "weierstrass" else {}
    for side in ("low", "high"):
        values = {one.name: getattr(one, side) for one in made.PARAMETERS} | fewest
        texts.append(f"{name}({', '.join(f'{key}={value!r}' for key, value in values.items())})")
        inside = {"low": 0.001, "high": 0.999}[side]
        parts = [
            f"{one.name}=learned {one.low + inside * (one.high - one.low)!r}"
            for one in made.PARAMETERS
            if one.learnable
        ]
        texts.append(f"{name}({', '.join(parts)})")
    return texts


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("name", SPECIAL)
def test_behind_its_map_everything_is_finite(name: str, dtype: torch.dtype) -> None:
    x = torch.tensor(INPUTS).to(dtype)
    x = torch.where(x.isinf(), torch.finfo(dtype).max * x.sign(), x)
    for text in corners(name):
        module = make_activation(text)
        at = x.clone().requires_grad_()
        found = module(at)
        assert found.dtype == dtype
        assert found.isfinite().all(), text
        found.sum().backward()
        assert at.grad is not None
        assert at.grad.isfinite().all(), text
        for raw in module.parameters():
            assert raw.grad is not None
            assert raw.grad.isfinite(), text


@settings(deadline=None, max_examples=60)
@given(name=st.sampled_from(SPECIAL), x=st.floats(width=32, allow_nan=False))
def test_no_float_leads_out_of_a_domain(name: str, x: float) -> None:
    at = torch.tensor([x], requires_grad=True)
    found = make_activation(name)(at)
    (slope,) = torch.autograd.grad(found.sum(), at)
    assert found.isfinite().all()
    assert slope.isfinite().all()


@pytest.mark.parametrize("name", SPECIAL)
def test_what_is_not_a_number_stays_so(name: str) -> None:
    assert make_activation(name)(torch.tensor([float("nan")])).isnan().all()


@pytest.mark.parametrize("name", SPECIAL)
def test_half_precision_is_single_precision_rounded(name: str) -> None:
    x = torch.linspace(-3, 3, 50).bfloat16()
    module = make_activation(name)
    assert torch.equal(module(x), module(x.float()).bfloat16())


@settings(deadline=None)
@given(x=st.floats(-1e6, 1e6), low=st.floats(0.1, 10), high=st.floats(0.1, 10))
def test_the_map_is_bounded_rises_and_is_the_input_near_zero(x: float, low: float, high: float) -> None:
    near = torch.tensor([x, x + 0.01, 1e-6, -1e-6], dtype=torch.float64, requires_grad=True)
    found = softly_bounded(near, -low, high)
    assert bool(((found >= -low * (1 + 1e-15)) & (found <= high * (1 + 1e-15))).all())
    assert bool(found[1] >= found[0] - 1e-14)
    torch.testing.assert_close(found[2:], near[2:])
    (slope,) = torch.autograd.grad(found.sum(), near)
    assert bool(((slope >= 0) & (slope <= 1)).all())


@pytest.mark.parametrize("name", SPECIAL)
@pytest.mark.parametrize("learned", [False, True])
def test_replicas_under_vmap_are_each_alone(name: str, learned: bool) -> None:
    text = corners(name)[2] if learned else name
    modules = [make_activation(text) for _ in range(3)]
    if learned:
        with torch.no_grad():
            for number, module in enumerate(modules):
                for raw in module.parameters():
                    raw += number / 3
    params, buffers = torch.func.stack_module_state(modules)
    x = torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(0)).requires_grad_()
    bare = make_activation(text).to("meta")

    def one(params: dict[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(bare, params, (x,))  # type: ignore[no-any-return]

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        stacked = torch.func.vmap(one)(params, x)
    found = torch.autograd.grad(stacked.square().sum(), [x, *params.values()])
    for k, module in enumerate(modules):
        alone = x[k].detach().clone().requires_grad_()
        value = module(alone)
        torch.testing.assert_close(stacked[k], value, rtol=1e-5, atol=1e-6)
        slopes = torch.autograd.grad(value.square().sum(), [alone, *module.parameters()])
        for together, by_itself in zip(found, slopes, strict=True):
            torch.testing.assert_close(together[k], by_itself, rtol=1e-4, atol=1e-5)
    assert buffers == {}


@pytest.mark.parametrize("name", SPECIAL)
def test_learned_parameters_stay_in_their_range_and_fixed_ones_are_no_weights(name: str) -> None:
    assert list(make_activation(name).parameters()) == []
    module = make_activation(corners(name)[2])
    assert isinstance(module, SpecialFunction)
    with torch.no_grad():
        for raw in module.parameters():
            raw.fill_(1e4)
    for one in module.PARAMETERS:
        assert one.low <= float(torch.as_tensor(module.number(one.name)).detach()) <= one.high
    assert module(torch.linspace(-5, 5, 11)).isfinite().all()


@pytest.mark.parametrize("name", SPECIAL)
def test_every_activation_says_where_it_is_defined_and_how_inputs_come_there(name: str) -> None:
    module = make_activation(name)
    assert isinstance(module, SpecialFunction)
    assert name == module.NAME
    assert module.DOMAIN
    assert "x" in module.MAP
    assert all(one.low <= one.default <= one.high and one.meaning for one in module.PARAMETERS)
    assert type(module).__doc__


def test_the_text_is_what_the_module_tells() -> None:
    module = make_activation(" lerch ( s = learned , a=learned .5 ) ")
    assert repr(module) == "Lerch(s=learned 1, a=learned 0.5)"
    assert repr(make_activation("lerch(s=2e0)")) == "Lerch(s=2, a=1)"
    assert sorted(name for name, _ in module.named_parameters()) == ["raw_a", "raw_s"]
    assert isinstance(make_activation("relu"), nn.ReLU)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("jacoby_sn", r"'jacoby_sn' is not an activation; did you mean 'jacobi_sn'\?"),
        ("swish", r"'swish' is not an activation \(known: relu, jacobi_sn"),
        ("lerch(z=0.5)", r"lerch: it has no parameter 'z' \(known: s, a\)"),
        ("lerch(s=9)", "lerch: s must be from 0.5 to 4, not 9"),
        ("lerch(s=learned 4)", "lerch: a learned s must begin between 0.5 and 4"),
        ("lerch(s=1, s=2)", "lerch is given s twice"),
        ("lerch(s=)", "'s=' is not written as parameter=0.5 or parameter=learned"),
        ("lerch(s", r"'lerch\(s' is not written as name, or name\("),
        ("weierstrass(terms=learned)", "weierstrass: terms is a whole number and cannot be learned"),
        ("weierstrass(b=7, terms=7)", "weierstrass: with b = 7 take 6 terms or fewer: higher frequencies are noise"),
        ("weierstrass(b=learned, terms=7)", "weierstrass: with b up to 7, as it is learned, take 6 terms or fewer"),
        ("weierstrass(terms=2.5)", "weierstrass: terms is a whole number, not 2.5"),
        ("mittag_leffler(alpha=nan)", "'alpha=nan' is not written as"),
        ("relu(m=0.5)", "relu has no parameter 'm'"),
        ("", "'' is not written as name"),
    ],
)
def test_what_is_refused_is_told_in_one_line(text: str, told: str) -> None:
    with pytest.raises(ModelError, match=rf"^task\.activation: {told}") as caught:
        make_activation(text)
    assert "\n" not in str(caught.value)


def test_each_place_of_a_network_gets_its_own_and_shared_places_stay_shared() -> None:
    shared = nn.ReLU(inplace=True)
    network = nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Sequential(shared, nn.Linear(3, 3), shared), nn.ReLU6())
    assert replace_relu(network, lambda: make_activation("lerch(s=learned)")) == 2
    inner = network[2]
    assert isinstance(inner, nn.Sequential)
    assert inner[0] is inner[2]
    assert inner[0] is not network[1]
    assert isinstance(network[3], nn.ReLU6)
    assert sum(name.endswith("raw_s") for name, _ in network.named_parameters()) == 2
