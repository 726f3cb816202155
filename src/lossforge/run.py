"""A run, opened: what leads it, how far it is, how its best stood the re-validation, and their export."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lossforge.errors import given_path, whole_number
from lossforge.spaces.schema import SearchSpace
from lossforge.store.run_folder import RunFolder

if TYPE_CHECKING:
    from lossforge.inspection.runs import Status
    from lossforge.search.hall_of_fame import Entry
    from lossforge.validation.comparison import Comparison


class Run:
    """One run, by its folder; it is read anew with every question, also while a search is going on in it.

    Raises StoreError where ``path`` is no run folder, or was written by a newer lossforge.
    """

    def __init__(self, path: str | Path) -> None:
        self._folder = RunFolder.open(given_path(path, "a run"))

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r})"

    def _repr_html_(self) -> str:
        """What a notebook shows of it."""
        from lossforge.report.notebook import run_html

        return run_html(self.path)

    def report(self, output: str | Path | None = None) -> Path:
        """Write one page of all that is known of it, and return its path (default: ``report.html`` in its folder).

        Raises LossforgeError where it cannot be written.
        """
        from lossforge.report.report_file import write_report

        return write_report(self.path, None if output is None else given_path(output, "output"))

    @property
    def path(self) -> Path:
        """Its folder."""
        return self._folder.path

    @property
    def space(self) -> SearchSpace:
        """The space that is searched, with the budget of now."""
        return self._folder.space()

    @property
    def hall_of_fame(self) -> list[Entry]:
        """The best losses, in order. Raises StoreError before the first generation is done."""
        from lossforge.search.standing import leaders_of

        return leaders_of(self._folder)

    def top(self, number: int = 10) -> list[Entry]:
        """The best ``number`` losses, in order, 0 or more. Raises StoreError before the first generation is done."""
        return self.hall_of_fame[: whole_number(number, "number", 0)]

    def status(self) -> Status:
        """How far it is, and what became of its candidates."""
        from lossforge.inspection.runs import run_status

        return run_status(self.path)

    def validation(self, plan: str | None = None) -> list[Comparison]:
        """What the last re-validation found, each loss against each rival, or a ``plan``'s comparison, by its name.

        Empty where there was none.
        """
        from lossforge.validation.results import comparisons_by_plan, read_comparisons

        return read_comparisons(self._folder) if plan is None else comparisons_by_plan(self._folder).get(plan, [])

    def verdicts(self, plan: str | None = None) -> list[str]:
        """What the last re-validation, or a plan's, says of each loss over its rivals, in sentences; none before it."""
        from lossforge.validation.sentences import loss_sentences

        return loss_sentences(self.validation(plan))

    def export(self, output: str | Path | None = None, number: int = 5, format: str = "torch") -> Path:
        """Write the best ``number`` losses as one stand-alone file, and return its path.

        ``format`` is "torch", "numpy", "jax", "keras", "latex" or "onnx".

        ``output`` is the file (default: ``export/losses.py`` in the run's folder). Raises LossforgeError where there
        is no loss, or the file cannot be written.
        """
        from lossforge.export.run_export import export_run

        path = None if output is None else given_path(output, "output")
        return export_run(self.path, path, whole_number(number, "number", 1), format)
