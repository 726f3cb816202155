"""Published tables beside what was measured here, in the same form.

A table names its data sets and losses. A plan's studies belong to a data set by their names, ``SET-NETWORK`` such as
``cifar10-resnet50``, and what is shown of a set is the mean over its networks, as papers have it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean

from lossforge.errors import SpaceError, offered
from lossforge.validation import published_fusion
from lossforge.validation.comparison import Comparison, named, verdict
from lossforge.validation.verdicts import BASELINE, Verdict


@dataclass(frozen=True, slots=True)
class PublishedTable:
    """A paper's comparison of losses with cross-entropy.

    ``sets`` gives each data set's title by the name that studies have; ``control`` is cross-entropy's accuracy in %.
    ``changes`` are points of accuracy against it, by a loss's name here, ``found`` those of the losses that the paper's
    own search found; each has a number a set, None where the paper has none. A change of at most ``margin`` points is
    "same" by the paper's rule (0: it has none, and any difference counts). ``notes`` stand under the table.
    """

    name: str
    source: str
    sets: Mapping[str, str]
    titles: Mapping[str, str]
    control: tuple[float, ...]
    changes: Mapping[str, tuple[float | None, ...]]
    found: Mapping[str, tuple[float, ...]]
    margin: float
    notes: tuple[str, ...] = ()

    def rule(self, change: float) -> str:
        """What the paper would call it: "better", "same" or "worse"."""
        if abs(change) <= self.margin:
            return "same"
        return "better" if change > 0 else "worse"

    def title(self, loss: str) -> str:
        """How the paper calls a loss."""
        return self.titles.get(loss, named(loss))


NGL = PublishedTable(
    name="ngl",
    source="Körber & Akhmedova 2024, arXiv 2404.12948: mean of InceptionV3 and ResNet50, five runs each",
    sets={
        "malaria": "Malaria",
        "pcam": "PCam",
        "colorectal": "Colorect",
        "cifar10": "C-10",
        "fashion_mnist": "F-MNIST",
        "cifar100": "C-100",
        "caltech101": "Cal-101",
    },
    titles={
        "cross_entropy": "CE",
        "symmetric_ce": "SCE",
        "focal": "Focal",
        "CE + L2": "CE+L2",
        "ngl": "NGL",
        "ngl_sigmoid": "NGL sigm.",
    },
    control=(94.0, 69.4, 88.9, 92.8, 94.0, 68.2, 72.5),
    changes={
        "symmetric_ce": (-0.06, 0.62, -0.45, -3.66, -2.42, -0.80, 2.71),
        "focal": (0.34, 1.03, 2.89, -0.64, -0.02, -2.14, -0.78),
        "CE + L2": (0.11, -0.64, 0.88, 0.32, 0.09, 0.38, 3.67),
        "ngl": (-0.27, 7.07, 1.77, 0.12, 0.07, 1.01, 5.00),
    },
    found={
        "f1": (-0.27, 0.81, 3.27, -0.34, 0.31, -0.84, -3.67),
        "f2": (-0.09, 2.89, -7.56, -0.81, 0.04, 0.60, -3.61),
        "f3": (-27.98, 3.24, -62.45, -1.79, -0.48, -59.36, -41.67),
        "f4": (-0.21, -0.13, -1.98, -0.14, 0.00, -0.32, -6.49),
        "f5 = NGL": (-0.27, 7.07, 1.77, 0.12, 0.07, 1.01, 5.00),
    },
    margin=0.5,
)
"""The Next Generation Loss: its comparison with known losses, and all five functions of the authors' search."""

_CONTROL = [value for value in published_fusion.accuracies()["cross_entropy"] if value is not None]
FUSION = PublishedTable(
    name="fusion",
    source="Geetha Ramani et al., 'An Improved Deep Learning Model with Loss functions Fusion', tables 7 to 18: one "
    "run each, on the data that it selects by",
    sets=published_fusion.SETS,
    titles=published_fusion.titles(),
    control=tuple(_CONTROL),
    changes={
        name: published_fusion.against(_CONTROL, values)
        for name, values in published_fusion.accuracies().items()
        if name != BASELINE
    },
    found={},
    margin=0.0,
    notes=(
        ", ".join(f"{letter}: {name}" for letter, name in published_fusion.LETTERS.items()) + "; BT: brain tumour, "
        "Cr: crack, TL: tomato leaf, DG: DeepGlobe; bin: its two classes.",
        "The paper contradicts itself in some of these numbers: docs/fusion.md.",
    ),
)
"""The fusion paper: sums of one to three of seven losses on four data sets, two classes and more."""

PUBLISHED = {table.name: table for table in (NGL, FUSION)}
"""Every published table by name."""


def published_table(name: str) -> PublishedTable:
    """The table of that name. Raises SpaceError where there is none."""
    if name not in PUBLISHED:
        raise SpaceError(f"published: '{name}' is no table that lossforge knows{offered(name, PUBLISHED)}")
    return PUBLISHED[name]


@dataclass(slots=True)
class Measured:
    """One loss on one data set, with a value a network: ``changes`` against cross-entropy, in points.

    ``verdicts`` are those beside cross-entropy; rivals are not judged and have none.
    """

    accuracies: dict[str, float] = field(default_factory=dict)
    changes: dict[str, float] = field(default_factory=dict)
    verdicts: dict[str, Verdict] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TableRow:
    """A line of the table: a loss, who measured it ("paper" or "here"), and a number a set (None: not measured)."""

    loss: str
    origin: str
    values: tuple[float | None, ...]
    is_accuracy: bool = False

    @property
    def mean(self) -> float | None:
        """Over the sets that were measured."""
        known = [value for value in self.values if value is not None]
        return fmean(known) if known else None


class Beside:
    """A published table with what was measured here beside it.

    Args:
        rows: comparisons of a plan's studies.
        table: the published one.

    Raises SpaceError where no study belongs to a data set of the table.
    """

    def __init__(self, rows: Sequence[Comparison], table: PublishedTable = NGL) -> None:
        self.table = table
        self.formulas: dict[str, str] = {}
        self.measured: dict[str, dict[str, Measured]] = {}
        for row in rows:
            data, _, network = (row.study or row.task).partition("-")
            if data in table.sets:
                self._take(row, data, network)
        if not self.measured:
            raise _no_set(table)
        known = {BASELINE, *table.titles}
        self.own = [loss for loss in self.formulas if loss not in known]
        """The losses that the paper does not know, in the order of the rows."""
        self.others = [loss for loss in self.measured if loss not in known and loss not in self.own]
        """Rivals that it does not know."""

    def _take(self, row: Comparison, data: str, network: str) -> None:
        mine, rival = row.loss or row.formula, row.rival
        for loss, accuracy in ((mine, row.accuracy), (rival, row.rival_accuracy)):
            self.measured.setdefault(loss, {}).setdefault(data, Measured()).accuracies[network] = 100 * accuracy
        self.formulas[mine] = row.formula
        if rival == BASELINE:
            one = self.measured[mine][data]
            one.changes[network], one.verdicts[network] = row.gain, verdict(row)

    def _finish(self, loss: str, data: str) -> Measured | None:
        """What is known of a loss on a set; a rival's change is its accuracy's, on the same seeds."""
        one = self.measured.get(loss, {}).get(data)
        control = self.measured.get(BASELINE, {}).get(data, Measured()).accuracies
        if one is not None:
            for network in one.accuracies.keys() & control.keys() - one.changes.keys():
                one.changes[network] = one.accuracies[network] - control[network]
        return one

    def change(self, loss: str, data: str) -> float | None:
        """Mean change over the networks of a set, in points; None where the loss was not trained on it."""
        one = self._finish(loss, data)
        return fmean(one.changes.values()) if one is not None and one.changes else None

    def control(self, data: str) -> float | None:
        """Cross-entropy's mean accuracy on a set, in %."""
        one = self.measured.get(BASELINE, {}).get(data)
        return fmean(one.accuracies.values()) if one is not None else None

    def lines(self) -> list[TableRow]:
        """The known losses, each as published and as here; then the paper's own discoveries, and those of here."""
        table, sets = self.table, list(self.table.sets)
        found = [
            TableRow(BASELINE, "paper", table.control, is_accuracy=True),
            TableRow(BASELINE, "here", tuple(map(self.control, sets)), is_accuracy=True),
        ]
        for loss in (one for one in table.titles if one != BASELINE):
            if loss in table.changes:
                found.append(TableRow(loss, "paper", table.changes[loss]))
            if loss in self.measured:
                found.append(self._here(loss))
        found += map(self._here, self.others)
        found += [TableRow(loss, "paper", values) for loss, values in table.found.items()]
        return found + [self._here(loss) for loss in self.own]

    def _here(self, loss: str) -> TableRow:
        return TableRow(loss, "here", tuple(self.change(loss, data) for data in self.table.sets))

    def label(self, loss: str) -> str:
        """How a line is called: ours by their number, since formulas are long."""
        return f"ours {self.own.index(loss) + 1}" if loss in self.own else self.table.title(loss)

    @property
    def begins_block(self) -> set[str]:
        """The losses before which a line is drawn: the first that the paper's search found, and the first of ours."""
        return {next(iter(self.table.found), ""), *self.own[:1]}

    def judged(self, loss: str) -> list[Verdict]:
        """A loss's verdicts beside cross-entropy, one a study."""
        return [one for measured in self.measured[loss].values() for one in measured.verdicts.values()]

    def notes(self) -> list[str]:
        """What the numbers are, what each loss amounts to, and which formulas ours are."""
        studies = [one for by_set in self.measured.values() for one in by_set.values()]
        networks = dict.fromkeys(network or "one network" for one in studies for network in one.accuracies)
        notes = [
            f"{self.table.title(BASELINE)}: accuracy in %; all others: change against it in points; = is 'same' "
            f"{self._same}. Paper: {self.table.source}. Here: {' and '.join(networks)}"
            f"{', their mean' if len(networks) > 1 else ''}; the last column is the mean of the data sets before it."
        ]
        notes += [self._sentence(loss) for loss in self.measured if self.judged(loss)]
        return [*notes, *(f"{self.label(loss)}: {self.formulas[loss]}" for loss in self.own), *self.table.notes]

    @property
    def _same(self) -> str:
        margin = self.table.margin
        return f"by the paper's rule (within {margin:g})" if margin else "to the last digit"

    def _sentence(self, loss: str) -> str:
        """How often a loss is better, by the paper's rule and by the paired test."""
        changes = [change for data in self.table.sets if (change := self.change(loss, data)) is not None]
        rules, judged = [self.table.rule(change) for change in changes], self.judged(loss)
        by_rule = ", ".join(f"{word} on {rules.count(word)}" for word in ("better", "same", "worse"))
        by_test = ", ".join(f"{named(str(one))} in {judged.count(one)}" for one in Verdict)
        rule = "the paper's rule" if self.table.margin else "its mean"
        return (
            f"{self.label(loss)}: by {rule} {by_rule} of {len(rules)} data sets; by paired tests beside "
            f"cross-entropy {by_test} of {len(judged)} studies."
        )


def check_studies_named(studies: Iterable[str], name: str) -> None:
    """Raise SpaceError where there is no published table of that name, or none of the studies is on one of its sets."""
    table = published_table(name)
    if not {study.partition("-")[0] for study in studies} & set(table.sets):
        raise _no_set(table)


def _no_set(table: PublishedTable) -> SpaceError:
    return SpaceError(
        f"published: no study is on a data set of the table '{table.name}'; call them SET-NETWORK, with SET one of "
        f"{', '.join(table.sets)}"
    )
