"""The trade-off explorer and the lower bounds it states."""

from __future__ import annotations

from itertools import combinations
from math import comb

import numpy as np
import pytest

from flower_coded.codes import (
    SubsetCode,
    build_code,
    correction_bound,
    detection_bound,
    explore_trade_off,
    tracking_bound,
)
from flower_coded.errors import ParameterError


@pytest.mark.parametrize("kind", ["detection", "correction", "tracking"])
def test_explore_trade_off__lists_every_row_weight_with_its_code(kind: str) -> None:
    table = explore_trade_off(10, 2, kind)
    assert [entry.row_weight for entry in table] == list(range(1, 9))
    for entry in table:
        code = build_code(kind, 2, entry.row_weight, 10, rows="fewest")
        assert code.verify(row_weight=entry.row_weight)
        assert entry.num_models == code.num_models >= entry.lower_bound
        assert entry.data_utilization == code.data_utilization >= entry.row_weight / 10
        assert entry.is_optimal == (entry.num_models == entry.lower_bound)
        assert entry.training_cost == pytest.approx(code.matrix.sum() / 10)
    assert table[-1].num_models == comb(10, 2)  # n = k + r, Theorem 3


def test_explore_trade_off__stops_where_codes_become_too_large() -> None:
    assert [entry.row_weight for entry in explore_trade_off(16, 4, max_models=20)] == list(range(1, 7))


def test_explore_trade_off__refuses_unknown_kinds_and_too_few_users() -> None:
    for explore in (lambda: explore_trade_off(8, 2, "btc"), lambda: build_code("btc", 2, 2, 8)):
        with pytest.raises(ParameterError, match="kind must be one of detection, correction, tracking"):
            explore()
    with pytest.raises(ParameterError, match="num_users must be at least"):
        explore_trade_off(3, 3)


# Covering numbers from the literature are at least the bound, and equal it here: C(7,3,2) = 7 (Fano plane),
# C(9,3,2) = 12 (affine plane of order 3), C(8,4,3) = 14 (a Steiner system), C(6,3,2) = 6.
@pytest.mark.parametrize(
    ("num_users", "block", "num_attackers", "covering_number"),
    [(7, 3, 2, 7), (9, 3, 2, 12), (8, 4, 3, 14), (6, 3, 2, 6)],
)
def test_detection_bound__is_attained_by_known_designs(
    num_users: int, block: int, num_attackers: int, covering_number: int
) -> None:
    assert detection_bound(num_attackers, num_users - block, num_users) == covering_number


@pytest.mark.parametrize("num_users", [2, 3, 4])
def test_bounds__are_below_the_exhaustive_minimum(num_users: int) -> None:
    """Try every matrix of up to four (three) rows: no code may beat its bound."""
    vectors = np.array(list(np.ndindex(*[2] * num_users)), dtype=bool)[1:]
    bounds = {"detection": detection_bound, "correction": correction_bound, "tracking": tracking_bound}
    for num_models in range(1, 5 if num_users < 4 else 4):
        for rows in combinations(range(len(vectors)), num_models):
            code = SubsetCode(vectors[list(rows)])
            for kind, bound in bounds.items():
                if code.row_weight + 1 <= num_users and code.verify(kind, 1):
                    assert bound(1, code.row_weight, num_users) <= num_models, (kind, code)


@pytest.mark.parametrize("bound", [detection_bound, correction_bound, tracking_bound])
def test_bounds__refuse_the_infeasible_and_grow_with_the_row_weight(bound) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ParameterError):
        bound(2, 7, 8)
    values = [bound(2, row_weight, 12) for row_weight in range(1, 11)]
    assert values == sorted(values)
    assert values[-1] == comb(12, 2)
