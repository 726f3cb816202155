"""Search, resume and validate: from any folder, with nothing left behind, and at an end that is one."""

from __future__ import annotations

import copy
import shutil
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from tests.conftest import SMOKE

import lossforge
from lossforge.errors import ExecutionError, LossforgeError, SpaceError
from lossforge.export.run_export import export_run
from lossforge.models.imported import source_digest
from lossforge.search import loop
from lossforge.search.progress import LineProgress

SPACE = """
name = "away"
task = { data = "npz:data/blobs.npz", model = "nets.mine:network", train = 60, validation = 60 }
recipe = { epochs = 10, batch_size = 20, learning_rate = 0.05 }
evolution = { population = 4, elites = 1 }
fitness = { seeds = 1, finalists = 1, finalist_seeds = 2 }
validation = { after_search = false, learning_rates = [0.05], tuning_seeds = 1, rivals = ["cross_entropy"] }
budget = { generations = 1 }
execution = { workers = 1, data_dir = "known" }
"""
NETWORK = """
from torch import nn

def network(shape, classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(shape[0] * shape[1] * shape[2], classes))
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with data, a network and a space, all by relative paths; it is the current one."""
    folder = tmp_path / "project"
    for name in ("data", "nets"):
        (folder / name).mkdir(parents=True)
    labels = numpy.arange(200) % 3
    points = numpy.random.Generator(numpy.random.PCG64(0)).normal(size=(200, 5)) + 3 * numpy.eye(5)[labels]
    numpy.savez(
        folder / "data" / "blobs.npz", x_train=points.astype(numpy.float32).reshape(200, 5, 1, 1), y_train=labels
    )
    (folder / "nets" / "mine.py").write_text(NETWORK, encoding="utf-8")
    (folder / "space.toml").write_text(SPACE, encoding="utf-8")
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield folder
    forget_modules()


def forget_modules() -> None:
    """As in a new process."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "nets"]:
        del sys.modules[name]
    sys.path[:] = [entry for entry in sys.path if not entry.endswith(("project", "moved"))]
    source_digest.cache_clear()


def test_a_run_goes_on_from_any_folder_and_when_it_was_moved(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lossforge.search("space.toml", run="runs/first")
    monkeypatch.chdir("/")
    forget_modules()
    run = project / "runs" / "first"
    assert len(lossforge.resume(run, overrides=["budget.generations=2"]).hall_of_fame) > 2
    assert lossforge.validate(run, top=1, seeds=2)
    assert export_run(run, None, 1).is_file()
    # The run alone.
    forget_modules()
    assert lossforge.validate(run.rename(tmp_path / "elsewhere"), top=1, seeds=2)
    # All that belongs together.
    (tmp_path / "elsewhere").rename(run)
    moved = project.rename(tmp_path / "moved")
    forget_modules()
    lossforge.resume(moved / "runs" / "first", overrides=["budget.generations=3"])


def test_a_data_folder_given_on_resume_is_meant_from_here(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lossforge.search("space.toml", run="run")
    assert 'data_dir = "known"' in (project / "run" / "space.toml").read_text(encoding="utf-8")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    lossforge.resume(project / "run", data_dir="mine")
    text = (project / "run" / "space.toml").read_text(encoding="utf-8")
    assert f'data_dir = "{tmp_path / "here" / "mine"}"' in text


BROKEN = "import multiprocessing\nassert multiprocessing.parent_process() is None, 'not here'\n"


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (["execution.device=cuda"], "torch sees no GPU"),
        (["task.train=500"], "part"),
        (["task.data=npz:data/none.npz"], "there is nothing at 'data/none.npz'"),
        (["task.model=none"], "'none' is not a network"),
        (["task.model=nets.mine:none"], "has no 'none'"),
        (["task.model=nets.broken:network", "execution.workers=2"], "not here"),
        (["task.model=nets.leaves:network"], r"it called sys.exit\(0\)"),
        (["validation.rivals=['cross_entropy', 'none']"], "'none' is not a loss of the library"),
    ],
)
def test_what_is_refused_before_anything_is_trained_leaves_nothing(
    project: Path, overrides: list[str], told: str
) -> None:
    if "execution.device=cuda" in overrides and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    (project / "nets" / "broken.py").write_text(BROKEN + NETWORK, encoding="utf-8")
    (project / "nets" / "leaves.py").write_text("import sys\nsys.exit(0)\n", encoding="utf-8")
    before = sorted(project.iterdir())
    with pytest.raises(LossforgeError, match=told):
        lossforge.search("space.toml", run="run", overrides=overrides)
    assert sorted(project.iterdir()) == before


def test_parts_larger_than_a_bundled_set_are_refused_too(tmp_path: Path) -> None:
    with pytest.raises(LossforgeError, match="train = 5000"):
        lossforge.search(SMOKE, run=tmp_path / "run", overrides=["task.train=5000"])
    assert not list(tmp_path.iterdir())


def test_an_empty_folder_that_a_refused_run_was_to_be_in_stays(project: Path) -> None:
    (project / "mine").mkdir()
    (project / "nets" / "broken.py").write_text(BROKEN + NETWORK, encoding="utf-8")
    with pytest.raises(LossforgeError, match="not here"):
        lossforge.search("space.toml", run="mine", overrides=["task.model=nets.broken:network", "execution.workers=2"])
    assert not list((project / "mine").iterdir())


@pytest.mark.ray
def test_a_cluster_that_does_not_answer_leaves_nothing_and_changes_no_run(project: Path) -> None:
    with pytest.raises(ExecutionError, match="nothing answers"):
        lossforge.search("space.toml", run="run", executor="ray", address="127.0.0.1:1")
    assert not (project / "run").exists()
    lossforge.search("space.toml", run="run")
    before = (project / "run" / "space.toml").read_bytes()
    more = ["budget.generations=2"]
    with pytest.raises(ExecutionError, match="nothing answers"):
        lossforge.resume("run", executor="ray", address="127.0.0.1:1", overrides=more)
    if not torch.cuda.is_available():
        with pytest.raises(ExecutionError, match="torch sees no GPU"):
            lossforge.resume("run", device="cuda", overrides=more)
    assert (project / "run" / "space.toml").read_bytes() == before


def refuse_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*words: object, **keys: object) -> None:
        raise AssertionError("a worker was started, or the screens were compiled")

    monkeypatch.setattr(loop, "make_executor", refused)
    monkeypatch.setattr(loop, "compile_kernels", refused)
    monkeypatch.setattr("lossforge.validation.protocol.make_executor", refused)


def test_a_finished_run_says_so_at_once(finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished_run, run)
    refuse_workers(monkeypatch)
    lines: list[str] = []
    found = lossforge.resume(run, progress=LineProgress(lines.append))
    assert lines == [
        f"{run} is finished: all 3 generations are done, and nothing was trained; for more, type "
        f"'lossforge resume {run} --set budget.generations=6'"
    ]
    assert found.hall_of_fame
    assert found.validation()
    assert (run / "hall_of_fame.csv").read_bytes() == (finished_run / "hall_of_fame.csv").read_bytes()


def test_a_space_may_be_a_dict(project: Path) -> None:
    tables = tomllib.loads(SPACE)
    before = copy.deepcopy(tables)
    run = lossforge.search(tables, run="dict", overrides=["evolution.population=5", "recipe.epochs=10"], seed=3)
    assert tables == before
    assert (run.space.seed, run.space.evolution.population, run.space.name) == (3, 5, "away")
    with pytest.raises(SpaceError, match=r"^the space: recipe\.epoch: unknown key; did you mean 'epochs'\?$"):
        lossforge.search({**tables, "recipe": {"epoch": 3}}, run="other")
    with pytest.raises(TypeError, match="unexpected argument 'worker'"):
        lossforge.search(tables, run="other", worker=1)  # type: ignore[call-arg]
    assert not Path("other").exists()


@pytest.mark.parametrize("given", [None, [1], 3])
def test_what_is_no_space_and_no_run_is_refused_in_one_sentence(given: Any) -> None:
    with pytest.raises(SpaceError, match=r"^a space is the path of a TOML file, the name of a shipped space"):
        lossforge.search(given)
    for function in (lossforge.resume, lossforge.validate, lossforge.Run):
        with pytest.raises(LossforgeError, match=r"^a run is given as a path, not"):
            function(given)
    with pytest.raises(SpaceError, match=r"^overrides: give a list of texts"):
        lossforge.search("digits", overrides="seed=3")
