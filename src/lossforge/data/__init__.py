"""Data sets, their parts and label noise.

``PUBLIC`` is what other rooms use, by module; the rest is free to change.
"""

from __future__ import annotations

PUBLIC: dict[str, tuple[str, ...]] = {
    "augmentation": ("Preparation",),
    "datasets": ("DATASETS", "FORMATS", "find_source", "forget_loaded", "is_unchanged", "load_task", "own_digest"),
    "examine": ("describe", "first_lines"),
    "label_rows": ("refuse_constant",),
    "places": ("VARIABLE", "using_data_folder"),
    "resized_masks": ("lost_told",),
    "splits": ("Part", "TaskData", "noisy_labels"),
}
