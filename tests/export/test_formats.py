"""Exports in every format have torch's value and gradient; what a format cannot say it refuses by name."""

from __future__ import annotations

import ast
import importlib.util
import itertools
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy
import pytest
import torch

from lossforge.errors import LossError, LossforgeError
from lossforge.export.array_code import DIALECTS
from lossforge.export.formats import FORMATS, exported
from lossforge.export.latex_file import escaped
from lossforge.export.load import criterion
from lossforge.export.torch_module import Export
from lossforge.expression.instructions import INSTRUCTIONS

FORMULAS = (
    "-y_true * log(y_pred)",
    "sin(max(y_pred, y_true)) / (y_pred - 0.3) + sqrt(y_pred - 0.5)",
    "tanh(aq(y_true, y_pred)) - erf(y_pred) * sigmoid(logit)",
    "min(exp(cos(y_pred / (y_true + 0.5))), sign(y_pred - 0.2) + abs(y_true - y_pred)**2)",
    "log_sum_exp_c(3 * y_pred) - true_c(y_pred) + mean_c(y_pred) * max_c(y_pred)",
    "y_pred * stop(y_pred) * top_c(y_pred) - y_true * progress * class_share / n_classes",
    "0.5",
)
HEADS = ("softmax", "sigmoid", "binary")
COLUMNS = {"softmax": 3, "sigmoid": 3, "binary": 2}
GENERATOR = torch.Generator().manual_seed(0)
SHARE = (0.5, 0.3, 0.2)


def losses(head: str) -> list[Export]:
    made = [
        Export(
            f"Discovered{number}",
            formula,
            scale=1.5,
            classes=COLUMNS[head],
            head=head,
            recipe=('says "this"', "seeds: 8"),
        )
        for number, formula in enumerate(FORMULAS, 1)
    ]
    smooth = Export("Smoothed", FORMULAS[0], smoothing=0.1, class_mean=True, head=head)
    return [*made, smooth]


def batch(head: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits, among them very large ones, and class indices; one sample does not count."""
    logits = torch.randn(12, 1 if head == "binary" else 3, generator=GENERATOR, dtype=torch.float64) * 2
    logits[0], logits[1, 0] = 50.0, -50.0
    target = torch.arange(12) % (2 if head == "binary" else 3)
    target[5] = -100
    return logits, target


def by_torch(loss: Export, logits: torch.Tensor, target: torch.Tensor, **keys: Any) -> tuple[float, Any]:
    one = criterion(loss)
    for name, value in keys.items():
        setattr(one, name, value)
    if "progress" in one.needs:
        one.progress = 0.25
    if "class_share" in one.needs:
        one.class_share = torch.tensor(SHARE[: one.columns(logits)]) / sum(SHARE[: one.columns(logits)])
    logits = logits.clone().requires_grad_()
    value = one(logits, target)
    slope = torch.autograd.grad(value.sum(), logits, allow_unused=True)[0] if value.requires_grad else None
    return value.detach().numpy(), numpy.zeros(logits.shape) if slope is None else slope.numpy()


def module_of(source: str | bytes, path: Path) -> ModuleType:
    assert isinstance(source, str)
    path.write_text(source, encoding="utf-8")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def told(head: str) -> dict[str, Any]:
    shares = SHARE[: 2 if head == "binary" else 3]
    return {"progress": 0.25, "class_share": numpy.array(shares) / sum(shares)}


@pytest.mark.filterwarnings("ignore:.*made for labels of 0 and 1", "ignore:.*is scaled for")
@pytest.mark.parametrize("head", HEADS)
def test_numpy_has_the_value_and_gradient_of_torch(head: str, tmp_path: Path) -> None:
    module = module_of(exported(losses(head), "of a test", "numpy"), tmp_path / "found.py")
    logits, target = batch(head)
    soft = torch.rand(12, logits.shape[1], generator=GENERATOR, dtype=torch.float64)
    for loss, y in itertools.product(losses(head), (target, soft)):
        value, gradient = by_torch(loss, logits, y)
        own = loss.name.lower()
        numpy.testing.assert_allclose(getattr(module, own)(logits.numpy(), y.numpy(), **told(head)), value, rtol=1e-5)
        slope = getattr(module, f"{own}_gradient")(logits.numpy(), y.numpy(), **told(head))
        numpy.testing.assert_allclose(slope, gradient, rtol=1e-5, atol=1e-9)


def test_numpy_takes_weights_images_reductions_and_other_ignored_classes(tmp_path: Path) -> None:
    module = module_of(exported(losses("softmax"), "of a test", "numpy"), tmp_path / "found.py")
    logits = torch.randn(4, 3, 2, 5, generator=GENERATOR, dtype=torch.float64)
    target = torch.randint(0, 3, (4, 2, 5), generator=GENERATOR)
    weight = torch.tensor([1.0, 2.0, 0.5], dtype=torch.float64)
    for loss, reduction in itertools.product(losses("softmax"), ("mean", "sum", "none")):
        keys = {"reduction": reduction, "weight": weight, "ignore_index": 2}
        value, _ = by_torch(loss, logits, target, **keys)
        found = getattr(module, loss.name.lower())(
            logits.numpy(), target.numpy(), **{**keys, "weight": weight.numpy()}, **told("")
        )
        numpy.testing.assert_allclose(found, value, rtol=1e-5)


def test_what_a_loss_needs_is_asked_for_by_name(tmp_path: Path) -> None:
    module = module_of(exported(losses("softmax"), "of a test", "numpy"), tmp_path / "found.py")
    with pytest.raises(ValueError, match="discovered6 depends on progress: give it"):
        module.discovered6(numpy.zeros((2, 3)), numpy.zeros(2, int))


@pytest.mark.parametrize("head", HEADS)
def test_jax_has_the_value_and_gradient_of_torch(head: str, tmp_path: Path) -> None:
    jax = pytest.importorskip("jax")
    module = module_of(exported(losses(head), "of a test", "jax"), tmp_path / "found_jax.py")
    logits, target = batch(head)
    with jax.enable_x64(True):
        for loss in losses(head):
            value, gradient = by_torch(loss, logits, target)

            def of(z: Any, own: str = loss.name.lower()) -> Any:
                return getattr(module, own)(z, target.numpy(), **told(head))

            found, slope = jax.value_and_grad(of)(jax.numpy.asarray(logits.numpy()))
            numpy.testing.assert_allclose(found, value, rtol=1e-5)
            numpy.testing.assert_allclose(slope, gradient, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("head", HEADS)
def test_keras_has_the_value_and_gradient_of_torch(head: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    pytest.importorskip("keras")
    module = module_of(exported(losses(head), "of a test", "keras"), tmp_path / "found_keras.py")
    logits, target = batch(head)
    target[5] = 0
    for loss in losses(head):
        value, gradient = by_torch(loss, logits, target)
        one = getattr(module, loss.name)(dtype="float64")
        one.progress, one.class_share = told(head)["progress"], told(head)["class_share"]
        z = logits.clone().requires_grad_()
        found = one(target, z)
        slope = torch.autograd.grad(found, z, allow_unused=True)[0] if found.requires_grad else None
        numpy.testing.assert_allclose(found.detach().numpy(), value, rtol=1e-5)
        numpy.testing.assert_allclose(numpy.zeros(z.shape) if slope is None else slope, gradient, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("head", HEADS)
def test_onnx_has_the_value_and_gradient_of_torch(head: str) -> None:
    pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    model = exported(losses(head), "of a test", "onnx")
    session = runtime.InferenceSession(model, providers=["CPUExecutionProvider"])
    logits, target = batch(head)
    logits, target[5] = logits.float(), 0
    classes = 2 if head == "binary" else 3
    y_true = torch.nn.functional.one_hot(target, classes).float()
    given = {"logits": logits.numpy(), "y_true": y_true.numpy()}
    given |= {name: numpy.asarray(value, numpy.float32) for name, value in told(head).items()}
    found = dict(zip([one.name for one in session.get_outputs()], session.run(None, given), strict=True))
    for loss in losses(head):
        value, gradient = by_torch(loss, logits, target, reduction="none")
        numpy.testing.assert_allclose(found[loss.name.lower()], value, rtol=2e-5, atol=1e-5)
        size = 1e-5 * max(1.0, float(numpy.abs(gradient).max()))
        numpy.testing.assert_allclose(found[f"{loss.name.lower()}_gradient"], gradient, rtol=2e-4, atol=size)


def test_onnx_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    with pytest.raises(LossforgeError, match="pip install onnx"):
        exported(losses("softmax"), "of a test", "onnx")


def test_latex_is_whole_and_escapes_what_it_is_told() -> None:
    text = exported(losses("softmax"), "run_1 of 50 %", "latex")
    assert isinstance(text, str)
    assert r"run\_1 of 50 \%" in text
    assert text.count(r"\begin{equation}") == text.count(r"\end{equation}") == len(FORMULAS) + 1
    assert r"\ell = 1.5 \cdot \sum_{c=1}^{C} \left[" in text
    assert escaped("a_b^c & \\") == r"a\_b\textasciicircum{}c \& \textbackslash{}"


@pytest.mark.parametrize("format", [name for name in FORMATS if name != "torch"])
@pytest.mark.parametrize("formula", ["dice(e=1.0)", "-y_true * log(y_pred) + 0.5 * dice(e=1.0)"])
def test_what_no_other_format_can_say_is_refused_by_name(format: str, formula: str) -> None:
    found = [losses("softmax")[0], Export("Discovered2", formula)]
    with pytest.raises(LossError, match=r"Discovered2, .*dice.* --format torch, or the 1 before it with -n 1"):
        exported(found, "of a test", format)


def test_text_from_a_runs_files_stays_text(tmp_path: Path) -> None:
    evil = Export("Discovered1", FORMULAS[0], provenance=('"""\nimport os\n"""', "a\\"), recipe=('x"""+1',))
    for dialect in DIALECTS:
        source = exported([evil], '"""\nimport os', dialect)
        assert isinstance(source, str)
        names = {
            alias.name for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Import) for alias in node.names
        }
        assert "os" not in names


def test_every_instruction_has_a_text_in_every_dialect() -> None:
    assert all(set(templates) == set(INSTRUCTIONS) for _, templates in DIALECTS.values())
