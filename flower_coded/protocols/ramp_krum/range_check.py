"""Showing that updates are short without showing them: masked sums of random subsets.

Distances mean something only for short vectors. F_r contains a square root i of -1, so a user who adds (c, i
c) to two entries changes no distance modulo r and yet, once selected, moves the sum by c. This check keeps
such updates out and names who sent them:

1. Behind the entries of every part ``w_k``, its slack included, a dealer places Q random masks ``y_q`` in
   ``[0, W)``, and commits to all of it.
2. When all disputes are settled the server draws Q random subsets of the entries. From then on a dealer
   cannot leave the round: its shares are with the others, and so is the answer to this challenge.
3. Every user sends, for each dealer, the subset sums of its share plus the share of the mask. That is a share
   of ``sum_{j in S_q} w_k[j] + y_q``, which the server decodes with errors and erasures.
4. An honest sum lies within ``[-H, W + H]``, where H is the largest sum of an honest part and its slack. Of
   an update with an entry that is no integer of absolute value below ``W + 2 H``, each subset sum is outside
   with probability at least 1/2: the subsets with and without this entry differ by it, and not both can be
   inside.

W is ``2**hiding_bits`` times H, so that what is opened says nothing about it (statistical distance
``2**-hiding_bits`` per sum), and still so small that the sums of squares of accepted vectors stay below r/2:
their norms and distances are the integers they should be.
"""

from __future__ import annotations

import hashlib
import secrets

import numpy as np
from numpy.typing import NDArray

from flower_coded.crypto.field_vectors import FIELD_MODULUS, FieldArray, from_ints
from flower_coded.errors import ParameterError
from flower_coded.protocols.ramp_krum.parameters import RampKrumParameters

__all__ = ["CHALLENGE_BYTES", "draw_range_masks", "is_in_range", "random_subsets", "subset_sums"]

CHALLENGE_BYTES = 32

_LONGEST = 1 << 21  # sums of 32-bit words of so many entries are exact in double precision


def draw_range_masks(parameters: RampKrumParameters) -> FieldArray:
    """Draw the masks of a dealer, of shape (K, Q, 4), from the system's cryptographic generator."""
    shape = (parameters.sharing.num_parts, parameters.num_range_checks)
    bound = parameters.range_mask_bound
    flat = [secrets.randbelow(bound) for _ in range(shape[0] * shape[1])]
    return from_ints(flat).reshape(*shape, 4)


def random_subsets(challenge: bytes, *, num_subsets: int, length: int) -> NDArray[np.bool_]:
    """Expand the server's challenge into subsets, by SHAKE-256.

    Parameters
    ----------
    challenge : bytes of length 32
    num_subsets, length : int
        Q and M.

    Returns
    -------
    ndarray of shape (Q, M), bool
        Every entry is in a subset with probability 1/2.

    Examples
    --------
    >>> random_subsets(bytes(32), num_subsets=2, length=3).shape
    (2, 3)
    """
    num_bytes = -(-num_subsets * length // 8)
    stream = hashlib.shake_256(b"flower_coded range check" + challenge).digest(num_bytes)
    bits = np.unpackbits(np.frombuffer(stream, dtype=np.uint8))[: num_subsets * length]
    return bits.reshape(num_subsets, length).astype(bool)


def subset_sums(vectors: FieldArray, subsets: NDArray[np.bool_]) -> FieldArray:
    """Add up the entries of every vector that stand in every subset.

    Parameters
    ----------
    vectors : ndarray of shape (n, M, 4), uint64
    subsets : ndarray of shape (Q, M), bool

    Returns
    -------
    ndarray of shape (n, Q, 4), uint64

    Examples
    --------
    >>> subset_sums(from_ints([[1, 2, 4]]), np.array([[True, False, True], [False, True, True]]))[..., 0]
    array([[5, 6]], dtype=uint64)
    """
    if vectors.shape[1] != subsets.shape[1]:
        raise ParameterError("subsets", f"must have {vectors.shape[1]} columns", subsets.shape)
    total = np.zeros((len(vectors), 8, len(subsets)), dtype=object)
    for start in range(0, vectors.shape[1], _LONGEST):
        columns = slice(start, start + _LONGEST)
        selectors = subsets[:, columns].T.astype(np.float64)
        for number, vector in enumerate(vectors):
            words = np.ascontiguousarray(vector[columns], dtype="<u8").view("<u4").T.astype(np.float64)
            total[number] += (words @ selectors).astype(np.uint64).astype(object)
    weights = np.array([1 << (32 * word) for word in range(8)], dtype=object)
    return from_ints(np.tensordot(total, weights, axes=(1, 0)) % FIELD_MODULUS)


def is_in_range(opened: int, parameters: RampKrumParameters) -> bool:
    """Tell whether an opened subset sum, in ``[0, r)``, could be an honest one.

    Parameters
    ----------
    opened : int
    parameters : RampKrumParameters
    """
    value = opened - FIELD_MODULUS if opened > FIELD_MODULUS // 2 else opened
    largest = parameters.largest_subset_sum
    return -largest <= value < parameters.range_mask_bound + largest
