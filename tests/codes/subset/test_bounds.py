"""Lower bounds on models: single values against other derivations, and codes that attain them."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from scipy.optimize import linprog

from flower_coded.codes import build_code, correction_bound, detection_bound
from flower_coded.codes.subset.bounds import _PAIRS, COMPUTED, NO_CORRECTION


def maximal_intersecting_families(points: int) -> list[list[int]]:
    """All families of subsets, any two of which meet, that nothing can be added to: by brute force.

    A maximal family holds one of every set and its complement. (Sets that hold another one are in it too.)
    """
    everything = (1 << points) - 1
    pairs = [(each, everything ^ each) for each in range(1 << (points - 1))]
    families: list[list[int]] = [[]]
    for pair in pairs:
        families = [
            [*family, each]
            for family in families
            for each in pair
            if each and all(each & other for other in family)
        ]
    return families


@pytest.mark.parametrize(("rows", "number"), [(3, 4), (4, 12), (5, 81)])
def test_so_many_rows_cover_all_pairs_for_no_lighter_rows_than_mills_says(rows: int, number: int) -> None:
    families = maximal_intersecting_families(rows)
    assert len(families) == number  # OEIS A001206
    best = 0.0
    for family in families:
        holds = np.array([[each >> row & 1 for each in family] for row in range(rows)])
        solved = linprog(-np.ones(len(family)), A_ub=holds, b_ub=np.ones(rows))
        best = max(best, -solved.fun)
    top, low = _PAIRS[rows - 3]
    assert best == pytest.approx(top / low)


@pytest.mark.parametrize("rows", [3, 6, 7, 12, 13])
def test_the_short_argument_gives_these_fractions(rows: int) -> None:
    top, low = _PAIRS[rows - 3]
    above = top // low + 1  # points of every set of a family that weighs more
    assert rows / above <= top / low


@pytest.mark.parametrize(("k", "r", "n"), sorted({*COMPUTED, *NO_CORRECTION}))
def test_single_values_fit_between_those_of_other_parameters(k: int, r: int, n: int) -> None:
    value = correction_bound(k, r, n) - ((k, r, n) in NO_CORRECTION)
    assert value == detection_bound(k, r, n)
    assert detection_bound(k - 1, r, n - 1) < value, "the rows that leave one user out are fewer"
    assert detection_bound(k, r, n + 1) <= value, "a user more needs no more rows"
    if n > k + r:
        assert value <= detection_bound(k, r + 1, n), "lighter rows are no harder"


def test_zero_sets_of_the_fano_plane_cover_all_pairs_with_seven_rows() -> None:
    code = build_code("detection", 2, 4, 7, rows="fewest")
    assert code.num_models == detection_bound(2, 4, 7) == 7
    covered = {pair for row in ~code.matrix for pair in combinations(np.flatnonzero(row).tolist(), 2)}
    assert len(covered) == 21
