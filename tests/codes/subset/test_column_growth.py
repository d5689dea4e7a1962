"""Tracking codes for many users: grown column by column, and in two stages."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flower_coded.codes import SubsetCode, backdoor_tracking_code, two_stage_tracking
from flower_coded.codes.subset.column_growth import _UsedSums, expected_models, grow_columns
from flower_coded.codes.subset.column_sums import pack_columns
from flower_coded.codes.subset.two_stage import TwoStageTracking
from flower_coded.errors import ParameterError


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32), k=st.integers(1, 3), r=st.integers(1, 8), more=st.integers(4, 20))
def test_grow_columns__gives_a_tracking_code_or_nothing(seed: int, k: int, r: int, more: int) -> None:
    matrix = grow_columns(k, r, k + r + more, np.random.default_rng(seed), most_models=80)
    if matrix is not None:
        assert matrix.shape[1] == k + r + more
        assert len(matrix) <= 80
        assert SubsetCode(matrix).verify("tracking", k, row_weight=r)


@pytest.mark.parametrize("num_rows", [40, 64, 65, 130])
def test_used_sums__know_every_sum_and_complement(num_rows: int) -> None:
    generator = np.random.default_rng(num_rows)
    words = pack_columns(generator.random((num_rows, 5)) < 0.5)
    used = _UsedSums(2, num_rows)
    assert all(used.add(word) for word in words)
    ones = pack_columns(np.ones((num_rows, 1), dtype=bool))[0]
    for one, other in combinations(words, 2):
        for refused in (one, one | other, one ^ ones, (one | other) ^ ones, ones, one & ~one):
            assert not used.add(refused)
            assert not _UsedSums(2, num_rows, words).add(refused)  # rebuilt at once: the same sums


def test_expected_models__grow_with_the_row_weight_only_where_it_binds() -> None:
    assert expected_models(2, 100, 1000)[0] == expected_models(2, 300, 1000)[0]
    assert expected_models(2, 300, 1000)[0] < expected_models(2, 600, 1000)[0]


def test_backdoor_tracking_code__for_a_hundred_users_is_grown() -> None:
    code = backdoor_tracking_code(2, 40, 120)  # 7,260 sets
    assert code.verify(row_weight=40)
    assert code.num_models < 30


@pytest.mark.experiment
@pytest.mark.parametrize(("row_weight", "most_models"), [(250, 40), (500, 50), (750, 165)])
def test_backdoor_tracking_code__for_a_thousand_users(row_weight: int, most_models: int) -> None:
    code = backdoor_tracking_code(2, row_weight, 1000)
    assert code.verify(row_weight=row_weight)
    assert code.num_models <= most_models


def test_two_stages__name_every_pair_of_users() -> None:
    plan = two_stage_tracking(2, 20, 40)
    first = {plan.first.reach(pair).tobytes(): pair for pair in combinations(range(40), 2)}
    assert plan.first.row_weight >= 20
    for pair in combinations(range(0, 40, 3), 2):
        named = first[plan.first.reach(pair).tobytes()]  # any users of the same groups
        groups = {user // plan.group_size for user in named}
        second = plan.second(groups)
        assert second.row_weight >= 20
        suspects = plan.suspects(groups)
        explaining = [
            users
            for size in (1, 2)
            for users in combinations(suspects, size)
            if np.array_equal(second.reach(users), second.reach(pair))
        ]
        assert explaining == [pair]


@pytest.mark.experiment
def test_two_stages__take_fewer_models_where_rows_are_heavy() -> None:
    plan = two_stage_tracking(2, 60, 80)
    assert sum(plan.num_models()) < backdoor_tracking_code(2, 60, 80).num_models


def test_two_stages__refuse_what_cannot_be() -> None:
    plan = TwoStageTracking(2, 20, 40, group_size=4)
    for groups, message in [([], "must be 1 to 2"), ([1, 2, 3], "must be 1 to 2"), ([10], r"0 \.\. 9")]:
        with pytest.raises(ParameterError, match=message):
            plan.second(groups)
    with pytest.raises(ParameterError, match=r"group_size must lie in 1 .. 10"):
        TwoStageTracking(2, 20, 40, group_size=11)
