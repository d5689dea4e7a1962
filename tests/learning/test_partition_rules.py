"""Every rule that divides samples: what defines it, from its source; and what all have in common."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flower_coded.errors import ParameterError
from flower_coded.learning import (
    PARTITION_NAMES,
    Division,
    load_images,
    partition_by_class,
    partition_dirichlet,
    partition_natural,
    partition_pathological,
    partition_shards,
    user_indices,
)

LABELS = np.random.default_rng(0).permutation(np.repeat(np.arange(10), 120))
IDS = np.random.default_rng(1).integers(40, size=1200)

ROWS: dict[str, dict[str, Any]] = {
    "hsu-dirichlet": {"alpha": 0.3},
    "dirichlet": {"alpha": 0.8},
    "pathological": {"pieces_per_user": 3},
    "shards": {"pieces_per_user": 2},
    "natural": {"ids": IDS},
}


def divided(name: str, num_users: int = 8, seed: int = 0, samples_per_user: int | None = None) -> Division:
    return user_indices(
        LABELS, num_users, seed=seed, samples_per_user=samples_per_user, partition=name, **ROWS[name]
    )


def test_every_rule_has_a_row() -> None:
    assert set(ROWS) == set(PARTITION_NAMES)


@pytest.mark.parametrize("name", ROWS)
@given(num_users=st.integers(1, 12), seed=st.integers(0, 50), samples=st.none() | st.integers(15, 90))
def test_nobody_is_without_samples_and_none_has_two_owners(
    name: str, num_users: int, seed: int, samples: int | None
) -> None:
    division = divided(name, num_users, seed, samples)
    assert len(division) == num_users
    assert division.sizes.min() >= 1
    together = np.concatenate(division)
    assert len(np.unique(together)) == len(together) == len(LABELS) - division.num_left
    if samples is not None:
        assert division.sizes.sum() <= samples * num_users


@pytest.mark.parametrize("name", ROWS)
def test_the_seed_decides(name: str) -> None:
    first, again, other = (divided(name, seed=seed) for seed in (3, 3, 4))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(first, other, strict=True))


@pytest.mark.parametrize("name", [name for name in ROWS if name != "natural"])
def test_groups_stay_together_under_every_rule(name: str) -> None:
    labels, groups = np.repeat(np.arange(10), 120), np.arange(1200) // 4
    division = user_indices(labels, 5, seed=1, groups=groups, partition=name, **ROWS[name])
    owners = np.full(1200, -1)
    for user, part in enumerate(division):
        owners[part] = user
    assert (owners.reshape(-1, 4) == owners[::4, None]).all()


def test_pathological_users_have_exactly_so_many_classes_and_share_them_evenly() -> None:
    counts = divided("pathological", 10).class_counts(LABELS)
    assert ((counts > 0).sum(axis=1) == 3).all()
    assert ((counts > 0).sum(axis=0) == 3).all()  # 30 places for 10 classes
    assert (counts[counts > 0] == 40).all()


def test_pathological_samples_of_classes_that_nobody_took_go_to_nobody() -> None:
    division = partition_pathological(LABELS, 3, 2, np.random.default_rng(0))
    assert division.num_left == 4 * 120
    assert "480 go to nobody" in division.describe()


def test_pathological_says_how_many_samples_a_class_has_for_its_users() -> None:
    labels = np.repeat([0, 1], [20, 200])
    with pytest.raises(
        ParameterError, match="samples_per_user must be at most 10: 4 users share the 20 samp"
    ):
        partition_pathological(labels, 4, 2, np.random.default_rng(0), samples_per_user=40)


@pytest.mark.parametrize("shards", [1, 2, 5])
def test_shards_are_runs_of_the_samples_sorted_by_class(shards: int) -> None:
    # McMahan et al.: "most clients will only have examples of two digits" with two shards; a shard meets at
    # most two classes here, since a class fills at least one.
    counts = partition_shards(LABELS, 10, shards, np.random.default_rng(2)).class_counts(LABELS)
    assert (counts.sum(axis=1) == 120).all()
    assert ((counts > 0).sum(axis=1) <= 2 * shards).all()
    assert ((counts > 0).sum(axis=1) <= shards).all()  # 10 x shards of ten classes: each lies within one


def test_what_fills_no_shard_is_of_all_classes() -> None:
    division = partition_shards(LABELS, 7, 9, np.random.default_rng(0))  # 63 shards of 19
    left = np.setdiff1d(np.arange(1200), np.concatenate(division))
    assert len(left) == 1200 - 63 * 19 == division.num_left
    assert len(np.unique(LABELS[np.concatenate(division)])) == 10


def test_dirichlet_by_class_leaves_nothing_and_spreads_as_its_variance_says() -> None:
    # A class's share for one of n users has variance (1/n)(1 - 1/n)/(n alpha + 1).
    labels, num_users, alpha = np.repeat(np.arange(50), 200), 5, 2.0
    division = partition_by_class(labels, num_users, alpha, np.random.default_rng(0))
    assert division.num_left == 0
    shares = division.class_counts(labels) / 200
    expected = 0.2 * 0.8 / (num_users * alpha + 1)
    assert 0.8 * expected < shares.var() < 1.2 * expected


def test_dirichlet_by_class_gives_up_where_a_user_would_have_nothing() -> None:
    with pytest.raises(ParameterError, match=r"alpha must give each of 100 users 1 of 1200 samples .* 0.001"):
        partition_by_class(LABELS, 100, 0.001, np.random.default_rng(0))


def test_hsu_dirichlet_tells_what_is_not_of_the_mix_drawn() -> None:
    division = partition_dirichlet(LABELS, 12, 0.1, np.random.default_rng(0))
    assert division.num_replaced > 0
    assert "are of other classes than were drawn" in division.describe()
    few = partition_dirichlet(LABELS, 12, 0.1, np.random.default_rng(0), samples_per_user=5)
    assert few.num_replaced == 0


def test_natural_users_have_whole_ids_and_all_are_dealt() -> None:
    division = partition_natural(IDS, 8, np.random.default_rng(0))
    assert division.num_left == 0
    held = [set(IDS[part].tolist()) for part in division]
    assert [len(each) for each in held] == [5] * 8
    assert len(set.union(*held)) == 40


def test_natural_ids_can_be_counted_and_their_samples_bounded() -> None:
    division = partition_natural(IDS, 8, np.random.default_rng(0), ids_per_user=2, samples_per_user=30)
    assert all(len(set(IDS[part].tolist())) == 2 for part in division)
    assert (division.sizes == 30).all()
    with pytest.raises(ParameterError, match=r"ids that 8 users can have of 40; received 6 \(at most 5\)"):
        partition_natural(IDS, 8, np.random.default_rng(0), ids_per_user=6)
    with pytest.raises(ParameterError, match=r"41 users can have of 40; received 0 \(fewer users\)"):
        partition_natural(IDS, 41, np.random.default_rng(0))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"partition": "shard"}, "partition must be one of hsu-dirichlet, dirichlet"),
        ({"partition": "iid"}, "identically distributed is alpha=iid"),
        ({"partition": "natural"}, "the data set does not say whose a sample is"),
        ({"partition": "dirichlet"}, "alpha must be a number for partition=dirichlet"),
        ({"partition": "shards", "alpha": 0.1}, "alpha must be iid: partition=shards does not read it"),
        ({"pieces_per_user": 2}, "pieces-per-user must be 0: partition=hsu-dirichlet does not read it"),
        ({"partition": "pathological", "pieces_per_user": 11}, "must lie between 1 and 10 classes"),
        ({"partition": "shards", "pieces_per_user": 301}, "must be at most 300: 1200 samples for 4 users"),
        ({"partition": "shards", "pieces_per_user": -1}, "must be at least 1 shard"),
        ({"partition": "hsu_dirichlet"}, "did you mean 'hsu-dirichlet'"),
        ({"partition": "ShardPartitioner"}, r"a call has brackets: ShardPartitioner\(\)"),
        ({"partition": "natural", "ids": IDS, "samples_per_user": 0}, "samples_per_user must be at least 1"),
        ({"partition": "natural", "ids": IDS[:7]}, "ids must hold one for each of 1200 samples; received 7"),
        ({"partition": "natural", "ids": IDS, "groups": LABELS}, "ids must be one for all of a group"),
        ({"groups": LABELS[:7]}, "groups must hold one for each of 1200 samples; received 7"),
        ({"partition": "pathological", "samples_per_user": 1}, "must be at least 2, one of each class"),
        ({"alpha": 1e308}, r"alpha must be positive and at most 1e\+15"),
        ({"alpha": True}, "alpha must be a positive number or 'iid'; received True"),
        ({"alpha": None}, "alpha must be a positive number or 'iid'; received None"),
        ({"seed": -1}, "seed must not be negative"),
    ],
)
def test_what_a_rule_does_not_read_or_lacks_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        user_indices(LABELS, 4, **settings)


def test_a_division_gives_every_user_something_and_no_sample_twice() -> None:
    with pytest.raises(ParameterError, match="must give every user a sample"):
        Division([np.array([0]), np.array([], dtype=np.int64)], 3)
    with pytest.raises(ParameterError, match="must give a sample to one user"):
        Division([np.array([0]), np.array([0])], 3)


@pytest.mark.parametrize("parts", [[[0], [-1]], [[0], [3]], [[0.0], [1.0]], []])
def test_a_division_holds_indices_of_samples(parts: list[list[int]]) -> None:
    with pytest.raises(ParameterError, match=r"partition must (hold indices|give every user)"):
        Division([np.array(part) for part in parts], 3)


def test_nobody_can_shuffle_a_division_for_others() -> None:
    mine = np.array([1, 0])
    division = Division([mine], 3)
    with pytest.raises(ValueError, match="read-only"):
        np.random.default_rng(0).shuffle(division[0])
    mine[0] = 2  # a copy was taken
    assert division[0].tolist() == [1, 0]


def test_pathological_users_that_share_a_class_of_too_few_samples_are_too_many() -> None:
    with pytest.raises(ParameterError, match="num_users must be smaller: 240 users share the 120 samples"):
        partition_pathological(LABELS, 1200, 2, np.random.default_rng(0))


@pytest.mark.parametrize("samples", [3, 245])
def test_samples_per_user_of_groups_are_told_in_samples(samples: int) -> None:
    labels, groups = np.repeat(np.arange(10), 120), np.arange(1200) // 4
    with pytest.raises(ParameterError, match=f"between 4, the largest group, and 240: .* received {samples}"):
        user_indices(labels, 5, samples_per_user=samples, groups=groups)
    assert user_indices(labels, 5, samples_per_user=240, groups=groups).sizes.tolist() == [240] * 5


def test_what_is_not_of_the_mix_drawn_is_told_of_groups_too() -> None:
    labels, groups = np.repeat(np.arange(10), 120), np.arange(1200) // 4
    division = user_indices(labels, 12, 0.1, groups=groups)
    assert 4 <= division.num_replaced < 1200


def test_no_embedded_data_set_says_whose_its_images_are() -> None:
    assert load_images("digits").train_ids is None
