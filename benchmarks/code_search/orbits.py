"""Covers with a symmetry: unions of orbits of blocks under a random small group, chosen by HiGHS.

With a group of some ten permutations the thousands of blocks and sets shrink to hundreds of orbits, and
the set cover over orbits is solved, or bounded in time. Large codes (the Steiner systems among them) are
found so.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import coo_matrix, csr_matrix
from scipy.sparse.csgraph import connected_components

from code_search.covers import masks


def orbit_cover(
    k: int,
    r: int,
    n: int,
    fewer_than: int,
    generator: np.random.Generator,
    *,
    seconds: float,
    most: int = 500,
) -> NDArray[np.int64] | None:
    """Draw one group and solve; None if its orbits are too many or give no smaller cover."""
    blocks, sets = masks(n, n - r), masks(n, k)
    group = _random_group(n, generator)
    of_block, of_set = _orbits(group, blocks, n), _orbits(group, sets, n)
    num_blocks, num_sets = of_block.max() + 1, of_set.max() + 1
    if num_blocks > most:
        return None
    sizes = np.bincount(of_block)
    one_of = np.zeros(num_sets, dtype=np.int64)
    one_of[of_set] = sets
    # An orbit of sets is covered if one of its sets is, by any block of a chosen orbit.
    covers = [np.unique(of_block[(blocks & each) == each]) for each in one_of]
    rows = np.repeat(np.arange(num_sets), [len(each) for each in covers])
    matrix = csr_matrix((np.ones(len(rows)), (rows, np.concatenate(covers))), shape=(num_sets, num_blocks))
    solved = milp(
        sizes.astype(float),
        constraints=[
            LinearConstraint(matrix, 1, np.inf),
            LinearConstraint(sizes[None, :].astype(float), -np.inf, fewer_than - 1),
        ],
        integrality=np.ones(num_blocks),
        bounds=Bounds(0, 1),
        options={"time_limit": seconds},
    )
    return None if solved.x is None else blocks[np.rint(solved.x)[of_block] == 1]


def _orbits(group: list[NDArray[np.int64]], sets: NDArray[np.int64], n: int) -> NDArray[np.int64]:
    """Give each set the number of its orbit: a connected part of the graph of sets and images."""
    index = np.zeros(1 << n, dtype=np.int64)
    index[sets] = np.arange(len(sets))
    images = [sum(((sets >> user) & 1) << int(image) for user, image in enumerate(each)) for each in group]
    ends = np.concatenate([index[np.asarray(image)] for image in images])
    starts = np.tile(np.arange(len(sets)), len(group))
    graph = coo_matrix((np.ones(len(ends)), (starts, ends)), shape=(len(sets), len(sets)))
    return np.asarray(connected_components(graph, directed=False)[1], dtype=np.int64)


def _random_group(n: int, generator: np.random.Generator) -> list[NDArray[np.int64]]:
    """Rotations of one or more cycles of one length, often with a multiplier; translations of GF(2)^4."""
    if n == 16 and generator.random() < 0.3:
        count = int(generator.integers(2, 5))
        return [np.arange(16) ^ (1 << bit) for bit in range(count)]
    length = int(generator.integers(2, n + 1))
    copies = int(generator.integers(1, n // length + 1))
    start = np.arange(copies)[:, None] * length
    position = np.arange(length)
    group = []
    units = [unit for unit in range(2, length) if math.gcd(unit, length) == 1]
    images = [(position + 1) % length]
    if units and generator.random() < 0.6:
        images.append(int(generator.choice(units)) * position % length)
    for image in images:
        permutation = np.arange(n)
        permutation[(start + position).ravel()] = (start + image).ravel()
        group.append(permutation)
    return group
