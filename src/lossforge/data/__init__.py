"""Data sets, their parts and label noise."""
