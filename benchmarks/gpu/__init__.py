"""The parts of `gpu_check.py`: each runs in a process of its own, measures case by case, and writes what it found."""
