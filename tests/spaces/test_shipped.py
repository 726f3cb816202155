"""Spaces that come with lossforge are found by name, from anywhere; a file that exists wins."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from lossforge.errors import SpaceError
from lossforge.inspection.listings import listing
from lossforge.spaces import shipped
from lossforge.spaces.load import load_space
from lossforge.spaces.shipped import find_space, shipped_spaces

ROOT = Path(__file__).resolve().parents[2]


def test_every_space_of_the_source_tree_is_found_by_name_from_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    files = sorted((ROOT / "search_spaces").glob("*.toml"))
    assert [*shipped_spaces().values()] == files
    for file in files:
        assert find_space(file.stem) == find_space(file.name) == file
        assert load_space(find_space(file.stem)).name == file.stem


def test_a_file_that_exists_wins_and_a_folder_of_that_name_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "digits").mkdir()
    assert find_space("digits") == shipped_spaces()["digits"]
    (tmp_path / "smoke").write_text("", encoding="utf-8")
    assert find_space("smoke") == Path("smoke")
    (tmp_path / "mine").mkdir()
    assert find_space("mine") == Path("mine")


@pytest.mark.parametrize("given", ["digit", "digit.toml", "search_spaces/digits.toml"])
def test_an_unknown_name_is_answered_with_the_nearest(
    given: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SpaceError, match=rf"^{given}: there is no such file, .*; did you mean 'digits'\?$"):
        find_space(given)


def test_what_is_like_none_is_answered_with_all(tmp_path: Path) -> None:
    with pytest.raises(SpaceError, match=r"\(known: cifar10, .*smoke\)$"):
        find_space(tmp_path / "nonsense.toml")


def test_an_installed_package_has_them_inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    wheel = table["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert "search_spaces" in wheel["only-include"]
    assert shipped._PLACES[0] == ROOT / "src" / wheel["sources"]["search_spaces"]
    (tmp_path / "digits.toml").write_text("", encoding="utf-8")
    monkeypatch.setattr(shipped, "_PLACES", (tmp_path, ROOT / "search_spaces"))
    assert shipped_spaces() == {"digits": tmp_path / "digits.toml"}


def test_the_list_has_shipped_spaces_by_name_and_ones_own_by_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    assert [row["space"] for row in listing("spaces")] == [*shipped_spaces()]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "search_spaces").mkdir()
    (tmp_path / "search_spaces" / "mine.toml").write_text('description = "of my own"\n', encoding="utf-8")
    rows = listing("spaces")
    assert [row["space"] for row in rows] == [*shipped_spaces(), "search_spaces/mine.toml"]
    assert rows[-1]["description"] == "of my own"
