"""What master and workers of encoded gradient descent send each other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Answer", "Appended", "Product", "Share"]

Reals = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Share:
    """A worker's encoded data, sent once.

    Parameters
    ----------
    worker : int
        ``i``.
    first : ndarray of shape (p1, d + 1), float64 or float32
        Its rows of the encoded ``[X, -y]``.
    second : ndarray of shape (p2, n), float64 or float32
        Its rows of the encoded ``X^T``.
    """

    worker: int
    first: Reals
    second: Reals

    @property
    def num_numbers(self) -> int:
        """Numbers stored: ``p1 (d + 1) + p2 n``."""
        return self.first.size + self.second.size


@dataclass(frozen=True, eq=False)
class Product:
    """A request to all workers: multiply one of the two matrices by a vector.

    Parameters
    ----------
    which : int
        1 for ``[X, -y]``, 2 for ``X^T``.
    vector : ndarray of shape (d + 1,) or (n,), float64
    start, stop : int
        Rows of the share's first matrix, or columns of the second, that take part; ``stop`` 0 for all to
        the end.
    batch : int, optional
        The batch these are, for the master.
    """

    which: int
    vector: Reals
    start: int = 0
    stop: int = 0
    batch: int | None = None


@dataclass(frozen=True, eq=False)
class Answer:
    """What a worker sends back; nobody has checked it.

    Parameters
    ----------
    worker : int
    values : ndarray
        Shape (p1,) or (p2,) if the worker is honest.
    """

    worker: int
    values: Reals


@dataclass(frozen=True, eq=False)
class Appended:
    """Data points more, for one worker.

    Parameters
    ----------
    worker : int
    block : int
        First row of ``first`` that changes, or that is new.
    rows : ndarray of shape (b, d + 1), float64
        Added to ``b`` rows from there on.
    columns : ndarray of shape (p2, k), float64
        New last columns of ``second``.
    """

    worker: int
    block: int
    rows: Reals
    columns: Reals
