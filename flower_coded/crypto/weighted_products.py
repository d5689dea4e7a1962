"""Weighted inner products over F_r: one weight for every block of columns, many rows against many rows.

``sum_j weights[j mod b] * left[i, j] * right[i, j]`` tests b equations about blocks of columns at once. If
the weights are drawn after the vectors are fixed, a sum that comes out right says that each block's own inner
product is right. Weighting one side first would cost as many full multiplications modulo r as there are
entries. Here the products of a block are added up unreduced, in double precision as
:func:`flower_coded.crypto.field_products.gram_matrix` does it, and only a block's sum meets its weight.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from flower_coded.crypto.field_limbs import GRAM_BITS, GRAM_BLOCK, GRAM_LIMBS, split_for_gram
from flower_coded.crypto.field_vectors import FIELD_MODULUS, FieldArray, from_ints
from flower_coded.errors import ParameterError

__all__ = ["weighted_inner_products"]

_SUM_LIMBS = 2 * GRAM_LIMBS + 3  # 550 bits: products of 510 bits, and up to 2**40 of them
_SLABS_BETWEEN_CARRIES = 32
_MOST_COLUMNS = 1 << 40


def weighted_inner_products(
    left: FieldArray, right: FieldArray, weights: Sequence[int], *, num_threads: int = 1
) -> FieldArray:
    """Return ``sum_j weights[j mod b] * left[i, j] * right[i, j]`` modulo r for every row i.

    Parameters
    ----------
    left, right : ndarray of shape (n, m, 4), uint64
        Elements of F_r; the same array twice is allowed.
    weights : sequence of int, length b
        Any integers, read modulo r. Column j belongs to block ``j mod b``: blocks are strided, not
        contiguous.
    num_threads : int
        Threads over rows.

    Returns
    -------
    ndarray of shape (n, 4), uint64

    Raises
    ------
    ParameterError
        If the shapes differ, or there are no weights, or more than columns.

    Examples
    --------
    >>> left, right = from_ints([[1, 2, 3, 4]]), from_ints([[1, 1, 1, 10]])
    >>> weighted_inner_products(left, right, [100, 1])[:, 0]  # 100 (1 + 3) + (2 + 40)
    array([442], dtype=uint64)
    """
    if left.ndim != 3 or left.shape != right.shape or left.shape[2] != 4:
        raise ParameterError("left and right", "must have one shape (n, m, 4)", (left.shape, right.shape))
    if not 1 <= len(weights) <= left.shape[1] <= _MOST_COLUMNS:
        raise ParameterError("weights", f"must be from 1 to {left.shape[1]}, the columns", len(weights))
    if num_threads < 1:
        raise ParameterError("num_threads", "must be at least 1", num_threads)
    weight_limbs = _weight_limbs(weights)
    totals = [0] * len(left)

    def one_row(row: int) -> None:
        sums = _block_sums(left[row], right[row], len(weights))
        totals[row] = _apply_weights(sums, weight_limbs) % FIELD_MODULUS

    if num_threads == 1:
        for row in range(len(left)):
            one_row(row)
    else:
        with ThreadPoolExecutor(num_threads) as pool:
            deque(pool.map(one_row, range(len(left))), maxlen=0)  # raises what a task raised
    return from_ints(totals)


def _weight_limbs(weights: Sequence[int]) -> NDArray[np.float64]:
    """Cut weights into limbs of 22 bits: (12, b)."""
    reduced = from_ints([int(weight) % FIELD_MODULUS for weight in weights])
    limbs = np.empty((GRAM_LIMBS, len(weights)))
    split_for_gram(reduced[np.newaxis], limbs)
    return limbs


def _block_sums(left: FieldArray, right: FieldArray, num_blocks: int) -> NDArray[np.int64]:
    """Return every block's inner product as limbs of 22 bits, not reduced: (27, num_blocks)."""
    total = np.zeros((_SUM_LIMBS, num_blocks), dtype=np.int64)
    size = -(-len(left) // num_blocks)  # columns of a block, the last of which may be missing
    for count, start in enumerate(range(0, size, GRAM_BLOCK)):
        columns = slice(start * num_blocks, (start + GRAM_BLOCK) * num_blocks)
        limbs = _block_limbs(left[columns], num_blocks)
        others = limbs if right is left else _block_limbs(right[columns], num_blocks)
        # At most 512 products of 44 bits: exact in double precision.
        products = np.matmul(limbs, others.transpose(0, 2, 1)).astype(np.int64)
        for low in range(GRAM_LIMBS):
            total[low : low + GRAM_LIMBS] += products[:, low].T
        # A slab adds less than 12 * 2**53 to a limb: 32 of them stay below 2**63.
        if count % _SLABS_BETWEEN_CARRIES == _SLABS_BETWEEN_CARRIES - 1:
            _carry(total)
    _carry(total)
    return total


def _block_limbs(columns: FieldArray, num_blocks: int) -> NDArray[np.float64]:
    """Cut (m, 4) words into limbs, arranged by block: (num_blocks, 12, ceil(m / num_blocks))."""
    size = -(-len(columns) // num_blocks)
    limbs = np.empty((GRAM_LIMBS, size * num_blocks))
    split_for_gram(columns[np.newaxis], limbs)  # zeros behind the last column
    return np.ascontiguousarray(limbs.reshape(GRAM_LIMBS, size, num_blocks).transpose(2, 0, 1))


def _carry(limbs: NDArray[np.int64]) -> None:
    mask = np.int64((1 << GRAM_BITS) - 1)
    for index in range(len(limbs) - 1):
        limbs[index + 1] += limbs[index] >> GRAM_BITS
        limbs[index] &= mask


def _apply_weights(sums: NDArray[np.int64], weight_limbs: NDArray[np.float64]) -> int:
    """Return ``sum_b weights[b] * sums[b]`` as an integer, not reduced."""
    total = 0
    for start in range(0, sums.shape[1], GRAM_BLOCK):
        blocks = slice(start, start + GRAM_BLOCK)
        products = sums[:, blocks].astype(np.float64) @ weight_limbs[:, blocks].T  # exact, as above
        for low, row in enumerate(products.astype(np.int64).tolist()):
            for high, product in enumerate(row):
                total += product << (GRAM_BITS * (low + high))
    return total
