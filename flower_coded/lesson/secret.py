"""Share a secret: seven users get a share each; two of them learn nothing, three know the number."""

from __future__ import annotations

from dataclasses import dataclass

from flower_coded.crypto import RampSharing
from flower_coded.crypto.field_vectors import from_ints, to_ints
from flower_coded.errors import FlowerCodedError, ParameterError

__all__ = ["NUM_COLLUDERS", "NUM_SHARERS", "Shared", "share_a_number"]

NUM_SHARERS = 7
NUM_COLLUDERS = 2

_MOST_DIGITS = 70  # below the field's 77


@dataclass(frozen=True)
class Shared:
    """The shares that some users put together, and what comes of it.

    Attributes
    ----------
    shares : tuple of int
        Field elements, of users 0, 1, ….
    rebuilt : int or None
        The number, if they are enough to know it.
    refusal : str
        Why not, otherwise.
    """

    shares: tuple[int, ...]
    rebuilt: int | None
    refusal: str


def share_a_number(number: int, together: int) -> Shared:
    """Share a number with fresh masks from the system's generator, and let the first users rebuild it.

    Parameters
    ----------
    number : int
        Not negative, of at most 70 digits.
    together : int
        Users who put their shares together, 1 to 7.

    Raises
    ------
    ParameterError
        If one of them is outside its interval.

    Examples
    --------
    >>> share_a_number(2026, 3).rebuilt, share_a_number(2026, 2).rebuilt
    (2026, None)
    """
    if not 0 <= number < 10**_MOST_DIGITS:
        requirement = f"must be a whole number, not negative, of at most {_MOST_DIGITS} digits"
        raise ParameterError("number", requirement, number)
    if not 1 <= together <= NUM_SHARERS:
        raise ParameterError("together", f"must be between 1 and {NUM_SHARERS}", together)
    sharing = RampSharing(num_users=NUM_SHARERS, num_parts=1, num_colluders=NUM_COLLUDERS)
    shares = sharing.share(sharing.split(from_ints([number])), sharing.draw_masks(1))[:together]
    listed = tuple(to_ints(share)[0] for share in shares)
    try:
        joined = sharing.join(sharing.reconstruct(shares, users=list(range(together))), length=1)
    except FlowerCodedError as error:
        return Shared(listed, None, str(error))
    return Shared(listed, to_ints(joined)[0], "")
