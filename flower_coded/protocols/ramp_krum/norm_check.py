"""Proving that every block of an update is within a norm bound, exactly and without showing its norm.

Range checks (:mod:`.range_check`) admit entries up to about ``2**79`` clipping bounds. That is enough for
squares not to wrap modulo r, and with that an exact bound costs little:

1. The columns of the parts (an array of K rows) are divided into blocks: column j belongs to block j modulo
   their number, so that every block samples all layers of a model. To each block the dealer adds four numbers
   whose squares fill it up to the bound B, ``sum_j w_j**2 + s_1**2 + .. + s_4**2 = B``. They exist if and
   only if ``sum_j w_j**2 <= B`` (Lagrange). They are committed and shared as the update is, and stand under
   the range check too.
2. A random 128-bit weight ``rho_b`` for every block follows from a challenge that is drawn when everything is
   committed. Every user computes, for each dealer, one product of its shares
   ``sum_j rho_b(j) F(j)**2 + sum_c rho_b(c) S(c)**2`` with the slack's share S.
3. That is a value of a polynomial G of which ``sum_k G(beta_k) / c_k**2``
   (:mod:`flower_coded.crypto.ramp_embedding`) is ``sum_b rho_b (sum_j w_j**2 + sum_i s_i**2)``. The server
   decodes and reads it as it does distances, and compares it with ``B sum_b rho_b``.

What it proves. If one block's sum differs from B modulo r, the weighted sum is right with probability
``2**-128``. If all are B modulo r and all entries passed the range check, all are B over the integers, and no
block of the update exceeds the bound. So an update within the bound always passes, one beyond it does with
probability ``2**-128``, and one whose entries are not short with that of the range check.

What it shows. The one number is known beforehand: it says that the bound holds and nothing else. What else
the polynomial holds is hidden as with distances, by the dealers' joint masks.

The idea of sums of four squares is Boudot's and Lipmaa's (see :mod:`flower_coded.crypto.four_squares`); that
a ramp sharing checks them for all blocks in a single opened value is this library's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from math import isqrt

import numpy as np
from numpy.typing import NDArray

from flower_coded.crypto.field_vectors import FIELD_MODULUS, FieldArray, add
from flower_coded.crypto.four_squares import LARGEST_SUM_OF_SQUARES, four_squares
from flower_coded.crypto.weighted_products import weighted_inner_products
from flower_coded.errors import ParameterError

__all__ = ["NormCheck"]

_NUM_SQUARES = 4
_WEIGHT_BYTES = 16
_ROUNDING_MARGIN = 1 - 2.0**-40  # a factor in double precision may come out too large by 2**-52


@dataclass(frozen=True)
class NormCheck:
    """The blocks of an update, the bound of their norm, and both sides of its proof.

    Parameters
    ----------
    num_parts, part_length : int
        K and M: parts of an update, and entries of a part.
    block_columns : int
        G, columns of a block: K G entries. One (G = M) bounds the norm of the whole update; G = 1 is the
        tightest. The proof adds about ``1 / G`` to the cost of sharing the update, if K is at least 4.
    bound : int
        B, the largest sum of squares of a block's integers; from 0 to ``2**62 - 1``.

    Raises
    ------
    ParameterError
        If a bound above does not hold.

    Examples
    --------
    >>> check = NormCheck(num_parts=2, part_length=3, block_columns=2, bound=100)
    >>> check.num_blocks, check.slack_length
    (2, 4)
    >>> check.slack(np.array([[3, 1, 0], [0, 0, 4]]))  # columns 0 and 2 in one block, column 1 in the other
    array([[8, 9, 1, 1],
           [3, 4, 1, 1]])
    """

    num_parts: int
    part_length: int
    block_columns: int
    bound: int

    def __post_init__(self) -> None:
        for name in ("num_parts", "part_length", "block_columns"):
            if getattr(self, name) < 1:
                raise ParameterError(name, "must be at least 1", getattr(self, name))
        if not 0 <= self.bound <= LARGEST_SUM_OF_SQUARES:
            raise ParameterError(
                "bound",
                f"must be from 0 to {LARGEST_SUM_OF_SQUARES}, the largest sum of squares that is proved",
                self.bound,
                hint="take fewer bits per entry, smaller blocks or a smaller norm",
            )

    @property
    def num_blocks(self) -> int:
        """How many blocks there are, each with G columns or one less."""
        return -(-self.part_length // self.block_columns)

    @property
    def num_slack_parts(self) -> int:
        """Rows of the slack that carry numbers: no more than there are parts."""
        return min(self.num_parts, _NUM_SQUARES)

    @property
    def slack_length(self) -> int:
        """Columns of the slack; as among those of the update, column c belongs to block c mod num_blocks."""
        return self.num_blocks * -(-_NUM_SQUARES // self.num_slack_parts)

    @property
    def largest_slack(self) -> int:
        """No number of an honest slack is larger."""
        return isqrt(self.bound)

    def slack(self, parts: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the numbers whose squares fill every block up to the bound.

        Parameters
        ----------
        parts : ndarray of shape (K, M), int64

        Returns
        -------
        ndarray of shape (num_slack_parts, slack_length), int64

        Raises
        ------
        ParameterError
            If a block exceeds the bound: there are no such numbers.
        """
        missing = [self.bound - energy for energy in self._energies(parts)]
        if min(missing) < 0:
            raise ParameterError(
                "update",
                f"must have blocks with a sum of squares of at most {self.bound}",
                self.bound - min(missing),
                hint="NormCheck.bound_integers makes it so",
            )
        roots = four_squares(np.array(missing, dtype=np.int64))
        rows, columns = self.num_slack_parts, self.slack_length // self.num_blocks
        padded = np.zeros((self.num_blocks, columns * rows), dtype=np.int64)
        padded[:, :_NUM_SQUARES] = roots
        return padded.reshape(self.num_blocks, columns, rows).transpose(2, 1, 0).reshape(rows, -1)

    def bound_integers(self, integers: NDArray[np.int64]) -> NDArray[np.int64]:
        """Shorten the blocks of a quantized update that exceed the bound; the others stay as they are.

        Parameters
        ----------
        integers : ndarray of shape (L,), int64
            At most K M entries; a part is M of them in a row.

        Returns
        -------
        ndarray of shape (L,), int64
            Blocks beyond the bound are scaled to it and rounded towards zero.
        """
        parts = self._parts(integers)
        energies = np.array([float(energy) for energy in self._energies(parts)])
        is_beyond = energies > self.bound
        if not is_beyond.any():
            return integers
        factors = np.sqrt(self.bound / np.maximum(energies, 1.0)) * _ROUNDING_MARGIN
        blocks = np.arange(self.part_length) % self.num_blocks
        shortened = np.trunc(parts * factors[blocks]).astype(np.int64)
        result: NDArray[np.int64] = np.where(is_beyond[blocks], shortened, parts).ravel()[: len(integers)]
        return result

    def block_norms(self, integers: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the norm of every block of a quantized update: shape (num_blocks,), in integer steps."""
        return np.array([float(energy) ** 0.5 for energy in self._energies(self._parts(integers))])

    def weights(self, challenge: bytes) -> list[int]:
        """Expand a challenge into a weight of 128 bits for every block, by SHAKE-256.

        Parameters
        ----------
        challenge : bytes
            Fixed after everything is committed.
        """
        stream = hashlib.shake_256(b"flower_coded norm check" + challenge).digest(
            _WEIGHT_BYTES * self.num_blocks
        )
        starts = range(0, len(stream), _WEIGHT_BYTES)
        return [int.from_bytes(stream[start : start + _WEIGHT_BYTES], "little") for start in starts]

    def evaluate(
        self,
        shares: FieldArray,
        slack: FieldArray,
        weights: Sequence[int],
        *,
        num_threads: int = 1,
    ) -> FieldArray:
        """Return a user's values of the polynomials that the server decodes, one for every dealer.

        Parameters
        ----------
        shares : ndarray of shape (n, M, 4), uint64
            Of n updates.
        slack : ndarray of shape (n, slack_length, 4), uint64
            Shares of their slack.
        weights : sequence of int
            From :meth:`weights`.
        num_threads : int

        Returns
        -------
        ndarray of shape (n, 4), uint64
        """
        lengths = self.part_length, self.slack_length
        for name, array, length in zip(("shares", "slack"), (shares, slack), lengths, strict=True):
            shape = (len(shares), length, 4)
            if array.shape != shape:
                raise ParameterError(name, f"must have shape {shape}", array.shape)
        energy, filled = (
            weighted_inner_products(array, array, weights, num_threads=num_threads)
            for array in (shares, slack)
        )
        return add(energy, filled)

    def expected(self, weights: Sequence[int]) -> int:
        """Return what the server reads, in ``[0, r)``, if every block is within bounds."""
        return self.bound * sum(weights) % FIELD_MODULUS

    def _parts(self, integers: NDArray[np.int64]) -> NDArray[np.int64]:
        if integers.ndim != 1 or len(integers) > self.num_parts * self.part_length:
            most = self.num_parts * self.part_length
            raise ParameterError("integers", f"must be a vector of at most {most}", integers.shape)
        flat = np.zeros(self.num_parts * self.part_length, dtype=np.int64)
        flat[: len(integers)] = integers
        return flat.reshape(self.num_parts, self.part_length)

    def _energies(self, parts: NDArray[np.int64]) -> list[int]:
        """Return the sum of squares of every block, exactly."""
        if parts.shape != (self.num_parts, self.part_length):
            shape = (self.num_parts, self.part_length)
            raise ParameterError("parts", f"must have shape {shape}", parts.shape)
        # Halves of 16 bits keep sums of products of a block within 64 bits, whatever the entries' 32 are.
        magnitudes = np.abs(parts)
        if int(magnitudes.max()) >= 1 << 32:
            raise ParameterError("parts", "must have entries below 2**32", int(magnitudes.max()))
        low, high = magnitudes & 0xFFFF, magnitudes >> 16
        sums = [self._block_sums(x * y) for x, y in ((low, low), (low, high), (high, high))]
        return [a + (b << 17) + (c << 32) for a, b, c in zip(*(s.tolist() for s in sums), strict=True)]

    def _block_sums(self, values: NDArray[np.int64]) -> NDArray[np.int64]:
        columns = np.zeros(-(-self.part_length // self.num_blocks) * self.num_blocks, dtype=np.int64)
        columns[: self.part_length] = values.sum(axis=0)
        total: NDArray[np.int64] = columns.reshape(-1, self.num_blocks).sum(axis=0)
        return total
