"""Vectors as rules take them: lists or arrays, NumPy or torch, some rows of them no vectors at all."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, TypeVar

import numpy as np
from numpy.typing import NDArray

from flower_coded.aggregation.lazy_rows import ChosenRows, LazyRows
from flower_coded.codes.array_namespace import Array, constant_like, namespace_of, to_numpy
from flower_coded.errors import DecodingError, ParameterError

__all__ = [
    "as_vectors",
    "device_float64",
    "finite_part",
    "finite_rows",
    "host_view",
    "take_rows",
    "takes_vectors",
]

Result = TypeVar("Result")
Parameters = ParamSpec("Parameters")


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
    >>> chosen = take_rows(np.eye(3), np.array([2, 0]))
    >>> chosen.shape, chosen.numbers
    ((2, 3), array([2, 0]))
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
