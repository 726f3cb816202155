from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from lossforge.seeding import derive_seed

ELEMENTS = st.one_of(st.integers(), st.text(max_size=8))
PATHS = st.lists(ELEMENTS, max_size=4)


@settings(deadline=None)
@given(root=st.integers(0, 2**63 - 1), path=PATHS)
def test_a_seed_has_63_bits(root: int, path: list[str | int]) -> None:
    assert 0 <= derive_seed(root, *path) < 2**63


@settings(deadline=None)
@given(root=st.integers(), first=PATHS, second=PATHS)
def test_seeds_agree_exactly_where_paths_agree(root: int, first: list[str | int], second: list[str | int]) -> None:
    assert (derive_seed(root, *first) == derive_seed(root, *second)) == (first == second)


@settings(deadline=None)
@given(first=st.integers(), second=st.integers(), path=PATHS)
def test_the_root_decides(first: int, second: int, path: list[str | int]) -> None:
    assert (derive_seed(first, *path) == derive_seed(second, *path)) == (first == second)


def test_neighbouring_elements_do_not_run_together() -> None:
    assert derive_seed(0, "ab", "c") != derive_seed(0, "a", "bc")
    assert derive_seed(0, "abc") != derive_seed(0, "ab", "c")


def test_a_number_is_not_its_text() -> None:
    assert derive_seed(0, 1) != derive_seed(0, "1")


def test_the_root_is_not_a_path_element() -> None:
    assert derive_seed(1) != derive_seed(0, 1)


def test_seeds_never_change_between_versions() -> None:
    # Written down once: a run of an older lossforge is resumed with the same seeds.
    assert derive_seed(0) == 872690540733923963
    assert derive_seed(7, "evolution") == 2068625150259710371
    assert derive_seed(2**63 - 1, "search", "digits", 3) == 7555961114619974833


def test_seeds_use_the_whole_range() -> None:
    seeds = [derive_seed(0, number) for number in range(200)]
    assert len(set(seeds)) == 200
    assert min(seeds) < 2**58 < 2**62 < max(seeds)
