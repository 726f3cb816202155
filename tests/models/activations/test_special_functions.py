"""The activations against mpmath on their domains: values at 1,000 points, derivatives, and derivatives of those."""

from __future__ import annotations

from dataclasses import dataclass, field

import mpmath
import pytest
import torch
from tests.helpers import special_functions as oracles
from tests.helpers.special_functions import Oracle, values
from torch import Tensor

from lossforge.models.activations.base import SpecialFunction
from lossforge.models.activations.registry import make_activation


@dataclass(frozen=True)
class Case:
    """An activation, its oracle by its parameters, the interval of its domain, and decimal digits to compute with."""

    name: str
    parameters: dict[str, float]
    oracle: object
    low: float
    high: float
    digits: int = 30
    tolerance: float = 3e-14
    learnable: tuple[str, ...] = field(default=())
    single: float = 2e-6
    """Tolerance in single precision."""

    def __str__(self) -> str:
        return f"{self.name}-" + "-".join(f"{value:g}" for value in self.parameters.values())

    def exact(self, **changed: float) -> Oracle:
        return self.oracle(**{**self.parameters, **changed})  # type: ignore[operator,no-any-return]

    def module(self, *learned: str) -> SpecialFunction:
        parts = [f"{name}={'learned ' if name in learned else ''}{value!r}" for name, value in self.parameters.items()]
        found = make_activation(f"{self.name}({', '.join(parts)})")
        assert isinstance(found, SpecialFunction)
        return found


def jacobi(kind: str, m: float) -> Case:
    return Case(f"jacobi_{kind}", {"m": m}, lambda m: oracles.jacobi(kind, m), -8, 8, tolerance=1e-13, learnable=("m",))


def lerch(s: float, a: float) -> Case:
    return Case("lerch", {"s": s, "a": a}, oracles.lerch, -0.95, 0.95, learnable=("s", "a"))


def mittag_leffler(alpha: float, beta: float, digits: int = 36) -> Case:
    parameters = {"alpha": alpha, "beta": beta}
    return Case("mittag_leffler", parameters, oracles.mittag_leffler, -4, 1, digits, 1e-13, ("alpha", "beta"))


def weierstrass(a: float, b: float, terms: int) -> Case:
    parameters = {"a": a, "b": b, "terms": terms}
    return Case("weierstrass", parameters, oracles.weierstrass, -1, 1, 30, 1e-12, ("a", "b"), single=3e-4)


def weierstrass_p(m: float) -> Case:
    half = float(mpmath.ellipk(m))
    return Case("weierstrass_p", {"m": m}, oracles.weierstrass_p, 0.2 * half, 1.8 * half, learnable=("m",), single=1e-5)


CASES = [
    *(jacobi(kind, m) for kind in ("sn", "cn", "dn") for m in (0.5, 0.05, 0.999)),
    *(lerch(s, a) for s, a in ((1, 1), (0.5, 0.25), (2.5, 0.7), (4, 3))),
    *(mittag_leffler(alpha, beta) for alpha, beta in ((0.5, 1), (0.75, 0.3), (1, 1), (1.5, 2), (2, 1))),
    mittag_leffler(0.25, 1, 160),
    *(weierstrass(*three) for three in ((0.5, 3, 6), (0.3, 2.5, 4), (0.9, 7, 5))),
    *(weierstrass_p(m) for m in (0.5, 0.01, 0.9)),
]
CORNERS = [
    *(jacobi("sn", m) for m in (0.0, 0.9999)),
    *(lerch(s, a) for s, a in ((4, 0.25), (0.5, 4))),
    *(mittag_leffler(alpha, beta) for alpha, beta in ((0.5, 0.25), (2, 4), (1.01, 0.25))),
    weierstrass_p(0.0),
]
"""At the ends of their parameters."""


def points(case: Case, count: int) -> Tensor:
    """Numbers that single precision has too."""
    return torch.linspace(case.low, case.high, count).double()


def assert_near(found: Tensor, exact: list[float], tolerance: float) -> None:
    """Errors are measured by the largest value: near a zero nothing else is meant by rounding."""
    wanted = torch.tensor(exact, dtype=torch.float64)
    scale = float(wanted.abs().max())
    assert float((found.detach().double() - wanted).abs().max()) <= tolerance * scale


@pytest.mark.parametrize("case", CASES, ids=str)
def test_values_are_mpmaths_at_a_thousand_points(case: Case) -> None:
    z = points(case, 1000 if case.digits < 100 else 40)
    with mpmath.workdps(case.digits):
        exact = values(case.exact(), z.tolist())
    module = case.module()
    assert_near(module.function(z), exact, case.tolerance)
    assert_near(module.function(z.float()), exact, case.single)


@pytest.mark.parametrize("case", CORNERS, ids=str)
def test_values_are_mpmaths_where_parameters_end(case: Case) -> None:
    z = points(case, 25)
    with mpmath.workdps(case.digits):
        exact = values(case.exact(), z.tolist())
    # Of a large parameter's exponential only so many digits are left.
    assert_near(case.module().function(z), exact, max(case.tolerance, 3e-13))


@pytest.mark.parametrize("case", [case for case in CASES if case.digits < 100], ids=str)
def test_derivatives_are_mpmaths(case: Case) -> None:
    z = points(case, 13)[1:-1].clone().requires_grad_()
    (first,) = torch.autograd.grad(case.module().function(z).sum(), z, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), z)
    (single,) = torch.autograd.grad(case.module().function(zf := z.detach().float().requires_grad_()).sum(), zf)
    with mpmath.workdps(case.digits):
        oracle = case.exact()
        exact = [[float(mpmath.diff(oracle, point, order)) for point in z.tolist()] for order in (1, 2)]
    assert_near(first, exact[0], 1e-11)
    assert_near(second, exact[1], 1e-9)
    assert_near(single, exact[0], 1e-3 if case.name == "weierstrass" else 2e-5)


@pytest.mark.parametrize("case", [case for case in CASES if case.digits < 100], ids=str)
def test_a_learned_parameter_changes_nothing_but_that_it_has_a_derivative(case: Case) -> None:
    learned = [
        one.name
        for one in case.module().PARAMETERS
        if one.name in case.learnable and one.low < case.parameters[one.name] < one.high
    ]
    module, z = case.module(*learned).double(), points(case, 9)[1:-1]
    for one in module.PARAMETERS:
        if one.name in learned:
            share = torch.tensor((case.parameters[one.name] - one.low) / (one.high - one.low), dtype=torch.float64)
            torch.testing.assert_close(getattr(module, f"raw_{one.name}"), share.logit(), rtol=1e-5, atol=1e-6)
            getattr(module, f"raw_{one.name}").data = share.logit()
    assert_near(module.function(z), case.module().function(z).tolist(), 1e-13)
    weights = torch.linspace(0.5, 1.5, len(z), dtype=torch.float64)
    for one in module.PARAMETERS:
        if one.name not in learned:
            continue
        raw = getattr(module, f"raw_{one.name}")
        (found,) = torch.autograd.grad((weights * module.function(z)).sum(), raw)
        with mpmath.workdps(case.digits):
            slopes = [slope_in(case, one.name, point) for point in z.tolist()]
        share = raw.detach().sigmoid()
        exact = (weights @ torch.tensor(slopes, dtype=torch.float64)) * (one.high - one.low) * share * (1 - share)
        assert float(found) == pytest.approx(float(exact), rel=1e-9, abs=1e-10)


def slope_in(case: Case, name: str, point: float) -> float:
    """The derivative in a parameter, by mpmath."""
    return float(mpmath.diff(lambda value: case.exact(**{name: value})(point), case.parameters[name]))


LEARNED = {
    "jacobi_sn": "m=learned",
    "jacobi_cn": "m=learned",
    "jacobi_dn": "m=learned",
    "lerch": "s=learned, a=learned",
    "weierstrass": "a=learned, b=learned, terms=3",
    "weierstrass_p": "m=learned",
    "mittag_leffler": "alpha=learned, beta=learned",
}


@pytest.mark.parametrize("name", LEARNED)
@pytest.mark.parametrize("learned", [False, True])
def test_finite_differences_agree_twice(name: str, learned: bool) -> None:
    module = make_activation(f"{name}({LEARNED[name]})" if learned else name).double()
    x = torch.tensor([-1.7, -0.4, 0.3, 0.9], dtype=torch.float64, requires_grad=True)
    keys = [key for key, _ in module.named_parameters()]
    assert bool(keys) == learned

    def behind_the_map(x: Tensor, *raw: Tensor) -> Tensor:
        return torch.func.functional_call(module, dict(zip(keys, raw, strict=True)), (x,))  # type: ignore[no-any-return]

    inputs = (x, *(value.detach().clone().requires_grad_() for value in module.parameters()))
    assert torch.autograd.gradcheck(behind_the_map, inputs)
    assert torch.autograd.gradgradcheck(behind_the_map, inputs, atol=1e-4)


def test_the_lattice_of_the_elliptic_function_is_what_is_stated() -> None:
    m = 0.3
    e1, e2, e3 = (2 - m) / 3, (2 * m - 1) / 3, -(1 + m) / 3
    g2, g3 = 2 * (e1**2 + e2**2 + e3**2), 4 * e1 * e2 * e3
    module = make_activation(f"weierstrass_p(m={m})")
    assert isinstance(module, SpecialFunction)
    z = torch.linspace(0.3, 3, 50, dtype=torch.float64, requires_grad=True)
    value = module.function(z)
    (slope,) = torch.autograd.grad(value.sum(), z)
    torch.testing.assert_close(slope**2, 4 * value**3 - g2 * value - g3, rtol=1e-9, atol=1e-9)


def test_known_special_cases() -> None:
    z = torch.linspace(-0.9, 0.9, 31, dtype=torch.float64)
    cases = {
        "mittag_leffler(alpha=1)": z.exp(),
        "mittag_leffler(alpha=2)": torch.where(z < 0, z.abs().sqrt().cos(), z.abs().sqrt().cosh()),
        "mittag_leffler(alpha=0.5)": (z * z).exp() * torch.erfc(-z),
        "lerch": torch.where(z == 0, 1.0, -torch.log1p(-z) / torch.where(z == 0, 1.0, z)),
        "jacobi_sn(m=0)": z.sin(),
        "jacobi_cn(m=0)": z.cos(),
    }
    for text, wanted in cases.items():
        module = make_activation(text)
        assert isinstance(module, SpecialFunction)
        torch.testing.assert_close(module.function(z), wanted, rtol=1e-13, atol=1e-13)
