"""What is taken away from a run: criteria in one line, a package with tests and cards, BibTeX, a list of losses."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import lossforge
from lossforge.errors import LossforgeError, StoreError
from lossforge.export.model_card import model_cards
from lossforge.export.package import export_package
from lossforge.export.references import export_references, references
from lossforge.export.torch_module import Export
from lossforge.inspection.listings import losses_of_file
from lossforge.losses.drop_in import DropInLoss


def exported_class(path: Path, name: str) -> DropInLoss:
    spec = importlib.util.spec_from_file_location("exported", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    made: DropInLoss = getattr(module, name)()
    return made


def test_a_loaded_loss_is_the_exported_one(finished_run: Path, tmp_path: Path) -> None:
    path = lossforge.Run(finished_run).export(tmp_path / "losses.py", 2)
    found = lossforge.load(finished_run, 2)
    assert len(found) == 2
    assert len(lossforge.load(finished_run)) == len(lossforge.Run(finished_run).hall_of_fame)
    logits, target = torch.randn(8, 10, dtype=torch.float64, requires_grad=True), torch.arange(8)
    for rank, one in enumerate(found, 1):
        other = exported_class(path, f"Discovered{rank}")
        assert (one.scale, one.classes, one.head) == (other.scale, other.classes, other.head)
        torch.testing.assert_close(one(logits, target), other(logits, target))
        slopes = [torch.autograd.grad(each(logits, target), logits)[0] for each in (one, other)]
        torch.testing.assert_close(*slopes)


def test_somebodys_hall_of_fame_is_loaded_and_listed(finished_run: Path, tmp_path: Path) -> None:
    table = tmp_path / "theirs.csv"
    table.write_bytes((finished_run / "hall_of_fame.csv").read_bytes())
    entries = lossforge.Run(finished_run).hall_of_fame
    assert [row["formula"] for row in losses_of_file(table)] == [entry.formula for entry in entries]
    assert losses_of_file(table) == losses_of_file(finished_run)
    (one,) = lossforge.load(table, 1)
    one(torch.randn(4, 10), torch.arange(4))
    assert one.classes == 10
    assert one.scale == pytest.approx(lossforge.load(finished_run)[0].scale)
    table.write_text("rank,formula\n1,__import__('os')\n", encoding="utf-8")
    for read in (losses_of_file, lossforge.load):
        with pytest.raises(StoreError, match=r"theirs\.csv: is damaged"):
            read(table)


def test_a_package_has_its_own_tests_cards_and_references(finished_run: Path, tmp_path: Path) -> None:
    root = export_package(finished_run, "my-losses", tmp_path / "out", 2)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "2 passed" in done.stdout, done.stdout
    assert (root / "src" / "my_losses" / "__init__.py").read_text() == lossforge.Run(finished_run).export(
        tmp_path / "same.py", 2
    ).read_text()
    cards = (root / "MODEL_CARDS.md").read_text()
    assert cards.count("**Where it holds.**") == cards.count("**Where not.**") == 2
    assert "@software{lossforge" in (root / "losses.bib").read_text()
    with pytest.raises(StoreError, match="is there already"):
        export_package(finished_run, "my-losses", tmp_path / "out", 2)


@pytest.mark.parametrize("name", ["", "My", "1st", "torch", "class", "../up", "a b"])
def test_what_is_no_name_of_a_package_is_refused(name: str, finished_run: Path) -> None:
    with pytest.raises(LossforgeError, match="is no name of a package"):
        export_package(finished_run, name, None, 1)


def test_a_card_of_what_was_not_re_validated_says_so() -> None:
    card = model_cards([Export("Discovered1", "-y_true * log(y_pred)", ("Found by chance.",))], [], "of a test")
    assert "**Where it holds.** Not known: it was not re-validated, and its gain may be luck." in card


def test_references_are_of_what_was_met(finished_run: Path, tmp_path: Path) -> None:
    text = export_references(finished_run, tmp_path / "x.bib", 1).read_text()
    assert text.count("@misc{lossforge-discovered1,") == 1
    own = references([Export("Discovered1", "dice(e=1.0)")], "50 % of x_1", ["focal", "gce(q=0.7)"], "2026-01-02")
    assert r"50 \% of x\_1" in own
    for key in ("loss-focal", "loss-generalized-ce", "loss-dice"):
        assert f"@misc{{{key}," in own
    assert "year = {2026}" in own
    for line in own.splitlines():
        assert (
            line.count("{") - line.count("\\{") == line.count("}") - line.count("\\}")
            or line.startswith("@")
            or line == "}"
        )
