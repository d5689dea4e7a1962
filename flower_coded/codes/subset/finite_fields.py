"""Small finite fields as tables of sums and products, for constructions of codes."""

from __future__ import annotations

from math import isqrt

import numpy as np
from numpy.typing import NDArray

__all__ = ["field_tables", "is_prime_power"]


def field_tables(order: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Tabulate the sums and products of GF(q): modulo a prime by hand, else with galois (slow to load).

    Parameters
    ----------
    order : int
        ``q``, a prime power.

    Returns
    -------
    sums, products : ndarray of shape (q, q), int64
        Elements are the numbers ``0 .. q - 1``; 0 and 1 are zero and one.

    Examples
    --------
    >>> sums, products = field_tables(3)
    >>> int(sums[2, 2]), int(products[2, 2])
    (1, 1)
    """
    if order == _characteristic(order):
        residues = np.arange(order)
        return np.add.outer(residues, residues) % order, np.multiply.outer(residues, residues) % order
    from galois import GF

    field = GF(order, compile="python-calculate")
    elements = field(np.arange(order).astype(object))
    plus, times = np.add.outer(elements, elements), np.multiply.outer(elements, elements)
    return np.asarray(plus).astype(np.int64), np.asarray(times).astype(np.int64)


def is_prime_power(order: int) -> bool:
    """Tell whether there is a field with so many elements.

    Parameters
    ----------
    order : int
        ``q >= 2``.

    Returns
    -------
    bool

    Examples
    --------
    >>> [order for order in range(2, 12) if is_prime_power(order)]
    [2, 3, 4, 5, 7, 8, 9, 11]
    """
    prime = _characteristic(order)
    while order % prime == 0:
        order //= prime
    return order == 1


def _characteristic(order: int) -> int:
    """Smallest prime factor: the characteristic of GF(q), where that exists."""
    return next((factor for factor in range(2, isqrt(order) + 1) if order % factor == 0), order)
