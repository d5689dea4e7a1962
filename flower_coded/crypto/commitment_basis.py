"""A fixed list of points to be multiplied by many vectors, short ones cheaply.

Multi-scalar multiplication takes time in proportion to the scalars' length, and a negative number modulo r
has 255 bits however small it is. So ``2**b`` is added to every scalar, where b bounds the absolute values,
and ``2**b`` times the sum of the points, computed once, is subtracted from the result: 16-bit weights then
cost as 17-bit ones do, about a seventh.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from flower_coded.crypto.backends import Backend, Point
from flower_coded.crypto.field_vectors import FIELD_MODULUS, FieldArray, add, from_ints, signed_bit_length
from flower_coded.errors import ParameterError

__all__ = ["CommitmentBasis"]

_WORTHWHILE_BITS = FIELD_MODULUS.bit_length() - 16


@dataclass(frozen=True, eq=False)
class CommitmentBasis:
    """Points of G1 and sums of their multiples.

    Parameters
    ----------
    backend : Backend
    points : tuple of points of G1
    """

    backend: Backend
    points: tuple[Point, ...]
    _sums: dict[int, Point] = field(default_factory=dict, init=False, repr=False)

    def multiply(self, scalars: FieldArray) -> Point:
        """Return ``sum_j scalars[j] * points[j]`` over as many points as there are scalars.

        Parameters
        ----------
        scalars : ndarray of shape (n, 4), uint64
            Canonical elements of F_r, at most as many as points.

        Raises
        ------
        ParameterError
            If there are more scalars than points, or one is not canonical.
        """
        count = len(scalars)
        if count > len(self.points):
            raise ParameterError("number of scalars", f"must be at most {len(self.points)}", count)
        bits = signed_bit_length(scalars)
        if bits > _WORTHWHILE_BITS or not (scalars[..., 3] > 0).any():  # long, or none negative
            return self.backend.msm(self.points[:count], scalars)
        shifted = self.backend.msm(self.points[:count], add(scalars, from_ints([1 << bits])))
        offset = self.backend.multiply(self._sum(count), 1 << bits)
        return self.backend.add(shifted, self.backend.negate(offset))

    def _sum(self, count: int) -> Point:
        if count not in self._sums:
            self._sums[count] = self.backend.msm(self.points[:count], from_ints([1] * count))
        return self._sums[count]
