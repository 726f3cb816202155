"""Loss expressions: trees, formulas, canonical forms, signatures and emitted code.

``PUBLIC`` is what other rooms use, by module; the rest is free to change.
"""

from __future__ import annotations

PUBLIC: dict[str, tuple[str, ...]] = {
    "adjoint": ("joint_program",),
    "branches": ("ClassFunctions", "branch", "class_functions", "in_p", "slope"),
    "canonical": ("canonical_form", "canonical_form_and_text", "canonical_key", "canonical_text", "fold_constants"),
    "class_kernel": ("peaks", "sums"),
    "codegen": ("Emitted", "compile_expression", "compile_joint", "emit", "function_source"),
    "cpu_kernel": ("ROWS_FROM", "add_scaled", "leaves", "loss_and_gradient", "place", "take"),
    "elementwise": ("value_and_slope",),
    "final_form": ("final_form", "form_behind"),
    "formula": ("defined", "parse_definitions", "parse_formula"),
    "interpreter": ("Interpreter",),
    "jit": ("compiler", "folder_of", "is_kept"),
    "equivalence": ("SOFT",),
    "likeness": ("cosines", "directions"),
    "meaning": ("view_for",),
    "plain": ("is_slope",),
    "heads": ("HEADS", "check_head", "outputs_of"),
    "parser": ("Token", "shown", "tokens_of"),
    "primitives": ("LEAVES", "PRIMITIVES"),
    "protection": ("BOUND", "EPS", "GUARDS", "Guards", "Operand", "clip"),
    "instructions": ("INSTRUCTIONS",),
    "program": ("INPUTS", "Instruction", "Program", "guards_can_act", "value_program"),
    "signature": ("Signature", "probe_gradients", "signature", "signature_of", "signature_probe", "signatures"),
    "simplify": ("simplified",),
    "symbolic_derivative": ("derivatives",),
    "vocabulary": ("EVERY_LEAF", "OPERATIONS"),
    "tree": (
        "CONSTANT",
        "PARAMETER",
        "PARAMETERS",
        "SAMPLE",
        "WHERE",
        "Definition",
        "Expression",
        "call",
        "constant",
        "format_formula",
        "format_number",
        "leaf",
    ),
    "vectors": (
        *("add", "fma", "larger", "load", "splat", "store", "subtract", "totals", "turn"),
        *("where_positive", "where_same"),
    ),
}
