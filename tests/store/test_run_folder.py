from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from lossforge.errors import LossforgeError, SpaceError, StoreError
from lossforge.spaces.load import apply_overrides, dump_space, validate_space
from lossforge.spaces.schema import SearchSpace, TaskSection
from lossforge.store.run_folder import RunFolder, refuse_changes

SPACE = SearchSpace(name="t", seed=2**63 - 1, task=[TaskSection(data="digits", label_noise=0.1)])
HOLDER = """
import sys
from pathlib import Path
from lossforge.store.run_folder import RunFolder
with RunFolder.open(Path(sys.argv[1])).locked():
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return RunFolder.create(tmp_path / "run", SPACE)


def changed(*overrides: str) -> SearchSpace:
    data = SPACE.model_dump(mode="json", exclude_none=True)
    apply_overrides(data, list(overrides))
    return validate_space(data, "test")


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def full_disk(*args: Any, **kwargs: Any) -> Any:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@contextmanager
def held_by_another(path: Path) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


def test_a_new_run_holds_its_space_and_manifest(run: RunFolder) -> None:
    assert sorted(path.name for path in run.path.iterdir()) == ["manifest.json", "space.toml"]
    assert [path.name for path in run.path.parent.iterdir()] == ["run"]
    again = RunFolder.open(run.path)
    assert again.space() == SPACE
    assert again.manifest == run.manifest


def test_the_manifest_says_what_a_result_may_depend_on(run: RunFolder) -> None:
    manifest = json.loads(run.manifest_file.read_text(encoding="utf-8"))
    assert manifest["seed"] == 2**63 - 1
    assert manifest["packages"]["torch"]
    assert manifest["packages"]["deap"]
    assert manifest["hardware"]["cores"] == os.cpu_count()
    assert manifest["space"]["task"][0]["label_noise"] == 0.1
    assert {"format", "created", "commit", "python", "command"} <= set(manifest)


def test_missing_parents_are_made(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path / "a" / "b" / "run", SPACE)
    assert RunFolder.open(run.path).space() == SPACE


def test_an_empty_folder_becomes_the_run(tmp_path: Path) -> None:
    assert RunFolder.open(RunFolder.create(tmp_path, SPACE).path).space() == SPACE


def test_the_current_folder_becomes_the_run_or_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    message = ""
    try:
        RunFolder.create(Path(), SPACE)
    except LossforgeError as error:
        message = str(error)
    assert message.startswith(".: ") or RunFolder.open(folder).space() == SPACE


def test_a_run_is_never_created_over_another(run: RunFolder) -> None:
    run.ledger_file.write_bytes(b"precious")
    before = content(run.path)
    with pytest.raises(StoreError, match="already holds a run; continue it with 'lossforge resume") as caught:
        RunFolder.create(run.path, SPACE)
    assert str(run.path) in str(caught.value)
    assert content(run.path) == before


def test_a_run_is_never_created_over_other_files(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("precious", encoding="utf-8")
    for path in (tmp_path, tmp_path / "thesis.tex"):
        with pytest.raises(StoreError, match="exists and is not a run; choose another folder with --run"):
            RunFolder.create(path, SPACE)
    assert content(tmp_path) == {"thesis.tex": b"precious"}


@pytest.mark.parametrize(("owner", "call"), [(tempfile, "mkdtemp"), (os, "fsync"), (Path, "rename")])
def test_a_full_disk_leaves_no_half_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: object, call: str
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(owner, call, full_disk)
        with pytest.raises(StoreError, match="No space left on device") as caught:
            RunFolder.create(tmp_path / "run", SPACE)
    assert str(tmp_path / "run") in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_below_a_file_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("precious", encoding="utf-8")
    with pytest.raises(StoreError, match="cannot be written") as caught:
        RunFolder.create(tmp_path / "file" / "run", SPACE)
    assert str(tmp_path / "file" / "run") in str(caught.value)
    assert content(tmp_path) == {"file": b"precious"}


@pytest.mark.parametrize("do", [lambda path: RunFolder.create(path, SPACE), RunFolder.open], ids=["create", "open"])
def test_a_name_that_the_system_refuses_is_a_store_error(tmp_path: Path, do: Any) -> None:
    with pytest.raises(StoreError):
        do(tmp_path / ("x" * 300))


@pytest.mark.parametrize("name", ["none", "empty", "file"])
def test_what_is_not_a_run_is_not_opened(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(StoreError, match=r"is not a run folder .* start one with 'lossforge search'") as caught:
        RunFolder.open(tmp_path / name)
    assert str(tmp_path / name) in str(caught.value)


DAMAGED = [b"", b"{", b"\x00" * 50, b"\xff\xfe", b"[]", b"null", b"{}", b'{"format": "1"}', b"[" * 100_000]


@pytest.mark.parametrize("damage", DAMAGED, ids=[repr(damage[:20]) for damage in DAMAGED])
def test_a_damaged_manifest_names_file_and_remedy_and_stays(run: RunFolder, damage: bytes) -> None:
    run.manifest_file.write_bytes(damage)
    with pytest.raises(StoreError, match="restore it from a copy of the run") as caught:
        RunFolder.open(run.path)
    assert str(caught.value).startswith(f"{run.manifest_file}: ")
    assert "\n" not in str(caught.value)
    assert run.manifest_file.read_bytes() == damage


def test_a_manifest_cut_anywhere_is_refused(run: RunFolder) -> None:
    whole = run.manifest_file.read_bytes().rstrip()
    for length in range(0, len(whole), 97):
        run.manifest_file.write_bytes(whole[:length])
        with pytest.raises(StoreError, match="restore it from a copy of the run"):
            RunFolder.open(run.path)


@pytest.mark.parametrize("space", [5, None, [1], "digits", {}])
def test_a_manifest_with_a_damaged_space_is_named(run: RunFolder, space: object) -> None:
    run.manifest_file.write_text(json.dumps({**run.manifest, "space": space}), encoding="utf-8")
    with pytest.raises(LossforgeError) as caught:
        RunFolder.open(run.path).space()
    assert str(caught.value).startswith(f"{run.manifest_file}")


def test_a_newer_run_is_refused_and_left_as_it_is(run: RunFolder) -> None:
    run.manifest_file.write_text(json.dumps({**run.manifest, "format": 99}), encoding="utf-8")
    before = content(run.path)
    with pytest.raises(StoreError, match=r"written by a newer lossforge \(run format 99.*update lossforge$") as caught:
        RunFolder.open(run.path)
    assert str(run.path) in str(caught.value)
    assert content(run.path) == before


@pytest.mark.parametrize(
    ("override", "key"),
    [
        ("seed=1", "seed"),
        ("evolution.population=41", "evolution.population"),
        ("task.label_noise=0.2", "task.label_noise"),
        ("recipe.epochs=11", "recipe.epochs"),
        ("validation.top=6", "validation.top"),
        ("expression.primitives=['mul', 'log', 'neg']", "expression.primitives"),
        ("description=other", "description"),
    ],
)
def test_a_changed_space_is_refused_by_the_key(run: RunFolder, override: str, key: str) -> None:
    run.space_file.write_text(dump_space(changed(override, "budget.generations=99")), encoding="utf-8")
    with pytest.raises(SpaceError) as caught:
        RunFolder.open(run.path).space()
    assert str(caught.value).startswith(f"{run.space_file}: {key} changed since the run began; ")
    assert "budget.generations" not in str(caught.value)


def test_every_changed_key_is_named(run: RunFolder) -> None:
    with pytest.raises(SpaceError, match=r"^--set: fitness\.seeds, recipe\.epochs, seed changed since the run began"):
        refuse_changes(SPACE, changed("seed=1", "recipe.epochs=2", "fitness.seeds=4"), "--set")


def test_budget_and_execution_may_change(run: RunFolder) -> None:
    new = changed("budget.generations=99", "budget.training_seconds=5.0", "execution.workers=3", "execution.device=cpu")
    run.update_space(new)
    assert RunFolder.open(run.path).space() == new
    again = changed("budget.generations=100")
    run.update_space(again)
    assert RunFolder.open(run.path).space() == again


def test_an_updated_space_does_not_move_what_the_run_began_with(run: RunFolder) -> None:
    run.update_space(changed("seed=5"))
    with pytest.raises(SpaceError, match="seed changed since the run began"):
        RunFolder.open(run.path).space()


def test_what_a_search_settles_on_is_frozen_beside_what_was_asked(run: RunFolder) -> None:
    settled = changed("recipe.cohort=4")
    run.settle(settled)
    again = RunFolder.open(run.path)
    assert again.space() == settled
    assert again.manifest["asked"] == SPACE.model_dump(mode="json", exclude_none=True)
    again.settle(changed("recipe.cohort=2"))
    assert RunFolder.open(run.path).manifest["asked"]["recipe"]["cohort"] == SPACE.recipe.cohort
    run.space_file.write_text(dump_space(changed("recipe.cohort=3")), encoding="utf-8")
    with pytest.raises(SpaceError, match=r"recipe\.cohort changed since the run began"):
        RunFolder.open(run.path).space()


def test_a_kill_while_a_search_settles_leaves_a_run_that_goes_on(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(self: RunFolder, space: SearchSpace) -> None:
        raise KeyboardInterrupt

    run.update_space(changed("budget.generations=77"))
    with monkeypatch.context() as patched:
        patched.setattr(RunFolder, "update_space", killed)
        with pytest.raises(KeyboardInterrupt):
            run.settle(changed("recipe.cohort=4", "budget.generations=77"))
    assert RunFolder.open(run.path).space() == changed("recipe.cohort=4", "budget.generations=77")


def test_a_full_disk_keeps_the_frozen_space(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    before = content(run.path)
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full_disk)
        with pytest.raises(StoreError, match="No space left on device"):
            run.update_space(changed("budget.generations=99"))
    assert content(run.path) == before


def test_a_missing_space_file_is_named(run: RunFolder) -> None:
    run.space_file.unlink()
    with pytest.raises(LossforgeError) as caught:
        run.space()
    assert str(caught.value).startswith(f"{run.space_file}: ")


def test_another_process_cannot_take_a_held_run(run: RunFolder) -> None:
    with held_by_another(run.path) as holder:
        with (
            pytest.raises(StoreError, match="another lossforge process is working on this run") as caught,
            run.locked(),
        ):
            pytest.fail("the lock was taken twice")
        assert str(run.path) in str(caught.value)
        holder.kill()
        holder.wait()
        # A process that was killed holds nothing.
        with run.locked():
            assert RunFolder.open(run.path).space() == SPACE


def test_a_held_run_can_be_read(run: RunFolder) -> None:
    with held_by_another(run.path):
        assert RunFolder.open(run.path).space() == SPACE


def test_a_lock_is_given_back(run: RunFolder) -> None:
    entered = 0
    for _ in range(2):
        with run.locked():
            entered += 1
    with pytest.raises(ZeroDivisionError), run.locked():
        raise ZeroDivisionError
    with held_by_another(run.path):
        entered += 1
    assert entered == 3


def test_the_log_grows_by_lines_with_the_time(run: RunFolder) -> None:
    run.log("first")
    run.log("second ×")
    lines = run.log_file.read_text(encoding="utf-8").splitlines()
    assert [line.split(" ", 1)[1] for line in lines] == ["first", "second ×"]
    assert all(line[10] == "T" and line[19] == "Z" for line in lines)


def test_a_log_that_cannot_be_written_is_told(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(Path, "open", full_disk)
        with pytest.raises(StoreError, match="No space left on device") as caught:
            run.log("line")
    assert str(run.log_file) in str(caught.value)


@pytest.mark.parametrize("match", [True, False])
def test_a_run_with_losses_scaled_in_another_way_is_read_and_not_gone_on_with(match: bool, tmp_path: Path) -> None:
    space = validate_space({"name": "old", "task": {"data": "digits"}, "recipe": {"match_gradient": match}}, "old")
    folder = RunFolder.create(tmp_path / "old", space)
    folder.refuse_other_scores()
    manifest = json.loads(folder.manifest_file.read_text(encoding="utf-8"))
    folder.manifest_file.write_text(json.dumps({**manifest, "format": 1}), encoding="utf-8")
    opened = RunFolder.open(folder.path)
    assert opened.space() == space
    if match:
        with pytest.raises(StoreError, match="scaled losses in another way"):
            opened.refuse_other_scores()
    else:
        opened.refuse_other_scores()


def test_the_current_folder_is_not_replaced_by_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StoreError, match=r"^\.: is the current folder, .*; choose another folder with --run$"):
        RunFolder.create(Path(), SPACE)
    assert list(tmp_path.iterdir()) == []


def test_a_place_where_no_folder_can_be_is_not_blamed_on_the_disk(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="choose another folder with --run") as caught:
        RunFolder.create(tmp_path / "file" / "run", SPACE)
    assert "disk" not in str(caught.value)
