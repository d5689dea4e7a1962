"""Integer programs that decide whether a code with ``m`` rows exists.

Of a correction code with few rows, columns are words of ``m`` bits; ``y_c`` says whether column ``c`` occurs,
``w_c`` how often. Row weights are linear in ``w``. Each set of columns with a sum of all-ones, and each two
with complementary sums, must not occur together: such constraints are added as they are violated, with
their images under permutations of the rows. Of a detection code, rows are chosen.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import combinations

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_matrix

from code_search.columns import least_zeros
from code_search.covers import masks


def correction_code_exists(k: int, r: int, n: int, m: int, *, seconds: float) -> bool | None:
    """Whether BCC(k, r, n) can have ``m`` rows; None if time ran out."""
    started, ones = time.monotonic(), (1 << m) - 1
    number = ones - 1  # columns 1 .. ones - 1: neither zero nor all-ones
    words = np.arange(1, ones)
    bits = (words[None, :] >> np.arange(m)[:, None]) & 1
    identity, none = np.eye(number), np.zeros((1, number))
    rows = [
        np.hstack([-n * identity, identity]),  # w <= n y
        np.hstack([identity, -identity]),  # y <= w
        np.hstack([none, none + 1]),
        np.hstack([np.zeros_like(bits), bits]),
    ]
    lower = np.concatenate([np.full(2 * number, -np.inf), [n], np.full(m, r)])
    upper = np.concatenate([np.zeros(2 * number), [n], np.full(m, np.inf)])
    cuts = {frozenset((a, ones ^ a)) for a in range(1, ones)}
    cuts |= {
        frozenset(pair) for pair in combinations(range(1, ones), 2) if k > 1 and pair[0] | pair[1] == ones
    }
    generator = np.random.default_rng(0)
    while time.monotonic() - started < seconds:
        forbidden = np.zeros((len(cuts), 2 * number))
        for row, cut in zip(forbidden, cuts, strict=True):
            row[[column - 1 for column in cut]] = 1
        limits = np.array([len(cut) - 1 for cut in cuts])
        solved = milp(
            np.zeros(2 * number),
            constraints=[
                LinearConstraint(csr_matrix(np.vstack(rows)), lower, upper),
                LinearConstraint(csr_matrix(forbidden), -np.inf, limits),
            ],
            integrality=np.ones(2 * number),
            bounds=Bounds(0, np.repeat([1, n], number)),
            options={"time_limit": seconds - (time.monotonic() - started)},
        )
        if solved.status == 2:
            return False
        if solved.x is None:
            return None
        violated = set(_violations([int(w) for w in words[solved.x[:number] > 0.5]], k, ones))
        if not violated:
            return True
        for cut in list(violated):
            for _ in range(60):
                order = generator.permutation(m)
                violated.add(frozenset(sum(((c >> i) & 1) << int(order[i]) for i in range(m)) for c in cut))
        cuts |= violated
    return None


def _violations(columns: list[int], k: int, ones: int) -> Iterator[frozenset[int]]:
    sums: dict[int, list[tuple[int, ...]]] = {}
    for size in range(1, k + 1):
        for chosen in combinations(columns, size):
            sums.setdefault(int(np.bitwise_or.reduce(chosen)), []).append(chosen)
    yield from map(frozenset, sums.get(ones, []))
    for total, sets in sums.items():
        for one in sets[:30]:
            for other in sums.get(ones ^ total, [])[:30]:
                yield frozenset(one) | frozenset(other)


def detection_code_exists(k: int, r: int, n: int, m: int, *, seconds: float) -> bool | None:
    """Whether BDC(k, r, n) can have ``m`` rows; None if time ran out.

    A variable for each zero set of ``n - r`` users says how often it occurs. Any ``s`` users lie in at least
    as many zero sets as a BDC(k - s, r, n - s) has rows (:func:`~code_search.columns.least_zeros`); for ``s =
    k`` that is the definition. Users are numbered by how many rows leave them out.
    """
    blocks = masks(n, n - r)
    least = least_zeros(k, r, n)
    rows, lower = [], []
    for size in range(1, k + 1):
        for each in masks(n, size):
            rows.append((blocks & each) == each)
            lower.append(float(least[size]))
    times = np.array(rows[:n], dtype=np.float64)
    solved = milp(
        np.zeros(len(blocks)),
        constraints=[
            LinearConstraint(csr_matrix(np.array(rows, dtype=np.float64)), lower, np.inf),
            LinearConstraint(np.ones((1, len(blocks))), -np.inf, m),
            LinearConstraint(times[1:] - times[:-1], 0, np.inf),
        ],
        integrality=np.ones(len(blocks)),
        bounds=Bounds(0, np.inf),
        options={"time_limit": seconds},
    )
    if solved.status == 2:
        return False
    return None if solved.x is None else True
