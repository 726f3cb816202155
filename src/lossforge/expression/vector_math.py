"""Functions for the CPU kernels that become vector instructions where numba loops over them.

In float32 they are polynomials (Cephes, Moshier 1992; erf beyond 1: Abramowitz and Stegun 7.1.26), good to a few
units in the last place and 1.5e-7 for erf; in float64 they are the C library's.
"""

from __future__ import annotations

import math

import numpy
from numba import types
from numba.extending import overload

F = numpy.float32


def exp(x):
    """e**x; subnormal results too."""


def log(x):
    """Natural logarithm of a normal, positive x."""


def sine(x, quarter):
    """Sine, or with quarter = 1 cosine, of x within ±8192."""


def tanh(x):
    """Hyperbolic tangent."""


def erf(x):
    """Error function."""


@overload(exp)
def _exp_of(x):
    if x != types.float32:
        return lambda x: math.exp(min(x, 709.0))

    def implementation(x):
        # Below exp(-87) results are subnormal: they come as a normal one times 2**-64.
        tiny = x < F(-87.0)
        x = min(max(x + F(44.3614196) if tiny else x, F(-87.0)), F(88.3))
        n = numpy.floor(x * F(1.44269504088896341) + F(0.5))
        r = x - n * F(0.693359375)
        r = r - n * F(-2.12194440e-4)
        y = ((F(1.9875691500e-4) * r + F(1.3981999507e-3)) * r + F(8.3334519073e-3)) * r + F(4.1665795894e-2)
        y = ((y * r + F(1.6666665459e-1)) * r + F(5.0000001201e-1)) * r * r + r + F(1.0)
        power = numpy.int32((numpy.int32(n) + numpy.int32(127)) << numpy.int32(23))
        y = y * power.view(numpy.float32)
        return y * F(5.421010862427522e-20) if tiny else y

    return implementation


@overload(log)
def _log_of(x):
    if x != types.float32:
        return lambda x: math.log(x)

    def implementation(x):
        bits = F(x).view(numpy.int32)
        n = numpy.int32((bits >> numpy.int32(23)) - numpy.int32(126))
        m = numpy.int32((bits & numpy.int32(0x007FFFFF)) | numpy.int32(0x3F000000)).view(numpy.float32)
        small = m < F(0.707106781186547524)
        e = F(n) - (F(1.0) if small else F(0.0))
        r = (m + m if small else m) - F(1.0)
        y = ((F(7.0376836292e-2) * r - F(1.1514610310e-1)) * r + F(1.1676998740e-1)) * r - F(1.2420140846e-1)
        y = ((y * r + F(1.4249322787e-1)) * r - F(1.6668057665e-1)) * r + F(2.0000714765e-1)
        y = (y * r - F(2.4999993993e-1)) * r + F(3.3333331174e-1)
        s = r * r
        y = y * r * s + e * F(-2.12194440e-4) - F(0.5) * s
        # x - x is 0, but keeps what is not a number, or infinite, from looking like one.
        return r + y + e * F(0.693359375) + (x - x)

    return implementation


@overload(sine)
def _sine_of(x, quarter):
    """sin(x + quarter * pi / 2)."""
    if x != types.float32:
        return lambda x, quarter: math.sin(x) if quarter == 0 else math.cos(x)

    def implementation(x, quarter):
        n = numpy.floor(x * F(0.636619772367581343) + F(0.5))
        r = ((x - n * F(1.5703125)) - n * F(4.837512969970703125e-4)) - n * F(7.549789954891882e-8)
        quadrant = numpy.int32(numpy.int32(n) + numpy.int32(quarter)) & numpy.int32(3)
        s = r * r
        sine = ((F(-1.9515295891e-4) * s + F(8.3321608736e-3)) * s - F(1.6666654611e-1)) * s * r + r
        cosine = ((F(2.443315711809948e-5) * s - F(1.388731625493765e-3)) * s + F(4.166664568298827e-2)) * s * s
        cosine = cosine - F(0.5) * s + F(1.0)
        value = cosine if (quadrant & numpy.int32(1)) != 0 else sine
        return -value if quadrant >= numpy.int32(2) else value

    return implementation


@overload(tanh)
def _tanh_of(x):
    if x != types.float32:
        return lambda x: math.tanh(x)

    def implementation(x):
        s = x * x
        near = ((F(-5.70498872745e-3) * s + F(2.06390887954e-2)) * s - F(5.37397155531e-2)) * s + F(1.33314422036e-1)
        near = (near * s - F(3.33332819422e-1)) * s * x + x
        size = abs(x)
        far = F(1.0) - F(2.0) / (exp(size + size) + F(1.0))
        far = -far if x < F(0.0) else far
        return near if size < F(0.625) else far

    return implementation


@overload(erf)
def _erf_of(x):
    if x != types.float32:
        return lambda x: math.erf(x)

    def implementation(x):
        s = x * x
        near = ((F(7.853861353153693e-5) * s - F(8.010193625184903e-4)) * s + F(5.188327685732524e-3)) * s
        near = ((near - F(2.685381193529856e-2)) * s + F(1.128358514861418e-1)) * s - F(3.761262582423300e-1)
        near = (near * s + F(1.128379165726710)) * x
        size = abs(x)
        t = F(1.0) / (F(1.0) + F(0.3275911) * size)
        y = (((F(1.061405429) * t - F(1.453152027)) * t + F(1.421413741)) * t - F(0.284496736)) * t + F(0.254829592)
        far = F(1.0) - y * t * exp(-size * size)
        far = -far if x < F(0.0) else far
        return near if size < F(1.0) else far

    return implementation
