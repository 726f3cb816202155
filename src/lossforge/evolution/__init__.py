"""Strategies that propose candidates: ask and tell. DEAP lives here and nowhere else."""
