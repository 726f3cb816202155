"""Questions that change nothing: about a run, a loss, the machine, and what there is to choose from."""
