"""What was found, as criteria that train: in one line, from a run or from somebody's hall-of-fame file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lossforge.errors import FormulaError, LossError, StoreError, given_path, whole_number
from lossforge.export.run_export import exports_of
from lossforge.losses.candidates import candidate_spec
from lossforge.losses.compiled import LossSpec
from lossforge.losses.heads import HEADS
from lossforge.search.hall_of_fame import read_hall_of_fame
from lossforge.store.run_folder import RunFolder

if TYPE_CHECKING:
    from lossforge.export.torch_module import Export
    from lossforge.losses.drop_in import DropInLoss


def load(place: str | Path, number: int | None = None, *, head: str = "softmax") -> list[DropInLoss]:
    """The best ``number`` losses (None: all) of a run, best first, each called like ``nn.CrossEntropyLoss``.

    ``place`` is a run's folder: the losses are scaled as they were validated and exported. Or it is a hall-of-fame
    file, such as somebody's ``hall_of_fame.csv``: the losses are then behind ``head``, and scaled for the number of
    classes of the logits. Raises LossforgeError where there is nothing that can be read.

        criterion = lossforge.load("runs/digits-20260101-120000")[0]
        criterion(logits, target).backward()
    """
    path = given_path(place, "a run or a hall-of-fame file")
    most = None if number is None else whole_number(number, "number", 1)
    if path.is_file():
        return _of_table(path, most, head)
    folder = RunFolder.open(path)
    return [criterion(one) for one in exports_of(folder, 10_000 if most is None else most)[0]]


def criterion(loss: Export) -> DropInLoss:
    """The module of an exported loss, as lossforge has it: value and gradient are those of the exported file."""
    found = LossSpec(loss.formula, loss.smoothing, loss.class_mean).build(head=loss.head)
    if loss.classes:
        found.scale, found.classes = loss.scale, loss.classes
    return found


def _of_table(path: Path, number: int | None, head: str) -> list[DropInLoss]:
    if head not in HEADS:
        raise LossError(f"head: '{head}' is none of {', '.join(HEADS)}")
    found: list[DropInLoss] = []
    for entry in read_hall_of_fame(path)[:number]:
        try:
            one = candidate_spec(entry.formula, head).build(head=head)
        except (FormulaError, LossError) as error:
            raise StoreError(f"{path}: the formula of rank {entry.rank} cannot be read: {error}") from None
        one.matches = True
        found.append(one)
    return found
