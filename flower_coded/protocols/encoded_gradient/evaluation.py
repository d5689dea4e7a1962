"""From a request for a value or a gradient to coded products: the two rounds of an iteration.

:class:`CodedEvaluator` is again a generator: it yields :class:`Product` requests and is sent the decoded
vectors. It remembers ``X w - y`` of the last point, so that the first round of a gradient costs nothing
where a line search has just looked at the same point.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence

import numpy as np
from numpy.typing import NDArray

from flower_coded.protocols.encoded_gradient.messages import Product
from flower_coded.protocols.encoded_gradient.objectives import Objective
from flower_coded.protocols.encoded_gradient.step_size_rules import (
    DescentState,
    Evaluate,
    Evaluation,
    StepSizeRule,
)

__all__ = ["CodedEvaluator"]

Reals = NDArray[np.float64]
Range = tuple[int, int]


class CodedEvaluator:
    """Evaluate an objective by coded products.

    Parameters
    ----------
    objective : Objective
    targets : ndarray of shape (n,), float64
        ``y``; make another evaluator when data points are appended.
    batches : sequence of (rows, blocks)
        For each batch, its range of data points and of rows of the shares, each a pair (start, stop).

    Attributes
    ----------
    value : float
        Smooth part of the objective at the last point; NaN before the first.

    Examples
    --------
    >>> from flower_coded.protocols.encoded_gradient.objectives import LeastSquares
    >>> rounds = CodedEvaluator(LeastSquares(), np.array([1.0])).evaluate(Evaluate(np.array([2.0])))
    >>> next(rounds).vector
    array([2., 1.])
    >>> rounds.send(np.array([5.0])).vector
    array([5.])
    """

    def __init__(
        self, objective: Objective, targets: Reals, batches: Sequence[tuple[Range, Range]] = ()
    ) -> None:
        self.objective, self.targets, self.batches = objective, targets, batches
        self._point: Reals | None = None
        self._differences = targets
        self.value = float("nan")

    def evaluate(self, request: Evaluate) -> Generator[Product, Reals, Evaluation]:
        """Generate the products that a request needs: ``X w - y``, then ``X^T loss'``."""
        if request.batch is not None:
            return (yield from self._evaluate_batch(request.point, request.batch))
        point = request.point
        if self._point is None or not np.array_equal(self._point, point):
            self._differences = yield Product(1, np.append(point, 1.0))
            self._point = point
        margins = self._differences + self.targets
        self.value = self.objective.smooth_value(margins, self.targets, point)
        if not request.with_gradient:
            return Evaluation(self.value)
        losses_gradient = yield Product(2, self.objective.slopes(margins, self.targets))
        return Evaluation(self.value, self.objective.add_ridge(losses_gradient, point))

    def _evaluate_batch(self, point: Reals, batch: int) -> Generator[Product, Reals, Evaluation]:
        """Estimate value and gradient from one batch: its own, times the number of batches."""
        rows, blocks = self.batches[batch]
        targets, factor = self.targets[slice(*rows)], float(len(self.batches))
        differences = yield Product(1, np.append(point, 1.0), *blocks, batch)
        margins = differences + targets
        self.value = self.objective.smooth_value(margins, targets, point)
        gradient = yield Product(2, self.objective.slopes(margins, targets), *rows, batch)
        return Evaluation(self.value, self.objective.add_ridge(factor * gradient, point))

    def step(self, rule: StepSizeRule, state: DescentState) -> Generator[Product, Reals, DescentState]:
        """Generate the products of one whole step; returns the next state."""
        step = rule.step(self.objective, state)
        try:
            request = next(step)
            while True:
                request = step.send((yield from self.evaluate(request)))
        except StopIteration as finished:
            following: DescentState = finished.value
            return following
