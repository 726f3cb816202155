"""Exports behind other heads than a softmax: alone with torch, bit for bit what plain operations compute."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from lossforge.export.torch_module import Export, module_source
from lossforge.losses.compiled import ExpressionLoss
from lossforge.losses.drop_in import DropInLoss
from lossforge.losses.heads import HEADS

FORMULAS = [
    "-y_true * log(y_pred)",
    HEADS["sigmoid"].cross_entropy_formula,
    "(y_true - y_pred)**2",
    "-y_true * log(y_pred) - y_pred * log(1 - y_pred)",
    "log(y_pred) / sum_c(log(y_pred)) * y_true + 0.1 * logit",
]
LOADER = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "lossforge":
            raise ImportError("lossforge is blocked")

sys.meta_path.insert(0, Blocked())
sys.path.insert(0, sys.argv[1])
import torch
import losses

torch.set_num_threads(1)
work = torch.load(sys.argv[2], weights_only=False)
answers = []
for name, arguments, logits, target in work:
    z = logits.clone().requires_grad_()
    value = getattr(losses, name)(**arguments)(z, target)
    value.sum().backward()
    answers.append((value.detach(), z.grad))
torch.save(answers, sys.argv[2] + ".answers")
"""


class Plain(ExpressionLoss):
    """The formula by plain operations, as an export computes it."""

    def unscaled(self, input: Tensor, target: Tensor) -> Tensor:
        return DropInLoss.unscaled(self, input, target)


def calls(head: str) -> list[tuple[dict[str, Any], Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(4)
    outputs = 1 if head == "binary" else 3
    z = torch.cat([torch.randn(12, outputs, generator=generator), 50 * torch.randn(4, outputs, generator=generator)])
    pixels = torch.randn(2, outputs, 3, 2, generator=generator)
    indices = torch.randint(2, (16,), generator=generator)
    soft = torch.rand(16, outputs, generator=generator)
    weight = torch.rand(HEADS[head].classes(outputs), generator=generator)
    found: list[tuple[dict[str, Any], Tensor, Tensor]] = [
        ({}, z, indices),
        ({"weight": weight, "ignore_index": 1}, z, indices),
        ({"reduction": "none", "label_smoothing": 0.1}, z, soft),
        ({"reduction": "sum"}, pixels, torch.randint(2, (2, 3, 2), generator=generator)),
    ]
    if head == "sigmoid":
        found += [({}, z, soft > 0.5), ({"weight": weight}, z, (soft > 0.5).long())]
    return found


@pytest.mark.parametrize("head", ["binary", "sigmoid"])
def test_an_export_needs_torch_alone_and_has_the_same_bits(head: str, tmp_path: Path) -> None:
    exports = [Export(f"Loss{place}", formula, head=head) for place, formula in enumerate(FORMULAS)]
    (tmp_path / "losses.py").write_text(module_source(exports, "Run x, seed 0."), encoding="utf-8")
    work = [(one.name, *call) for one in exports for call in calls(head)]
    torch.save(work, tmp_path / "work")
    done = subprocess.run(
        [sys.executable, "-c", LOADER, str(tmp_path), str(tmp_path / "work")], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    answers = torch.load(tmp_path / "work.answers", weights_only=False)
    by_name = {one.name: one.formula for one in exports}
    for (name, arguments, logits, target), (value, slope) in zip(work, answers, strict=True):
        z = logits.clone().requires_grad_()
        plain = Plain(by_name[name], head=head, **arguments)(z, target)
        plain.sum().backward()
        assert plain.equal(value), (name, arguments)
        assert z.grad is not None
        assert z.grad.equal(slope)
        trained = ExpressionLoss(by_name[name], head=head, **arguments)(logits, target)
        torch.testing.assert_close(trained, value, rtol=1e-4, atol=1e-4)


def test_an_export_behind_a_softmax_says_nothing_of_heads() -> None:
    source = module_source([Export("One", FORMULAS[2])], "Run x, seed 0.")
    assert "head = " not in source.partition("class One(")[2]


@pytest.mark.parametrize(("head", "told"), [("binary", "for 2 classes"), ("sigmoid", "For n labels")])
def test_what_the_scale_is_for_is_told(head: str, told: str) -> None:
    source = module_source([Export("One", FORMULAS[2], scale=1.5, classes=2, head=head)], "Run x, seed 0.")
    own = " ".join(source.partition("class One(")[2].split())
    assert told in own
    assert f"head = {head!r}" in own
    assert ("match_classes(n)" in own) == (head == "sigmoid")
