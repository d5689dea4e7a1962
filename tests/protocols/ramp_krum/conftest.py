"""Reference strings for all tests of the protocol, and rounds of many shapes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar

import numpy as np
import pytest

from flower_coded.crypto.backends import get_backend
from flower_coded.crypto.backends.base import AFFINE_BYTES, G1_BYTES, G2_BYTES, Backend
from flower_coded.crypto.field_vectors import FIELD_MODULUS, FieldArray, to_ints
from flower_coded.crypto.fixed_point import FixedPoint
from flower_coded.crypto.ramp_sharing import RampSharing
from flower_coded.crypto.srs import ReferenceString, generate_reference_string
from flower_coded.errors import PointError
from flower_coded.protocols.ramp_krum.commitments import Schemes
from flower_coded.protocols.ramp_krum.parameters import RampKrumParameters

MakeSchemes = Callable[..., Schemes]


class ClearBackend(Backend):
    """F_r itself, written additively: a point is its logarithm.

    Not a fake of anything that the protocol checks: claims, batches, blinding and bytes go through the same
    code. Only hiding and binding are gone, which no test of who is named for what depends on.
    """

    name: ClassVar[str] = "clear"
    takes_tables: ClassVar[bool] = False
    generator, identity, generator_g2 = 1, 0, 1

    def add(self, left: int, right: int) -> int:
        return (left + right) % FIELD_MODULUS

    def add_many(self, left: Sequence[int], right: Sequence[int]) -> list[int]:
        return [self.add(x, y) for x, y in zip(left, right, strict=True)]

    def negate(self, point: int) -> int:
        return -point % FIELD_MODULUS

    def equal(self, left: int, right: int) -> bool:
        return left == right

    def compress(self, point: int) -> bytes:
        return point.to_bytes(G1_BYTES, "big")

    def to_affine_bytes(self, points: Iterable[int]) -> bytes:
        return b"".join(point.to_bytes(AFFINE_BYTES, "big") for point in points)

    def hash_to_g1(self, message: bytes, domain: bytes) -> int:
        return int.from_bytes(hashlib.sha512(domain + message).digest(), "big") % FIELD_MODULUS

    add_g2 = add

    def compress_g2(self, point: int) -> bytes:
        return point.to_bytes(G2_BYTES, "big")

    def _multiply(self, point: int, scalar: int) -> int:
        return point * scalar % FIELD_MODULUS

    _multiply_g2 = _multiply

    def _msm(self, points: Sequence[int], scalars: FieldArray) -> int:
        return sum(x * y for x, y in zip(points, to_ints(scalars), strict=True)) % FIELD_MODULUS

    def _decompress(self, data: bytes) -> int:
        point = int.from_bytes(data, "big")
        if point >= FIELD_MODULUS:
            raise PointError("a point", "it is none of the group")
        return point

    _decompress_g2 = _decompress

    def _from_affine_bytes(self, data: bytes, check_subgroup: bool) -> int:
        return self._decompress(data)

    def _pairing_check(self, points: list[int], points_g2: list[int]) -> bool:
        return sum(x * y for x, y in zip(points, points_g2, strict=True)) % FIELD_MODULUS == 0


def clear_reference_string(size: int) -> ReferenceString:
    """Powers of 7 in the clear."""
    powers = tuple(pow(7, exponent, FIELD_MODULUS) for exponent in range(size))
    return ReferenceString(ClearBackend(), powers, (1, 7))


@pytest.fixture(scope="session")
def reference() -> ReferenceString:
    """Of the real curve."""
    return generate_reference_string(64)


@pytest.fixture(scope="session")
def clear_reference() -> ReferenceString:
    """Of a group in which nothing is hidden, and nothing takes time."""
    return clear_reference_string(64)


@pytest.fixture(scope="session")
def reference_in_python() -> ReferenceString:
    return generate_reference_string(24, backend=get_backend("py_ecc"))


@pytest.fixture(scope="session")
def make_schemes(clear_reference: ReferenceString) -> MakeSchemes:
    """Schemes for a small round; N, K, T, A, D by the letters, options by name."""

    def make(
        n: int = 13, k: int = 2, t: int = 2, a: int = 2, d: int = 2, *, num_bits: int = 16, **options: Any
    ) -> Schemes:
        options = {"num_selected": 2, "length": 12, "chunk_size": 32, "hides_products": False} | options
        reference = options.pop("reference", clear_reference)
        parameters = RampKrumParameters(
            RampSharing(n, k, t, a, d), fixed_point=FixedPoint(num_bits), **options
        )
        return Schemes.create(parameters, reference)

    return make


@pytest.fixture(scope="session")
def make_updates() -> Callable[..., dict[int, np.ndarray]]:
    """Quantized updates around a common direction, as honest users' are, within all bounds."""

    def make(parameters: RampKrumParameters, seed: int = 0) -> dict[int, np.ndarray]:
        generator = np.random.default_rng(seed)
        limit = parameters.fixed_point.max_integer
        center = generator.integers(-limit // 5, limit // 5, size=parameters.length)
        spread = max(limit // 50, 1)
        return {
            user: center + generator.integers(-spread, spread + 1, size=parameters.length)
            for user in range(parameters.sharing.num_users)
        }

    return make
