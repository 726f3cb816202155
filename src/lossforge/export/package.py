"""Losses as a package that pip installs: the module, tests that know its values, a model card of each loss."""

from __future__ import annotations

import keyword
import re
from collections.abc import Sequence
from pathlib import Path

from lossforge.errors import LossforgeError, StoreError
from lossforge.export.load import criterion
from lossforge.export.model_card import model_cards
from lossforge.export.references import references
from lossforge.export.run_export import exports_of
from lossforge.export.torch_module import Export, module_source
from lossforge.store.files import told_as_store_error, write_atomically
from lossforge.store.run_folder import RunFolder
from lossforge.validation.results import read_comparisons

_NAME = re.compile(r"[a-z]([a-z0-9_-]*[a-z0-9])?")
_PROBED = 6
"""Samples of the logits that a package's tests know the loss of."""


def export_package(run: Path, name: str, output: Path | None, number: int) -> Path:
    """Write the best ``number`` losses of a run as a package, into ``output`` (default: ``NAME/`` here); its folder.

    Raises LossforgeError for what is no package's name, and StoreError where the folder holds something already.
    """
    module = name.replace("-", "_")
    if not _NAME.fullmatch(name) or keyword.iskeyword(module) or module in ("torch", "lossforge", "tests"):
        raise LossforgeError(f"--package {name}: is no name of a package; take small letters, digits and hyphens")
    folder = RunFolder.open(run)
    losses, origin = exports_of(folder, number)
    root = Path(name) if output is None else output
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise StoreError(f"{root}: is there already; name another folder with -o, or remove it")
    comparisons = read_comparisons(folder)
    rivals = [row.rival for row in comparisons]
    created = str(folder.manifest.get("created") or "")
    contents = {
        "pyproject.toml": _project(name, module),
        "README.md": _readme(name, module, losses, origin),
        "MODEL_CARDS.md": model_cards(losses, comparisons, origin),
        "losses.bib": references(losses, origin, rivals, created),
        f"src/{module}/__init__.py": module_source(losses, origin),
        f"src/{module}/py.typed": "",
        "tests/test_losses.py": _tests(module, losses),
    }
    for place, text in contents.items():
        with told_as_store_error(root / place):
            (root / place).parent.mkdir(parents=True, exist_ok=True)
        write_atomically(root / place, text)
    return root


def _project(name: str, module: str) -> str:
    return (
        '[build-system]\nrequires = ["hatchling"]\nbuild-backend = "hatchling.build"\n\n'
        f'[project]\nname = "{name}"\nversion = "0.1.0"\ndescription = "Loss functions discovered by lossforge"\n'
        'readme = "README.md"\nrequires-python = ">=3.10"\ndependencies = ["torch>=2.1"]\n\n'
        '[project.optional-dependencies]\ntest = ["pytest"]\n\n'
        f'[tool.hatch.build.targets.wheel]\npackages = ["src/{module}"]\n\n'
        '[tool.pytest.ini_options]\npythonpath = ["src"]\n'
    )


def _readme(name: str, module: str, losses: Sequence[Export], origin: str) -> str:
    rows = "\n".join(f"- `{one.name}`: `{one.formula}`" for one in losses)
    return (
        f"# {name}\n\nLoss functions discovered by lossforge, each called like `torch.nn.CrossEntropyLoss`.\n\n"
        f"{' '.join(origin.split())}\n\n```python\nfrom {module} import {losses[0].name}\n\n"
        f"criterion = {losses[0].name}()\nloss = criterion(logits, target)\n```\n\n{rows}\n\n"
        "[`MODEL_CARDS.md`](MODEL_CARDS.md) says of each what it was found on, how it was trained, where it holds and "
        "where not; [`losses.bib`](losses.bib) is for papers. The tests know the losses' values: "
        "`pip install .[test]`, `pytest`.\n"
    )


def _tests(module: str, losses: Sequence[Export]) -> str:
    names = ", ".join(one.name for one in losses)
    cases = "\n".join(f"    ({one.name}, {_probe(one)}),  # {one.head}" for one in losses)
    return (
        f'"""The losses have the values and gradients that they had where they were exported."""\n\n'
        f"import pytest\nimport torch\n\nfrom {module} import {names}\n\n"
        f"CASES = [\n{cases}\n]\n\n\n"
        '@pytest.mark.parametrize(("loss", "case"), CASES)\n'
        "def test_value_and_gradient_are_those_that_were_exported(loss, case):\n"
        '    logits = torch.tensor(case["logits"], dtype=torch.float64, requires_grad=True)\n'
        '    criterion = loss()\n    if "progress" in criterion.needs:\n        criterion.progress = 0.5\n'
        '    if "class_share" in criterion.needs:\n        criterion.class_share = torch.full((10,), 0.1)\n'
        '    value = criterion(logits, torch.tensor(case["target"]))\n    value.backward()\n'
        '    assert value.item() == pytest.approx(case["value"], rel=1e-6, abs=1e-9)\n'
        '    gradient = torch.tensor(case["gradient"], dtype=torch.float64)\n'
        "    torch.testing.assert_close(logits.grad, gradient, rtol=1e-5, atol=1e-9)\n"
    )


def _probe(loss: Export) -> dict[str, object]:
    """Logits, targets, and what the loss and its gradient are there, for the tests."""
    import torch

    one = criterion(loss)
    classes = 2 if loss.head == "binary" else 10 if "class_share" in one.needs else loss.classes or 10
    outputs = one.behind.outputs(classes)
    place = torch.arange(_PROBED * outputs, dtype=torch.float64).view(_PROBED, outputs)
    logits = (3 * (1 + place).sin()).round(decimals=3).requires_grad_()
    target = torch.arange(_PROBED) % classes
    if "progress" in one.needs:
        one.progress = 0.5
    if "class_share" in one.needs:
        one.class_share = torch.full((classes,), 1 / classes)
    value = one(logits, target)
    (gradient,) = torch.autograd.grad(value, logits)
    return {
        "logits": logits.detach().tolist(),
        "target": target.tolist(),
        "value": value.item(),
        "gradient": gradient.tolist(),
    }
