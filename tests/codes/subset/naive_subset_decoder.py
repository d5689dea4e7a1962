"""The posterior of the coded subset aggregation paper, written out as its formulas stand; slow on purpose."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from math import comb

import numpy as np
from numpy.typing import NDArray


def naive_decode(
    matrix: NDArray[np.bool_],
    rates: NDArray[np.float64],
    answers: Sequence[int],
    attack_rate: float,
    success_rate: float,
    attacker_prior: Sequence[float],
) -> tuple[NDArray[np.float64], float, dict[tuple[int, ...], float]]:
    """Return P(label | y), P(attack | y) and ``sum_{t,l} p`` of every set of attackers; O(n^k m c^2)."""
    num_models, num_users = matrix.shape
    num_classes = rates.shape[1]
    attacked = [0.0] * num_classes
    by_attackers: dict[tuple[int, ...], float] = {}
    for size, prior in enumerate(attacker_prior):
        for attackers in combinations(range(num_users), size):
            by_attackers[attackers] = 0.0
            for target in range(num_classes):
                for label in range(num_classes):
                    term = prior / comb(num_users, size)
                    for model in range(num_models):
                        clean = float(rates[model, label, answers[model]])
                        if any(matrix[model, user] for user in attackers):
                            term *= success_rate * (answers[model] == target) + (1 - success_rate) * clean
                        else:
                            term *= clean
                    attacked[label] += term
                    by_attackers[attackers] += term
    clean_labels = [1.0] * num_classes
    for label in range(num_classes):
        for model in range(num_models):
            clean_labels[label] *= float(rates[model, label, answers[model]])
    labels = np.array(
        [
            attack_rate * attacked[label] + (1 - attack_rate) * num_classes * clean_labels[label]
            for label in range(num_classes)
        ]
    )
    return labels / labels.sum(), attack_rate * sum(attacked) / float(labels.sum()), by_attackers
