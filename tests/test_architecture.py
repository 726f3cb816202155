from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[1] / "src" / "lossforge"
FILES = sorted(SOURCE.rglob("*.py"))

GROUND = {"errors", "seeding", "interrupts", "cache_folders"}
KNOWS: dict[str, set[str]] = {
    "errors": set(),
    "seeding": set(),
    "interrupts": set(),
    "cache_folders": set(),
    "layout": set(),
    "glossary": {"errors"},
    "standard_output": set(),
    "expression": {"errors"},
    "losses": {"expression", "errors"},
    "screening": {"expression", "losses", "errors"},
    "spaces": {"expression", "errors"},
    "data": {"spaces", *GROUND},
    "models": {"expression", "spaces", *GROUND},
    "training": {"data", "models", "losses", "expression", "spaces", *GROUND},
}
KNOWS["evaluation"] = {"training", *KNOWS["training"]}
KNOWS["executors"] = {"evaluation", "standard_output", *KNOWS["evaluation"]}
KNOWS["evolution"] = {"expression", "losses", "spaces", *GROUND}
KNOWS["store"] = {"spaces", *GROUND}
KNOWS["search"] = {*KNOWS}
KNOWS["validation"] = {*KNOWS}
KNOWS["export"] = {*KNOWS}
KNOWS["report"] = {*KNOWS}
KNOWS["inspection"] = {*KNOWS}
KNOWS["run"] = {*KNOWS}
KNOWS["api"] = {*KNOWS} - {"inspection"}
KNOWS["comparing"] = {*KNOWS}
KNOWS["starting"] = {*KNOWS}
KNOWS["console"] = {*KNOWS}
KNOWS["cli"] = {*KNOWS, "lossforge"}
KNOWS["__main__"] = {"cli"}
KNOWS["lossforge"] = {*KNOWS} - {"cli", "console", "__main__"}

OWNERS = {
    "deap": "evolution/",
    "cmaes": "evolution/constants.py",
    "sympy": "expression/simplify.py",
    "matplotlib": "report/",
    "ray": "executors/ray_",
    "sqlite3": "store/ledger.py",
    "pydantic": "spaces/",
    "typer": "cli.py",
    "triton": "expression/triton_kernel.py",
    "numba": "expression/",
    "torchvision": ("data/", "models/"),
    "PIL": "data/",
}
HEAVY = ("torch", "torchvision", "PIL", "deap", "sympy", "ray", "matplotlib")
UNSAFE_MODULES = {"pickle", "cPickle", "_pickle", "cloudpickle", "dill", "marshal", "shelve", "joblib"}
UNSAFE_CALLS = {"eval", "sympify", "parse_expr", "__import__", "from_string", "unsafe_load"}


def name_of(path: Path) -> str:
    return path.relative_to(SOURCE).as_posix()


def room_of(path: Path) -> str:
    first = path.relative_to(SOURCE).parts[0].removesuffix(".py")
    return "lossforge" if first == "__init__" else first


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imports(path: Path) -> Iterator[str]:
    """Dotted names of every import, wherever it stands, with what is taken from a package."""
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name_of(path)}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def rooms_known(path: Path) -> set[str]:
    found = set()
    for name in imports(path):
        parts = name.split(".")
        if parts[0] == "lossforge":
            inside = len(parts) > 1 and ((SOURCE / parts[1]).is_dir() or (SOURCE / f"{parts[1]}.py").is_file())
            found.add(parts[1] if inside else "lossforge")
    return found


def names(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            yield node.id


def test_there_is_something_to_walk() -> None:
    assert len(FILES) > 40
    assert {"search", "evolution", "lossforge"} <= {room_of(path) for path in FILES}


def test_every_room_has_its_place() -> None:
    assert {room_of(path) for path in FILES} <= {*KNOWS}


def test_the_places_make_no_circle() -> None:
    left = {room: set(below) for room, below in KNOWS.items()}
    while left:
        lowest = {room for room, below in left.items() if not below & set(left) - {room}}
        assert lowest, f"these know each other: {sorted(left)}"
        left = {room: below for room, below in left.items() if room not in lowest}


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_imports_go_downward_only(path: Path) -> None:
    room = room_of(path)
    assert rooms_known(path) - KNOWS[room] - {room} == set()


def modules_known(path: Path) -> set[Path]:
    """Modules of lossforge that a module imports, wherever the import stands."""
    found = set()
    for name in imports(path):
        parts = name.split(".")
        if parts[0] != "lossforge":
            continue
        for end in range(len(parts), 0, -1):
            place = SOURCE.joinpath(*parts[1:end])
            if place.with_suffix(".py").is_file() and end > 1:
                found.add(place.with_suffix(".py"))
                break
            if (place / "__init__.py").is_file():
                found.add(place / "__init__.py")
                break
    return found - {path}


def test_no_module_knows_itself_by_a_detour() -> None:
    left = {path: modules_known(path) for path in FILES if path != SOURCE / "__init__.py"}
    while left:
        lowest = {path for path, below in left.items() if not below & set(left)}
        assert lowest, f"these know each other: {sorted(map(name_of, circle(left)))}"
        left = {path: below for path, below in left.items() if path not in lowest}


def circle(left: dict[Path, set[Path]]) -> set[Path]:
    """What is left once modules that nobody in a circle needs are taken away too."""
    while True:
        needed = {below for known in left.values() for below in known}
        if needed >= set(left):
            return set(left)
        left = {path: known for path, known in left.items() if path in needed}


@pytest.mark.parametrize(("package", "owner"), OWNERS.items())
def test_a_library_is_imported_in_its_own_room_only(package: str, owner: str | tuple[str, ...]) -> None:
    users = {name_of(path) for path in FILES if package in {name.split(".")[0] for name in imports(path)}}
    assert [user for user in users if not user.startswith(owner)] == []
    rooms = (owner,) if isinstance(owner, str) else owner
    assert users or not any((SOURCE / room).exists() for room in rooms)


def test_the_store_knows_neither_trees_nor_tensors() -> None:
    for path in FILES:
        if room_of(path) == "store":
            assert not {name.split(".")[0] for name in imports(path)} & {*HEAVY, "numpy", "pebble"}


RESTRICTED = "data/human_labels.py"


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_nothing_that_is_read_can_run(path: Path) -> None:
    tree = tree_of(path)
    modules = {name.split(".")[0] for name in imports(path)}
    attributes = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    taken = {name.rsplit(".", 1)[-1] for name in imports(path)}
    if name_of(path) == RESTRICTED:
        # Its one use of pickle is a reader that says itself what may be named.
        assert attributes_of(tree, "pickle") == {"Unpickler"}
        assert "find_class" in {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
        modules -= {"pickle"}
    assert modules & UNSAFE_MODULES == set()
    assert {*names(tree), *taken} & UNSAFE_CALLS == set()
    # A module's eval() is torch's switch; sympy.sympify and torch.load are not.
    assert attributes & (UNSAFE_CALLS - {"eval"}) == set()
    assert "load" not in attributes_of(tree, "numpy")
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.load"]
    assert ("load" in attributes_of(tree, "torch")) == bool(calls)
    assert all("weights_only=True" in ast.unparse(call) for call in calls)


def attributes_of(tree: ast.AST, name: str) -> set[str]:
    """What is taken of a module that is called by its name."""
    nodes = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)]
    return {node.attr for node in nodes if isinstance(node.value, ast.Name) and node.value.id == name}


def test_code_is_run_in_one_place_and_it_is_our_own() -> None:
    runners = {name_of(path) for path in FILES if {"exec", "compile"} & set(names(tree_of(path)))}
    assert runners == {"expression/codegen.py"}


def test_global_random_numbers_are_drawn_by_evolution_only() -> None:
    users = {room_of(path) for path in FILES if "random" in {name.split(".")[0] for name in imports(path)}}
    # A training of the user's own may draw them: it is given the seed.
    assert users == {"evolution", "evaluation"}


def test_no_clock_stands_where_results_are_decided() -> None:
    for room in ("evolution", "expression", "screening", "spaces", "data", "models"):
        for path in FILES:
            if room_of(path) == room:
                assert not {"time", "datetime", "uuid", "secrets"} & {name.split(".")[0] for name in imports(path)}


def loaded_after(code: str) -> set[str]:
    script = f"import sys\n{code}\nsys.stderr.write(' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return {name.split(".")[0] for name in done.stderr.split()}


HELP = """
import runpy
sys.argv = ["lossforge", "--help"]
try:
    runpy.run_module("lossforge", run_name="__main__", alter_sys=True)
except SystemExit as left:
    assert not left.code
else:
    raise AssertionError("it did not leave")
"""


@pytest.mark.parametrize(
    "code", ["import lossforge", "import lossforge.cli", HELP, HELP.replace('"--help"', '"search", "--help"')]
)
def test_heavy_libraries_load_with_the_first_use(code: str) -> None:
    loaded = loaded_after(code)
    assert "lossforge" in loaded
    assert loaded & {*HEAVY, "numpy", "scipy", "sklearn"} == set()


def test_what_is_exported_exists() -> None:
    import lossforge

    for name in lossforge.__all__:
        assert getattr(lossforge, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'serch'"):
        _ = lossforge.serch


def test_every_error_is_one_of_ours() -> None:
    from lossforge import errors

    found = [item for item in vars(errors).values() if isinstance(item, type) and issubclass(item, Exception)]
    assert len(found) > 8
    assert all(issubclass(item, errors.LossforgeError) for item in found)


def public_of(room: str) -> dict[str, tuple[str, ...]]:
    """What a room's ``__init__`` says that other rooms may use."""
    tree = tree_of(SOURCE / room / "__init__.py")
    (names,) = [node.value for node in tree.body if isinstance(node, ast.AnnAssign) and node.value is not None]
    return dict(ast.literal_eval(names))


def defined_in(path: Path) -> set[str]:
    """Names that a module has: defined or imported."""
    found: set[str] = set()
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            found |= {*names(node)}
        elif isinstance(node, ast.ImportFrom):
            found |= {alias.asname or alias.name for alias in node.names}
    return found


ROOMS = sorted(path.parent.name for path in FILES if path.name == "__init__.py" and path.parent.parent == SOURCE)


@pytest.mark.parametrize("room", ROOMS)
def test_what_a_room_calls_public_is_there(room: str) -> None:
    assert (ast.get_docstring(tree_of(SOURCE / room / "__init__.py")) or "").count("\n") >= 2
    for module, listed in public_of(room).items():
        assert set(listed) <= defined_in(SOURCE / room / f"{module}.py"), module
        assert not any(name.startswith("_") for name in listed)


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_rooms_use_of_each_other_what_is_public(path: Path) -> None:
    for name in imports(path):
        parts = name.split(".")
        if parts[0] == "lossforge" and len(parts) == 4 and parts[1] in ROOMS and parts[1] != room_of(path):
            listed = public_of(parts[1]).get(parts[2], ())
            assert parts[3] in listed, f"list '{parts[3]}' in PUBLIC of lossforge/{parts[1]}/__init__.py, or do without"


MADE_OF_LOGITS = {"softmax", "log_softmax", "Softmax", "LogSoftmax"}
"""What makes probabilities of all logits of a sample."""
HEADS = ("losses/heads.py", "expression/", "models/vit.py", "export/shells/")
"""Where it may be called: heads, programs and kernels compiled for them, what is shipped for others, and attention."""


@pytest.mark.parametrize("path", [path for path in FILES if not name_of(path).startswith(HEADS)], ids=name_of)
def test_nobody_but_the_heads_knows_a_softmax(path: Path) -> None:
    tree = tree_of(path)
    called = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)} | set(names(tree))
    taken = {name.rsplit(".", 1)[-1] for name in imports(path)}
    assert (called | taken) & MADE_OF_LOGITS == set()


def test_the_heads_do_call_it() -> None:
    tree = tree_of(SOURCE / "losses" / "heads.py")
    assert MADE_OF_LOGITS & {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}


def test_what_is_shipped_with_an_export_needs_torch_alone() -> None:
    shipped = {"drop_in", "heads", "targets"}
    for name in shipped:
        found = set(imports(SOURCE / "losses" / f"{name}.py"))
        ours = {one.split(".")[2] for one in found if one.startswith("lossforge.")}
        assert ours <= shipped
        assert {one.split(".")[0] for one in found} <= {
            "__future__",
            "copy",
            "math",
            "operator",
            "warnings",
            "collections",
            "typing",
            "torch",
            "lossforge",
        }
