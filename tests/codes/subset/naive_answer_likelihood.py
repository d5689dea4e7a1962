"""The likelihoods of the joint decoder, written out as its formulas stand; slow on purpose."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray


def attack_likelihood(
    rates: NDArray[np.float64],
    answers: Sequence[int],
    label: int,
    target: int,
    reach: NDArray[np.bool_],
    obedience: Sequence[float],
) -> float:
    """``prod_i (o_i [y_i = t] + (1 - o_i) C_i[l, y_i]  if reached  else  C_i[l, y_i])`` over the classes."""
    if label == target or target not in list(answers):
        return 0.0
    product = 1.0 / rates.shape[1]
    for model, answer in enumerate(answers):
        clean = float(rates[model, label, answer])
        if reach[model]:
            clean = obedience[model] * (answer == target) + (1 - obedience[model]) * clean
        product *= clean
    return product


def new_attack_likelihood(
    matrix: NDArray[np.bool_], rates: NDArray[np.float64], answers: Sequence[int], label: int, most: int
) -> float:
    """Mean over sets of one to ``most`` users (with columns of their own) and over targets, obedience 1/2."""
    num_models, num_users = matrix.shape
    c = rates.shape[1]
    sets = [users for size in range(1, most + 1) for users in combinations(range(num_users), size)]
    total = 0.0
    for users in sets:
        reach = matrix[:, list(users)].any(axis=1)
        for target in range(c):
            total += attack_likelihood(rates, answers, label, target, reach, [0.5] * num_models)
    return total / len(sets) / max(c - 1, 1)


def hard_likelihood(
    rates: NDArray[np.float64], answers: Sequence[int], label: int, hard_rates: Sequence[float]
) -> float:
    """Mean over rates and classes of an attack that reaches every model with that obedience."""
    num_models, c = len(rates), rates.shape[1]
    everybody = np.ones(num_models, dtype=bool)
    total = sum(
        attack_likelihood(rates, answers, label, target, everybody, [rate] * num_models)
        for rate in hard_rates
        for target in range(c)
    )
    return total / len(hard_rates) / max(c - 1, 1)
