"""The modules of the terms, one family a file; `lossforge.losses.terms` knows them by name.

A term is a loss that no formula says: it reduces over a batch, needs the logits as they are, or iterates.
"""
