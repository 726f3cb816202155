"""Re-validation of discoveries beside rivals tuned in the same way, with statistics."""
