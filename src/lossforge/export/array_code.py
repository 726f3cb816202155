"""A formula's program as text for numpy, jax and Keras: one statement an instruction, every guard written out."""

from __future__ import annotations

from lossforge.expression.instructions import INSTRUCTIONS
from lossforge.expression.program import INPUTS, Instruction, Program
from lossforge.expression.protection import BOUND, EPS, Operand

_ARITHMETIC = {"add": "{a} + {b}", "sub": "{a} - {b}", "mul": "{a} * {b}", "div": "{a} / {b}", "neg": "-{a}"}
_FUNCTIONS = ("sqrt", "log", "exp", "sin", "cos", "tanh", "abs", "sign")
_GUARDS = {
    "clamp_min": "{np}.where({a} >= {b}, {a}, {b})",
    "clamp_max": "{np}.where({a} <= {b}, {a}, {b})",
    "bound": f"{{np}}.clip({{a}}, {-BOUND!r}, {BOUND!r})",
    "protect": f"{{np}}.where({{a}} < 0, {{np}}.where({{a}} <= {-EPS!r}, {{a}}, {-EPS!r}), "
    f"{{np}}.where({{a}} >= {EPS!r}, {{a}}, {EPS!r}))",
    "ge": "({a} >= {b}) * 1.0",
    "le": "({a} <= {b}) * 1.0",
    "outside": f"({{np}}.abs({{a}}) >= {EPS!r}) * 1.0",
    "inside": f"({{np}}.abs({{a}}) <= {BOUND!r}) * 1.0",
    "share": "0.5 * (1.0 + {np}.sign({a} - {b}))",
    "equal": "({a} == {b}) * 1.0",
}
_ARRAYS = {
    **_ARITHMETIC,
    **{name: f"{{np}}.{name}({{a}})" for name in _FUNCTIONS},
    **_GUARDS,
    "maximum": "{np}.maximum({a}, {b})",
    "minimum": "{np}.minimum({a}, {b})",
    "sigmoid": "_sigmoid({a})",
    "erf": "_erf({a})",
    "sum_c": "{np}.sum({a}, axis=-1, keepdims=True)",
    "max_c": "{np}.max({a}, axis=-1, keepdims=True)",
    "top_c": "_one_hot({np}.argmax({a}, axis=-1), {a}.shape[-1])",
    "stop": "_stop({a})",
    "logit": "leaves.logit",
    "n_classes": "leaves.n_classes",
    "progress": "leaves.progress",
    "class_share": "leaves.class_share",
}
_KERAS = {
    **_ARRAYS,
    "sigmoid": "ops.sigmoid({a})",
    "erf": "ops.erf({a})",
    "top_c": "ops.one_hot(ops.argmax({a}, axis=-1), {a}.shape[-1], dtype={a}.dtype)",
    "stop": "ops.stop_gradient({a})",
    **{name: f'leaves["{name}"]' for name in ("logit", "n_classes", "progress", "class_share")},
}
DIALECTS = {"numpy": ("np", _ARRAYS), "jax": ("np", _ARRAYS), "keras": ("ops", _KERAS)}
"""Of each: what its module is called, and a template for every instruction."""
assert all(set(templates) == set(INSTRUCTIONS) for _, templates in DIALECTS.values())


def statements(program: Program, dialect: str, output: int = 0) -> list[str]:
    """Lines that compute the ``output`` of a program from ``leaves``; the last returns it.

    Instructions that it does not need are left out.
    """
    leaf = "leaves.{}" if dialect != "keras" else 'leaves["{}"]'
    names = dict(enumerate(INPUTS))
    needed = _needed(program, program.outputs[output])
    lines = [f"{name} = {leaf.format(name)}" for register, name in names.items() if register in needed]
    for index, step in enumerate(program.code):
        register = len(INPUTS) + index
        if register in needed:
            names[register] = f"v{index + 1}"
            lines.append(f"v{index + 1} = {_text(step, names, dialect)}")
    return [*lines, f"return {_operand(program.outputs[output], names)}"]


def _needed(program: Program, output: Operand) -> set[int]:
    """Registers that an output is made of."""
    needed = {output} if isinstance(output, int) else set()
    for index in range(len(program.code) - 1, -1, -1):
        if len(INPUTS) + index in needed:
            needed |= {end for end in operands(program.code[index]) if isinstance(end, int)}
    return needed


def operands(step: Instruction) -> tuple[Operand, ...]:
    """The operands that an instruction reads."""
    template = _ARRAYS[step.op]
    return tuple(end for end, mark in ((step.a, "{a}"), (step.b, "{b}")) if mark in template)


def _text(step: Instruction, names: dict[int, str], dialect: str) -> str:
    module, templates = DIALECTS[dialect]
    read = {name: _operand(end, names) for name, end in (("a", step.a), ("b", step.b)) if _is_read(step, name)}
    return templates[step.op].format(np=module, **read)


def _is_read(step: Instruction, name: str) -> bool:
    return f"{{{name}}}" in _ARRAYS[step.op]


def _operand(operand: Operand, names: dict[int, str]) -> str:
    if isinstance(operand, int):
        return names[operand]
    return f"({operand!r})" if operand < 0 else repr(operand)
