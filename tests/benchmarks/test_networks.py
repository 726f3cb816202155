"""The table of all networks against plain loops: both rivals do lossforge's work, masks included."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

import networks
import paired
from lossforge.models.registry import MODELS


def test_every_network_has_a_row() -> None:
    assert {row.network for row in networks.ROWS} == set(MODELS)


@pytest.mark.parametrize("row", networks.QUICK, ids=lambda row: row.network)
def test_all_sides_train_the_same_networks(row: networks.Row, tmp_path: Path) -> None:
    space = networks.space_of(row, networks.data_file(row, tmp_path), "float32")
    lossforge, plain, best = (networks.side(name, space, 4)[1] for name in networks.SIDES)
    assert len(lossforge) == 4
    assert None not in lossforge
    assert plain == pytest.approx(lossforge, abs=0.1)
    assert best == pytest.approx(plain, abs=0.1)


def test_the_table_tells_medians_and_their_range() -> None:
    ratios = {(rival, together): [2.0, 1.0, 4.0] for rival in networks.SIDES[1:] for together in (True, False)}
    each = dict.fromkeys(networks.SIDES, 0.5)
    told = networks.line(networks.Measured(networks.QUICK[1], "loop", 2, ratios, each, each, each))
    assert told.startswith("| unet | 1×16×16, 4 | loop, 2 | 2.00 (1.00–4.00) |")
    assert told.count("|") == networks.HEAD.count("|")


@pytest.mark.parametrize("name", ["small_cnn", "mlp", "resnet8"])
def test_paired_trainings_end_at_the_same_accuracy(name: str, tmp_path: Path) -> None:
    rows = {row.network: row for row in reversed(networks.ROWS)}
    row = replace(rows[name], width=4, batch=16, steps=20)
    values = paired.differences(row, tmp_path, 6)
    assert len(values) == 6
    mean, half = paired.interval(values)
    assert abs(mean) <= max(half, 0.5)
    assert half < 5
    assert paired.line(name, row.size, [0.1, -0.1]).endswith(" | too wide |")
