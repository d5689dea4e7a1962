"""The table that is outsourced: read in chunks of rows, converted and scaled on the way, never copied whole.

Gradient descent converges as fast as the columns are alike, and a share mixes rows of ``X^T``, so columns of
very different size would drown in each other's rounding. :class:`Scaling` is a change of variables: columns
are divided by ``s_j = sqrt(sum_i (x_ij - c_j)**2 + ridge / curvature)``, and moved by their mean ``c_j``
where the model has an intercept to take up the difference. The objective stays what the user wrote, in the
weights ``w_j = z_j / s_j``; penalties are scaled along (:meth:`Objective.scaled`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flower_coded.codes.real.real_tables import as_real_matrix, as_real_vector
from flower_coded.errors import ParameterError
from flower_coded.protocols.encoded_gradient.objectives import Objective
from flower_coded.protocols.encoded_gradient.step_size_rules import StepSizeRule

__all__ = ["Scaling", "Table", "set_up_descent"]

Reals = NDArray[np.float64]

_CHUNK = 2**19
"""Numbers converted at a time: four megabytes, what a cache holds."""


@dataclass(frozen=True, eq=False)
class Scaling:
    """Columns ``(x_j - center_j) / scale_j``, and the way back for the weights.

    Parameters
    ----------
    center, scale : ndarray of shape (d,), float64
    intercept : int or None
        The constant column that takes up the centers; without one they are zero.
    intercept_value : float
        Its constant.
    """

    center: Reals
    scale: Reals
    intercept: int | None = None
    intercept_value: float = 1.0

    def apply(self, rows: Reals) -> Reals:
        """Scale rows of the table, shape (n, d)."""
        return np.asarray((rows - self.center) / self.scale)

    def to_original(self, weights: Reals) -> Reals:
        """Turn weights of the scaled columns into weights of the user's, shape (d,)."""
        original = weights / self.scale
        if self.intercept is not None:
            original[self.intercept] -= self.center @ original / self.intercept_value
        return np.asarray(original)

    def to_scaled(self, weights: Reals) -> Reals:
        """Turn weights of the user's columns into weights of the scaled ones, shape (d,)."""
        moved = np.array(weights, dtype=np.float64)
        if self.intercept is not None:
            moved[self.intercept] += self.center @ moved / self.intercept_value
        return np.asarray(moved * self.scale)


class Table:
    """Features and targets of any kind, as chunks of float64.

    Parameters
    ----------
    features : array-like of shape (n, d)
        A NumPy array or memory map of floats, integers, unsigned integers or booleans, a SciPy sparse
        matrix, a pandas frame, a torch tensor, nested lists. Referred to, not copied.
    targets : array-like of shape (n,)

    Raises
    ------
    ParameterError
        If they do not fit each other, or hold something else than finite real numbers.

    Examples
    --------
    >>> table = Table(np.array([[1, 2], [3, 4]], dtype=np.uint8), [True, False])
    >>> [(start, rows.dtype.name) for start, rows in table.chunks(1)]
    [(0, 'float64')]
    """

    def __init__(self, features: Any, targets: Any) -> None:
        self._parts = [_sliceable(features)]
        self.targets = as_real_vector(targets, "targets")
        shape = self._parts[0].shape
        if len(shape) != 2 or shape[0] != len(self.targets):
            raise ParameterError(
                "targets", f"must have one entry per row of the features {tuple(shape)}", self.targets.shape
            )
        self.num_columns = int(shape[1])
        self.scaling = Scaling(np.zeros(self.num_columns), np.ones(self.num_columns))
        self._is_scaled = False
        for _ in self.chunks():  # refuses what is not finite before anything is sent
            pass

    @property
    def num_rows(self) -> int:
        """``n``."""
        return len(self.targets)

    def chunks(self, multiple: int = 1) -> Iterator[tuple[int, Reals]]:
        """Read the rows in order.

        Parameters
        ----------
        multiple : int
            Chunks of the first part start at multiples of it, so that they hold whole blocks.

        Yields
        ------
        start : int
        rows : ndarray of shape (k, d), float64
            Scaled.
        """
        start = 0
        size = max(_CHUNK // self.num_columns // multiple, 1) * multiple
        for part in self._parts:
            for first in range(0, part.shape[0], size):
                rows = as_real_matrix(part[first : first + size], "features")
                yield start + first, self.scaling.apply(rows) if self._is_scaled else rows
            start += part.shape[0]

    def rescale(self, objective: Objective) -> None:
        """Choose the scaling that makes the columns alike; the objective says which weights are penalized."""
        sums, spread, constant = self._moments(np.zeros(self.num_columns))
        center, intercept, value = np.zeros(self.num_columns), None, 1.0
        free = np.arange(self.num_columns - objective.num_free, self.num_columns)
        constants = [j for j in free if np.isfinite(constant[j]) and constant[j] != 0.0]
        if constants:
            intercept, value = int(constants[0]), float(constant[constants[0]])
            center = sums / self.num_rows
            center[intercept] = 0.0
            _, spread, _ = self._moments(
                center
            )  # a second pass: the difference of large squares has no digits
        penalties = np.where(
            np.arange(self.num_columns) < self.num_columns - objective.num_free, objective.ridge, 0
        )
        scale = np.sqrt(spread + penalties / (objective.curvature or 1.0))
        scale[scale == 0.0] = 1.0
        self.scaling, self._is_scaled = Scaling(center, scale, intercept, value), True

    def append(self, features: Any, targets: Any) -> tuple[Reals, Reals]:
        """Append rows; returns them scaled, with their targets as float64."""
        if np.ndim(targets) == 0:  # a single data point
            features, targets = [features], [targets]
        rows, values = as_real_matrix(features, "features"), as_real_vector(targets, "targets")
        if rows.shape != (len(values), self.num_columns):
            raise ParameterError(
                "features",
                f"must have shape (b, {self.num_columns}) with b targets",
                (rows.shape, values.shape),
            )
        self._parts.append(rows.copy())
        self.targets = np.concatenate([self.targets, values])
        return self.scaling.apply(rows) if self._is_scaled else rows, values

    def smoothness(self, objective: Objective) -> float:
        """Lipschitz constant of the gradient of the objective's smooth part, in the scaled weights.

        The largest eigenvalue of ``curvature * X^T X + ridge``, by Lanczos iteration to one part in a
        thousand: some ten passes over the table, no copy.
        """

        def multiply(weights: Reals) -> Reals:
            flat = np.ravel(weights)
            total = sum(rows.T @ (rows @ flat) for _, rows in self.chunks())
            return objective.add_ridge((objective.curvature or 1.0) * np.asarray(total), flat)

        if self.num_columns == 1:
            return float(multiply(np.ones(1))[0])
        from scipy.sparse.linalg import LinearOperator, eigsh  # slow to load, and only masters need it

        operator = LinearOperator((self.num_columns, self.num_columns), matvec=multiply, dtype=np.float64)
        start = np.random.default_rng(0).standard_normal(self.num_columns)
        return (
            float(eigsh(operator, k=1, which="LA", tol=1e-3, v0=start, return_eigenvectors=False)[0]) * 1.001
        )

    def _moments(self, center: Reals) -> tuple[Reals, Reals, Reals]:
        """Add up values and squares about ``center``; find the value of constant columns, else NaN."""
        sums, squares = np.zeros(self.num_columns), np.zeros(self.num_columns)
        least, most = np.full(self.num_columns, np.inf), np.full(self.num_columns, -np.inf)
        for _, rows in self.chunks():
            sums += rows.sum(axis=0)
            about = rows - center
            squares += np.einsum("ij,ij->j", about, about)
            least, most = np.minimum(least, rows.min(axis=0)), np.maximum(most, rows.max(axis=0))
        return sums, squares, np.where(least == most, least, np.nan)


def set_up_descent(
    table: Table, objective: Objective, rule: StepSizeRule, standardize: bool | None = None
) -> tuple[Objective, StepSizeRule]:
    """Scale the columns, choose the step or check it, and refuse targets that the objective does not suit.

    Parameters
    ----------
    table : Table
        Scaled in place.
    objective, rule
        The user's.
    standardize : bool, optional
        Descend in scaled weights. By default where the step is left to be chosen: a step of one's own is
        meant for one's own columns.

    Returns
    -------
    objective : Objective
        In the scaled weights.
    rule : StepSizeRule
        With a step.

    Raises
    ------
    ParameterError
        If the targets do not suit the objective, or a step is too long.
    """
    objective.check_targets(table.targets)
    if rule.step_size is None if standardize is None else standardize:
        table.rescale(objective)
    scaled = objective.scaled(table.scaling.scale)
    return scaled, rule.chosen_for(table.smoothness(scaled))


def _sliceable(features: Any) -> Any:
    """Something with a shape whose rows can be cut: converted only where the type cannot be."""
    if hasattr(features, "tocsr"):
        return features.tocsr()
    if hasattr(features, "iloc"):
        return _FrameRows(features)
    if hasattr(features, "shape") and len(features.shape) == 2:
        return features
    return as_real_matrix(features, "features")


class _FrameRows:
    """Rows of a data frame by position."""

    def __init__(self, frame: Any) -> None:
        self._frame, self.shape = frame, frame.shape

    def __getitem__(self, rows: slice) -> Any:
        return self._frame.iloc[rows]
