"""Linear regression from outsourced normal equations, with a bound on the error of its coefficients.

The workers give ``[G, c] = Zᵀ[Z, z_y]`` of the centered and scaled table, with an error whose Frobenius norm
is at most ``ε``. The master solves ``G b = c``, and can do better than propagate ``ε``: one product with the
table gives the residual ``r = Zᵀ(z_y - Z b)`` of the solution itself, and ``b* - b = G*⁻¹ r`` with the true
``G*``. Since ``‖G - G*‖ ≤ ε``, with ``λ`` the least eigenvalue of ``G`` and ``η = ε / λ``,

    ‖b* - b‖ ≤ ‖G⁻¹ r‖ / (1 - η).

Adding ``G⁻¹ r`` to ``b`` (iterative refinement) leaves ``η`` times that, so that two steps usually reach the
accuracy of float64 at the price of a product each; the bound is that of what is left. With ``refinements=0``
the workers' digits are reported as they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from flower_coded.errors import DecodingError
from flower_coded.protocols.analog_computing.scaled_table import ScaledTable

__all__ = ["Regression", "solve_regression"]

FloatArray = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True, eq=False)
class Regression:
    """Coefficients in the table's own units, and how far off they can be.

    Parameters
    ----------
    coefficients : ndarray of shape (d - 1,), float64
        One per feature; 0 for a constant column.
    intercept : float
        The value at features 0.
    scaled : ndarray of shape (d - 1,), float64
        The coefficients in scaled units, in which they can be compared.
    error_bound : float
        Bound on the Euclidean norm of the error of ``scaled``, relative to ``max(1, ‖scaled‖)``.
    """

    coefficients: FloatArray
    intercept: float
    scaled: FloatArray
    error_bound: float


def solve_regression(
    table: ScaledTable,
    equations: FloatArray,
    error_bound: float,
    *,
    accuracy: float = np.inf,
    refinements: int = 0,
) -> Regression:
    """Solve the normal equations, and bound the error with one product with the table.

    Parameters
    ----------
    table : ScaledTable
        The owner's; the last column is the target.
    equations : ndarray of shape (d - 1, d), float64
        ``Zᵀ[Z, z_y]``, as decoded.
    error_bound : float
        ``ε``, of the equations' Frobenius norm (``Outcome.total_error_bound``).
    accuracy : float
        The largest error bound accepted.
    refinements : int
        Steps of iterative refinement, a product with the table each.

    Returns
    -------
    Regression

    Raises
    ------
    DecodingError
        If ``ε`` is not below the least eigenvalue, so that nothing can be said, or the bound exceeds the
        accuracy.

    Examples
    --------
    >>> generator = np.random.default_rng(0)
    >>> features = generator.standard_normal((50, 2))
    >>> table = ScaledTable.of(np.column_stack([features, features @ [2.0, -1.0] + 3]))
    >>> equations = table.values[:, :-1].T @ table.values
    >>> found = solve_regression(table, equations + 1e-9, 1e-8)
    >>> found.coefficients.round(6).tolist(), round(found.intercept, 6), found.error_bound < 1e-8
    ([2.0, -1.0], 3.0, True)
    """
    varies = ~table.is_constant[:-1]
    features, target = table.values[:, :-1][:, varies], table.values[:, -1]
    gram = equations[varies][:, np.append(varies, False)]
    # The workers' Gram matrix is symmetric but for noise; its symmetric half is no farther from the truth.
    values, vectors = np.linalg.eigh((gram + gram.T) / 2)
    ratio = error_bound / float(values[0]) if values[0] > 0 else np.inf
    if ratio >= 0.5:
        raise DecodingError(
            f"the error bound of the equations, {error_bound:.1e}, is not below half their least eigenvalue, "
            f"{float(values[0]):.1e}: features that depend on each other need more digits (allow more bits)"
        )

    def solve(right: FloatArray) -> FloatArray:
        solution: FloatArray = vectors @ ((vectors.T @ right) / values)
        return solution

    scaled = solve(equations[varies, -1])
    step = solve(features.T @ (target - features @ scaled))
    for _ in range(refinements):
        scaled = scaled + step
        step = solve(features.T @ (target - features @ scaled))
    # The residual itself is rounded: sums of n products of numbers up to 1, a random walk.
    rounding = 8 * np.finfo(np.float64).eps * np.sqrt(features.size) * np.linalg.norm(target)
    bound = float((np.linalg.norm(step) + rounding / values[0]) / (1 - ratio))
    bound /= max(1.0, float(np.linalg.norm(scaled)))
    if bound > accuracy:
        raise DecodingError(f"the coefficients' error bound, {bound:.1e}, exceeds {accuracy:.1e}")
    full = np.zeros(len(varies))
    full[varies] = scaled
    coefficients = full * table.scales[-1] / table.scales[:-1]
    intercept = float(table.means[-1] - table.means[:-1] @ coefficients)
    return Regression(coefficients, intercept, full, bound)
