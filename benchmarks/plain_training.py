"""Train with an exported loss as anybody would: torch alone, the recipe read from the class's docstring.

    python plain_training.py EXPORTED.py CLASS DATA.npz --seeds 8 [--optimizer sgd --rates 0.003 0.01 0.03 0.1 0.3]

prints JSON: the test accuracy of each seed, by learning rate. CLASS is one of the file, or CrossEntropyLoss for torch's
own. DATA holds x_train, y_train, x_test, y_test. It knows small_cnn only, and nothing of lossforge.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy
import torch
from torch import Tensor, nn


def network(width: int, shape: tuple[int, ...], classes: int) -> nn.Module:
    """small_cnn for 8x8 images, as docs and source describe it."""
    channels, height, breadth = shape
    head = nn.Linear(2 * width * (height // 2) * (breadth // 2), classes)
    with torch.no_grad():
        head.weight.mul_(0.1)
        head.bias.zero_()
    return nn.Sequential(
        nn.Conv2d(channels, width, 3, padding=1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(width, 2 * width, 3, padding=1, bias=False),
        nn.BatchNorm2d(2 * width),
        nn.ReLU(),
        nn.Flatten(),
        head,
    )


def recipe_of(docstring: str) -> dict[str, Any]:
    """The numbers of a docstring's recipe."""
    text = " ".join(docstring.split())

    def number(pattern: str) -> float:
        found = re.search(pattern, text)
        if found is None:
            raise SystemExit(f"the docstring says nothing like '{pattern}'")
        return float(found.group(1))

    for needed in ("network: small_cnn", "torch.optim.Adam", "OneCycleLR", "total_steps = steps + 1"):
        if needed not in text:
            raise SystemExit(f"the docstring does not say '{needed}', and this loop knows nothing else")
    return {
        "width": int(number(r"small_cnn, width (\d+)")),
        "rate": number(r"learning rate: ([\d.e-]+)"),
        "epochs": int(number(r"length: (\d+) epochs")),
        "batch": int(number(r"batches of (\d+)")),
        "noise": number(r"label noise: (\d+)%") / 100 if "label noise: none" not in text else 0.0,
    }


def train(criterion: nn.Module, recipe: dict[str, Any], data: dict[str, Tensor], optimizer: str, seed: int) -> float:
    """Test accuracy in percent of one training."""
    torch.manual_seed(seed)
    x, y = data["x_train"], data["y_train"].clone()
    classes = int(y.max()) + 1
    wrong = torch.randperm(len(y))[: round(recipe["noise"] * len(y))]
    y[wrong] = torch.randint(classes, (len(wrong),))
    model = network(recipe["width"], tuple(x.shape[1:]), classes)
    batches = len(x) // recipe["batch"]
    steps = batches * recipe["epochs"]
    if optimizer == "adam":
        following: torch.optim.Optimizer = torch.optim.Adam(model.parameters(), recipe["rate"])
    else:
        following = torch.optim.SGD(model.parameters(), recipe["rate"], momentum=0.9, nesterov=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(following, recipe["rate"], total_steps=steps + 1)
    for _ in range(recipe["epochs"]):
        order = torch.randperm(len(x))
        for place in range(batches):
            rows = order[place * recipe["batch"] : (place + 1) * recipe["batch"]]
            following.zero_grad()
            criterion(model(x[rows]), y[rows]).backward()
            following.step()
            schedule.step()
    model.eval()
    with torch.no_grad():
        right = model(data["x_test"]).argmax(1) == data["y_test"]
    return 100 * float(right.float().mean())


def main() -> None:
    """Read, train, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("name")
    parser.add_argument("data", type=Path)
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--optimizer", choices=("adam", "sgd"), default="adam")
    parser.add_argument("--rates", type=float, nargs="*", default=[])
    parser.add_argument("--recipe-of", default="", help="the class with the recipe (default: CLASS itself)")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    spec = importlib.util.spec_from_file_location("exported", asked.file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert "lossforge" not in sys.modules
    made = nn.CrossEntropyLoss if asked.name == "CrossEntropyLoss" else getattr(module, asked.name)
    recipe = recipe_of(getattr(module, asked.recipe_of or asked.name).__doc__)
    with numpy.load(asked.data) as file:
        data = {name: torch.from_numpy(file[name]) for name in ("x_train", "y_train", "x_test", "y_test")}
    found = {}
    for rate in asked.rates or [recipe["rate"]]:
        told = {**recipe, "rate": rate}
        found[rate] = [train(made(), told, data, asked.optimizer, 1000 + seed) for seed in range(asked.seeds)]
    print(json.dumps(found))


if __name__ == "__main__":
    main()
