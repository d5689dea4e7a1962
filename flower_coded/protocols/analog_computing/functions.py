"""Polynomials a master can outsource: Gram matrix, normal equations, gradient of least squares, your own.

A function takes one block, a complex matrix (or a stack of them), and public parameters that every worker
knows, and gives a matrix. It must be a polynomial in the block's entries: transposes are plain, never
conjugated. Functions are found by name on both sides, since workers are sent a name and never code; a user's
own function is registered with :func:`register_function` by the app that master and workers share.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from flower_coded.codes.analog_lagrange import verify_degree
from flower_coded.codes.array_namespace import Array
from flower_coded.errors import ParameterError

__all__ = ["FUNCTION_NAMES", "PolynomialFunction", "get_function", "register_function", "split_rows"]

FloatArray = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class PolynomialFunction:
    """A polynomial of one block, and of public parameters.

    Parameters
    ----------
    name : str
        What workers are told.
    degree : int
        ``D``, the total degree in the block's entries.
    apply : callable
        ``apply(block, parameters)``: blocks of shape (..., rows, columns), complex; parameters an array or
        None; the result has shape (..., u, h).
    is_sum_over_rows : bool
        Whether the rows of a block contribute terms that are added up. Then blocks may be padded with zero
        rows, the results of all blocks may be added, and precision can be measured on fewer rows.
    needs_parameters : bool
        Whether ``apply`` reads its parameters.

    Examples
    --------
    >>> gram = get_function("gram")
    >>> gram.apply(np.array([[1.0, 2.0], [3.0, 4.0]]), None)
    array([[10., 14.],
           [14., 20.]])
    """

    name: str
    degree: int
    apply: Callable[[Array, FloatArray | None], Array]
    is_sum_over_rows: bool = False
    needs_parameters: bool = False

    def verify(self, block_shape: tuple[int, int], parameters: FloatArray | None = None) -> None:
        """Check the degree on random lines of complex blocks (three rows of them where rows are added up).

        Raises
        ------
        ParameterError
            If the function is no polynomial of that degree, or parameters are missing.
        """
        if self.needs_parameters and parameters is None:
            raise ParameterError("parameters", f"must be given for {self.name!r}", None)
        shape = (min(3, block_shape[0]), block_shape[1]) if self.is_sum_over_rows else block_shape
        verify_degree(lambda block: self.apply(block, parameters), shape, self.degree)


def split_rows(matrix: FloatArray, num_blocks: int) -> FloatArray:
    """Split a table into blocks of equally many rows, the last ones padded with zero rows.

    Parameters
    ----------
    matrix : ndarray of shape (rows, columns), float64
        The table.
    num_blocks : int
        ``k``.

    Returns
    -------
    ndarray of shape (k, ceil(rows / k), columns), float64

    Examples
    --------
    >>> split_rows(np.ones((5, 2)), 2).sum(axis=(1, 2))
    array([6., 4.])
    """
    if matrix.ndim != 2 or not 1 <= num_blocks <= matrix.shape[0]:
        raise ParameterError(
            "num_blocks", f"must be from 1 to the table's {matrix.shape[0]} rows", num_blocks
        )
    rows = -(-matrix.shape[0] // num_blocks)
    padded = np.zeros((num_blocks * rows, matrix.shape[1]))
    padded[: matrix.shape[0]] = matrix
    return padded.reshape(num_blocks, rows, matrix.shape[1])


def get_function(name: str) -> PolynomialFunction:
    """Look a function up by name.

    Raises
    ------
    ParameterError
        If there is none of that name.
    """
    if name not in _FUNCTIONS:
        raise ParameterError("function", f"must be one of {', '.join(sorted(_FUNCTIONS))}", name)
    return _FUNCTIONS[name]


def register_function(function: PolynomialFunction) -> PolynomialFunction:
    """Make a user's own polynomial known by its name, in the process of the master and in that of the worker.

    Raises
    ------
    ParameterError
        If the name belongs to another function.

    Examples
    --------
    >>> cube = register_function(PolynomialFunction("cube", 3, lambda block, parameters: block**3))
    >>> get_function("cube").degree
    3
    """
    if function.name in FUNCTION_NAMES:
        raise ParameterError("name", "must not be that of a built-in function", function.name)
    _FUNCTIONS[function.name] = function
    return function


def _transposed(block: Array) -> Array:
    """Transpose without conjugating."""
    return block.swapaxes(-1, -2)


def _gram(block: Array, parameters: FloatArray | None) -> Array:
    """``XᵀX``."""
    del parameters
    return _transposed(block) @ block


def _normal_equations(block: Array, parameters: FloatArray | None) -> Array:
    """``Xᵀ[X, y]`` of the block ``[X, y]``: both sides of the normal equations."""
    del parameters
    return _transposed(block[..., :-1]) @ block


def _gradient(block: Array, parameters: FloatArray | None) -> Array:
    """``Xᵀ(Xw - y)`` of the block ``[X, y]`` for public ``w``, as a column."""
    if parameters is None or parameters.shape != (block.shape[-1] - 1,):
        received = None if parameters is None else parameters.shape
        raise ParameterError("parameters", f"must have shape ({block.shape[-1] - 1},)", received)
    weights = np.append(parameters, -1.0)[:, None]
    return _transposed(block[..., :-1]) @ (block @ weights)


_FUNCTIONS = {
    function.name: function
    for function in (
        PolynomialFunction("gram", 2, _gram, is_sum_over_rows=True),
        PolynomialFunction("normal-equations", 2, _normal_equations, is_sum_over_rows=True),
        PolynomialFunction("gradient", 2, _gradient, is_sum_over_rows=True, needs_parameters=True),
    )
}

FUNCTION_NAMES = tuple(_FUNCTIONS)
"""The built-in functions."""
