"""A run for TensorBoard: scalars by generation, hyperparameters with the leader's gain, and pictures."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from lossforge.errors import LossforgeError
from lossforge.report.history import best_so_far, spreads
from lossforge.report.run_data import read_run
from lossforge.store.files import told_as_store_error

FOLDER = "tensorboard"


def write_tensorboard(run: Path, output: Path | None = None) -> Path:
    """Write event files of a run; returns their folder (default: ``tensorboard`` in the run's).

    Raises LossforgeError where no package writes them, for what is no run, and where the folder cannot be written.
    """
    writer_type = _writer()
    data = read_run(run)
    folder = run / FOLDER if output is None else output
    with told_as_store_error(folder, elsewhere="name another folder"):
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.glob("events.out.tfevents.*"):
            old.unlink()
        writer = writer_type(str(folder))
        try:
            found = spreads(data.trained())
            for one in found:
                for name in ("count", "low", "median", "high", "best"):
                    writer.add_scalar(f"gain of new losses/{name}", getattr(one, name), one.generation)
            leader = best_so_far(data, found)
            for generation, gain in leader.items():
                writer.add_scalar("gain of the leader", gain, generation)
            for number, named in data.measures.items():
                for name, value in named.items():
                    writer.add_scalar(f"generation/{name}", value, number)
            for outcome, count in data.tally.items():
                writer.add_scalar(f"candidates/{outcome.replace(':', ' by ')}", count, data.generations_done)
            best = data.entries[0] if data.entries else None
            gain = 0.0 if best is None else best.search_gain if best.gain is None else best.gain
            writer.add_hparams(_flat(data.space.model_dump(mode="json", exclude_none=True)), {"hparam/gain": gain})
            for entry in data.entries:
                writer.add_text(f"rank {entry.rank}", f"`{entry.formula}` {entry.told_gain} points")
        finally:
            writer.close()
    return folder


def _writer() -> Any:
    for package in ("torch.utils.tensorboard", "tensorboardX"):
        try:
            return import_module(package).SummaryWriter
        except ImportError:
            continue
    raise LossforgeError("TensorBoard's files need a package that is not installed; type 'pip install tensorboard'")


def _flat(tables: Mapping[str, Any], before: str = "") -> dict[str, str | float | bool]:
    """Keys of tables with dots, as hyperparameters may be."""
    found: dict[str, str | float | bool] = {}
    for key, value in tables.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{before}{key}.")
        else:
            found[before + key] = value if isinstance(value, (bool, int, float)) else str(value)[:200]
    return found
