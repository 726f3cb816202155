"""A loss of lossforge's with a network of timm's: python in_timm.py."""

from __future__ import annotations

import timm
import torch
from sklearn.datasets import load_digits
from torch.nn import functional

import lossforge

if __name__ == "__main__":
    images, labels = load_digits(return_X_y=True)
    x = functional.interpolate(torch.tensor(images / 16, dtype=torch.float32).view(-1, 1, 8, 8), size=32)[:512]
    y = torch.tensor(labels)[:512]
    network = timm.create_model("resnet10t", num_classes=10, in_chans=1)
    criterion = lossforge.loss("generalized_ce", match=True)  # or the class of an exported file
    optimizer = torch.optim.Adam(network.parameters(), lr=0.003)
    for _ in range(5):
        for batch in torch.randperm(len(x)).split(32):
            optimizer.zero_grad()
            criterion(network(x[batch]), y[batch]).backward()
            optimizer.step()
    network.eval()
    with torch.no_grad():
        print(f"{(network(x).argmax(1) == y).float().mean():.1%}")
