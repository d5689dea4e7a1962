"""Ramp secret sharing over F_r in two embeddings, whose product holds an inner product.

A vector cut into K parts ``w_1 .. w_K`` is shared by

    first embedding   ``F(x)  = sum_k w_k x**(k-1)  + sum_t z_t x**(K+t-1)``
    second embedding  ``F~(x) = sum_k w_k x**(K-k)  + sum_t r_t x**(K+t-1)``

with T masks each, uniform in F_r; user i holds ``F(alpha_i)`` and ``F~(alpha_i)`` [1]_, equation (1) and step
5. A share is K times shorter than the secret. T shares say nothing about it, K + T rebuild it, what lies
between says a part (that is what ramp means). In ``<F(x), F~(x)>`` the coefficient of ``x**(K-1)`` is ``sum_k
||w_k||**2``: the second embedding reverses the parts so that they meet there and the masks do not.

For K = 1 both embeddings have one and the same form and one set of shares serves twice. Points are 1, -1, 2,
-2, ...: distinct, not zero, and small, so that their powers stay short and share generation cheap.

Commitments, liars and protocol phases are elsewhere; decoding with errors is
:class:`flower_coded.crypto.ReedSolomonCode`.

References
----------
.. [1] T. Jahani-Nezhad, M. A. Maddah-Ali, G. Caire, "Byzantine-Resistant Secure Aggregation for Federated
   Learning Based on Coded Computing and Vector Commitment", 2023.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from operator import mul

import numpy as np

from flower_coded.crypto.field_products import matmul_constant
from flower_coded.crypto.field_vectors import FieldArray, concatenate_zeros, random_elements
from flower_coded.crypto.reed_solomon import ReedSolomonCode
from flower_coded.errors import DecodingError, ParameterError

__all__ = ["RampSharing", "evaluation_points", "largest_num_parts", "power_matrix"]


def evaluation_points(num_users: int) -> tuple[int, ...]:
    """Return ``alpha_1 .. alpha_N`` = 1, -1, 2, -2, ...

    Examples
    --------
    >>> evaluation_points(5)
    (1, -1, 2, -2, 3)
    """
    return tuple((user // 2 + 1) * (-1) ** user for user in range(num_users))


def largest_num_parts(
    *, num_users: int, num_colluders: int, num_attackers: int = 0, num_dropouts: int = 0
) -> int:
    """Return the largest K with ``N - D >= 2 (K + T + A) - 1``; below 1 if no K will do.

    Examples
    --------
    >>> largest_num_parts(num_users=20, num_colluders=2, num_attackers=2, num_dropouts=2)
    5
    """
    return (num_users - num_dropouts + 1) // 2 - num_attackers - num_colluders


@dataclass(frozen=True)
class RampSharing:
    """Share vectors among users so that T of them learn nothing and K + T rebuild them.

    Parameters
    ----------
    num_users : int
        N.
    num_parts : int
        K, the parts a vector is cut into; ``1 <= K <= (N - D + 1)/2 - A - T``.
    num_colluders : int
        T >= 1, users who may put their shares together without learning anything.
    num_attackers, num_dropouts : int
        A and D: products of shares are decodable with A of them wrong and D missing.

    Raises
    ------
    ParameterError
        If a bound is broken; the message holds the inequality, the numbers, and the largest K that would do.

    Examples
    --------
    >>> from flower_coded.crypto.field_vectors import from_ints, to_ints
    >>> sharing = RampSharing(num_users=7, num_parts=2, num_colluders=1)
    >>> parts = sharing.split(from_ints([3, 1, 4]))
    >>> shares = sharing.share(parts, sharing.draw_masks(parts.shape[1]))
    >>> rebuilt = sharing.reconstruct(shares[[6, 0, 3]], users=[6, 0, 3])
    >>> to_ints(sharing.join(rebuilt, length=3))
    [3, 1, 4]
    """

    num_users: int
    num_parts: int
    num_colluders: int
    num_attackers: int = 0
    num_dropouts: int = 0

    def __post_init__(self) -> None:
        if self.num_colluders < 1:
            raise ParameterError(
                "num_colluders", "must be at least 1: without masks shares hide nothing", self.num_colluders
            )
        if min(self.num_attackers, self.num_dropouts) < 0:
            received = (self.num_attackers, self.num_dropouts)
            raise ParameterError("num_attackers and num_dropouts", "must not be negative", received)
        if self.num_parts < 1 or self.num_users - self.num_dropouts < self.num_products:
            raise self._no_such_ramp()

    @property
    def points(self) -> tuple[int, ...]:
        """``alpha_i`` for every user."""
        return evaluation_points(self.num_users)

    @property
    def num_shares_needed(self) -> int:
        """``K + T``, correct shares that rebuild a vector."""
        return self.num_parts + self.num_colluders

    @property
    def num_product_coefficients(self) -> int:
        """``2 (K + T) - 1``, coefficients of a product of the two embeddings."""
        return 2 * self.num_shares_needed - 1

    @property
    def num_products(self) -> int:
        """``2 (K + T + A) - 1``, evaluations that decode a product with A of them wrong."""
        return self.num_product_coefficients + 2 * self.num_attackers

    @property
    def mask_exponents(self) -> tuple[int, ...]:
        """Powers of x that carry the masks, in both embeddings."""
        return tuple(range(self.num_parts, self.num_shares_needed))

    @property
    def first_exponents(self) -> tuple[int, ...]:
        """Powers of x that carry parts and masks in the first embedding."""
        return (*range(self.num_parts), *self.mask_exponents)

    @property
    def second_exponents(self) -> tuple[int, ...]:
        """Powers of x that carry parts and masks in the second embedding."""
        return (*reversed(range(self.num_parts)), *self.mask_exponents)

    def split(self, vector: FieldArray) -> FieldArray:
        """Cut (L, 4) into parts of shape (K, ceil(L/K), 4), the last one filled with zeros."""
        part_length = -(-len(vector) // self.num_parts)
        return concatenate_zeros(vector, part_length * self.num_parts).reshape(self.num_parts, part_length, 4)

    def join(self, parts: FieldArray, *, length: int) -> FieldArray:
        """Undo :meth:`split`."""
        return parts.reshape(-1, 4)[:length]

    def draw_masks(self, part_length: int) -> FieldArray:
        """Draw T masks of shape (T, part_length, 4) from the system's cryptographic generator."""
        return random_elements(self.num_colluders, part_length)

    def share(self, parts: FieldArray, masks: FieldArray, *, num_threads: int = 1) -> FieldArray:
        """Evaluate the first embedding at every user's point.

        Parameters
        ----------
        parts : ndarray of shape (K, n, 4), uint64
        masks : ndarray of shape (T, n, 4), uint64
            From :meth:`draw_masks`, used once.

        Returns
        -------
        ndarray of shape (N, n, 4), uint64
        """
        return self._evaluate(self.first_exponents, parts, masks, num_threads)

    def share_reversed(self, parts: FieldArray, masks: FieldArray, *, num_threads: int = 1) -> FieldArray:
        """Evaluate the second embedding at every user's point: as :meth:`share`, with masks of its own."""
        return self._evaluate(self.second_exponents, parts, masks, num_threads)

    def reconstruct(
        self, shares: FieldArray, *, users: Sequence[int], readers: Sequence[Sequence[int]] | None = None
    ) -> FieldArray:
        """Rebuild the parts from correct shares of the first embedding, or of another one.

        Parameters
        ----------
        shares : ndarray of shape (n, m, 4), uint64
            n >= K + T shares; the first K + T are used.
        users : sequence of int, length n
            Whose shares they are.
        readers : sequence of sequence of int, shape (K, K + T), or None
            How parts are read from the polynomial's coefficients
            (:attr:`~flower_coded.crypto.ramp_embedding.RampEmbedding.part_readers`); None: they are the
            first K.

        Returns
        -------
        ndarray of shape (K, m, 4), uint64

        Raises
        ------
        DecodingError
            If there are fewer than K + T.
        """
        needed = self.num_shares_needed
        if len(set(users)) != len(shares) or not set(users) <= set(range(self.num_users)):
            raise ParameterError("users", "must name a different user for every share", list(users))
        if len(shares) < needed:
            raise DecodingError("too few shares to rebuild a vector", received=len(shares), needed=needed)
        # Shares are evaluations of degree K + T - 1; rows K and on of the inverse give masks, not needed.
        matrix = ReedSolomonCode(self.points, needed).interpolation_matrix(users[:needed])
        rows: Sequence[Sequence[int]] = matrix[: self.num_parts]
        if readers is not None:
            columns = list(zip(*matrix, strict=True))
            rows = [[sum(map(mul, reader, column)) for column in columns] for reader in readers]
        return matmul_constant(rows, shares[:needed])

    def _no_such_ramp(self) -> ParameterError:
        n, d, a, t = self.num_users, self.num_dropouts, self.num_attackers, self.num_colluders
        largest = largest_num_parts(num_users=n, num_colluders=t, num_attackers=a, num_dropouts=d)
        return ParameterError(
            "num_parts",
            f"must satisfy 1 <= K <= (N - D + 1)/2 - A - T = ({n} - {d} + 1)/2 - {a} - {t} = "
            f"{(n - d + 1) / 2 - a - t:g}",
            self.num_parts,
            hint=f"the largest that works is {largest}"
            if largest >= 1
            else f"no K works below {d + 2 * (1 + t + a) - 1} users",
        )

    def _evaluate(
        self, exponents: Sequence[int], parts: FieldArray, masks: FieldArray, num_threads: int
    ) -> FieldArray:
        if len(parts) != self.num_parts or len(masks) != self.num_colluders:
            raise ParameterError(
                "parts and masks",
                f"must number {self.num_parts} and {self.num_colluders}",
                (len(parts), len(masks)),
            )
        # Not reduced modulo r: small points to small powers keep the product cheap.
        matrix = power_matrix(self.points, exponents)
        return matmul_constant(matrix, np.concatenate([parts, masks]), num_threads=num_threads)


def power_matrix(points: Sequence[int], exponents: Sequence[int]) -> list[list[int]]:
    """Return ``[[point**exponent ...] ...]``, not reduced.

    Examples
    --------
    >>> power_matrix([1, -2], [0, 3])
    [[1, 1], [1, -8]]
    """
    return [[point**exponent for exponent in exponents] for point in points]
