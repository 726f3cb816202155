"""The accuracies of the fusion paper's tables 7 to 18, as printed: those of sums of losses on four data sets."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

LETTERS = {
    "T": "tversky",
    "S": "smooth_l1",
    "F": "focal",
    "C": "cross_entropy",
    "M": "brier",
    "D": "dice",
    "B": "binary_cross_entropy",
}
"""The paper's losses in its order; brier is its mean squared error."""
SETS = {
    "brain_tumour_binary": "BT bin",
    "brain_tumour": "BT",
    "crack_binary": "Cr bin",
    "crack": "Cr",
    "tomato_leaf_binary": "TL bin",
    "tomato_leaf": "TL",
    "deepglobe_binary": "DG bin",
    "deepglobe": "DG",
}
_ACCURACIES = """
T       0.918  0.856 0.9059 0.9559 0.8004 0.1996   0.96    0.6
S       0.933  0.887 0.9356  0.979  0.935  0.917  0.974   0.58
F       0.909  0.806  0.887  0.819  0.967 0.9582  0.979    0.6
C       0.987 0.9855  0.971  0.981 0.9028 0.8281 0.9248 0.5611
M       0.929  0.871 0.9356 0.9271  0.976 0.9667   0.96  0.601
D       0.825   0.66 0.8928 0.9413 0.9353 0.9052   0.97   0.58
B       0.898  0.786  0.867 0.9631  0.978  0.966  0.967    0.6
T+S    0.7757 0.6438 0.9371 0.9871 0.8988 0.8413 0.9248 0.5619
T+F    0.8802  0.759 0.9349 0.9863 0.9635 0.9463   0.96   0.62
T+C    0.8772 0.7735 0.9356 0.9871 0.9538 0.9334  0.924  0.561
T+M    0.8711 0.7864  0.934  0.987 0.9972  0.994   0.98 0.6026
T+D    0.8886 0.7483 0.9371 0.9871 0.8952 0.8429 0.9248 0.5619
T+B    0.9245 0.8871 0.9356 0.9871  0.993 0.9904      -      -
S+F    0.8307  0.772 0.9356 0.9871 0.9492 0.9284   0.97   0.58
S+C    0.9947 0.9931  0.501  0.671  0.997  0.995 0.9773 0.6026
S+M    0.9695 0.9611      -      - 0.9234 0.8848 0.9248 0.5615
S+D    0.9619 0.9527 0.6871 0.6821 0.9982  0.997      -      -
S+B      0.78  0.704  0.931  0.971 0.9543 0.9317  0.974  0.581
F+C     0.833 0.8055  0.934  0.983 0.9882  0.985      -      -
F+M    0.9822 0.7147      -      - 0.9084 0.8878   0.92 0.5622
F+D    0.9176 0.8802 0.6431 0.2014 0.9934 0.9914 0.9226 0.5621
F+B    0.9214 0.8909 0.9874 0.9356 0.9454 0.9278  0.974  0.581
C+M     0.991 0.8635  0.934  0.983 0.9563   0.94 0.6348 0.6212
C+D    0.9306 0.8902      -      - 0.9074 0.8743 0.9248 0.5607
C+B    0.9535 0.9466 0.9356 0.9871 0.9903 0.9884 0.8956 0.5621
M+D    0.9893 0.9764 0.9356  0.897 0.9194 0.8852   0.97  0.581
M+B    0.9817 0.9771  0.934  0.983 0.9986  0.998 0.7066 0.5621
D+B    0.8802 0.7864      -      - 0.9154 0.8772 0.9248  0.562
T+S+F       -      - 0.7961 0.2002      -      -      -      -
F+C+M       -      -      -      - 0.9525 0.9325 0.9249 0.5616
F+C+D       -      -  0.935  0.987 0.9257 0.8996 0.9248 0.5596
F+C+B       -      - 0.9356 0.9882 0.9204 0.8966   0.92 0.5577
C+M+D  0.9931 0.9893 0.9356 0.9871 0.9082 0.8717 0.9249 0.5562
C+M+B  0.9893 0.9893 0.9871 0.9871 0.9764 0.9687  0.924 0.5621
C+D+B   0.992   0.99      -      - 0.9439 0.9172  0.924 0.5563
"""
"""A line a sum, a column a set, in the order of `SETS`; "-" where the paper has no such row."""


def titles() -> dict[str, str]:
    """How tables call each of the 63 sums, ``S+C`` and so on, by its name here; cross-entropy stands first."""
    chosen = [letters for order in (1, 2, 3) for letters in combinations(LETTERS, order)]
    named = {" + ".join(LETTERS[letter] for letter in letters): "+".join(letters) for letters in chosen}
    return {"cross_entropy": "C"} | named


def accuracies() -> dict[str, tuple[float | None, ...]]:
    """Accuracy in % of each sum that the paper has, by its name here, a number a set."""
    found: dict[str, tuple[float | None, ...]] = {}
    for line in _ACCURACIES.split("\n"):
        if line:
            letters, *numbers = line.split()
            name = " + ".join(LETTERS[letter] for letter in letters.split("+"))
            found[name] = tuple(None if number == "-" else round(100 * float(number), 2) for number in numbers)
    return found


def against(control: Sequence[float], values: Sequence[float | None]) -> tuple[float | None, ...]:
    """Points against cross-entropy, set by set."""
    return tuple(None if value is None else round(value - mine, 2) for value, mine in zip(values, control, strict=True))
