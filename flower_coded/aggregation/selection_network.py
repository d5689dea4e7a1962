"""Mean of the middle values of each coordinate, by a selection network over whole rows.

Median and trimmed mean need, for every one of millions of coordinates, the values of rank ``first`` to
``last - 1`` among a few dozen. A sorting network does all coordinates at once: its comparators are a minimum
and a maximum of two rows, which vectorize, where sorting each column does not. Of Batcher's odd-even merge
network [1]_ only the comparators that matter are kept: going backwards, one whose two outputs are both thrown
away, or both end in the same mean, is dropped. Rows are taken in blocks of columns that stay in the cache.

Left out: networks of the least known size, which save about a tenth for 20 rows and exist for few sizes.

References
----------
.. [1] K. E. Batcher, "Sorting networks and their applications", AFIPS Spring Joint Computer Conference, 1968.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from flower_coded.aggregation.blocks import run_blocks
from flower_coded.aggregation.lazy_rows import block_reader
from flower_coded.errors import ParameterError

__all__ = ["Comparator", "middle_mean", "ranked_rows", "selection_network"]

MOST_NETWORK_ROWS = 128  # beyond it the network's log^2 n comparators per row cost more than a partition


class Comparator(NamedTuple):
    """Put the smaller of two rows at ``low`` and the larger at ``high``, where each is needed at all."""

    low: int
    high: int
    needs_low: bool
    needs_high: bool


@functools.lru_cache(maxsize=64)
def selection_network(
    num_rows: int, first: int, last: int, exact: tuple[int, ...] = ()
) -> tuple[Comparator, ...]:
    """Find comparators after which rows ``first`` to ``last - 1`` hold the values of those ranks.

    Among themselves these rows are in any order, but for the ranks in ``exact``.

    Parameters
    ----------
    num_rows : int
        Rows ``n``.
    first, last : int
        Ranks wanted, from 0; ``0 <= first < last <= n``.
    exact : tuple of int
        Ranks that are wanted each in its own row.

    Returns
    -------
    tuple of Comparator

    Raises
    ------
    ParameterError
        If the ranks are outside the rows.

    Examples
    --------
    >>> len(selection_network(20, 0, 20)), len(selection_network(20, 9, 11))
    (0, 83)
    """
    if not 0 <= first < last <= num_rows:
        raise ParameterError("first, last", f"must satisfy 0 <= first < last <= {num_rows}", (first, last))
    unused, averaged, single = 0, 1, 2
    uses = [averaged if first <= row < last else unused for row in range(num_rows)]
    for row in exact:
        uses[row] = single
    kept = []
    # Backwards from the outputs: what nobody reads needs no comparator, and two outputs that are averaged
    # anyway need no order between them.
    for low, high in reversed(_odd_even_merge_sort(num_rows)):
        if uses[low] == uses[high] != single:
            continue
        kept.append(Comparator(low, high, uses[low] != unused, uses[high] != unused))
        uses[low] = uses[high] = single
    return tuple(reversed(kept))


def middle_mean(
    vectors: NDArray[np.floating], first: int, last: int, *, num_threads: int = 1
) -> NDArray[np.float64]:
    """Average the values of rank ``first`` to ``last - 1`` of each coordinate.

    Parameters
    ----------
    vectors : ndarray of shape (n, d), float32 or float64
        Finite.
    first, last : int
        Ranks, from 0; ``0 <= first < last <= n``.
    num_threads : int
        Threads that share the blocks of coordinates.

    Returns
    -------
    ndarray of shape (d,), float64

    Examples
    --------
    >>> middle_mean(np.array([[5.0, 1.0], [3.0, 9.0], [4.0, 2.0]]), 1, 2)
    array([4., 2.])
    """
    num_rows, dimension = vectors.shape
    network = selection_network(num_rows, first, last) if num_rows <= MOST_NETWORK_ROWS else None
    result = np.empty(dimension)

    def start(width: int) -> Callable[[slice], None]:
        read = block_reader(vectors, width)
        rank = _partition_into if network is None else _Ranking(network, num_rows, width, vectors.dtype)

        def average(columns: slice) -> None:
            _write_mean(rank(read(columns), first, last), result[columns])

        return average

    run_blocks(start, dimension, vectors.dtype.itemsize * num_rows, num_threads)
    return result


def ranked_rows(
    num_rows: int, width: int, dtype: np.dtype[Any], exact: tuple[int, ...]
) -> Callable[[NDArray[np.floating]], list[NDArray[np.floating]]]:
    """Make a function that sorts the columns of blocks as far as is needed, for one thread.

    Parameters
    ----------
    num_rows, width : int
        Of the largest block.
    dtype : dtype
        Of the blocks.
    exact : tuple of int
        Ranks that must stand in their own row; the others are in any order.

    Returns
    -------
    callable
        Of a block, gives ``num_rows`` rows; the next call overwrites them.

    Examples
    --------
    >>> lowest_first = ranked_rows(3, 1, np.dtype(np.float64), (0,))
    >>> lowest_first(np.array([[5.0], [3.0], [4.0]]))[0]
    array([3.])
    """
    if num_rows > MOST_NETWORK_ROWS:
        return lambda block: list(np.sort(block, axis=0))
    ranking = _Ranking(selection_network(num_rows, 0, num_rows, exact), num_rows, width, dtype)
    return lambda block: ranking(block, 0, num_rows)


class _Ranking:
    """A network applied to blocks of rows, in scratch space that is used again."""

    def __init__(
        self, network: tuple[Comparator, ...], num_rows: int, width: int, dtype: np.dtype[Any]
    ) -> None:
        self.network, self.scratch = network, np.empty((num_rows + 1, width), dtype)

    def __call__(self, block: NDArray[np.floating], first: int, last: int) -> list[NDArray[np.floating]]:
        space = self.scratch[:, : block.shape[1]]
        np.copyto(space[:-1], block)
        *rows, spare = space
        for low, high, needs_low, needs_high in self.network:
            smaller, larger = rows[low], rows[high]
            if needs_low and needs_high:
                # The spare row takes the minimum and changes places with its source, which saves a copy.
                np.minimum(smaller, larger, out=spare)
                np.maximum(smaller, larger, out=larger)
                rows[low], spare = spare, smaller
            elif needs_low:
                np.minimum(smaller, larger, out=smaller)
            else:
                np.maximum(smaller, larger, out=larger)
        return rows[first:last]


def _partition_into(block: NDArray[np.floating], first: int, last: int) -> list[NDArray[np.floating]]:
    return list(np.partition(block, (first, last - 1), axis=0)[first:last])


def _write_mean(rows: list[NDArray[np.floating]], mean: NDArray[np.float64]) -> None:
    # Row by row into float64, so that float32 rows are summed without loss and nothing is stacked.
    np.copyto(mean, rows[0])
    for row in rows[1:]:
        mean += row
    mean /= len(rows)


def _odd_even_merge_sort(num_rows: int) -> list[tuple[int, int]]:
    """Batcher's network for any number of rows: merges sorted runs of 1, 2, 4 … rows, strides halved."""
    comparators = []
    run = 1
    while run < num_rows:
        stride = run
        while stride >= 1:
            for start in range(stride % run, num_rows - stride, 2 * stride):
                for low in range(start, min(start + stride, num_rows - stride)):
                    if low // (2 * run) == (low + stride) // (2 * run):
                        comparators.append((low, low + stride))
            stride //= 2
        run *= 2
    return comparators
