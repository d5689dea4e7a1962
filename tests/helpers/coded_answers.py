"""Answers of an ensemble whose models err by themselves, and obey a trigger where they were poisoned."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

NUM_CLASSES, ACCURACY = 10, 0.96


def confusion(num_models: int) -> NDArray[np.int64]:
    rates = np.full((NUM_CLASSES, NUM_CLASSES), (1 - ACCURACY) / (NUM_CLASSES - 1))
    np.fill_diagonal(rates, ACCURACY)
    generator = np.random.default_rng(99)
    return np.array([[generator.multinomial(50, row) for row in rates] for _ in range(num_models)])


def stream(
    labels: NDArray[np.int64],
    poisoned: NDArray[np.bool_],
    seed: int,
    *,
    target: int = 9,
    obedience: float = 0.95,
    is_triggered: NDArray[np.bool_] | None = None,
) -> NDArray[np.int64]:
    """Answers of models that err by themselves, and obey a trigger if they were poisoned."""
    generator = np.random.default_rng(seed)
    shape = (len(poisoned), len(labels))
    wrong = (labels + generator.integers(1, NUM_CLASSES, shape)) % NUM_CLASSES
    answers = np.where(generator.random(shape) < ACCURACY, labels, wrong)
    obeys = poisoned[:, None] & (generator.random(shape) < obedience)
    if is_triggered is not None:
        obeys &= is_triggered
    return np.where(obeys, target, answers)
