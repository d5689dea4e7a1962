"""Simulated annealing over columns: tracking codes for up to 16 users.

The cost counts pairs of sums that are equal or complementary, sums that are all-ones or zero, and zeros
beyond ``n - r`` in a row. Sums are counted in a table over pairs of complements, so a move, one or two
bits of a column or another column, costs as many lookups as there are sums through it.
"""

from __future__ import annotations

import math
from itertools import combinations

import numba
import numpy as np
from numpy.typing import NDArray


def anneal_columns(
    k: int, r: int, n: int, num_rows: int, generator: np.random.Generator, moves: int
) -> NDArray[np.int64] | None:
    """Columns of a BTC(k, r, n) as words, or None."""
    others = [each for size in range(k) for each in combinations(range(n - 1), size)]
    listed = np.full((len(others), max(1, k - 1)), -1, dtype=np.int32)
    for row, each in zip(listed, others, strict=True):
        row[: len(each)] = each
    table = np.zeros(1 << (num_rows - 1), dtype=np.int16)
    cost, columns = _anneal(n, num_rows, n - r, listed, generator, moves, table)
    return columns if cost == 0 else None


@numba.njit(cache=True)
def _key(word, ones):  # type: ignore[no-untyped-def]
    return min(word, word ^ ones)


@numba.njit(cache=True)
def _anneal(n, num_rows, most_zeros, others, generator, moves, table):  # type: ignore[no-untyped-def]  # noqa: PLR0912, PLR0915 (one compiled loop)
    ones = (1 << num_rows) - 1
    columns = np.zeros(n, np.int64)
    zeros = np.zeros(num_rows, np.int64)
    for user in range(n):
        for row in range(num_rows):
            if generator.random() < 0.45:
                columns[user] |= 1 << row
            else:
                zeros[row] += 1
    table[0] = 1  # zero and all-ones are in use
    cost = 0.0
    for user in range(n):  # every set once, at its last user
        for index in range(len(others)):
            word, is_last = columns[user], True
            for other in others[index]:
                if other >= user:
                    is_last = False
                elif other >= 0:
                    word |= columns[other]
            if is_last:
                cost += table[_key(word, ones)]
                table[_key(word, ones)] += 1
    for row in range(num_rows):
        cost += max(0, zeros[row] - most_zeros)
    rest = np.zeros(len(others), np.int64)
    hot, cold = 1.2, 0.15
    temperature, cooling = hot, (cold / hot) ** (1.0 / moves)
    for _ in range(moves):
        if cost == 0:
            break
        temperature *= cooling
        user, draw = generator.integers(0, n), generator.random()
        old = columns[user]
        new = old ^ (1 << generator.integers(0, num_rows))
        if draw > 0.9:
            new = generator.integers(1, ones)
        elif draw > 0.55:
            new ^= 1 << generator.integers(0, num_rows)
        change = 0.0
        for row in range(num_rows):
            if ((old ^ new) >> row) & 1:
                became_zero = (old >> row) & 1
                change += (zeros[row] >= most_zeros) if became_zero else -(zeros[row] > most_zeros)
        for index in range(len(others)):
            word = 0
            for other in others[index]:
                if other >= 0:
                    word |= columns[other if other < user else other + 1]
            rest[index] = word
            key = _key(word | old, ones)
            table[key] -= 1
            change -= table[key]
        for index in range(len(others)):
            key = _key(rest[index] | new, ones)
            change += table[key]
            table[key] += 1
        if change <= 0 or generator.random() < math.exp(-change / temperature):
            cost += change
            columns[user] = new
            for row in range(num_rows):
                if ((old ^ new) >> row) & 1:
                    zeros[row] += 1 if (old >> row) & 1 else -1
            continue
        for index in range(len(others)):
            table[_key(rest[index] | new, ones)] -= 1
        for index in range(len(others)):
            table[_key(rest[index] | old, ones)] += 1
    return cost, columns
