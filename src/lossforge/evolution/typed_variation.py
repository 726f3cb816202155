"""Variation of typed trees: what comes to a place is of a type that its place takes; the same draws give the same tree.

A place takes what the operation above it takes, and not only the type of what stands there: a sum over classes may
come where a probability stood.
"""

from __future__ import annotations

import random
from typing import Any

from deap import gp

from lossforge.evolution.deap_trees import Elementwise, Individual, Sample, Value


def places(tree: Individual) -> list[type]:
    """The type that each node's place takes; the root takes any."""
    found: list[type] = []
    left: list[type] = [Value]
    for node in tree:
        found.append(left.pop())
        left.extend(reversed(node.args) if node.arity else ())
    return found


def _fits(node: Any, place: type) -> bool:
    return issubclass(node.ret, place)


def crossed(first: Individual, second: Individual) -> Individual:
    """The first with one of its subtrees replaced by one of the second that fits there; unchanged where none does."""
    taken = places(first)
    index = random.randrange(len(first))
    fitting = [place for place, node in enumerate(second) if _fits(node, taken[index])]
    if fitting:
        first[first.searchSubtree(index)] = second[second.searchSubtree(random.choice(fitting))]
    return first


def regrown(tree: Individual, pset: Any) -> Individual:
    """One subtree drawn anew."""
    taken = places(tree)
    index = random.randrange(len(tree))
    tree[tree.searchSubtree(index)] = gp.genGrow(pset, 0, 2, taken[index])
    return tree


def inserted(tree: Individual, pset: Any) -> Individual:
    """An operation put above a node, its other arguments drawn leaves; unchanged where none fits."""
    taken = places(tree)
    index = random.randrange(len(tree))
    node, piece = tree[index], tree[tree.searchSubtree(index)]
    able = [one for one in pset.primitives[taken[index]] if any(_fits(node, kind) for kind in one.args)]
    if not able:
        return tree
    above = random.choice(able)
    chosen = random.choice([place for place, kind in enumerate(above.args) if _fits(node, kind)])
    whole: list[Any] = [above]
    for place, kind in enumerate(above.args):
        whole += piece if place == chosen else [_drawn_leaf(pset, kind)]
    tree[tree.searchSubtree(index)] = whole
    return tree


def related(tree: Individual, pset: Any) -> Individual:
    """What differs from class to class set against what all classes have of it, as in ``x / sum_c(x)``.

    Two steps at once, neither of which is worth anything alone. Unchanged where the vocabulary has no such.
    """
    taken = places(tree)
    moving = [place for place, node in enumerate(tree) if _fits(node, Elementwise) and _sees_prediction(tree, place)]
    if not moving:
        return tree
    index = random.choice(moving)
    piece = tree[tree.searchSubtree(index)]
    pairs = [one for one in pset.primitives[taken[index]] if one.args == [Value, Value]]
    reductions = [one for one in pset.primitives[Sample] if one.args == [Elementwise]]
    if pairs and reductions:
        tree[tree.searchSubtree(index)] = [random.choice(pairs), *piece, random.choice(reductions), *piece]
    return tree


def _sees_prediction(tree: Individual, place: int) -> bool:
    return any(node.name in ("y_pred", "logit") for node in tree[tree.searchSubtree(place)])


def shrunk(tree: Individual) -> Individual:
    """An operation replaced by one of its arguments that fits in its place; unchanged where none does."""
    taken = places(tree)
    able = [index for index, node in enumerate(tree) if node.arity]
    if not able:
        return tree
    index = random.choice(able)
    starts, start = [], index + 1
    for _ in range(tree[index].arity):
        starts.append(start)
        start = tree.searchSubtree(start).stop
    fitting = [start for start in starts if _fits(tree[start], taken[index])]
    if fitting:
        tree[tree.searchSubtree(index)] = tree[tree.searchSubtree(random.choice(fitting))]
    return tree


def exchanged(tree: Individual, pset: Any) -> Individual:
    """One node replaced by another that takes the same and fits there."""
    taken = places(tree)
    index = random.randrange(len(tree))
    node = tree[index]
    if node.arity:
        others = [one for one in pset.primitives[taken[index]] if one.args == node.args]
        tree[index] = random.choice(others) if others else node
    else:
        tree[index] = _drawn_leaf(pset, taken[index])
    return tree


def _drawn_leaf(pset: Any, kind: type) -> Any:
    leaf = random.choice(pset.terminals[kind])
    return leaf() if isinstance(leaf, type) else leaf
