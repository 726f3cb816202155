"""What is drawn is true, and the file is there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from lossforge.errors import LossError, LossforgeError, StoreError
from lossforge.losses.library import LIBRARY, loss_spec
from lossforge.report.loss_plot import (
    FORMATS,
    MOST_LINES,
    against_true,
    against_wrong,
    gradient_scale,
    of_class,
    plot_losses,
)

HEADS = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}


def test_cross_entropy_is_drawn_as_it_is() -> None:
    true, wrong = against_true(loss_spec("cross_entropy")), against_wrong(loss_spec("cross_entropy"))
    assert torch.allclose(true.value, -true.p.log())
    assert torch.allclose(true.gradient, true.p - 1)
    assert torch.allclose(wrong.value, -(1 - wrong.p).log())
    assert torch.allclose(wrong.gradient, wrong.p)


def test_the_two_functions_of_a_loss_are_drawn_with_their_slopes() -> None:
    true, wrong = of_class(loss_spec("brier"), True), of_class(loss_spec("brier"), False)
    assert true is not None
    assert wrong is not None
    assert torch.allclose(true.value, (1 - true.p) ** 2)
    assert torch.allclose(true.gradient, 2 * true.p - 2)
    assert torch.allclose(wrong.value, wrong.p**2)
    assert torch.allclose(wrong.gradient, 2 * wrong.p)


@pytest.mark.parametrize("name", ["ngl", "focal", "baikal", "search_softmax"])
def test_a_samples_value_is_the_sum_of_its_classes_functions(name: str) -> None:
    true, wrong = of_class(loss_spec(name), True, 2), of_class(loss_spec(name), False, 2)
    assert true is not None
    assert wrong is not None
    assert torch.allclose(against_true(loss_spec(name), 2).value, true.value + wrong.value.flip(0))


@pytest.mark.parametrize("name", ["dice", "label_smoothing"])
def test_what_is_no_function_of_one_probability_is_drawn_by_samples_alone(name: str, tmp_path: Path) -> None:
    assert of_class(loss_spec(name), True) is None
    plot_losses([name], tmp_path / "alone.svg")
    plot_losses([name, "ngl"], tmp_path / "beside.svg")
    texts = [(tmp_path / f"{figure}.svg").read_text(encoding="utf-8") for figure in ("alone", "beside")]
    assert ["wrong class's function" in text for text in texts] == [False, True]


@pytest.mark.parametrize("classes", [2, 3, 100])
def test_the_squared_error_is_drawn_as_it_is(classes: int) -> None:
    p = against_true(loss_spec("brier"), classes).p
    expected = (1 - p) ** 2 + (1 - p) ** 2 / (classes - 1)
    assert torch.allclose(against_true(loss_spec("brier"), classes).value, expected)
    assert torch.allclose(against_wrong(loss_spec("brier"), classes).value, 2 * p**2)


# Some are no function of probabilities: each logit of binary cross-entropy counts for itself, and logits have a norm.
@pytest.mark.parametrize(
    "name", [name for name, one in LIBRARY.items() if name not in ("bce", "logit_norm") and one.head == "softmax"]
)
def test_a_gradient_is_the_slope_of_its_value_on_the_logit(name: str) -> None:
    # Along both lines the other classes keep their proportions, so p moves as if by its own logit alone.
    for curve in (against_true(loss_spec(name)), against_wrong(loss_spec(name), 2)):
        (slope,) = torch.gradient(curve.value, spacing=(curve.p,))
        inner = slice(20, -20)
        error = (slope * curve.p * (1 - curve.p) - curve.gradient)[inner].abs()
        assert (error <= 0.01 * curve.gradient[inner].abs().max()).double().mean() > 0.97, name  # kinks apart


def test_a_term_sees_one_sample_at_a_time() -> None:
    curve = against_true(loss_spec("dice"))
    logits = torch.stack([curve.p[7], *[(1 - curve.p[7]) / 9] * 9]).log()[None]
    alone = loss_spec("dice").build()(logits, torch.zeros(1, dtype=torch.int64))
    assert float(curve.value[7]) == pytest.approx(float(alone))


def test_scaled_gradients_are_as_long_as_cross_entropys() -> None:
    assert gradient_scale(loss_spec("cross_entropy")) == pytest.approx(1)
    assert gradient_scale(loss_spec("-4 * y_true * log(y_pred)")) == pytest.approx(0.25)
    assert gradient_scale(loss_spec("sign(y_pred - y_true)")) is None
    assert gradient_scale(loss_spec("1.5")) is None


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_figure_is_written_and_the_same_every_time(suffix: str, tmp_path: Path) -> None:
    for name in ("a", "b"):
        plot_losses(["ngl", "dice", "sign(y_pred - y_true)", "1 / y_pred"], tmp_path / f"{name}.{suffix}")
    content = (tmp_path / f"a.{suffix}").read_bytes()
    assert content.startswith(HEADS[suffix])
    assert len(content) > 10_000
    assert content == (tmp_path / f"b.{suffix}").read_bytes()


def test_a_figure_names_every_loss_and_cross_entropy(tmp_path: Path) -> None:
    losses = [
        *list(LIBRARY)[: MOST_LINES - 2],
        "exp(y_pred) - y_true * log(y_pred) + cos(y_pred * y_true)",
        "sign(y_pred)",
    ]
    plot_losses(losses, tmp_path / "losses.SVG")
    text = (tmp_path / "losses.SVG").read_text(encoding="utf-8")
    for label in [*losses[:-2], "cross-entropy, for reference", "exp(y_pred) - y_true", "sign(y_pred) (not scaled)"]:
        assert f"<!-- {label}" in text, label


def test_no_display_is_needed_and_none_is_opened(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from lossforge.report.loss_plot import plot_losses\n"
        "assert not any(name.startswith('matplotlib') for name in sys.modules)\n"
        f"plot_losses(['ngl'], Path({str(tmp_path / 'ngl.png')!r}))\n"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False, env={}, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "ngl.png").exists()


@pytest.mark.parametrize(
    ("name", "count", "told"),
    [
        ("losses.gif", 1, r"losses\.gif: a figure's name ends in \.png, \.svg, \.pdf"),
        ("losses", 1, "a figure's name ends in"),
        ("none/losses.png", 1, "there is no folder"),
        ("losses.png", MOST_LINES + 1, "at most 10 losses, not 11"),
    ],
)
def test_what_cannot_be_drawn_is_one_sentence(name: str, count: int, told: str, tmp_path: Path) -> None:
    with pytest.raises(LossforgeError, match=told) as caught:
        plot_losses(["ngl"] * count, tmp_path / name)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_what_is_no_loss_and_what_cannot_be_written_is_told(tmp_path: Path) -> None:
    with pytest.raises(LossError, match="no loss named"):
        plot_losses(["no_such_loss"], tmp_path / "losses.png")
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(StoreError, match=r"folder\.png: cannot be written"):
        plot_losses(["ngl"], tmp_path / "folder.png")
