"""A worker of encoded gradient descent: it stores its share and multiplies, unaware that it is coded."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from flower_coded.errors import ParameterError
from flower_coded.protocols.encoded_gradient.messages import Answer, Appended, Product, Share

__all__ = ["GrowingShare", "answer"]


def answer(share: Share, product: Product) -> Answer:
    """Multiply.

    Parameters
    ----------
    share : Share
    product : Product

    Returns
    -------
    Answer

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
    matrix = share.first if product.which == 1 else share.second
    if product.vector.shape != (matrix.shape[1],):
        raise ParameterError("vector", f"must have shape ({matrix.shape[1]},)", product.vector.shape)
    return Answer(share.worker, matrix @ product.vector)


class GrowingShare:
    """A share that data points are appended to, with room ahead so that each costs ``O(d)`` on average.

    Parameters
    ----------
    share : Share
        What was sent at the start; copied.

    Examples
    --------
    >>> growing = GrowingShare(Share(0, np.ones((1, 2)), np.ones((1, 3))))
    >>> growing.append(Appended(0, 1, np.array([5.0, 6.0]), np.array([7.0])))
    >>> growing.share.first.tolist(), growing.share.second.tolist()
    ([[1.0, 1.0], [5.0, 6.0]], [[1.0, 1.0, 1.0, 7.0]])
    """

    def __init__(self, share: Share) -> None:
        self.worker = share.worker
        self._first, self._num_blocks = share.first.copy(), share.first.shape[0]
        # Columns are appended to the second matrix: kept transposed, they are rows in memory.
        self._second, self._num_points = share.second.T.copy(), share.second.shape[1]

    @property
    def share(self) -> Share:
        """The share as it is now; views, not copies."""
        return Share(self.worker, self._first[: self._num_blocks], self._second[: self._num_points].T)

    def append(self, point: Appended) -> None:
        """Add one data point.

        Raises
        ------
        ParameterError
            If it is meant for another worker or does not follow the last one.
        """
        if point.worker != self.worker or not self._num_blocks - 1 <= point.block <= self._num_blocks:
            raise ParameterError(
                "point",
                f"must be for worker {self.worker} and block {self._num_blocks - 1} or {self._num_blocks}",
                (point.worker, point.block),
            )
        if point.block == self._num_blocks:
            self._first = _with_room(self._first, self._num_blocks)
            self._first[self._num_blocks] = 0.0
            self._num_blocks += 1
        self._first[point.block] += point.row
        self._second = _with_room(self._second, self._num_points)
        self._second[self._num_points] = point.column
        self._num_points += 1


def _with_room(rows: NDArray[np.float64], used: int) -> NDArray[np.float64]:
    """Double the rows if all are in use."""
    if used < rows.shape[0]:
        return rows
    return np.concatenate([rows, np.empty_like(rows, shape=(max(used, 1), rows.shape[1]))])
