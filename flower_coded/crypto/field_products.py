"""Products of constant matrices and vectors over F_r, Gram matrices and weighted sums.

The arithmetic is exact, in double precision at the speed of BLAS; how is told in
:mod:`flower_coded.crypto.field_limbs`. Matrices of small constants of either sign are cheapest.

Threads work on blocks of columns, outside BLAS: keep BLAS at one thread per call
(``OPENBLAS_NUM_THREADS=1``), its own threads only get into each other's way. With ``device`` the work is done
by :mod:`flower_coded.crypto.field_products_torch`, on a GPU for one; the integers are the same.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import reduce

import numpy as np

from flower_coded.crypto.field_limbs import (
    GRAM_BLOCK,
    GRAM_LIMBS,
    GRAM_LONGEST,
    MAX_COLUMNS,
    Matrix,
    ProductWorkspace,
    center_entries,
    plan_product,
    reduce_gram,
    split_for_gram,
)
from flower_coded.crypto.field_vectors import FieldArray, add, zeros
from flower_coded.errors import ParameterError

__all__ = ["gram_matrix", "inner_products", "matmul_constant", "scale", "weighted_sum"]

_BLOCK = 512


def matmul_constant(
    matrix: Matrix, vectors: FieldArray, *, num_threads: int = 1, device: str | None = None
) -> FieldArray:
    """Multiply a small constant matrix by a stack of vectors, modulo r.

    Parameters
    ----------
    matrix : sequence of sequence of int, shape (n, k)
        Any integers, read modulo r; small ones of either sign are cheapest.
    vectors : ndarray of shape (k, m, 4), uint64
        Elements of F_r.
    num_threads : int
        Threads over blocks of columns.
    device : str or None
        A torch device (``"cuda"``, ``"cpu"``); None computes in NumPy. The result is the same.

    Returns
    -------
    ndarray of shape (n, m, 4), uint64
        ``sum_j matrix[i][j] * vectors[j]``.

    Raises
    ------
    ParameterError
        If the shapes do not match.

    Examples
    --------
    >>> from flower_coded.crypto.field_vectors import from_ints, to_signed_ints
    >>> to_signed_ints(matmul_constant([[1, 2], [1, -3]], from_ints([[5, 6], [7, 8]])))
    [19, 22, -16, -18]
    """
    check_num_threads(num_threads)
    entries = center_entries(matrix)
    num_columns = len(entries[0])
    if vectors.ndim != 3 or vectors.shape[0] != num_columns or vectors.shape[2] != 4:
        raise ParameterError("vectors", f"must have shape ({num_columns}, m, 4)", vectors.shape)
    if device is not None:
        from flower_coded.crypto.field_products_torch import matmul_constant_on_device

        return matmul_constant_on_device(entries, vectors, device)
    result = zeros()
    for first in range(0, num_columns, MAX_COLUMNS):
        columns = slice(first, first + MAX_COLUMNS)
        # More columns than limbs leave room for in a double are added up in pieces.
        part = _matmul([row[columns] for row in entries], vectors[columns], num_threads)
        result = part if first == 0 else add(result, part)
    return result


def weighted_sum(
    weights: Sequence[int], vectors: FieldArray, *, num_threads: int = 1, device: str | None = None
) -> FieldArray:
    """Return ``sum_j weights[j] * vectors[j]`` modulo r; see :func:`matmul_constant`.

    Parameters
    ----------
    weights : sequence of int, length k
        Any integers.
    vectors : ndarray of shape (k, m, 4), uint64

    Returns
    -------
    ndarray of shape (m, 4), uint64

    Examples
    --------
    >>> from flower_coded.crypto.field_vectors import from_ints
    >>> weighted_sum([10, 1], from_ints([[4], [2]]))
    array([[42,  0,  0,  0]], dtype=uint64)
    """
    product: FieldArray = matmul_constant([weights], vectors, num_threads=num_threads, device=device)[0]
    return product


def scale(vector: FieldArray, factor: int, *, num_threads: int = 1) -> FieldArray:
    """Multiply every element of a vector of any shape by one integer.

    Examples
    --------
    >>> from flower_coded.crypto.field_vectors import from_ints
    >>> scale(from_ints([4, 5]), 3)[:, 0]
    array([12, 15], dtype=uint64)
    """
    flat = vector.reshape(1, -1, 4)
    return matmul_constant([[factor]], flat, num_threads=num_threads).reshape(vector.shape)


def gram_matrix(
    left: FieldArray, right: FieldArray | None = None, *, num_threads: int = 1, device: str | None = None
) -> FieldArray:
    """Return all inner products ``<left[i], right[j]>`` modulo r.

    Parameters
    ----------
    left : ndarray of shape (n, m, 4), uint64
        Elements of F_r.
    right : ndarray of shape (p, m, 4), uint64, or None
        None takes ``left`` and does half of the work.
    num_threads, device
        As in :func:`matmul_constant`.

    Returns
    -------
    ndarray of shape (n, p, 4), uint64

    Examples
    --------
    >>> from flower_coded.crypto.field_vectors import from_ints
    >>> gram_matrix(from_ints([[1, 2], [3, 4]]))[..., 0]
    array([[ 5, 11],
           [11, 25]], dtype=uint64)
    """
    check_num_threads(num_threads)
    second = left if right is None else right
    if left.ndim != 3 or second.ndim != 3 or left.shape[1:] != second.shape[1:] or left.shape[2] != 4:
        raise ParameterError("left and right", "must be (n, m, 4) and (p, m, 4)", (left.shape, second.shape))
    if left.shape[1] > GRAM_LONGEST:
        pieces = [slice(start, start + GRAM_LONGEST) for start in range(0, left.shape[1], GRAM_LONGEST)]
        parts = [
            gram_matrix(
                left[:, p], None if right is None else right[:, p], num_threads=num_threads, device=device
            )
            for p in pieces
        ]
        return reduce(add, parts)
    if device is not None:
        from flower_coded.crypto.field_products_torch import gram_limbs_on_device

        return reduce_gram(gram_limbs_on_device(left, second, device))

    starts = range(0, left.shape[1], GRAM_BLOCK)
    totals = [
        np.zeros((GRAM_LIMBS * len(left), GRAM_LIMBS * len(second)), dtype=np.int64)
        for _ in range(num_threads)
    ]

    def one_stripe(stripe: int) -> None:
        limbs = np.zeros((GRAM_LIMBS * len(left), GRAM_BLOCK))
        others = limbs if right is None else np.zeros((GRAM_LIMBS * len(second), GRAM_BLOCK))
        product = np.empty(totals[stripe].shape)
        for start in starts[stripe::num_threads]:
            split_for_gram(left[:, start : start + GRAM_BLOCK], limbs)
            # The last block is shorter: split_for_gram fills it with zeros, which add nothing.
            if right is not None:
                split_for_gram(right[:, start : start + GRAM_BLOCK], others)
            np.matmul(limbs, others.T, out=product)  # of one array with itself: half of the work
            # Each product is exact below 2**53 and becomes an integer before more are added.
            totals[stripe] += product.astype(np.int64)

    _run(one_stripe, range(num_threads), num_threads)
    return reduce_gram(np.add.reduce(totals).reshape(GRAM_LIMBS, len(left), GRAM_LIMBS, len(second)))


def inner_products(left: FieldArray, right: FieldArray) -> FieldArray:
    """Return ``<left[i], right[i]>`` for every i.

    Parameters
    ----------
    left, right : ndarray of shape (n, m, 4), uint64

    Returns
    -------
    ndarray of shape (n, 4), uint64

    Examples
    --------
    >>> from flower_coded.crypto.field_vectors import from_ints
    >>> inner_products(from_ints([[1, 2], [3, 4]]), from_ints([[5, 6], [7, 8]]))[:, 0]
    array([17, 53], dtype=uint64)
    """
    if left.shape != right.shape:
        raise ParameterError("left and right", "must have one shape", (left.shape, right.shape))
    if not len(left):
        return zeros(0)
    rows = zip(left[:, np.newaxis], right[:, np.newaxis], strict=True)
    return np.concatenate([gram_matrix(row, other)[0] for row, other in rows])


def check_num_threads(num_threads: int) -> None:
    """Refuse fewer than one thread."""
    if num_threads < 1:
        raise ParameterError("num_threads", "must be at least 1", num_threads)


def _matmul(entries: Matrix, vectors: FieldArray, num_threads: int) -> FieldArray:
    plan = plan_product(entries)
    result = np.empty((len(entries), *vectors.shape[1:]), dtype=np.uint64)
    vectors = np.ascontiguousarray(vectors, dtype="<u8")
    starts = range(0, vectors.shape[1], _BLOCK)

    def one_stripe(stripe: int) -> None:
        workspace = None
        for start in starts[stripe::num_threads]:
            block = vectors[:, start : start + _BLOCK]
            if workspace is None or workspace.limbs.shape[2] != block.shape[1]:
                workspace = ProductWorkspace(plan, len(entries), *block.shape[:2])
            workspace.write_product(block, result[:, start : start + _BLOCK])

    _run(one_stripe, range(num_threads), num_threads)
    return result


def _run(task: Callable[[int], None], arguments: range, num_threads: int) -> None:
    if num_threads == 1 or len(arguments) == 1:
        for argument in arguments:
            task(argument)
        return
    with ThreadPoolExecutor(num_threads) as pool:
        deque(pool.map(task, arguments), maxlen=0)  # raises what a task raised
