"""One generation: ask and screen until enough is new, train it as a race over seeds, tell.

The leaders of a generation get their further seeds beside the next one, so that workers have something to do while its
first candidates are being looked for.
"""

from __future__ import annotations

import gc
import sys
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from itertools import chain
from math import ceil
from typing import Any

from lossforge.evaluation.records import Outcome, Training
from lossforge.evaluation.space_trainings import TaskTrainings
from lossforge.evolution.strategy import Proposal, Strategy, Told
from lossforge.losses.candidates import Candidate, candidate_spec, parse_candidate
from lossforge.screening.candidates import CandidateScreener, Judgement, Lot
from lossforge.search.audit import drawn
from lossforge.search.race import round_lengths, still_in
from lossforge.search.recorder import Recorder
from lossforge.search.scores import Judged, Scores
from lossforge.spaces.schema import FitnessSection, SearchSpace
from lossforge.store.ledger import CandidateRow, TrainingRow
from lossforge.store.stages import Stage

_BATCH = 32
"""Proposals screened at a time."""


@dataclass(slots=True)
class Asked:
    """What came of asking: rows for the ledger, and the new and rediscovered candidates in order."""

    rows: list[CandidateRow] = field(default_factory=list)
    new: dict[str, Candidate] = field(default_factory=dict)
    cached: dict[str, Candidate] = field(default_factory=dict)
    tally: Counter[str] = field(default_factory=Counter)
    """Counts by outcome; rejected ones by screen."""

    def add(self, row: CandidateRow) -> None:
        """Note what became of one more proposal."""
        self.rows.append(row)
        self.tally[row.rejected_by or row.outcome] += 1


class _Trained(Mapping[str, Candidate]):
    """Losses that are trained, or will be at the end of this generation's asking, by key.

    The tree of a judged one is made when it is asked for: thousands of them would only lie about.
    """

    def __init__(self, new: dict[str, Candidate], judged: dict[str, Judged]) -> None:
        self._new, self._judged = new, judged

    def __contains__(self, key: object) -> bool:
        return key in self._new or key in self._judged

    def __getitem__(self, key: str) -> Candidate:
        return self._new[key] if key in self._new else parse_candidate(self._judged[key].formula)

    def __iter__(self) -> Iterator[str]:
        return iter({**self._new, **self._judged})

    def __len__(self) -> int:
        return len({*self._new, *self._judged})


class Generation:
    """Runs one generation of a search."""

    def __init__(
        self,
        space: SearchSpace,
        strategy: Strategy,
        screener: CandidateScreener,
        scores: Scores,
        recorder: Recorder,
        rates: dict[str, float],
        on_asked: Callable[[Asked], None] = lambda asked: None,
        floors: dict[str, float] | None = None,
    ) -> None:
        self.space = space
        self.strategy = strategy
        self.screener = screener
        self.scores = scores
        self.recorder = recorder
        self.rates = rates
        self.on_asked = on_asked
        self.floors = floors or {}
        self._plans = [TaskTrainings(space, task, rates[task.title], stage=Stage.SEARCH) for task in space.task]

    def run(self, number: int) -> list[CandidateRow]:
        """Run generation ``number`` and return a row for every candidate that it generated."""
        asked = Asked()
        self.strategy.prepare(self.scores.known())
        begun = chain(self._promoted(), self._asked(asked, number))
        first, _ = self.recorder.run_all([(Stage.SEARCH, begun), (Stage.AUDIT, self._audited(asked))], number)
        self.scores.add(first)
        self._race(asked, number)
        members = {told.key: told.expression for told in self.strategy.members()}
        trees = {**asked.cached, **asked.new, **members}
        order = dict.fromkeys([*members, *asked.cached, *asked.new])
        self.strategy.tell(
            [Told(key, trees[key], self.scores.fitness(key)) for key in order if key in self.scores.judged]
        )
        return [self._final(row) for row in asked.rows]

    def finish(self, number: int) -> None:
        """Give the leaders their further seeds, as generation ``number`` would, which is not to come."""
        self.scores.add(self.recorder.run(self._promoted(), Stage.SEARCH, number))

    def _asked(self, asked: Asked, number: int) -> Iterator[Training]:
        """Ask until the generation's number of new candidates is reached, or the attempts are used up.

        Trainings come as their candidates are found, so that the first train while the last are still being looked
        for. What is asked depends on no result of this generation.
        """
        settings = self.space.evolution
        wanted = settings.population if number == 0 else settings.population - settings.elites
        if settings.strategy == "grid":  # one generation, however many there are
            wanted = sys.maxsize // settings.attempts
        members = {told.key for told in self.strategy.members()}
        trained = _Trained(asked.new, self.scores.judged)
        with closing(self._proposals(wanted * settings.attempts)) as lots:
            for proposals, begun in lots:
                found: list[Judged] = []
                for proposal, answer in zip(proposals, self.screener.finish(begun, trained), strict=True):
                    # What was proposed beyond the last that is needed is not judged.
                    if len(asked.new) < wanted:
                        row = self._file(asked, members, number, proposal.origin, answer)
                        asked.add(row)
                        if row.outcome == Outcome.TRAINED and row.signature is not None:
                            found.append(Judged(row.signature, row.formula, row.size, number, row.origin))
                self.scores.enter(found)
                self.on_asked(asked)
                formulas = {judged.key: judged.formula for judged in found}
                yield from self._trainings(formulas, range(self._first_seeds), self.floors)
                # Once a stop is asked for, the recorder tells of it; what is under way is finished first.
                if len(asked.new) >= wanted or self.recorder.stop():
                    break

    def _proposals(self, left: int) -> Generator[tuple[list[Proposal], Lot], None, None]:
        """Up to ``left`` proposals in lots, of which the next are with the screens' helpers already.

        Those of which nobody gets to hear were never asked: how many are ahead changes nothing.
        """
        ahead: deque[tuple[list[Proposal], Lot, Any]] = deque()
        mark = self.strategy.mark()
        try:
            while not self.recorder.stop():
                while left > 0 and len(ahead) <= self.screener.ahead:
                    asked = (self.strategy.ask() for _ in range(min(left, _BATCH)))
                    proposals = [proposal for proposal in asked if proposal is not None]
                    left = left - len(proposals) if proposals else 0
                    if not proposals:
                        break
                    begun = self.screener.begin([proposal.expression for proposal in proposals])
                    ahead.append((proposals, begun, self.strategy.mark()))
                if not ahead:
                    return
                proposals, begun, mark = ahead.popleft()
                yield proposals, begun
        finally:
            for _, begun, _ in ahead:
                self.screener.drop(begun)
            self.strategy.rewind(mark)

    def _file(self, asked: Asked, members: set[str], number: int, origin: str, screened: Judgement) -> CandidateRow:
        """Note what becomes of a screened proposal, and return its row."""
        key, outcome = screened.signature, Outcome.TRAINED
        if screened.rejected_by is not None or key is None:
            outcome = Outcome.REJECTED
        elif key in members or key in asked.new or key in asked.cached:
            outcome = Outcome.DUPLICATE
        elif key in self.scores.judged:
            outcome = Outcome.CACHED
            asked.cached[key] = screened.expression
        else:
            asked.new[key] = screened.expression
        return CandidateRow(
            generation=number,
            position=len(asked.rows),
            origin=origin,
            formula=str(screened.expression),
            size=screened.expression.size,
            signature=key,
            outcome=str(outcome),
            rejected_by=None if screened.rejected_by is None else str(screened.rejected_by),
            reason=screened.reason,
        )

    @property
    def _first_seeds(self) -> int:
        """Seeds that every new candidate gets: one, where the others are for the better of them alone."""
        return 1 if self.space.fitness.race < 1 else self.space.fitness.seeds

    def _promoted(self) -> Iterator[Training]:
        """Further seeds of the leaders that have too few."""
        settings = self.space.fitness
        for key in short_of_seeds(self.scores, settings):
            formulas = {key: self.scores.judged[key].formula}
            replicates = range(self.scores.replicates(key), settings.finalist_seeds)
            yield from self._trainings(formulas, replicates, self.floors)

    def _audited(self, asked: Asked) -> Iterator[Training]:
        """A few of the rejected, once all is asked: nothing but the audit's report depends on what becomes of them."""
        rows = drawn(asked.rows, self.space.screening.audit, self.space.seed)
        formulas = {key: row.formula for key, row in rows.items()}
        # No more than a candidate gets: in another form it may pass, and then these are its trainings.
        yield from self._trainings(formulas, range(self._first_seeds), floors={})

    def _race(self, asked: Asked, number: int) -> None:
        """Give the other seeds to those that did best on the first, in rounds; who is clearly behind drops out."""
        settings, first = self.space.fitness, self._first_seeds
        running, done = self._better(asked), first
        looks = max(1, settings.seeds - first - 1)
        places = max(1, settings.finalists, self.space.evolution.elites)
        lanes = min(plan.lanes for plan in self._plans)
        while running and done < settings.seeds:
            end = done + round_lengths(len(running), settings.seeds - done, lanes)
            formulas = {key: self.scores.judged[key].formula for key in running}
            wanted = self._trainings(formulas, range(done, end), self.floors)
            self.scores.add(self.recorder.run(wanted, Stage.SEARCH, number))
            done = end
            # The first seeds chose who is here, and say nothing of who is better.
            gains = {key: self.scores.gains(key)[first:] for key in running if self.scores.gains(key)}
            running = still_in(gains, places, settings.race_error, looks)

    def _better(self, asked: Asked) -> list[str]:
        """Those that did best on the first seed, in the order of that."""
        settings = self.space.fitness
        able = [key for key in asked.new if self.scores.gains(key)]
        able.sort(key=lambda key: (-self.scores.fitness(key), self.scores.judged[key].size, key))
        return able[: ceil(settings.race * len(asked.new))]

    def _trainings(self, formulas: dict[str, str], replicates: range, floors: dict[str, float]) -> list[Training]:
        """Trainings of formulas, by key, on the search's own replicates of every task."""
        return [
            training
            for key, formula in formulas.items()
            for plan in self._plans
            for training in plan.trainings(
                candidate_spec(formula, self.space.head), key, replicates, floors.get(plan.title, 0.0)
            )
        ]

    def _final(self, row: CandidateRow) -> CandidateRow:
        """The row with how the candidate's training ended."""
        if row.outcome != Outcome.TRAINED or row.signature is None:
            return row
        failure = self.scores.judged[row.signature].failure
        return replace(row, outcome=failure) if failure else row


def short_of_seeds(scores: Scores, settings: FitnessSection, leaders: Iterable[str] | None = None) -> list[str]:
    """Keys of the ``leaders`` (default: those of the scores) that have fewer seeds than a leader is to have."""
    return [
        key
        for key in (scores.leaders(settings.finalists) if leaders is None else leaders)
        if scores.replicates(key) < settings.finalist_seeds and scores.gains(key)
    ]


@contextmanager
def long_lived() -> Iterator[None]:
    """Within it Python's garbage collector passes over what exists already, and looks for old garbage more seldom.

    Modules, candidates and trainings are millions of objects that stay; looking through them again and again stops a
    large search for half a second every five.
    """
    before = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(5000, 20, 50)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


def judged_from_rows(
    candidates: list[CandidateRow], trainings: list[TrainingRow], settings: FitnessSection | None = None
) -> dict[str, Judged]:
    """Rebuild the judged candidates of finished generations from the ledger."""
    scores = Scores(settings)
    for row in candidates:
        if Outcome(row.outcome).of_training and row.signature is not None and row.signature not in scores.judged:
            expression = parse_candidate(row.formula)
            scores.judged[row.signature] = Judged(
                row.signature, row.formula, expression.size, row.generation, row.origin
            )
    scores.add(trainings)
    return scores.judged
