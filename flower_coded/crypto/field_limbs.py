"""Elements of F_r cut into limbs, so that double precision computes products without error.

A sum of limb products is exact while it stays below ``2**53``. What a matrix product leaves of a
multiplication modulo r are carries and one subtraction of a multiple of r. The multiple, ``floor(value /
r)``, comes out of the same matrix product: one limb more holds the same numbers divided by r, accurate to
better than ``2**-15``, so that the quotient is right or off by one, and the last step repairs the latter. Two
arrangements share this ending:

* short constants, such as the powers of small evaluation points: every row's sum of absolute values is at
  most ``2**30``. The limbs are the vector's 32-bit words; a constant fills one or two pieces.
* any constants, such as an inverted Vandermonde matrix or random weights: each constant times ``2**(16 l)``
  is reduced modulo r beforehand, one block per 16-bit limb l of the vector, so that the product is nearly
  reduced.

Gram matrices have no constant factor: both sides are cut into 22-bit limbs, and the few results are reduced
in Python integers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from flower_coded.crypto.field_vectors import FIELD_MODULUS, FieldArray, from_ints
from flower_coded.errors import ParameterError

__all__ = [
    "GENERAL_BITS",
    "GENERAL_IN_BITS",
    "GENERAL_IN_LIMBS",
    "GENERAL_LIMBS",
    "GRAM_BITS",
    "GRAM_BLOCK",
    "GRAM_LIMBS",
    "GRAM_LONGEST",
    "MAX_COLUMNS",
    "SHORT_ROW_SUM",
    "Matrix",
    "Plan",
    "ProductWorkspace",
    "center_entries",
    "modulus_limbs",
    "plan_general",
    "plan_product",
    "reduce_gram",
    "split_for_gram",
]

Matrix: TypeAlias = Sequence[Sequence[int]]

SHORT_BITS, SHORT_LIMBS, SHORT_ROW_SUM = 32, 8, 1 << 30
GENERAL_IN_BITS, GENERAL_IN_LIMBS, GENERAL_BITS, GENERAL_LIMBS = 16, 16, 24, 11
MAX_COLUMNS = 64  # 16 limbs * 64 columns * 2**16 * 2**24 = 2**50
GRAM_BITS, GRAM_LIMBS, GRAM_BLOCK = 22, 12, 512  # 512 * 2**22 * 2**22 = 2**53
GRAM_LONGEST = 1 << 19  # columns whose products of limbs, 44 bits each, add up to less than 2**63


@dataclass(frozen=True)
class Plan:
    """A constant matrix cut into limbs, and how to read what its product with limbs means.

    Parameters
    ----------
    table : ndarray, float64
        Short: shape (pieces, n, k). General: shape (12 n, 16 k), the last n rows being the quotient's.
    piece_bits : int
        Short: the weight of the second piece is ``2**piece_bits``. General: 0.
    """

    table: NDArray[np.float64]
    piece_bits: int

    @property
    def is_short(self) -> bool:
        """Whether this is the arrangement for short constants."""
        return self.piece_bits > 0


def center_entries(matrix: Matrix) -> list[list[int]]:
    """Return the matrix with entries of least absolute value modulo r; refuse ragged or empty ones."""
    lengths = {len(row) for row in matrix}
    if len(lengths) != 1 or not min(lengths):
        raise ParameterError("matrix", "must have rows of one positive length", sorted(lengths) or "no rows")
    half = FIELD_MODULUS // 2
    return [[(int(entry) + half) % FIELD_MODULUS - half for entry in row] for row in matrix]


def plan_product(entries: Matrix) -> Plan:
    """Cut centered entries, at most 64 columns of them, into the limbs of the cheaper arrangement."""
    largest_row_sum = max(sum(abs(entry) for entry in row) for row in entries)
    return (
        _plan_short(entries, largest_row_sum) if largest_row_sum <= SHORT_ROW_SUM else plan_general(entries)
    )


def plan_general(entries: Matrix) -> Plan:
    """Cut any constants, at most 64 columns of them, into limbs already reduced modulo r."""
    n, k = len(entries), len(entries[0])
    size = GENERAL_BITS // 8 * GENERAL_LIMBS
    shifts = [GENERAL_IN_BITS * limb for limb in range(GENERAL_IN_LIMBS)]
    shifted = [(entry << shift) % FIELD_MODULUS for row in entries for entry in row for shift in shifts]
    data = np.frombuffer(b"".join(value.to_bytes(size, "little") for value in shifted), dtype=np.uint8)
    limbs = data.reshape(n, k * GENERAL_IN_LIMBS, GENERAL_LIMBS, -1) @ (1 << np.arange(0, GENERAL_BITS, 8))
    # Python divides long integers to the nearest double: no digit of the quotient is lost here.
    quotients = np.array([value / FIELD_MODULUS for value in shifted]).reshape(n, -1)
    table = np.concatenate([limbs.transpose(2, 0, 1), quotients[np.newaxis]]).astype(np.float64)
    return Plan(table.reshape(-1, k * GENERAL_IN_LIMBS), 0)


class ProductWorkspace:
    """Arrays that a thread uses for all its blocks: fresh ones of that size cost as much as the sums."""

    def __init__(self, plan: Plan, n: int, k: int, m: int) -> None:
        self.plan = plan
        self.bits, count = (SHORT_BITS, SHORT_LIMBS) if plan.is_short else (GENERAL_BITS, GENERAL_LIMBS)
        self.table = plan.table.reshape(-1, plan.table.shape[-1])
        columns = (SHORT_LIMBS + 1) * m if plan.is_short else m
        self.inputs = np.empty((k, SHORT_LIMBS + 1 if plan.is_short else GENERAL_IN_LIMBS, m))
        self.product = np.empty((len(self.table), columns))
        self.limbs = np.empty((count, n, m), dtype=np.int64)
        self.low_limbs = np.empty_like(self.limbs) if len(plan.table) == 2 and plan.is_short else self.limbs
        self.whole, self.scratch = np.empty((2, n, m), dtype=np.int64)
        self.modulus = modulus_limbs(self.bits, count)

    def write_product(self, block: FieldArray, result: FieldArray) -> None:
        """Write the product with a (k, m, 4) block to the (n, m, 4) ``result``."""
        quotient = self._multiply_short(block) if self.plan.is_short else self._multiply_general(block)
        np.copyto(self.whole, np.floor(quotient, out=quotient), casting="unsafe")
        self._reduce()
        if self.plan.is_short:
            result.view("<u4")[...] = self.limbs.transpose(1, 2, 0)
        else:
            result[...] = _join(self.limbs, self.bits)

    def _multiply_short(self, block: FieldArray) -> NDArray[np.float64]:
        words = self.inputs[:, :SHORT_LIMBS]
        words[...] = block.view("<u4").transpose(0, 2, 1)
        self.inputs[:, SHORT_LIMBS] = (words[:, 7] * 2.0**32 + words[:, 6]) * (2.0**192 / FIELD_MODULUS)
        np.matmul(self.table, self.inputs.reshape(len(self.inputs), -1), out=self.product)
        pieces, n = self.plan.table.shape[:2]
        product = self.product.reshape(pieces, n, SHORT_LIMBS + 1, -1)
        np.copyto(self.limbs, product[-1, :, :SHORT_LIMBS].transpose(1, 0, 2), casting="unsafe")
        quotient = product[-1, :, SHORT_LIMBS]
        if pieces == 2:
            np.copyto(self.low_limbs, product[0, :, :SHORT_LIMBS].transpose(1, 0, 2), casting="unsafe")
            self.limbs <<= self.plan.piece_bits
            self.limbs += self.low_limbs
            quotient *= 2.0**self.plan.piece_bits
            quotient += product[0, :, SHORT_LIMBS]
        return quotient

    def _multiply_general(self, block: FieldArray) -> NDArray[np.float64]:
        self.inputs[...] = block.view("<u2").transpose(0, 2, 1)
        np.matmul(self.table, self.inputs.reshape(-1, self.inputs.shape[2]), out=self.product)
        product = self.product.reshape(GENERAL_LIMBS + 1, -1, self.inputs.shape[2])
        np.copyto(self.limbs, product[:GENERAL_LIMBS], casting="unsafe")
        quotient: NDArray[np.float64] = product[GENERAL_LIMBS]
        return quotient

    def _reduce(self) -> None:
        """Subtract ``whole * r``, carry, and repair the quotient's error of at most one."""
        for limb, word in zip(self.limbs, self.modulus, strict=True):
            np.subtract(limb, np.multiply(self.whole, word, out=self.scratch), out=limb)
        _carry(self.limbs, self.bits, self.scratch)
        _repair(self.limbs, self.limbs[-1] < 0, self.modulus, self.bits)
        # Hardly ever: only where the top limb is at least that of r can the value be r or more.
        suspect = self.limbs[-1] >= self.modulus[-1]
        if suspect.any():
            where = suspect & _at_least(self.limbs, self.modulus)
            _repair(self.limbs, where, [-word for word in self.modulus], self.bits)


def modulus_limbs(bits: int, count: int) -> list[int]:
    """Cut r into ``count`` limbs of ``bits`` bits, least significant first."""
    return [(FIELD_MODULUS >> (bits * limb)) & ((1 << bits) - 1) for limb in range(count)]


def split_for_gram(block: FieldArray, result: NDArray[np.float64]) -> None:
    """Cut (n, m, 4) words into limbs of 22 bits, limb-major, and 0 where the block ends before the result."""
    n, m = block.shape[:2]
    limbs = result.reshape(GRAM_LIMBS, n, -1)
    limbs[:, :, m:] = 0
    mask = np.uint64((1 << GRAM_BITS) - 1)
    for limb in range(GRAM_LIMBS):
        word, shift = divmod(limb * GRAM_BITS, 64)
        value = block[..., word] >> np.uint64(shift)
        if shift + GRAM_BITS > 64 and word < 3:
            value |= block[..., word + 1] << np.uint64(64 - shift)
        limbs[limb, :, :m] = value & mask


def reduce_gram(limbs: NDArray[np.int64]) -> FieldArray:
    """Turn the (12, n, 12, p) inner products of limbs into inner products modulo r."""
    count, n, _, p = limbs.shape
    total = np.zeros((n, p), dtype=object)
    for weight in range(2 * count - 1):
        pairs = range(max(0, weight - count + 1), min(count, weight + 1))
        diagonal = sum(limbs[low, :, weight - low].astype(object) for low in pairs)
        total += diagonal << (GRAM_BITS * weight)
    return from_ints(total % FIELD_MODULUS)


def _plan_short(entries: Matrix, largest_row_sum: int) -> Plan:
    table = np.array(entries, dtype=np.int64)
    piece_bits = 21 - (len(entries[0]) - 1).bit_length()  # k * 2**32 * 2**piece_bits <= 2**53
    if largest_row_sum <= 1 << 21:
        return Plan(table[np.newaxis].astype(np.float64), piece_bits)
    # Pieces carry the sign, so that both halves of a negative constant are negative.
    low = np.sign(table) * (np.abs(table) & ((1 << piece_bits) - 1))
    high = np.sign(table) * (np.abs(table) >> piece_bits)
    return Plan(np.stack([low, high]).astype(np.float64), piece_bits)


def _carry(limbs: NDArray[np.int64], bits: int, scratch: NDArray[np.int64]) -> None:
    mask = np.int64((1 << bits) - 1)
    for index in range(len(limbs) - 1):
        limbs[index + 1] += np.right_shift(limbs[index], bits, out=scratch)
        limbs[index] &= mask


def _repair(limbs: NDArray[np.int64], where: NDArray[np.bool_], addend: list[int], bits: int) -> None:
    if where.any():
        part = limbs[:, where]
        part += np.array(addend, dtype=np.int64)[:, np.newaxis]
        _carry(part, bits, np.empty_like(part[0]))
        limbs[:, where] = part


def _at_least(limbs: NDArray[np.int64], modulus: list[int]) -> NDArray[np.bool_]:
    result = np.ones(limbs.shape[1:], dtype=bool)
    for limb, word in zip(limbs, modulus, strict=True):  # the most significant comes last and decides
        result = np.where(limb == word, result, limb > word)
    return result


def _join(limbs: NDArray[np.int64], bits: int) -> FieldArray:
    words = np.zeros((4, *limbs.shape[1:]), dtype=np.uint64)
    for index, limb in enumerate(limbs.view(np.uint64)):
        word, shift = divmod(bits * index, 64)
        words[word] |= limb << np.uint64(shift)
        if shift + bits > 64 and word < 3:
            words[word + 1] |= limb >> np.uint64(64 - shift)
    return words.transpose(1, 2, 0)
