"""The verdict of a run in a paragraph, with its evidence."""

from __future__ import annotations

from collections.abc import Sequence

from lossforge.report.run_data import RunData
from lossforge.spaces.task_section import searched_title
from lossforge.validation.comparison import Comparison, how_measured, loss_judgements
from lossforge.validation.sentences import collapse_sentences, loss_sentences
from lossforge.validation.verdicts import LEAST_SEEDS, LossVerdict


def headline(data: RunData) -> str:
    """What a run has shown so far, in a sentence or two."""
    rows = data.comparisons.get("", [])
    if rows:
        return judged(rows, "of the best losses of this search")
    if not data.entries:
        return _nothing(data)
    best = data.entries[0]
    still = "" if data.finished else " The search goes on."
    if best.gain is not None and best.low is not None and best.high is not None:
        over = "" if best.gain_over_known is None else f", {best.gain_over_known:+.2f} beside {best.known}"
        return (
            f"The leader is {best.gain:+.2f} points of {searched_title(best.metric)} beside cross-entropy (95 % "
            f"interval {best.low:+.2f} to {best.high:+.2f}{over}), on {best.seeds} replicates that had no part in "
            f"choosing it. On test data nothing has been re-validated yet.{still}"
        )
    half = data.judged[best.signature].half if best.signature in data.judged else None
    gain = best.search_gain
    interval = f" (95 % interval {gain - half:+.2f} to {gain + half:+.2f})" if half is not None else ""
    return (
        f"The leader is {gain:+.2f} points of {searched_title(best.metric)} beside cross-entropy{interval}, "
        f"over {best.seeds} seeds. It was chosen by these very numbers out of {len(data.trained()):,} losses, so part "
        f"of that is luck: nothing has been re-validated yet.{still}"
    )


def _nothing(data: RunData) -> str:
    if not data.tally:
        return "Nothing has been generated yet: the search finds a learning rate first, and trains cross-entropy."
    if data.judged:
        reasons = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in data.failures.items())
        told = f" ({reasons})" if reasons else ""
        return f"No loss has a result: all {len(data.judged):,} that were trained failed{told}."
    return f"No loss has been trained yet; {sum(data.tally.values()):,} were generated and none passed the screens."


def judged(rows: Sequence[Comparison], of_what: str) -> str:
    """How many losses are better than what, on test data."""
    if max(row.seeds for row in rows) < LEAST_SEEDS:
        return (
            f"Too few seeds to judge: {max(row.seeds for row in rows)} a pair, and {LEAST_SEEDS} are the least that "
            "can show a difference."
        )
    found = [one.verdict for one in loss_judgements(rows).values()]
    studies = len({row.title for row in rows})
    total = len(found)
    above = found.count(LossVerdict.BETTER_THAN_ALL_KNOWN)
    better = above + found.count(LossVerdict.BETTER_THAN_CROSS_ENTROPY)
    rivals = len({row.rival for row in rows})
    first = "On test data with fresh seeds"
    if studies > 1:
        losses = len({row.rank for row in rows})
        cases = f"{total} cases ({losses} {'loss' if losses == 1 else 'losses'} in {studies} studies)"
        told = f"{first}, a loss is better than cross-entropy in {better or 'none'} of {cases}"
        return f"{told}, and better than every known loss met in {above}." if better and rivals > 1 else f"{told}."
    if not better:
        return f"{first}, none {of_what} is shown to be better than cross-entropy ({total} tried)."
    told = f"{first}, {better} of {total} {of_what} {_are(better)} better than cross-entropy"
    if rivals < 2:
        return f"{told}; no other known loss was there to compare with."
    if above:
        return f"{told}, and {above} {_are(above)} better than every known loss met ({rivals})."
    return f"{told}; none is shown to be better than every known loss met ({rivals})."


def _are(count: int) -> str:
    return "is" if count == 1 else "are"


def evidence(rows: Sequence[Comparison]) -> list[str]:
    """What is said of each loss, warnings first."""
    return [*collapse_sentences(rows), *loss_sentences(rows)]


def measured(rows: Sequence[Comparison]) -> str:
    """How the numbers came about, as a sentence."""
    told = how_measured(rows)
    return f"Gains are {told}."
