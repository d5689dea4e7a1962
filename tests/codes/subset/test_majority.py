"""Majority vote and its certificates."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flower_coded.codes import SubsetCode, certified_against, majority_vote, partition_code
from flower_coded.errors import ParameterError


def test_majority_vote__counts_and_certifies() -> None:
    # Votes 5:1:1, 4:3, 3:3:1, 7:0.
    predictions = np.array([[0, 0, 0, 2]] * 3 + [[0, 0, 1, 2], [0, 1, 1, 2], [1, 1, 1, 2], [2, 1, 2, 2]])
    vote = majority_vote(predictions, 3)
    assert vote.labels.tolist() == [0, 0, 0, 2]
    assert vote.votes.tolist() == [[5, 1, 1], [4, 3, 0], [3, 3, 1], [0, 0, 7]]
    assert vote.margin.tolist() == [4, 1, 0, 7]
    assert vote.certified.tolist() == [1, 0, 0, 3]  # margin >= 2 e + 1


def test_majority_vote__knows_one_class_and_no_samples() -> None:
    assert majority_vote([[0], [0], [0]], 1).certified.tolist() == [1]
    assert majority_vote(np.zeros((3, 0), dtype=int), 2).votes.shape == (0, 2)


@settings(max_examples=30)
@given(st.integers(0, 2**32), st.integers(1, 2))
def test_certificates__hold_against_every_attack(seed: int, k: int) -> None:
    generator = np.random.default_rng(seed)
    matrix = generator.random((7, 5)) < 0.4
    matrix[~matrix.any(axis=1), 0] = True
    code = SubsetCode(matrix)
    # Mostly agreeing answers, so that some samples are certain.
    predictions = np.where(generator.random((7, 12)) < 0.8, 0, generator.integers(0, 3, (7, 12)))
    vote = majority_vote(predictions, 3)
    certain = certified_against(predictions, 3, code, k)
    unchanged = np.ones(12, dtype=bool)
    for size in range(k + 1):
        for users in combinations(range(5), size):
            for target in range(3):
                poisoned = np.where(code.reach(users)[:, None], target, predictions)
                after = majority_vote(poisoned, 3)
                unchanged &= (after.labels == vote.labels) & (after.margin > 0)
    assert np.array_equal(certain, unchanged)


@given(st.integers(0, 2**32))
def test_certificates__agree_for_a_partition(seed: int) -> None:
    predictions = np.random.default_rng(seed).integers(0, 2, (9, 6))
    certain = certified_against(predictions, 2, partition_code(9, 9), 2)
    assert np.array_equal(certain, majority_vote(predictions, 2).certified >= 2)


@pytest.mark.parametrize("predictions", [[[3]], [[-1]], [[0.5]], [0, 1], np.zeros((0, 2), dtype=int)])
def test_majority_vote__refuses_what_is_no_vote(predictions: object) -> None:
    with pytest.raises(ParameterError, match="predictions must"):
        majority_vote(predictions, 3)  # type: ignore[arg-type]


def test_certified_against__refuses_another_number_of_models() -> None:
    with pytest.raises(ParameterError, match="must have 3 rows"):
        certified_against([[0], [0]], 2, partition_code(3, 3), 1)
