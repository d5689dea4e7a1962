"""Attacks on a federated code book: what a Byzantine client sends instead of its class sums.

A client contributes, per class, the sum of its predicted codewords and their number (eq. 3 of the contrastive
output code paper). Codewords have entries in (-1, 1), so a sum beyond its count in magnitude is malformed and
falls to the judge; what is here passes that check, except the one attack that is meant not to.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from flower_coded.errors import ParameterError

__all__ = ["CodeBookAttackKind", "CodeBookPoisoning"]

CodeBookAttackKind = Literal["negate", "swap", "collapse", "oversize"]


@dataclass(frozen=True)
class CodeBookPoisoning:
    """Poisoned class sums. Threat model: knows its own sums and counts, nothing of the other clients'.

    Parameters
    ----------
    kind : {"negate", "swap", "collapse", "oversize"}
        ``negate``: every codeword turned to its opposite, at full length. ``swap``: every class gets the
        codeword of the next one. ``collapse``: all classes get one codeword. ``oversize``: honest directions
        with sums beyond their counts, which a judge must refuse.
    claimed_count : int or None
        Number of samples claimed for every class; None claims the honest numbers, and 1 for classes it has
        none of.

    Raises
    ------
    ParameterError
        If the kind is unknown or the claim is below 1.

    Examples
    --------
    >>> sums, counts = np.array([[2.0, -1.0], [0.0, 0.0]]), np.array([4, 0])
    >>> CodeBookPoisoning("negate", claimed_count=100).craft(sums, counts)
    (array([[-100.,  100.],
           [-100., -100.]]), array([100, 100]))
    """

    kind: CodeBookAttackKind = "negate"
    claimed_count: int | None = None

    def __post_init__(self) -> None:
        if self.kind not in get_args(CodeBookAttackKind):
            raise ParameterError("kind", f"must be one of {list(get_args(CodeBookAttackKind))}", self.kind)
        if self.claimed_count is not None and self.claimed_count < 1:
            raise ParameterError("claimed_count", "must be at least 1", self.claimed_count)

    def craft(
        self, sums: NDArray[np.float64], counts: NDArray[np.int64]
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Poisoned sums and counts of the shapes of the honest ones, which are not modified.

        Parameters
        ----------
        sums : ndarray of shape (num_classes, num_bits), float64
        counts : ndarray of shape (num_classes,), int64

        Returns
        -------
        (ndarray of shape (num_classes, num_bits) float64, ndarray of shape (num_classes,) int64)
        """
        # A class without samples has no weight in the mean; one claimed sample gives the lie a say.
        claimed = (
            np.maximum(counts, 1) if self.claimed_count is None else np.full_like(counts, self.claimed_count)
        )
        # Magnitude 1 throughout: the longest words that the bound on sums lets pass.
        signs = np.where(sums >= 0.0, 1.0, -1.0)
        words = {
            "negate": -signs,
            "swap": np.roll(signs, 1, axis=0),
            "collapse": np.broadcast_to(signs[0], signs.shape),
            "oversize": 100.0 * signs,
        }[self.kind]
        return words * claimed[:, None], claimed
