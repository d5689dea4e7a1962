"""Detection and correction codes found beforehand, for up to 16 users and some larger ones.

``known_codes.txt`` beside this module holds one code a line: ``C`` (correction) or ``D`` (detection), ``k
r n`` and the zero set of every row in hexadecimal, bit ``j`` for user ``j``.
``benchmarks/search_codes.py`` makes the file again: simulated annealing over the zero sets (Nurmela and
Östergård 1993), unions of orbits under a small group chosen by HiGHS, and columns repeated. A correction
code is a detection code too, so a detection code is listed only where it has fewer rows; a code that
another line gives by leaving out users is not listed. The tests verify every line exhaustively.
"""

from __future__ import annotations

from functools import lru_cache
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

__all__ = ["is_listed", "known_bases", "known_matrix", "known_parameters"]

_LETTERS = {"detection": "DC", "correction": "C"}


def is_listed(num_attackers: int, num_users: int) -> bool:
    """Tell whether the list is complete: every row weight was searched for.

    Parameters
    ----------
    num_attackers, num_users : int
        ``k`` and ``n``.

    Returns
    -------
    bool
        True for up to four attackers among up to 16 users, or any number among up to 10.

    Examples
    --------
    >>> is_listed(4, 16), is_listed(5, 16)
    (True, False)
    """
    return num_users <= 10 or (num_users <= 16 and num_attackers <= 4)


def known_matrix(kind: str, num_attackers: int, row_weight: int, num_users: int) -> NDArray[np.bool_] | None:
    """Find the smallest listed code that gives (k, r, n), if need be without some of its columns.

    Parameters
    ----------
    kind : str
        ``"detection"`` or ``"correction"``.
    num_attackers, row_weight, num_users : int
        ``k``, ``r`` and ``n``.

    Returns
    -------
    ndarray of shape (m, n), bool, or None
        None if no line of the list gives it.

    Examples
    --------
    >>> known_matrix("correction", 4, 4, 12).shape
    (14, 12)
    """
    fitting = [
        (len(words), users, words)
        for (letter, attackers, weight, users), words in _listed().items()
        if letter in _LETTERS[kind] and attackers == num_attackers
        # Leaving out a user takes at most one 1 from a row; a user in no row would be no code.
        if users >= num_users and weight - (users - num_users) >= row_weight
    ]
    if not fitting:
        return None
    _, users, words = min(fitting)
    return _matrix(words, users)[:, :num_users]


def known_bases(kind: str, num_attackers: int) -> list[NDArray[np.bool_]]:
    """List the codes against ``k`` attackers whose columns may be repeated, fewest rows first.

    Parameters
    ----------
    kind : str
        ``"detection"`` or ``"correction"``.
    num_attackers : int
        ``k``.

    Returns
    -------
    list of ndarray of shape (m, n), bool
        Empty for ``k`` beyond the list.

    Examples
    --------
    >>> known_bases("detection", 99)
    []
    """
    chosen = [
        (len(words), users, words)
        for (letter, attackers, _, users), words in _listed().items()
        if letter in _LETTERS[kind] and attackers == num_attackers
    ]
    return [_matrix(words, users) for _, users, words in sorted(chosen)]


def known_parameters() -> list[tuple[str, int, int, int, int]]:
    """List what is listed: kind, ``k``, ``r``, ``n`` and the number of rows.

    Returns
    -------
    list of (str, int, int, int, int)
        In the order of the file.
    """
    names = {"C": "correction", "D": "detection"}
    return [(names[letter], k, r, n, len(words)) for (letter, k, r, n), words in _listed().items()]


@lru_cache(maxsize=1)
def _listed() -> dict[tuple[str, int, int, int], list[int]]:
    text = (files(__package__) / "known_codes.txt").read_text(encoding="ascii")
    listed = {}
    for line in text.splitlines():
        letter, k, r, n, *words = line.split()
        listed[letter, int(k), int(r), int(n)] = [int(word, 16) for word in words]
    return listed


def _matrix(zero_sets: list[int], num_users: int) -> NDArray[np.bool_]:
    words = np.array(zero_sets, dtype=np.int64)[:, None]
    return np.asarray((words >> np.arange(num_users)) & 1 == 0)
