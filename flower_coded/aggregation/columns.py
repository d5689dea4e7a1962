"""Some coordinates of all vectors: for rules that look at a sample of a model's entries."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from flower_coded.aggregation.lazy_rows import LazyRows
from flower_coded.codes.array_namespace import Array, constant_like

__all__ = ["draw_columns", "take_columns"]


def draw_columns(generator: np.random.Generator, dimension: int, number: int) -> NDArray[np.int64]:
    """Draw coordinates without repetition, ascending; all where there are not more.

    Examples
    --------
    >>> draw_columns(np.random.default_rng(0), 3, 10)
    array([0, 1, 2])
    """
    if number >= dimension:
        return np.arange(dimension)
    # Ascending, so that memory is read forwards.
    drawn = generator.choice(dimension, number, replace=False, shuffle=False)
    return np.asarray(np.sort(drawn), dtype=np.int64)


def take_columns(vectors: Array, columns: NDArray[np.int64]) -> Array:
    """Copy coordinates of all vectors; of lazy rows, of what they are made of.

    Examples
    --------
    >>> take_columns(np.arange(6.0).reshape(2, 3), np.array([0, 2]))
    array([[0., 2.],
           [3., 5.]])
    """
    if isinstance(vectors, LazyRows):
        return vectors.over(take_columns(vectors.rows, columns))
    if len(columns) == vectors.shape[1]:
        return vectors
    return vectors[:, constant_like(columns, vectors)]
