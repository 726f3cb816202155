"""The interpreter's CUDA back end: K losses on all samples in one launch of one Triton kernel.

Programs are data, so the kernel is compiled once for a floating type and a size of class axis, never for a loss.
An instance takes one loss and every so many blocks of samples. Its registers live in global memory, since
Triton has no register that is chosen by a number read at run time; a block's are small enough for the caches.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from lossforge.errors import ExecutionError
from lossforge.expression.bytecode import CODE, LAST
from lossforge.expression.primitives import LOG_Y_PRED

try:
    import triton
    import triton.language as tl
except ImportError as missing:
    raise ExecutionError("losses on CUDA tensors need Triton: install the package 'triton'") from missing

if TYPE_CHECKING:
    from torch import Tensor

BLOCK = 512
"""Elements of a block, at least: with four warps, four a thread."""
ELEMENTS = 2**20
"""Elements in flight, about; it bounds the memory that registers take."""

_ADD = tl.constexpr(CODE["add"])
_ADD_NUMBER = tl.constexpr(CODE["add_number"])
_SUB = tl.constexpr(CODE["sub"])
_SUB_FROM_NUMBER = tl.constexpr(CODE["sub_from_number"])
_MUL = tl.constexpr(CODE["mul"])
_MUL_NUMBER = tl.constexpr(CODE["mul_number"])
_DIV = tl.constexpr(CODE["div"])
_DIV_NUMBER = tl.constexpr(CODE["div_number"])
_NUMBER_DIV = tl.constexpr(CODE["number_div"])
_MAXIMUM = tl.constexpr(CODE["maximum"])
_MINIMUM = tl.constexpr(CODE["minimum"])
_NEG = tl.constexpr(CODE["neg"])
_SQRT = tl.constexpr(CODE["sqrt"])
_LOG = tl.constexpr(CODE["log"])
_EXP = tl.constexpr(CODE["exp"])
_SIN = tl.constexpr(CODE["sin"])
_COS = tl.constexpr(CODE["cos"])
_TANH = tl.constexpr(CODE["tanh"])
_ABS = tl.constexpr(CODE["abs"])
_SIGN = tl.constexpr(CODE["sign"])
_SIGMOID = tl.constexpr(CODE["sigmoid"])
_ERF = tl.constexpr(CODE["erf"])
_CLAMP_MIN = tl.constexpr(CODE["clamp_min"])
_CLAMP_MAX = tl.constexpr(CODE["clamp_max"])
_BOUND = tl.constexpr(CODE["bound"])
_PROTECT = tl.constexpr(CODE["protect"])
_GE = tl.constexpr(CODE["ge"])
_LE = tl.constexpr(CODE["le"])
_OUTSIDE = tl.constexpr(CODE["outside"])
_INSIDE = tl.constexpr(CODE["inside"])
_SHARE = tl.constexpr(CODE["share"])
_EQUAL = tl.constexpr(CODE["equal"])
_SUM_C = tl.constexpr(CODE["sum_c"])
_MAX_C = tl.constexpr(CODE["max_c"])
_TOP_C = tl.constexpr(CODE["top_c"])
_STOP = tl.constexpr(CODE["stop"])
_LOGIT = tl.constexpr(CODE["logit"])
_N_CLASSES = tl.constexpr(CODE["n_classes"])
_PROGRESS = tl.constexpr(CODE["progress"])
_CLASS_SHARE = tl.constexpr(CODE["class_share"])
_LAST_FUNCTION = tl.constexpr(LAST["function"])
_LAST_GUARD = tl.constexpr(LAST["guard"])

_LEAST_LOG = tl.constexpr(LOG_Y_PRED[0])


@triton.jit
def _divide(x, y):
    # In float32 a plain quotient is approximate: even x / x need not be 1.
    return x / y if x.dtype == tl.float64 else tl.div_rn(x, y)


@triton.jit
def _root(x):
    return tl.sqrt(x) if x.dtype == tl.float64 else tl.sqrt_rn(x)


@triton.jit
def _exp(x):
    if x.dtype == tl.float64:
        result = tl.exp(x)
    else:
        # tl.exp is exp2 of a rounded product: right near zero only. Two powers of two reach subnormal results.
        x = tl.minimum(tl.maximum(x, -104.0), 88.3)
        n = tl.floor(x * 1.44269504088896341 + 0.5)
        rest = (x - n * 0.693359375) + n * 2.12194440e-4
        half = tl.floor(n * 0.5)
        result = tl.exp(rest) * tl.exp2(half) * tl.exp2(n - half)
    return result


@triton.jit
def _tanh(x):
    # Cephes (Moshier 1992), for both types.
    s = x * x
    top = ((-9.64399179425052238628e-1 * s - 9.92877231001918586564e1) * s - 1.61468768441708447952e3) * s
    bottom = ((s + 1.12811678491632931402e2) * s + 2.23548839060100448583e3) * s + 4.84406305325125486048e3
    near = x + x * (top / bottom)
    size = tl.abs(x)
    far = 1.0 - 2.0 / (_exp(size + size) + 1.0)
    return tl.where(size < 0.625, near, tl.where(x < 0.0, -far, far))


@triton.jit
def _arithmetic(op, x, y, c):
    if op == _ADD:
        result = x + y
    elif op == _ADD_NUMBER:
        result = x + c
    elif op == _SUB:
        result = x - y
    elif op == _SUB_FROM_NUMBER:
        result = c - x
    elif op == _MUL:
        result = x * y
    elif op == _MUL_NUMBER:
        result = x * c
    elif op == _DIV:
        result = _divide(x, y)
    elif op == _DIV_NUMBER:
        result = _divide(x, c)
    else:
        result = _divide(c, x)
    return result


@triton.jit
def _function(op, x):
    if op == _SQRT:
        result = _root(x)
    elif op == _LOG:
        result = tl.log(x)
    elif op == _EXP:
        result = _exp(x)
    elif op == _SIN:
        result = tl.sin(x)
    elif op == _COS:
        result = tl.cos(x)
    elif op == _TANH:
        result = _tanh(x)
    elif op == _ABS:
        result = tl.abs(x)
    elif op == _SIGN:
        result = (x > 0.0).to(x.dtype) - (x < 0.0).to(x.dtype)
    elif op == _SIGMOID:
        result = _divide((x == x).to(x.dtype), 1.0 + _exp(-x))
    else:
        result = tl.erf(x)
    return result


@triton.jit
def _guard(op, x, y, c):
    if op == _CLAMP_MIN:
        result = tl.maximum(x, c)
    elif op == _CLAMP_MAX:
        result = tl.minimum(x, c)
    elif op == _BOUND:
        result = tl.minimum(tl.maximum(x, -c), c)
    elif op == _PROTECT:
        result = tl.where(x < 0.0, tl.minimum(x, -c), tl.maximum(x, c))
    elif op == _GE:
        result = (x >= c).to(x.dtype)
    elif op == _LE:
        result = (x <= c).to(x.dtype)
    elif op == _OUTSIDE:
        result = (tl.abs(x) >= c).to(x.dtype)
    elif op == _INSIDE:
        result = (tl.abs(x) <= c).to(x.dtype)
    elif op == _SHARE:
        result = 0.5 * ((x > y).to(x.dtype) + (x >= y).to(x.dtype))
    else:
        result = (x == y).to(x.dtype)
    return result


@triton.jit
def _of_classes(op, x, z, known, classes, progress, share):
    zero = x * 0.0
    if op == _SUM_C:
        result = zero + tl.sum(tl.where(known, x, 0.0), 1)[:, None]
    elif op == _MAX_C:
        result = zero + tl.max(tl.where(known, x, float("-inf")), 1)[:, None]
    elif op == _TOP_C:
        c = tl.arange(0, x.shape[1])[None, :]
        peak = tl.max(tl.where(known, x, float("-inf")), 1)[:, None]
        first = tl.min(tl.where(known & (x == peak), c, x.shape[1]), 1)[:, None]
        result = (c == first).to(x.dtype)
    elif op == _STOP:
        result = x
    elif op == _LOGIT:
        result = z
    elif op == _N_CLASSES:
        result = zero + classes
    elif op == _PROGRESS:
        result = zero + progress
    else:
        result = zero + share
    return result


@triton.jit
def _step(op, x, y, c, z, known, classes, progress, share):
    if op <= _NUMBER_DIV:
        result = _arithmetic(op, x, y, c)
    elif op == _MAXIMUM:
        result = tl.maximum(x, y)
    elif op == _MINIMUM:
        result = tl.minimum(x, y)
    elif op == _NEG:
        result = -x
    elif op <= _LAST_FUNCTION:
        result = _function(op, x)
    elif op <= _LAST_GUARD:
        result = _guard(op, x, y, c)
    else:
        result = _of_classes(op, x, z, known, classes, progress, share)
    return result


@triton.jit
def _output(registers, output, constant, size: tl.constexpr):
    register = tl.load(output)
    value = tl.load(registers + tl.maximum(register, 0) * size)
    return tl.where(register >= 0, value, tl.load(constant))


_INTEGERS = ("slots", "rows", "classes", "logits_step", "target_step", "progress_step", "share_step")


@triton.jit(do_not_specialize=_INTEGERS)
def run(
    code,
    numbers,
    starts,
    outputs,
    constants,
    smoothing,
    logits,
    target,
    progress,
    shares,
    scratch,
    losses,
    gradients,
    slots,
    rows,
    classes,
    logits_step,
    target_step,
    progress_step,
    share_step,
    block_rows: tl.constexpr,
    block_classes: tl.constexpr,
    soft: tl.constexpr,
    terms: tl.constexpr,
    of_one: tl.constexpr,
):
    """Program k on blocks of samples; from loss to loss logits and target are ``..._step`` apart, 0 if shared."""
    size: tl.constexpr = block_rows * block_classes
    number_type = numbers.dtype.element_ty
    k = tl.program_id(1).to(tl.int64)
    c = tl.arange(0, block_classes)[None, :]
    row = tl.arange(0, block_rows).to(tl.int64)
    registers = scratch + (k * tl.num_programs(0) + tl.program_id(0)) * slots * size
    registers += row[:, None] * block_classes + c
    first, last = tl.load(starts + k), tl.load(starts + k + 1)
    # In float64, as on a CPU: only the targets themselves are rounded.
    mixed = tl.load(smoothing + k).to(tl.float64)
    off = mixed / 2.0 if of_one else mixed / classes
    known = c < classes
    now = tl.load(progress + k * progress_step)
    share = tl.load(shares + k * share_step + c, mask=known, other=0.0)
    for block in range(tl.program_id(0), tl.cdiv(rows, block_rows), tl.num_programs(0)):
        n = row + block * block_rows
        inside = (n < rows)[:, None] & known
        place = n[:, None] * classes + c
        z = tl.load(logits + k * logits_step + place, mask=inside, other=0.0).to(number_type)
        if of_one:
            small = _exp(-tl.abs(z))
            log_p = tl.minimum(z, 0.0) - tl.log(1.0 + small)
            p = tl.where(known, _divide(tl.where(z >= 0.0, 1.0, small), 1.0 + small), 0.0)
        else:
            shifted = z - tl.max(tl.where(known, z, float("-inf")), 1)[:, None]
            total = tl.sum(tl.where(known, _exp(shifted), 0.0), 1)
            log_p = tl.where(known, shifted - tl.log(total)[:, None], 0.0)
            p = tl.where(known, _exp(log_p), 0.0)
        # As in the modules: a masked class has the logit -inf.
        log_p = tl.maximum(log_p, _LEAST_LOG, propagate_nan=tl.PropagateNan.ALL)
        if soft:
            y = tl.load(target + k * target_step + place, mask=inside, other=0.0).to(tl.float64)
            y = (y * (1.0 - mixed) + off).to(number_type)
        else:
            label = tl.load(target + k * target_step + n, mask=n < rows, other=0).to(tl.int64)
            y = tl.where(c == label[:, None], (1.0 - mixed + off).to(number_type), off.to(number_type))
        # Barriers: layouts may differ, so what one thread has stored another may load, or overwrite too early.
        tl.debug_barrier()
        tl.store(registers, p)
        tl.store(registers + size, y)
        tl.store(registers + 2 * size, log_p)
        tl.debug_barrier()
        for step in range(first, last):
            at = code + step * 4
            op, dest = tl.load(at), tl.load(at + 1)
            a = tl.load(registers + tl.load(at + 2) * size)
            b = tl.load(registers + tl.load(at + 3) * size)
            tl.store(registers + dest * size, _step(op, a, b, tl.load(numbers + step), z, known, classes, now, share))
            tl.debug_barrier()
        value = _output(registers, outputs + 2 * k, constants + 2 * k, size)
        g = _output(registers, outputs + 2 * k + 1, constants + 2 * k + 1, size)
        g = tl.where(log_p <= _LEAST_LOG, 0.0, g)
        slope = g if of_one else g - p * tl.sum(tl.where(known, g, 0.0), 1)[:, None]
        tl.store(gradients + k * rows * classes + place, slope, mask=inside)
        if terms:
            tl.store(losses + k * rows * classes + place, value, mask=inside)
        else:
            tl.store(losses + k * rows + n, tl.sum(tl.where(known, value, 0.0), 1), mask=n < rows)


def launch(
    tables: tuple[Tensor, ...],
    slots: int,
    logits: Tensor,
    target: Tensor,
    terms: bool,
    progress: Tensor,
    shares: Tensor,
    of_one: bool,
) -> tuple[Tensor, Tensor]:
    """Losses and gradients as of `Interpreter.value_and_gradient`, in the floating type of the tables.

    ``tables`` are the arrays of a `Bytecode` and the smoothing, on the device; ``logits`` (K or 1, N, C), ``target``
    (K or 1, N) integers or (K or 1, N, C), ``progress`` (K or 1,), ``shares`` (K or 1, C). After a first call, which
    compiles, it can be captured in a CUDA graph.
    """
    options: dict[str, Any] = {"dtype": tables[1].dtype, "device": logits.device}
    count, (rows, classes) = len(tables[2]) - 1, logits.shape[1:]
    gradients = torch.empty(count, rows, classes, **options)
    losses = torch.empty_like(gradients) if terms else torch.empty(count, rows, **options)
    if not gradients.numel():
        return losses.zero_(), gradients
    block_classes = triton.next_power_of_2(classes)
    block_rows = max(1, BLOCK // block_classes)
    size = block_rows * block_classes
    instances = min(triton.cdiv(rows, block_rows), max(1, ELEMENTS // (size * count)))
    with torch.cuda.device_of(logits):
        run[(instances, count)](
            *tables,
            logits.contiguous(),
            target.contiguous(),
            progress,
            shares,
            torch.empty(count * instances * slots * size, **options),
            losses,
            gradients,
            slots,
            rows,
            classes,
            *(0 if len(tensor) == 1 else tensor[0].numel() for tensor in (logits, target, progress, shares)),
            block_rows=block_rows,
            block_classes=block_classes,
            soft=target.is_floating_point(),
            terms=terms,
            of_one=of_one,
            num_warps=min(32, max(4, size // 256)),
            enable_fp_fusion=True,
        )
    return losses, gradients
