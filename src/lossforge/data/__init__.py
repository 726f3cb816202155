"""Data sets, their parts and label noise.

``PUBLIC`` is what other rooms use, by module; the rest is free to change.
"""

from __future__ import annotations

PUBLIC: dict[str, tuple[str, ...]] = {
    "augmentation": ("Preparation",),
    "datasets": ("DATASETS", "FORMATS", "find_source", "forget_loaded", "is_unchanged", "load_task", "own_digest"),
    "examine": ("describe", "first_lines"),
    "glance": ("image_sizes", "named_with_kind", "text_columns"),
    "image_stream": ("ImageStream", "StreamPart", "as_input", "image_stream", "loader"),
    "human_labels": ("label_file_digest",),
    "label_noise": ("wrong_labels",),
    "label_rows": ("refuse_constant",),
    "noise_kinds": ("LabelNoise", "SYMMETRIC"),
    "places": ("VARIABLE", "using_data_folder"),
    "replicate_split": ("ReplicateSplit",),
    "replicates": ("draws_parts",),
    "resized_masks": ("lost_told",),
    "samples": ("IGNORED",),
    "splits": ("Part", "TaskData"),
}
