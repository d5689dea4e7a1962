"""What a user insists on, whatever the server sets: a policy of its own, checked before it trains.

The parameters of a round come from the server. A user that would rather stay out than take part in a round
that protects it less says so here; it answers with the refusal, and counts as silent.
"""

from __future__ import annotations

from dataclasses import dataclass

from flower_coded.errors import ParameterError, RoundRefusedError
from flower_coded.protocols.ramp_krum.parameters import RampKrumParameters

__all__ = ["UserPolicy"]


@dataclass(frozen=True)
class UserPolicy:
    """The least that a user accepts.

    Parameters
    ----------
    fewest_colluders : int
        T: how many others may put their shares together with nobody learning an update.
    fewest_selected : int
        m: of how many updates the sum may be shown. With no more than T + 1, T others of the selected who put
        their updates together have the last one.
    requires_protections : bool
        Whether commitments must be blinded and products hidden.

    Examples
    --------
    >>> from flower_coded.crypto.ramp_sharing import RampSharing
    >>> sharing = RampSharing(num_users=12, num_parts=2, num_colluders=2, num_attackers=2, num_dropouts=1)
    >>> UserPolicy().check(RampKrumParameters(sharing, num_selected=4, length=10))
    >>> UserPolicy(fewest_colluders=3).check(RampKrumParameters(sharing, num_selected=4, length=10))
    Traceback (most recent call last):
        ...
    flower_coded.errors.RoundRefusedError: round refused in phase keys: this user's policy wants T >= 3: ...
    """

    fewest_colluders: int = 1
    fewest_selected: int = 2
    requires_protections: bool = True

    def __post_init__(self) -> None:
        if self.fewest_colluders < 1:
            raise ParameterError("fewest_colluders", "must be at least 1", self.fewest_colluders)
        if self.fewest_selected < 2:
            raise ParameterError("fewest_selected", "must be at least 2", self.fewest_selected)

    def check(self, parameters: RampKrumParameters) -> None:
        """Refuse a round that protects less.

        Raises
        ------
        RoundRefusedError
            Naming what falls short and the numbers.
        """
        sharing = parameters.sharing
        if sharing.num_colluders < self.fewest_colluders:
            raise _refusal("T", self.fewest_colluders, sharing.num_colluders)
        if parameters.num_selected < self.fewest_selected:
            raise _refusal("m", self.fewest_selected, parameters.num_selected)
        if parameters.is_paper_form:
            raise RoundRefusedError("keys", "this user's policy wants updates that are proved to be short")
        if self.requires_protections and not (parameters.is_blinded and parameters.hides_products):
            raise RoundRefusedError(
                "keys", "this user's policy wants blinded commitments and hidden products; one is off"
            )


def _refusal(letter: str, wanted: int, received: int) -> RoundRefusedError:
    return RoundRefusedError(
        "keys", f"this user's policy wants {letter} >= {wanted}", received=received, needed=wanted
    )
