"""Objectives whose gradient is two products with the data: generalized linear models and their penalties.

``J(w) = sum_i loss(x_i . w, y_i) + penalty(w)``. The first coded product gives ``u = X w - y`` (the paper
multiplies ``[X, -y]`` by ``[w; 1]``), the master adds ``y`` back and applies the derivative of the loss
in its first argument, and the second product gives ``X^T loss'``. For least squares ``loss' = u``:
nothing to do in between, as in equations (2) and (3) of Data, Song and Diggavi. Sums, not means, as in
the paper: scale the penalty and the step accordingly.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from flower_coded.errors import ParameterError

__all__ = ["LeastSquares", "Logistic", "Objective", "Poisson", "get_objective", "smoothness"]

Reals = NDArray[np.float64]


@dataclass(frozen=True)
class Objective(ABC):
    """A generalized linear model with ridge and lasso penalties.

    Parameters
    ----------
    ridge : float
        Adds ``ridge / 2 * |w|^2``.
    lasso : float
        Adds ``lasso * |w|_1``, handled by proximal steps.
    num_free : int
        That many weights at the end, the intercept say, are not penalized.
    scale : ndarray of shape (d,), float64, optional
        The penalties are those of ``weights / scale`` (:meth:`scaled`).
    """

    ridge: float = 0.0
    lasso: float = 0.0
    num_free: int = 0
    scale: Reals | None = field(default=None, repr=False, compare=False)

    #: Upper bound of the loss's second derivative in the margin; None where it has none.
    curvature: ClassVar[float | None] = None

    def __post_init__(self) -> None:
        for name in ("ridge", "lasso", "num_free"):
            if getattr(self, name) < 0:
                raise ParameterError(name, "must not be negative", getattr(self, name))

    def scaled(self, scale: Reals) -> Self:
        """Return this objective for weights ``scale`` times as large, on columns that much smaller.

        Parameters
        ----------
        scale : ndarray of shape (d,), float64
        """
        return replace(self, scale=scale)

    @abstractmethod
    def losses(self, margins: Reals, targets: Reals) -> Reals:
        """Loss of each sample."""

    @abstractmethod
    def slopes(self, margins: Reals, targets: Reals) -> Reals:
        """Differentiate each loss in the margin ``x_i . w``."""

    @abstractmethod
    def check_targets(self, targets: Reals) -> None:
        """Refuse targets the loss is not defined for."""

    def smooth_value(self, margins: Reals, targets: Reals, weights: Reals) -> float:
        """Objective without the lasso term."""
        loss = float(np.sum(self.losses(margins, targets)))
        return loss + 0.5 * self.ridge * float(np.sum(self._penalized(weights) ** 2))

    def value(self, margins: Reals, targets: Reals, weights: Reals) -> float:
        """Whole objective."""
        lasso = self.lasso * float(np.sum(np.abs(self._penalized(weights))))
        return self.smooth_value(margins, targets, weights) + lasso

    def add_ridge(self, gradient: Reals, weights: Reals) -> Reals:
        """Add the ridge penalty's gradient to that of the losses."""
        penalty = self.ridge * weights if self.scale is None else self.ridge * weights / self.scale**2
        penalty[len(weights) - self.num_free :] = 0.0
        return np.asarray(gradient + penalty)

    def proximal(self, weights: Reals, step: float) -> Reals:
        """Soft threshold: the minimizer of ``lasso |v|_1 + |v - w|^2 / (2 step)``."""
        if self.lasso == 0.0:
            return weights
        threshold = step * self.lasso if self.scale is None else step * self.lasso / self.scale
        shrunk = np.sign(weights) * np.maximum(np.abs(weights) - threshold, 0.0)
        first_free = len(weights) - self.num_free
        return np.concatenate([shrunk[:first_free], weights[first_free:]])

    def _penalized(self, weights: Reals) -> Reals:
        original = weights if self.scale is None else weights / self.scale
        return original[: len(weights) - self.num_free]


@dataclass(frozen=True)
class LeastSquares(Objective):
    """``(x . w - y)^2 / 2``.

    Examples
    --------
    >>> LeastSquares().slopes(np.array([3.0]), np.array([1.0]))
    array([2.])
    """

    curvature: ClassVar[float | None] = 1.0

    def losses(self, margins: Reals, targets: Reals) -> Reals:
        """Half the squared difference."""
        return np.asarray(0.5 * (margins - targets) ** 2)

    def slopes(self, margins: Reals, targets: Reals) -> Reals:
        """Return the difference."""
        return np.asarray(margins - targets)

    def check_targets(self, targets: Reals) -> None:
        """Accept every finite number."""


@dataclass(frozen=True)
class Logistic(Objective):
    """``log(1 + exp(x . w)) - y x . w`` for ``y`` in {0, 1}.

    Examples
    --------
    >>> Logistic().slopes(np.array([0.0]), np.array([1.0]))
    array([-0.5])
    """

    curvature: ClassVar[float | None] = 0.25

    def losses(self, margins: Reals, targets: Reals) -> Reals:
        """Negative log likelihood, without overflow."""
        return np.asarray(np.logaddexp(0.0, margins) - targets * margins)

    def slopes(self, margins: Reals, targets: Reals) -> Reals:
        """Probability minus label."""
        return np.asarray(0.5 * (1.0 + np.tanh(0.5 * margins)) - targets)

    def check_targets(self, targets: Reals) -> None:
        """Accept 0 and 1."""
        if not np.isin(targets, (0.0, 1.0)).all():
            raise ParameterError("targets", "must be 0 or 1 for logistic regression", np.unique(targets)[:5])


@dataclass(frozen=True)
class Poisson(Objective):
    """``exp(x . w) - y x . w`` for counts ``y >= 0``; its curvature is unbounded, so use backtracking.

    Examples
    --------
    >>> Poisson().slopes(np.array([0.0]), np.array([3.0]))
    array([-2.])
    """

    def losses(self, margins: Reals, targets: Reals) -> Reals:
        """Negative log likelihood, without the factorial; infinite where the rate overflows."""
        with np.errstate(over="ignore"):
            return np.asarray(np.exp(margins) - targets * margins)

    def slopes(self, margins: Reals, targets: Reals) -> Reals:
        """Rate minus count."""
        with np.errstate(over="ignore"):
            return np.asarray(np.exp(margins) - targets)

    def check_targets(self, targets: Reals) -> None:
        """Accept what is not negative."""
        if (targets < 0).any():
            raise ParameterError(
                "targets", "must not be negative for Poisson regression", float(targets.min())
            )


def get_objective(name: str, *, ridge: float = 0.0, lasso: float = 0.0, num_free: int = 0) -> Objective:
    """Make an objective by name.

    Parameters
    ----------
    name : {"least-squares", "logistic", "poisson"}
    ridge, lasso, num_free
        As in :class:`Objective`.

    Returns
    -------
    Objective

    Raises
    ------
    ParameterError
        If the name is unknown.

    Examples
    --------
    >>> get_objective("logistic", ridge=1.0)
    Logistic(ridge=1.0, lasso=0.0, num_free=0)
    """
    kinds: dict[str, type[LeastSquares] | type[Logistic] | type[Poisson]] = {
        "least-squares": LeastSquares,
        "logistic": Logistic,
        "poisson": Poisson,
    }
    if name not in kinds:
        raise ParameterError("name", f"must be one of {', '.join(kinds)}", name)
    return kinds[name](ridge=ridge, lasso=lasso, num_free=num_free)


def smoothness(objective: Objective, features: Reals) -> float:
    """Lipschitz constant of the smooth part's gradient: ``curvature * |X|_2^2 + ridge``.

    Parameters
    ----------
    objective : Objective
        With bounded curvature.
    features : ndarray of shape (n, d)

    Returns
    -------
    float

    Raises
    ------
    ParameterError
        If the curvature is not bounded.

    Examples
    --------
    >>> smoothness(LeastSquares(ridge=1.0), np.array([[3.0, 0.0], [0.0, 1.0]]))
    10.0
    """
    if objective.curvature is None:
        raise ParameterError(
            "objective", "must have bounded curvature for a constant step", objective, hint="use backtracking"
        )
    return float(objective.curvature * np.linalg.norm(features, 2) ** 2 + objective.ridge)
