"""Accusing users by a standard of proof: named only if hardly any explanation does without them.

An explanation is a set of users who together account for what models answered, with a posterior. The
likeliest one is a guess: two explanations of posterior .51 and .49 accuse different people. A user is named
if the explanations that do *not* contain him, all together, have at most the posterior that the standard of
proof leaves. Users with equal columns of the code are in an explanation together ("one of these").
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["named_users"]


def named_users(
    weights: NDArray[np.float64], members: NDArray[np.bool_], standard_of_proof: float
) -> NDArray[np.bool_]:
    """Name the users whom (nearly) every explanation contains.

    Parameters
    ----------
    weights : ndarray of shape (B, E), float64
        Posterior of every explanation for every sample; rows sum to one.
    members : ndarray of shape (E, n), bool
        The users of each explanation, with all who have equal columns.
    standard_of_proof : float
        ``s`` below 1: the posterior of the explanations without a named user is at most ``1 - s``.

    Returns
    -------
    ndarray of shape (B, n), bool

    Examples
    --------
    >>> members = np.array([[True, True, False], [True, False, True]])
    >>> named_users(np.array([[0.6, 0.4]]), members, 0.99).tolist()
    [[True, False, False]]
    """
    without = weights @ (~members).astype(np.float64)
    # Rounding of a sum of posteriors must not be what acquits or convicts.
    return np.asarray(without <= (1 - standard_of_proof) * (1 + 1e-9) + 1e-12)
