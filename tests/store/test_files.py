from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lossforge.errors import StoreError
from lossforge.store.files import told_as_store_error, write_atomically

WRITER = """
import sys
from pathlib import Path
from lossforge.store.files import write_atomically
path = Path(sys.argv[1])
print("ready", flush=True)
for number in range(10**9):
    write_atomically(path, "ab"[number % 2] * 200_000)
"""


def full_disk(*args: Any, **kwargs: Any) -> Any:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@settings(deadline=None, max_examples=50)
@given(text=st.text())
def test_text_is_written_as_it_is(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.mktemp("files") / "file.txt"
    write_atomically(path, text)
    assert path.read_bytes() == text.encode()


def test_writing_leaves_no_temporary(tmp_path: Path) -> None:
    for text in ("old", "new"):
        write_atomically(tmp_path / "file.txt", text)
    assert [path.name for path in tmp_path.iterdir()] == ["file.txt"]
    assert (tmp_path / "file.txt").read_text(encoding="utf-8") == "new"


@pytest.mark.parametrize("call", ["Path.open", "os.fsync", "Path.replace"])
@pytest.mark.parametrize("old", ["old", None])
def test_a_full_disk_leaves_the_old_file_and_no_temporary(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, old: str | None
) -> None:
    path = tmp_path / "file.txt"
    if old is not None:
        path.write_text(old, encoding="utf-8")
    owner, name = call.split(".")
    with monkeypatch.context() as patched:
        patched.setattr({"Path": Path, "os": os}[owner], name, full_disk)
        with pytest.raises(StoreError, match="No space left on device") as caught:
            write_atomically(path, "new")
    assert str(path) in str(caught.value)
    assert "free or repair the disk, then resume" in str(caught.value)
    assert {item.name: item.read_text(encoding="utf-8") for item in tmp_path.iterdir()} == (
        {} if old is None else {"file.txt": old}
    )


def test_an_interrupted_write_leaves_the_old_file_and_no_temporary(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file.txt"
    path.write_text("old", encoding="utf-8")

    def interrupted(descriptor: int) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", interrupted)
        with pytest.raises(KeyboardInterrupt):
            write_atomically(path, "new")
    assert [(item.name, item.read_text(encoding="utf-8")) for item in tmp_path.iterdir()] == [("file.txt", "old")]


def test_text_that_is_not_unicode_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    path.write_text("old", encoding="utf-8")
    with pytest.raises(UnicodeEncodeError):
        write_atomically(path, "\ud800")
    assert [(item.name, item.read_text(encoding="utf-8")) for item in tmp_path.iterdir()] == [("file.txt", "old")]


def test_a_folder_that_cannot_be_synced_does_not_fail_a_write_that_has_happened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file.txt"
    path.write_text("old", encoding="utf-8")
    sync = os.fsync

    def files_only(descriptor: int) -> None:
        # Some network file systems answer so.
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", files_only)
    try:
        write_atomically(path, "new")
    except StoreError:
        expected = "old"
    else:
        expected = "new"
    assert path.read_text(encoding="utf-8") == expected


def test_a_missing_folder_is_a_store_error(tmp_path: Path) -> None:
    path = tmp_path / "none" / "file.txt"
    with pytest.raises(StoreError, match="No such file or directory") as caught:
        write_atomically(path, "text")
    assert str(path) in str(caught.value)


def test_only_errors_of_the_system_are_told_as_store_errors(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), told_as_store_error(tmp_path):
        raise ZeroDivisionError
    with pytest.raises(StoreError, match="TimeoutError"), told_as_store_error(tmp_path):
        raise TimeoutError


def test_a_reader_never_sees_a_torn_file(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    texts = {letter * 100_000 for letter in "ab"}
    write_atomically(path, "a" * 100_000)
    over = threading.Event()

    def write() -> None:
        for number in range(60):
            write_atomically(path, "ba"[number % 2] * 100_000)
        over.set()

    writer = threading.Thread(target=write)
    writer.start()
    seen = set()
    while not over.is_set():
        seen.add(path.read_text(encoding="utf-8"))
    writer.join()
    assert seen
    assert seen <= texts


def test_a_killed_writer_leaves_a_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    path.write_text("a" * 200_000, encoding="utf-8")
    with subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        for _ in range(5):
            time.sleep(0.02)
            assert path.read_text(encoding="utf-8") in {"a" * 200_000, "b" * 200_000}
        process.kill()
    assert path.read_text(encoding="utf-8") in {"a" * 200_000, "b" * 200_000}


@pytest.mark.parametrize(
    ("code", "helps"), [(errno.EACCES, "name another file"), (errno.EROFS, "name another file"), (errno.ENOSPC, "disk")]
)
def test_where_the_place_is_at_fault_another_one_is_asked_for(tmp_path: Path, code: int, helps: str) -> None:
    def refuse() -> None:
        with told_as_store_error(tmp_path, "try again", "name another file"):
            raise OSError(code, os.strerror(code))

    with pytest.raises(StoreError, match=f"{os.strerror(code)}.; .*{helps}"):
        refuse()
