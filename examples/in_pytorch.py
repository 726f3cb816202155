"""A loss in a plain training loop: python in_pytorch.py [RUN], a run whose best loss is taken."""

from __future__ import annotations

import sys

import torch
from sklearn.datasets import load_digits
from torch import nn

import lossforge

if __name__ == "__main__":
    images, labels = load_digits(return_X_y=True)
    x, y = torch.tensor(images / 16, dtype=torch.float32), torch.tensor(labels)
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
    # One line: the best loss of a run, scaled as it was validated, or one of the library's. An exported class does too.
    criterion = lossforge.load(sys.argv[1])[0] if sys.argv[1:] else lossforge.loss("generalized_ce", match=True)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.003)
    for _ in range(10):
        for batch in torch.randperm(1500).split(32):
            optimizer.zero_grad()
            criterion(network(x[batch]), y[batch]).backward()
            optimizer.step()
    print(f"{criterion}: {(network(x[1500:]).argmax(1) == y[1500:]).float().mean():.1%}")
