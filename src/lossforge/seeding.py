"""Seeds that depend on names, never on time, order or process."""

from __future__ import annotations

import hashlib


def derive_seed(root: int, *path: str | int) -> int:
    """Return a seed in [0, 2**63) that depends on ``root`` and on every element of ``path``.

    The elements are length-prefixed before hashing, so ``("ab", "c")`` and ``("a", "bc")`` differ,
    and so do ``1`` and ``"1"``. A name of an enum counts as its text.
    """
    digest = hashlib.sha256()
    for element in (root, *path):
        kind = "str" if isinstance(element, str) else type(element).__name__
        text = f"{kind}:{element}".encode()
        digest.update(len(text).to_bytes(8, "big"))
        digest.update(text)
    return int.from_bytes(digest.digest()[:8], "big") >> 1
