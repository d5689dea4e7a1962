"""Rows that are made where they are read, a block of columns at a time: chosen rows, and sums of rows.

A step before a rule (mixing, buckets, clipping) replaces ``n`` vectors by weighted sums of them, and every
rule leaves out rows that are not finite. Held in memory, either is a second copy of everything the server
received, in float64 twice its size. Yet all rules read vectors through the passes of
:mod:`flower_coded.aggregation.blocks`: it is enough to keep the weights, or the numbers of the rows, and to
apply them to the 2 MiB that a pass has in its cache.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from flower_coded.codes.array_namespace import Array, constant_like
from flower_coded.errors import ParameterError

__all__ = ["ChosenRows", "LazyRows", "RowMixtures", "block_reader", "mixtures", "stored_rows"]

ReadBlock = Callable[[slice], NDArray[Any]]


@dataclass(frozen=True, eq=False)
class LazyRows(ABC):
    """Vectors made of the rows of an array when they are read.

    Attributes
    ----------
    rows : array of shape (n, d), or LazyRows
        What they are made of; NumPy or torch.
    """

    rows: Any

    @abstractmethod
    def __len__(self) -> int:
        """Count the vectors."""

    @abstractmethod
    def __getitem__(self, chosen: slice | NDArray[Any]) -> LazyRows:
        """Choose vectors."""

    @property
    @abstractmethod
    def finite(self) -> NDArray[np.bool_]:
        """Marks those that are vectors, without NaN."""

    @abstractmethod
    def reader(self, width: int) -> ReadBlock:
        """Make what reads a block of NumPy rows; the next call may overwrite what it gave."""

    @abstractmethod
    def applied(self, stored: Array) -> Array:
        """Make all vectors from the stored rows, in float64, on the device where those are."""

    @property
    def shape(self) -> tuple[int, int]:
        """How many vectors, and how long they are."""
        return len(self), int(self.rows.shape[1])

    @property
    def ndim(self) -> int:
        """2: there is one vector per row."""
        return 2

    @property
    def dtype(self) -> Any:
        """Type of what the reader gives."""
        return np.dtype(np.float64)

    def over(self, rows: Any) -> Self:
        """Make the same of other rows."""
        return replace(self, rows=rows)


@dataclass(frozen=True, eq=False)
class ChosenRows(LazyRows):
    """Finite rows by number.

    Attributes
    ----------
    numbers : ndarray of shape (m,), int64

    Examples
    --------
    >>> chosen = ChosenRows(np.array([[1.0, 2.0], [np.nan, 0.0], [5.0, 6.0]]), np.array([0, 2]))
    >>> block_reader(chosen, 1)(slice(1, 2))
    array([[2.],
           [6.]])
    """

    numbers: NDArray[np.int64]

    def __len__(self) -> int:
        """Count the rows."""
        return len(self.numbers)

    def __getitem__(self, chosen: slice | NDArray[Any]) -> ChosenRows:
        """Choose among them."""
        return replace(self, numbers=self.numbers[chosen])

    @property
    def finite(self) -> NDArray[np.bool_]:
        """All: others are not chosen."""
        return np.ones(len(self), np.bool_)

    @property
    def dtype(self) -> Any:
        """That of the rows."""
        return self.rows.dtype

    def reader(self, width: int) -> ReadBlock:
        """Copy the chosen rows of a block."""
        read, numbers = block_reader(self.rows, width), self.numbers
        return lambda columns: read(columns)[numbers]

    def applied(self, stored: Array) -> Array:
        """Copy the chosen rows."""
        return stored[constant_like(self.numbers, stored)]


@dataclass(frozen=True, eq=False)
class RowMixtures(LazyRows):
    """Rows ``weights @ rows``, or ``weights[:, None] * rows``.

    Attributes
    ----------
    weights : ndarray of shape (m, n) or (n,), float64
        A row of NaN stands for a row that is no vector; rows that are combined with others are finite.

    Examples
    --------
    >>> halves = RowMixtures(np.array([[1.0, 3.0], [5.0, 7.0]]), np.array([[0.5, 0.5], [0.0, 1.0]]))
    >>> halves.shape, halves.finite
    ((2, 2), array([ True,  True]))
    >>> block_reader(halves, 2)(slice(0, 1))
    array([[3.],
           [5.]])
    """

    weights: NDArray[np.float64]

    def __len__(self) -> int:
        """Count the combinations."""
        return len(self.weights)

    def __getitem__(self, chosen: slice | NDArray[Any]) -> RowMixtures:
        """Choose combinations."""
        if self.weights.ndim == 2:
            return RowMixtures(self.rows, self.weights[chosen])
        numbers = np.arange(len(self))[chosen]
        return RowMixtures(ChosenRows(self.rows, numbers), self.weights[numbers])

    @property
    def finite(self) -> NDArray[np.bool_]:
        """Marks the combinations that are vectors."""
        return np.asarray(np.isfinite(self.weights.reshape(len(self.weights), -1)).all(axis=1))

    @property
    def matrix(self) -> NDArray[np.float64]:
        """The weights as a matrix of shape (m, n)."""
        if self.weights.ndim == 2:
            return self.weights
        # NaN times zero is NaN: a scale that is none must not spoil the other columns' zeros.
        matrix = np.zeros((len(self.weights), len(self.weights)))
        np.fill_diagonal(matrix, self.weights)
        matrix[~self.finite] = np.nan
        return matrix

    def reader(self, width: int) -> ReadBlock:
        """Multiply a block."""
        read, weights = block_reader(self.rows, width), self.weights
        converted, mixed = np.empty((len(self.rows), width)), np.empty((len(weights), width))

        def multiply(columns: slice) -> NDArray[Any]:
            size = columns.stop - columns.start
            if weights.ndim == 1:
                return np.multiply(read(columns), weights[:, None], out=mixed[:, :size])
            np.copyto(converted[:, :size], read(columns))
            return np.matmul(weights, converted[:, :size], out=mixed[:, :size])

        return multiply

    def applied(self, stored: Array) -> Array:
        """Multiply all."""
        return constant_like(self.matrix, stored) @ stored


def mixtures(weights: NDArray[np.float64], vectors: Array) -> RowMixtures:
    """Combine rows, which may be combinations themselves.

    Parameters
    ----------
    weights : ndarray of shape (m, n) or (n,), float64
        One row per combination, or one factor per vector.
    vectors : array of shape (n, d), or LazyRows
        Finite.

    Raises
    ------
    ParameterError
        If the shapes do not fit.

    Examples
    --------
    >>> twice = mixtures(np.array([2.0]), mixtures(np.array([[0.5, 0.5]]), np.array([[1.0], [3.0]])))
    >>> twice.weights
    array([[1., 1.]])
    """
    if weights.shape[-1] != len(vectors):
        raise ParameterError("weights", f"must have {len(vectors)} columns", weights.shape)
    if not isinstance(vectors, RowMixtures):
        return RowMixtures(vectors, weights)
    if weights.ndim == vectors.weights.ndim == 1:
        return RowMixtures(vectors.rows, weights * vectors.weights)
    inner = vectors.matrix
    return RowMixtures(vectors.rows, weights[:, None] * inner if weights.ndim == 1 else weights @ inner)


def stored_rows(vectors: Array) -> Array:
    """Give the array at the bottom, whose kind and device are the result's; an array is its own."""
    return stored_rows(vectors.rows) if isinstance(vectors, LazyRows) else vectors


def block_reader(vectors: Array, width: int) -> ReadBlock:
    """Make a function that gives a block of columns, for one thread.

    Parameters
    ----------
    vectors : ndarray of shape (n, d), or LazyRows of one
        Of float32 or float64.
    width : int
        Of the widest block.

    Returns
    -------
    callable
        ``read(columns)``: of an array a view; the next call may overwrite what lazy rows gave.
    """
    if isinstance(vectors, LazyRows):
        return vectors.reader(width)
    return lambda columns: np.asarray(vectors[:, columns])
