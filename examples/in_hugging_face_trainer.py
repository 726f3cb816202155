"""A loss of lossforge's in Hugging Face's Trainer: python in_hugging_face_trainer.py."""

from __future__ import annotations

import tempfile
from typing import Any

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from transformers import Trainer, TrainingArguments

import lossforge


class Network(nn.Module):
    """What the Trainer asks for: named inputs, and logits by name. The criterion stands in `forward`."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
        self.criterion = lossforge.loss("generalized_ce", match=True)

    def forward(self, pixels: Tensor, labels: Tensor | None = None) -> dict[str, Tensor]:
        """Logits, and the loss where labels are given."""
        logits = self.layers(pixels)
        return {"logits": logits} if labels is None else {"loss": self.criterion(logits, labels), "logits": logits}


if __name__ == "__main__":
    images, labels = load_digits(return_X_y=True)
    rows: list[dict[str, Any]] = [
        {"pixels": torch.tensor(image / 16, dtype=torch.float32), "labels": int(label)}
        for image, label in zip(images, labels, strict=True)
    ]
    model = Network()
    arguments = TrainingArguments(
        tempfile.mkdtemp(),
        num_train_epochs=5,
        per_device_train_batch_size=32,
        learning_rate=0.003,
        save_strategy="no",
        report_to=[],
        use_cpu=True,
    )
    Trainer(model, arguments, train_dataset=rows).train()
    x = torch.stack([row["pixels"] for row in rows])
    print(f"{(model(x)['logits'].argmax(1) == torch.tensor(labels)).float().mean():.1%}")
