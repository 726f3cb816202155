"""The command line: exit codes, one clear sentence, JSON, and nothing heavy for --help."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.conftest import SMOKE, TINY

from lossforge.losses.library import loss

ROOT = Path(__file__).resolve().parents[1]


def lossforge(*words: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "lossforge", *words], capture_output=True, text=True, check=False, cwd=cwd, timeout=120
    )


def json_of(*words: str, cwd: Path = ROOT) -> Any:
    answer = lossforge(*words, "--json", cwd=cwd)
    assert answer.returncode == 0, answer.stderr
    return json.loads(answer.stdout)


def one_sentence(answer: subprocess.CompletedProcess[str]) -> str:
    assert answer.returncode == 1, (answer.stdout, answer.stderr)
    assert "Traceback" not in answer.stderr
    assert answer.stderr.startswith("error: ")
    assert answer.stderr.count("\n") == 1
    return answer.stderr


def test_show_explains_names_and_formulas_in_one_call() -> None:
    losses = json_of("show", "ngl", "-y_true * log(y_pred)", "cross_entropy", "y_pred", "y_true * y_pred")
    assert [set(entry) >= {"formula", "size", "signature", "screen"} for entry in losses] == [True] * 5
    assert losses[1]["signature"] == losses[2]["signature"] != losses[0]["signature"]
    assert losses[1]["screen"]["passed"] is True
    assert losses[1]["screen"]["rejected_by"] is None
    assert losses[3]["screen"]["passed"] is False
    assert losses[3]["screen"]["rejected_by"] == "static"
    assert losses[4]["screen"]["sign_repaired"] is True


def test_show_tells_the_simplified_form_and_the_derivative() -> None:
    losses = json_of("show", "cross_entropy", "exp(y_pred) * exp(y_true)", "dice", "exp(-y_pred)")
    assert [entry["simplified"] for entry in losses] == [
        losses[0]["formula"],
        "exp(y_pred + y_true)",
        losses[2]["formula"],
        "exp(-y_pred)",
    ]
    assert losses[0]["derivative"] == "-y_true / y_pred"
    assert losses[0]["derivative_latex"] == r"\frac{-y}{\hat{y}}"
    assert (losses[2]["size"], losses[2]["derivative"], losses[2]["screen"]["passed"]) == (None, None, True)
    table = lossforge("show", "ngl", "exp(y_pred) * exp(y_true)", "dice").stdout
    for told in ("final form   exp(y_pred + y_true)", "true class   exp(p + 1)", "df/dp", "their LaTeX", "dice(e=1.0)"):
        assert told in table


def test_show_draws_a_figure(tmp_path: Path) -> None:
    losses = json_of("show", "ngl", "dice", "--plot", str(tmp_path / "losses.svg"))
    assert [entry["loss"] for entry in losses] == ["ngl", "dice"]
    assert (tmp_path / "losses.svg").stat().st_size > 10_000
    assert "name ends in" in one_sentence(lossforge("show", "ngl", "--plot", "losses.gif", cwd=tmp_path))
    assert "no folder" in one_sentence(lossforge("show", "ngl", "--plot", "none/losses.png", cwd=tmp_path))


@pytest.mark.parametrize(
    ("formula", "told"),
    [
        ("__import__('os').system('touch hacked')", "unexpected character"),
        ("y_pred.__class__", "unexpected character '.'"),
        ("(" * 10_000 + "y_pred" + ")" * 10_000, "nested deeper"),
        ("no_such_loss", "no loss named 'no_such_loss'"),
        ("y_pred + nonsense", "unknown name 'nonsense'"),
        ("", "empty"),
    ],
)
def test_hostile_formulas_get_one_sentence_and_run_nothing(formula: str, told: str, tmp_path: Path) -> None:
    assert told in one_sentence(lossforge("show", formula, cwd=tmp_path))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (("epochs = 2", 'epochs = "two"'), "recipe.epochs"),
        (("epochs = 2", "epochs = -2"), "recipe.epochs"),
        (("epochs = 2", "epoch = 2"), "recipe.epoch"),
        (("label_noise = 0.4", "label_noise = 2"), "label_noise"),
        (('data = "digits"', 'data = "__import__"'), "task.data"),
        (("[task]", "[task"), "not valid TOML"),
        (("elites = 2", "elites = 9"), "elites"),
    ],
)
def test_broken_spaces_get_one_sentence_that_names_file_and_key(
    change: tuple[str, str], told: str, tmp_path: Path
) -> None:
    text = (ROOT / "search_spaces" / "smoke.toml").read_text(encoding="utf-8").replace(*change)
    (tmp_path / "space.toml").write_text(text, encoding="utf-8")
    sentence = one_sentence(lossforge("search", "space.toml", "--run", "run", cwd=tmp_path))
    assert told in sentence
    assert not (tmp_path / "run").exists()


def test_all_slips_in_a_space_are_told_at_once_each_with_what_was_meant(tmp_path: Path) -> None:
    text = (ROOT / "search_spaces" / "smoke.toml").read_text(encoding="utf-8")
    text = text.replace("[task]", "[taks]").replace("epochs = 2", "epoch = 2").replace('"digits"', '"digts"')
    text += '[validation]\nrivals = ["cross_entropy", "focl"]\n' if "[validation]" not in text else ""
    (tmp_path / "space.toml").write_text(text, encoding="utf-8")
    words = ("search", "space.toml", "--run", "run", "--set", "taks.modle=mlp", "--set", "evolution.population=no")
    answer = lossforge(*words, cwd=tmp_path)
    assert answer.returncode == 1
    assert "Traceback" not in answer.stderr
    for told in (
        "taks: unknown key; did you mean 'task'?",
        "recipe.epoch: unknown key; did you mean 'epochs'?",
        "  task.modle: unknown key; did you mean 'model'?",
        "--set evolution.population=no: evolution.population: input should be a valid integer",
    ):
        assert told in answer.stderr
    assert "is required" not in answer.stderr
    text = text.replace("[taks]", "[task]").replace("epoch = 2", "epochs = 2")
    (tmp_path / "space.toml").write_text(text, encoding="utf-8")
    answer = lossforge("search", "space.toml", "--run", "run", "--set", "task.model=resnet2", cwd=tmp_path)
    for told in ("task.data: 'digts' is not a data set; did you mean 'digits'?", "did you mean 'resnet20'"):
        assert told in answer.stderr
    assert not (tmp_path / "run").exists()


def test_a_missing_space_or_run_is_one_sentence(tmp_path: Path) -> None:
    assert "no such file" in one_sentence(lossforge("search", "nothing.toml", cwd=tmp_path))
    for command in ("resume", "status", "top", "validate", "export"):
        assert "not a run folder" in one_sentence(lossforge(command, "nothing", cwd=tmp_path))


def test_a_damaged_run_is_one_sentence_and_stays_as_it_is(finished_run: Path, tmp_path: Path) -> None:
    run = shutil.copytree(finished_run, tmp_path / "run")
    checkpoint = (run / "checkpoint.json").read_bytes()
    (run / "checkpoint.json").write_bytes(checkpoint[: len(checkpoint) // 2])
    assert "checkpoint.json" in one_sentence(lossforge("resume", str(run)))
    (run / "checkpoint.json").write_bytes(checkpoint)
    damaged = b"this is no database" * 1000
    (run / "ledger.sqlite").write_bytes(damaged)
    assert "ledger.sqlite" in one_sentence(lossforge("resume", str(run)))
    assert (run / "ledger.sqlite").read_bytes() == damaged
    manifest = json.loads((run / "manifest.json").read_text(encoding="utf-8"))
    (run / "manifest.json").write_text(json.dumps({**manifest, "format": 99}), encoding="utf-8")
    assert "newer lossforge" in one_sentence(lossforge("resume", str(run)))


def test_usage_errors_exit_with_2() -> None:
    assert lossforge("nonsense").returncode == 2
    assert lossforge("list", "nonsense").returncode == 2
    assert lossforge("search").returncode == 2


def test_status_top_and_validate_print_json(finished_run: Path) -> None:
    status = json_of("status", str(finished_run))
    assert status["finished"] is True
    assert status["generations_done"] == 3
    assert status["candidates"]["trained"] > 0
    top = json_of("top", str(finished_run), "-n", "2")
    assert [set(entry) >= {"rank", "formula", "fitness", "gain", "size"} for entry in top] == [True, True]
    rows = json_of("validate", str(finished_run), "--workers", "1")
    assert all(set(row) >= {"formula", "rival", "gain", "low", "high", "seeds"} for row in rows)


def test_tables_are_printed_for_people(finished_run: Path) -> None:
    assert "formula" in lossforge("top", str(finished_run)).stdout
    assert "generations done" in lossforge("status", str(finished_run)).stdout
    assert "gain [95 % interval]" in lossforge("validate", str(finished_run), "--workers", "1").stdout


@pytest.mark.parametrize("what", ["losses", "primitives", "datasets", "models", "spaces"])
def test_lists_have_rows(what: str) -> None:
    assert json_of("list", what)


def test_the_list_of_losses_tells_how_each_is_reduced() -> None:
    rows = {row["name"]: row for row in json_of("list", "losses")}
    assert rows["ngl"]["reduction"] == "mean over samples and classes"
    assert rows["dice"]["reduction"] != rows["cross_entropy"]["reduction"] != rows["ngl"]["reduction"]


def test_an_exported_file_is_the_searched_loss_and_needs_torch_alone(finished_run: Path, tmp_path: Path) -> None:
    output = tmp_path / "found.py"
    answer = lossforge("export", str(finished_run), "-o", str(output), "-n", "4")
    assert answer.returncode == 0, answer.stderr
    assert "lossforge" not in [
        line.split()[1].split(".")[0] for line in output.read_text().splitlines() if "import " in line[:7]
    ]
    spec = importlib.util.spec_from_file_location("found", output)
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    top = json_of("top", str(finished_run))
    logits = torch.cat([torch.randn(8, 10), torch.sign(torch.randn(8, 10)) * 50, torch.eye(10) * 2000])
    target = torch.arange(len(logits)) % 10
    for entry in top[:3]:
        criterion = getattr(found, f"Discovered{entry['rank']}")()
        values = []
        for function in (criterion, loss(entry["formula"], match=10)):
            z = logits.clone().requires_grad_()
            value = function(z, target)
            value.backward()
            assert z.grad is not None
            values.append((value.detach(), z.grad))
        # The searched loss has its gradient in closed form, the exported one by autograd.
        for exported, searched in zip(*values, strict=True):
            torch.testing.assert_close(exported, searched, rtol=1e-5, atol=1e-6 * float(searched.abs().max()))
        assert entry["formula"] in (criterion.__doc__ or "")


def test_the_doctor_finds_this_machine_able_to_search() -> None:
    checks = json_of("doctor")
    assert {check["check"] for check in checks} >= {"Python", "torch", "memory", "training"}
    assert [check for check in checks if check["state"] == "bad"] == []


def test_help_is_printed_without_torch() -> None:
    code = (
        "import sys; from lossforge.cli import app\n"
        "try: app(['--help'])\n"
        "except SystemExit: pass\n"
        "print(sorted({'torch', 'deap', 'sympy', 'ray', 'numpy', 'matplotlib'} & set(sys.modules)), file=sys.stderr)"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "search" in answer.stdout
    assert answer.stderr.strip() == "[]"


def test_words_are_explained() -> None:
    assert [*json_of("explain", "hall", "of", "fame")] == ["hall of fame"]
    assert {"static", "audit", "signature", "lane"} <= {*json_of("explain")}
    assert "did you mean 'audit'?" in one_sentence(lossforge("explain", "auditt"))


NOISY = """
import atexit, ctypes, os, sys

print("IMPORTED")
atexit.register(print, "AT EXIT")

def network(shape, classes, width):
    from torch import nn

    print("PYTHON")
    sys.__stdout__.write("PLAIN\\\\n")
    os.system("echo SHELL")
    os.write(1, b"RAW\\\\n")
    ctypes.CDLL(None).puts(b"LIBRARY")
    features = shape[0] * shape[1] * shape[2]
    return nn.Sequential(nn.Flatten(), nn.Linear(features, classes))
""".replace("\\\\n", "\\n")


@pytest.mark.parametrize("workers", ["1", "2"])
def test_json_stays_clean_whatever_a_network_prints(workers: str, tmp_path: Path) -> None:
    (tmp_path / "noisy.py").write_text(NOISY, encoding="utf-8")
    changes = [
        *TINY,
        "task.model=noisy:network",
        "budget.generations=1",
        "evolution.population=4",
        "evolution.elites=1",
    ]
    words = [word for change in changes for word in ("--set", change)]
    run = ("search", str(SMOKE), "--run", "run", "--workers", workers, *words, "--json")
    answer = lossforge(*run, cwd=tmp_path)
    assert answer.returncode == 0, answer.stderr
    assert json.loads(answer.stdout)["run"] == "run"
    for told in ("IMPORTED", "PYTHON", "PLAIN", "SHELL", "RAW", "LIBRARY", "AT EXIT", "generation 1/1"):
        assert told in answer.stderr


def test_losses_are_listed_by_group_within_80_columns_and_found_by_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    lines = lossforge("list", "losses").stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert [line for line in lines if line in ("clean", "label noise", "imbalance", "segmentation", "evolved")] == [
        *("clean", "label noise", "imbalance", "segmentation", "evolved")
    ]
    noise = lossforge("list", "losses", "noise").stdout
    assert "jal_ce" in noise
    assert "alpha 1, beta 1, a 30" in noise
    assert "dice" not in noise
    assert [row["name"] for row in json_of("list", "losses", "mae")] == ["mean_absolute_error"]
    alone = lossforge("list", "losses", "anl_ce").stdout
    for told in ("formula", "NeurIPS", "100 classes: alpha 10, beta 1", "label noise"):
        assert told in alone
    assert "did you mean 'focal'?" in one_sentence(lossforge("list", "losses", "focl"))
