"""A fixed list of points to be multiplied by many vectors, short ones cheaply.

Multi-scalar multiplication takes time in proportion to the scalars' length, and a negative number modulo r
has 255 bits however small it is. Two ways around that:

* With tables (:class:`flower_coded.crypto.backends.fixed_base.FixedBaseTable`) digits are taken of the
  absolute value. Tables make long scalars cheaper too, about twice; computing them takes as long as a few
  multiplications, and compiling the code some 20 s once per machine.
* Without, ``2**b`` is added to every scalar, where b bounds the absolute values, and ``2**b`` times the sum
  of the points, computed once, is subtracted from the result: 16-bit weights then cost as 17-bit ones do.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from importlib.util import find_spec
from threading import Lock
from typing import TYPE_CHECKING

from flower_coded.crypto.backends import Backend, Point
from flower_coded.crypto.field_vectors import (
    FIELD_MODULUS,
    FieldArray,
    add,
    check_elements,
    from_ints,
    signed_bit_length,
)
from flower_coded.errors import ParameterError

if TYPE_CHECKING:
    from flower_coded.crypto.backends.fixed_base import FixedBaseTable

__all__ = ["CommitmentBasis"]

_WORTHWHILE_BITS = FIELD_MODULUS.bit_length() - 16


@dataclass(frozen=True, eq=False)
class CommitmentBasis:
    """Points of G1 and sums of their multiples.

    Parameters
    ----------
    backend : Backend
    points : tuple of points of G1
    with_tables : bool
        Whether to compute tables of multiples on first use. They need numba, and a backend that is not the
        reference implementation; where either is missing this changes nothing but the time.
    """

    backend: Backend
    points: tuple[Point, ...]
    with_tables: bool = False
    _sums: dict[int, Point] = field(default_factory=dict, init=False, repr=False)
    _lock: Lock = field(default_factory=Lock, init=False, repr=False)

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
        check_elements(scalars, name="scalars")
        count = len(scalars)
        if count > len(self.points):
            raise ParameterError("number of scalars", f"must be at most {len(self.points)}", count)
        if self.with_tables and self.table is not None:
            data = self.table.multiply(scalars)
            return self.backend.from_affine_bytes(data, check_subgroup=False)[0]
        bits = signed_bit_length(scalars)
        if bits > _WORTHWHILE_BITS or not (scalars[..., 3] > 0).any():  # long, or none negative
            return self.backend.msm(self.points[:count], scalars)
        # |v| < 2**bits makes v + 2**bits short and not negative.
        shifted = self.backend.msm(self.points[:count], add(scalars, from_ints([1 << bits])))
        offset = self.backend.multiply(self._sum(count), 1 << bits)
        return self.backend.add(shifted, self.backend.negate(offset))

    @property
    def table(self) -> FixedBaseTable | None:
        """The table of multiples, computed once whatever the threads; None where there can be none."""
        with self._lock:
            return self._table

    @cached_property
    def _table(self) -> FixedBaseTable | None:
        has_identity = any(self.backend.equal(point, self.backend.identity) for point in self.points)
        if has_identity or not self.backend.takes_tables or find_spec("numba") is None:
            return None
        from flower_coded.crypto.backends.fixed_base import fixed_base_table

        return fixed_base_table(self.backend.to_affine_bytes(self.points))

    def _sum(self, count: int) -> Point:
        if count not in self._sums:
            self._sums[count] = self.backend.msm(self.points[:count], from_ints([1] * count))
        return self._sums[count]
