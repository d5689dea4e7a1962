"""BLS12-381 by arkworks (Rust), through ``py_arkworks_bls12381``: the fast backend.

Its multi-scalar multiplication is single-threaded and releases the interpreter lock, so that calls from
several Python threads run side by side.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar

from py_arkworks_bls12381 import GT, G1Point, G2Point, Scalar

from flower_coded.crypto.backends.base import Backend, Point, PointG2
from flower_coded.crypto.field_vectors import ELEMENT_BYTES, FieldArray, to_bytes
from flower_coded.errors import PointError

__all__ = ["ArkworksBackend"]


class ArkworksBackend(Backend):
    """The backend that is used when ``py_arkworks_bls12381`` is installed.

    Examples
    --------
    >>> backend = ArkworksBackend()
    >>> double = backend.add(backend.generator, backend.generator)
    >>> backend.equal(double, backend.multiply(backend.generator, 2))
    True
    """

    name: ClassVar[str] = "arkworks"

    @property
    def generator(self) -> Point:
        """The standard generator of G1."""
        return G1Point()

    @property
    def identity(self) -> Point:
        """The neutral element of G1."""
        return G1Point.identity()

    @property
    def generator_g2(self) -> PointG2:
        """The standard generator of G2."""
        return G2Point()

    def add(self, left: Point, right: Point) -> Point:
        """Add two points of G1."""
        return left + right

    def add_many(self, left: Sequence[Point], right: Sequence[Point]) -> list[Point]:
        """Add two lists of points of equal length, one by one."""
        return [one + other for one, other in zip(left, right, strict=True)]

    def negate(self, point: Point) -> Point:
        """Return the inverse of a point of G1."""
        return -point

    def equal(self, left: Point, right: Point) -> bool:
        """Tell whether two points of G1 are the same."""
        return bool(left == right)

    def compress(self, point: Point) -> bytes:
        """Write a point of G1 in 48 bytes."""
        return bytes(point.to_compressed_bytes())

    def to_affine_bytes(self, points: Iterable[Point]) -> bytes:
        """Write points of G1 in 96 bytes each."""
        return b"".join(bytes(point.to_xy_bytes_be()) for point in points)

    def hash_to_g1(self, message: bytes, domain: bytes) -> Point:
        """Hash to G1 as RFC 9380."""
        return G1Point.hash_to_curve(message, domain)

    def add_g2(self, left: PointG2, right: PointG2) -> PointG2:
        """Add two points of G2."""
        return left + right

    def compress_g2(self, point: PointG2) -> bytes:
        """Write a point of G2 in 96 bytes."""
        return bytes(point.to_compressed_bytes())

    def _multiply(self, point: Point, scalar: int) -> Point:
        return point * _scalar(scalar)

    def _multiply_g2(self, point: PointG2, scalar: int) -> PointG2:
        return point * _scalar(scalar)

    def _msm(self, points: Sequence[Point], scalars: FieldArray) -> Point:
        data, read = to_bytes(scalars), Scalar.from_le_bytes
        converted = [read(data[i : i + ELEMENT_BYTES]) for i in range(0, len(data), ELEMENT_BYTES)]
        return G1Point.multiexp_unchecked(list(points), converted)

    def _decompress(self, data: bytes) -> Point:
        try:
            return G1Point.from_compressed_bytes(data)
        except ValueError as error:
            raise PointError("a compressed point of G1", str(error)) from None

    def _decompress_g2(self, data: bytes) -> PointG2:
        try:
            return G2Point.from_compressed_bytes(data)
        except ValueError as error:
            raise PointError("a compressed point of G2", str(error)) from None

    def _from_affine_bytes(self, data: bytes, check_subgroup: bool) -> Point:
        read = G1Point.from_xy_bytes_be if check_subgroup else G1Point.from_xy_bytes_unchecked_be
        try:
            return read(data)
        except ValueError as error:
            raise PointError("an affine point of G1", str(error)) from None

    def _pairing_check(self, points: list[Point], points_g2: list[PointG2]) -> bool:
        return bool(GT.pairing_check(points, points_g2))


def _scalar(value: int) -> Scalar:
    return Scalar.from_le_bytes(value.to_bytes(ELEMENT_BYTES, "little"))
