"""The words of lossforge's output, and of its source, in a sentence or two each.

The output uses the words of the first part; the source uses those of the second too, each for one thing alone.
"""

from __future__ import annotations

from lossforge.errors import LossforgeError, offered

MEANING = (
    "in a formula y_pred is the softmax probability of a class and y_true its target (1 for the true class, 0 "
    "for the others); it is summed over all classes and averaged over samples ('lossforge explain' has every "
    "word)"
)
"""What a formula means, for the first lines of a search."""
MEANINGS = {
    "softmax": MEANING,
    "sigmoid": "in a formula y_pred is the sigmoid of a label's logit and y_true 1 where the sample has the label, "
    "else 0; it is summed over all labels and averaged over samples ('lossforge explain' has every word)",
    "binary": "in a formula y_pred is the probability of a class, of class 1 the sigmoid of the one logit, and y_true "
    "its target (1 for the true class, 0 for the other); it is summed over both classes and averaged over samples "
    "('lossforge explain' has every word)",
}
"""The same by head."""

OUTPUT = {
    "formula": "One loss, as text: a function of y_pred and y_true, computed for each class of a sample, summed over "
    "the classes and averaged over the samples (of masks, over the pixels). Some losses of the library are "
    "averaged over the classes too; 'lossforge list losses' says which.",
    "y_pred": "The network's softmax probability of a class, between 0 and 1; the classes of a sample add up to 1. "
    "Behind the head sigmoid it is the probability of a label, each on its own.",
    "y_true": "The target of a class: 1 for the true class and 0 for all others, unless labels are smoothed or soft.",
    "head": "What makes probabilities of a network's logits (task.head): softmax, one of C classes; sigmoid, each of C "
    "labels there or not; binary, one logit, that of class 1 of two.",
    "p": "In a loss that is shown as two functions: the probability of the true class in the one, of a wrong class in "
    "the other. With hard labels that is all there is to an elementwise loss.",
    "space": "A search space: one TOML file that says which formulas may be built, how they are screened, the task, "
    "the recipe and the budget.",
    "candidate": "One loss that a search has come upon, written as a formula.",
    "run": "One folder that holds everything about a search: space, ledger, checkpoint, hall of fame, re-validation, "
    "exports.",
    "generation": "One round of a search: propose candidates, screen them, train those that are new, keep the best. "
    "Counted from 1.",
    "fitness": "What evolution goes by: a candidate's mean gain over cross-entropy, seed by seed; a failed one has "
    "the worst.",
    "gain": "How much better than cross-entropy on the same seeds, in percentage points of the task's metric.",
    "paired": "Two losses are compared on trainings that share everything but the loss: weights, batches and wrong "
    "labels, seed by seed. What is told of is the mean of the differences.",
    "seed": "A number from which a training's weights, order of samples and wrong labels derive; the same for every "
    "loss.",
    "screen": "A cheap test that rejects a candidate before it costs a training: static, probe, guards, descent.",
    "static": "The screen that looks at the formula alone: y_pred or y_true does not occur in it.",
    "probe": "The screen that computes value and gradient on a few fixed logits: not finite, too large, or zero.",
    "guards": "The screen that rejects a formula which is what it is only by the numbers that protect a division, a "
    "logarithm or a root from zero: with others it would be another loss.",
    "descent": "The screen that descends the loss on free logits, and if need be trains a very small network with it: "
    "the targets are not reached.",
    "rejected": "A screen judged that a candidate cannot train; it costs nothing more, unless the audit draws it.",
    "duplicate": "A candidate with the signature of another one of the same generation, or of a member of the "
    "population: the same loss, written differently or scaled.",
    "cache": "A candidate whose signature was trained in an earlier generation ('cached'): its results are looked up.",
    "trained": "A candidate's training went through to its end.",
    "stopped": "A training that was ended early: on training batches it was far below cross-entropy at the same step "
    "(recipe.stop_at, recipe.stop_below). It counts as a failure.",
    "diverged": "A training whose numbers were no longer finite; it counts as a failure, and NaN never wins.",
    "timed_out": "A training that took longer than budget.training_seconds.",
    "crashed": "A training that raised an error, or whose worker process died of it.",
    "sweep": "Cross-entropy is trained at several learning rates, and the best one is what the search trains with.",
    "control": "Cross-entropy itself, trained on the very seeds that candidates are trained on: what a gain is "
    "measured from.",
    "check": "A training of your own (task.python) is called twice with cross-entropy on one seed, and once with its "
    "opposite: does it repeat itself, and does it use the loss that it is given?",
    "race": "Every new candidate is trained on one seed first, and only the best share (fitness.race) on the others.",
    "finalist": "One of the best few, which are trained on more seeds (fitness.finalist_seeds) than others; also "
    "'leader'.",
    "hall of fame": "The best losses of a run, in order: those with a finalist's seeds first, then by gain.",
    "signature": "What two formulas share if they are one loss: the direction of the gradient on fixed logits, with "
    "scale and sign taken out. Results are kept under it.",
    "matching": "A loss is multiplied by one constant, so that near a uniform start its gradient has cross-entropy's "
    "size: then nothing wins by being a learning rate in disguise.",
    "audit": "A few candidates that the screens judged unfit are trained all the same, to estimate how many good ones "
    "are lost that way, with an interval.",
    "re-validation": "The best losses and their rivals are tuned alike, trained again on seeds that the search never "
    "used, and scored on the test part.",
    "coarse": "A first pass over the known losses, on validation data: it says which of them are rivals.",
    "tuning": "In the re-validation every loss, rival or discovery, gets its own best learning rate, from one grid.",
    "reference": "Before its first generation a search trains the known losses: the best is what is to be beaten.",
    "fresh": "The leaders of a finished search are trained once more, on seeds that chose nobody: those alone give the "
    "gain that is reported.",
    "rival": "A known loss that the discoveries are compared with in the re-validation.",
    "second optimizer": "The re-validation trains each loss under another optimizer than the search's too, and says "
    "where a loss works under one only.",
    "interval": "A range that holds the true mean difference in 95 of 100 such experiments (Student's t, over seeds; "
    "it says nothing of other data). low_images and high_images let the test images vary too.",
    "not separable": "Two losses of which these seeds show no difference; how many seeds probably would is told "
    "beside it.",
    "equivalent": "Two losses whose difference is shown to be within a margin (0.5 points), by two one-sided tests.",
    "better than every known loss": "Better than each rival that a loss met, each shown by a test of its own; "
    "corrected for the number of losses that were tried.",
    "holm": "p-values are adjusted for the number of losses that were tried, so that one in twenty does not win by "
    "chance.",
    "metric": "What fitness and every table is measured in (task.metric): accuracy, mean IoU and others.",
    "final form": "The shortest equal form of a formula, constants rounded to three or four digits: it is what is "
    "shown, re-validated and exported.",
    "workers": "Processes that train; their number changes no result.",
    "replaced": "A worker process that hung or died, and that another one took the place of.",
    "heats": "How many cohorts a request holds, whose survivors of the early stop are put together (recipe.heats).",
}
"""Words of the output, in the order in which one meets them."""

SOURCE = {
    "cohort": "Networks that train at once, side by side in one process (recipe.cohort).",
    "lane": "The place of one network in a cohort: the index on axis 0 of all its tensors. A network keeps its lane "
    "whatever becomes of its neighbours.",
    "replica": "One network in a cohort, with a loss, a seed and a learning rate of its own; it trains in a lane.",
    "replicate": "The number of a repetition: replicate 3 of any loss has the same seed, which is what pairs them.",
    "place": "An index into some list, and nothing more: which one is said where it is used.",
    "request": "What is sent to a worker: the trainings of one cohort (or of several heats), as text.",
    "stage": "What a training was for, as the ledger has it: sweep, check, control, search, audit, coarse, tuning, "
    "validation and the second optimizer's. (Of a network, a stage is a run of blocks of one resolution, as in papers "
    "on residual networks; that is in models/ only.)",
    "outcome": "How a candidate or a training ended: trained, stopped, diverged, timed_out, crashed, rejected, "
    "duplicate, cached.",
    "floor": "The score on training batches below which a training is stopped.",
    "part": "Samples of a task: training, validation or test part.",
    "fold": "To write a part of a formula that depends on y_true alone as a + b * y_true. There are no folds of data.",
    "leaf": "y_pred, y_true or a number: an end of a formula's tree.",
    "primitive": "An operation that formulas are made of; 'lossforge list primitives' has all.",
    "term": "A loss that is no elementwise formula, such as Dice: it counts over a whole batch.",
}
"""Words of the source that the output has no need of."""

_ALSO = {
    "cached": "cache",
    "leader": "finalist",
    "leaders": "finalist",
    "finalists": "finalist",
    "star": "holm",
    "second optimiser": "second optimizer",
    "validation": "re-validation",
    "validate": "re-validation",
    "duplicates": "duplicate",
    "gains": "gain",
    "seeds": "seed",
    "lanes": "lane",
    "replicas": "replica",
    "replicates": "replicate",
    "rivals": "rival",
    "screens": "screen",
    "failed": "diverged",
    "true class": "p",
    "wrong class": "p",
    "search": "generation",
}
"""Other forms of the words."""


def explained(word: str) -> tuple[str, str]:
    """The word as the glossary has it, and what it means. Raises LossforgeError for one that it does not have.

    >>> explained("Cached")[0]
    'cache'
    """
    words = {**OUTPUT, **SOURCE}
    asked = " ".join(word.lower().replace("_", " ").replace("-", " ").split())
    for name in {**{known: known for known in words}, **_ALSO}:
        if " ".join(name.lower().replace("_", " ").replace("-", " ").split()) == asked:
            found = _ALSO.get(name, name)
            return found, words[found]
    raise LossforgeError(f"'{word}' is not in the glossary{offered(word.lower(), [*words, *_ALSO])}")
