"""Whether a code with ``m`` rows exists, decided by going through all its columns up to symmetry.

A user is a set of zeros among the ``m`` rows. A BDC(k, r, n) is ``n`` such sets, any ``k`` of which have a
common zero, no row being in more than ``n - r`` of them. Rows and users may be renamed. So the first few
sets, smallest first, are listed up to renaming: a new set is told by how many rows it takes of each class of
rows that are alike so far. The others are added by backtracking.

What makes it short: the sets of zeros of ``s`` users, with the remaining users, are a BDC(k - s, r, n - s)
again, so any ``s`` users have at least as many common zeros as that code has rows (:func:`least_zeros`).
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import permutations, product

from flower_coded.codes import detection_bound

__all__ = ["code_exists", "least_zeros"]


def least_zeros(k: int, r: int, n: int) -> list[int]:
    """Fewest common zeros of ``s = 0 .. k`` users: a lower bound of BDC(k - s, r, n - s)."""
    return [0, *(detection_bound(k - s, r, n - s) if s < k else 1 for s in range(1, k + 1))]


def code_exists(k: int, r: int, n: int, m: int, *, correction: bool, listed: int = 5) -> bool:
    """Decide whether a BDC, or BCC, (k, r, n) with ``m`` rows exists.

    Parameters
    ----------
    k, r, n, m : int
        ``m`` up to some 20; time grows quickly with ``n`` and with ``m (n - r)`` above the least zeros.
    correction : bool
        Ask for a correction code, in which no two sums are complementary.
    listed : int
        Users listed up to symmetry; up to 6, since their orders are gone through.

    Returns
    -------
    bool

    Examples
    --------
    >>> code_exists(1, 2, 4, 2, correction=False), code_exists(1, 2, 4, 2, correction=True)
    (True, False)
    """
    search = _Search(k, r, n, m, correction)
    states = [_State((), search.sums_of_nobody())]
    for _ in range(min(listed, n)):
        kept: dict[tuple[int, ...], _State] = {}
        for state in states:
            for following in search.with_one_more(state, search.sets_up_to_symmetry(state)):
                kept.setdefault(_canonical(following.sets, m), following)
        states = list(kept.values())
    return any(search.completes(state) for state in states)


class _State:
    """Some users' sets of zeros, and the common zeros of any 0 .. k of them."""

    def __init__(self, sets: tuple[int, ...], common: list[list[int]]) -> None:
        self.sets, self.common = sets, common


class _Search:
    def __init__(self, k: int, r: int, n: int, m: int, correction: bool) -> None:
        self.k, self.r, self.n, self.m, self.correction = k, r, n, m, correction
        self.least = least_zeros(k, r, n)
        self.all_rows = (1 << m) - 1
        self.zeros_left = m * (n - r)
        self._by_size = sorted(range(1 << m), key=int.bit_count)

    def sums_of_nobody(self) -> list[list[int]]:
        return [[self.all_rows], *([] for _ in range(self.k))]

    def with_one_more(self, state: _State, sets: Iterator[int]) -> Iterator[_State]:
        """Give the states that are allowed with one of these sets more."""
        spent = sum(map(int.bit_count, state.sets))
        others = self.n - len(state.sets)
        for zeros in sets:
            # The sets come smallest first, so all that follow are at least as large as this one.
            if spent + others * zeros.bit_count() > self.zeros_left or not self._is_allowed(state, zeros):
                continue
            common = [state.common[0]]
            for size in range(1, self.k + 1):
                common.append(state.common[size] + [each & zeros for each in state.common[size - 1]])
            if not (self.correction and self._has_complements(common)):
                yield _State((*state.sets, zeros), common)

    def sets_up_to_symmetry(self, state: _State) -> Iterator[int]:
        """Give sets of zeros, one for each number of rows taken of every class of rows that are alike."""
        classes: dict[tuple[bool, ...], list[int]] = {}
        for row in range(self.m):
            classes.setdefault(tuple(bool(each >> row & 1) for each in state.sets), []).append(row)
        choices = [
            range(len(rows) + 1) if sum(alike) < self.n - self.r else (0,) for alike, rows in classes.items()
        ]
        smallest = max([self.least[1], *map(int.bit_count, state.sets[-1:])])
        for taken in product(*choices):
            if sum(taken) >= smallest:
                rows = [
                    row for each, number in zip(classes.values(), taken, strict=True) for row in each[:number]
                ]
                yield sum(1 << row for row in rows)

    def completes(self, state: _State) -> bool:
        """Tell whether the remaining users can be found."""
        smallest = max([self.least[1], *map(int.bit_count, state.sets[-1:])])
        sets = [
            each for each in self._by_size if each.bit_count() >= smallest and self._is_allowed(state, each)
        ]
        return self._completes(state, sets)

    def _completes(self, state: _State, sets: list[int]) -> bool:
        if len(state.sets) == self.n:
            return True
        if self.zeros_left == self.n * self.least[1]:  # every row has exactly r ones: one of them is next
            row = min(range(self.m), key=lambda row: -self._ones_missing(state, row))
            sets_next = [each for each in sets if not each >> row & 1]
            return any(self._completes(more, sets) for more in self.with_one_more(state, iter(sets_next)))
        for place, zeros in enumerate(sets):
            for more in self.with_one_more(state, iter([zeros])):
                if self._completes(more, sets[place:]):
                    return True
        return False

    def _ones_missing(self, state: _State, row: int) -> int:
        return self.r - sum(not each >> row & 1 for each in state.sets)

    def _is_allowed(self, state: _State, zeros: int) -> bool:
        for size in range(self.k):
            least = self.least[size + 1]
            if any((each & zeros).bit_count() < least for each in state.common[size]):
                return False
        full = self.n - self.r
        crowded = [row for row in range(self.m) if sum(each >> row & 1 for each in state.sets) >= full]
        if any(zeros >> row & 1 for row in crowded):
            return False
        if self.zeros_left > self.n * self.least[1]:
            return True
        # No zero may be missing: every row has r ones and no more.
        return all(zeros >> row & 1 or self._ones_missing(state, row) > 0 for row in range(self.m))

    def _has_complements(self, common: list[list[int]]) -> bool:
        sums = set().union(*common[1:])
        return any(self.all_rows ^ each in sums for each in sums)


def _canonical(sets: tuple[int, ...], m: int) -> tuple[int, ...]:
    """Give the same tuple for sets that are equal up to names of rows and users."""
    rows = [[each >> row & 1 for each in sets] for row in range(m)]
    return min(
        tuple(sorted(sum(row[user] << place for place, user in enumerate(order)) for row in rows))
        for order in permutations(range(len(sets)))
    )
