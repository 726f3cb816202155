"""A loss of lossforge's in Lightning: python in_lightning.py."""

from __future__ import annotations

import lightning
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import lossforge


class Classifier(lightning.LightningModule):
    """The criterion stands where nn.CrossEntropyLoss() stood; an exported class does as well."""

    def __init__(self) -> None:
        super().__init__()
        self.network = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
        self.criterion = lossforge.loss("generalized_ce", match=True)

    def training_step(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        """The loss of a batch."""
        x, y = batch
        loss: Tensor = self.criterion(self.network(x), y)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Cross-entropy's learning rate is the one to begin with: the loss has its gradient's size."""
        return torch.optim.Adam(self.parameters(), lr=0.003)


if __name__ == "__main__":
    images, labels = load_digits(return_X_y=True)
    x, y = torch.tensor(images / 16, dtype=torch.float32), torch.tensor(labels)
    model = Classifier()
    trainer = lightning.Trainer(max_epochs=5, logger=False, enable_checkpointing=False, accelerator="cpu")
    trainer.fit(model, DataLoader(TensorDataset(x, y), batch_size=32, shuffle=True))
    print(f"{(model.network(x).argmax(1) == y).float().mean():.1%}")
