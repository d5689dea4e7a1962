"""BLS12-381 in Python alone: ``py_ecc`` for pairings, G2 and hashing, plain integers for G1.

It needs no compiled extension and is the oracle of the tests. py_ecc's own sum of scalar multiples takes 14
ms per point; :mod:`flower_coded.crypto.backends.affine` takes its place, and a pairing costs a good part of a
second.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, cast

from py_ecc.bls.hash_to_curve import hash_to_G1
from py_ecc.bls.point_compression import compress_G1, compress_G2, decompress_G1, decompress_G2
from py_ecc.bls.typing import G1Compressed, G2Compressed
from py_ecc.fields import optimized_bls12_381_FQ as FQ
from py_ecc.fields import optimized_bls12_381_FQ12 as FQ12
from py_ecc.optimized_bls12_381.optimized_curve import (
    G1,
    G2,
    Z1,
    add,
    b2,
    is_inf,
    is_on_curve,
    multiply,
    normalize,
)
from py_ecc.optimized_bls12_381.optimized_pairing import final_exponentiate, pairing

from flower_coded.crypto.backends import affine
from flower_coded.crypto.backends.affine import AffinePoint
from flower_coded.crypto.backends.base import Backend, Point, PointG2
from flower_coded.crypto.field_vectors import FIELD_MODULUS, FieldArray, to_ints
from flower_coded.errors import PointError

__all__ = ["PyEccBackend"]

_COORDINATE_BYTES = 48


class PyEccBackend(Backend):
    """The backend that is always there.

    Examples
    --------
    >>> backend = PyEccBackend()
    >>> backend.compress(backend.generator).hex()[:12]
    '97f1d3a73197'
    """

    name: ClassVar[str] = "py_ecc"
    takes_tables: ClassVar[bool] = False  # it is what they are compared with

    @property
    def generator(self) -> Point:
        """The standard generator of G1."""
        return _to_affine(G1)

    @property
    def identity(self) -> Point:
        """The neutral element of G1."""
        return None

    @property
    def generator_g2(self) -> PointG2:
        """The standard generator of G2."""
        return G2

    def add(self, left: Point, right: Point) -> Point:
        """Add two points of G1."""
        return affine.add_many([left], [right])[0]

    def add_many(self, left: Sequence[Point], right: Sequence[Point]) -> list[Point]:
        """Add two lists of points of equal length, one by one."""
        return list(affine.add_many(left, right))

    def negate(self, point: Point) -> Point:
        """Return the inverse of a point of G1."""
        return affine.negate(point)

    def equal(self, left: Point, right: Point) -> bool:
        """Tell whether two points of G1 are the same."""
        return bool(left == right)

    def compress(self, point: Point) -> bytes:
        """Write a point of G1 in 48 bytes."""
        return int(compress_G1(_to_py_ecc(point))).to_bytes(_COORDINATE_BYTES, "big")

    def to_affine_bytes(self, points: Iterable[Point]) -> bytes:
        """Write points of G1 in 96 bytes each."""
        coordinates = (number for point in points for number in (point or (0, 0)))
        return b"".join(number.to_bytes(_COORDINATE_BYTES, "big") for number in coordinates)

    def hash_to_g1(self, message: bytes, domain: bytes) -> Point:
        """Hash to G1 as RFC 9380."""
        constructor = cast(Any, hashlib.sha256)  # py_ecc annotates the digest where it calls the constructor
        return _to_affine(hash_to_G1(message, domain, constructor))

    def add_g2(self, left: PointG2, right: PointG2) -> PointG2:
        """Add two points of G2."""
        return add(left, right)

    def compress_g2(self, point: PointG2) -> bytes:
        """Write a point of G2 in 96 bytes."""
        return b"".join(int(half).to_bytes(_COORDINATE_BYTES, "big") for half in compress_G2(point))

    def _multiply(self, point: Point, scalar: int) -> Point:
        return affine.multiply(point, scalar)

    def _multiply_g2(self, point: PointG2, scalar: int) -> PointG2:
        return multiply(point, scalar)

    def _msm(self, points: Sequence[Point], scalars: FieldArray) -> Point:
        return affine.multi_scalar_multiply(points, to_ints(scalars))

    def _decompress(self, data: bytes) -> Point:
        try:
            point = _to_affine(decompress_G1(G1Compressed(int.from_bytes(data, "big"))))
        except ValueError as error:
            raise PointError("a compressed point of G1", str(error)) from None
        return _check_subgroup(point, "a compressed point of G1")

    def _decompress_g2(self, data: bytes) -> PointG2:
        first = int.from_bytes(data[:_COORDINATE_BYTES], "big")
        second = int.from_bytes(data[_COORDINATE_BYTES:], "big")
        try:
            point = decompress_G2(G2Compressed((first, second)))
        except ValueError as error:
            raise PointError("a compressed point of G2", str(error)) from None
        if not is_on_curve(point, b2) or not is_inf(multiply(point, FIELD_MODULUS)):
            raise PointError("a compressed point of G2", "it is not in the subgroup of order r")
        return point

    def _from_affine_bytes(self, data: bytes, check_subgroup: bool) -> Point:
        x = int.from_bytes(data[:_COORDINATE_BYTES], "big")
        y = int.from_bytes(data[_COORDINATE_BYTES:], "big")
        point = (x, y) if x or y else None
        if not affine.is_on_curve(point):
            raise PointError("an affine point of G1", "it is not on the curve")
        return _check_subgroup(point, "an affine point of G1") if check_subgroup else point

    def _pairing_check(self, points: list[Point], points_g2: list[PointG2]) -> bool:
        product = FQ12.one()
        for point, point_g2 in zip(points, points_g2, strict=True):
            # The costly last exponentiation is done once, of the product.
            product *= pairing(point_g2, _to_py_ecc(point), final_exponentiate=False)
        return bool(final_exponentiate(product) == FQ12.one())


def _to_affine(point: Any) -> AffinePoint:
    if is_inf(point):
        return None
    x, y = normalize(point)
    return int(x), int(y)


def _to_py_ecc(point: AffinePoint) -> Any:
    return Z1 if point is None else (FQ(point[0]), FQ(point[1]), FQ.one())


def _check_subgroup(point: AffinePoint, what: str) -> AffinePoint:
    # The curve has a cofactor: r times a point is neutral in the subgroup of order r only.
    if affine.multiply(point, FIELD_MODULUS) is not None:
        raise PointError(what, "it is not in the subgroup of order r")
    return point
