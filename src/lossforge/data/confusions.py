"""Which class is taken for which: the maps of asymmetric label noise that the literature uses.

- CIFAR-10 and MNIST: Patrini et al. 2017, arXiv 1609.03683.
- Fashion-MNIST: Zhang and Sabuncu 2018, arXiv 1805.07836.
- CIFAR-100: each class becomes the next of its superclass, in a circle (Patrini et al. 2017), the five of a superclass
  in the order of their names. ``cifar100_blocks`` is what most published code does in place of that: blocks of five
  neighbouring class numbers, which are no superclasses, since CIFAR-100 numbers its classes by their names.
"""

from __future__ import annotations

from collections.abc import Sequence

from lossforge.errors import DataError, offered

_SUPERCLASSES = """
beaver dolphin otter seal whale
aquarium_fish flatfish ray shark trout
orchid poppy rose sunflower tulip
bottle bowl can cup plate
apple mushroom orange pear sweet_pepper
clock keyboard lamp telephone television
bed chair couch table wardrobe
bee beetle butterfly caterpillar cockroach
bear leopard lion tiger wolf
bridge castle house road skyscraper
cloud forest mountain plain sea
camel cattle chimpanzee elephant kangaroo
fox porcupine possum raccoon skunk
crab lobster snail spider worm
baby boy girl man woman
crocodile dinosaur lizard snake turtle
hamster mouse rabbit shrew squirrel
maple_tree oak_tree palm_tree pine_tree willow_tree
bicycle bus motorcycle pickup_truck train
lawn_mower rocket streetcar tank tractor
"""


def _next_in_superclass() -> dict[int, int]:
    groups = [line.split() for line in _SUPERCLASSES.split("\n") if line]
    number = {name: place for place, name in enumerate(sorted(name for group in groups for name in group))}
    return {
        number[name]: number[group[(place + 1) % len(group)]] for group in groups for place, name in enumerate(group)
    }


_MNIST = {2: 7, 3: 8, 5: 6, 6: 5, 7: 1}
MAPS: dict[str, tuple[int, dict[int, int]]] = {
    "cifar10": (10, {9: 1, 2: 0, 4: 7, 3: 5, 5: 3}),
    "cifar100": (100, _next_in_superclass()),
    "cifar100_blocks": (100, {place: place - place % 5 + (place + 1) % 5 for place in range(100)}),
    "mnist": (10, _MNIST),
    "digits": (10, _MNIST),
    "fashion_mnist": (10, {9: 7, 7: 5, 2: 6, 4: 3, 3: 4}),
}
"""Number of classes, and what each class is taken for, by its number; those left out keep their label."""


def confusions(pairs: str | Sequence[tuple[str, str]], data: str, names: Sequence[str]) -> tuple[int, ...]:
    """The class that each of ``names`` is taken for, itself included, as a number.

    ``pairs`` are ``task.noise_pairs``: the name of a map, pairs of classes by name or number, or nothing, for the map
    of the data set. Raises DataError where there is none, and for a class that the data do not have.
    """
    if not pairs and data not in MAPS:
        raise DataError(
            f"task.noise_kind: there is no usual map of confusions for '{data}'; give pairs, such as task.noise_pairs "
            f'= {{ {names[0]} = "{names[1]}" }}, or the name of a map ({", ".join(MAPS)})'
        )
    if isinstance(pairs, str) or not pairs:
        return _of_map(pairs or data, data, len(names))
    number = {name: place for place, name in enumerate(names)}
    found = list(range(len(names)))
    for pair in pairs:
        source, target = (_number(name, number, data) for name in pair)
        if source == target:
            raise DataError(f"task.noise_pairs: class '{pair[0]}' is taken for itself; give it another")
        if found[source] != source:
            raise DataError(
                f"task.noise_pairs: class '{names[source]}' is taken for one other class, and two are given"
            )
        found[source] = target
    return tuple(found)


def _of_map(name: object, data: str, classes: int) -> tuple[int, ...]:
    if name not in MAPS:
        raise DataError(f"task.noise_pairs: '{name}' is no map of confusions{offered(str(name), MAPS)}")
    expected, table = MAPS[str(name)]
    if expected != classes:
        raise DataError(f"task.noise_pairs: map '{name}' is for {expected} classes, and '{data}' has {classes}")
    return tuple(table.get(place, place) for place in range(classes))


def _number(name: str, number: dict[str, int], data: str) -> int:
    if name in number:
        return number[name]
    if name.isascii() and name.isdigit() and int(name) < len(number):
        return int(name)
    raise DataError(f"task.noise_pairs: '{data}' has no class '{name}'{offered(name, number)}")
