"""The covering decoder: exact against every selective attack, and its certificate against brute force."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from flower_coded.codes import (
    NOTHING_CERTIFIED,
    CoveringDecoder,
    SubsetCode,
    backdoor_correction_code,
    backdoor_tracking_code,
    partition_code,
)
from flower_coded.errors import ParameterError

CODES = [
    backdoor_correction_code(4, 4, 12, rows="paper"),
    backdoor_correction_code(2, 6, 12),
    backdoor_tracking_code(2, 4, 16),
]


def subsets_of(models: NDArray[np.int64], num_models: int) -> NDArray[np.bool_]:
    """Every subset of some models, as columns of shape (m, 2^len)."""
    bits = np.arange(1 << len(models))[None, :] >> np.arange(len(models))[:, None] & 1
    marked = np.zeros((num_models, bits.shape[1]), dtype=bool)
    marked[models] = bits.astype(bool)
    return marked


@pytest.mark.parametrize(
    "code",
    [
        backdoor_correction_code(4, 4, 12, rows="paper"),
        backdoor_correction_code(2, 6, 12),
        backdoor_tracking_code(2, 4, 16),
    ],
    ids=lambda code: code.name,
)
def test_decode__is_right_for_every_set_of_attackers_and_every_subset_of_their_models(
    code: SubsetCode,
) -> None:
    num_attackers = code.guarantees.corrected_selective
    decoder = CoveringDecoder(code, np.ones((code.num_models, 10, 10)))
    reaches = {code.reach(users).tobytes() for users in combinations(range(code.num_users), num_attackers)}
    for reach in reaches:
        poisoned = subsets_of(np.flatnonzero(np.frombuffer(reach, dtype=bool)), code.num_models)
        decoded = decoder.decode(np.where(poisoned, 8, 3))
        assert (decoded.labels == 3).all()
        assert (decoded.certified >= num_attackers).all()


def test_decode__holds_whatever_each_poisoned_model_answers() -> None:
    code = backdoor_correction_code(4, 4, 12, rows="paper")
    decoder = CoveringDecoder(code, np.ones((15, 10, 10)))
    generator = np.random.default_rng(0)
    for users in combinations(range(6), 2):
        answers = np.full((15, 200), 3)
        answers[code.reach(users)] = generator.integers(
            0, 10, (9, 200)
        )  # a target of its own for every model
        assert (decoder.decode(answers).labels == 3).all()


def brute_force_certificate(
    code: SubsetCode, answers: NDArray[np.int64], label: int, num_classes: int, mistakes: int
) -> int:
    """Fewest users who explain another label, minus one; by trying all sets of users."""
    fewest: dict[int, int] = {}
    for other in range(num_classes):
        for size in range(code.num_users + 1):
            left = [
                (~code.reach(users) & (answers != other)).sum()
                for users in combinations(range(code.num_users), size)
            ]
            if min(left) <= mistakes:
                fewest[other] = size
                break
    rest = min(fewest.get(other, code.num_users + 1) for other in range(num_classes) if other != label)
    return rest - 1 if fewest.get(label, code.num_users + 1) <= rest - 1 else NOTHING_CERTIFIED


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32), st.integers(0, 1))
def test_certificate__is_what_brute_force_finds(seed: int, mistakes: int) -> None:
    generator = np.random.default_rng(seed)
    matrix = generator.random((6, 5)) < 0.45
    matrix[~matrix.any(axis=1), 0] = True
    code = SubsetCode(matrix)
    answers = np.where(generator.random((6, 5)) < 0.6, 0, generator.integers(0, 3, (6, 5)))
    decoder = CoveringDecoder(code, np.ones((6, 3, 3)), clean_mistakes=mistakes)
    decoded = decoder.decode(answers)
    for sample in range(5):
        exact = brute_force_certificate(code, answers[:, sample], int(decoded.labels[sample]), 3, mistakes)
        # Sets of more users than always leave a model clean are not enumerated: they explain anything.
        assert decoded.certified[sample] == min(exact, decoder._most)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), st.integers(0, 2), st.integers(0, 1))
def test_certificate__is_never_wrong(seed: int, num_attackers: int, mistakes: int) -> None:
    """Whoever attacks and whichever models err within the certificate's terms: a certified label is true."""
    generator = np.random.default_rng(seed)
    code = [
        backdoor_correction_code(4, 4, 12, rows="paper"),
        backdoor_tracking_code(2, 4, 16),
        partition_code(5, 10),
    ][seed % 3]
    decoder = CoveringDecoder(code, np.ones((code.num_models, 4, 4)), clean_mistakes=mistakes)
    answers = np.zeros((code.num_models, 60), dtype=np.int64)
    for sample in range(60):
        for model in generator.choice(code.num_models, mistakes, replace=False):
            answers[model, sample] = generator.integers(0, 4)
        users = generator.choice(code.num_users, num_attackers, replace=False)
        poisoned = code.reach(users) & (generator.random(code.num_models) < generator.random())
        answers[poisoned, sample] = generator.integers(1, 4)
    decoded = decoder.decode(answers)
    certain = decoded.certified >= num_attackers
    assert (decoded.labels[certain] == 0).all()


def test_named__only_whom_every_explanation_contains() -> None:
    code = backdoor_tracking_code(2, 4, 16)
    decoder = CoveringDecoder(code, np.ones((code.num_models, 10, 10)))
    for user in range(16):
        poisoned = subsets_of(code.models_of(user), code.num_models)
        decoded = decoder.decode(np.where(poisoned, 8, 3))
        innocent = np.delete(np.arange(16), user)
        assert not decoded.named[:, innocent].any()
        assert decoded.named[-1, user]  # he poisoned all of his models, as nobody else could have
        assert not decoded.named[0].any()


def test_exact_below__is_the_bound_itself() -> None:
    code = backdoor_correction_code(4, 4, 12, rows="paper")
    confusion = np.ones((15, 10, 10))
    # Three users leave three of the fifteen models clean, and there is one user fewer than the two and two.
    assert CoveringDecoder(code, confusion).exact_below == 3.0
    # Truth costs two users; the target costs one user and the three models he does not reach.
    answers = np.where(code.reach([0, 1]), 8, 3)[:, None]
    for cost, label in ((2.9, 3), (3.1, 8)):
        assert CoveringDecoder(code, confusion, attacker_cost=cost).decode(answers).labels.tolist() == [label]


def test_decoder__knows_a_partition() -> None:
    decoder = CoveringDecoder(partition_code(5, 5), np.ones((5, 3, 3)))
    decoded = decoder.decode(np.array([[0, 0], [0, 0], [0, 1], [1, 1], [1, 2]]))
    assert decoded.labels.tolist() == [0, 0]
    assert decoded.certified.tolist() == [2, NOTHING_CERTIFIED]


@pytest.mark.parametrize(
    "options",
    [{"max_attackers": 0}, {"max_attackers": 13}, {"clean_mistakes": -1}, {"clean_mistakes": 15}]
    + [{"attacker_cost": cost} for cost in (0.0, -1.0, float("nan"), float("inf"))],
)
def test_decoder__refuses_bad_options(options: dict[str, float]) -> None:
    with pytest.raises(ParameterError):
        CoveringDecoder(backdoor_correction_code(4, 4, 12, rows="paper"), np.ones((15, 10, 10)), **options)  # type: ignore[arg-type]
