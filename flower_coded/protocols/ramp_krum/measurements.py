"""What the distances tell about updates: linear measurements of the colluders' choice, counted.

The server reads the squared distance of every pair of dealers. Colluders know their own updates ``v_1 ..
v_c``, may choose them as they like within the bounds (nothing tells such an update from a harmless one), and
may tell the server. Of an honest user's update w, the c pairs of a colluder with that user then give

    ``|w - v_a|**2 = |w|**2 - 2 <w, v_a> + |v_a|**2``,    a = 1 .. c,

c equations in ``|w|**2`` and ``<w, v_a>``. Their differences hold no square: ``<w, v_a - v_1>`` for a = 2 ..
c, c - 1 linear functions of w, exactly and as many as are linearly independent; the equation that is left
gives the norm of w (up to a linear function that is known if the functions read span ``v_1``). One colluder
alone reads a norm and no linear function. Distances between two honest users add none: they hold products of
two unknown updates only.

The count is one of functions, not of bits: a value is an exact integer, so that one function can hold several
entries that are much shorter than the clipping bound, side by side.
"""

from __future__ import annotations

from dataclasses import dataclass

from flower_coded.errors import ParameterError
from flower_coded.protocols.ramp_krum.parameters import RampKrumParameters

__all__ = ["DistanceMeasurements"]


@dataclass(frozen=True)
class DistanceMeasurements:
    """How much of honest updates the distances of a round give to a server with colluders.

    Parameters
    ----------
    num_colluders : int
        c, users who deal updates of their choice and work with the server.
    num_honest : int
        The other users; fewer if some do not deal.
    length : int
        L, entries of an update.

    Raises
    ------
    ParameterError
        If a number is negative, or the length below 1.

    Examples
    --------
    >>> found = DistanceMeasurements(num_colluders=3, num_honest=17, length=100)
    >>> found.num_pairs, found.per_user, found.per_round, found.over(4), found.rounds_to_read
    (51, 2, 34, 136, 50)
    """

    num_colluders: int
    num_honest: int
    length: int

    def __post_init__(self) -> None:
        for name, least in (("num_colluders", 0), ("num_honest", 0), ("length", 1)):
            if getattr(self, name) < least:
                raise ParameterError(name, f"must be at least {least}", getattr(self, name))

    @classmethod
    def of(cls, parameters: RampKrumParameters) -> DistanceMeasurements:
        """Count for a round: all T colluders deal, or A where T was allowed to be smaller.

        Whoever lies without the server's help can still tell it what he sent, so A is counted in full.
        """
        sharing = parameters.sharing
        colluders = max(sharing.num_colluders, sharing.num_attackers)
        return cls(colluders, sharing.num_users - colluders, parameters.length)

    @property
    def num_pairs(self) -> int:
        """Pairs of a colluder with an honest user, each with a distance that depends on a choice."""
        return self.num_colluders * self.num_honest

    @property
    def per_user(self) -> int:
        """Linear functions of one honest update that a round gives: one colluder's pair goes for its norm."""
        return min(max(self.num_colluders - 1, 0), self.length)

    @property
    def per_round(self) -> int:
        """Linear functions of honest updates, all users together."""
        return self.per_user * self.num_honest

    def over(self, num_rounds: int) -> int:
        """Return how many linear functions several rounds give: nothing forbids to choose anew in each."""
        return self.per_round * num_rounds

    @property
    def rounds_to_read(self) -> int | None:
        """After how many rounds all that stays alike in an update is known; None if never, this way."""
        return -(-self.length // self.per_user) if self.per_user else None

    def sentence(self, num_rounds: int) -> str:
        """Say it in words, for plans and reports."""
        colluders = f"a server with {self.num_colluders} colluder{'' if self.num_colluders == 1 else 's'}"
        if not self.per_user:
            return f"Distances tell {colluders} norms of honest updates and no linear function of them."
        functions = f"{self.per_user} linear function{'' if self.per_user == 1 else 's'}"
        return (
            f"Distances tell {colluders}, from {self.num_pairs:,} pairs with {self.num_honest} honest users: "
            f"{functions} of their choice of each honest update per round, {self.per_round:,} in all, "
            f"{self.over(num_rounds):,} over {num_rounds:,} rounds; what stays alike in an update is read "
            f"whole after {self.rounds_to_read:,}."
        )
