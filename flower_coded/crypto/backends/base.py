"""What the rest of the package asks of an implementation of BLS12-381.

Points are opaque: only the backend that made one may touch it. Scalars are Python integers in ``[0, r)`` or,
where there are many, arrays of :mod:`flower_coded.crypto.field_vectors`. Whatever comes from outside enters
through :meth:`Backend.decompress`, :meth:`Backend.decompress_g2` or :meth:`Backend.from_affine_bytes`, and is
refused there unless its length and form are right and it lies on the curve and in the subgroup of order r;
libraries differ in which of these they check (one truncates the longer of two lists in silence, another
accepts 49 bytes), so the checks are made here. Nothing runs in constant time.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, TypeAlias

from flower_coded.crypto.field_vectors import FIELD_MODULUS, FieldArray, check_elements
from flower_coded.errors import ParameterError, PointError

__all__ = ["AFFINE_BYTES", "G1_BYTES", "G2_BYTES", "Backend", "Point", "PointG2"]

Point: TypeAlias = Any
"""A point of G1 as one backend represents it."""

PointG2: TypeAlias = Any
"""A point of G2 as one backend represents it."""

G1_BYTES, G2_BYTES, AFFINE_BYTES = 48, 96, 96

_INFINITY_FLAG, _INFINITY_BYTE = 0x40, 0xC0


class Backend(ABC):
    """Group operations and pairings of BLS12-381.

    Subclasses implement the methods marked abstract; the public ones check their arguments first.
    """

    name: ClassVar[str]
    takes_tables: ClassVar[bool] = True
    """Whether sums over fixed points may go through compiled tables instead of :meth:`msm`."""

    @property
    @abstractmethod
    def generator(self) -> Point:
        """The standard generator of G1."""

    @property
    @abstractmethod
    def identity(self) -> Point:
        """The neutral element of G1."""

    @property
    @abstractmethod
    def generator_g2(self) -> PointG2:
        """The standard generator of G2."""

    @abstractmethod
    def add(self, left: Point, right: Point) -> Point:
        """Add two points of G1."""

    @abstractmethod
    def add_many(self, left: Sequence[Point], right: Sequence[Point]) -> list[Point]:
        """Add two lists of points of equal length, one by one."""

    @abstractmethod
    def negate(self, point: Point) -> Point:
        """Return the inverse of a point of G1."""

    @abstractmethod
    def equal(self, left: Point, right: Point) -> bool:
        """Tell whether two points of G1 are the same."""

    @abstractmethod
    def compress(self, point: Point) -> bytes:
        """Write a point of G1 in 48 bytes, in the form of Zcash and Ethereum."""

    @abstractmethod
    def to_affine_bytes(self, points: Iterable[Point]) -> bytes:
        """Write points of G1 in 96 bytes each, x then y, big-endian; the neutral element is 96 zero bytes."""

    @abstractmethod
    def hash_to_g1(self, message: bytes, domain: bytes) -> Point:
        """Hash to G1 as RFC 9380, suite ``BLS12381G1_XMD:SHA-256_SSWU_RO_``: nobody knows its logarithm."""

    @abstractmethod
    def add_g2(self, left: PointG2, right: PointG2) -> PointG2:
        """Add two points of G2."""

    @abstractmethod
    def compress_g2(self, point: PointG2) -> bytes:
        """Write a point of G2 in 96 bytes, in the form of Zcash and Ethereum."""

    def multiply(self, point: Point, scalar: int) -> Point:
        """Return ``scalar * point`` in G1.

        Raises
        ------
        ParameterError
            If the scalar is not in ``[0, r)``.
        """
        return self._multiply(point, _check_scalar(scalar))

    def multiply_g2(self, point: PointG2, scalar: int) -> PointG2:
        """Return ``scalar * point`` in G2; the scalar is in ``[0, r)``."""
        return self._multiply_g2(point, _check_scalar(scalar))

    def msm(self, points: Sequence[Point], scalars: FieldArray) -> Point:
        """Return the multi-scalar multiplication ``sum_j scalars[j] * points[j]``.

        Parameters
        ----------
        points : sequence of points of G1, length n
        scalars : ndarray of shape (n, 4), uint64
            Canonical elements of F_r; short ones are cheaper.

        Raises
        ------
        ParameterError
            If the lengths differ or a scalar is not canonical.
        """
        check_elements(scalars, name="scalars")
        if scalars.ndim != 2 or len(points) != len(scalars):
            raise ParameterError(
                "scalars", f"must have shape ({len(points)}, 4), one for each point", scalars.shape
            )
        return self._msm(points, scalars) if len(points) else self.identity

    def decompress(self, data: bytes) -> Point:
        """Read a point of G1 from 48 bytes.

        Raises
        ------
        PointError
            If the bytes are not the one encoding of a point of the group of order r.
        """
        return self._decompress(_check_form(data, G1_BYTES, "a compressed point of G1"))

    def decompress_g2(self, data: bytes) -> PointG2:
        """Read a point of G2 from 96 bytes; raises as :meth:`decompress`."""
        return self._decompress_g2(_check_form(data, G2_BYTES, "a compressed point of G2"))

    def from_affine_bytes(self, data: bytes, *, check_subgroup: bool = True) -> list[Point]:
        """Read points of G1 from 96 bytes each.

        Parameters
        ----------
        data : bytes
            As :meth:`to_affine_bytes` writes them.
        check_subgroup : bool
            False only for bytes whose hash was checked: the test of the subgroup is most of the cost. That a
            point lies on the curve is checked always.

        Raises
        ------
        PointError
            If the length is no multiple of 96, a coordinate is too large, or a point is off the curve or the
            subgroup.
        """
        if len(data) % AFFINE_BYTES:
            raise PointError("affine points of G1", f"{len(data)} bytes are no multiple of {AFFINE_BYTES}")
        pieces = (data[i : i + AFFINE_BYTES] for i in range(0, len(data), AFFINE_BYTES))
        return [self._from_affine_bytes(piece, check_subgroup) for piece in pieces]

    def pairing_check(self, pairs: Sequence[tuple[Point, PointG2]]) -> bool:
        """Tell whether the product of the pairings ``e(P, Q)`` of all pairs is one."""
        return self._pairing_check([pair[0] for pair in pairs], [pair[1] for pair in pairs])

    @abstractmethod
    def _multiply(self, point: Point, scalar: int) -> Point: ...

    @abstractmethod
    def _multiply_g2(self, point: PointG2, scalar: int) -> PointG2: ...

    @abstractmethod
    def _msm(self, points: Sequence[Point], scalars: FieldArray) -> Point: ...

    @abstractmethod
    def _decompress(self, data: bytes) -> Point: ...

    @abstractmethod
    def _decompress_g2(self, data: bytes) -> PointG2: ...

    @abstractmethod
    def _from_affine_bytes(self, data: bytes, check_subgroup: bool) -> Point: ...

    @abstractmethod
    def _pairing_check(self, points: list[Point], points_g2: list[PointG2]) -> bool: ...

    def __repr__(self) -> str:
        return f"get_backend({self.name!r})"


def _check_scalar(scalar: int) -> int:
    if not 0 <= scalar < FIELD_MODULUS:
        raise ParameterError("scalar", "must be from 0 to r - 1", scalar)
    return scalar


def _check_form(data: bytes, length: int, what: str) -> bytes:
    if not isinstance(data, bytes) or len(data) != length:
        raise PointError(what, f"it must be {length} bytes; received {_describe(data)}")
    # arkworks would read anything with this flag as the neutral element.
    # Two encodings of one point would let a commitment be altered without being changed.
    if data[0] & _INFINITY_FLAG and data != bytes([_INFINITY_BYTE]) + bytes(length - 1):
        raise PointError(what, "the neutral element has one form, c0 followed by zeros")
    return data


def _describe(data: object) -> str:
    return f"{len(data)} bytes" if isinstance(data, bytes) else type(data).__name__
