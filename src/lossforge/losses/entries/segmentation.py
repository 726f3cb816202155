"""Losses that count overlap."""

from __future__ import annotations

from lossforge.losses.entries.entry import OVER_BATCH, of_term

ENTRIES = (
    of_term(
        "dice",
        "one minus the soft Dice coefficient of each class: Tversky with a = b = 1/2",
        "Milletari et al. 2016, arXiv 1606.04797 (there with squares in the denominator)",
        OVER_BATCH,
    ),
    of_term(
        "tversky",
        "1 - (TP + e) / (TP + a FP + b FN + e) of each class, with soft counts",
        "Salehi et al. 2017, arXiv 1706.05721",
        OVER_BATCH,
    ),
    of_term(
        "focal_tversky",
        "Tversky loss to the power 1 / gamma, class by class",
        "Abraham and Khan 2019, arXiv 1810.07842 (the authors' code, where their alpha is b)",
        OVER_BATCH,
        note="Paper and code disagree on the exponent: the code's was taken, 1 / gamma, with gamma = 4/3.",
    ),
)
