"""The exported module: it needs torch alone, and computes what was searched.

Bit for bit what the searched loss computes by plain operations, and up to rounding what it computes in closed form.
"""

from __future__ import annotations

import ast
import builtins
import copy
import importlib.util
import pickle
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.helpers import conditioning
from tests.helpers.conditioning import truth
from tests.helpers.trees import law, trees
from torch import Tensor, nn

from lossforge.export.latex import latex
from lossforge.export.torch_module import Export, module_source
from lossforge.expression.formula import parse_formula
from lossforge.expression.tree import Expression, format_formula
from lossforge.losses.compiled import ExpressionLoss
from lossforge.losses.drop_in import DropInLoss
from lossforge.losses.library import CROSS_ENTROPY, loss, loss_spec

NGL = loss("ngl").formula
LOSSES = [
    Export("CrossEntropy", CROSS_ENTROPY, ("Found in generation 0.",)),
    Export("NextGeneration", NGL, class_mean=True),
    Export("Brier", "(y_true - y_pred)**2"),
    Export("Guarded", "y_true / (y_pred - 0.5) + log(y_true - y_pred) * sqrt(1 - y_pred) - exp(30 * y_pred) / 1000000"),
    Export("Steep", "exp(-log(y_pred)) * (1000001 * y_true)**2 - 1 / y_pred"),
    Export("Mixed", "max(0.3, sin(y_pred)) * aq(y_true, y_pred) + sigmoid(y_true) * erf(min(y_pred, y_true))"),
    Export("Constant", "exp(1) - 1", class_mean=True),
    Export("Leaf", "y_true"),
    Export("LogAlone", "log(y_pred)"),
]
ARGUMENTS: list[dict[str, Any]] = [
    {},
    {"reduction": "sum"},
    {"reduction": "none"},
    {"label_smoothing": 0.1},
    {"ignore_index": 2},
    {"weight": torch.tensor([0.5, 2.0, 1.0, 0.25, 3.0])},
    {"weight": torch.tensor([0.5, 2.0, 1.0, 0.25, 3.0]), "label_smoothing": 0.2, "ignore_index": 0, "reduction": "sum"},
]
CLASSES = 5

LOADER = """
import importlib.util, sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "lossforge":
            raise ImportError("lossforge is blocked")

sys.meta_path.insert(0, Blocked())
sys.path[:0] = sys.argv[3:]
import torch

torch.set_num_threads(1)
spec = importlib.util.spec_from_file_location("exported", sys.argv[1])
module = importlib.util.module_from_spec(spec)
sys.modules["exported"] = module
spec.loader.exec_module(module)
work = torch.load(sys.argv[2], weights_only=False)
answers = []
for name, arguments, logits, target in work:
    criterion = getattr(module, name)(**arguments)
    z = logits.clone().requires_grad_()
    value = criterion(z, target)
    if value.requires_grad:
        value.sum().backward()
    answers.append((value.detach(), z.grad))
assert not [name for name in sys.modules if name.partition(".")[0] in ("lossforge", "deap")]
try:
    import lossforge
except ImportError:
    torch.save(answers, sys.argv[2] + ".answers")
"""


def batches() -> list[tuple[str, Tensor, Tensor]]:
    """Logits around 0, at ±50 and ±1000 (probabilities 0 and 1), with indices and soft targets, in all shapes."""
    generator = torch.Generator().manual_seed(2)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    def indices(*shape: int) -> Tensor:
        return torch.randint(CLASSES, shape, generator=generator)

    moderate, far = normal(16, CLASSES), normal(16, CLASSES).sign() * 50
    certain = torch.eye(CLASSES) * 2000 - 1000
    image = normal(2, CLASSES, 3, 2) * 10
    return [
        ("moderate", moderate, indices(16)),
        ("float64", moderate.double() * 5, indices(16)),
        ("fifty", far, indices(16)),
        ("certain and right", certain, torch.arange(CLASSES)),
        ("certain and wrong", certain, (torch.arange(CLASSES) + 1) % CLASSES),
        ("soft", moderate, torch.softmax(normal(16, CLASSES), 1)),
        ("soft and certain", certain, torch.softmax(normal(CLASSES, CLASSES), 1)),
        ("soft fifty", far, torch.softmax(normal(16, CLASSES) * 9, 1)),
        ("image", image, indices(2, 3, 2)),
        ("unbatched", normal(CLASSES), torch.tensor(3)),
        ("half", moderate.half() * 5, indices(16)),
        ("bfloat", moderate.bfloat16() * 5, indices(16)),
    ]


@dataclass(frozen=True)
class Case:
    """One call: of which loss, made how, on what; and what the exported class answered in its own process."""

    export: Export
    arguments: dict[str, Any]
    logits: Tensor
    target: Tensor
    value: Tensor
    gradient: Tensor | None


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("export") / "losses.py"
    path.write_text(module_source(LOSSES, "Run x, seed 0."), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def cases(exported: Path) -> dict[tuple[str, str], list[Case]]:
    """Every loss on every batch with all arguments, computed where lossforge cannot be imported."""
    keys = [(export, name) for export in LOSSES for name, _, _ in batches()]
    inputs = {name: (logits, target) for name, logits, target in batches()}
    work = [(export.name, arguments, *inputs[name]) for export, name in keys for arguments in ARGUMENTS]
    question = exported.with_suffix(".work")
    torch.save(work, question)
    # -I and -S: no user site, no .pth file; so an editable lossforge is not even on the path.
    site = sorted({str(Path(file).parents[1]) for file in (torch.__file__, sys.modules["numpy"].__file__) if file})
    subprocess.run(
        [sys.executable, "-I", "-S", "-c", LOADER, str(exported), str(question), *site], check=True, timeout=120
    )
    answers = torch.load(f"{question}.answers", weights_only=False)
    assert len(answers) == len(work)
    found: dict[tuple[str, str], list[Case]] = {}
    for index, (value, gradient) in enumerate(answers):
        export, name = keys[index // len(ARGUMENTS)]
        case = Case(export, ARGUMENTS[index % len(ARGUMENTS)], *inputs[name], value, gradient)
        found.setdefault((export.name, name), []).append(case)
    return found


@pytest.mark.parametrize("batch", [name for name, _, _ in batches()])
@pytest.mark.parametrize("name", [export.name for export in LOSSES])
def test_value_and_gradient_are_bit_for_bit_those_of_the_searched_losss_plain_operations(
    name: str, batch: str, cases: dict[tuple[str, str], list[Case]]
) -> None:
    for case in cases[name, batch]:
        searched = ExpressionLoss(case.export.formula, class_mean=case.export.class_mean, **case.arguments)
        z = case.logits.clone().requires_grad_()
        value = DropInLoss.unscaled(searched, z, case.target)
        if value.requires_grad:
            value.sum().backward()
        assert value.isfinite().all()
        assert value.dtype == case.value.dtype
        assert torch.equal(value.detach(), case.value), case.arguments
        assert (z.grad is None) == (case.gradient is None)
        if z.grad is not None and case.gradient is not None:
            assert z.grad.isfinite().all()
            assert torch.equal(z.grad, case.gradient), case.arguments


def by_plain_operations(formula: str, logits: Tensor, target: Tensor) -> Tensor:
    return DropInLoss.unscaled(ExpressionLoss(formula), logits, target)


def flat(logits: Tensor) -> Tensor:
    """Classes last: (N, C)."""
    return logits.movedim(1, -1).reshape(-1, CLASSES) if logits.dim() > 1 else logits[None]


@pytest.mark.parametrize("batch", [name for name, _, _ in batches()])
@pytest.mark.parametrize("name", [export.name for export in LOSSES])
def test_value_and_gradient_are_up_to_rounding_those_of_the_searched_loss(
    name: str, batch: str, cases: dict[tuple[str, str], list[Case]]
) -> None:
    arguments: dict[str, Any] = {"reduction": "none"}
    (case,) = (case for case in cases[name, batch] if case.arguments == arguments)
    searched = ExpressionLoss(case.export.formula, class_mean=case.export.class_mean, **arguments)
    z = case.logits.clone().requires_grad_()
    value = searched(z, case.target)
    (gradient,) = torch.autograd.grad(value.sum(), z)
    wide, y_true, _ = searched.encoded(case.logits, case.target)
    expected = truth(parse_formula(case.export.formula), flat(wide), flat(y_true), wide.dtype)
    scale = CLASSES if case.export.class_mean else 1
    exported = torch.zeros_like(z) if case.gradient is None else case.gradient
    for found, slope in ((value.detach(), gradient), (case.value, exported)):
        # A half precision gradient is rounded once more, to its own type.
        close = expected.gradient if z.dtype in (torch.float16, torch.bfloat16) else flat(slope) * scale
        assert not expected.wrong(found.flatten() * scale, close).any()
    if batch in ("moderate", "float64", "soft", "image", "unbatched") and name not in ("Guarded", "Steep"):
        assert expected.settled.float().mean() > 0.8


@pytest.mark.filterwarnings("ignore:.*made for labels of 0 and 1")
@given(st.lists(trees(max_leaves=10), min_size=10, max_size=20, unique=True))
@law(25)
def test_any_loss_is_up_to_rounding_what_it_was(drawn: list[Expression]) -> None:
    module = loaded(module_source([Export(f"Loss{k}", format_formula(tree)) for k, tree in enumerate(drawn)], ""))
    for dtype in (torch.float32, torch.float64):
        logits, indices, soft = conditioning.batch(dtype)
        for k, tree in enumerate(drawn):
            exported, searched = getattr(module, f"Loss{k}")(reduction="none"), ExpressionLoss(tree, reduction="none")
            for target, y_true in ((indices, conditioning.one_hot(indices, dtype)), (soft, soft)):
                z = logits.clone().requires_grad_()
                value, expected = exported(z, target), DropInLoss.unscaled(searched, z, target)
                assert torch.equal(value, expected)
                gradient = torch.zeros_like(z)
                if value.requires_grad:
                    (gradient,) = torch.autograd.grad(value.sum(), z)
                    assert torch.equal(gradient, torch.autograd.grad(expected.sum(), z)[0])
                assert not truth(tree, logits, y_true, dtype).wrong(value.detach(), gradient).any()


def loaded(source: str) -> ModuleType:
    module = ModuleType("exported")
    exec(compile(source, "exported.py", "exec"), module.__dict__)
    return module


def test_the_module_imports_torch_and_nothing_else_that_has_to_be_installed(exported: Path) -> None:
    imported = set()
    for node in ast.walk(ast.parse(exported.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            imported |= {name.name.partition(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add((node.module or "").partition(".")[0])
    assert imported == {"__future__", "collections", "copy", "math", "operator", "torch", "typing", "warnings"}


def test_the_module_names_its_losses_and_says_where_they_are_from(exported: Path) -> None:
    module = loaded(exported.read_text(encoding="utf-8"))
    assert module.__all__ == [export.name for export in LOSSES]
    assert "Run x, seed 0." in (module.__doc__ or "")
    for export in LOSSES:
        docstring = getattr(module, export.name).__doc__
        tree = parse_formula(export.formula)
        assert docstring.startswith(str(tree))
        assert f"LaTeX: {latex(tree)}" in docstring
        assert all(line in docstring for line in export.provenance)
    assert "True class (y_true = 1): -log(p)" in module.CrossEntropy.__doc__
    assert "Each wrong class (y_true = 0): p**2" in module.Brier.__doc__


def test_an_exported_loss_is_a_module_like_torchs(exported: Path) -> None:
    module = loaded(exported.read_text(encoding="utf-8"))
    weight = torch.rand(CLASSES)
    ours, theirs = module.CrossEntropy(weight=weight), nn.CrossEntropyLoss(weight=weight)
    logits, target = torch.randn(8, CLASSES) * 20, torch.randint(CLASSES, (8,))
    torch.testing.assert_close(ours(logits, target), theirs(logits, target), rtol=1e-6, atol=1e-6)
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    with pytest.raises(ValueError, match="class indices must be integers of shape"):
        ours(logits, target[:3])


@pytest.mark.parametrize("name", [export.name for export in LOSSES])
def test_an_exported_loss_takes_indices_of_every_integer_type(name: str, exported: Path) -> None:
    make = getattr(loaded(exported.read_text(encoding="utf-8")), name)
    for dtype in (torch.uint8, torch.int8, torch.int16, torch.uint16, torch.int32, torch.uint32, torch.uint64):
        labels = torch.arange(min(200, torch.iinfo(dtype).max + 1))  # 156 is -100 in uint8
        logits = torch.randn(len(labels), 200)
        for arguments in ({}, {"ignore_index": 100}, {"ignore_index": 255}):
            criterion = make(**arguments)
            assert torch.equal(criterion(logits, labels.to(dtype)), criterion(logits, labels))
        foreign = torch.tensor([0, 100], dtype=dtype)
        with pytest.raises(ValueError, match=r"class indices must be in \[0, 5\), or ignore_index .* but one is 100$"):
            make()(logits[:2, :CLASSES], foreign)


@pytest.mark.parametrize("name", [export.name for export in LOSSES])
def test_an_exported_loss_gives_what_torch_gives_where_no_sample_counts(name: str, exported: Path) -> None:
    make = getattr(loaded(exported.read_text(encoding="utf-8")), name)
    for count in (0, 3):
        target = torch.full((count,), -100)
        for reduction in ("mean", "sum", "none"):
            expected = nn.CrossEntropyLoss(reduction=reduction)(torch.randn(count, CLASSES), target)
            found = make(reduction=reduction)(torch.randn(count, CLASSES), target)
            torch.testing.assert_close(found, expected, equal_nan=True)


@pytest.mark.filterwarnings("ignore:.*made for labels of 0 and 1")
@pytest.mark.parametrize("name", [export.name for export in LOSSES])
def test_an_exported_loss_is_finite_where_a_class_is_masked(name: str, exported: Path) -> None:
    make = getattr(loaded(exported.read_text(encoding="utf-8")), name)
    infinity = float("inf")
    logits = torch.tensor([[0.0, -infinity, 1.0, 0.5, -infinity], [2.0, 0.3, -infinity, -infinity, 0.0]])
    for target in (torch.tensor([2, 0]), torch.tensor([[0.5, 0, 0.25, 0.25, 0], [0.75, 0.25, 0, 0, 0]])):
        z = logits.clone().requires_grad_()
        value = make()(z, target)
        assert value.isfinite()
        (gradient,) = torch.autograd.grad(value + 0 * z.where(z.isfinite(), 0).sum(), z)
        assert gradient.isfinite().all()


def test_a_loss_can_be_pickled_out_of_the_exported_file(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = importlib.util.spec_from_file_location("exported_losses", exported)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "exported_losses", module)
    spec.loader.exec_module(module)
    criterion = module.Guarded(reduction="sum")
    logits, target = torch.randn(8, CLASSES), torch.randint(CLASSES, (8,))
    expected = criterion(logits, target)
    for again in (pickle.loads(pickle.dumps(criterion)), copy.deepcopy(criterion)):
        assert torch.equal(again(logits, target), expected)


@pytest.mark.parametrize(
    "text",
    [
        '"""\nimport builtins\nbuiltins.lossforge_ran = True\n"""',
        '""" + str(setattr(__import__("builtins"), "lossforge_ran", True)) + """',
        "a folder called C:\\new\\xylophone\\N{nothing}\\u12",
        "ends with a backslash\\",
        'ends with a quote"',
        "Ωmega and ümlaut",
    ],
    ids=["statement", "expression", "escapes", "backslash", "quote", "unicode"],
)
@pytest.mark.parametrize("place", ["origin", "provenance"])
def test_where_a_loss_is_from_is_text_and_never_code(text: str, place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builtins, "lossforge_ran", False, raising=False)
    origin, provenance = (text, ()) if place == "origin" else ("Run x.", (text,))
    module = loaded(module_source([Export("Found", CROSS_ENTROPY, provenance)], origin))
    assert builtins.lossforge_ran is False  # type: ignore[attr-defined]
    logits, target = torch.randn(4, CLASSES), torch.tensor([0, 1, 2, 3])
    assert torch.equal(module.Found()(logits, target), by_plain_operations(CROSS_ENTROPY, logits, target))
    documented = module.__doc__ if place == "origin" else module.Found.__doc__
    assert documented is not None
    assert text.split()[-1].strip('"').replace("\\", "/").replace('"', "'") in documented


def test_many_losses_make_one_module() -> None:
    losses = [Export(f"Discovered{rank}", f"-y_true * log(y_pred) + {rank} * y_pred**2") for rank in range(1, 31)]
    module = loaded(module_source(losses, ""))
    logits, target = torch.randn(4, CLASSES), torch.tensor([0, 1, 2, 3])
    for export in losses:
        searched = by_plain_operations(export.formula, logits, target)
        assert torch.equal(getattr(module, export.name)()(logits, target), searched)


def test_a_deep_loss_is_exported_too() -> None:
    formula = "sin(" * 95 + "y_pred * y_true" + ")" * 95
    module = loaded(module_source([Export("Deep", formula)], ""))
    logits, target = torch.randn(4, CLASSES), torch.tensor([0, 1, 2, 3])
    assert torch.equal(module.Deep()(logits, target), by_plain_operations(formula, logits, target))


SCALED = Export("Scaled", "y_pred / y_true", scale=2e-6, classes=CLASSES)


def test_the_scale_is_a_constant_that_can_be_seen_and_another_number_of_classes_has_its_own() -> None:
    source = module_source([SCALED], "")
    assert "\n    scale = 2e-06\n    classes = 5\n" in source
    made = loaded(source).Scaled
    logits, target = torch.randn(4, CLASSES), torch.tensor([0, 1, 2, 3])
    searched = by_plain_operations(SCALED.formula, logits, target)
    assert torch.equal(made()(logits, target), searched * 2e-6)
    assert "Scaled().match_classes(n)" in " ".join(made.__doc__.split())
    assert made().match_classes(7).scale == loss(SCALED.formula, match=7).scale
    with pytest.warns(UserWarning, match=r"scaled for 5 classes, and the logits have 50: call match_classes\(50\)"):
        made()(torch.randn(4, 50), target)


def test_soft_labels_are_warned_of_where_the_formula_has_a_pole() -> None:
    module = loaded(module_source([SCALED, Export("CrossEntropy", CROSS_ENTROPY)], ""))
    logits, soft = torch.randn(4, CLASSES), torch.full((4, CLASSES), 1 / CLASSES)
    for asked in (module.Scaled(), module.Scaled(label_smoothing=0.1)):
        with pytest.warns(UserWarning, match="made for labels of 0 and 1"):
            asked(logits, soft)
        asked(logits, soft)  # told once; pytest makes an error of a second warning
    module.CrossEntropy(label_smoothing=0.1)(logits, soft)


def test_the_label_smoothing_of_the_training_is_the_default() -> None:
    made = loaded(module_source([Export("Smoothed", CROSS_ENTROPY, smoothing=0.2)], "")).Smoothed
    logits, target = torch.randn(4, CLASSES), torch.tensor([0, 1, 2, 3])
    for criterion, expected in ((made(), 0.2), (made(label_smoothing=0.0), 0.0)):
        torch.testing.assert_close(
            criterion(logits, target), nn.CrossEntropyLoss(label_smoothing=expected)(logits, target)
        )


@pytest.mark.parametrize("head", ["softmax", "binary"])
def test_terms_and_sums_with_them_are_exported_with_what_they_need(head: str, tmp_path: Path) -> None:
    texts = ["dice", "focal + 0.5 * tversky(a=0.4)", "bi_tempered + bce + 2 * dice(e=0.5)", "3 * bce"]
    losses = [
        Export(f"Loss{place}", loss_spec(text, head=head).formula, scale=1.5, classes=2, smoothing=0.1, head=head)
        for place, text in enumerate(texts)
    ]
    path = tmp_path / "losses.py"
    path.write_text(module_source(losses, "Run x, seed 0."), encoding="utf-8")
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(8, 1 if head == "binary" else 2, generator=generator) * 4
    target = torch.randint(2, (8,), generator=generator)
    given: list[dict[str, Any]] = [{}, {"label_smoothing": 0.0, "weight": torch.tensor([1.0, 3.0])}]
    work = [(one.name, arguments, logits, target) for one in losses for arguments in given]
    torch.save(work, path.with_suffix(".work"))
    site = sorted({str(Path(file).parents[1]) for file in (torch.__file__, sys.modules["numpy"].__file__) if file})
    subprocess.run(
        [sys.executable, "-I", "-S", "-c", LOADER, str(path), str(path.with_suffix(".work")), *site],
        check=True,
        timeout=120,
    )
    answers = iter(torch.load(f"{path.with_suffix('.work')}.answers", weights_only=False))
    for text in texts:
        for arguments in given:
            criterion = loss(text, head=head, **{"label_smoothing": 0.1, **arguments})
            z = logits.clone().requires_grad_()
            value = 1.5 * criterion(z, target)
            value.backward()
            exported_value, gradient = next(answers)
            torch.testing.assert_close(exported_value, value.detach())
            torch.testing.assert_close(gradient, z.grad)
