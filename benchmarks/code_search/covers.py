"""Simulated annealing over zero sets: blocks of ``n - r`` users that cover every ``k`` of them.

The method of Nurmela and Östergård (1993). The cost is the number of uncovered sets. A move exchanges one
user of a block for one outside; half of the moves take the user from an uncovered set. A cover found is
turned into detection and correction codes: a user in all blocks is let into a row that can spare him,
rows are made heavier at random, or a row of all ones is added.
"""

from __future__ import annotations

import math
from itertools import combinations

import numba
import numpy as np
from numpy.typing import NDArray

from flower_coded.codes import SubsetCode


def masks(num_users: int, size: int) -> NDArray[np.int64]:
    """All sets of a size as bit masks, in lexicographic order of their members."""
    return np.array([sum(1 << user for user in each) for each in combinations(range(num_users), size)])


class Covering:
    """Tables for one (k, r, n)."""

    def __init__(self, k: int, r: int, n: int) -> None:
        self.k, self.r, self.n, self.size = k, r, n, n - r
        self.sets = masks(n, k)
        self.rank = np.full(1 << n, -1, dtype=np.int32)
        self.rank[self.sets] = np.arange(len(self.sets))
        rest = list(combinations(range(self.size - 1), k - 1))
        self.rest = np.array(rest, dtype=np.int32).reshape(len(rest), k - 1)

    def anneal(self, num_rows: int, generator: np.random.Generator, moves: int) -> NDArray[np.int64] | None:
        """Zero sets that cover everything, or None."""
        left, blocks = _anneal(self.n, self.size, num_rows, self.rank, self.rest, self.sets, generator, moves)
        return blocks if left == 0 else None

    def codes(
        self, zero_sets: NDArray[np.int64], generator: np.random.Generator
    ) -> dict[str, NDArray[np.int64]]:
        """Make the smallest codes of both kinds that this cover leads to at once."""
        found: dict[str, NDArray[np.int64]] = {}
        tried = [self._thinned(zero_sets, generator, only_common=True)]
        tried += [self._thinned(zero_sets, generator, only_common=False) for _ in range(4)]
        tried.append(np.append(zero_sets, 0))  # Lemma 4: no sums are complementary on a row of all ones
        for candidate in tried:
            code = SubsetCode(~((candidate[:, None] >> np.arange(self.n)) & 1).astype(bool))
            for kind in ("detection", "correction"):
                if kind not in found and code.verify(kind, self.k, row_weight=self.r):
                    found[kind] = candidate
        return found

    def _thinned(
        self, zero_sets: NDArray[np.int64], generator: np.random.Generator, *, only_common: bool
    ) -> NDArray[np.int64]:
        """Let users into rows that can spare them: all at random, or only those whom every row leaves out."""
        thinned = zero_sets.copy()
        within = (self.sets & thinned[:, None]) == self.sets
        times = within.sum(axis=0)
        common = int(np.bitwise_and.reduce(thinned))
        pairs = [(row, user) for row in range(len(thinned)) for user in range(self.n)]
        generator.shuffle(pairs)
        for row, user in pairs:
            bit = 1 << user
            if not thinned[row] & bit or (only_common and not common & bit):
                continue
            lost = within[row] & (self.sets & bit > 0)
            if (times[lost] > 1).all():
                thinned[row] &= ~bit
                times -= lost
                within[row] &= ~lost
                common &= ~bit
        return thinned


@numba.njit(cache=True)
def _anneal(n, size, num_rows, rank, rest, sets, generator, moves):  # type: ignore[no-untyped-def]  # noqa: PLR0912, PLR0915 (one compiled loop)
    inside = np.zeros((num_rows, size), np.int32)
    outside = np.zeros((num_rows, n - size), np.int32)
    times = np.zeros(len(sets), np.int32)
    for row in range(num_rows):
        order = generator.permutation(n)
        inside[row], outside[row] = order[:size], order[size:]
        block = 0
        for user in inside[row]:
            block |= 1 << user
        for index in range(len(sets)):
            times[index] += sets[index] & block == sets[index]
    # The uncovered sets as a list with positions, so that one can be drawn and one removed at once.
    listed = np.zeros(len(sets), np.int32)
    place = np.full(len(sets), -1, np.int32)
    left = 0
    for index in range(len(sets)):
        if times[index] == 0:
            listed[left], place[index] = index, left
            left += 1
    others = np.zeros(size - 1, np.int32)
    lost, won = np.zeros(len(rest), np.int32), np.zeros(len(rest), np.int32)
    hot, cold = 0.7, 0.12  # uncovered sets: by trial, a move of +2 goes from 1 in 17 to never
    temperature, cooling = hot, (cold / hot) ** (1.0 / moves)
    for _ in range(moves):
        if left == 0:
            break
        temperature *= cooling
        row, taken, given = (
            generator.integers(0, num_rows),
            generator.integers(0, size),
            generator.integers(0, n - size),
        )
        if generator.random() < 0.5:
            wanted = sets[listed[generator.integers(0, left)]]
            for _try in range(n):
                if (wanted >> outside[row, given]) & 1:
                    break
                given = generator.integers(0, n - size)
        old, new = inside[row, taken], outside[row, given]
        position = 0
        for index in range(size):
            if index != taken:
                others[position] = inside[row, index]
                position += 1
        change = 0
        for index in range(len(rest)):
            block = 0
            for column in range(rest.shape[1]):
                block |= 1 << others[rest[index, column]]
            lost[index], won[index] = rank[block | 1 << old], rank[block | 1 << new]
            change += (times[lost[index]] == 1) - (times[won[index]] == 0)
        if change > 0 and generator.random() >= math.exp(-change / temperature):
            continue
        inside[row, taken], outside[row, given] = new, old
        for index in range(len(rest)):
            gone, come = lost[index], won[index]
            times[gone] -= 1
            if times[gone] == 0:
                listed[left], place[gone] = gone, left
                left += 1
            if times[come] == 0:
                left -= 1
                last = listed[left]
                listed[place[come]], place[last] = last, place[come]
                place[come] = -1
            times[come] += 1
    blocks = np.zeros(num_rows, np.int64)
    for row in range(num_rows):
        for user in inside[row]:
            blocks[row] |= 1 << user
    return left, blocks
