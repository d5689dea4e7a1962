"""Passes over ``n`` vectors of a model's length: what every rule is made of, for NumPy and torch.

A rule reads the ``(n, d)`` vectors a few times and decides on numbers of size ``n``. Whatever has ``d``
entries stays in the kind of array, and on the device, that it came in; whatever has ``n`` is a NumPy array.
Sums run in float64. On the CPU, tensors of torch included, vectors are read in blocks of columns, which
several threads may share; on another device torch does each pass at once. Every pass takes
:mod:`~flower_coded.aggregation.lazy_rows` as well, and makes them block by block.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Concatenate, ParamSpec, TypeVar

import numpy as np
from numpy.typing import NDArray

from flower_coded.aggregation.lazy_rows import ChosenRows, LazyRows, RowMixtures, block_reader, stored_rows
from flower_coded.codes.array_namespace import Array, constant_like, namespace_of, to_numpy
from flower_coded.errors import DecodingError, ParameterError

__all__ = [
    "as_vectors",
    "centered_products",
    "combine_rows",
    "device_float64",
    "distances_to",
    "finite_part",
    "finite_rows",
    "host_view",
    "products_with",
    "run_blocks",
    "stored",
    "take_rows",
    "takes_vectors",
]

Result = TypeVar("Result")
Parameters = ParamSpec("Parameters")
BLOCK_BYTES = 1 << 21  # of one block of columns: large enough that threads seldom meet, small for the caches


def as_vectors(vectors: Array) -> Array:
    """Give vectors as one array: a list of arrays or of numbers becomes one of NumPy, of tensors a tensor.

    Raises
    ------
    ParameterError
        If they are not all of one length, or hold no real numbers.

    Examples
    --------
    >>> as_vectors([[1, 2], np.array([3.0, 4.0])])
    array([[1., 2.],
           [3., 4.]])
    """
    if isinstance(vectors, LazyRows):
        return vectors
    if isinstance(vectors, list | tuple):
        is_tensors = bool(vectors) and all(namespace_of(row) is not np for row in vectors)
        try:
            vectors = namespace_of(vectors[0]).stack(vectors) if is_tensors else np.array(vectors)
        except (ValueError, TypeError, RuntimeError) as error:  # ragged, or not numbers at all
            raise ParameterError("vectors", "must have one length", type(vectors), hint=str(error)) from None
    namespace = namespace_of(vectors)
    if namespace is np:
        vectors = np.asarray(vectors)
        is_real = vectors.dtype.kind in "biuf"
    else:
        is_real = not vectors.is_complex()
    if not is_real:
        raise ParameterError("vectors", "must hold real numbers", str(vectors.dtype))
    return vectors


def takes_vectors(
    function: Callable[Concatenate[Array, Parameters], Result],
) -> Callable[Concatenate[Array, Parameters], Result]:
    """Make the first argument of a rule's function one array by :func:`as_vectors`."""

    @functools.wraps(function)
    def on_array(vectors: Array, /, *others: Parameters.args, **named: Parameters.kwargs) -> Result:
        return function(as_vectors(vectors), *others, **named)

    return on_array


def host_view(vectors: Array) -> Any | None:
    """View vectors in the CPU's memory as float32 or float64 of NumPy; None where they are on another device.

    Other types are converted: float16 to float32, integers to float64. Lazy rows stay what they are, over
    a view of the rows they are made of.

    Examples
    --------
    >>> host_view(np.array([[1, 2]]))
    array([[1., 2.]])
    """
    if isinstance(vectors, LazyRows):
        view = host_view(vectors.rows)
        return None if view is None else vectors.over(view)
    namespace = namespace_of(vectors)
    if namespace is not np:
        if vectors.device.type != "cpu":
            return None
        vectors = vectors.float() if vectors.dtype is namespace.bfloat16 else vectors
    values = to_numpy(vectors)
    if values.dtype in (np.float32, np.float64):
        return values
    return values.astype(np.float32 if values.dtype == np.float16 else np.float64)


def device_float64(vectors: Array) -> Array:
    """Give a torch tensor in float64 where it is, without its gradient."""
    if isinstance(vectors, LazyRows):
        return vectors.applied(device_float64(vectors.rows))
    return vectors.detach().to(namespace_of(vectors).float64)


def finite_rows(vectors: Array) -> NDArray[np.bool_]:
    """Mark the rows without NaN and infinity.

    Parameters
    ----------
    vectors : array of shape (n, d)
        NumPy or torch.

    Returns
    -------
    ndarray of shape (n,), bool

    Raises
    ------
    ParameterError
        If the array is not two-dimensional.
    DecodingError
        If no row is finite.

    Examples
    --------
    >>> finite_rows(np.array([[1.0, 2.0], [np.nan, 0.0]]))
    array([ True, False])
    """
    if vectors.ndim != 2:
        raise ParameterError("vectors", "must have shape (n, d), one vector per row", tuple(vectors.shape))
    finite = vectors.finite if isinstance(vectors, LazyRows) else _finite_stored(vectors)
    if not finite.any():
        raise DecodingError("no vector is finite", received=0, needed=1)
    return finite


def _finite_stored(vectors: Array) -> NDArray[np.bool_]:
    # A row with NaN or infinity has no finite sum; a finite row may have none either, and is looked at again.
    namespace = namespace_of(vectors)
    with np.errstate(over="ignore", invalid="ignore"):
        finite = to_numpy(namespace.isfinite(vectors.sum(axis=1))).copy()
    for row in np.flatnonzero(~finite):
        finite[row] = bool(namespace.isfinite(vectors[int(row)]).all())
    return finite


def take_rows(vectors: Array, rows: NDArray[np.integer] | NDArray[np.bool_]) -> Array:
    """Take finite rows by number or by mask, without a copy where they are in the CPU's memory.

    Examples
    --------
    >>> stored(take_rows(np.eye(3), np.array([2, 0])))
    array([[0., 0., 1.],
           [1., 0., 0.]])
    """
    if np.array_equal(rows, np.ones(len(vectors)) if rows.dtype == np.bool_ else np.arange(len(vectors))):
        return vectors
    if isinstance(vectors, LazyRows):
        return vectors[rows]
    namespace = namespace_of(vectors)
    if namespace is not np and vectors.device.type != "cpu":
        return vectors[constant_like(rows, vectors)]
    return ChosenRows(vectors, np.arange(len(vectors))[rows])


def finite_part(vectors: Array) -> tuple[Array, int]:
    """Leave out the rows that are not finite, and say how many they were.

    Examples
    --------
    >>> present, num_lost = finite_part(np.array([[1.0, 2.0], [np.nan, 0.0]]))
    >>> present.shape, num_lost
    ((1, 2), 1)
    """
    finite = finite_rows(vectors)
    return take_rows(vectors, finite), int(len(finite) - finite.sum())


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
            np.matmul(weights, read(columns), out=result[..., columns])

        return combine

    run_blocks(start, values.shape[1], 8 * len(values), num_threads)
    return constant_like(result, stored_rows(vectors))


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


def distances_to(vectors: Array, point: Array, *, num_threads: int = 1) -> NDArray[np.float64]:
    """Euclidean distances of the rows to one point; infinite where the square overflows.

    Parameters
    ----------
    vectors : array of shape (n, d)
        Finite.
    point : array of shape (d,), float64
        Of the same kind.
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
        lengths = (device_float64(vectors) - point).square().sum(1).sqrt()
        return to_numpy(lengths).astype(np.float64)
    center = to_numpy(point)

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

        def multiply(columns: slice) -> NDArray[np.float64]:
            with np.errstate(over="ignore", invalid="ignore"):
                centered = read(columns)
                return np.asarray(centered @ centered.T)

        return multiply

    products = run_blocks(start, values.shape[1], 8 * len(values), num_threads)
    with np.errstate(over="ignore", invalid="ignore"):
        return np.asarray(sum(products, np.zeros((len(values), len(values)))))


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
