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
from dataclasses import dataclass, replace
from typing import ClassVar, Self

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
    "StepSizeRule",
    "StochasticStep",
    "get_step_size_rule",
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
    batch : int, optional
        Estimate both from one batch of the data points.
    """

    point: Reals
    with_gradient: bool = True
    batch: int | None = None


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


class StepSizeRule(ABC):
    """A rule for the next point."""

    step_size: float | None
    #: Longest step that converges, in units of ``1 / smoothness``.
    limit: ClassVar[float] = np.inf

    @abstractmethod
    def step(self, objective: Objective, state: DescentState) -> Step:
        """Generate one step from ``state``."""

    def chosen_for(self, smoothness: float) -> Self:
        """Choose the step for an objective, or check the one chosen by the user.

        Parameters
        ----------
        smoothness : float
            Lipschitz constant of the gradient.

        Returns
        -------
        StepSizeRule

        Raises
        ------
        ParameterError
            If the step is so long that the descent diverges.
        """
        if self.step_size is None:
            return replace(self, step_size=1.0 / smoothness)  # type: ignore[type-var]
        if self.step_size * smoothness > self.limit * 1.01:  # the smoothness is known to a part in a thousand
            raise ParameterError(
                "step_size",
                f"must be at most {self.limit / smoothness:.3g} for the descent to converge on this table",
                self.step_size,
                hint="leave it out, and it is chosen, anew after every append",
            )
        return self

    def chosen_size(self) -> float:
        """Return the step; it must have been given or chosen."""
        if self.step_size is None:
            raise ParameterError("step_size", "must be given or chosen (chosen_for) before a step", None)
        return self.step_size


@dataclass(frozen=True)
class ConstantStep(StepSizeRule):
    """``w - a g``, followed by the proximal map.

    Parameters
    ----------
    step_size : float, optional
        ``a``; chosen for the table if left out (:meth:`chosen_for`).

    Examples
    --------
    >>> from flower_coded.protocols.encoded_gradient.objectives import LeastSquares
    >>> state = DescentState(np.array([4.0]))
    >>> square = lambda request: Evaluation(0.5 * request.point @ request.point, request.point)
    >>> take_step(ConstantStep(0.5).step(LeastSquares(), state), square).weights
    array([2.])
    """

    step_size: float | None = None
    limit: ClassVar[float] = 2.0

    def __post_init__(self) -> None:
        _require_positive(self.step_size)

    def step(self, objective: Objective, state: DescentState) -> Step:
        """One gradient and one proximal step."""
        size = self.chosen_size()
        found = yield Evaluate(state.weights)
        weights = objective.proximal(state.weights - size * found.the_gradient(), size)
        return DescentState(weights, state.iteration + 1, size, state.weights)


@dataclass(frozen=True)
class StochasticStep(StepSizeRule):
    """Mini-batch gradient descent: one batch of blocks at a time, in a random order anew every epoch.

    The gradient of a batch, times the number of batches, estimates the whole one; the step falls as ``a /
    (1 + decay * epoch)``, so that the noise of the estimate dies out. Each round costs a worker one batch's
    part of its share.

    Parameters
    ----------
    step_size : float, optional
        ``a``; a tenth of the constant step by default.
    num_batches : int
        Batches in an epoch.
    decay : float
    seed : int
        Of the order.
    """

    step_size: float | None = None
    num_batches: int = 10
    decay: float = 0.1
    seed: int = 0
    limit: ClassVar[float] = 2.0

    def __post_init__(self) -> None:
        _require_positive(self.step_size)
        if self.num_batches < 1 or self.decay < 0:
            raise ParameterError(
                "num_batches", "must be at least 1, and decay not negative", (self.num_batches, self.decay)
            )

    def chosen_for(self, smoothness: float) -> Self:
        """Choose or check the step; a batch may be as steep as the whole table."""
        return super().chosen_for(10.0 * smoothness if self.step_size is None else smoothness)

    def step(self, objective: Objective, state: DescentState) -> Step:
        """One batch's gradient and one proximal step."""
        epoch, place = divmod(state.iteration, self.num_batches)
        batch = int(np.random.default_rng([self.seed, epoch]).permutation(self.num_batches)[place])
        size = self.chosen_size() / (1.0 + self.decay * epoch)
        found = yield Evaluate(state.weights, batch=batch)
        weights = objective.proximal(state.weights - size * found.the_gradient(), size)
        return DescentState(weights, state.iteration + 1, size, state.weights)


@dataclass(frozen=True)
class BacktrackingStep(StepSizeRule):
    """A step as long as the objective's own curvature allows.

    Parameters
    ----------
    step_size : float, optional
        First trial of the first iteration; chosen for the table if left out.
    shrink, grow : float
        Factor after a trial that fails, and at the start of the next iteration.
    max_trials : int
        Afterwards the point stays where it is: rounding hides any progress.
    """

    step_size: float | None = None
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
                "step_size_rule", "must not need values of a method that has none", self, hint="constant step"
            )
        size = state.step_size * self.grow if state.step_size else self.chosen_size()
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
class AcceleratedStep(StepSizeRule):
    """FISTA with a constant step; the momentum restarts when it points uphill.

    Parameters
    ----------
    step_size : float, optional
        ``a``; chosen for the table if left out.
    """

    step_size: float | None = None
    limit: ClassVar[float] = 4.0 / 3.0

    def __post_init__(self) -> None:
        _require_positive(self.step_size)

    def step(self, objective: Objective, state: DescentState) -> Step:
        """One gradient at the extrapolated point."""
        size = self.chosen_size()
        before = state.weights if state.previous is None else state.previous
        momentum = (1.0 + np.sqrt(1.0 + 4.0 * state.momentum**2)) / 2.0
        point = state.weights + (state.momentum - 1.0) / momentum * (state.weights - before)
        found = yield Evaluate(point)
        weights = objective.proximal(point - size * found.the_gradient(), size)
        uphill = float((point - weights) @ (weights - state.weights)) > 0.0
        return DescentState(weights, state.iteration + 1, size, state.weights, 1.0 if uphill else momentum)


def take_step(step: Step, evaluate: Callable[[Evaluate], Evaluation]) -> DescentState:
    """Run one step against a function that answers its requests.

    Parameters
    ----------
    step : generator
        From :meth:`StepSizeRule.step`.
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


def get_step_size_rule(name: str, step_size: float | None = None) -> StepSizeRule:
    """Make a step-size rule by name.

    Parameters
    ----------
    name : {"constant", "backtracking", "accelerated", "stochastic"}
    step_size : float, optional

    Returns
    -------
    StepSizeRule

    Raises
    ------
    ParameterError
        If the name is unknown.

    Examples
    --------
    >>> get_step_size_rule("accelerated", 0.1)
    AcceleratedStep(step_size=0.1)
    """
    kinds: dict[str, Callable[[float | None], StepSizeRule]] = {
        "constant": ConstantStep,
        "backtracking": BacktrackingStep,
        "accelerated": AcceleratedStep,
        "stochastic": StochasticStep,
    }
    if name not in kinds:
        raise ParameterError("name", f"must be one of {', '.join(kinds)}", name)
    return kinds[name](step_size)


def _require_positive(step_size: float | None) -> None:
    if step_size is None:
        return
    if not step_size > 0 or not np.isfinite(step_size):
        raise ParameterError("step_size", "must be positive and finite", step_size)
