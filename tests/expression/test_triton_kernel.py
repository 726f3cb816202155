"""The Triton kernel gives what the CPU interpreter gives: on a CPU in Triton's own interpreter, and on CUDA."""

from __future__ import annotations

import importlib.util
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from tests.helpers.conditioning import Tally, truth
from tests.helpers.crossing import FORMULAS
from tests.helpers.crossing import drawn as crossing
from torch import Tensor

from lossforge.expression.bytecode import CODE, OPCODES, assemble
from lossforge.expression.formula import parse_formula
from lossforge.expression.interpreter import Interpreter
from lossforge.expression.primitives import BOUND, EPS, LEAVES, PRIMITIVES
from lossforge.expression.program import Instruction, Program
from lossforge.expression.tree import Expression, call, constant, leaf
from lossforge.losses.library import LIBRARY

ROOT = Path(__file__).resolve().parents[2]
TYPES = (torch.float32, torch.float64)
CASES = (((7, 10), False), ((7, 10), True), ((5, 3), True), ((4, 33), False))
"""Samples and classes, and whether targets are soft."""
RANDOM_TREES = 100

needs_triton = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="triton is not installed")


def drawn(generator: random.Random, depth: int) -> Expression:
    """A random tree of every primitive."""
    if depth == 0 or generator.random() < 0.15:
        if generator.random() < 0.3:
            return constant(generator.choice([generator.randint(-300, 300) / 100, generator.uniform(-3, 3), EPS]))
        return leaf(generator.choice([*LEAVES]))
    name = generator.choice([*PRIMITIVES])
    return call(name, *(drawn(generator, depth - 1) for _ in range(PRIMITIVES[name].arity)))


def expressions() -> list[Expression]:
    generator = random.Random(11)
    return known(crossing_classes=False) + [drawn(generator, generator.randint(1, 4)) for _ in range(RANDOM_TREES)]


def known(*, crossing_classes: bool) -> list[Expression]:
    """Formulas of the library."""
    specs = [entry.spec() for entry in LIBRARY.values()]
    formulas = [parse_formula(spec.formula) for spec in specs if not spec.is_term]
    return [formula for formula in formulas if formula.crosses_classes == crossing_classes]


def logits_of(generator: torch.Generator, losses: int, rows: int, classes: int) -> Tensor:
    """Rows moderate, near ±50 and near ±1000 in turn; exact in float32."""
    normal = torch.randn(losses, rows, classes, generator=generator)
    kind = (torch.arange(rows) % 4)[:, None]
    return torch.where(kind == 1, normal.sign() * 50 + normal, torch.where(kind == 3, normal.sign() * 1000, 2 * normal))


def told(logits: Tensor) -> dict[str, Any]:
    """What losses may read besides logits and target."""
    return {"progress": 0.3, "class_share": torch.linspace(0.5, 1.5, logits.shape[-1]) / logits.shape[-1]}


def on_device(interpreter: Interpreter, device: str, logits: Tensor, target: Tensor, terms: bool) -> tuple[Tensor, ...]:
    if device == "cuda":
        found = interpreter.value_and_gradient(logits.cuda(), target.cuda(), terms=terms, **told(logits))
    else:
        from lossforge.expression.triton_kernel import launch

        context = interpreter.context(logits, **told(logits))
        tables, slots = interpreter.device_tables(logits), interpreter.bytecode.slots
        found = launch(tables, slots, logits, target, terms, *context, interpreter.of_one)
    return tuple(part.cpu() for part in found)


def compare(
    losses: list[Expression], device: str, dtype: torch.dtype, shape: tuple[int, int], soft: bool, tally: Tally
) -> None:
    """Indices and one batch for all losses, or soft targets and batches of their own, smoothed, not summed."""
    generator = torch.Generator().manual_seed(shape[1])
    rows, classes = shape
    logits = logits_of(generator, len(losses) if soft else 1, rows, classes).to(dtype)
    smoothing = [0.1 * (place % 3) for place in range(len(losses))]
    if soft:
        target = torch.softmax(torch.randn(len(losses), rows, classes, generator=generator), 2).to(dtype)
        whole = target
    else:
        target = torch.randint(classes, (1, rows), generator=generator)
        whole = torch.nn.functional.one_hot(target, classes).to(dtype)
    interpreter = Interpreter(losses, smoothing)
    value, gradient = on_device(interpreter, device, logits, target, soft)
    expected = interpreter.value_and_gradient(logits, target, terms=True)
    for k, expression in enumerate(losses):
        at = min(k, len(logits) - 1)
        y_true = (whole[at].double() * (1 - smoothing[k]) + smoothing[k] / classes).to(dtype)
        known = truth(expression, logits[at], y_true, dtype)
        tally.add(known.settled)
        wrong = replace(known, value=expected[0][k].double(), gradient=expected[1][k].double()).wrong(
            value[k], gradient[k]
        )
        assert not wrong.any(), (str(expression), dtype, shape, soft, wrong)


def check_losses(device: str) -> None:
    losses = expressions()
    tally = Tally()
    for dtype in TYPES:
        for shape, soft in CASES:
            compare(losses, device, dtype, shape, soft, tally)
    assert tally.share > 0.8, tally


NUMBERS = (
    0.0,
    1e-7,
    EPS,
    3e-4,
    0.1,
    0.3,
    0.5,
    0.624,
    0.626,
    1.0,
    1.5,
    2.7,
    7.0,
    19.0,
    26.0,
    80.0,
    1e3,
    54321.0,
    1e7,
    BOUND,
)
ABSOLUTE = {"sin", "cos", "erf"}
"""Near a zero these are right to the last place of 1, not of the result."""


def opcode_programs() -> Iterator[tuple[str, Program]]:
    """For every opcode programs on y_true, which may be any number here, and on its magnitude."""
    x, size, some = 1, 3, 4
    sizes = {"bound": BOUND, "inside": BOUND, "protect": EPS, "outside": EPS}
    first = (Instruction("abs", x), Instruction("clamp_min", size, EPS))
    for op in OPCODES:
        name = op.removesuffix("_number").removeprefix("number_").removesuffix("_from")
        if op in ("sqrt", "log"):
            pairs: list[tuple[int | float, int | float]] = [(some, 0.0)]
        elif op == "exp":
            pairs = [(5, 0.0)]
        elif op == "number_div":
            pairs = [(3.3, some)]
        elif op == "sub_from_number":
            pairs = [(0.3, x)]
        elif op.endswith("_number") or op in ("clamp_min", "clamp_max", "ge", "le"):
            pairs = [(x, 0.3), (x, -7.0)]
        elif op == "div":
            pairs = [(x, some)]
        elif op in sizes:
            pairs = [(x, sizes[op])]
        else:
            pairs = [(x, size), (size, x), (some, some)]
        extra = (Instruction("clamp_max", x, 27.0),) if op == "exp" else ()
        for a, b in pairs:
            yield op, Program((*first, *extra, Instruction(name, a, b)), (len(first) + len(extra) + 3, 0.0))


def check_opcodes(device: str) -> None:
    named = [*opcode_programs()]
    interpreter = Interpreter([])
    interpreter.bytecode = assemble([program for _, program in named])
    interpreter.smoothing = numpy.zeros(len(named))
    assert {*interpreter.bytecode.code[:, 0]} == {*CODE.values()}
    for dtype in TYPES:
        numbers = torch.tensor([NUMBERS, [-number for number in NUMBERS]], dtype=dtype)[None]
        logits = torch.zeros_like(numbers)
        found = on_device(interpreter, device, logits, numbers, True)[0].double()
        expected = interpreter.value_and_gradient(logits, numbers, terms=True, **told(logits))[0].double()
        limit = 1e-6 if dtype == torch.float32 else 1e-13
        for (op, program), value, right in zip(named, found, expected, strict=True):
            allowed = limit * (torch.ones_like(right) if op in ABSOLUTE else right.abs()) + 1e-37
            assert ((value - right).abs() <= allowed).all(), (op, program, dtype, numbers, value, right)


def check_blocks() -> None:
    """One instance takes several blocks, the last of them not full; constants alone; half types; no samples."""
    from lossforge.expression import triton_kernel

    triton_kernel.BLOCK, triton_kernel.ELEMENTS = 16, 1
    losses = [parse_formula(text) for text in ("-y_true * log(y_pred)", "y_pred", "1.5", "tanh(y_pred - y_true) * 3")]
    for soft in (False, True):
        compare(losses, "cpu", torch.float32, (11, 3), soft, Tally())
    interpreter = Interpreter(losses)
    logits, target = torch.randn(1, 5, 3).half(), torch.tensor([[0, 1, 2, 1, 0]], dtype=torch.int32)
    for half in (logits, logits.bfloat16()):
        found = on_device(interpreter, "cpu", half, target, False)
        for part, right in zip(found, interpreter.value_and_gradient(half.float(), target), strict=True):
            torch.testing.assert_close(part, right)
    assert on_device(interpreter, "cpu", logits[:, :0], target[:, :0], False)[0].shape == (4, 0)


def check_classes(device: str) -> None:
    """Formulas in which classes meet, and the head of independent classes."""
    generator = random.Random(4)
    losses = [parse_formula(text) for text in FORMULAS] + known(crossing_classes=True)
    losses += [crossing(generator, 3) for _ in range(40)]
    for head in ("softmax", "sigmoid"):
        interpreter = Interpreter(losses, head=head)
        logits = torch.randn(1, 9, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * 2
        target = torch.randint(5, (1, 9), generator=torch.Generator().manual_seed(2))
        expected = interpreter.value_and_gradient(logits, target, **told(logits))
        found = on_device(interpreter, device, logits, target, False)
        for part, right in zip(found, expected, strict=True):
            size = 1 + right.flatten(1).abs().amax(1)
            far = (part - right).flatten(1).abs().amax(1) > 1e-9 * size
            assert not far.any(), (head, [str(losses[k]) for k in far.nonzero().flatten().tolist()])


def check_agrees() -> None:
    check_opcodes("cpu")
    check_classes("cpu")
    check_losses("cpu")
    check_blocks()


def check_compiles() -> None:
    """For GPUs that need not be there."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from lossforge.expression.triton_kernel import run

    steps = ("logits_step", "target_step", "progress_step", "share_step")
    for number, soft, architecture in (("*fp32", False, 90), ("*fp64", True, 80)):
        kinds = dict.fromkeys(run.arg_names, number)
        kinds |= dict.fromkeys(("code", "starts", "outputs"), "*i32")
        kinds |= dict.fromkeys(("slots", "rows", "classes", *steps), "i32")
        constants = {"block_rows": 32, "block_classes": 16, "soft": soft, "terms": soft, "of_one": soft}
        kinds |= dict.fromkeys(constants, "constexpr") | ({} if soft else {"target": "*i64"})
        source = ASTSource(run, kinds, constants)
        compiled = triton.compile(
            source, target=GPUTarget("cuda", architecture, 32), options={"enable_fp_fusion": True}
        )
        assert compiled.asm["cubin"]
        # Angles may be large: the approximate instructions are wrong for those.
        assert "sin.approx" not in compiled.asm["ptx"]
        assert "cos.approx" not in compiled.asm["ptx"]


def in_subprocess(check: str, folder: Path, **environment: str) -> None:
    known = {**os.environ, "TRITON_CACHE_DIR": str(folder), "OMP_NUM_THREADS": "1", **environment}
    command = [sys.executable, "-m", "tests.expression.test_triton_kernel", check]
    done = subprocess.run(command, cwd=ROOT, env=known, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]


@needs_triton
def test_it_gives_what_the_cpu_gives(tmp_path: Path) -> None:
    in_subprocess("agrees", tmp_path, TRITON_INTERPRET="1")


@needs_triton
def test_it_compiles_for_a_gpu(tmp_path: Path) -> None:
    in_subprocess("compiles", tmp_path, TRITON_INTERPRET="0")


def test_without_triton_the_error_says_what_to_install() -> None:
    script = (
        "import sys; sys.modules['triton'] = None\n"
        "from lossforge.errors import LossforgeError\n"
        "import lossforge.expression.interpreter\n"
        "try:\n    import lossforge.expression.triton_kernel\n"
        "except LossforgeError as error:\n    assert \"install the package 'triton'\" in str(error)\n"
        "else:\n    raise SystemExit(1)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")


@needs_triton
@needs_cuda
@pytest.mark.gpu
def test_on_cuda_it_gives_what_the_cpu_gives() -> None:
    check_losses("cuda")
    check_opcodes("cuda")
    check_classes("cuda")


def many(losses: int) -> Interpreter:
    return Interpreter([parse_formula(f"-y_true * log(y_pred) + tanh({k + 1} * y_pred) * 0.1") for k in range(losses)])


@needs_triton
@needs_cuda
@pytest.mark.gpu
def test_all_losses_are_one_launch_that_a_graph_can_hold() -> None:
    interpreter = many(32)
    logits, target = torch.randn(32, 256, 10, device="cuda"), torch.randint(10, (1, 256), device="cuda")
    expected = interpreter.value_and_gradient(logits, target)
    torch.cuda.synchronize()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        interpreter.value_and_gradient(logits, target)
        torch.cuda.synchronize()
    kernels = [event for event in profile.events() if event.device_type == torch.autograd.DeviceType.CUDA]
    assert len(kernels) == 1, [event.name for event in kernels]
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        found = interpreter.value_and_gradient(logits, target)
    graph.replay()
    for part, right in zip(found, expected, strict=True):
        assert torch.equal(part, right)


@needs_triton
@needs_cuda
@pytest.mark.gpu
def test_cost_grows_less_than_linearly_with_the_losses() -> None:
    logits, target = torch.randn(1, 1024, 10, device="cuda"), torch.randint(10, (1, 1024), device="cuda")

    def cost(losses: int) -> float:
        interpreter = many(losses)
        times = []
        for _ in range(20):
            torch.cuda.synchronize()
            start = time.perf_counter()
            interpreter.value_and_gradient(logits, target)
            torch.cuda.synchronize()
            times.append(time.perf_counter() - start)
        return min(times)

    assert cost(32) < 16 * cost(1)


if __name__ == "__main__":
    torch.set_num_threads(1)
    {"agrees": check_agrees, "compiles": check_compiles}[sys.argv[1]]()
