"""The few functions of SciPy that the lesson's mathematics calls, on NumPy alone: for browsers without SciPy.

Everywhere else SciPy itself is used. The tests hold these against it.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["digamma", "gamma_isf", "gamma_ppf", "gammaln", "install", "pivoted_qr"]

_SHIFT = 12  # Stirling's series is good to rounding from here
_BERNOULLI = (1 / 6, -1 / 30, 1 / 42, -1 / 30, 5 / 66, -691 / 2730, 7 / 6)  # B_2, B_4, …
_STEPS = 400


def install() -> None:
    """Put these in SciPy's place, if SciPy is not there."""
    if "scipy" in sys.modules or find_spec("scipy") is not None:
        return
    names: dict[str, dict[str, Any]] = {
        "scipy": {},
        "scipy.special": {"digamma": digamma, "gammaln": gammaln},
        "scipy.stats": {"gamma": _Gamma},
        "scipy.linalg": {"qr": pivoted_qr},
    }
    for name, contents in names.items():
        module = ModuleType(name)
        module.__dict__.update(contents)
        sys.modules[name] = module
        if "." in name:
            setattr(sys.modules["scipy"], name.partition(".")[2], module)


def digamma(values: ArrayLike) -> NDArray[np.float64]:
    """Logarithmic derivative of the gamma function, for positive values.

    Examples
    --------
    >>> float(digamma(1.0).round(12))  # minus Euler's constant
    -0.577215664902
    """
    given = np.asarray(values, dtype=np.float64)
    far = given + _SHIFT
    series = sum(b / (2 * k * far ** (2 * k)) for k, b in enumerate(_BERNOULLI, start=1))
    steps = sum(1 / (given + step) for step in range(_SHIFT))
    return np.asarray(np.log(far) - 0.5 / far - series - steps)


def gammaln(values: ArrayLike) -> NDArray[np.float64]:
    """Logarithm of the gamma function, for positive values.

    Examples
    --------
    >>> float(np.exp(gammaln(6.0)).round(9))
    120.0
    """
    given = np.asarray(values, dtype=np.float64)
    far = given + _SHIFT
    series = sum(b / (2 * k * (2 * k - 1) * far ** (2 * k - 1)) for k, b in enumerate(_BERNOULLI, start=1))
    steps = sum(np.log(given + step) for step in range(_SHIFT))
    return np.asarray((far - 0.5) * np.log(far) - far + 0.5 * math.log(2 * math.pi) + series - steps)


def gamma_ppf(probability: float, shape: float) -> float:
    """Quantile of the Gamma distribution of scale 1.

    Examples
    --------
    >>> round(gamma_ppf(0.5, 1.0), 12) == round(math.log(2), 12)
    True
    """
    return _where(lambda x: _lower(x, shape) < probability)


def gamma_isf(probability: float, shape: float) -> float:
    """Value that the Gamma distribution of scale 1 exceeds with this probability.

    Examples
    --------
    >>> round(gamma_isf(1e-15, 1.0), 9) == round(15 * math.log(10), 9)
    True
    """
    return _where(lambda x: _upper(x, shape) > probability)


def pivoted_qr(
    matrix: NDArray[np.float64], *, mode: str, pivoting: bool
) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Return ``R`` and the pivots of a QR decomposition: each time the column farthest from those before.

    Examples
    --------
    >>> pivoted_qr(np.array([[1.0, 0, 3], [0, 2, 0]]), mode="r", pivoting=True)[1].tolist()
    [2, 1, 0]
    """
    if mode != "r" or not pivoting:
        received = f"mode={mode!r}, pivoting={pivoting}"
        raise NotImplementedError(f"only mode='r' with pivoting, which the lesson calls; received {received}")
    left, pivots = np.array(matrix, dtype=np.float64), list[int]()
    for _ in range(min(left.shape)):
        lengths = np.linalg.norm(left, axis=0)
        lengths[pivots] = -1
        pivots.append(int(lengths.argmax()))
        direction = left[:, pivots[-1]] / lengths[pivots[-1]]
        left -= np.outer(direction, direction @ left)
    order = np.array(
        pivots + [column for column in range(left.shape[1]) if column not in pivots], dtype=np.intp
    )
    return np.asarray(np.linalg.qr(matrix[:, order], mode="r")), order


class _Gamma:
    isf = staticmethod(gamma_isf)
    ppf = staticmethod(gamma_ppf)


def _where(is_left: Callable[[float], bool]) -> float:
    """Halve the logarithm of an interval until it is a point."""
    low, high = math.log(1e-300), math.log(1e6)
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if is_left(math.exp(middle)) else (low, middle)
    return math.exp((low + high) / 2)


def _lower(x: float, shape: float) -> float:
    """Regularized lower incomplete gamma function: its series where that converges fast."""
    if x > shape + 1:
        return 1 - _upper(x, shape)
    term = total = 1 / shape
    for step in range(1, _STEPS):
        term *= x / (shape + step)
        total += term
    return total * math.exp(shape * math.log(x) - x - math.lgamma(shape))


def _upper(x: float, shape: float) -> float:
    """Regularized upper incomplete gamma function: its continued fraction, from the far end."""
    if x <= shape + 1:
        return 1 - _lower(x, shape)
    fraction = 0.0
    for step in range(_STEPS, 0, -1):
        fraction = step * (shape - step) / (x - shape + 2 * step + 1 + fraction)
    # Beyond the exponent's range the probability is zero to rounding.
    return math.exp(max(-745.0, shape * math.log(x) - x - math.lgamma(shape))) / (x - shape + 1 + fraction)
