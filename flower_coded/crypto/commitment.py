"""Vector commitments whose size does not grow with the vector: Setup, Commit, Witness, Verify.

A vector v is committed as ``sum_j v_j beta**j g`` over a reference string [2]_ (``h`` in step 2 of section V
of [1]_, there written as a product). Commitments add and scale as the vectors do, so that a share, which is a
known linear combination of committed vectors, is checked against the same combination of commitments
(equations 2 and 3; the product there runs to L/K, the length of a part). Three things are added to the
paper's scheme:

* *Chunks.* A vector may be committed in chunks over one short reference string: more commitments, but one
  check then covers all chunks of all vectors. One chunk is the paper's scheme.
* *Batches.* Many claims are checked at once after multiplication by random 128-bit numbers drawn after the
  claims are fixed: one multi-scalar multiplication of a chunk's length instead of one per claim.
* *Blinding.* A deterministic commitment lets anybody confirm a guess of the whole vector. With blinding, a
  random multiple of an independent base (hashed to the curve, so that nobody knows its logarithm) is added to
  every chunk, as in Pedersen's commitments; its scalar follows the vector through every linear combination.

Nothing runs in constant time: how long a commitment takes tells how long the largest absolute value in it is.

References
----------
.. [1] T. Jahani-Nezhad, M. A. Maddah-Ali, G. Caire, "Byzantine-resistant secure aggregation for federated
   learning based on coded computing and vector commitment", 2023, sections II and V.
.. [2] A. Kate, G. M. Zaverucha, I. Goldberg, "Constant-size commitments to polynomials and their
   applications", ASIACRYPT 2010.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

from flower_coded.crypto.backends import G1_BYTES, Backend, Point
from flower_coded.crypto.commitment_basis import CommitmentBasis
from flower_coded.crypto.field_limbs import MAX_COLUMNS
from flower_coded.crypto.field_products import weighted_sum
from flower_coded.crypto.field_vectors import (
    FIELD_MODULUS,
    FieldArray,
    add,
    check_elements,
    from_ints,
    random_elements,
    to_ints,
    zeros,
)
from flower_coded.crypto.srs import SECURITY_BITS, ReferenceString
from flower_coded.errors import ParameterError, PointError

__all__ = ["Claim", "Commitment", "VectorCommitment"]

Commitment: TypeAlias = tuple[Point, ...]
"""The commitment to one vector: one point of G1 per chunk."""

_BLINDING_MESSAGE = b"blinding base"
_BLINDING_DOMAIN = b"FLOWER-CODED-V01-BLINDING-with-BLS12381G1_XMD:SHA-256_SSWU_RO_"


@dataclass(frozen=True)
class Claim:
    """The statement that a vector is a known linear combination of committed vectors.

    Parameters
    ----------
    vector : ndarray of shape (length, 4), uint64
        Elements of F_r.
    weights : sequence of int
        One per commitment.
    commitments : sequence of Commitment
        Reused objects are recognized: name the same points in many claims rather than copies of them.
    blinding : ndarray of shape (num_chunks, 4), uint64, or None
        The same combination of the vectors' blindings, where the scheme blinds.
    """

    vector: FieldArray
    weights: Sequence[int]
    commitments: Sequence[Commitment]
    blinding: FieldArray | None = None


@dataclass(frozen=True, eq=False)
class VectorCommitment:
    """Commitments to vectors of one length.

    Parameters
    ----------
    reference : ReferenceString
        The public parameters; at least as long as a chunk.
    length : int
        Entries per vector.
    chunk : int or None
        Entries per commitment, at most ``reference.size``, which None takes; never more than ``length``.
    is_blinded : bool
        Whether a random multiple of an independent base is added to every chunk.
    num_threads : int
        Threads over multi-scalar multiplications.
    with_tables : bool or None
        Whether tables of the reference string's multiples are computed on first use, which pays from the
        second or third vector on. None does so for chunks of 4096 and more, and uses those of another scheme
        over the same string for shorter ones. See :mod:`.commitment_basis`.

    Raises
    ------
    ParameterError
        If the length is not positive, the chunk is longer than the reference string, or there are no threads.

    Examples
    --------
    >>> from flower_coded.crypto.srs import generate_reference_string
    >>> scheme = VectorCommitment(generate_reference_string(4), length=6)
    >>> first, second = scheme.commit(from_ints([[1, 2, 3, 4, 5, 6], [1, 1, 1, 1, 1, 1]]))
    >>> scheme.verify(Claim(from_ints([4, 5, 6, 7, 8, 9]), [1, 3], [first, second]))
    True
    >>> scheme.verify(Claim(from_ints([4, 5, 6, 7, 8, 8]), [1, 3], [first, second]))
    False
    """

    reference: ReferenceString
    length: int
    chunk: int | None = None
    is_blinded: bool = False
    num_threads: int = 1
    with_tables: bool | None = None

    def __post_init__(self) -> None:
        if self.length < 1:
            raise ParameterError("length", "must be at least 1", self.length)
        chunk = self.reference.size if self.chunk is None else self.chunk
        if not 1 <= chunk <= self.reference.size:
            raise ParameterError("chunk", f"must be from 1 to the {self.reference.size} powers", self.chunk)
        object.__setattr__(self, "chunk", min(chunk, self.length))
        if self.num_threads < 1:
            raise ParameterError("num_threads", "must be at least 1", self.num_threads)

    @property
    def chunk_size(self) -> int:
        """Entries per point of a commitment."""
        return self.length if self.chunk is None else self.chunk

    @property
    def num_chunks(self) -> int:
        """Points per commitment."""
        return -(-self.length // self.chunk_size)

    @property
    def backend(self) -> Backend:
        """The backend of the points."""
        return self.reference.backend

    @property
    def basis(self) -> CommitmentBasis:
        """The points that a chunk's entries multiply, and perhaps some more behind them."""
        return self.reference.basis(self.chunk_size, with_tables=self.with_tables)

    @cached_property
    def blinding_base(self) -> Point:
        """The independent base, hashed to the curve."""
        return self.backend.hash_to_g1(_BLINDING_MESSAGE, _BLINDING_DOMAIN)

    def draw_blindings(self, num_vectors: int) -> FieldArray:
        """Draw fresh blindings from the system's generator: shape (num_vectors, num_chunks, 4)."""
        return random_elements(num_vectors, self.num_chunks)

    def commit(self, vectors: FieldArray, blindings: FieldArray | None = None) -> list[Commitment]:
        """Commit to vectors.

        Parameters
        ----------
        vectors : ndarray of shape (k, length, 4), uint64
            Elements of F_r; those near zero of either sign are cheap.
        blindings : ndarray of shape (k, num_chunks, 4), uint64, or None
            From :meth:`draw_blindings`; exactly when the scheme blinds.

        Returns
        -------
        list of Commitment, length k

        Raises
        ------
        ParameterError
            If the shapes do not fit or an element is not canonical.
        """
        check_elements(vectors, name="vectors")
        if vectors.ndim != 3 or vectors.shape[1] != self.length:
            raise ParameterError("vectors", f"must have shape (k, {self.length}, 4)", vectors.shape)
        self._check_blinding(blindings, (len(vectors), self.num_chunks, 4))
        pieces = [vector[start : start + self.chunk_size] for vector in vectors for start in self._starts]
        points = self._run(pieces)
        if blindings is not None:
            multiples = [self.backend.multiply(self.blinding_base, scalar) for scalar in to_ints(blindings)]
            points = self.backend.add_many(points, multiples)
        return [tuple(points[i : i + self.num_chunks]) for i in range(0, len(points), self.num_chunks)]

    def combine(self, weights: Sequence[int], commitments: Sequence[Commitment]) -> Commitment:
        """Return the commitment to ``sum_k weights[k] * vector_k``; weights are read modulo r."""
        if len(weights) != len(commitments):
            raise ParameterError(
                "weights", f"must be {len(commitments)}, one for each commitment", len(weights)
            )
        scalars = from_ints([weight % FIELD_MODULUS for weight in weights])
        return tuple(self.backend.msm(points, scalars) for points in zip(*commitments, strict=True))

    def verify(self, claim: Claim) -> bool:
        """Tell whether one claim holds, by committing to its vector anew (equations 2 and 3).

        Raises
        ------
        ParameterError
            If the claim's parts do not fit the scheme or each other.
        """
        self._check_claim(claim)
        blinding = None if claim.blinding is None else claim.blinding[None]
        (recommitted,) = self.commit(claim.vector[None], blinding)
        combined = self.combine(claim.weights, claim.commitments)
        return all(self.backend.equal(p, q) for p, q in zip(recommitted, combined, strict=True))

    def verify_batch(self, claims: Sequence[Claim]) -> bool:
        """Tell whether all claims hold, in one multi-scalar multiplication of a chunk's length.

        A false claim passes with probability ``2**-128``. The random weights are drawn here, so whatever the
        claims contain must have been fixed before, and all commitments must lie in the group of order r,
        which :meth:`from_bytes` checks.

        Raises
        ------
        ParameterError
            If a claim's parts do not fit the scheme or each other.
        """
        for claim in claims:
            self._check_claim(claim)
        if not claims:
            return True
        # One number per claim and chunk: with one per claim, errors in two chunks could cancel.
        randoms = [[secrets.randbits(SECURITY_BITS) for _ in self._starts] for _ in claims]
        left = self.basis.multiply(self._combine_vectors(claims, randoms))
        right = self._combine_commitments(claims, randoms)
        if self.is_blinded:
            left = self.backend.add(left, self._combine_blindings(claims, randoms))
        return self.backend.equal(left, right)

    def find_false(self, claims: Sequence[Claim]) -> tuple[int, ...]:
        """Return the indices of the claims that do not hold, halving the batch until they stand alone.

        Costs one batch when all hold, and about ``2 log2(n)`` more per false one.
        """
        if self.verify_batch(claims):
            return ()
        if len(claims) == 1:
            return (0,)
        middle = len(claims) // 2
        later = self.find_false(claims[middle:])
        return (*self.find_false(claims[:middle]), *(middle + index for index in later))

    def to_bytes(self, commitments: Sequence[Commitment]) -> bytes:
        """Write commitments in 48 bytes per chunk."""
        return b"".join(self.backend.compress(point) for points in commitments for point in points)

    def from_bytes(self, data: bytes, num_vectors: int) -> list[Commitment]:
        """Read the commitments to ``num_vectors`` vectors.

        Raises
        ------
        PointError
            If the length is not the expected one or a point is not one of the group of order r.
        """
        expected = num_vectors * self.num_chunks * G1_BYTES
        if len(data) != expected:
            raise PointError("commitments", f"{len(data)} bytes arrived, {expected} were expected")
        pieces = (data[i : i + G1_BYTES] for i in range(0, len(data), G1_BYTES))
        points = [self.backend.decompress(piece) for piece in pieces]
        return [tuple(points[i : i + self.num_chunks]) for i in range(0, len(points), self.num_chunks)]

    @property
    def _starts(self) -> range:
        return range(0, self.length, self.chunk_size)

    def _run(self, pieces: list[FieldArray]) -> list[Point]:
        if self.num_threads == 1:
            return [self.basis.multiply(piece) for piece in pieces]
        with ThreadPoolExecutor(self.num_threads) as pool:
            return list(pool.map(self.basis.multiply, pieces))

    def _combine_vectors(self, claims: Sequence[Claim], randoms: list[list[int]]) -> FieldArray:
        """Return the sum of all chunks of all vectors, each times its random number."""
        total = zeros(self.chunk_size)
        # As many claims at a time as one product takes columns: a copy of all would double the memory.
        step = max(MAX_COLUMNS // self.num_chunks, 1)
        for first in range(0, len(claims), step):
            group = claims[first : first + step]
            # The last chunk is filled with zeros: they multiply powers that its commitment does not contain.
            padded = zeros(len(group), self.num_chunks * self.chunk_size)
            for row, claim in zip(padded, group, strict=True):
                row[: self.length] = claim.vector
            weights = [number for numbers in randoms[first : first + step] for number in numbers]
            chunks = padded.reshape(-1, self.chunk_size, 4)
            total = add(total, weighted_sum(weights, chunks, num_threads=self.num_threads))
        return total

    def _combine_commitments(self, claims: Sequence[Claim], randoms: list[list[int]]) -> Point:
        """Return the right-hand side; a point that occurs in many claims is multiplied once."""
        scalars: dict[int, int] = {}
        points: dict[int, Point] = {}
        for claim, numbers in zip(claims, randoms, strict=True):
            for weight, commitment in zip(claim.weights, claim.commitments, strict=True):
                for number, point in zip(numbers, commitment, strict=True):
                    # A dealer's commitments occur in each of its claims; comparing points would cost more.
                    points[id(point)] = point
                    scalars[id(point)] = scalars.get(id(point), 0) + number * weight
        reduced = from_ints([scalar % FIELD_MODULUS for scalar in scalars.values()])
        return CommitmentBasis(self.backend, tuple(points.values())).multiply(reduced)

    def _combine_blindings(self, claims: Sequence[Claim], randoms: list[list[int]]) -> Point:
        total = 0
        for claim, numbers in zip(claims, randoms, strict=True):
            assert claim.blinding is not None  # _check_claim saw to it
            # The independent base occurs once per chunk and claim: all its multiples are one.
            total += sum(x * y for x, y in zip(numbers, to_ints(claim.blinding), strict=True))
        return self.backend.multiply(self.blinding_base, total % FIELD_MODULUS)

    def _check_claim(self, claim: Claim) -> None:
        check_elements(claim.vector, name="claim.vector")
        if claim.vector.shape != (self.length, 4):
            raise ParameterError("claim.vector", f"must have shape ({self.length}, 4)", claim.vector.shape)
        if len(claim.weights) != len(claim.commitments) or not claim.commitments:
            raise ParameterError("claim.weights", "must be one for each commitment", len(claim.weights))
        if {len(points) for points in claim.commitments} != {self.num_chunks}:
            raise ParameterError(
                "claim.commitments", f"must have {self.num_chunks} points each", "other numbers"
            )
        self._check_blinding(claim.blinding, (self.num_chunks, 4))

    def _check_blinding(self, blinding: FieldArray | None, shape: tuple[int, ...]) -> None:
        if (blinding is not None) != self.is_blinded:
            raise ParameterError("blinding", "must be given exactly when the scheme blinds", self.is_blinded)
        if blinding is not None and check_elements(blinding, name="blinding").shape != shape:
            raise ParameterError("blinding", f"must have shape {shape}", blinding.shape)
