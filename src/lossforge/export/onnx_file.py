"""Losses as one ONNX graph: from logits and targets to the loss of each sample and its gradient on the logits.

ONNX has no automatic differentiation that runs everywhere, so that the gradient is computed in closed form beside the
value. The nodes are those of the program that lossforge trains with, in float32.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from lossforge.errors import LossforgeError
from lossforge.export.torch_module import Export
from lossforge.expression.adjoint import joint_program
from lossforge.expression.formula import parse_formula
from lossforge.expression.program import INPUTS, Program
from lossforge.expression.protection import BOUND, EPS, Operand
from lossforge.losses.heads import HEADS, LEAST_LOG

_OPSET = 18
_PLAIN = {
    "add": "Add",
    "sub": "Sub",
    "mul": "Mul",
    "div": "Div",
    "maximum": "Max",
    "minimum": "Min",
    "neg": "Neg",
    "sqrt": "Sqrt",
    "log": "Log",
    "exp": "Exp",
    "sin": "Sin",
    "cos": "Cos",
    "tanh": "Tanh",
    "abs": "Abs",
    "sign": "Sign",
    "sigmoid": "Sigmoid",
    "erf": "Erf",
    "clamp_min": "Max",
    "clamp_max": "Min",
    "stop": "Identity",
}
_UNARY = {"neg", "sqrt", "log", "exp", "sin", "cos", "tanh", "abs", "sign", "sigmoid", "erf", "stop"}


def import_onnx() -> Any:
    """The package. Raises LossforgeError where it is not installed."""
    try:
        import onnx
    except ImportError:
        raise LossforgeError("--format onnx: needs the package onnx; type 'pip install onnx'") from None
    return onnx


def onnx_bytes(losses: Sequence[Export], origin: str) -> bytes:
    """The graph, as it is written into a file.

    Inputs are ``logits`` ``(N, C)`` (behind the head binary ``(N, 1)``) and ``y_true`` ``(N, C)``: one-hot rows or
    probabilities; ``progress`` ``()`` and ``class_share`` ``(C,)`` where a loss needs them. Outputs are, for each loss,
    ``discovered1`` ``(N,)`` and ``discovered1_gradient``, in the logits' shape, of the sum over samples.
    """
    onnx = import_onnx()
    helper, kinds = onnx.helper, onnx.TensorProto
    graph = _Graph(helper, kinds.FLOAT)
    needs: set[str] = set()
    outputs = []
    columns = 1 if losses[0].head == "binary" else "C"
    for loss in losses:
        needs |= graph.loss(loss)
        own = loss.name.lower()
        outputs.append(helper.make_tensor_value_info(own, kinds.FLOAT, ["N"]))
        outputs.append(helper.make_tensor_value_info(f"{own}_gradient", kinds.FLOAT, ["N", columns]))
    inputs = [
        helper.make_tensor_value_info("logits", kinds.FLOAT, ["N", columns]),
        helper.make_tensor_value_info("y_true", kinds.FLOAT, ["N", 2 if columns == 1 else "C"]),
        *(
            helper.make_tensor_value_info(name, kinds.FLOAT, [] if name == "progress" else ["C"])
            for name in sorted(needs)
        ),
    ]
    made = helper.make_graph(graph.nodes, "losses", inputs, outputs, graph.constants)
    model = helper.make_model(
        made, producer_name="lossforge", opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=9
    )
    model.doc_string = f"Loss functions discovered by lossforge. {origin}"
    helper.set_model_props(model, {key: text for loss in losses for key, text in _props(loss).items()})
    onnx.checker.check_model(model)
    found: bytes = model.SerializeToString()
    return found


def _props(loss: Export) -> dict[str, str]:
    own = loss.name.lower()
    return {
        f"{own}.formula": loss.formula,
        f"{own}.scale": repr(loss.scale),
        f"{own}.classes": str(loss.classes),
        f"{own}.head": loss.head,
        f"{own}.recipe": "\n".join([*loss.provenance, *loss.recipe]),
    }


class _Graph:
    """Nodes and constants, each result with a name of its own; the leaves of a head are computed once."""

    def __init__(self, helper: Any, float_type: int) -> None:
        self.helper = helper
        self.float_type = float_type
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self._numbers: dict[float, str] = {}
        self._leaves: dict[tuple[str, float], dict[str, str]] = {}

    def node(self, op: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        name = output or f"t{len(self.nodes)}"
        self.nodes.append(self.helper.make_node(op, list(inputs), [name], **attributes))
        return name

    def number(self, value: float) -> str:
        if value not in self._numbers:
            name = self._numbers[value] = f"c{len(self.constants)}"
            self.constants.append(self.helper.make_tensor(name, self.float_type, [], [value]))
        return self._numbers[value]

    def integers(self, *values: int) -> str:
        name = f"i{len(self.constants)}"
        self.constants.append(self.helper.make_tensor(name, 7, [len(values)], list(values)))
        return name

    def summed(self, value: str) -> str:
        return self.node("ReduceSum", value, self.integers(-1), keepdims=1)

    def mask(self, op: str, a: str, b: str) -> str:
        return self.node("Cast", self.node(op, a, b), to=self.float_type)

    def loss(self, loss: Export) -> frozenset[str]:
        """Nodes of one loss; what it needs besides logits and targets."""
        expression = parse_formula(loss.formula)
        program = joint_program(expression, head=HEADS[loss.head].program, spread=True)
        leaves = self.leaves(loss.head, loss.smoothing)
        value, slope = self.program(program, leaves)
        own = loss.name.lower()
        zero = self.node("Mul", leaves["y_pred"], self.number(0.0))  # in the shape of all, however small the result
        factor = self.number(loss.scale)
        if loss.class_mean and not expression.of_sample:
            factor = self.node("Div", factor, leaves["n_classes"])
        each = self.summed(self.node("Add", value, zero))
        self.node("Squeeze", self.node("Mul", each, factor), self.integers(-1), output=own)
        g = self.node("Add", slope, zero)
        if loss.head != "sigmoid":
            g = self.node("Sub", g, self.node("Mul", leaves["y_pred"], self.summed(g)))
        if loss.head == "binary":
            g = self.node("Slice", g, self.integers(1), self.integers(2), self.integers(1))
        self.node("Mul", g, factor, output=f"{own}_gradient")
        return program.needs

    def leaves(self, head: str, smoothing: float) -> dict[str, str]:
        """Names of what a formula reads."""
        known = self._leaves.get((head, smoothing))
        if known is not None:
            return known
        columns = "logits"
        if head == "binary":
            columns = self.node("Concat", self.node("Neg", "logits"), "logits", axis=-1)
        if head == "softmax":
            logs = self.node("LogSoftmax", columns, axis=-1)
        else:
            # min(z, 0) - log(1 + e**-|z|)
            tail = self.node("Exp", self.node("Neg", self.node("Abs", columns)))
            logs = self.node(
                "Sub",
                self.node("Min", columns, self.number(0.0)),
                self.node("Log", self.node("Add", tail, self.number(1.0))),
            )
        logs = self.node("Max", logs, self.number(LEAST_LOG))
        y_pred = self.node("Sigmoid", columns) if head == "sigmoid" else self.node("Exp", logs)
        ones = self.node("Add", self.node("Mul", columns, self.number(0.0)), self.number(1.0))
        classes = self.summed(ones)
        y_true = "y_true"
        if smoothing:
            share = self.number(smoothing / 2) if head == "sigmoid" else None
            share = share or self.node("Div", self.number(smoothing), classes)
            y_true = self.node("Add", self.node("Mul", y_true, self.number(1 - smoothing)), share)
        held = self.node("Clip", columns, self.number(LEAST_LOG), self.number(-LEAST_LOG))
        found = {
            "y_pred": y_pred,
            "y_true": y_true,
            "log_y_pred": logs,
            "logit": held,
            "n_classes": classes,
            "progress": "progress",
            "class_share": "class_share",
        }
        self._leaves[head, smoothing] = found
        return found

    def program(self, program: Program, leaves: dict[str, str]) -> list[str]:
        """Nodes of a program; names of its outputs."""
        names = {register: leaves[name] for register, name in enumerate(INPUTS)}

        def operand(of: Operand) -> str:
            return names[of] if isinstance(of, int) else self.number(of)

        for index, step in enumerate(program.code):
            names[len(INPUTS) + index] = (
                leaves[step.op] if step.op in leaves else self._step(step.op, operand(step.a), operand(step.b))
            )
        return [operand(output) for output in program.outputs]

    def _step(self, op: str, a: str, b: str) -> str:
        """Nodes of one instruction."""
        if op in _PLAIN:
            return self.node(_PLAIN[op], a) if op in _UNARY else self.node(_PLAIN[op], a, b)
        steps: dict[str, Callable[[], str]] = {
            "bound": lambda: self.node("Clip", a, self.number(-BOUND), self.number(BOUND)),
            "protect": lambda: self._protected(a),
            "ge": lambda: self.mask("GreaterOrEqual", a, b),
            "le": lambda: self.mask("LessOrEqual", a, b),
            "equal": lambda: self.mask("Equal", a, b),
            "outside": lambda: self.mask("GreaterOrEqual", self.node("Abs", a), self.number(EPS)),
            "inside": lambda: self.mask("LessOrEqual", self.node("Abs", a), self.number(BOUND)),
            "share": lambda: self._share(a, b),
            "sum_c": lambda: self.summed(a),
            "max_c": lambda: self.node("ReduceMax", a, self.integers(-1), keepdims=1),
            "top_c": lambda: self._top(a),
        }
        return steps[op]()

    def _protected(self, a: str) -> str:
        low, high = self.node("Min", a, self.number(-EPS)), self.node("Max", a, self.number(EPS))
        return self.node("Where", self.node("Less", a, self.number(0.0)), low, high)

    def _share(self, a: str, b: str) -> str:
        sign = self.node("Sign", self.node("Sub", a, b))
        return self.node("Mul", self.node("Add", sign, self.number(1.0)), self.number(0.5))

    def _top(self, a: str) -> str:
        place = self.node("ArgMax", a, axis=-1, keepdims=0)
        depth = self.node("Slice", self.node("Shape", a), self.integers(1), self.integers(2))
        values = f"v{len(self.constants)}"
        self.constants.append(self.helper.make_tensor(values, self.float_type, [2], [0.0, 1.0]))
        return self.node("OneHot", place, depth, values, axis=-1)
