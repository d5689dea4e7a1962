"""When and how the users of ramp-shared multi-Krum agree on their clipping bound."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flower_coded.crypto.ramp_sharing import RampSharing
from flower_coded.errors import ParameterError, RoundRefusedError
from flower_coded.protocols.ramp_krum.clipping_ballot import ballot_parameters, read_ballots
from flower_coded.protocols.ramp_krum.parameters import RampKrumParameters
from flower_coded.protocols.ramp_krum.server_result import RoundOutcome

__all__ = ["AgreedClipping", "agreement_or_bound"]

_BALLOTS_READ = (
    "chunk_size",
    "is_blinded",
    "hides_products",
    "soundness_bits",
    "waives_colluder_bound",
)


@dataclass(frozen=True)
class AgreedClipping:
    """A clipping bound from the users' own updates, which nobody sees; in place of a number.

    In the first round the users train, share ballots of how large their updates' entries are, and train once
    more from the same model for the round itself. See
    :mod:`flower_coded.protocols.ramp_krum.clipping_ballot` for what the server learns (a histogram of at
    most N numbers) and what liars can do (nothing beyond two honest users' numbers).

    Parameters
    ----------
    quantile : float
        Which of the users' numbers is the bound: 0.5 is the median; 0 and 1 are the smallest and largest
        that liars cannot choose.
    share : float
        Of a user's entries, the share that its number may leave cut; in [0, 1).
    margin : float
        The bound is so many times the number.
    every : int
        Rounds after which the users agree anew: updates shrink as training goes on. 0 agrees once.

    Raises
    ------
    ParameterError
        If a number is out of its range.

    Examples
    --------
    >>> AgreedClipping(quantile=0.5, every=10).is_due(11, last=1)
    True
    """

    quantile: float = 0.5
    share: float = 0.001
    margin: float = 1.0
    every: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.quantile <= 1:
            raise ParameterError("quantile", "must lie in [0, 1]", self.quantile, hint="0.5, the median")
        if not 0 <= self.share < 1:
            raise ParameterError("share", "must lie in [0, 1)", self.share, hint="0.001")
        if not 0 < self.margin < float("inf"):
            raise ParameterError("margin", "must be positive", self.margin, hint="1.0")
        if self.every < 0:
            raise ParameterError("every", "must not be negative", self.every, hint="0 agrees once")

    def is_due(self, server_round: int, *, last: int) -> bool:
        """Tell whether to agree in a round; ``last`` is when it was done, 0 for never."""
        return not last or (self.every > 0 and server_round - last >= self.every)

    def parameters(self, sharing: RampSharing, options: Mapping[str, Any]) -> RampKrumParameters:
        """Return the parameters of a round of ballots among the users of some other round.

        Raises
        ------
        ParameterError
            If A liars could choose the bound, or its place is taken by a norm that does not move with it.
        """
        n, a, d = sharing.num_users, sharing.num_attackers, sharing.num_dropouts
        if n - d < 3 * a + 1:  # only where T < A: otherwise N is large enough for distances, and for this
            raise ParameterError(
                "clipping",
                f"must be a number unless N - D >= 3A + 1: {n} - {d} < {3 * a + 1}",
                "AgreedClipping",
                hint=f"{3 * a + 1 + d} users can agree",
            )
        if options["block_norm"] is not None:
            raise ParameterError(
                "block_norm",
                "must be None where users agree on the clipping bound: it must be at least that bound, "
                "which is not known yet",
                options["block_norm"],
            )
        read = {name: options[name] for name in _BALLOTS_READ}
        return ballot_parameters(sharing, share=self.share, **read)

    def read(self, outcome: RoundOutcome) -> float:
        """Return the bound that a round of ballots agreed on.

        Raises
        ------
        RoundRefusedError
            If there are too few ballots or votes; with who was found lying on the way.
        """
        try:
            bound = read_ballots(
                outcome.total,
                num_ballots=len(outcome.selection.users),
                num_attackers=outcome.num_attackers,
                quantile=self.quantile,
            )
        except RoundRefusedError as error:
            error.misbehavior = outcome.status.misbehavior
            raise
        return bound * self.margin


def agreement_or_bound(clipping: float | AgreedClipping) -> tuple[AgreedClipping | None, float]:
    """Part what a user gives into an agreement, or None, and the bound to begin with.

    A bound that users have yet to agree on stands at 1: whether other parameters fit does not depend on it.
    """
    return (clipping, 1.0) if isinstance(clipping, AgreedClipping) else (None, clipping)
