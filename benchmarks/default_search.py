"""Does the default search find a loss that is better than cross-entropy, and better than every known loss?

    python benchmarks/default_search.py [--space search_spaces/digits.toml] [--seeds 10] [--out FILE]

Runs the whole search, with its re-validation on test data, once a seed, through the command line as a user
would, and prints one line a seed: what the loss that the search ranked first gains over cross-entropy and over
the known loss that is nearest to it, each at its own best rate, with the verdict; and how many of the five
losses are better than every known loss that they met, or than cross-entropy. Nothing is picked by its test score.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

VERDICTS = ("better_than_all_known", "better_than_cross_entropy", "no_better")


def run_seed(space: Path, seed: int, folder: Path) -> tuple[list[dict], float]:
    """Search with one seed; rows of the re-validation, and seconds."""
    run = folder / f"seed-{seed}"
    started = time.monotonic()
    command = [
        sys.executable,
        "-m",
        "lossforge",
        "search",
        str(space),
        "--run",
        str(run),
        "--seed",
        str(seed),
        "--json",
    ]
    # No sweep is taken from an earlier run: every seed pays for its own.
    answer = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "LOSSFORGE_CACHE": "off"}
    )
    if answer.returncode:
        sys.exit(f"seed {seed}: {answer.stderr.strip()}")
    return json.loads(answer.stdout)["validation"], time.monotonic() - started


def told(row: dict) -> str:
    return f"{row['gain']:+.2f} [{row['low']:+.2f}, {row['high']:+.2f}]"


def line_of(seed: int, rows: list[dict], seconds: float) -> str:
    first = [row for row in rows if row["rank"] == 1]
    control = next(row for row in first if row["rival"] == "cross_entropy")
    nearest = next(row for row in first if row["rival"] == row["nearest_known"])
    verdicts = {row["rank"]: row["loss_verdict"] for row in rows}
    cells = [
        seed,
        f"`{control['formula']}`",
        told(control),
        f"{nearest['rival']}: {told(nearest)}",
        control["loss_verdict"].replace("_", " "),
        *(sum(one == kind for one in verdicts.values()) for kind in VERDICTS[:2]),
        f"{seconds:.0f}",
    ]
    return f"| {' | '.join(map(str, cells))} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--space", type=Path, default=Path("search_spaces/digits.toml"))
    parser.add_argument("--seeds", type=int, default=10, help="number of seeds, from 0 up")
    parser.add_argument("--out", type=Path, help="write the table here too")
    arguments = parser.parse_args()
    import torch

    lines = [
        f"# {arguments.space.name}, {arguments.seeds} seeds, one run each; {os.cpu_count()} cores, {processor()}, "
        f"Python {platform.python_version()}, torch {torch.__version__}",
        "",
        "| seed | first in the search | over cross-entropy | over the nearest known loss | verdict "
        "| better than all known | than cross-entropy only | seconds |",
        "|---|---|---|---|---|---|---|---|",
    ]
    print("\n".join(lines), flush=True)
    counts: Counter[str] = Counter()
    firsts: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(arguments.seeds):
            rows, seconds = run_seed(arguments.space, seed, Path(folder))
            verdicts = {row["rank"]: row["loss_verdict"] for row in rows}
            counts.update(verdicts.values())
            firsts[verdicts[1]] += 1
            lines.append(line_of(seed, rows, seconds))
            print(lines[-1], flush=True)
    summary = [
        "",
        *(
            f"{kind.replace('_', ' ')}: the search's first in {firsts[kind]} of {arguments.seeds} seeds, "
            f"{counts[kind]} of all {counts.total()} re-validated losses."
            for kind in VERDICTS
        ),
    ]
    print("\n".join(summary))
    if arguments.out:
        arguments.out.write_text("\n".join(lines + summary) + "\n", encoding="utf-8")


def processor() -> str:
    from lossforge.store.run_folder import hardware

    return str(hardware()["processor"])


if __name__ == "__main__":
    main()
