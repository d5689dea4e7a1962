"""Passes over ``n`` vectors of a model's length: what every rule is made of, for NumPy and torch.

A rule reads the ``(n, d)`` vectors a few times and decides on numbers of size ``n``. Whatever has ``d``
entries stays in the kind of array, and on the device, that it came in; whatever has ``n`` is a NumPy array.
Sums run in float64. On the CPU, tensors of torch included, vectors are read in blocks of columns, which
several threads may share; on another device torch does each pass at once. Every pass takes
:mod:`~flower_coded.aggregation.lazy_rows` as well, and makes them block by block.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from flower_coded.aggregation.lazy_rows import LazyRows, RowMixtures, block_reader, stored_rows
from flower_coded.aggregation.vectors import device_float64, host_view
from flower_coded.codes.array_namespace import Array, constant_like, to_numpy
from flower_coded.errors import ParameterError

__all__ = [
    "centered_products",
    "combine_rows",
    "distances_to",
    "mean_rows",
    "products_with",
    "run_blocks",
    "stored",
]

Result = TypeVar("Result")
BLOCK_BYTES = 1 << 21  # of one block of columns: large enough that threads seldom meet, small for the caches
MEAN_BYTES = (
    32  # per column of a plain mean: wide blocks, for only the sums themselves need a place in the cache
)


def combine_rows(weights: NDArray[np.float64], vectors: Array, *, num_threads: int = 1) -> Array:
    """Weighted sums of rows: ``weights @ vectors`` in float64.

    Parameters
    ----------
    weights : ndarray of shape (n,) or (m, n), float64
    vectors : array of shape (n, d)
        Finite.
    num_threads : int
        Threads that share the blocks.

    Returns
    -------
    array of shape (d,) or (m, d), float64

    Examples
    --------
    >>> combine_rows(np.array([0.5, 0.5]), np.array([[1.0, 2.0], [3.0, 6.0]]))
    array([2., 4.])
    """
    if isinstance(vectors, RowMixtures):
        # Sums of sums are sums of the rows themselves, with other weights: nothing is made in between.
        by_row = weights * vectors.weights if vectors.weights.ndim == 1 else weights @ vectors.weights
        return combine_rows(by_row, vectors.rows, num_threads=num_threads)
    values = host_view(vectors)
    if values is None:
        floats = device_float64(vectors)
        return constant_like(weights, floats) @ floats
    result = np.empty((*weights.shape[:-1], values.shape[1]))

    def start(width: int) -> Callable[[slice], None]:
        read = _float64_reader(values, width)

        def combine(columns: slice) -> None:
            with np.errstate(over="ignore", invalid="ignore"):  # of rows that nobody has looked at yet
                np.matmul(weights, read(columns), out=result[..., columns])

        return combine

    run_blocks(start, values.shape[1], 8 * len(values), num_threads)
    return constant_like(result, stored_rows(vectors))


def mean_rows(vectors: Array, *, num_threads: int = 1) -> Array:
    """Plain mean of rows in float64, faster than :func:`combine_rows`, which converts before it multiplies.

    Parameters
    ----------
    vectors : array of shape (n, d)
        Of any values; not lazy.
    num_threads : int
        Threads that share the blocks.

    Returns
    -------
    array of shape (d,), float64
        Not finite where a row is not, or where the sum of the rows is beyond float64.

    Examples
    --------
    >>> mean_rows(np.array([[1.0, 2.0], [3.0, np.inf]]))
    array([ 2., inf])
    """
    values = host_view(vectors)
    if values is None:
        return device_float64(vectors).mean(0)
    result = np.empty(values.shape[1])

    def start(width: int) -> Callable[[slice], None]:
        del width  # no scratch: entries are converted on their way into the sum

        def average(columns: slice) -> None:
            mean = result[columns]
            with np.errstate(over="ignore", invalid="ignore"):
                np.add.reduce(values[:, columns], axis=0, dtype=np.float64, out=mean)
            np.divide(mean, len(values), out=mean)

        return average

    run_blocks(start, values.shape[1], MEAN_BYTES, num_threads)
    return constant_like(result, vectors)


def stored(vectors: Array, *, num_threads: int = 1) -> Array:
    """Make lazy rows, as an array of shape (m, d) in float64; an array is returned as it is.

    Examples
    --------
    >>> stored(RowMixtures(np.array([[4.0], [1.0]]), np.array([0.5, 2.0])))
    array([[2.],
           [2.]])
    """
    if not isinstance(vectors, LazyRows):
        return vectors
    values = host_view(vectors)
    if values is None:
        return device_float64(vectors)
    result = np.empty(values.shape)

    def start(width: int) -> Callable[[slice], None]:
        read = _float64_reader(values, width)

        def store(columns: slice) -> None:
            result[:, columns] = read(columns)

        return store

    run_blocks(start, values.shape[1], 8 * len(values), num_threads)
    return constant_like(result, stored_rows(vectors))


def distances_to(vectors: Array, point: Array | None, *, num_threads: int = 1) -> NDArray[np.float64]:
    """Euclidean distances of the rows to one point; infinite where the square overflows, NaN for NaN.

    Parameters
    ----------
    vectors : array of shape (n, d)
        Finite.
    point : array of shape (d,), float64, or None
        Of the same kind; the origin if absent.
    num_threads : int
        Threads that share the blocks.

    Returns
    -------
    ndarray of shape (n,), float64

    Examples
    --------
    >>> distances_to(np.array([[3.0, 4.0], [0.0, 0.0]]), np.zeros(2))
    array([5., 0.])
    """
    values = host_view(vectors)
    if values is None:
        floats = device_float64(vectors)
        lengths = (floats if point is None else floats - point).square().sum(1).sqrt()
        return to_numpy(lengths).astype(np.float64)
    center = None if point is None else to_numpy(point)

    def start(width: int) -> Callable[[slice], NDArray[np.float64]]:
        read = _float64_reader(values, width, center)

        def square(columns: slice) -> NDArray[np.float64]:
            with np.errstate(over="ignore", invalid="ignore"):
                apart = read(columns)
                return np.asarray(np.einsum("ij,ij->i", apart, apart))

        return square

    squares = run_blocks(start, values.shape[1], 8 * len(values), num_threads)
    return np.asarray(np.sqrt(sum(squares, np.zeros(len(values)))))


def products_with(vectors: Array, point: Array, *, num_threads: int = 1) -> NDArray[np.float64]:
    """Inner products of the rows with one vector, in float64.

    Parameters
    ----------
    vectors : array of shape (n, d)
        Finite.
    point : array of shape (d,), float64
        Of the same kind.
    num_threads : int
        Threads that share the work on a CPU.

    Returns
    -------
    ndarray of shape (n,), float64

    Examples
    --------
    >>> products_with(np.array([[3.0, 4.0], [1.0, 0.0]]), np.array([1.0, 2.0]))
    array([11.,  1.])
    """
    values = host_view(vectors)
    if values is None:
        return to_numpy(device_float64(vectors) @ point).astype(np.float64)
    other = to_numpy(point)

    def start(width: int) -> Callable[[slice], NDArray[np.float64]]:
        read = _float64_reader(values, width)

        def multiply(columns: slice) -> NDArray[np.float64]:
            with np.errstate(over="ignore", invalid="ignore"):
                return np.asarray(read(columns) @ other[columns])

        return multiply

    products = run_blocks(start, values.shape[1], 8 * len(values), num_threads)
    with np.errstate(over="ignore", invalid="ignore"):
        return np.asarray(sum(products, np.zeros(len(values))))


def centered_products(vectors: Array, center: Array, *, num_threads: int = 1) -> NDArray[np.float64]:
    """Inner products ``<x_i - c, x_j - c>`` of all pairs of rows, in float64.

    Parameters
    ----------
    vectors : array of shape (n, d)
        Finite.
    center : array of shape (d,), float64
        ``c``, of the same kind; near the vectors that matter.
    num_threads : int
        Threads that share the blocks.

    Returns
    -------
    ndarray of shape (n, n), float64

    Examples
    --------
    >>> centered_products(np.array([[3.0, 4.0], [1.0, 0.0]]), np.zeros(2))
    array([[25.,  3.],
           [ 3.,  1.]])
    """
    values = host_view(vectors)
    if values is None:
        centered = device_float64(vectors) - center
        return to_numpy(centered @ centered.T).astype(np.float64)
    middle = to_numpy(center)

    def start(width: int) -> Callable[[slice], NDArray[np.float64]]:
        read = _float64_reader(values, width, middle)
        # One sum per thread: a matrix for each of a thousand blocks would outgrow the blocks themselves.
        total, product = np.zeros((2, len(values), len(values)))

        def multiply(columns: slice) -> NDArray[np.float64]:
            with np.errstate(over="ignore", invalid="ignore"):
                centered = read(columns)
                np.add(total, np.matmul(centered, centered.T, out=product), out=total)
            return total

        return multiply

    totals = run_blocks(start, values.shape[1], 8 * len(values), num_threads)
    by_thread = {id(total): total for total in totals}.values()  # in the order of the stripes
    with np.errstate(over="ignore", invalid="ignore"):
        return np.asarray(sum(by_thread, np.zeros((len(values), len(values)))))


def run_blocks(
    start: Callable[[int], Callable[[slice], Result]],
    dimension: int,
    bytes_per_column: int,
    num_threads: int,
) -> list[Result]:
    """Do the same to every block of columns, in as many threads as told.

    Parameters
    ----------
    start : callable
        ``start(width)`` is called once per thread and returns what is done to a block, a slice of at most
        that width: scratch space is made once and used again.
    dimension : int
        Columns.
    bytes_per_column : int
        Of a block; they decide its width.
    num_threads : int
        At least 1.

    Returns
    -------
    list
        What each block gave, in an order that does not depend on the threads' speed.

    Raises
    ------
    ParameterError
        If there is no thread.
    """
    if num_threads < 1:
        raise ParameterError("num_threads", "must be at least 1", num_threads)
    width = min(max(BLOCK_BYTES // max(bytes_per_column, 1), 256), max(dimension, 1))
    blocks = [slice(first, min(first + width, dimension)) for first in range(0, dimension, width)]

    def one_thread(stripe: int) -> list[Result]:
        one_block = start(width)
        # Stripes, not a queue: the order of sums must not depend on which thread is faster.
        return [one_block(columns) for columns in blocks[stripe::num_threads]]

    if num_threads == 1 or len(blocks) == 1:
        return [result for stripe in range(num_threads) for result in one_thread(stripe)]
    with ThreadPoolExecutor(num_threads) as pool:
        return [result for results in pool.map(one_thread, range(num_threads)) for result in results]


def _float64_reader(
    values: Any, width: int, center: NDArray[np.float64] | None = None
) -> Callable[[slice], NDArray[np.float64]]:
    """Make a function that gives a block in float64, less the center, in scratch space of its own."""
    read_block = block_reader(values, width)
    # Sums already come in scratch space of their own; another copy would cost a pass.
    scratch = None if isinstance(values, RowMixtures) else np.empty((len(values), width))

    def read(columns: slice) -> NDArray[np.float64]:
        block = read_block(columns)
        target = block if scratch is None else scratch[:, : columns.stop - columns.start]
        if center is not None:
            np.subtract(block, center[columns], out=target)
        elif target is not block:
            # The conversion to float64 happens in the copy: 2 MiB at a time instead of the whole (n, d).
            np.copyto(target, block)
        return target

    return read
