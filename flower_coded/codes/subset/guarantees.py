"""What a code matrix promises, computed exactly: against indiscriminate and against selective attackers.

*Indiscriminate* attackers, those of the coded subset aggregation paper, poison every model they belong to:
the poisoned models are exactly a k-bar-sum ``Hx``. *Selective* attackers have read code and decoder and
poison whichever of their models they like: any subset of ``Hx``.

Let models answer truly unless poisoned. A wrong label looks as true as the true one when the models that
answer it lie in the reach of ``k`` users, and all other models in the reach of another ``k``. So the true
label is the only one that ``k`` users can explain if and only if no ``2 k`` users reach all models: the
code must be a detection code for ``2 k``. No decoder does better, as the answers are the same whichever set
attacks.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import comb

import numpy as np
from numpy.typing import NDArray

from flower_coded.codes.subset.column_sums import pack_columns, sort_keys

__all__ = ["MAX_WORDS", "Guarantees", "matrix_guarantees"]

MAX_WORDS = 4_000_000
"""Words of 64 models beyond which larger sets of users are not looked at: about a second of work."""


@dataclass(frozen=True)
class Guarantees:
    """The most colluding users that a code withstands, for each promise; 0 where it makes none.

    The numbers are for models that never err by themselves. Real ones do: choose a margin.

    Parameters
    ----------
    detected : int
        ``d``: whichever ``d`` users collude, some model is clean, so an attack shows. The fewest users that
        reach all models are ``d + 1``.
    corrected : int
        ``k``: the true label is known against ``k`` *indiscriminate* attackers (the paper's BCC).
    corrected_selective : int
        ``k' = d // 2``: the true label is known against ``k'`` attackers who poison any of their models.
    tracked : int
        The attackers are known too, if there are at most so many and they are indiscriminate (BTC).
    is_exact : bool
        False if there were too many sets of users to enumerate: the numbers are then lower bounds.

    Examples
    --------
    >>> from flower_coded.codes import backdoor_correction_code
    >>> code = backdoor_correction_code(4, 4, 12, rows="paper")
    >>> code.guarantees.corrected, code.guarantees.corrected_selective
    (4, 2)
    """

    detected: int
    corrected: int
    corrected_selective: int
    tracked: int
    is_exact: bool


def matrix_guarantees(matrix: NDArray[np.bool_]) -> Guarantees:
    """Find the most attackers for which each property of a subset code holds.

    Sets of users are enumerated by size until some reach every model. Users with equal columns have equal
    sums, so only distinct sums of distinct columns are kept, each once, at the fewest users that have it.

    Parameters
    ----------
    matrix : ndarray of shape (m, n), bool
        ``H``; no row is zero.

    Returns
    -------
    Guarantees
        All zero if some user feeds no model, as Definition 1 of the paper has it.

    Examples
    --------
    >>> matrix_guarantees(np.array([[1, 1, 0], [1, 0, 1], [0, 1, 1]], dtype=bool))
    Guarantees(detected=1, corrected=1, corrected_selective=0, tracked=1, is_exact=True)
    """
    if not matrix.any(axis=0).all():
        return Guarantees(0, 0, 0, 0, True)
    words, users = np.unique(pack_columns(matrix), axis=0), matrix.shape[1]
    ones = pack_columns(np.ones((len(matrix), 1), dtype=bool))[0]
    level = seen = words  # the sums that need exactly `size` users; all that need no more
    num_sets = users  # sets of users whose sums must all differ for tracking
    detected, corrected, tracked, size, is_exact = 0, 0, 0, 1, True
    while not (level == ones).all(axis=1).any():
        detected = size
        # Correction can fail first, and then fails for good; so does tracking, which includes it.
        if corrected == size - 1 and not np.isin(sort_keys(seen ^ ones), sort_keys(seen)).any():
            corrected = size
        if tracked == size - 1 and corrected == size and len(words) == users and len(seen) == num_sets:
            tracked = size
        if len(level) * words.size > MAX_WORDS:
            is_exact = False
            break
        size += 1
        num_sets += comb(users, size)
        level = _new_sums(level, words, seen)
        seen = np.concatenate([seen, level])
    return Guarantees(detected, corrected, detected // 2, tracked, is_exact)


def _new_sums(
    level: NDArray[np.uint64], words: NDArray[np.uint64], seen: NDArray[np.uint64]
) -> NDArray[np.uint64]:
    """Add one more user to every sum of the last size; keep what no smaller set has."""
    sums = (level[:, None, :] | words[None, :, :]).reshape(-1, words.shape[1])
    sums = np.unique(sums, axis=0)
    return sums[~np.isin(sort_keys(sums), sort_keys(seen))]
