"""Decisions on the way to a space: asked where somebody can answer, else taken, and told either way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

Ask = Callable[[str, str], str]
"""Given a question and the answer that is proposed, the answer of a person."""
Say = Callable[[str], None]
"""Told a sentence for people."""


@dataclass(slots=True)
class Asking:
    """Who answers (None: nobody is there), and who is told. ``decided`` are the decisions so far, in sentences."""

    ask: Ask | None = None
    say: Say = lambda told: None
    decided: list[str] = field(default_factory=list)

    def agreed(self, key: str, value: str, why: str) -> bool:
        """Whether ``task.KEY = value`` is to be written; without a person it is, and the reason is told."""
        if self.ask is not None:
            answer = self.ask(f"{why}; write {key} = {value}? [yes, no]", "yes").strip().lower()
            if answer not in ("yes", "y", ""):
                return False
        self.note(f"{key} = {value}: {why}")
        return True

    def chosen(self, key: str, proposed: str, why: str) -> str:
        """A person's value of ``key``, or the one that is proposed."""
        answer = proposed if self.ask is None else self.ask(f"{key}: {why}", proposed).strip() or proposed
        self.note(f"{key} = {answer}: {why if answer == proposed else 'as you asked'}")
        return answer

    def note(self, told: str) -> None:
        """Keep a decision, and tell it."""
        self.decided.append(told)
        self.say(f"decided: {told}")
