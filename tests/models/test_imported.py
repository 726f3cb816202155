"""The user's own networks: what is called, and what is told where it does not fit."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from lossforge.errors import ModelError
from lossforge.models.registry import build_model, check_model

SHAPE = (2, 6, 5)

MINE = """
import numpy
import torch
from torch import nn

text = "a word"


def linear(shape, classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(shape[0] * shape[1] * shape[2], classes))


def wide(shape, classes, width):
    return nn.Sequential(nn.Conv2d(shape[0], width, 3), nn.Flatten(), nn.LazyLinear(classes))


def pixels(shape, classes):
    return nn.Conv2d(shape[0], classes, 1)


def fails(shape, classes):
    raise ValueError("no luck\\nat all")


def number(shape, classes):
    return 7


def transposed(shape, classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(60, classes + 1))


def breaks(shape, classes):
    return nn.Sequential(nn.Linear(3, 3))


class Pair(nn.Module):
    def __init__(self, shape, classes):
        super().__init__()
        self.body = linear(shape, classes)

    def forward(self, x):
        return (self.body(x), None) if self.training else self.body(x)


def unseeded(shape, classes):
    network = linear(shape, classes)
    network[1].weight.data += float(numpy.random.rand())
    return network


def weightless(shape, classes):
    return nn.Flatten()
"""


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "my_nets").mkdir()
    (tmp_path / "my_nets" / "mine.py").write_text(MINE, encoding="utf-8")
    (tmp_path / "my_nets" / "broken.py").write_text("import no_such_package_here\n", encoding="utf-8")
    (tmp_path / "my_nets" / "syntax.py").write_text("def (:\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield
    for name in [name for name in sys.modules if name.partition(".")[0] == "my_nets"]:
        del sys.modules[name]


def build(function: str, *, dense: bool = False, width: int = 3, seed: int = 0) -> torch.nn.Module:
    return build_model(f"my_nets.mine:{function}", SHAPE, 4, width, seed, dense=dense)


@pytest.mark.parametrize("function", ["linear", "wide"])
def test_a_network_of_the_users_own_is_found_in_the_current_folder(function: str) -> None:
    check_model(f"my_nets.mine:{function}", 3)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    models = [build(function, seed=seed) for seed in (1, 2, 1)]
    assert torch.equal(torch.get_rng_state(), before)
    assert all(module.training for model in models for module in model.modules())
    weights = [torch.cat([weight.flatten() for weight in model.parameters()]) for model in models]
    assert torch.equal(weights[0], weights[2])
    assert not torch.equal(weights[0], weights[1])
    assert models[0](torch.rand(7, *SHAPE)).shape == (7, 4)


def test_width_is_given_to_a_function_that_has_it() -> None:
    assert next(build("wide", width=5).parameters()).shape[0] == 5


def test_a_network_for_pixels_is_taken_for_data_of_pixels() -> None:
    assert build("pixels", dense=True)(torch.rand(2, *SHAPE)).shape == (2, 4, 6, 5)
    with pytest.raises(ModelError, match=r"logits of shape \(2, 4\) .* not \(2, 4, 6, 5\)"):
        build("pixels")


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("fails", r"failed when called with \(2, 6, 5\), 4: ValueError: no luck \(mine\.py, line \d+\)$"),
        ("number", r"returned int, not an nn\.Module$"),
        (
            "transposed",
            r"must give logits of shape \(2, 4\) for 2 samples of \(2, 6, 5\), not \(2, 5\) \(in training\)$",
        ),
        ("breaks", r"failed on 2 samples of \(2, 6, 5\): RuntimeError: "),
        ("Pair", r"must give logits of shape \(2, 4\) .*, not tuple \(in training\)$"),
        ("unseeded", "has weights that do not follow torch's seed$"),
        ("weightless", "has no weights$"),
    ],
)
def test_a_network_that_does_not_fit_is_refused_in_one_sentence(function: str, message: str) -> None:
    with pytest.raises(ModelError, match=rf"^task\.model: 'my_nets\.mine:{function}' {message}") as caught:
        build(function)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("my_nets.mine:nothing", "module 'my_nets.mine' has no 'nothing'"),
        ("my_nets.mine:text", "cannot be called: 'text'"),
        ("my_nets.other:net", "there is no module 'my_nets.other'"),
        ("no_such_nets.mine:net", "there is no module 'no_such_nets'"),
        ("my_nets.broken:net", "importing it failed: ModuleNotFoundError: No module named 'no_such_package_here'"),
        ("my_nets.syntax:net", "importing it failed: SyntaxError"),
        ("my_nets/mine.py:net", "is no import path"),
        ("my_nets.mine:net()", "is no import path"),
        (":net", "is no import path"),
        ("my_nets.mine:", "is no import path"),
        (".mine:net", "is no import path"),
        ("my_nets.mine:a.b", "is no import path"),
    ],
)
def test_a_path_that_leads_nowhere_is_told_before_anything_runs(path: str, message: str) -> None:
    with pytest.raises(ModelError) as caught:
        check_model(path, 16)
    assert message in str(caught.value)
    assert str(caught.value).startswith(f"task.model: '{path}'")
    assert "\n" not in str(caught.value)
