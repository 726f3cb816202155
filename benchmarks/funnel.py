"""What does it cost to screen a generated tree, on one core, at a population of 1,000?

    python benchmarks/funnel.py [--population 1000] [--rounds 5] [--out FILE]

Screens whole populations, from folding constants to the verdict, each with a screener that remembers nothing:
random trees as the default space draws its first ones (height 2 to 4), larger ones (height 2 to 6), and mutants
(one to three steps) of the library's losses. Prints milliseconds of processor time a generated tree (median of the
rounds), what became of the trees, and how many times longer the same screens take tree by tree in eager torch with
autograd, on a sample of the same trees, in the same run. Drawing the trees is not counted.
"""

from __future__ import annotations

import argparse
import os
import platform
import random
import time
from collections import Counter
from pathlib import Path
from statistics import median

import numpy
import torch

from lossforge.evolution.random_state import RandomState
from lossforge.evolution.variation import Variation
from lossforge.expression.adjoint import joint_program
from lossforge.expression.canonical import canonical_form, canonical_text, fold_constants
from lossforge.expression.equivalence import value_and_gradient
from lossforge.expression.formula import parse_formula
from lossforge.expression.interpreter import assembled
from lossforge.expression.signature import signature_probe
from lossforge.expression.tree import Expression
from lossforge.losses.library import LIBRARY
from lossforge.screening.descent import compile_kernels, free_logits
from lossforge.screening.funnel import static_reason
from lossforge.screening.probes import MODERATE, screen_probe
from lossforge.screening.screener import Screener
from lossforge.screening.settings import ScreenSettings
from lossforge.spaces.schema import ExpressionSection, SearchSpace, TaskSection

SAMPLE = 60
"""Trees that the slow way screens."""
SETTINGS = ScreenSettings()


def variation_of(height: tuple[int, int]) -> Variation:
    expression = ExpressionSection(initial_height=height)
    return Variation(SearchSpace(name="funnel", task=[TaskSection(data="digits")], expression=expression))


def random_trees(count: int, height: tuple[int, int], seed: int) -> list[Expression]:
    variation = variation_of(height)
    with RandomState(seed).active():
        return [variation.vocabulary.to_expression(variation.fresh()[0]) for _ in range(count)]


def mutants(count: int, seed: int) -> list[Expression]:
    variation = variation_of((2, 4))
    specs = [entry.spec() for entry in LIBRARY.values()]
    parents = [parse_formula(spec.formula) for spec in specs if not spec.is_term]
    trees = []
    with RandomState(seed).active():
        while len(trees) < count:
            tree = variation.vocabulary.to_individual(random.choice(parents))
            for _ in range(random.randint(1, 3)):
                tree = variation.mutation(tree)[0]
            trees.append(variation.vocabulary.to_expression(tree))
    return trees


def slowly(tree: Expression) -> None:
    """The same screens on one tree, in eager torch with autograd."""
    form = canonical_form(fold_constants(tree))
    canonical_text(form)
    if static_reason(form):
        return
    data = screen_probe(10)
    one_hot = torch.nn.functional.one_hot
    logits, y_true = torch.from_numpy(data.logits), one_hot(torch.from_numpy(data.labels), 10).float()
    value, gradient = value_and_gradient(form, logits, y_true)
    scale = float(gradient[:MODERATE].square().mean().sqrt())
    if not (value.isfinite().all() and gradient.isfinite().all()) or scale < 1e-12:
        return
    for part, target in signature_probe(False)[0]:
        value_and_gradient(form, torch.from_numpy(part), torch.from_numpy(target))
    start, labels = free_logits(10)
    for sign in (1, -1):
        z, target = torch.from_numpy(start[0]).clone(), one_hot(torch.from_numpy(labels), 10).float()
        for index in range(SETTINGS.descent_steps):
            _, gradient = value_and_gradient(form, z, target)
            size = float(gradient.square().mean().sqrt())
            if not 1e-12 < size < float("inf"):
                break
            z = z - sign * gradient * (SETTINGS.step * 2 * (1 - index / SETTINGS.descent_steps) / size)
        if float((z.argmax(1).numpy() == labels).mean()) >= 0.95:
            return


def forget() -> None:
    """Every round meets its trees for the first time."""
    joint_program.cache_clear()
    assembled.cache_clear()


def report(name: str, trees: list[Expression], rounds: int) -> list[str]:
    times = []
    for _ in range(rounds):
        screener = Screener(SETTINGS)
        forget()
        started = time.process_time()
        answers = screener.screen(trees)
        times.append((time.process_time() - started) / len(trees))
    tally = Counter("passed" if answer.rejected_by is None else str(answer.rejected_by) for answer in answers)
    keys = {answer.signature for answer in answers if answer.rejected_by is None}
    sample = trees[:SAMPLE]
    for tree in sample:  # compiled once, as it would be in a search
        slowly(tree)
    started = time.process_time()
    for tree in sample:
        slowly(tree)
    slow = (time.process_time() - started) / len(sample)
    screener = Screener(SETTINGS)
    forget()
    started = time.process_time()
    screener.screen(sample)
    quick = (time.process_time() - started) / len(sample)
    nodes = sum(tree.size for tree in trees) / len(trees)
    told = ", ".join(f"{outcome} {count / len(trees):.0%}" for outcome, count in sorted(tally.items()))
    return [
        f"{name}: {1e3 * median(times):.3f} ms a tree ({nodes:.1f} nodes on average; {told}; "
        f"{len(keys) / len(trees):.0%} pass and are new)",
        f"  tree by tree in eager torch, {len(sample)} of them, no small network: {slow / quick:.0f} x as long",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--population", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    compile_kernels()
    versions = f"torch {torch.__version__}, numpy {numpy.__version__}, Python {platform.python_version()}"
    lines = [f"{versions}, {platform.machine()}, {os.cpu_count()} cores, one used; median of {arguments.rounds} rounds"]
    count = arguments.population
    lines += report(f"{count} random trees, height 2-4", random_trees(count, (2, 4), 1), arguments.rounds)
    lines += report(f"{count} random trees, height 2-6", random_trees(count, (2, 6), 2), arguments.rounds)
    lines += report(f"{count} mutants of the library", mutants(count, 3), arguments.rounds)
    print("\n".join(lines))
    if arguments.out:
        arguments.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
