"""A whole descent in one process: workers, liars and stragglers included, without Flower.

:func:`run_encoded` runs encoded gradient descent, :func:`run_baseline` one of the other methods, both
against the same :class:`Faults`, and both return a :class:`Descent` with the weights after every
iteration and a record of who was located or refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flower_coded.attacks.worker_errors import Call, WorkerError
from flower_coded.codes.real.real_error_locating import RealErrorLocatingCode
from flower_coded.protocols.encoded_gradient.baselines import Baseline
from flower_coded.protocols.encoded_gradient.evaluation import CodedEvaluator
from flower_coded.protocols.encoded_gradient.master import DecodedRound, EncodedGradientMaster
from flower_coded.protocols.encoded_gradient.messages import Answer, Product, Share
from flower_coded.protocols.encoded_gradient.objectives import Objective
from flower_coded.protocols.encoded_gradient.step_size_rules import (
    DescentState,
    Evaluate,
    Evaluation,
    StepSizeRule,
    StochasticStep,
    take_step,
)
from flower_coded.protocols.encoded_gradient.table import Table, set_up_descent
from flower_coded.protocols.encoded_gradient.worker import answer

__all__ = ["Descent", "Faults", "ask_workers", "run_baseline", "run_encoded"]

Reals = NDArray[np.float64]


@dataclass(frozen=True)
class Faults:
    """Who misbehaves, and how.

    Parameters
    ----------
    attacks : mapping of int to WorkerError
        Each liar's attack.
    stragglers : frozenset of int
        Workers that never answer in time.
    seed : int
        Shared by the colluders.
    """

    attacks: Mapping[int, WorkerError] = field(default_factory=dict)
    stragglers: frozenset[int] = frozenset()
    seed: int = 0

    def send(self, worker: int, honest: Reals, iteration: int, product: int) -> Reals | None:
        """Return what arrives from ``worker`` in place of its honest answer, or None."""
        if worker in self.stragglers:
            return None
        if worker in self.attacks:
            return self.attacks[worker].craft(honest, Call(worker, iteration, product, self.seed))
        return honest


@dataclass(frozen=True, eq=False)
class Descent:
    """A finished descent.

    Parameters
    ----------
    weights : ndarray of shape (num_iterations + 1, d), float64
        Row 0 is the start.
    rounds : tuple of tuple of DecodedRound
        Decoded products of each iteration; empty for baselines.
    """

    weights: Reals
    rounds: tuple[tuple[DecodedRound, ...], ...] = ()

    def distances(self, optimum: Reals) -> Reals:
        """Euclidean distance to ``optimum`` after each iteration."""
        return np.asarray(np.linalg.norm(self.weights - optimum, axis=1))


def ask_workers(shares: Sequence[Share], product: Product, iteration: int, faults: Faults) -> list[Answer]:
    """Let every worker answer one product, faults included."""
    answers = []
    for share in shares:
        values = faults.send(share.worker, answer(share, product).values, iteration, product.which)
        if values is not None:
            answers.append(Answer(share.worker, values))
    return answers


def run_encoded(
    code: RealErrorLocatingCode,
    features: Reals,
    targets: Reals,
    *,
    objective: Objective,
    step_size_rule: StepSizeRule,
    num_iterations: int,
    faults: Faults | None = None,
    standardize: bool | None = None,
    **options: Any,
) -> Descent:
    """Run encoded gradient descent from zero weights.

    Parameters
    ----------
    code : RealErrorLocatingCode
    features : array-like of shape (n, d)
    targets : array-like of shape (n,)
    objective, step_size_rule
        What is minimized, and how.
    num_iterations : int
    faults : Faults, optional
        None by default.
    standardize : bool, optional
        Descend in scaled weights (:func:`set_up_descent`).
    **options
        Of :class:`EncodedGradientMaster`.

    Returns
    -------
    Descent

    Raises
    ------
    DecodingError
        If more workers lie or are missing than the code corrects.

    Examples
    --------
    >>> from flower_coded.attacks.worker_errors import Scaled
    >>> from flower_coded.protocols.encoded_gradient.objectives import LeastSquares
    >>> from flower_coded.protocols.encoded_gradient.step_size_rules import ConstantStep
    >>> features, targets = np.eye(3), np.array([1.0, 2.0, 3.0])
    >>> descent = run_encoded(
    ...     RealErrorLocatingCode(5, 2), features, targets, objective=LeastSquares(),
    ...     step_size_rule=ConstantStep(1.0), num_iterations=1, faults=Faults({0: Scaled(), 3: Scaled(1e9)}))
    >>> descent.weights[-1].round(9)
    array([1., 2., 3.])
    """
    table = Table(features, targets)
    scaled, rule = set_up_descent(table, objective, step_size_rule, standardize)
    num_batches = rule.num_batches if isinstance(rule, StochasticStep) else 1
    faults = faults or Faults()
    master = EncodedGradientMaster(code, table, num_batches=num_batches, **options)
    shares = [master.deal(worker) for worker in range(code.num_workers)]
    evaluator = CodedEvaluator(scaled, table.targets, master.batches)
    state = DescentState(np.zeros(table.num_columns))
    path, history = [state.weights], []
    for iteration in range(num_iterations):
        products = evaluator.step(rule, state)
        rounds: list[DecodedRound] = []
        try:
            product = next(products)
            while True:
                rounds.append(master.decode(product, ask_workers(shares, product, iteration, faults)))
                product = products.send(rounds[-1].values)
        except StopIteration as finished:
            state = finished.value
        path.append(table.scaling.to_original(state.weights))
        history.append(tuple(rounds))
    return Descent(np.stack(path), tuple(history))


def run_baseline(
    baseline: Baseline,
    features: Reals,
    targets: Reals,
    *,
    num_workers: int,
    objective: Objective,
    step_size_rule: StepSizeRule,
    num_iterations: int,
    faults: Faults | None = None,
) -> Descent:
    """Run one of the baselines from zero weights; gradients that are malformed or not finite are left out.

    Parameters
    ----------
    baseline : Baseline
    features, targets, objective, step_size_rule, num_iterations, faults
        As in :func:`run_encoded`; the rule must not need values.
    num_workers : int
        ``m``.

    Returns
    -------
    Descent
        Weights may overflow to infinity where a liar decides.

    Raises
    ------
    DecodingError
        If a repetition group has no majority.
    """
    objective.check_targets(targets)
    faults = faults or Faults()
    parts = baseline.spread(features, targets, num_workers)
    state = DescentState(np.zeros(features.shape[1]))

    def evaluate(request: Evaluate) -> Evaluation:
        arrived: dict[int, Reals] = {}
        for worker, part in enumerate(parts):
            sent = faults.send(worker, part.gradient(objective, request.point), state.iteration, 2)
            if sent is not None and sent.shape == request.point.shape and np.isfinite(sent).all():
                arrived[worker] = sent
        gradient = baseline.combine(arrived, num_workers)
        return Evaluation(float("nan"), objective.add_ridge(gradient, request.point))

    path = [state.weights]
    with np.errstate(over="ignore", invalid="ignore"):
        for _ in range(num_iterations):
            state = take_step(step_size_rule.step(objective, state), evaluate)
            path.append(state.weights)
    return Descent(np.stack(path))
