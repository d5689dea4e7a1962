"""Polynomials a master can outsource: Gram matrix, normal equations, gradient, product of two, your own.

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

from flower_coded.codes.array_namespace import Array, constant_like, namespace_of
from flower_coded.codes.real.analog_lagrange import verify_degree
from flower_coded.errors import ParameterError

__all__ = [
    "FUNCTION_NAMES",
    "PolynomialFunction",
    "QuadraticForm",
    "get_function",
    "register_function",
    "split_rows",
]

FloatArray = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True, eq=False)
class QuadraticForm:
    """``f(X) = X[:, :left]ᵀ X[:, first:] R``: every built-in function, and what verification keys can check.

    Parameters
    ----------
    left : int
        Columns of ``X`` in the left factor.
    first : int
        First column of ``X`` in the right factor.
    right : ndarray of shape (columns - first, h), float64, or None
        ``R``, public; None for the identity.

    Examples
    --------
    >>> form = get_function("gradient").quadratic_form(3, np.array([2.0, 5.0]))
    >>> form.left, form.right.ravel()
    (2, array([ 2.,  5., -1.]))
    """

    left: int
    first: int = 0
    right: FloatArray | None = None

    def times_right(self, matrix: Array) -> Array:
        """Give the right factor of a block, ``X[:, first:] R``, or the same of a key's columns."""
        columns = matrix[..., self.first :]
        if self.right is None:
            return columns
        right = constant_like(self.right, matrix)
        # torch multiplies equal types only.
        return columns @ (right if namespace_of(matrix) is np else right.to(matrix.dtype))

    def scale(self, blocks: np.ndarray[Any, Any]) -> float:
        """Give ``‖X_l‖ ‖X R‖`` of all blocks together: what an accuracy refers to.

        It is known without computing the function, and never smaller than the norm of its value.
        """
        left = np.linalg.norm(blocks[..., : self.left])
        return float(left * np.linalg.norm(self.times_right(blocks)))

    def apply(self, block: Array) -> Array:
        """Compute ``f``, without conjugating; a narrow ``R`` comes first, as that is cheaper."""
        # A conjugate is no polynomial of the block, and results could not be interpolated.
        return _transposed(block[..., : self.left]) @ self.times_right(block)


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
    form : callable, optional
        ``form(columns, parameters)`` gives the :class:`QuadraticForm` that ``apply`` computes. Without one
        there is no key for a worker's result, and the code decides who lied.

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
    form: Callable[[int, FloatArray | None], QuadraticForm] | None = None

    def quadratic_form(self, num_columns: int, parameters: FloatArray | None) -> QuadraticForm | None:
        """Give the form computed on blocks of so many columns, or None if the function has none."""
        return None if self.form is None else self.form(num_columns, parameters)

    def verify(self, block_shape: tuple[int, int], parameters: FloatArray | None = None) -> None:
        """Check the degree on random lines of complex blocks (three rows of them where rows are added up).

        Raises
        ------
        ParameterError
            If the function is no polynomial of that degree, or parameters are missing.
        """
        if self.needs_parameters and parameters is None:
            raise ParameterError("parameters", f"must be given for {self.name!r}", None)
        # Every row adds a term of the same degree, so that three show what all would.
        shape = (min(3, block_shape[0]), block_shape[1]) if self.is_sum_over_rows else block_shape
        verify_degree(lambda block: self.apply(block, parameters), shape, self.degree)


def split_rows(matrix: np.ndarray[Any, Any], num_blocks: int) -> np.ndarray[Any, Any]:
    """Split a table into blocks of equally many rows, the last ones padded with zero rows.

    Parameters
    ----------
    matrix : ndarray of shape (rows, columns), float64 or (packed) complex128
        The table.
    num_blocks : int
        ``k``.

    Returns
    -------
    ndarray of shape (k, ceil(rows / k), columns)
        The same memory where nothing had to be padded.

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
    padded = matrix
    if num_blocks * rows > matrix.shape[0]:
        padded = np.zeros((num_blocks * rows, matrix.shape[1]), dtype=matrix.dtype)
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
    # Otherwise a master and a worker could mean different functions by one name.
    if function.name in FUNCTION_NAMES:
        raise ParameterError("name", "must not be that of a built-in function", function.name)
    _FUNCTIONS[function.name] = function
    return function


def _transposed(block: Array) -> Array:
    """Transpose without conjugating."""
    return block.swapaxes(-1, -2)


def _gram_form(num_columns: int, parameters: FloatArray | None) -> QuadraticForm:
    """``XᵀX``."""
    del parameters
    return QuadraticForm(num_columns)


def _normal_equations_form(num_columns: int, parameters: FloatArray | None) -> QuadraticForm:
    """``Xᵀ[X, y]`` of the block ``[X, y]``: both sides of the normal equations."""
    del parameters
    if num_columns < 2:
        raise ParameterError("columns", "must be at least 2, the last being the target", num_columns)
    return QuadraticForm(num_columns - 1)


def _gradient_form(num_columns: int, parameters: FloatArray | None) -> QuadraticForm:
    """``Xᵀ(Xw - y)`` of the block ``[X, y]`` for public ``w``, as a column."""
    if parameters is None or parameters.shape != (num_columns - 1,):
        received = None if parameters is None else parameters.shape
        raise ParameterError("parameters", f"must have shape ({num_columns - 1},)", received)
    # The -1 meets the target's column: [X, y] times [w, -1] is the residual.
    return QuadraticForm(num_columns - 1, right=np.append(parameters, -1.0)[:, None])


def _product_form(num_columns: int, parameters: FloatArray | None) -> QuadraticForm:
    """``AᵀB`` of the block ``[A, B]``; the one parameter says how many columns ``A`` has."""
    if parameters is None or parameters.shape != (1,) or not 0 < parameters[0] < num_columns:
        raise ParameterError(
            "parameters",
            f"must hold the number of columns of the left factor, from 1 to {num_columns - 1}",
            None if parameters is None else parameters.tolist(),
        )
    left = int(parameters[0])
    return QuadraticForm(left, first=left)


def _built_in(
    name: str,
    form: Callable[[int, FloatArray | None], QuadraticForm],
    *,
    needs_parameters: bool = False,
) -> PolynomialFunction:
    def apply(block: Array, parameters: FloatArray | None) -> Array:
        return form(block.shape[-1], parameters).apply(block)

    return PolynomialFunction(
        name, 2, apply, is_sum_over_rows=True, needs_parameters=needs_parameters, form=form
    )


_FUNCTIONS = {
    function.name: function
    for function in (
        _built_in("gram", _gram_form),
        _built_in("normal-equations", _normal_equations_form),
        _built_in("gradient", _gradient_form, needs_parameters=True),
        _built_in("product", _product_form, needs_parameters=True),
    )
}

FUNCTION_NAMES = tuple(_FUNCTIONS)
"""The built-in functions."""
