"""What one user sends and receives in a round when nobody fails, part by part, in bytes.

Everything follows from the parameters; tests hold it against the messages of true rounds. What a transport
adds is not counted. A user number counts as four bytes.
"""

from __future__ import annotations

from flower_coded.crypto.backends.base import G1_BYTES
from flower_coded.crypto.encrypted_share import ENCRYPTION_OVERHEAD, KEY_BYTES
from flower_coded.crypto.field_vectors import ELEMENT_BYTES
from flower_coded.protocols.ramp_krum.echo import ECHO_BYTES
from flower_coded.protocols.ramp_krum.parameters import RampKrumParameters
from flower_coded.protocols.ramp_krum.range_check import CHALLENGE_BYTES

__all__ = ["USER_NUMBER_BYTES", "received_by_part", "sent_by_part"]

USER_NUMBER_BYTES = 4


def sent_by_part(parameters: RampKrumParameters) -> dict[str, int]:
    """Return the bytes that a user sends, by what they are for.

    Parameters
    ----------
    parameters : RampKrumParameters

    Returns
    -------
    dict of str to int
        Shares are listed by family, ``shares: slack`` being those of the norm proof.

    Examples
    --------
    >>> from flower_coded.crypto.ramp_sharing import RampSharing
    >>> sharing = RampSharing(num_users=12, num_parts=2, num_colluders=2, num_attackers=2, num_dropouts=1)
    >>> sent = sent_by_part(RampKrumParameters(sharing, num_selected=4, length=37_000))
    >>> sent["shares: update"], sent["shares: slack"], sum(sent.values())
    (6513760, 814880, 7984704)
    """
    n = parameters.sharing.num_users
    return {
        "key": KEY_BYTES,
        "commitments": G1_BYTES * parameters.num_commitments,
        **_shares(parameters),
        "echoes": (n - 1) * ECHO_BYTES,
        "products": ELEMENT_BYTES * parameters.num_products,
        "range sums": ELEMENT_BYTES * n * parameters.num_range_checks,
        "sum": ELEMENT_BYTES * parameters.families["update"].row_length,
    }


def received_by_part(parameters: RampKrumParameters) -> dict[str, int]:
    """Return the bytes that a user receives, by what they are for, training's model left out."""
    n = parameters.sharing.num_users
    return {
        "keys": n * KEY_BYTES,
        "commitments": n * G1_BYTES * parameters.num_commitments,
        **_shares(parameters),
        "echoes": (n - 1) * ECHO_BYTES,
        "challenge": CHALLENGE_BYTES,
        "user numbers": USER_NUMBER_BYTES * (n + parameters.num_selected),
    }


def _shares(parameters: RampKrumParameters) -> dict[str, int]:
    """Return the bytes of the shares for all others, which are also those from all others."""
    others = parameters.sharing.num_users - 1
    shares = {
        f"shares: {name}": others * ELEMENT_BYTES * family.share_length
        for name, family in parameters.families.items()
    }
    return {**shares, "shares: encryption": others * ENCRYPTION_OVERHEAD}
