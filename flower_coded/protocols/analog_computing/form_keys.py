"""Keys to results of built-in functions, and to the private table itself.

All built-in functions are forms ``F = X_lᵀ X R`` of a block (:class:`.functions.QuadraticForm`). A key to the
product ``(X_lᵀ X) R`` (:mod:`flower_coded.codes.real.verification_keys`) needs ``κ = (ρ X_lᵀ) X``, two
products with ``ρ``'s few rows, and never the Gram matrix itself: ``2 r / columns`` of the function's own
work.

Two kinds are made. A *share's* key tells whether one worker's result is right; its ``ρ`` is divided by the
norms of the share's columns, so that no column's scale hides an error in another. The *table's* keys, one per
block, with real rows of their own, bound the error of a decoded value whatever made it: rounding, hiding
noise times the interpolation, or lies too small for a share's key. Nobody outside ever sees what depends on
them but the bound.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from flower_coded.codes.real.summation import summation_depth
from flower_coded.codes.real.verification_keys import VerificationKey, draw_secret, passing_factor
from flower_coded.protocols.analog_computing.functions import QuadraticForm

__all__ = ["SHARE_ROWS", "TableKeys", "share_key"]

ComplexArray = np.ndarray[Any, np.dtype[np.complex128]]
FloatArray = np.ndarray[Any, np.dtype[np.float64]]

SHARE_ROWS = 6
"""Complex rows of a share's key: what passes is at most 14 times what the check measures."""
_TABLE_ROWS = 16
_FAILURE = 1e-9
"""A stated error bound is too small so rarely."""


def share_key(
    share: ComplexArray, form: QuadraticForm, *, generator: np.random.Generator | None = None
) -> VerificationKey:
    """Make the key to one worker's result.

    Parameters
    ----------
    share : ndarray of shape (n, columns), complex128
        ``U``, as it is sent: its own rounding is no error of the worker's.
    form : QuadraticForm
        What the worker will compute; ``R`` may differ each time and is not used here.
    generator : numpy.random.Generator, optional
        For experiments; the system's random source otherwise.

    Returns
    -------
    VerificationKey
        For ``check(result, form.right)``.

    Examples
    --------
    >>> share = np.random.default_rng(0).standard_normal((30, 4)) + 0j
    >>> form, gram = QuadraticForm(4), share.T @ share
    >>> key = share_key(share, form)
    >>> key.check(gram).is_passed, key.check(gram + 1e-8).is_passed
    (True, False)
    """
    norms = _column_norms(share)
    left = norms[: form.left]
    weights = 1 / left
    secret = draw_secret(SHARE_ROWS, form.left, is_complex=True, generator=generator) * weights
    image = (secret @ share[:, : form.left].T) @ share[:, form.first :]
    # |E_rc| ≤ depth u ‖U_r‖ ‖U_c‖ (Cauchy-Schwarz), so that a column of weighted errors is √left of that.
    sizes = np.linalg.norm(left * weights) * norms[form.first :]
    return VerificationKey(secret, image, sizes, _depth(share.shape[0], form.left))


class TableKeys:
    """Keys to the blocks of the private table: they bound the error of a decoded value.

    Parameters
    ----------
    blocks : ndarray of shape (k, n, columns), float64 (complex128 for packed data)
        The table.
    form : QuadraticForm
        What is computed.
    generator : numpy.random.Generator, optional
        For experiments.

    Examples
    --------
    >>> blocks = np.random.default_rng(0).standard_normal((2, 30, 4))
    >>> form = QuadraticForm(4)
    >>> keys = TableKeys(blocks, form)
    >>> grams = blocks.swapaxes(1, 2) @ blocks
    >>> grams[0, 1, 2] += 1e-3
    >>> 1e-3 < keys.total_bound(form, grams.sum(axis=0)) < 1e-2
    True
    """

    def __init__(
        self,
        blocks: np.ndarray[Any, Any],
        form: QuadraticForm,
        *,
        generator: np.random.Generator | None = None,
    ) -> None:
        secret = draw_secret(_TABLE_ROWS, form.left, generator=generator)
        self._keys = [self._key_of(block, secret, form) for block in blocks]
        self._total = VerificationKey(
            secret,
            np.sum([key.image for key in self._keys], axis=0),
            np.sum([key.column_norms for key in self._keys], axis=0),
            self._keys[0].depth,
        )

    def block_bounds(self, form: QuadraticForm, values: FloatArray) -> FloatArray:
        """Bound the Frobenius norm of the error of every block's value; shape (k,), float64."""
        return np.array([_bound(key, form, value) for key, value in zip(self._keys, values, strict=True)])

    def total_bound(self, form: QuadraticForm, total: FloatArray) -> float:
        """Bound the Frobenius norm of the error of the blocks' sum."""
        return _bound(self._total, form, total)

    @staticmethod
    def _key_of(block: np.ndarray[Any, Any], secret: FloatArray, form: QuadraticForm) -> VerificationKey:
        norms = _column_norms(block)
        image = ((secret @ block[:, : form.left].T) @ block[:, form.first :]).real
        sizes = np.linalg.norm(norms[: form.left]) * norms[form.first :]
        return VerificationKey(secret, image, sizes, _depth(block.shape[0], form.left))


def _bound(key: VerificationKey, form: QuadraticForm, value: FloatArray) -> float:
    """Add up the columns' bounds, each with its part of the failures."""
    # Only the rounding of the master's own check is added, a random walk: the result's error is measured.
    rounding = key.noise(form.right) / np.sqrt(key.depth)
    factor = passing_factor(key.num_degrees, _FAILURE / value.shape[1])
    bound = factor * np.linalg.norm(key.value(value, form.right) + rounding)
    # Below the smallest normal number nothing has digits, the bound included.
    return float(bound + np.finfo(np.float64).tiny)


def _depth(num_rows: int, left: int) -> float:
    """Bound the rounding of a form and its check, in units of roundoff: complex products, worst case.

    Sums of ``n`` terms with random rounding errors stay below ``4 √n`` in any order of summation.
    """
    product = max(summation_depth(num_rows), 4 * math.sqrt(num_rows))
    return 2 * math.sqrt(2.0) * product + 6 * math.sqrt(left)


def _column_norms(block: np.ndarray[Any, Any]) -> FloatArray:
    """Give bounds of the columns' Euclidean norms in one pass, without a copy of the block's size.

    At least 2⁻⁵¹⁰ √n: then ``u`` times a product of two bounds what ``n`` products lose below the smallest
    number, and columns of zeros have a scale.
    """
    numbers = np.ascontiguousarray(block).view(np.float64)
    squares = np.einsum("ij,ij->j", numbers, numbers).reshape(block.shape[1], -1)
    return np.asarray(np.maximum(np.sqrt(squares.sum(axis=1)), 2.0**-510 * math.sqrt(block.shape[0])))
