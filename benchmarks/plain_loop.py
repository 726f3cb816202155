"""The honest rival of `throughput.py`: a search's trainings as a good engineer writes them with DEAP and torch alone.

One training after another in eager PyTorch: `deap.gp.compile` makes a tree a function of torch operations, autograd
differentiates it, torch's fused Adam steps, the data lies in memory as tensors, and a training ends at its first loss
that is not finite. Several processes share the work where that is faster than several threads. Data, network and the
draws of labels and batches are lossforge's, so that accuracies can be compared pair by pair; the protected operations
give lossforge's values wherever no intermediate value passes ±1e12. There is no limit there: it would only cost time.
"""

from __future__ import annotations

import math
import multiprocessing
from collections.abc import Callable, Sequence
from functools import lru_cache

import torch
from deap import gp
from torch import Tensor, nn
from torch.nn import functional

from lossforge.data.augmentation import Preparation
from lossforge.data.datasets import load_task
from lossforge.data.label_noise import noisy_labels
from lossforge.models.registry import build_model
from lossforge.seeding import derive_seed
from lossforge.spaces.schema import RecipeSection, TaskSection

EPS = 1e-6
MATCH_SAMPLES = 512
SCORE_SAMPLES = 1024

Value = Tensor | float
Criterion = Callable[[Tensor, Tensor], Tensor]
Job = tuple[str, int]
"""A loss as DEAP writes trees, such as ``mul(neg(y_true), log(y_pred))``, and a seed."""


def tensor(x: Value) -> Tensor:
    return x if isinstance(x, Tensor) else torch.tensor(x)


def divide(x: Value, y: Value) -> Value:
    if isinstance(y, Tensor):
        return x / torch.where(y < 0, y.clamp(max=-EPS), y.clamp(min=EPS))
    return x / (min(y, -EPS) if y < 0 else max(y, EPS))


def quotient(x: Value, y: Value) -> Value:
    return x / (torch.sqrt(1 + y * y) if isinstance(y, Tensor) else math.sqrt(1 + y * y))


def larger(x: Value, y: Value) -> Tensor:
    if isinstance(x, Tensor) and isinstance(y, Tensor):
        return torch.maximum(x, y)
    return y.clamp(min=x) if isinstance(y, Tensor) else tensor(x).clamp(min=y)


def smaller(x: Value, y: Value) -> Tensor:
    if isinstance(x, Tensor) and isinstance(y, Tensor):
        return torch.minimum(x, y)
    return y.clamp(max=x) if isinstance(y, Tensor) else tensor(x).clamp(max=y)


def of_tensor(function: Callable[[Tensor], Tensor]) -> Callable[[Value], Tensor]:
    return lambda x: function(tensor(x))


OPERATIONS: dict[str, tuple[Callable[..., Value], int]] = {
    "add": (lambda x, y: x + y, 2),
    "sub": (lambda x, y: x - y, 2),
    "mul": (lambda x, y: x * y, 2),
    "div": (divide, 2),
    "neg": (lambda x: -x, 1),
    "square": (lambda x: x * x, 1),
    "sqrt": (of_tensor(lambda x: torch.sqrt(x.abs().clamp(min=EPS))), 1),
    "log": (of_tensor(lambda x: torch.log(x.abs().clamp(min=EPS))), 1),
    "exp": (of_tensor(lambda x: torch.exp(x.clamp(max=27.0))), 1),
    "sin": (of_tensor(torch.sin), 1),
    "cos": (of_tensor(torch.cos), 1),
    "tanh": (of_tensor(torch.tanh), 1),
    "abs": (of_tensor(torch.abs), 1),
    "sign": (of_tensor(torch.sign), 1),
    "max": (larger, 2),
    "min": (smaller, 2),
    "sigmoid": (of_tensor(torch.sigmoid), 1),
    "erf": (of_tensor(torch.erf), 1),
    "aq": (quotient, 2),
}


@lru_cache(maxsize=1)
def primitive_set() -> gp.PrimitiveSet:
    pset = gp.PrimitiveSet("loss", 3)
    pset.renameArguments(ARG0="y_pred", ARG1="y_true", ARG2="log_y_pred")
    for name, (function, arity) in OPERATIONS.items():
        pset.addPrimitive(function, arity, name=name)
    return pset


def compiled(tree: str) -> Criterion:
    """Mean loss of logits ``(B, C)`` against targets of that shape; the logarithm of a probability is a log-softmax."""
    text = tree.replace("log(y_pred)", "log_y_pred")
    function = gp.compile(text, primitive_set())

    def criterion(logits: Tensor, y_true: Tensor) -> Tensor:
        log_y_pred = torch.log_softmax(logits, 1)
        loss = tensor(function(log_y_pred.exp(), y_true, log_y_pred))
        return loss.expand_as(logits).sum(1).mean()

    return criterion


class Trainings:
    """Trains and scores one network after another on one task.

    With ``best`` as whoever looks for speed writes it: images in ``channels_last``, the recipe's precision by autocast,
    and one pass of a seed's network for the matching of all its losses.
    """

    def __init__(
        self, task: TaskSection, recipe: RecipeSection, rate: float, device: str, *, best: bool = False
    ) -> None:
        self.task, self.recipe, self.rate, self.device, self.best = task, recipe, rate, device, best
        self.starts: dict[int, Tensor] = {}
        self.data = load_task(task, device)
        self.prepare = Preparation(task.augmentation, self.data.scale, self.data.shape)

    def run(self, tree: str, seed: int) -> float | None:
        """Accuracy on the validation part; None where the loss cannot be trained with."""
        train, recipe = self.data.train, self.recipe
        model = self.network(derive_seed(seed, "weights"))
        labels = train.y.cpu()
        if not self.data.segmentation:
            labels = noisy_labels(labels, self.task.label_noise, self.data.classes, derive_seed(seed, "noise"))
        targets = functional.one_hot(labels.long(), self.data.classes).float().to(self.device)
        criterion = compiled(tree)
        scale = self.matched(model, criterion, targets, seed) if recipe.match_gradient else 1.0
        if scale is None:
            return None
        optimizer = self.optimizer(model)
        batches = max(1, len(train) // recipe.batch_size)
        steps = recipe.steps or batches * recipe.epochs
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, self.rate, total_steps=steps + 1)
        order = torch.Generator().manual_seed(derive_seed(seed, "order"))
        augmenting = self.prepare.generators([seed])
        while steps > 0:
            permutation = torch.randperm(len(train), generator=order).to(self.device)
            epoch = permutation[: batches * recipe.batch_size].split(recipe.batch_size)[:steps]
            steps -= len(epoch)
            for indices in epoch:
                x = self.placed(self.prepare(train.samples(indices), augmenting))
                loss = criterion(self.logits(model, x), targets[indices].flatten(0, -2)) * scale
                # On a GPU every look at a number waits for all that was launched: once an epoch is enough there.
                if self.device == "cpu" and not math.isfinite(loss.item()):
                    return None
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
            if not math.isfinite(loss.item()):
                return None
        return self.accuracy(model)

    def network(self, seed: int) -> nn.Module:
        data = self.data
        model = build_model(
            self.task.model, data.shape, data.classes, self.task.width, seed, dense=data.segmentation
        ).to(self.device)
        return model.to(memory_format=torch.channels_last) if self.best else model  # type: ignore[call-overload]

    def placed(self, x: Tensor) -> Tensor:
        return x.contiguous(memory_format=torch.channels_last) if self.best else x

    def logits(self, model: nn.Module, x: Tensor) -> Tensor:
        """Logits ``(N, C)`` of samples, or of all their pixels, in float32."""
        half = self.best and self.recipe.precision != "float32"
        with torch.autocast(self.device, torch.bfloat16, enabled=half):
            found: Tensor = model(x)
        found = found.float()
        return found if found.ndim == 2 else found.movedim(1, -1).flatten(0, -2)

    def forget(self) -> None:
        """As in a process that has trained nothing yet."""
        self.starts.clear()

    def optimizer(self, model: nn.Module) -> torch.optim.Optimizer:
        if self.recipe.optimizer not in ("adam", "adamw") or self.recipe.schedule != "one_cycle":
            raise SystemExit("the plain loop knows adam and adamw with one_cycle; choose such a recipe")
        kind = torch.optim.AdamW if self.recipe.optimizer == "adamw" else torch.optim.Adam
        return kind(model.parameters(), lr=self.rate, weight_decay=self.recipe.weight_decay, fused=True)

    def matched(self, model: nn.Module, criterion: Criterion, targets: Tensor, seed: int) -> float | None:
        """What gives the gradient on the logits cross-entropy's norm at the start; None where that cannot be."""
        y_true = targets[:MATCH_SAMPLES].flatten(0, -2)
        logits = self.starts.get(seed)
        if logits is None:
            logits = self.start(model)
            if self.best:
                self.starts[seed] = logits
        logits = logits.detach()
        logits.requires_grad_()
        loss = criterion(logits, y_true)
        if not loss.requires_grad:
            return None
        (found,) = torch.autograd.grad(loss, logits)
        (wanted,) = torch.autograd.grad(functional.cross_entropy(logits, y_true), logits)
        norm = float(found.norm())
        return float(wanted.norm()) / norm if math.isfinite(norm) and norm > 0 else None

    def start(self, model: nn.Module) -> Tensor:
        """Logits before the first step; the network stays as it is."""
        kept = {name: buffer.clone() for name, buffer in model.named_buffers()}
        with torch.no_grad():
            logits = self.logits(model, self.placed(self.prepare(self.data.train.x[:MATCH_SAMPLES])))
        model.load_state_dict(kept, strict=False)
        return logits

    def accuracy(self, model: nn.Module) -> float | None:
        model.eval()
        part = self.data.validation
        with torch.no_grad():
            logits = torch.cat([self.logits(model, self.placed(self.prepare(x))) for x in part.chunks(SCORE_SAMPLES)])
        return float((logits.argmax(1) == part.y.flatten()).float().mean()) if logits.isfinite().all() else None


_trainings: Trainings


def _start(threads: int, task: TaskSection, recipe: RecipeSection, rate: float, device: str) -> None:
    global _trainings
    torch.set_num_threads(threads)
    _trainings = Trainings(task, recipe, rate, device)


def _run(job: Job) -> float | None:
    return _trainings.run(*job)


class PlainLoop:
    """The loop in ``processes`` processes of ``threads`` threads."""

    def __init__(
        self, processes: int, threads: int, task: TaskSection, recipe: RecipeSection, rate: float, device: str
    ) -> None:
        context = multiprocessing.get_context("spawn")
        self._pool = context.Pool(processes, _start, (threads, task, recipe, rate, device))

    def train(self, jobs: Sequence[Job]) -> list[float | None]:
        """The jobs' accuracies."""
        return self._pool.map(_run, jobs, chunksize=1)

    def close(self) -> None:
        self._pool.terminate()
        self._pool.join()
