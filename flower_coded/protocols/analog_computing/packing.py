"""Two real rows in one complex row: products of two private matrices at half the price.

With ``A = [A₁; A₂]`` and ``B = [B₁; B₂]`` cut in half, ``P = A₁ + iA₂`` and ``Q = B₁ - iB₂`` have

    Re PᵀQ = A₁ᵀB₁ + A₂ᵀB₂ = AᵀB,

so that blocks ``[P, Q]`` of half the rows serve for the same product. Shares are complex in any case:
dealing, traffic and the workers' time halve. At one position ``s`` shares are then ``2 s`` real equations in
``2 k`` real values and ``2 t`` of noise, and it takes ``t + k`` of them to give the data away instead of
``t + ⌈k/2⌉``.

A Gram matrix has no such form. ``Re f(X₁ + iX₂)`` of a polynomial ``f`` is harmonic in its two parts, and
``|x₁|² + |x₂|²`` is not; packing both factors of ``XᵀX`` separately, ``(X₁ + iX₂)`` and its conjugate, shows
every value twice under independent noise, so that it hides less and moves no cliff.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from flower_coded.errors import ParameterError

__all__ = ["pack_factors"]

ComplexArray = np.ndarray[Any, np.dtype[np.complex128]]
FloatArray = np.ndarray[Any, np.dtype[np.float64]]


def pack_factors(table: FloatArray, left: int) -> ComplexArray:
    """Give ``[A₁ + iA₂, B₁ - iB₂]`` of the table ``[A, B]``.

    Parameters
    ----------
    table : ndarray of shape (n, columns), float64
        ``A`` and ``B`` side by side.
    left : int
        Columns of ``A``.

    Returns
    -------
    ndarray of shape (ceil(n / 2), columns), complex128
        The last row of an odd table has an imaginary part of 0.

    Raises
    ------
    ParameterError
        If one factor has no column.

    Examples
    --------
    >>> table = np.arange(15.0).reshape(5, 3)
    >>> packed = pack_factors(table, 1)
    >>> packed.shape, np.allclose((packed[:, :1].T @ packed[:, 1:]).real, table[:, :1].T @ table[:, 1:])
    ((3, 3), True)
    """
    if not 0 < left < table.shape[1]:
        raise ParameterError("left", f"must be from 1 to {table.shape[1] - 1}", left)
    half = -(-table.shape[0] // 2)
    packed: ComplexArray = table[:half].astype(np.complex128)
    # (i)(-i) = 1 puts A₂ᵀB₂ into the real part without conjugation, which no polynomial can do.
    signs = np.where(np.arange(table.shape[1]) < left, 1j, -1j)
    # The last packed row of an odd table has no partner.
    packed[: table.shape[0] - half] += signs * table[half:]
    return packed
