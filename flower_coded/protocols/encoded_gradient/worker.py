"""A worker of encoded gradient descent: it stores its share and multiplies, unaware that it is coded."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from flower_coded.codes.array_namespace import Array, namespace_of, to_numpy
from flower_coded.codes.real.coded_keys import GrowingRows
from flower_coded.codes.real.summation import chunked_combination, chunked_product
from flower_coded.errors import ParameterError
from flower_coded.protocols.encoded_gradient.messages import Answer, Appended, Product, Share

__all__ = ["GrowingShare", "answer"]

_PIECE = 2**17
"""Numbers of a float32 share that are widened at a time."""


def answer(share: Share, product: Product) -> Answer:
    """Multiply.

    Parameters
    ----------
    share : Share
        Of NumPy arrays, or of torch tensors on any device.
    product : Product

    Returns
    -------
    Answer
        In the precision of the share, added up in float64.

    Raises
    ------
    ParameterError
        If the vector does not fit the share.

    Examples
    --------
    >>> share = Share(0, first=np.array([[1.0, 2.0]]), second=np.array([[3.0]]))
    >>> answer(share, Product(1, np.array([1.0, 1.0]))).values
    array([3.])
    """
    if product.which not in (1, 2):
        raise ParameterError("which", "must be 1 or 2", product.which)
    chosen = slice(product.start, product.stop or None)
    matrix: Array = share.first[chosen] if product.which == 1 else share.second[:, chosen]
    if product.vector.shape != (matrix.shape[1],):
        raise ParameterError("vector", f"must have shape ({matrix.shape[1]},)", product.vector.shape)
    return Answer(share.worker, to_numpy(_multiply(matrix, product.vector)))


class GrowingShare:
    """A share that data points are appended to, with room ahead so that each costs ``O(d)`` on average.

    Parameters
    ----------
    share : Share
        What was sent at the start; not changed.

    Examples
    --------
    >>> growing = GrowingShare(Share(0, np.ones((1, 2)), np.ones((1, 3))))
    >>> growing.append(Appended(0, 1, np.array([[5.0, 6.0]]), np.array([[7.0]])))
    >>> growing.share.first.tolist(), growing.share.second.tolist()
    ([[1.0, 1.0], [5.0, 6.0]], [[1.0, 1.0, 1.0, 7.0]])
    """

    def __init__(self, share: Share) -> None:
        self.worker = share.worker
        self._first = GrowingRows(share.first.copy())
        # Columns are appended to the second matrix: kept transposed, they are rows in memory.
        self._second = GrowingRows(share.second.T.copy())

    @property
    def share(self) -> Share:
        """The share as it is now; views, not copies."""
        return Share(self.worker, self._first.array, self._second.array.T)

    def append(self, points: Appended) -> None:
        """Add data points.

        Raises
        ------
        ParameterError
            If they are meant for another worker or do not follow the last ones.
        """
        num_blocks, num_new = len(self._first.array), len(points.rows)
        if points.worker != self.worker or not num_blocks - 1 <= points.block <= num_blocks:
            raise ParameterError(
                "points",
                f"must be for worker {self.worker} and block {num_blocks - 1} or {num_blocks}",
                (points.worker, points.block),
            )
        missing = points.block + num_new - num_blocks
        self._first.extend(np.zeros((missing, self._first.array.shape[1]), self._first.array.dtype))
        self._first.array[points.block :] += points.rows.astype(self._first.array.dtype)
        self._second.extend(points.columns.T)


def _multiply(matrix: Array, vector: NDArray[np.float64]) -> Array:
    """Multiply in float64, piece by piece, and round to the matrix's own precision at the end."""
    namespace: Any = namespace_of(matrix)
    if namespace is not np:
        wide = namespace.from_numpy(np.ascontiguousarray(vector)).to(matrix.device)
        return chunked_product(matrix.to(wide.dtype), wide).to(matrix.dtype)
    if matrix.dtype == np.float64:
        if matrix.flags.c_contiguous or not matrix.flags.f_contiguous:
            return chunked_product(matrix, vector)
        return chunked_combination(vector, matrix.T)
    parts = np.array_split(matrix, max(matrix.size // _PIECE, 1))
    return np.concatenate([chunked_product(part.astype(np.float64), vector) for part in parts]).astype(
        matrix.dtype
    )
