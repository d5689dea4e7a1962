"""Divisions of a training set among users."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flower_coded.errors import ParameterError
from flower_coded.learning import partition_dirichlet, partition_iid, user_indices

LABELS = np.repeat(np.arange(10), 120)


def class_counts(division: list[np.ndarray], labels: np.ndarray = LABELS) -> np.ndarray:
    return np.stack([np.bincount(labels[part], minlength=10) for part in division])


@given(
    st.integers(1, 15),
    st.sampled_from([1e-3, 0.1, 1.0, 10.0, "iid"]),
    st.integers(0, 10),
    st.none() | st.integers(1, 60),
)
def test_users_get_equally_many_images_and_none_twice(
    num_users: int, alpha: float | str, seed: int, samples_per_user: int | None
) -> None:
    division = user_indices(LABELS, num_users, alpha, seed, samples_per_user)
    sizes = {len(part) for part in division}
    assert sizes == {samples_per_user or len(LABELS) // num_users}
    together = np.concatenate(division)
    assert len(np.unique(together)) == len(together)


@pytest.mark.parametrize("alpha", ["iid", 0.3])
def test_user_indices__are_the_same_for_the_same_arguments(alpha: float | str) -> None:
    first, again = (user_indices(LABELS, 7, alpha, 5) for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    other = user_indices(LABELS, 7, alpha, 6)
    assert not all(np.array_equal(a, b) for a, b in zip(first, other, strict=True))


def test_small_alpha_leaves_most_users_few_classes() -> None:
    counts = class_counts(user_indices(LABELS, 12, 0.1, 0))
    iid = class_counts(user_indices(LABELS, 12, "iid", 0))
    assert np.median((counts > 10).sum(axis=1)) <= 4
    assert (iid > 0).all()


def test_large_alpha_is_nearly_iid() -> None:
    # Dirichlet(1000 per class) has share 0.1, standard deviation 0.003: counts of 60 are multinomial, mean 6.
    # (Were all images divided, the last user would get what the others left.)
    counts = class_counts(user_indices(LABELS, 12, 1000.0, 0, samples_per_user=60))
    assert counts.max() <= 18
    assert (counts > 0).mean() > 0.98


def test_alpha_is_per_class_as_in_the_papers_tables() -> None:
    # Appendix of the paper, alpha = 10, 12 users of 5,000 images: the counts spread by about 150. A share of
    # Dirichlet(10 per class) has variance 0.1 * 0.9 / 101, so 5,000 images spread by 149 (multinomial: 151).
    labels = np.repeat(np.arange(10), 6600)
    counts = class_counts(user_indices(labels, 12, 10.0, 0, samples_per_user=5000), labels)
    assert 110 < counts.std() < 190


def test_partition_dirichlet__uses_up_every_class_and_still_serves_the_last_user() -> None:
    division = partition_dirichlet(LABELS, 12, 0.01, np.random.default_rng(0))
    np.testing.assert_array_equal(class_counts(division).sum(axis=0), np.full(10, 120))


def test_partition_dirichlet__follows_the_class_frequencies() -> None:
    labels = np.concatenate([np.zeros(9000, np.int64), np.ones(1000, np.int64)])
    division = partition_dirichlet(labels, 5, 1e4, np.random.default_rng(0), samples_per_user=1000)
    shares = [float((labels[part] == 1).mean()) for part in division]
    assert all(0.06 < share < 0.14 for share in shares)


def test_groups_stay_together_and_whole() -> None:
    groups = np.arange(1200) // 6  # 6 frames of one class each: 120 per class divides by 6
    division = user_indices(LABELS, 4, 0.5, 3, samples_per_user=240, groups=groups)
    owners = [set(groups[part]) for part in division]
    assert sum(len(owner) for owner in owners) == len(set.union(*owners))
    assert [len(part) for part in division] == [240] * 4


def test_groups_of_several_classes_are_refused() -> None:
    with pytest.raises(ParameterError, match="groups"):
        user_indices(LABELS, 4, groups=np.zeros(1200, np.int64))


@pytest.mark.parametrize("alpha", [0.0, -1.0, "dirichlet", float("nan")])
def test_alpha_must_be_positive(alpha: float | str) -> None:
    with pytest.raises(ParameterError, match="alpha"):
        user_indices(LABELS, 4, alpha)


@pytest.mark.parametrize(("num_users", "samples_per_user"), [(0, None), (4, 301), (4, 0), (2000, None)])
def test_more_images_than_there_are_is_refused(num_users: int, samples_per_user: int | None) -> None:
    with pytest.raises(ParameterError, match=r"samples_per_user|num_users"):
        partition_iid(LABELS, num_users, np.random.default_rng(0), samples_per_user=samples_per_user)
