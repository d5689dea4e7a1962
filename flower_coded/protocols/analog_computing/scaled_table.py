"""Centering and scaling of a private table before it is hidden, and what a function of it becomes.

Hiding noise has one size for all entries, and so has its rounding. A column of large numbers would drown in
its own rounding what a column of small ones holds, and a large mean makes partial sums drift, which costs
digits and made honest workers look like liars. So every column ``x`` becomes ``z = (x - μ) / s`` with ``s``
its largest deviation: all entries lie in ``[-1, 1]``, which is also what the privacy bound needs. The
functions of the table follow from those of ``Z`` exactly:

    XᵀX = S ZᵀZ S + n μ μᵀ,        Xᵀ(Xw - y) = s_y S Zᵀ(Z v - z_y) + n μ (μᵀw - μ_y),   v = S w / s_y,

where ``S = diag(s)``, because the columns of ``Z`` add up to zero.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from flower_coded.codes.real.real_tables import as_real_matrix
from flower_coded.errors import ParameterError
from flower_coded.protocols.analog_computing.functions import QuadraticForm

__all__ = ["ScaledTable"]

FloatArray = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True, eq=False)
class ScaledTable:
    """A table in units in which every column has mean 0 and largest magnitude 1.

    Parameters
    ----------
    values : ndarray of shape (n, d), float64
        ``Z``.
    means, scales : ndarray of shape (d,), float64
        ``μ`` and ``s``; the scale of a constant column is 1.

    Examples
    --------
    >>> table = ScaledTable.of([[1, 10], [3, 10], [5, 10]])
    >>> table.values.T.tolist(), table.scales.tolist()
    ([[-1.0, 0.0, 1.0], [0.0, 0.0, 0.0]], [2.0, 1.0])
    >>> table.restore(QuadraticForm(2), table.values.T @ table.values)
    array([[ 35.,  90.],
           [ 90., 300.]])
    """

    values: FloatArray
    means: FloatArray
    scales: FloatArray

    @classmethod
    def of(cls, table: Any) -> ScaledTable:
        """Take what a user calls a table (:func:`flower_coded.codes.real.real_tables.as_real_matrix`)."""
        matrix = as_real_matrix(table, "table")
        with np.errstate(over="ignore", invalid="ignore"):
            # The mean of a sum that overflows is found in smaller units.
            unit = np.maximum(abs(matrix).max(axis=0), np.finfo(np.float64).tiny)
            means = (matrix / unit).mean(axis=0) * unit
            values = matrix - means
        if not np.isfinite(values).all():
            raise ParameterError("table", "must have differences that float64 holds", float(unit.max()))
        scales = abs(values).max(axis=0)
        # What is left of a constant column is the rounding of its mean.
        is_constant = scales <= 4 * np.finfo(np.float64).eps * unit
        if is_constant.all():
            raise ParameterError("table", "must have a column that varies", matrix.shape)
        scales = np.where(is_constant, 1.0, scales)
        values /= scales
        values[:, is_constant] = 0.0
        return cls(values, means, scales)

    @property
    def is_constant(self) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Columns that hold one number; shape (d,)."""
        return np.asarray(~self.values.any(axis=0))

    def scaled_weights(self, weights: FloatArray) -> FloatArray:
        """Give ``v = S w / s_y`` for weights of the table's columns but the last."""
        return np.asarray(self.scales[:-1] * weights / self.scales[-1])

    def restore(
        self, form: QuadraticForm, value: FloatArray, weights: FloatArray | None = None
    ) -> FloatArray:
        """Give a built-in function of the table from that of the scaled values.

        Parameters
        ----------
        form : QuadraticForm
            Of the function; its ``right`` is not used.
        value : ndarray of shape (u, h), float64
            The function of :attr:`values`; for the gradient, at :meth:`scaled_weights`.
        weights : ndarray of shape (d - 1,), optional
            ``w``, for the gradient.

        Returns
        -------
        ndarray of shape (u, h), float64
        """
        left, count = slice(form.left), len(self.values)
        if weights is None:
            right = slice(form.first, None)
            scaled = value * np.outer(self.scales[left], self.scales[right])
            return np.asarray(scaled + count * np.outer(self.means[left], self.means[right]))
        residual = float(self.means[:-1] @ weights - self.means[-1])
        scaled = self.scales[left, None] * self.scales[-1] * value
        return np.asarray(scaled + count * residual * self.means[left, None])
