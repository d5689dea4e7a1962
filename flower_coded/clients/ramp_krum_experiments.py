"""The client side of ramp-shared multi-Krum for experiments: nodes that lie as the run configuration says.

=====================  ========  ========================================================================
key                    default   meaning
=====================  ========  ========================================================================
``deviations``         empty     ``user:name`` pairs with commas, ``3:wrong-sum, 7:drop-at-sums``; names of
                                 :data:`flower_coded.attacks.ramp_krum_deviations.DEVIATIONS`
``deviations-from``    ``1``     first server round in which they deviate
=====================  ========  ========================================================================
"""

from __future__ import annotations

from typing import cast

from flwr.app import Context, Message
from flwr.clientapp.typing import ClientAppCallable

from flower_coded.attacks.ramp_krum_deviations import get_deviation
from flower_coded.attacks.ramp_krum_updates import Deviation
from flower_coded.clients.attack_mod import server_round_of
from flower_coded.clients.ramp_krum import take_part
from flower_coded.clients.run_config import RunConfig, read_int, read_text, refuse_misspelled_keys
from flower_coded.errors import ParameterError
from flower_coded.protocols.ramp_krum.conduct import HONEST
from flower_coded.wire.ramp_krum import SETTINGS_RECORD

__all__ = ["deviating_ramp_krum_mod", "deviations_from_config"]


def deviating_ramp_krum_mod(message: Message, context: Context, call_next: ClientAppCallable) -> Message:
    """Take part as :func:`~flower_coded.clients.ramp_krum.ramp_krum_mod` does, or as the configuration says.

    Raises
    ------
    ParameterError
        If the configuration names no deviation that there is.
    """
    deviation = None
    if SETTINGS_RECORD in message.content.config_records:
        user = int(cast(int, message.content.config_records[SETTINGS_RECORD]["user"]))
        if server_round_of(message) >= read_int(context.run_config, "deviations-from", 1):
            deviation = deviations_from_config(context.run_config).get(user)
    return take_part(message, context, call_next, deviation or HONEST)


def deviations_from_config(run_config: RunConfig) -> dict[int, Deviation]:
    """Read who deviates how.

    Examples
    --------
    >>> deviations_from_config({"deviations": "3:drop-at-sums, 1:drop-at-keys"})
    {3: SilentFrom(phase='sums'), 1: SilentFrom(phase='keys')}
    """
    refuse_misspelled_keys(run_config, ["deviations", "deviations-from"])
    result = {}
    for entry in read_text(run_config, "deviations", "").split(","):
        user, _, name = entry.strip().partition(":")
        if entry.strip() and not user.isdecimal():
            raise ParameterError("deviations", "must be pairs user:name with commas", entry)
        if user:
            result[int(user)] = get_deviation(name)
    return result
