"""Codes found beforehand, for up to 16 users and some larger ones.

``known_codes.txt`` beside this module holds one detection (``D``) or correction (``C``) code a line: ``k
r n`` and the zero set of every row in hexadecimal, bit ``j`` for user ``j``. ``tracking_codes.txt`` holds
``k r n m`` and the columns, bit ``i`` for row ``i``. ``benchmarks/search_codes.py`` improves both:
simulated annealing over zero sets and over columns, unions of orbits under a small group chosen by HiGHS.
A correction code is a detection code too, so a detection code is listed only where it has fewer rows;
what another line gives by leaving out users, or the paper's construction has as few rows of, is not
listed. The tests verify every line exhaustively.
"""

from __future__ import annotations

from functools import lru_cache
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "is_listed",
    "known_bases",
    "known_matrix",
    "known_parameters",
    "known_tracking_matrix",
    "tracking_parameters",
]

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


def known_tracking_matrix(num_attackers: int, row_weight: int, num_users: int) -> NDArray[np.bool_] | None:
    """Find the smallest listed tracking code that gives (k, r, n), if need be without some of its columns.

    Parameters
    ----------
    num_attackers, row_weight, num_users : int
        ``k``, ``r`` and ``n``.

    Returns
    -------
    ndarray of shape (m, n), bool, or None
        None if no line of the list gives it.

    Examples
    --------
    >>> known_tracking_matrix(2, 2, 8).shape
    (7, 8)
    """
    fitting = [
        # Of as many rows the lightest: heavier columns have sums that are told apart less well.
        (num_models, users, weight, words)
        for (attackers, weight, users), (num_models, words) in _listed_tracking().items()
        if attackers == num_attackers and users >= num_users and weight - (users - num_users) >= row_weight
    ]
    if not fitting:
        return None
    num_models, _, _, words = min(fitting)
    columns = np.array(words[:num_users], dtype=np.int64)
    return np.asarray((columns[None, :] >> np.arange(num_models)[:, None]) & 1 == 1)


def tracking_parameters() -> list[tuple[int, int, int, int]]:
    """List the tracking codes: ``k``, ``r``, ``n`` and the number of rows.

    Returns
    -------
    list of (int, int, int, int)
        In the order of the file.
    """
    return [(k, r, n, num_models) for (k, r, n), (num_models, _) in _listed_tracking().items()]


def _lines(name: str) -> list[str]:
    return (files(__package__) / name).read_text(encoding="ascii").splitlines()


@lru_cache(maxsize=1)
def _listed_tracking() -> dict[tuple[int, int, int], tuple[int, list[int]]]:
    listed = {}
    for line in _lines("tracking_codes.txt"):
        k, r, n, num_models, *words = line.split()
        listed[int(k), int(r), int(n)] = int(num_models), [int(word, 16) for word in words]
    return listed


@lru_cache(maxsize=1)
def _listed() -> dict[tuple[str, int, int, int], list[int]]:
    listed = {}
    for line in _lines("known_codes.txt"):
        letter, k, r, n, *words = line.split()
        listed[letter, int(k), int(r), int(n)] = [int(word, 16) for word in words]
    return listed


def _matrix(zero_sets: list[int], num_users: int) -> NDArray[np.bool_]:
    words = np.array(zero_sets, dtype=np.int64)[:, None]
    return np.asarray((words >> np.arange(num_users)) & 1 == 0)
