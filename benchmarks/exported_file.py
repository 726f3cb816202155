"""Is what was validated what is exported? The exported file in a plain loop of torch, by the recipe in its docstring.

    python benchmarks/exported_file.py [RUN] [--seeds 16] [--output FILE]

RUN is a finished, re-validated run of search_spaces/digits.toml; without one a search is run first. For every exported
loss: its accuracy in the plain loop beside the re-validated one (mean difference, Welch's test), and under SGD with
momentum, at the best of five rates, beside torch's own cross-entropy there.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import fmean

import numpy
from scipy import stats

import lossforge
from lossforge.data.datasets import load_task
from lossforge.export.run_export import export_run
from lossforge.store.ledger import Ledger
from lossforge.store.run_folder import RunFolder, hardware, source_commit
from lossforge.validation.comparison import Comparison
from lossforge.validation.results import read_comparisons

LOOP = Path(__file__).with_name("plain_training.py")
RATES = ("0.003", "0.01", "0.03", "0.1", "0.3")


def write_data(folder: RunFolder, file: Path) -> None:
    """What the re-validation trained and tested on, as arrays."""
    data = load_task(folder.space().task[0], "cpu")
    train = data.pooled()
    arrays = {"x_train": train.x, "y_train": train.y, "x_test": data.test.x, "y_test": data.test.y}
    scaled = {name: array.numpy() for name, array in arrays.items()}
    for name in ("x_train", "x_test"):
        if scaled[name].dtype == numpy.uint8:
            scaled[name] = scaled[name].astype(numpy.float32) / 255
    numpy.savez(file, **scaled)


def plain(exported: Path, name: str, data: Path, *options: str) -> dict[float, list[float]]:
    """Accuracies by rate of `plain_training.py`, in a process that cannot import lossforge."""
    site = sorted(
        {str(Path(module.__file__).parents[1]) for module in (numpy, sys.modules["torch"]) if module.__file__}
    )
    code = f"import sys; sys.path[:0] = {site!r}; import runpy; runpy.run_path({str(LOOP)!r}, run_name='__main__')"
    command = [sys.executable, "-I", "-S", "-c", code, str(exported), name, str(data), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    return {float(rate): values for rate, values in json.loads(done.stdout).items()}


def validated(folder: RunFolder, row: Comparison) -> list[float]:
    """The re-validated accuracies of a loss, in percent, seed by seed."""
    ledger = Ledger(folder.ledger_file, read_only=True)
    try:
        rows = [one for one in ledger.trainings("validation") if one.formula == row.formula and one.part == "test"]
    finally:
        ledger.close()
    return [100 * (one.accuracy or 0.0) for one in rows if one.learning_rate == row.learning_rate]


def main() -> None:
    """Compare, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, nargs="?")
    parser.add_argument("--seeds", type=int, default=16)
    parser.add_argument("--sgd-seeds", type=int, default=4)
    parser.add_argument("--output", type=Path)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        run = asked.run or lossforge.search("search_spaces/digits.toml", run=Path(place) / "run").path
        folder = RunFolder.open(run)
        first = {row.rank: row for row in reversed(read_comparisons(folder))}
        exported = export_run(run, Path(place) / "losses.py", len(first))
        data = Path(place) / "data.npz"
        write_data(folder, data)
        sgd = ("--optimizer", "sgd", "--seeds", str(asked.sgd_seeds), "--rates", *RATES)
        control = max(
            map(fmean, plain(exported, "CrossEntropyLoss", data, *sgd, "--recipe-of", "Discovered1").values())
        )
        lines = [
            f"Written by `python benchmarks/exported_file.py --seeds {asked.seeds}` at commit {source_commit()}, on "
            f"{hardware()['cores']} cores, {hardware()['processor']}.",
            "",
            f"SGD with momentum in a plain loop, best of {', '.join(RATES)}: torch's cross-entropy {control:.2f} %.",
            "",
            "| loss | re-validated | plain loop | difference | Welch's p | SGD, of cross-entropy's | docstring |",
            "|---|---|---|---|---|---|---|",
        ]
        for rank, row in sorted(first.items()):
            known = validated(folder, row)
            ((_, found),) = plain(exported, f"Discovered{rank}", data, "--seeds", str(asked.seeds)).items()
            p = float(stats.ttest_ind(found, known, equal_var=False).pvalue)
            under = max(map(fmean, plain(exported, f"Discovered{rank}", data, *sgd).values()))
            needs = "needs an adaptive one" if row.second_score < 0.95 * row.second_control else "works under SGD"
            lines.append(
                f"| `{row.formula}` | {fmean(known):.2f} ({len(known)}) | {fmean(found):.2f} ({len(found)}) | "
                f"{fmean(found) - fmean(known):+.2f} | {p:.2f} | {under / control:.3f} | {needs} |"
            )
    text = "\n".join(lines) + "\n"
    print(text)
    if asked.output:
        asked.output.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
