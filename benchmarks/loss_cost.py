"""What does one loss cost, forward and backward, against torch's own cross-entropy?

    python benchmarks/loss_cost.py [--rounds 30] [--device cpu|cuda] [--out FILE]

Compares in one run, turn by turn, with `torch.nn.functional.cross_entropy` on the same logits: the formula
cross-entropy as a module; 24 random trees of 10 to 20 nodes, drawn as the default space draws them and passed by
the probe, as eager torch with autograd, as stand-alone modules (closed-form gradient) and through the
interpreter, one loss a call and all 24 in one call. With one logit of two classes it is compared with
`binary_cross_entropy_with_logits` on probabilities (N, 1). Every figure is the median over turns of a loss's time
divided by cross-entropy's time in the same turn; of the trees, the median (and the dearest) is printed.
On CUDA also: kernels launched for K losses in one call, and its cost from K = 1 to 64.
"""

from __future__ import annotations

import argparse
import os
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import torch
from torch.nn import functional

from lossforge.evolution.random_state import RandomState
from lossforge.evolution.variation import Variation
from lossforge.expression.interpreter import Interpreter
from lossforge.expression.tree import Expression
from lossforge.losses.compiled import ExpressionLoss
from lossforge.losses.drop_in import DropInLoss
from lossforge.losses.library import CROSS_ENTROPY
from lossforge.screening.probes import probe_reasons
from lossforge.screening.settings import ScreenSettings
from lossforge.spaces.schema import ExpressionSection, SearchSpace, TaskSection

SHAPES = ((512, 10), (512, 100))
BINARY = (512, 65_536)
TREES = 24
Step = Callable[[], object]


def draw_trees(seed: int = 0, number: int = TREES) -> list[Expression]:
    """Trees of 10 to 20 nodes with both leaves whose gradient is finite and not zero."""
    expression = ExpressionSection(initial_height=(2, 6), max_height=8)
    variation = Variation(SearchSpace(name="cost", task=[TaskSection(data="digits")], expression=expression))
    trees: list[Expression] = []
    with RandomState(seed).active():
        while len(trees) < number:
            tree = variation.vocabulary.to_expression(variation.fresh()[0])
            usable = 10 <= tree.size <= 20 and tree.uses("y_pred") and tree.uses("y_true")
            if usable and not probe_reasons(Interpreter([tree]), ScreenSettings())[0]:
                trees.append(tree)
    return trees


class EagerLoss(ExpressionLoss):
    """The formula as plain operations, differentiated by autograd."""

    forward = DropInLoss.unscaled


def trained(criterion: Callable[..., torch.Tensor], logits: torch.Tensor, target: torch.Tensor) -> Step:
    def step() -> None:
        logits.grad = None
        criterion(logits, target).backward()

    return step


def interpreted(losses: Interpreter, logits: torch.Tensor, target: torch.Tensor) -> Step:
    return lambda: losses.value_and_gradient(logits, target)


def ratios(baseline: Step, steps: list[Step], rounds: int, repeats: int = 10) -> tuple[float, list[float]]:
    """Median time of the baseline in microseconds, and the median ratio of each step to it, turn by turn."""

    def timed(step: Step) -> float:
        started = time.perf_counter()
        for _ in range(repeats):
            step()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return (time.perf_counter() - started) / repeats

    for step in (baseline, *steps):
        for _ in range(3):
            step()
    times: list[float] = []
    found: list[list[float]] = [[] for _ in steps]
    for _ in range(rounds):
        for place, step in enumerate(steps):
            # The baseline before every step: on a noisy machine only neighbours compare.
            own = timed(baseline)
            times.append(own)
            found[place].append(timed(step) / own)
    return 1e6 * median(times), [median(values) for values in found]


@dataclass(frozen=True, slots=True)
class Cost:
    """Forward and backward of one loss as multiples of `torch.nn.functional.cross_entropy` (``unit``, microseconds).

    Of the trees each its own; ``together``: a loss's share where all are one call of the interpreter.
    """

    unit: float
    formula: float
    eager: list[float]
    module: list[float]
    alone: list[float]
    together: float


def measured(shape: tuple[int, int], trees: list[Expression], rounds: int, device: str, repeats: int = 10) -> Cost:
    """The cost of the trees on float32 logits of a shape."""
    logits = torch.randn(shape, device=device, requires_grad=True)
    target = torch.randint(shape[1], (shape[0],), device=device)
    baseline = trained(functional.cross_entropy, logits, target)
    all_at_once = Interpreter(trees)
    steps = [
        trained(ExpressionLoss(CROSS_ENTROPY), logits, target),
        interpreted(all_at_once, logits, target),
        *(trained(EagerLoss(tree).to(device), logits, target) for tree in trees),
        *(trained(ExpressionLoss(tree).to(device), logits, target) for tree in trees),
        *(interpreted(Interpreter([tree]), logits, target) for tree in trees),
    ]
    unit, (formula, together, *rest) = ratios(baseline, steps, rounds, repeats)
    eager, module, alone = (rest[start : start + len(trees)] for start in range(0, len(rest), len(trees)))
    return Cost(unit, formula, eager, module, alone, together / len(trees))


def report(shape: tuple[int, int], trees: list[Expression], rounds: int, device: str) -> list[str]:
    cost = measured(shape, trees, rounds, device)

    def told(values: list[float]) -> str:
        return f"{median(values):.2f} (dearest {max(values):.2f})"

    return [
        f"{shape[0]} x {shape[1]}, float32; F.cross_entropy: {cost.unit:.0f} us, the unit of what follows",
        f"  formula cross-entropy, module            {cost.formula:.2f}",
        f"  24 trees, eager torch with autograd      {told(cost.eager)}",
        f"  24 trees, stand-alone module             {told(cost.module)}",
        f"  24 trees, interpreter, one a call        {told(cost.alone)}",
        f"  24 trees, interpreter, all in one call   {cost.together:.2f} a loss",
    ]


def binary_report(samples: int, rounds: int, device: str) -> list[str]:
    """One logit of two classes, (N, 1): the formula cross-entropy beside torch's own."""
    logits = torch.randn(samples, 1, device=device, requires_grad=True)
    target = torch.randint(2, (samples,), device=device)
    shares = target.float()[:, None]
    baseline = trained(functional.binary_cross_entropy_with_logits, logits, shares)
    criterion = ExpressionLoss(CROSS_ENTROPY, head="binary")
    steps = [trained(criterion, logits, given) for given in (shares, target)]
    unit, (of_shares, of_indices) = ratios(baseline, steps, rounds)
    return [
        f"{samples} x 1, binary head; F.binary_cross_entropy_with_logits: {unit:.0f} us, the unit of what follows",
        f"  formula cross-entropy on the same floats {of_shares:.2f}",
        f"  formula cross-entropy on class indices   {of_indices:.2f}",
    ]


def calls(
    trees: list[Expression], numbers: Sequence[int], rounds: int, device: str, shape: tuple[int, int] = (512, 10)
) -> Iterator[tuple[int, int | None, float]]:
    """For each number of losses: kernels of one call (None on a CPU), and what it costs as a multiple of one loss's."""
    logits, target = torch.randn(shape, device=device), torch.randint(shape[1], shape[:1], device=device)
    base = Interpreter(trees[:1])
    for number in numbers:
        losses = Interpreter((trees * number)[:number])
        step = interpreted(losses, logits, target)
        _, (ratio,) = ratios(interpreted(base, logits, target), [step], rounds)
        yield number, kernels_of(step) if device == "cuda" else None, ratio


def kernels_of(step: Step) -> int:
    """Kernels that a step launches on the GPU."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        step()
        torch.cuda.synchronize()
    # Calls of CUDA's own functions are events too, of the processor's.
    events = [event for event in profile.events() if event.device_type == torch.autograd.DeviceType.CUDA]
    return sum("mem" not in event.name.lower() for event in events)


def cuda_report(trees: list[Expression]) -> list[str]:
    """Kernels in one call, and the cost of a call by the number of losses."""
    return [
        f"  K = {number:2}: {kernels} kernels, {ratio:.2f} x the cost of K = 1"
        for number, kernels, ratio in calls(trees, (1, 2, 4, 8, 16, 32, 64), 30, "cuda")
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    trees = draw_trees()
    hardware = torch.cuda.get_device_name() if arguments.device == "cuda" else f"{os.cpu_count()} cores, one used"
    lines = [f"torch {torch.__version__}, Python {platform.python_version()}, {platform.machine()}, {hardware}"]
    for shape in SHAPES:
        lines += report(shape, trees, arguments.rounds, arguments.device)
    for samples in BINARY:
        lines += binary_report(samples, arguments.rounds, arguments.device)
    if arguments.device == "cuda":
        lines += cuda_report(trees)
    print("\n".join(lines))
    if arguments.out:
        arguments.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
