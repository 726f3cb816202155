from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lossforge.errors import StoreError
from lossforge.store.checkpoint import load_checkpoint, previous_file, save_checkpoint

JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=8)),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=5), inner, max_size=4)),
    max_leaves=12,
)


class KilledError(BaseException):
    """What a kill is to the code under test."""


def full_disk(*args: Any, **kwargs: Any) -> Any:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "checkpoint.json"


def generation(path: Path) -> int | None:
    state = load_checkpoint(path)
    return None if state is None else int(state["generation"])


def refusal(path: Path) -> str:
    with pytest.raises(StoreError) as caught:
        load_checkpoint(path)
    return str(caught.value)


@settings(deadline=None, max_examples=60)
@given(strategy=JSON, number=st.integers(0, 10**6))
def test_a_state_comes_back_as_it_was(tmp_path_factory: pytest.TempPathFactory, strategy: Any, number: int) -> None:
    path = tmp_path_factory.mktemp("state") / "checkpoint.json"
    save_checkpoint(path, {"generation": number, "strategy": strategy})
    assert load_checkpoint(path) == {"format": 1, "generation": number, "strategy": strategy}


def test_without_a_file_there_is_no_state(path: Path) -> None:
    assert load_checkpoint(path) is None


def test_the_newest_state_is_loaded_and_the_one_before_is_kept(path: Path) -> None:
    for number in range(3):
        save_checkpoint(path, {"generation": number})
    assert generation(path) == 2
    assert generation(previous_file(path)) == 1
    assert sorted(item.name for item in path.parent.iterdir()) == ["checkpoint.json", "checkpoint.previous.json"]


def test_a_deleted_checkpoint_falls_back_to_the_previous_one(path: Path) -> None:
    for number in range(3):
        save_checkpoint(path, {"generation": number})
    path.unlink()
    assert generation(path) == 1
    save_checkpoint(path, {"generation": 2})
    assert generation(path) == 2
    path.unlink()
    assert generation(path) == 1
    previous_file(path).unlink()
    assert load_checkpoint(path) is None


DAMAGED = [b"", b"{", b'{"format": 1, "generation"', b"\x00" * 100, b"\xff\xfe\x80", b"[1]", b"{}", b"null", b"7"]
DAMAGED += [b'{"generation": 3}', b'{"format": "1", "generation": 3}', b'{"format": 1}', b"[" * 100_000]
DAMAGED += [b'{"format": 1, "generation": "three"}', b'{"format": 1, "generation": null}']


@pytest.mark.parametrize("content", DAMAGED, ids=[repr(content[:40]) for content in DAMAGED])
def test_a_damaged_checkpoint_names_file_and_remedy_and_stays(path: Path, content: bytes) -> None:
    for number in range(2):
        save_checkpoint(path, {"generation": number})
    path.write_bytes(content)
    message = refusal(path)
    assert message.startswith(f"{path}: ")
    assert "delete it and resume: the search goes on from checkpoint.previous.json and the ledger" in message
    assert "\n" not in message
    assert path.read_bytes() == content
    path.unlink()
    assert generation(path) == 0


def test_a_checkpoint_cut_anywhere_is_refused(path: Path) -> None:
    save_checkpoint(path, {"generation": 1, "strategy": {"random": [3, [1, 2], None]}})
    whole = path.read_bytes().rstrip()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        assert str(path) in refusal(path)


def test_a_damaged_previous_checkpoint_is_named_with_its_own_remedy(path: Path) -> None:
    save_checkpoint(path, {"generation": 0})
    path.rename(previous_file(path))
    previous_file(path).write_text("{", encoding="utf-8")
    message = refusal(path)
    assert message.startswith(f"{previous_file(path)}: ")
    assert "replayed from the ledger, nothing is trained again" in message


def test_a_newer_checkpoint_is_refused(path: Path) -> None:
    content = json.dumps({"format": 2, "generation": 5})
    path.write_text(content, encoding="utf-8")
    message = refusal(path)
    assert message == f"{path}: was written by a newer lossforge (checkpoint 2); update lossforge"
    assert path.read_text(encoding="utf-8") == content


def test_a_checkpoint_that_is_a_folder_is_refused(path: Path) -> None:
    path.mkdir()
    assert f"{path}: cannot be read (Is a directory)" in refusal(path)


@pytest.mark.parametrize("call", ["os.fsync", "Path.replace"])
def test_a_full_disk_keeps_the_checkpoint(path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    for number in range(2):
        save_checkpoint(path, {"generation": number})
    owner, name = call.split(".")
    with monkeypatch.context() as patched:
        patched.setattr({"Path": Path, "os": os}[owner], name, full_disk)
        with pytest.raises(StoreError, match="No space left on device") as caught:
            save_checkpoint(path, {"generation": 2})
    assert str(path) in str(caught.value)
    assert generation(path) == 1
    save_checkpoint(path, {"generation": 2})
    assert generation(path) == 2
    assert generation(previous_file(path)) == 1


def without_links(patched: pytest.MonkeyPatch) -> None:
    def no_link(*args: Any) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    patched.setattr(os, "link", no_link)


def test_a_file_system_without_links_keeps_the_previous_too(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_links(monkeypatch)
    for number in range(3):
        save_checkpoint(path, {"generation": number})
    assert generation(path) == 2
    assert generation(previous_file(path)) == 1


def test_a_full_disk_without_links_leaves_no_draft(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_checkpoint(path, {"generation": 0})

    def half_a_copy(source: Path, target: Path) -> None:
        target.write_text("half", encoding="utf-8")
        full_disk()

    with monkeypatch.context() as patched:
        without_links(patched)
        patched.setattr(shutil, "copyfile", half_a_copy)
        with pytest.raises(StoreError, match="No space left on device"):
            save_checkpoint(path, {"generation": 1})
    assert generation(path) == 0
    assert [item.name for item in path.parent.iterdir()] == ["checkpoint.json"]


def killed_at(count: int, function: Callable[..., Any], calls: list[str]) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        calls.append(function.__name__)
        if len(calls) > count:
            raise KilledError
        return function(*args, **kwargs)

    return call


@pytest.mark.parametrize("links", [True, False])
@pytest.mark.parametrize("count", range(8))
def test_a_kill_at_any_step_leaves_the_old_state_or_the_new_one(
    path: Path, monkeypatch: pytest.MonkeyPatch, count: int, links: bool
) -> None:
    for number in range(2):
        save_checkpoint(path, {"generation": number})
    calls: list[str] = []
    with monkeypatch.context() as patched:
        if not links:
            without_links(patched)
        for owner, name in ((os, "link"), (shutil, "copyfile"), (os, "fsync"), (Path, "replace"), (Path, "open")):
            patched.setattr(owner, name, killed_at(count, getattr(owner, name), calls))
        try:
            save_checkpoint(path, {"generation": 2})
        except KilledError:
            done = False
        else:
            done = True
    assert generation(path) == 2 if done else generation(path) in (1, 2)
    assert generation(previous_file(path)) in (0, 1)
    save_checkpoint(path, {"generation": 2})
    assert generation(path) == 2
