"""A space as TOML that explains itself: every key that was decided, with what it means and why it is so."""

from __future__ import annotations

import textwrap
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lossforge.spaces.load import dump_space, validate_space

_WIDTH = 116
_TITLES = {
    "expression": "Which expressions may be built: see 'lossforge list primitives'",
    "task": "What losses are judged on",
    "recipe": "How one training goes",
    "reference": "Known losses, trained before the first generation: what is to be beaten",
    "fitness": "How many seeds decide",
    "evolution": "How losses evolve",
    "budget": "Where it stops; may change with 'lossforge resume RUN --set budget.generations=40'",
    "validation": "How the best are trained again on test data, beside rivals tuned alike",
    "execution": "Where it runs; changes no result",
}
_MEANINGS = {
    "name": "the run's folder is called by it",
    "seed": "of the run; --seed overrides it",
    "expression.max_size": "nodes of a formula, at most",
    "task.data": "a relative path starts from the folder that the search is started in",
    "task.resize": "side of the images: cut to the middle, then resized",
    "task.train": "samples to train on in the search ...",
    "task.validation": "... to judge on ...",
    "task.test": "... and those that the re-validation alone touches",
    "task.metric": "what a gain is measured in",
    "task.model": "'lossforge list models', or your own: \"package.module:function\"",
    "task.width": "its size: channels of its first layer",
    "task.head": "how logits become probabilities: docs/heads.md",
    "task.skip_broken": "files that cannot be read are left out, and counted",
    "task.drop_columns": "columns that are left out",
    "task.one_hot": "columns of words become a 0 or 1 for each",
    "task.impute": "missing values, from the training part",
    "task.label_noise": "share of training labels replaced at random",
    "recipe.epochs": "of a training in the search",
    "recipe.batch_size": "samples of a step",
    "recipe.learning_rates": "cross-entropy's best is looked for here, and beyond an end where it lies there",
    "recipe.sweep_seeds": "for each of these rates",
    "recipe.cohort": "networks that train at once, at most: fewer where a CPU gains nothing from more",
    "fitness.seeds": "for a loss; the first decides who gets the others:",
    "fitness.race": "share of a generation that does",
    "fitness.finalists": "leaders that get all of ...",
    "fitness.finalist_seeds": "... these",
    "fitness.measured": "leaders of the finished search that are trained once more, on ...",
    "fitness.fresh_seeds": "... so many seeds that chose nobody: these alone give the reported gain",
    "reference.losses": "none: the search only meets cross-entropy",
    "reference.tuned": "so many of the best get learning rates of their own, by ...",
    "reference.tuning_seeds": "... so many seeds for each rate",
    "reference.seeds": "more, for the best of those and cross-entropy",
    "evolution.population": "losses of a generation",
    "evolution.elites": "of them survive",
    "evolution.tournament": "of so many the best is a parent",
    "evolution.parsimony": "1: size does not matter; 2: of two winners the smaller",
    "budget.generations": "more find more",
    "budget.training_seconds": "limit of one training (CPU time; of a cohort: times its size)",
    "validation.top": "losses that are trained again",
    "validation.seeds": "fresh ones, at most: pairs that are decided get fewer",
    "validation.tuning_seeds": "for each rate and loss, on validation data",
    "validation.best_known": "known losses that do best here become rivals too, by a coarse pass ...",
    "validation.known": "... over these",
    "validation.coarse_seeds": "... with so many seeds",
    "validation.learning_rates": "every loss and rival has its own best",
    "validation.epochs": "longer than in the search",
    "validation.rivals": "'lossforge list losses'",
    "validation.second_optimizer": '"auto": does a loss train with SGD too? costs more',
    "execution.workers": "0: one a core",
}
SCHEMA_LINE = "#:schema {place}"
"""First line by which editors (taplo, Even Better TOML) find the schema of a TOML file."""


def space_text(tables: Mapping[str, Any], story: Sequence[str], schema: str) -> str:
    """The tables as commented TOML below the ``story`` of how they came about, one sentence a line of it.

    ``schema`` is the place of the JSON schema, for editors. What is read back is the space of the tables.
    """
    lines = [SCHEMA_LINE.format(place=schema)]
    for told in story:
        lines += textwrap.wrap(told, _WIDTH, initial_indent="# ", subsequent_indent="#   ", break_long_words=False)
    lines.append("")
    lines += [
        line for name, value in tables.items() if not isinstance(value, Mapping) for line in _key(name, value, "")
    ]
    for section, title in _TITLES.items():
        if tables.get(section):
            lines += ["", f"# --- {title} ".ljust(_WIDTH, "-"), f"[{section}]"]
            for name, value in tables[section].items():
                lines += _key(name, value, f"{section}.")
    text = "\n".join(lines) + "\n"
    meant, read = (validate_space(one, "the new space") for one in (dict(tables), tomllib.loads(text)))
    assert dump_space(meant) == dump_space(read)
    return text


def _key(name: str, value: object, section: str) -> Iterator[str]:
    """Lines of one key, with its meaning behind it, or above where both are long."""
    told = f"{name} = {_value(value)}"
    meaning = _MEANINGS.get(f"{section}{name}", "")
    if not meaning:
        yield told
    elif len(told) + len(meaning) > _WIDTH - 4:
        yield f"# {meaning}"
        yield told
    else:
        yield f"{told:<32} # {meaning}"


def _value(value: object) -> str:
    """TOML of a value on one line."""
    import tomli_w

    if isinstance(value, Mapping):
        pairs = (f"{_name(str(key))} = {_value(inside)}" for key, inside in value.items())
        return f"{{ {', '.join(pairs)} }}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_value, value))}]"
    return tomli_w.dumps({"x": value}).partition(" = ")[2].strip()


def _name(key: str) -> str:
    """A key of an inline table, in quotes."""
    return _value(key)
