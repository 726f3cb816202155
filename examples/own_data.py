"""A search on arrays of your own, and what it finds in a training loop: python own_data.py [KEY=VALUE ...]."""

from __future__ import annotations

import importlib.util
import sys
import tempfile
from pathlib import Path
from types import ModuleType

import numpy
import torch
from sklearn.datasets import load_wine
from torch import nn

import lossforge
from lossforge.export.run_export import export_run


def loaded(file: Path) -> ModuleType:
    """The exported file as a module; in a project of your own it is copied beside the code, and imported."""
    spec = importlib.util.spec_from_file_location("losses", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    x, y = load_wine(return_X_y=True)
    place = Path(tempfile.mkdtemp())
    numpy.savez(place / "wine.npz", x=x.astype(numpy.float32), y=y)
    keys = [f"task.data=npz:{place / 'wine.npz'}", "task.model=mlp", "task.train=100", "task.validation=39"]
    run = lossforge.search("smoke", overrides=[*keys, "task.normalize=true", "recipe.batch_size=16", *sys.argv[1:]])
    criterion = loaded(export_run(run.path, None, 1)).Discovered1()

    inputs = torch.tensor((x - x.mean(0)) / x.std(0), dtype=torch.float32)
    labels = torch.tensor(y)
    network = nn.Sequential(nn.Linear(13, 16), nn.ReLU(), nn.Linear(16, 3))
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    for _ in range(50):
        optimizer.zero_grad()
        criterion(network(inputs), labels).backward()
        optimizer.step()
    print(f"{(network(inputs).argmax(1) == labels).float().mean():.1%} with {criterion}")
