"""A loss in Keras 3 on torch: python in_keras.py [RUN], a run whose best loss is exported for Keras and taken."""

from __future__ import annotations

import importlib.util
import os
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "torch")

import keras
from keras import ops
from sklearn.datasets import load_digits

import lossforge


class FromTorch(keras.losses.Loss):
    """Any criterion of lossforge's on Keras's torch back end; an exported file needs neither this nor lossforge."""

    def __init__(self, criterion: object) -> None:
        super().__init__()
        self.criterion = criterion

    def call(self, y_true: object, y_pred: object) -> object:
        """The loss of a batch, on logits."""
        return self.criterion(y_pred, ops.cast(ops.reshape(y_true, (-1,)), "int64"))


def best_of(run: str) -> keras.losses.Loss:
    """The best loss of a run, by its stand-alone file, which runs on jax and TensorFlow too."""
    file = lossforge.Run(run).export(Path(tempfile.mkdtemp()) / "losses_keras.py", 1, "keras")
    spec = importlib.util.spec_from_file_location("losses_keras", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Discovered1()


if __name__ == "__main__":
    images, labels = load_digits(return_X_y=True)
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.layers.Dense(32, activation="relu"), keras.layers.Dense(10)])
    loss = best_of(sys.argv[1]) if sys.argv[1:] else FromTorch(lossforge.loss("generalized_ce", match=True))
    model.compile(optimizer=keras.optimizers.Adam(0.003), loss=loss, metrics=["sparse_categorical_accuracy"])
    model.fit(images[:1500] / 16, labels[:1500], batch_size=32, epochs=10, verbose=0)
    print(f"{(model.predict(images[1500:] / 16, verbose=0).argmax(1) == labels[1500:]).mean():.1%}")
