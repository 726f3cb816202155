"""What does a proposal of the surrogate cost, on one core?

    python benchmarks/surrogate_cost.py RUN [--rounds 5] [--out FILE]

Takes what a run has judged as known, and asks for proposals, from the fit of the forest to the queue.
Prints milliseconds of processor time (median of the rounds): the fit, once a generation, and, for each proposal that is
drawn, drawing, probing, predicting, and choosing among them. What the funnel costs for those that are asked for is in
`funnel.py`.
"""

from __future__ import annotations

import argparse
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from lossforge.evolution.genetic import GeneticStrategy
from lossforge.evolution.ranked import RankedStrategy
from lossforge.evolution.strategy import Told
from lossforge.evolution.surrogate import thompson
from lossforge.losses.candidates import parse_candidate
from lossforge.search.standing import scores_at
from lossforge.store.ledger import Ledger
from lossforge.store.run_folder import RunFolder


def timed(of: Callable[[], Any], rounds: int) -> tuple[float, Any]:
    """Milliseconds of processor time, and what came out."""
    found = []
    for _ in range(rounds):
        started = time.process_time()
        result = of()
        found.append(1000 * (time.process_time() - started))
    return median(found), result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="the folder of a run that has judged a hundred losses or more")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, help="write the table here too")
    arguments = parser.parse_args()
    folder = RunFolder.open(arguments.run)
    space = folder.space()
    ledger = Ledger(folder.ledger_file, read_only=True)
    known = scores_at(ledger, space, ledger.last_generation()).known()
    ledger.close()
    strategy = RankedStrategy(space)
    strategy.asked = 1
    best = sorted(known, key=lambda one: -one.fitness)[: space.evolution.population]
    GeneticStrategy.tell(strategy, [Told(one.key, parse_candidate(one.formula), one.fitness) for one in best])

    def fit() -> None:
        strategy.prepare(known)
        strategy._fit()

    fit()  # kernels are compiled, and known losses are probed once a run
    fitting, _ = timed(fit, arguments.rounds)
    drawing, drawn = timed(strategy._draw, arguments.rounds)
    probing, points = timed(lambda: strategy._probed.of([one.expression for one in drawn]), arguments.rounds)
    model = strategy._model
    assert model is not None, "the run has judged too few losses"
    predicting, said = timed(lambda: model.of_trees(points), arguments.rounds)
    choosing, _ = timed(lambda: thompson(said, 0), arguments.rounds)
    whole, _ = timed(strategy._refill, arguments.rounds)
    count = space.evolution.surrogate.proposals
    rows = [
        ("drawing by the genetic operators", drawing / count),
        ("probing", probing / len(drawn)),
        ("predicting by every tree", predicting / len(drawn)),
        ("Thompson draws", choosing / len(drawn)),
        ("all of it, spread out", whole / count),
        (f"all of it with the fit to {len(known)} losses ({fitting:.0f} ms)", (whole + fitting) / count),
    ]
    lines = [
        f"# {len(known)} judged losses, {count} proposals; {os.cpu_count()} cores, Python {platform.python_version()}",
        "",
        "| | ms a proposal |",
        "|---|---|",
        *(f"| {name} | {milliseconds:.3f} |" for name, milliseconds in rows),
    ]
    print("\n".join(lines))
    if arguments.out:
        arguments.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
