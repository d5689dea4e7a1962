"""What a user calls a table, as one array of float64: converted once, refused by name.

NumPy arrays of integers, unsigned integers, booleans and floats, lists, SciPy sparse matrices and arrays,
pandas frames and series, and torch tensors are taken. Conversion comes before any arithmetic: ``-y`` of an
unsigned target wraps around, and that of a boolean one is an error.

Nothing here imports pandas, torch or scipy.sparse: whoever passes such an object has done it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from flower_coded.errors import ParameterError

__all__ = ["as_real_matrix", "as_real_vector"]

FloatArray = np.ndarray[Any, np.dtype[np.float64]]

# Integers beyond this have no float64 of their own; rounding somebody's data in silence is not a conversion.
_LARGEST_EXACT = 2**53


def as_real_matrix(value: Any, name: str) -> FloatArray:
    """Give a table as a finite float64 matrix.

    Parameters
    ----------
    value : array-like of shape (rows, columns)
        A NumPy array (a memory map stays one if it is float64), nested lists, a SciPy sparse matrix, a pandas
        frame or a torch tensor, of real numbers.
    name : str
        What the caller calls it, for the refusal.

    Returns
    -------
    ndarray of shape (rows, columns), float64
        The same memory where nothing had to be converted.

    Raises
    ------
    ParameterError
        If it is no matrix of real, finite numbers, or an integer is too large for float64.

    Examples
    --------
    >>> as_real_matrix(np.array([[True, False]]), "table")
    array([[1., 0.]])
    >>> as_real_matrix([["1", "2"]], "table")
    Traceback (most recent call last):
        ...
    flower_coded.errors.ParameterError: table must hold real numbers; received 'dtype <U1' (convert text and
    categories to numbers first)
    """
    return _as_real(value, name, 2)


def as_real_vector(value: Any, name: str) -> FloatArray:
    """Give a target or a weight vector as finite float64 numbers, shape (length,); one column is taken too.

    Examples
    --------
    >>> -as_real_vector(np.array([3, 200], dtype=np.uint8), "target")
    array([  -3., -200.])
    """
    array = _unwrapped(value)
    if getattr(array, "ndim", None) == 2 and array.shape[1] == 1:
        array = array[:, 0]
    return _as_real(array, name, 1)


def _unwrapped(value: Any) -> Any:
    """Take the numbers out of a sparse matrix, a data frame or a tensor; leave anything else alone."""
    if hasattr(value, "toarray"):  # scipy.sparse, whose matrix multiplication rules differ from arrays'
        return value.toarray()
    if hasattr(value, "detach"):  # torch, maybe on a GPU, maybe with a gradient
        value = value.detach().cpu()
        return value.float().numpy() if str(value.dtype) == "torch.bfloat16" else value.numpy()
    if hasattr(value, "to_numpy"):  # pandas, polars
        return value.to_numpy()
    return value


def _as_real(value: Any, name: str, num_axes: int) -> FloatArray:
    """Convert after the checks that give a sentence instead of NumPy's."""
    try:
        array = np.asarray(_unwrapped(value))
    except ValueError as error:  # rows of different lengths
        raise ParameterError(name, "must be a table without gaps", type(value).__name__) from error
    if array.dtype == object:
        # pandas gives objects for mixed columns; they may be numbers all the same.
        try:
            array = array.astype(np.float64)
        except (TypeError, ValueError) as error:
            raise ParameterError(
                name,
                "must hold real numbers",
                f"objects of {type(value).__name__}",
                hint="convert text, dates and missing values to numbers first",
            ) from error
    if array.dtype.kind not in "biuf":
        raise ParameterError(
            name,
            "must hold real numbers",
            f"dtype {array.dtype.str}",
            hint="convert text and categories to numbers first",
        )
    if array.ndim != num_axes or 0 in array.shape:
        shape = "(rows, columns)" if num_axes == 2 else "(length,)"
        raise ParameterError(name, f"must have shape {shape}, without a zero", array.shape)
    if array.dtype.kind in "iu" and max(int(array.max()), -int(array.min())) > _LARGEST_EXACT:
        raise ParameterError(name, "must hold integers up to 2^53", int(abs(array).max()))
    real: FloatArray = array.astype(np.float64, copy=False)
    if not np.isfinite(real).all():
        raise ParameterError(name, "must be finite", "NaN or infinity", hint="drop or fill missing values")
    return real
