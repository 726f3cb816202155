"""Vectors of float32 as values in numba's functions: for loops that have to keep many sums in registers.

LLVM makes vector instructions of the innermost loop alone. A convolution is fast where a dozen sums stay in registers
over all that is summed, and that takes vectors in the source. They have 16 numbers on every machine, which sees to it
that sums are taken in one order everywhere; where registers are smaller LLVM takes several.
"""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, models, register_model

LANES = 16
_VECTOR = ir.VectorType(ir.FloatType(), LANES)
_INT = ir.IntType(32)


class _VectorType(types.Type):
    def __init__(self):
        super().__init__(f"float32x{LANES}")


_vector = _VectorType()


@register_model(_VectorType)
class _Model(models.PrimitiveModel):
    def __init__(self, manager, kind):
        super().__init__(manager, kind, _VECTOR)


def _indices(numbers):
    return ir.Constant(ir.VectorType(_INT, len(numbers)), list(numbers))


def _place(context, builder, signature, arguments):
    """Where in a flat array of float32 a vector begins."""
    array = context.make_array(signature.args[0])(context, builder, arguments[0])
    return builder.bitcast(builder.gep(array.data, [arguments[1]]), _VECTOR.as_pointer())


@intrinsic
def load(typing, array, index):
    """The vector that begins at ``index`` of a flat array; nobody looks whether it lies within."""

    def generate(context, builder, signature, arguments):
        value = builder.load(_place(context, builder, signature, arguments))
        value.align = 4
        return value

    return _vector(array, types.uint64), generate


@intrinsic
def store(typing, array, index, vector):
    """Write a vector into a flat array; nobody looks whether it fits."""

    def generate(context, builder, signature, arguments):
        builder.store(arguments[2], _place(context, builder, signature, arguments)).align = 4
        return context.get_dummy_value()

    return types.void(array, types.uint64, _vector), generate


@intrinsic
def splat(typing, value):
    """A number in every lane."""

    def generate(context, builder, signature, arguments):
        nothing = ir.Constant(_VECTOR, ir.Undefined)
        first = builder.insert_element(nothing, arguments[0], ir.Constant(_INT, 0))
        return builder.shuffle_vector(first, nothing, _indices([0] * LANES))

    return _vector(types.float32), generate


@intrinsic
def fma(typing, x, y, z):
    """``x * y + z``, rounded once."""

    def generate(context, builder, signature, arguments):
        kind = ir.FunctionType(_VECTOR, [_VECTOR] * 3)
        return builder.call(cgutils.get_or_insert_function(builder.module, kind, f"llvm.fma.v{LANES}f32"), arguments)

    return _vector(_vector, _vector, _vector), generate


@intrinsic
def add(typing, x, y):
    """``x + y``."""

    def generate(context, builder, signature, arguments):
        return builder.fadd(*arguments)

    return _vector(_vector, _vector), generate


@intrinsic
def larger(typing, x, y):
    """The larger of two numbers in each lane; NaN where one is NaN."""

    def generate(context, builder, signature, arguments):
        x, y = arguments
        kept = builder.or_(builder.fcmp_ordered(">=", x, y), builder.fcmp_unordered("uno", x, x))
        return builder.select(kept, x, y)

    return _vector(_vector, _vector), generate


@intrinsic
def where_positive(typing, x, y):
    """``y`` where ``x`` is above 0 or NaN, else 0."""

    def generate(context, builder, signature, arguments):
        nothing = ir.Constant(_VECTOR, [0.0] * LANES)
        return builder.select(builder.fcmp_unordered(">", arguments[0], nothing), arguments[1], nothing)

    return _vector(_vector, _vector), generate


@intrinsic
def where_same(typing, x, y, z):
    """``z`` where ``x`` is ``y``, or one is NaN, else 0."""

    def generate(context, builder, signature, arguments):
        x, y, z = arguments
        return builder.select(builder.fcmp_unordered("==", x, y), z, ir.Constant(_VECTOR, [0.0] * LANES))

    return _vector(_vector, _vector, _vector), generate


@intrinsic
def subtract(typing, x, y):
    """``x - y``."""

    def generate(context, builder, signature, arguments):
        return builder.fsub(*arguments)

    return _vector(_vector, _vector), generate


@intrinsic
def totals(typing, vectors):
    """Of a tuple of 16 vectors the vector of their sums, each taken in pairs."""

    def generate(context, builder, signature, arguments):
        (rows,) = arguments
        rows = [builder.extract_value(rows, number) for number in range(LANES)]
        # A vector comes to hold parts of the sums of ever more rows, and ever fewer parts of each.
        width = LANES // 2
        while width:
            lower = [lane for lane in range(2 * LANES) if not lane & width]
            upper = [lane for lane in range(2 * LANES) if lane & width]
            pairs = zip(rows[::2], rows[1::2], strict=True)
            rows = [
                builder.fadd(*(builder.shuffle_vector(*pair, _indices(lanes)) for lanes in (lower, upper)))
                for pair in pairs
            ]
            width //= 2
        return rows[0]

    return _vector(types.UniTuple(_vector, LANES)), generate


@intrinsic
def turn(typing, source, at, pitch, target, to, out_pitch):
    """Copy a square of 16 by 16 numbers, its rows so much apart, with rows and columns exchanged."""

    def generate(context, builder, signature, arguments):
        array, at, pitch, out, to, out_pitch = arguments
        kinds = signature.args

        def along(kind, value, start, step):
            places = [builder.add(start, builder.mul(step, ir.Constant(step.type, row))) for row in range(LANES)]
            return [_place(context, builder, types.void(kind), (value, place)) for place in places]

        rows = []
        for place in along(kinds[0], array, at, pitch):
            rows.append(builder.load(place))
            rows[-1].align = 4
        width = LANES // 2
        while width:
            upper = [lane - width + LANES if lane & width else lane for lane in range(LANES)]
            lower = [lane + LANES if lane & width else lane + width for lane in range(LANES)]
            for row in range(LANES):
                if not row & width:
                    both = rows[row], rows[row + width]
                    rows[row] = builder.shuffle_vector(*both, _indices(upper))
                    rows[row + width] = builder.shuffle_vector(*both, _indices(lower))
            width //= 2
        for row, place in zip(rows, along(kinds[3], out, to, out_pitch), strict=True):
            builder.store(row, place).align = 4
        return context.get_dummy_value()

    return types.void(source, types.uint64, types.uint64, target, types.uint64, types.uint64), generate
