"""Hooks of MkDocs: reference pages from the code, and links to files of the repository as what they are.

A link out of ``docs/`` leads to nothing on the site: it becomes the file's name, and one to a file that is not there is
an error.
"""

from __future__ import annotations

import logging
import re
import sys
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
_LOG = logging.getLogger("mkdocs.plugins.lossforge")
_LINK = re.compile(r"\[(?P<text>[^\]]*)\]\((?P<place>[^)\s:]+?)(?P<anchor>#[^)\s]*)?\)")


def on_files(files: Files, config: Any) -> Files:
    """Add the reference pages."""
    sys.path.insert(0, str(ROOT / "docs"))
    from reference_pages import PAGES, reference_page

    for name in PAGES:
        files.append(File.generated(config, f"reference/{name}.md", content=reference_page(name)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Turn links out of the site into the names of files."""
    here = (ROOT / "docs" / page.file.src_uri).parent

    def named(found: re.Match[str]) -> str:
        place = (here / found["place"]).resolve()
        if (ROOT / "docs") in place.parents:
            return found[0]
        if not place.exists():
            _LOG.warning("%s: links to %s, which is not there", page.file.src_uri, found["place"])
        name = place.relative_to(ROOT) if ROOT in place.parents else place
        told = found["text"].strip("`")
        return f"`{name}`" if told in (str(name), Path(name).name) else f"{found['text']} (`{name}`)"

    return _LINK.sub(named, markdown)
