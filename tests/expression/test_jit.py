from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from lossforge.expression import jit

PACKAGE = Path(jit.__file__).parents[1]


def test_every_module_with_compiled_functions_is_part_of_the_stamp() -> None:
    # A module that is not: its machine code stays when it, or what it calls, is changed.
    dispatcher = pytest.importorskip("numba.core.registry").CPUDispatcher
    stamped = set(jit._sources())
    assert {"bytecode.py", "vector_math.py", "plane_kernel.py"} <= {path.name for path in stamped}
    for path in sorted(PACKAGE.rglob("*_kernel.py")):
        if path.name == "triton_kernel.py":
            continue
        module = importlib.import_module(".".join(("lossforge", *path.relative_to(PACKAGE).with_suffix("").parts)))
        compiled = [item for item in vars(module).values() if isinstance(item, dispatcher)]
        assert compiled, path
        assert {Path(item.py_func.__code__.co_filename).resolve() for item in compiled} <= stamped
