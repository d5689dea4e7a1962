"""Boolean sums of columns: the k-bar-sums that subset codes are defined by.

A *k-bar-sum* of a binary matrix is the Boolean OR of one to ``k`` of its columns (Section 4 of the coded
subset aggregation paper). Columns are packed into 64-bit words, so that one OR handles 64 rows and whole
levels of the enumeration are single NumPy calls. Left out: sampling; everything here is exhaustive, and
what is too large to enumerate is refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from math import comb

import numpy as np
from numpy.typing import NDArray

from flower_coded.errors import ParameterError

__all__ = ["MAX_SUMS", "ColumnSums", "column_sums", "count_sums", "pack_columns", "sort_keys"]

MAX_SUMS = 20_000_000
"""Sums beyond which an exhaustive enumeration is refused (about a gigabyte of work space)."""


@dataclass(frozen=True)
class ColumnSums:
    """All Boolean sums of one to ``k`` columns, in order of size, then lexicographically.

    Parameters
    ----------
    words : ndarray of shape (num_sums, num_words), uint64
        The sums, rows of the matrix packed into 64-bit words.
    columns : list of ndarray of shape (num_sums_of_size_s, s), int64
        Entry ``s - 1`` lists the columns added to each sum of size ``s``.
    """

    words: NDArray[np.uint64]
    columns: list[NDArray[np.int64]]

    def columns_of(self, index: int) -> tuple[int, ...]:
        """Name the columns whose sum is ``words[index]``.

        Parameters
        ----------
        index : int
            A row of ``words``.

        Returns
        -------
        tuple of int
            Column numbers, increasing.
        """
        for sets in self.columns:
            if index < len(sets):
                return tuple(int(column) for column in sets[index])
            index -= len(sets)
        raise IndexError(index)


def pack_columns(matrix: NDArray[np.bool_]) -> NDArray[np.uint64]:
    """Pack each column of a binary matrix into 64-bit words.

    Parameters
    ----------
    matrix : ndarray of shape (m, n), bool
        Any binary matrix.

    Returns
    -------
    ndarray of shape (n, ceil(m / 64)), uint64
        Row ``i`` of the matrix is bit ``i mod 64`` of word ``i // 64``; bits past ``m`` are zero.

    Examples
    --------
    >>> pack_columns(np.array([[1, 0], [1, 1]], dtype=bool)).tolist()
    [[3], [2]]
    """
    num_rows, num_columns = matrix.shape
    # Zero bits past m change no OR and no comparison of sums.
    padded = np.zeros((num_columns, -(-num_rows // 64) * 64), dtype=bool)
    padded[:, :num_rows] = matrix.T
    packed = np.packbits(padded, axis=1, bitorder="little")
    # Little-endian on every machine, so that a bit always means the same row.
    return np.ascontiguousarray(packed).view("<u8").astype(np.uint64)


def count_sums(num_columns: int, max_size: int) -> int:
    """Count the sets of one to ``max_size`` columns.

    Parameters
    ----------
    num_columns, max_size : int
        ``n`` and ``k``.

    Returns
    -------
    int
        ``C(n, 1) + ... + C(n, k)``.

    Examples
    --------
    >>> count_sums(16, 2)
    136
    """
    return sum(comb(num_columns, size) for size in range(1, max_size + 1))


def column_sums(words: NDArray[np.uint64], max_size: int) -> ColumnSums:
    """Enumerate every Boolean sum of one to ``max_size`` columns.

    Parameters
    ----------
    words : ndarray of shape (n, num_words), uint64
        Packed columns, as :func:`pack_columns` gives them.
    max_size : int
        ``k``, the most columns added; sizes above ``n`` add nothing.

    Returns
    -------
    ColumnSums
        The sums with the columns of each.

    Raises
    ------
    ParameterError
        If there are more than :data:`MAX_SUMS` of them.

    Examples
    --------
    >>> sums = column_sums(np.array([[1], [2], [4]], dtype=np.uint64), 2)
    >>> sums.words[:, 0].tolist(), sums.columns_of(4)
    ([1, 2, 4, 3, 5, 6], (0, 2))
    """
    num_columns = len(words)
    # Counted before anything is allocated.
    if count_sums(num_columns, max_size) > MAX_SUMS:
        raise ParameterError(
            "num_attackers",
            f"must leave at most {MAX_SUMS} sets of columns to enumerate",
            max_size,
            hint=f"{num_columns} columns have {count_sums(num_columns, max_size)} such sets; lower k or n",
        )
    index_sets: list[NDArray[np.int64]] = []
    levels: list[NDArray[np.uint64]] = []
    for size in range(1, min(max_size, num_columns) + 1):
        sets = _combinations(num_columns, size)
        total = words[sets[:, 0]]
        for position in range(1, size):
            total = total | words[sets[:, position]]
        index_sets.append(sets)
        levels.append(total)
    empty = np.zeros((0, words.shape[1]), dtype=np.uint64)
    return ColumnSums(np.concatenate(levels) if levels else empty, index_sets)


def sort_keys(words: NDArray[np.uint64]) -> NDArray[np.generic]:
    """One sortable scalar per packed sum, equal exactly when the sums are.

    Parameters
    ----------
    words : ndarray of shape (num_sums, num_words), uint64
        Packed sums.

    Returns
    -------
    ndarray of shape (num_sums,)
        The words themselves where one suffices, otherwise their bytes.
    """
    if words.shape[1] == 1:
        return words[:, 0]
    # NumPy ignores trailing zero bytes, which is harmless among strings of one width.
    return np.ascontiguousarray(words).view(f"S{8 * words.shape[1]}")[:, 0]


def _combinations(num_columns: int, size: int) -> NDArray[np.int64]:
    # A stream of known length allocates once; a list of tuples would take several times the memory.
    flat = np.fromiter(
        (column for chosen in combinations(range(num_columns), size) for column in chosen),
        dtype=np.int64,
        count=comb(num_columns, size) * size,
    )
    return flat.reshape(-1, size)
