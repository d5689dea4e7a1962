"""Steps of gradient descent that say what they need and leave getting it to others.

A step is a generator: it yields an :class:`Evaluate` request, is sent an :class:`Evaluation`, and returns
the next :class:`DescentState`. It knows neither workers nor codes nor Flower, so the same step runs on
exact coded gradients, on robustly aggregated ones, in one process or over a network (:func:`take_step`
runs it against a function).

The constant step and its accelerated form (Beck and Teboulle, "A fast iterative shrinkage-thresholding
algorithm", 2009, with the gradient restart of O'Donoghue and Candès, 2015) need gradients only;
backtracking needs values too, each one product. All take proximal steps, so the lasso needs nothing else.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flower_coded.errors import ParameterError
from flower_coded.protocols.encoded_gradient.objectives import Objective

__all__ = [
    "AcceleratedStep",
    "BacktrackingStep",
    "ConstantStep",
    "DescentState",
    "Evaluate",
    "Evaluation",
    "Stepper",
    "get_stepper",
    "take_step",
]

Reals = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class DescentState:
    """Where a descent stands.

    Parameters
    ----------
    weights : ndarray of shape (d,), float64
        ``w``.
    iteration : int
        Steps taken.
    step_size : float
        Of the last step; 0 before the first.
    previous : ndarray of shape (d,), float64, optional
        Weights one step earlier, for momentum.
    momentum : float
        FISTA's ``t``.
    """

    weights: Reals
    iteration: int = 0
    step_size: float = 0.0
    previous: Reals | None = None
    momentum: float = 1.0


@dataclass(frozen=True, eq=False)
class Evaluate:
    """Request: the smooth part of the objective at a point.

    Parameters
    ----------
    point : ndarray of shape (d,), float64
    with_gradient : bool
        Whether the gradient is needed, or the value alone.
    """

    point: Reals
    with_gradient: bool = True


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Reply to :class:`Evaluate`.

    Parameters
    ----------
    value : float
        NaN where the method has no values.
    gradient : ndarray of shape (d,), float64, or None
    """

    value: float
    gradient: Reals | None = None

    def the_gradient(self) -> Reals:
        """Return the gradient that was asked for."""
        assert self.gradient is not None, "a request for a gradient is answered with one"
        return self.gradient


Step = Generator[Evaluate, Evaluation, DescentState]


class Stepper(ABC):
    """A rule for the next point."""

    @abstractmethod
    def step(self, objective: Objective, state: DescentState) -> Step:
        """Generate one step from ``state``."""


@dataclass(frozen=True)
class ConstantStep(Stepper):
    """``w - a g``, followed by the proximal map.

    Parameters
    ----------
    step_size : float
        ``a``; at most ``1 / smoothness`` is safe.

    Examples
    --------
    >>> from flower_coded.protocols.encoded_gradient.objectives import LeastSquares
    >>> state = DescentState(np.array([4.0]))
    >>> square = lambda request: Evaluation(0.5 * request.point @ request.point, request.point)
    >>> take_step(ConstantStep(0.5).step(LeastSquares(), state), square).weights
    array([2.])
    """

    step_size: float

    def __post_init__(self) -> None:
        _require_positive(self.step_size)

    def step(self, objective: Objective, state: DescentState) -> Step:
        """One gradient and one proximal step."""
        found = yield Evaluate(state.weights)
        weights = objective.proximal(state.weights - self.step_size * found.the_gradient(), self.step_size)
        return DescentState(weights, state.iteration + 1, self.step_size, state.weights)


@dataclass(frozen=True)
class BacktrackingStep(Stepper):
    """A step as long as the objective's own curvature allows.

    Parameters
    ----------
    step_size : float
        First trial of the first iteration.
    shrink, grow : float
        Factor after a trial that fails, and at the start of the next iteration.
    max_trials : int
        Afterwards the point stays where it is: rounding hides any progress.
    """

    step_size: float = 1.0
    shrink: float = 0.5
    grow: float = 1.5
    max_trials: int = 60

    def __post_init__(self) -> None:
        _require_positive(self.step_size)
        if not 0 < self.shrink < 1 <= self.grow:
            raise ParameterError("shrink", "must satisfy 0 < shrink < 1 <= grow", (self.shrink, self.grow))

    def step(self, objective: Objective, state: DescentState) -> Step:
        """Shrink until the quadratic model bounds the objective from above."""
        found = yield Evaluate(state.weights)
        gradient = found.the_gradient()
        if np.isnan(found.value):
            raise ParameterError(
                "stepper", "must not need values of a method that has none", self, hint="constant step"
            )
        size = state.step_size * self.grow if state.step_size else self.step_size
        slack = 1e-14 * abs(found.value)
        for _ in range(self.max_trials):
            weights = objective.proximal(state.weights - size * gradient, size)
            change = weights - state.weights
            bound = found.value + gradient @ change + change @ change / (2 * size) + slack
            trial = yield Evaluate(weights, with_gradient=False)
            if trial.value <= bound:
                return DescentState(weights, state.iteration + 1, size, state.weights)
            size *= self.shrink
        return DescentState(state.weights, state.iteration + 1, size, state.weights)


@dataclass(frozen=True)
class AcceleratedStep(Stepper):
    """FISTA with a constant step; the momentum restarts when it points uphill.

    Parameters
    ----------
    step_size : float
        ``a``; at most ``1 / smoothness`` is safe.
    """

    step_size: float

    def __post_init__(self) -> None:
        _require_positive(self.step_size)

    def step(self, objective: Objective, state: DescentState) -> Step:
        """One gradient at the extrapolated point."""
        before = state.weights if state.previous is None else state.previous
        momentum = (1.0 + np.sqrt(1.0 + 4.0 * state.momentum**2)) / 2.0
        point = state.weights + (state.momentum - 1.0) / momentum * (state.weights - before)
        found = yield Evaluate(point)
        weights = objective.proximal(point - self.step_size * found.the_gradient(), self.step_size)
        uphill = float((point - weights) @ (weights - state.weights)) > 0.0
        return DescentState(
            weights, state.iteration + 1, self.step_size, state.weights, 1.0 if uphill else momentum
        )


def take_step(step: Step, evaluate: Callable[[Evaluate], Evaluation]) -> DescentState:
    """Run one step against a function that answers its requests.

    Parameters
    ----------
    step : generator
        From :meth:`Stepper.step`.
    evaluate : callable

    Returns
    -------
    DescentState
    """
    try:
        request = next(step)
        while True:
            request = step.send(evaluate(request))
    except StopIteration as finished:
        state: DescentState = finished.value
        return state


def get_stepper(name: str, step_size: float) -> Stepper:
    """Make a stepper by name.

    Parameters
    ----------
    name : {"constant", "backtracking", "accelerated"}
    step_size : float

    Returns
    -------
    Stepper

    Raises
    ------
    ParameterError
        If the name is unknown.

    Examples
    --------
    >>> get_stepper("accelerated", 0.1)
    AcceleratedStep(step_size=0.1)
    """
    kinds: dict[str, type[ConstantStep] | type[BacktrackingStep] | type[AcceleratedStep]]
    kinds = {"constant": ConstantStep, "backtracking": BacktrackingStep, "accelerated": AcceleratedStep}
    if name not in kinds:
        raise ParameterError("name", f"must be one of {', '.join(kinds)}", name)
    return kinds[name](step_size)


def _require_positive(step_size: float) -> None:
    if not step_size > 0 or not np.isfinite(step_size):
        raise ParameterError("step_size", "must be positive and finite", step_size)
