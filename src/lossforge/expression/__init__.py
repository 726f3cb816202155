"""Loss expressions: trees, formulas, canonical forms, signatures and emitted code."""
