"""A search around a training that you have already: python own_training.py [KEY=VALUE ...].

See docs/own-training.md for what the function is given, and what it must return.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

import lossforge


def train(criterion: Callable[[Tensor, Tensor], Tensor], seed: int, device: str, part: str = "validation") -> float:
    """Accuracy of a small network after a short training with wrong labels among the right ones."""
    images, labels = load_digits(return_X_y=True)
    x, y = torch.tensor(images / 16, dtype=torch.float32, device=device), torch.tensor(labels, device=device)
    first, last = (800, 1300) if part == "validation" else (1300, 1797)
    generator = torch.Generator().manual_seed(seed)
    network = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10)).to(device)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    given = y[:800].clone()
    wrong = torch.randperm(800, generator=generator)[:320].to(device)
    given[wrong] = torch.randint(10, (320,), generator=generator).to(device)
    for _ in range(4):
        for batch in torch.randperm(800, generator=generator).to(device).split(32):
            optimizer.zero_grad()
            criterion(network(x[batch]), given[batch]).backward()
            optimizer.step()
    with torch.no_grad():
        return float((network(x[first:last]).argmax(1) == y[first:last]).float().mean())


if __name__ == "__main__":
    run = lossforge.search("own_training.toml", overrides=sys.argv[1:])
    for entry in run.hall_of_fame[:3]:
        print(f"{entry.told_gain}  {entry.formula}")
