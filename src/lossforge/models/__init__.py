"""Networks by name.

``PUBLIC`` is what other rooms use, by module; the rest is free to change.
"""

from __future__ import annotations

PUBLIC: dict[str, tuple[str, ...]] = {
    "fused_norm": ("NormReLU", "in_channels_last"),
    "imported": ("has_parameter", "import_function", "source_digest"),
    "layer_list": ("LayerList", "fills_vectors"),
    "layer_trace": ("layer_list",),
    "layers_cpu": ("logits_on_cpu",),
    "output_layer": ("as_two_neurons", "output_layer"),
    "registry": ("MODELS", "PUBLISHED_WIDTH", "build_model", "check_activation", "check_model"),
    "user_code": ("calling", "ending", "message_of", "pass_on_stop", "shown", "whole_traceback"),
}
