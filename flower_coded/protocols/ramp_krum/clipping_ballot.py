"""A clipping bound that users agree on, without anybody seeing an update or a user's own number.

Each user looks up how large the entries of its update are, finds the cell of a public logarithmic grid that
holds this number, and shares a *ballot*: a vector with a one in that cell and zeros elsewhere. A round of the
protocol without distances adds the ballots of all users and opens the sum, a histogram of at most N numbers;
a quantile of it is the bound.

A ballot stands under the checks of every round (:mod:`flower_coded.protocols.ramp_krum.norm_check`, the range
checks). With the bound on its norm at exactly 1 an accepted ballot is a vector of integers whose squares add
up to at most 1: all zeros, or a single 1 or -1. So a liar, whatever it sends, moves every cumulative count by
at most one.

**What a quantile of it is worth.** Of n ballots, at most a from liars, let F(c) be the sum of the counts up
to cell c, and the result the first cell with F(c) >= k. Liars move F(c) by at most a either way. So at least
k - a honest numbers lie in the result's cell or below it, and fewer than k + a lie below that cell: the
result is between the cells of the (k - a)-th and of the (k + a)-th smallest honest number.
:func:`read_ballots` takes k from a + 1 to n - 2 a; then both exist, for all honest users vote, and liars
cannot keep F from reaching k.

**What is learned.** The server reads the histogram: how many users have numbers in which cell, not who. Who
knows c of the ballots knows the histogram of the others. Users learn the bound. A ballot holds nothing else
of an update, so a server that calls a round of updates a ballot is sent ballots.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from flower_coded.crypto.fixed_point import FixedPoint
from flower_coded.crypto.ramp_sharing import RampSharing
from flower_coded.errors import ParameterError, RoundRefusedError
from flower_coded.protocols.ramp_krum.parameters import RampKrumParameters

__all__ = ["EDGES", "ballot", "ballot_parameters", "read_ballots"]

_LARGEST_EXPONENT, _CELLS_PER_DOUBLING, _NUM_CELLS = 12, 2, 64

EDGES: NDArray[np.float64] = 2.0 ** (
    _LARGEST_EXPONENT - np.arange(_NUM_CELLS - 1, -1, -1) / _CELLS_PER_DOUBLING
)
"""Upper edges of the cells, in the unit of an update: ``2**-19.5`` to ``2**12``, two for each doubling."""


def ballot_parameters(
    sharing: RampSharing,
    *,
    share: float,
    chunk_size: int | None = 4096,
    is_blinded: bool = True,
    hides_products: bool = True,
    soundness_bits: int = 40,
    waives_colluder_bound: bool = False,
) -> RampKrumParameters:
    """Return the parameters of the round in which ballots are added.

    Parameters
    ----------
    sharing : RampSharing
        N, K, T, A and D of the rounds to come.
    share : float
        Of a user's entries, the share that its number may leave cut; from 0 (the number is its largest entry)
        to below 1.
    chunk_size, is_blinded, hides_products, soundness_bits, waives_colluder_bound
        As in :class:`RampKrumParameters`.

    Returns
    -------
    RampKrumParameters
        Of length :data:`EDGES`, one block, whose norm is at most 1; everybody is selected.

    Raises
    ------
    ParameterError
        If there cannot be such a round.

    Examples
    --------
    >>> sharing = RampSharing(num_users=12, num_parts=2, num_colluders=2, num_attackers=2, num_dropouts=1)
    >>> parameters = ballot_parameters(sharing, share=0.001)
    >>> parameters.length, parameters.num_selected, parameters.norm_check.bound, parameters.num_products
    (64, 9, 1, 12)
    """
    # Of two bits, integers are -1, 0 and 1.
    return RampKrumParameters(
        sharing,
        num_selected=sharing.num_users - sharing.num_attackers - sharing.num_dropouts,
        length=len(EDGES),
        fixed_point=FixedPoint(num_bits=2, clipping=1.0),
        chunk_size=chunk_size,
        is_blinded=is_blinded,
        hides_products=hides_products,
        soundness_bits=soundness_bits,
        block_columns=-(-len(EDGES) // sharing.num_parts),
        block_norm=1.0,
        waives_colluder_bound=waives_colluder_bound,
        ballot_share=share,
    )


def ballot(values: NDArray[np.float64], share: float) -> NDArray[np.int64]:
    """Return a user's ballot.

    Parameters
    ----------
    values : ndarray of shape (L,), float64
        The entries of the update that are clipped.
    share : float
        See :func:`ballot_parameters`.

    Returns
    -------
    ndarray of shape (len(EDGES),), int64
        A one in the first cell whose edge at most ``share`` of the entries exceed; in the last cell if there
        is none, in the first if there are no entries.

    Raises
    ------
    ParameterError
        If an entry is not finite.

    Examples
    --------
    >>> float(EDGES[ballot(np.array([0.1, -0.3, 0.2]), 0.0).argmax()])
    0.3535533905932738
    """
    vote = np.zeros(len(EDGES), dtype=np.int64)
    sizes = np.abs(values)
    if not np.isfinite(sizes).all():
        raise ParameterError("values", "must be finite", f"{np.sum(~np.isfinite(sizes))} that are not")
    if not len(sizes):
        vote[0] = 1
        return vote
    # So many of the largest may lie above: the next one decides.
    spare = min(math.floor(share * len(sizes)), len(sizes) - 1)
    number = float(np.partition(sizes, len(sizes) - 1 - spare)[len(sizes) - 1 - spare])
    vote[min(int(np.searchsorted(EDGES, number)), len(EDGES) - 1)] = 1
    return vote


def read_ballots(
    counts: NDArray[np.int64], *, num_ballots: int, num_attackers: int, quantile: float
) -> float:
    """Read the bound off the sum of all ballots.

    Parameters
    ----------
    counts : ndarray of shape (len(EDGES),), int64
        The sum.
    num_ballots : int
        n, users whose ballots were added.
    num_attackers : int
        a, liars who may be among them.
    quantile : float
        From 0, the smallest that liars cannot choose, over 0.5, the median, to 1, the largest such.

    Returns
    -------
    float
        The edge of a cell, between those of two honest users; see the module.

    Raises
    ------
    RoundRefusedError
        If ``n < 3 a + 1``, or no cell has enough votes below it, which takes more than a liars.

    Examples
    --------
    >>> counts = np.zeros(len(EDGES), dtype=np.int64)
    >>> counts[[30, 31, 33, 40]] = 2, 3, 2, 1  # eight users near each other, and one
    >>> bool(read_ballots(counts, num_ballots=8, num_attackers=1, quantile=0.5) == EDGES[31])
    True
    """
    ranks = num_ballots - 3 * num_attackers
    if ranks < 1:
        raise RoundRefusedError(
            "ballots",
            "too few ballots for a clipping bound that liars cannot choose",
            received=num_ballots,
            needed=3 * num_attackers + 1,
        )
    rank = num_attackers + 1 + math.floor(quantile * (ranks - 1) + 0.5)
    reached = np.cumsum(counts) >= rank
    if not reached.any():  # argmax would take it for the first cell, the least bound there is
        raise RoundRefusedError(
            "ballots",
            "fewer votes than honest users alone would give: more users lie than num_attackers",
            received=int(np.cumsum(counts).max()),
            needed=rank,
        )
    return float(EDGES[int(np.argmax(reached))])
