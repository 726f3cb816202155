"""The documentation: what it shows runs, what it links to is there, and its site knows every page."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest
from tests.conftest import ROOT

DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
RUN = (
    "README.md",
    "docs/tutorial.md",
    "docs/how-to/networks.md",
    "docs/how-to/use-a-loss.md",
    "docs/concepts/signature.md",
)
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s#]+)(?:#[^)\s]*)?\)")


def blocks() -> list[tuple[str, str]]:
    """Every block of the pages that stand alone, but for those that speak of a run that the reader has."""
    found = [(page, block) for page in RUN for block in BLOCK.findall((ROOT / page).read_text(encoding="utf-8"))]
    return [(page, block) for page, block in found if not re.search(r'^[^#]*("runs/|from losses)', block, re.MULTILINE)]


def test_there_is_something_to_run() -> None:
    assert {page for page, _ in blocks()} == {*RUN}


@pytest.mark.parametrize(("page", "block"), [pytest.param(*one, id=f"{one[0]}-{n}") for n, one in enumerate(blocks())])
def test_code_that_is_shown_runs(page: str, block: str, capsys: pytest.CaptureFixture[str]) -> None:
    exec(compile(block, page, "exec"), {"__name__": "shown"})


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    places = [place for place in LINK.findall(text) if "://" not in place]
    made = {DOCS / "reference" / f"{name}.md" for name in pages().PAGES}
    missing = [one for one in places if not (path := (page.parent / one).resolve()).exists() and path not in made]
    assert missing == []


def test_the_site_has_every_page_and_no_other() -> None:
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    listed = re.findall(r"- (?:[\w ]+: )?([\w/-]+\.md)$", text[text.index("nav:") :], re.MULTILINE)
    own = {path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")}
    assert set(listed) == own | {f"reference/{name}.md" for name in pages().PAGES}
    assert len(listed) == len(set(listed))


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) < 120


def pages() -> ModuleType:
    spec = importlib.util.spec_from_file_location("reference_pages", DOCS / "reference_pages.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_reference_pages_have_every_command_key_and_loss() -> None:
    import lossforge
    from lossforge.losses.library import LIBRARY
    from lossforge.spaces.schema import RecipeSection

    made = pages()
    commands = made.reference_page("commands")
    assert all(f"## lossforge {name}\n" in commands for name in ("new", "search", "export", "schema", "list"))
    assert "| `--dry-run` |" in commands
    space = made.reference_page("space")
    assert all(f"| `{key}` |" in space for key in RecipeSection.model_fields)
    assert "cross-entropy's best of the rates below, or a number" in space
    assert all(f"| `{name}` |" in made.reference_page("losses") for name in LIBRARY)
    assert all(
        f"lossforge.{name}" in made.reference_page("python") for name in lossforge.__all__ if name != "__version__"
    )
