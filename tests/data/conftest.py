from __future__ import annotations

import socket
import urllib.request
from pathlib import Path
from typing import Any, NoReturn
from urllib.error import URLError

import pytest


@pytest.fixture(autouse=True)
def data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty data folder, and no network: a test that asks for one gets what an offline machine gets."""

    def refuse(*args: Any, **kwargs: Any) -> NoReturn:
        raise URLError("no network in tests")

    folder = tmp_path / "data folder"
    monkeypatch.setenv("LOSSFORGE_DATA", str(folder))
    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    return folder
