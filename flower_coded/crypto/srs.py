"""The public parameters of the commitments: powers of a secret number, in the exponent.

A structured reference string is ``(g, beta g, .., beta**(n-1) g)`` in G1 with ``(h, beta h, ..)`` in G2,
where nobody knows beta (Setup in [1]_, section II; there the group is written multiplicatively). Whoever
knows beta can open a commitment to anything, so it comes from a ceremony
(:mod:`flower_coded.crypto.ceremony` reads what Ethereum's published) or from one party that
everybody trusts to forget it (:func:`generate_reference_string`). Whether points are powers of *some* number
is checked with two pairings after a random combination.

References
----------
.. [1] T. Jahani-Nezhad, M. A. Maddah-Ali, G. Caire, "Byzantine-resistant secure aggregation for federated
   learning based on coded computing and vector commitment", 2023.
"""

from __future__ import annotations

import hashlib
import secrets
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import ClassVar

import numpy as np

from flower_coded.crypto.backends import AFFINE_BYTES, G2_BYTES, Backend, Point, PointG2, get_backend
from flower_coded.crypto.commitment_basis import CommitmentBasis
from flower_coded.crypto.field_vectors import FIELD_MODULUS, FieldArray, from_ints, zeros
from flower_coded.errors import ParameterError, PointError, SetupError

__all__ = ["SECURITY_BITS", "TABLES_FROM", "ReferenceString", "generate_reference_string"]

SECURITY_BITS = 128
"""Length of the random weights of combined checks: a false one passes with probability ``2**-128``."""

TABLES_FROM = 4096
"""Powers from which tables of their multiples are worth computing without being asked for."""

_HEADER = struct.Struct("<8sQQ")
_DIGEST_BYTES = 32
_SCALAR_BITS = FIELD_MODULUS.bit_length()


@dataclass(frozen=True, eq=False)
class ReferenceString:
    """Powers of an unknown beta: ``beta**j g`` for ``j < n`` and ``beta**j h`` for ``j < n_2``.

    Parameters
    ----------
    backend : Backend
        To which the points belong.
    powers : tuple of points of G1, length n
        At least two; the first is the generator.
    powers_g2 : tuple of points of G2, length n_2
        At least two; the first is the generator. Opening s positions of a vector in one proof takes ``s +
        1``.

    Raises
    ------
    ParameterError
        If there are fewer than two of either.
    """

    backend: Backend
    powers: tuple[Point, ...]
    powers_g2: tuple[PointG2, ...]
    _bases: dict[tuple[int, bool], CommitmentBasis] = field(default_factory=dict, init=False, repr=False)

    MAGIC: ClassVar[bytes] = b"fc-srs-1"
    """How what :meth:`to_bytes` writes begins."""

    def __post_init__(self) -> None:
        for name, points in (("powers", self.powers), ("powers_g2", self.powers_g2)):
            if len(points) < 2:
                raise ParameterError(f"number of {name}", "must be at least 2", len(points))

    @property
    def size(self) -> int:
        """The number n of powers in G1: the longest vector that one commitment covers."""
        return len(self.powers)

    def basis(self, size: int, *, with_tables: bool | None = None) -> CommitmentBasis:
        """Return the first powers as a basis of commitments, kept for all who commit over this string.

        Parameters
        ----------
        size : int
            Powers wanted; the basis may have more.
        with_tables : bool or None
            Whether to compute tables of multiples; None does so from 4096 powers on, and for fewer takes a
            longer basis whose tables are there already.
        """
        if with_tables is None:
            longer = [points for points, is_tabled in self._bases if is_tabled and points >= size]
            with_tables = size >= TABLES_FROM or bool(longer)
            size = min(longer, default=size)
        key = (size, with_tables)
        if key not in self._bases:
            self._bases[key] = CommitmentBasis(self.backend, self.powers[:size], with_tables)
        return self._bases[key]

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the parameters, 64 hexadecimal digits: what users compare or pin."""
        return hashlib.sha256(self._body()).hexdigest()

    def verify(self) -> bool:
        """Tell whether these are powers of one number, generators first, by four pairings.

        With random 128-bit weights ``e(sum_j rho_j P_(j+1), h) = e(sum_j rho_j P_j, Q_1)`` and the same for
        G2. That all points lie in the groups of order r was checked when they were read.
        """
        backend = self.backend
        generators_lead = backend.equal(self.powers[0], backend.generator) and (
            backend.compress_g2(self.powers_g2[0]) == backend.compress_g2(backend.generator_g2)
        )
        # Powers of 0 and of 1 would pass as powers of one number, and bind nothing.
        trivial = (backend.identity, backend.generator)
        if not generators_lead or any(backend.equal(self.powers[1], point) for point in trivial):
            return False
        weights = from_ints([secrets.randbits(SECURITY_BITS) for _ in self.powers[1:]])
        later, earlier = backend.msm(self.powers[1:], weights), backend.msm(self.powers[:-1], weights)
        later_g2, earlier_g2 = self._combine_g2()
        minus = backend.negate
        return backend.pairing_check(
            [(later, backend.generator_g2), (minus(earlier), self.powers_g2[1])]
        ) and backend.pairing_check([(backend.generator, later_g2), (minus(self.powers[1]), earlier_g2)])

    def to_bytes(self) -> bytes:
        """Write the parameters with their hash at the end; :meth:`from_bytes` reads them with any backend."""
        body = self._body()
        return body + hashlib.sha256(body).digest()

    @classmethod
    def from_bytes(
        cls, data: bytes, *, digest: str | None = None, backend: Backend | None = None
    ) -> ReferenceString:
        """Read what :meth:`to_bytes` wrote.

        Parameters
        ----------
        data : bytes
        digest : str or None
            The digest that the caller trusts; the points are then only checked to lie on the curve. With
            None, every point is checked to lie in the subgroup and the powers are verified by pairings.
        backend : Backend or None
            None chooses the fastest that is installed.

        Raises
        ------
        SetupError
            If the data are cut, altered, not the ones trusted, or not powers of one number.
        """
        what = "a reference string"
        body, stated = data[:-_DIGEST_BYTES], data[-_DIGEST_BYTES:]
        if len(data) < _HEADER.size + _DIGEST_BYTES or hashlib.sha256(body).digest() != stated:
            raise SetupError(what, "it is cut or altered: its hash is not the one at its end")
        if digest is not None and stated.hex() != digest:
            raise SetupError(what, f"its digest is {stated.hex()}, expected {digest}")
        magic, size, size_g2 = _HEADER.unpack_from(body)
        end_g1 = _HEADER.size + size * AFFINE_BYTES
        if magic != cls.MAGIC or len(body) != end_g1 + size_g2 * G2_BYTES:
            raise SetupError(what, "it has another format or length")
        backend = backend or get_backend()
        try:
            points = backend.from_affine_bytes(body[_HEADER.size : end_g1], check_subgroup=digest is None)
            points_g2 = [
                backend.decompress_g2(body[start : start + G2_BYTES])
                for start in range(end_g1, len(body), G2_BYTES)
            ]
        except PointError as error:
            raise SetupError(what, str(error)) from error
        return cls(backend, tuple(points), tuple(points_g2))._verified(digest is None)

    @classmethod
    def from_compressed(
        cls, points: Sequence[bytes], points_g2: Sequence[bytes], *, backend: Backend | None = None
    ) -> ReferenceString:
        """Take the points of a ceremony, in the compressed form of Zcash and Ethereum, and verify them.

        Parameters
        ----------
        points : sequence of bytes, 48 each
            ``beta**j g``, in the monomial basis.
        points_g2 : sequence of bytes, 96 each
            ``beta**j h``.

        Raises
        ------
        PointError
            If one is not a point of its group.
        SetupError
            If they are not powers of one number.
        """
        backend = backend or get_backend()
        read = tuple(backend.decompress(data) for data in points)
        return cls(backend, read, tuple(backend.decompress_g2(data) for data in points_g2))._verified(True)

    def _verified(self, is_needed: bool) -> ReferenceString:
        if is_needed and not self.verify():
            raise SetupError("a reference string", "its points are not the powers of one number")
        return self

    def _body(self) -> bytes:
        header = _HEADER.pack(self.MAGIC, len(self.powers), len(self.powers_g2))
        points_g2 = b"".join(self.backend.compress_g2(point) for point in self.powers_g2)
        return header + self.backend.to_affine_bytes(self.powers) + points_g2

    def _combine_g2(self) -> tuple[PointG2, PointG2]:
        backend, powers = self.backend, self.powers_g2
        later, earlier = powers[1], powers[0]  # the first weight may be 1
        for lower, upper in pairwise(powers[1:]):
            weight = secrets.randbits(SECURITY_BITS)
            later = backend.add_g2(later, backend.multiply_g2(upper, weight))
            earlier = backend.add_g2(earlier, backend.multiply_g2(lower, weight))
        return later, earlier

    def __repr__(self) -> str:
        return f"<ReferenceString of {self.size} powers, digest {self.digest[:16]}>"


def generate_reference_string(
    size: int,
    *,
    size_g2: int = 2,
    backend: Backend | None = None,
    draw_below: Callable[[int], int] = secrets.randbelow,
) -> ReferenceString:
    """Draw beta, compute its powers in both groups, and forget it (Setup).

    The array of powers is overwritten before it is released; a Python integer cannot be, so the process that
    ran this is itself the trusted party until it ends.

    Parameters
    ----------
    size : int
        Powers in G1, at least 2; about 0.1 ms each with arkworks.
    size_g2 : int
        Powers in G2, at least 2.
    backend : Backend or None
        None chooses the fastest that is installed.
    draw_below : callable
        ``draw_below(m)`` is uniform on ``[0, m)``.

    Returns
    -------
    ReferenceString

    Examples
    --------
    >>> generate_reference_string(4).verify()
    True
    """
    if min(size, size_g2) < 2:
        raise ParameterError("size and size_g2", "must be at least 2", (size, size_g2))
    backend = backend or get_backend()
    beta = 2 + draw_below(FIELD_MODULUS - 2)
    # beta is neither 0 nor 1, whose powers bind nothing.
    exponents = _power_vector(beta, size)
    points = fixed_base_multiples(backend, exponents)
    points_g2 = tuple(
        backend.multiply_g2(backend.generator_g2, pow(beta, power, FIELD_MODULUS)) for power in range(size_g2)
    )
    exponents.fill(0)
    del beta
    return ReferenceString(backend, tuple(points), points_g2)


def fixed_base_multiples(backend: Backend, scalars: FieldArray) -> list[Point]:
    """Return ``scalar * g`` for many scalars: one table lookup and one addition per window of bits.

    Parameters
    ----------
    backend : Backend
    scalars : ndarray of shape (n, 4), uint64
        Elements of F_r.

    Returns
    -------
    list of points of G1, length n
    """
    # The table costs 2**window additions per window, the scalars one each: a balance near log2(n).
    window = min(max(len(scalars).bit_length() - 1, 2), 10)
    digits = _window_digits(scalars, window)
    table = _window_table(backend, window, len(digits))
    # One addition per window for all scalars at once, without doublings: bases are 2**(window * w) g.
    multiples = [backend.identity] * len(scalars)
    for row, places in zip(table, digits, strict=True):
        multiples = backend.add_many(multiples, [row[digit] for digit in places.tolist()])
    return backend.from_affine_bytes(backend.to_affine_bytes(multiples), check_subgroup=False)  # normalized


def _window_table(backend: Backend, window: int, num_windows: int) -> list[list[Point]]:
    """Return ``d * 2**(window * w) * g`` at ``[w][d]``."""
    bases = [backend.generator]
    for _ in range(num_windows - 1):
        base = bases[-1]
        for _ in range(window):
            base = backend.add(base, base)
        bases.append(base)
    columns = [[backend.identity] * num_windows]
    for _ in range((1 << window) - 1):
        columns.append(backend.add_many(columns[-1], bases))
    return [list(row) for row in zip(*columns, strict=True)]


def _window_digits(scalars: FieldArray, window: int) -> list[np.ndarray]:
    """Cut scalars into windows of bits, lowest first; each array has one digit per scalar."""
    padded = np.concatenate([scalars, zeros(len(scalars))[:, :1]], axis=1)
    digits = []
    for start in range(0, _SCALAR_BITS, window):
        word, shift = divmod(start, 64)
        # A fifth word of zeros stands behind the scalars, so that the last window reads past no end.
        value = padded[:, word] >> np.uint64(shift)
        if shift:
            value |= padded[:, word + 1] << np.uint64(64 - shift)
        digits.append(value & np.uint64((1 << window) - 1))
    return digits


def _power_vector(base: int, count: int) -> FieldArray:
    powers, power = [], 1
    for _ in range(count):
        powers.append(power)
        power = power * base % FIELD_MODULUS
    return from_ints(powers)
