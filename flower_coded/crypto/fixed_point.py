"""Fixed point: real updates as short integers and back, with clipping and stochastic rounding.

A finite field adds integers, so a real update is clipped to ``[-c, c]``, divided by a step and rounded to an
integer of ``b`` bits. Rounding is stochastic: x becomes ``floor(x)`` or ``floor(x) + 1`` with the
probabilities that make its mean x, so that the rounding errors of many users average out instead of adding
up. Nothing here touches the field except :meth:`FixedPoint.check_room`, which says whether sums and squared
distances of such integers stay below r/2 and therefore mean, modulo r, what they mean over the integers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from flower_coded.crypto.field_vectors import FIELD_MODULUS
from flower_coded.errors import ParameterError

__all__ = ["FixedPoint", "QuantizedUpdate"]


@dataclass(frozen=True)
class QuantizedUpdate:
    """An update in fixed point.

    Parameters
    ----------
    integers : ndarray of shape (L,), int64
        The rounded entries, of absolute value at most :attr:`FixedPoint.max_integer`.
    num_clipped : int
        Entries that lay outside the clipping range.
    """

    integers: NDArray[np.int64]
    num_clipped: int


@dataclass(frozen=True)
class FixedPoint:
    """Real numbers in ``[-clipping, clipping]`` as signed integers of ``num_bits`` bits.

    Parameters
    ----------
    num_bits : int
        b, from 2 to 32; the integers run from ``-(2**(b-1) - 1)`` to ``2**(b-1) - 1``.
    clipping : float
        c > 0, in the unit of the update.

    Raises
    ------
    ParameterError
        If a bound above does not hold.

    Examples
    --------
    >>> point = FixedPoint(num_bits=8, clipping=1.27)
    >>> quantized = point.quantize([0.5, -9.0], np.random.default_rng(1))
    >>> quantized.integers, quantized.num_clipped
    (array([  50, -127]), 1)
    >>> point.dequantize(quantized.integers, count=1)
    array([ 0.5 , -1.27])
    """

    num_bits: int = 16
    clipping: float = 1.0

    def __post_init__(self) -> None:
        if not 2 <= self.num_bits <= 32:
            raise ParameterError("num_bits", "must be from 2 to 32", self.num_bits)
        if not (np.isfinite(self.clipping) and self.clipping > 0):
            raise ParameterError("clipping", "must be finite and positive", self.clipping)

    @property
    def max_integer(self) -> int:
        """The largest absolute value of a quantized entry, ``2**(b-1) - 1``."""
        return (1 << (self.num_bits - 1)) - 1

    @property
    def step(self) -> float:
        """What one unit of the integers is worth, ``c / max_integer``."""
        return self.clipping / self.max_integer

    def quantize(self, values: ArrayLike, generator: np.random.Generator) -> QuantizedUpdate:
        """Clip, scale and round stochastically.

        Parameters
        ----------
        values : array_like of shape (L,)
            Finite real numbers.
        generator : numpy.random.Generator
            Source of the rounding; it need not be secret.

        Returns
        -------
        QuantizedUpdate

        Raises
        ------
        ParameterError
            If an entry is NaN or infinite.
        """
        real = np.asarray(values, dtype=np.float64).ravel()
        if not np.isfinite(real).all():
            raise ParameterError(
                "values", "must be finite", f"{np.sum(~np.isfinite(real))} entries that are not"
            )
        # Counted before clipping; equality is no clipping.
        num_clipped = int(np.count_nonzero(np.abs(real) > self.clipping))
        scaled = np.clip(real, -self.clipping, self.clipping) * (self.max_integer / self.clipping)
        # floor(x + u), u uniform in [0, 1), is x on average: E = floor(x) + P(u >= 1 - frac(x)) = x.
        rounded = np.floor(scaled + generator.random(scaled.shape)).astype(np.int64)
        # max_integer + u may reach max_integer + 1 in floating point; clip once more.
        return QuantizedUpdate(np.clip(rounded, -self.max_integer, self.max_integer), num_clipped)

    def dequantize(self, total: ArrayLike, *, count: int) -> NDArray[np.float64]:
        """Return the mean that an integer sum of ``count`` quantized updates stands for.

        Parameters
        ----------
        total : array_like of int, shape (L,)
            Sum of the integers.
        count : int
            Number of summands, at least 1.

        Returns
        -------
        ndarray of shape (L,), float64
        """
        if count < 1:
            raise ParameterError("count", "must be at least 1", count)
        mean: NDArray[np.float64] = np.asarray(total, dtype=np.float64) * (self.step / count)
        return mean

    def largest_squared_distance(self, length: int) -> int:
        """Return the largest squared distance of two quantized updates, ``L * (2 max_integer)**2``."""
        return length * (2 * self.max_integer) ** 2

    def check_room(self, *, num_users: int, length: int) -> None:
        """Refuse sizes for which a sum of all users or a squared distance could reach r/2.

        Raises
        ------
        ParameterError
            With the number of bits that is too much.

        Examples
        --------
        >>> FixedPoint(num_bits=32).check_room(num_users=1000, length=10**9)
        """
        # Both must stay below r/2, so that a residue names one signed integer.
        largest = max(num_users * self.max_integer, self.largest_squared_distance(length))
        if largest >= FIELD_MODULUS // 2:
            raise ParameterError(
                "num_bits",
                f"must keep sums and squared distances below r/2 (2**{FIELD_MODULUS.bit_length() - 2})",
                f"2**{largest.bit_length()} for {num_users} users of length {length} at {self.num_bits} bits",
            )
