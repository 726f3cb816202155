"""Does the default search find a better loss than cross-entropy, seed after seed?

    python benchmarks/default_search.py [--space search_spaces/digits.toml] [--seeds 10] [--out FILE]

Runs the whole search, with its re-validation on test data, once a seed, through the command line as a user
would, and prints one line a seed: the best re-validated loss (the largest gain on test data of the
space's five), the loss that the search itself ranked first, and the time. The last lines count the seeds
in which each beats cross-entropy by at least 1.5 points with its 95 % interval above zero. The best of
five is picked by its test score, which flatters it a little; the first-ranked was picked without.
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
from pathlib import Path

POINTS = 1.5


def run_seed(space: Path, seed: int, folder: Path) -> tuple[list[dict], float]:
    """Search with one seed; rows of the re-validation against cross-entropy, and seconds."""
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
    rows = [row for row in json.loads(answer.stdout)["validation"] if row["rival"] == "cross_entropy"]
    return rows, time.monotonic() - started


def beats(row: dict) -> bool:
    return row["gain"] >= POINTS and row["low"] > 0


def told(row: dict) -> str:
    return f"{row['gain']:+.2f} [{row['low']:+.2f}, {row['high']:+.2f}]"


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
        "| seed | best on test | 95 % interval | first in search | formula of the best | seconds |",
        "|---|---|---|---|---|---|",
    ]
    print("\n".join(lines), flush=True)
    best_wins = first_wins = 0
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(arguments.seeds):
            rows, seconds = run_seed(arguments.space, seed, Path(folder))
            best, first = max(rows, key=lambda row: row["gain"]), rows[0]
            best_wins += beats(best)
            first_wins += beats(first)
            line = (
                f"| {seed} | {best['gain']:+.2f} | [{best['low']:+.2f}, {best['high']:+.2f}] | {told(first)} "
                f"| `{best['formula']}` | {seconds:.0f} |"
            )
            lines.append(line)
            print(line, flush=True)
    summary = [
        "",
        f"At least +{POINTS} points over cross-entropy on test data, interval above zero: the best of the five in "
        f"{best_wins} of {arguments.seeds} seeds, the search's first in {first_wins} of {arguments.seeds}.",
    ]
    print("\n".join(summary))
    if arguments.out:
        arguments.out.write_text("\n".join(lines + summary) + "\n", encoding="utf-8")


def processor() -> str:
    from lossforge.store.run_folder import hardware

    return str(hardware()["processor"])


if __name__ == "__main__":
    main()
