from __future__ import annotations

import errno
import importlib
from pathlib import Path
from typing import Any

import pytest
from numba import config

from lossforge.expression import jit

PACKAGE = Path(jit.__file__).parents[1]
SOURCE = "def triple(x):\n    return 3 * x\n"


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file with a function to compile; its machine code is kept in ``tmp_path / "kept"``."""
    file = tmp_path / "triple.py"
    file.write_text(SOURCE, encoding="utf-8")
    monkeypatch.setattr(config, "CACHE_DIR", str(tmp_path / "kept"))
    return file


def compiled(kernel: Path, processor: str = "") -> str:
    """What becomes of the function in a process that has not compiled it: was it kept, and was what was kept used?"""
    # Its own module is imported again for machine code from a file.
    names: dict[str, Any] = {"__name__": __name__}
    exec(compile(SOURCE, str(kernel), "exec"), names)
    triple = jit.compiler()(names["triple"])
    with pytest.MonkeyPatch.context() as patch:
        if processor:
            codegen = type(triple.targetctx.codegen())  # type: ignore[attr-defined]
            patch.setattr(codegen, "magic_tuple", lambda self: ("triple", processor, "features"))
        kept = jit.is_kept(triple)
        assert triple(2) == 6
    used = sum(triple.stats.cache_hits.values())  # type: ignore[attr-defined]
    return f"{'kept' if kept else 'not kept'}, {'used' if used else 'compiled'}"


def kept_file(kernel: Path, kind: str) -> Path:
    (file,) = (kernel.parent / "kept").rglob(f"*.{kind}")
    return file


def test_machine_code_is_kept_for_the_next_process(kernel: Path) -> None:
    assert compiled(kernel) == "not kept, compiled"
    assert compiled(kernel) == "kept, used"


@pytest.mark.parametrize("kind", ["nbi", "nbc"])
def test_a_damaged_file_costs_one_compilation_and_is_replaced(kernel: Path, kind: str) -> None:
    compiled(kernel)
    file = kept_file(kernel, kind)
    whole = file.read_bytes()
    middle = len(whole) // 2
    for damaged in (b"", whole[:middle], whole[:middle] + bytes(64) + whole[middle + 64 :], b"no machine code"):
        file.write_bytes(damaged)
        assert compiled(kernel).endswith("compiled")
        assert compiled(kernel) == "kept, used"


@pytest.mark.parametrize("kind", ["nbi", "nbc"])
def test_one_that_is_missing_or_cannot_be_read_is_compiled_again(kernel: Path, kind: str) -> None:
    compiled(kernel)
    file = kept_file(kernel, kind)
    file.unlink()
    assert compiled(kernel).endswith("compiled")
    file.unlink()
    file.mkdir()  # a folder cannot be read as a file, nor replaced by one, whoever asks
    assert compiled(kernel).endswith("compiled")


def test_machine_code_of_another_processor_is_not_used(kernel: Path) -> None:
    assert compiled(kernel, "another") == "not kept, compiled"
    assert compiled(kernel) == "not kept, compiled"
    assert compiled(kernel, "another") == "kept, used"


def test_where_nothing_can_be_written_it_is_compiled_in_every_process(
    kernel: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("file", "__pycache__"):
        (kernel.parent / name).touch()
    monkeypatch.setattr(config, "CACHE_DIR", str(kernel.parent / "file"))
    for name in ("HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, str(kernel.parent / "file"))
    for _ in range(2):
        assert compiled(kernel) == "not kept, compiled"


def test_a_folder_that_is_full_by_now_keeps_nothing(kernel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*words: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(jit._WholeFiles, "_save_data", full)
    assert compiled(kernel) == "not kept, compiled"
    assert compiled(kernel) == "kept, compiled"


def test_every_module_with_compiled_functions_is_part_of_the_stamp() -> None:
    # A module that is not: its machine code stays when it, or what it calls, is changed.
    dispatcher = pytest.importorskip("numba.core.registry").CPUDispatcher
    stamped = set(jit._sources())
    assert {"bytecode.py", "vector_math.py", "vectors.py", "layer_kernel.py"} <= {path.name for path in stamped}
    for path in sorted(PACKAGE.rglob("*_kernel.py")):
        if path.name == "triton_kernel.py":
            continue
        module = importlib.import_module(".".join(("lossforge", *path.relative_to(PACKAGE).with_suffix("").parts)))
        compiled = [item for item in vars(module).values() if isinstance(item, dispatcher)]
        assert compiled, path
        assert {Path(item.py_func.__code__.co_filename).resolve() for item in compiled} <= stamped
