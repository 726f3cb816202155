"""The parts of the check in order of importance, and what a part is told."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gpu.record import read

ROOT = Path(__file__).resolve().parents[2]
BUDGET = 570.0
"""Seconds of the whole check for which the parts' limits are made; more are shared out in proportion."""

Tell = Callable[[str, Any], None]
"""``tell(name, value)`` writes a value down."""


@dataclass(frozen=True, slots=True)
class Part:
    """A part, and the command that runs it; ``--result FILE --seconds N`` is added.

    ``seconds`` is the most that it may take, ``least`` what must be left for it to be begun.
    """

    name: str
    title: str
    seconds: float
    least: float
    command: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Case:
    """One measurement of a part. Past its ``limit``, in seconds, the process is killed, and another goes on behind."""

    name: str
    run: Callable[[Tell], None]
    limit: float = 60.0


@dataclass(frozen=True, slots=True)
class Settings:
    """What every part is told: where result files and scratch files lie, the device, how small things are to be."""

    out: str
    work: str
    device: str
    dry: bool
    npz: str = ""

    @property
    def images(self) -> str:
        """What the images are, in words."""
        return f"real images, {self.npz}" if self.npz else "random images of CIFAR-10's shape"

    def found_by(self, part: str) -> dict[str, dict[str, Any]]:
        """The values of each case of another part, so far."""
        return {
            name: case.get("values", {}) for name, case in read(result_file(self.out, part)).get("cases", {}).items()
        }

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self)), encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> Settings:
        return cls(**json.loads(path.read_text(encoding="utf-8")))


PARTS = (
    Part("machine", "the machine", 50, 10),
    Part("marked_tests", "tests that need a GPU", 110, 15),
    Part("loss_cost_on_device", "the cost of a loss", 90, 15),
    Part("throughput_on_device", "networks a second, proxies an hour, where the time goes", 290, 30),
    Part("killed_search", "a search, killed and resumed", 80, 30),
    Part("out_of_memory", "a cohort that is too large", 40, 15),
)


def result_file(out: str | Path, part: str) -> Path:
    return Path(out) / f"{part}.json"
