"""Search spaces: their schema, and reading, overriding, freezing and comparing them.

``PUBLIC`` is what other rooms use, by module; the rest is free to change.
"""

from __future__ import annotations

PUBLIC: dict[str, tuple[str, ...]] = {
    "base_folder": ("VARIABLE", "base_folder", "best_base", "from_base", "working_from"),
    "faults": ("Fault", "in_words"),
    "fusion_section": ("FusionSection",),
    "json_schema": ("KINDS", "json_schema", "schema_text"),
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
    "plan_schema": ("LIBRARY", "MOST_SEEDS", "ContenderSection", "Plan", "StudySection", "title_of"),
    "plans": ("dump_plan", "find_plan", "load_plan", "plan_of_space", "read_plan", "study_space", "with_seeds"),
    "mask_keys": ("CLASS_TABLE", "MASK_SETS", "MaskColours", "has_masks"),
    "noise_keys": ("NoiseKind",),
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
    "shipped": ("find_space", "schema_file", "shipped_plans", "shipped_spaces"),
    "task_section": ("OF_LABELS", "metric_title", "searched_title"),
}
