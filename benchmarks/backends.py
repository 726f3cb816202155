"""What decides how a network runs on a CPU: the step of one in torch's usual format, in channels_last, and fused.

    python benchmarks/backends.py [--only NETWORK ...] [--rounds 5] [--write]

Forward and backward of one network on one core, the forms in turns, processor time, the least of the turns. "fused" is
`lossforge.models.fused_norm` in channels_last. With it the error of each form's gradient, as a share of the gradient's
length, against float64: the median of three networks.
"""

from __future__ import annotations

import argparse
import copy
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch
from torch import Tensor, nn
from torch.nn import functional

from lossforge.evaluation.threads import one_thread
from lossforge.models.fused_norm import fuse
from lossforge.models.registry import MODELS, build_model
from networks import ROWS, Row

RESULTS = Path(__file__).parent / "results" / "backends.md"
USUAL = ("resnet8", "resnet20", "inception_small", "unet", "vgg16", "resnet18", "mobilenet_v3")
HEAD = "| network | input, batch | usual, ms | channels_last | fused | error: usual | channels_last | fused |"
Form = Callable[[nn.Module], nn.Module]


def last(model: nn.Module) -> nn.Module:
    """The network with its weights in channels_last."""
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


FORMS: dict[str, Form] = {"usual": lambda model: model, "channels_last": last, "fused": lambda model: last(fuse(model))}


def gradient(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """The gradient of cross-entropy, flat."""
    loss = functional.cross_entropy(model(x), y)
    return torch.cat([part.flatten() for part in torch.autograd.grad(loss, list(model.parameters()))])


def samples(row: Row, batch: int, form: str, seed: int = 0) -> tuple[Tensor, Tensor]:
    """A batch, in the form's memory format."""
    drawn = torch.Generator().manual_seed(seed)
    x = torch.rand(batch, *row.shape, generator=drawn)
    labels = (batch, *row.shape[1:]) if MODELS[row.network].dense else (batch,)
    y = torch.randint(10, labels, generator=drawn)
    return (x if form == "usual" else x.contiguous(memory_format=torch.channels_last)), y


def built(row: Row, seed: int) -> nn.Module:
    """A network of the row."""
    return build_model(row.network, row.shape, 10, row.width, seed, dense=MODELS[row.network].dense)


def milliseconds(row: Row, rounds: int) -> dict[str, float]:
    """Of a step in each form."""
    models = {name: form(built(row, 0)) for name, form in FORMS.items()}
    found: dict[str, list[float]] = {name: [] for name in FORMS}
    for number in range(rounds + 1):
        for name, model in models.items():
            x, y = samples(row, row.batch, name)
            started = time.process_time()
            gradient(model, x, y)
            if number:
                found[name].append(1000 * (time.process_time() - started))
    return {name: min(times) for name, times in found.items()}


def errors(row: Row) -> dict[str, float]:
    """Of the gradient in each form, on a few samples."""
    found: dict[str, list[float]] = {name: [] for name in FORMS}
    for seed in range(3):
        model = built(row, seed)
        x, y = samples(row, 4, "usual", seed)
        exact = gradient(copy.deepcopy(model).double(), x.double(), y)
        for name, form in FORMS.items():
            torch.manual_seed(0)
            off = gradient(form(copy.deepcopy(model)), samples(row, 4, name, seed)[0], y).double() - exact
            found[name].append(float(off.norm() / exact.norm()))
    return {name: median(values) for name, values in found.items()}


def line(row: Row, times: dict[str, float], off: dict[str, float]) -> str:
    """A row of the table: milliseconds, gains over the usual form, and errors."""
    gains = [f"{times['usual'] / times[name]:.2f} ×" for name in ("channels_last", "fused")]
    told = [f"{off[name]:.1e}" for name in FORMS]
    return f"| {row.network} | {row.size}, {row.batch} | {times['usual']:.1f} | {' | '.join([*gains, *told])} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", default=list(USUAL), metavar="NETWORK")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    one_thread()
    told = [HEAD, "|---" * (HEAD.count("|") - 1) + "|"]
    print("\n".join(told), flush=True)
    for row in ROWS:
        if row.network in options.only:
            told.append(line(row, milliseconds(row, options.rounds), errors(row)))
            print(told[-1], flush=True)
    if options.write:
        command = " ".join(["python benchmarks/backends.py", *(word for word in sys.argv[1:] if word != "--write")])
        table = "\n".join(told)
        RESULTS.write_text(f"# How a network runs on a CPU\n\nCommand: `{command}`\n\n{table}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
