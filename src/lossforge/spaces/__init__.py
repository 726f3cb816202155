"""Search spaces: their schema, and reading, overriding, freezing and comparing them.

``PUBLIC`` is what other rooms use, by module; the rest is free to change.
"""

from __future__ import annotations

PUBLIC: dict[str, tuple[str, ...]] = {
    "base_folder": ("VARIABLE", "base_folder", "best_base", "from_base", "working_from"),
    "faults": ("Fault", "in_words"),
    "fusion_section": ("FusionSection",),
    "load": (
        "apply_overrides",
        "dump_space",
        "forbidden_changes",
        "load_space",
        "read_space",
        "read_toml",
        "validate_frozen",
        "validate_space",
    ),
    "recipe_section": ("RecipeSection",),
    "schema": (
        "AugmentationSection",
        "ExecutionSection",
        "FitnessSection",
        "FusionSection",
        "RecipeSection",
        "SearchSpace",
        "TaskSection",
    ),
    "shipped": ("find_space", "shipped_spaces"),
    "task_section": ("OF_LABELS", "metric_title", "searched_title"),
}
