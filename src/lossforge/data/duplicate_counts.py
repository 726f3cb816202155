"""How many samples are in several parts, and what that means for their scores."""

from __future__ import annotations

from dataclasses import dataclass

BAD_FROM = 0.02
"""Share of the test or the validation part from which its scores are not to be believed."""


@dataclass(frozen=True, slots=True)
class Duplicates:
    """Equal samples of a task's parts, counted before any were dropped.

    ``test``: of the test part, in the training or validation part too (a re-validation trains on both).
    ``validation``: of the validation part, in the training part too. ``training``: repeats within the training part.
    ``conflicting``: samples of all parts that are equal to one with another label. Then the sizes of the parts, and
    the samples that were dropped of each.
    """

    test: int
    validation: int
    training: int
    conflicting: int
    tests: int
    validations: int
    dropped_train: int = 0
    dropped_validation: int = 0

    @property
    def bad(self) -> bool:
        """Whether they are so many that scores are not to be believed."""
        return self.test >= BAD_FROM * self.tests > 0 or self.validation >= BAD_FROM * self.validations > 0

    @property
    def told(self) -> str:
        """One sentence."""
        told = (
            f"{self.test:,} of {self.tests:,} test samples are in the training or validation part too, "
            f"{self.validation:,} of {self.validations:,} validation samples in the training part, {self.training:,} "
            "training samples repeat another (every value alike)"
        )
        if self.conflicting:
            told += f"; {self.conflicting:,} samples are equal to one with another label"
        return f"{told}{self.dropped}"

    @property
    def dropped(self) -> str:
        """What was done about them, as the end of a sentence."""
        if self.dropped_train or self.dropped_validation:
            rest = f" and {self.dropped_validation:,} out of the validation part" if self.dropped_validation else ""
            return f"; task.drop_duplicates took {self.dropped_train:,} out of the training part{rest}"
        if self.test or self.validation:
            return "; task.drop_duplicates = true takes them out of the training part"
        return ""
