"""Certificates against every attack there is, by brute force."""

from __future__ import annotations

from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from flower_coded.codes import SubsetCode, backdoor_correction_code, majority_vote, partition_code
from flower_coded.codes.subset.certificates import (
    collective_certificate,
    covering_certificates,
    flcert_random,
    vote_certificates,
)
from flower_coded.errors import ParameterError


def draw(
    seed: int, models: int = 5, users: int = 4, samples: int = 6
) -> tuple[SubsetCode, NDArray[np.int64]]:
    generator = np.random.default_rng(seed)
    matrix = generator.random((models, users)) < 0.45
    matrix[~matrix.any(axis=1), 0] = True
    matrix[0, ~matrix.any(axis=0)] = True
    answers = np.where(
        generator.random((models, samples)) < 0.75, 0, generator.integers(0, 3, (models, samples))
    )
    return SubsetCode(matrix), answers


def every_attack(code: SubsetCode, answers: NDArray[np.int64], k: int, num_classes: int):  # type: ignore[no-untyped-def]
    """Every set of up to ``k`` users, and every way their models can answer one sample."""
    for users in combinations(range(code.num_users), k):
        reached = np.flatnonzero(code.reach(users))
        for lies in product(range(num_classes), repeat=len(reached)):
            attacked = answers.copy()
            attacked[reached] = np.array(lies)[:, None]
            yield users, attacked


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 2))
def test_certificates__hold_against_every_lie(seed: int, k: int) -> None:
    code, answers = draw(seed)
    vote, covering = majority_vote(answers, 3), covering_certificates(answers, 3, code)
    by_vote = vote_certificates(answers, 3, code, 3)
    for _, attacked in every_attack(code, answers, k, 3):
        after, decoded = majority_vote(attacked, 3), covering_certificates(attacked, 3, code)
        assert (after.labels == vote.labels)[by_vote >= k].all()
        assert (decoded.labels == covering.labels)[covering.certified >= k].all()


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 2))
def test_vote_certificates__cannot_be_greater(seed: int, k: int) -> None:
    code, answers = draw(seed)
    vote, certified = majority_vote(answers, 3), vote_certificates(answers, 3, code, 3)
    changed = np.zeros(answers.shape[1], dtype=bool)
    for _, attacked in every_attack(code, answers, k, 3):
        after = majority_vote(attacked, 3)
        changed |= (after.labels != vote.labels) | (after.margin == 0)
    assert np.array_equal(certified >= k, ~changed)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32), st.integers(0, 3))
def test_collective_certificate__is_what_the_worst_users_can_break(seed: int, k: int) -> None:
    code, answers = draw(seed, samples=12)
    labels = np.zeros(12, dtype=np.int64)
    right = (majority_vote(answers, 3).labels == 0) & (majority_vote(answers, 3).margin > 0)
    worst = 0
    for users in combinations(range(code.num_users), k):
        broken = np.zeros(12, dtype=bool)
        for target in (1, 2):
            attacked = np.where(code.reach(users)[:, None], target, answers)
            after = majority_vote(attacked, 3)
            broken |= (after.votes[:, target] >= after.votes[:, 0]) & right
        worst = max(worst, int(broken.sum()))
    found = collective_certificate(answers, labels, 3, code, k)
    assert (found.num_correct, found.most_broken, found.is_exact) == (int(right.sum()), worst, True)
    alone = int((right & (vote_certificates(answers, 3, code, 3) >= k)).sum())
    assert found.certified_accuracy * 12 >= alone - 1e-9


def test_covering__certifies_overlapping_codes_where_the_vote_does_not() -> None:
    code = backdoor_correction_code(4, 4, 12, rows="paper")
    agreeing = np.zeros((code.num_models, 1), dtype=np.int64)
    assert vote_certificates(agreeing, 10, code, 4).tolist() == [1]
    assert covering_certificates(agreeing, 10, code).certified.tolist() == [2]


def test_vote_certificates__of_a_partition_are_flcert_d() -> None:
    code = partition_code(12, 12)
    answers = np.repeat([0, 1], [9, 3])[:, None]
    assert vote_certificates(answers, 10, code, 6).tolist() == [(9 - 3 - 1) // 2]


def test_flcert_random__needs_the_share_it_moves() -> None:
    certain = flcert_random(np.zeros((10_000, 1), dtype=int), 10, 12, 2)
    # Two users are in 1 - C(10,2)/C(12,2) = .318 of all pairs, three in 1 - C(9,2)/C(12,2) = .455, four
    # in .576.
    assert certain.tolist() == [3]
    assert flcert_random([[0], [1]], 2, 12, 2).tolist() == [-1]
    with pytest.raises(ParameterError, match="error_rate must lie in"):
        flcert_random([[0], [1]], 2, 12, 2, error_rate=0)
    with pytest.raises(ParameterError, match="labels must have shape"):
        collective_certificate(np.zeros((12, 2), dtype=int), [0], 2, partition_code(12, 12), 1)
