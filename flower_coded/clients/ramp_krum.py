"""The client side of ramp-shared multi-Krum, as a mod around any ClientApp that trains.

``ClientApp(mods=[ramp_krum_mod])`` is all. The app's own train function runs once per round, in the first
phase; its arrays never leave the node. The update (arrays sent back minus arrays received, floating-point
ones only) is quantized and kept until shares are asked for; only its commitments, sealed shares of it, and
what follows from others' shares are sent. Train messages of other strategies pass through.

:func:`deviating_ramp_krum_mod` reads run-config keys that turn nodes into liars, for experiments:

=====================  ========  ========================================================================
key                    default   meaning
=====================  ========  ========================================================================
``deviations``         empty     ``user:name`` pairs with commas, ``3:wrong-sum, 7:drop-at-sums``; names of
                                 :data:`flower_coded.attacks.ramp_krum_deviations.DEVIATIONS`
``deviations-from``    ``1``     first server round in which they deviate
=====================  ========  ========================================================================

``ramp-krum-device`` in the run configuration (empty, ``cpu``, ``cuda``) has products over the field computed
by torch on that device, with the same results; empty stays in NumPy.

The reference string of the commitments is read from the cache (:func:`cached_reference_string`) and must be
the one whose digest the server names; nodes on machines of their own need the server's file there.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import cast

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Context, Error, Message, MessageType, RecordDict
from flwr.clientapp.typing import ClientAppCallable
from numpy.typing import NDArray

from flower_coded.attacks.ramp_krum_deviations import get_deviation
from flower_coded.attacks.ramp_krum_updates import Deviation
from flower_coded.clients.attack_mod import server_round_of
from flower_coded.clients.ramp_krum_state import load_state, save_state
from flower_coded.clients.run_config import RunConfig, read_int, read_text, refuse_misspelled_keys
from flower_coded.crypto.srs_cache import cached_reference_string
from flower_coded.errors import ParameterError
from flower_coded.protocols.ramp_krum.commitments import Schemes
from flower_coded.protocols.ramp_krum.conduct import HONEST
from flower_coded.protocols.ramp_krum.dealing import Resources
from flower_coded.protocols.ramp_krum.messages import KeyRequest, Request
from flower_coded.protocols.ramp_krum.parameters import RampKrumParameters
from flower_coded.protocols.ramp_krum.party import REQUEST_PHASES, answer_request
from flower_coded.wire.keys import SEED_KEY
from flower_coded.wire.model_state import flatten_update
from flower_coded.wire.ramp_krum import (
    DATA_RECORD,
    MESSAGE_RECORD,
    SETTINGS_RECORD,
    message_to_records,
    records_to_message,
    reference_size,
    settings_to_parameters,
)

__all__ = ["deviating_ramp_krum_mod", "deviations_from_config", "ramp_krum_mod"]

_SILENCE = 1000  # the error code of a node that falls silent in an experiment


def ramp_krum_mod(message: Message, context: Context, call_next: ClientAppCallable) -> Message:
    """Flower mod: take part in ramp-shared multi-Krum where the server asks for it."""
    return _take_part(message, context, call_next, None)


def deviating_ramp_krum_mod(message: Message, context: Context, call_next: ClientAppCallable) -> Message:
    """Take part as :func:`ramp_krum_mod` does, or as the run configuration says; see the module.

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
    return _take_part(message, context, call_next, deviation)


def deviations_from_config(run_config: RunConfig) -> dict[int, Deviation]:
    """Read who deviates how.

    Examples
    --------
    >>> deviations_from_config({"deviations": "3:drop-at-sums, 1:drop-at-keys"})
    {3: SilentFrom(phase='sums'), 1: SilentFrom(phase='keys')}
    """
    refuse_misspelled_keys(run_config, ["deviations", "deviations-from", "ramp-krum-device"])
    result = {}
    for entry in read_text(run_config, "deviations", "").split(","):
        user, _, name = entry.strip().partition(":")
        if entry.strip() and not user.isdecimal():
            raise ParameterError("deviations", "must be pairs user:name with commas", entry)
        if user:
            result[int(user)] = get_deviation(name)
    return result


def _take_part(
    message: Message, context: Context, call_next: ClientAppCallable, deviation: Deviation | None
) -> Message:
    kind = message.metadata.message_type.split(".")[0]
    if kind != MessageType.TRAIN or MESSAGE_RECORD not in message.content.config_records:
        return call_next(message, context)
    request = records_to_message(message.content, list(REQUEST_PHASES))
    settings = message.content.config_records[SETTINGS_RECORD]
    parameters, user = settings_to_parameters(settings), cast(int, settings["user"])
    trained: Mapping[str, ConfigRecord | ArrayRecord] = {}
    update = None
    if isinstance(request, KeyRequest):
        save_state(context.state, None)  # whatever an earlier round left behind
        reply, update = _train(message, context, call_next, parameters)
        if update is None:
            return reply
        trained = dict(reply.content.metric_records)  # type: ignore[arg-type]
    digest = str(settings["reference-digest"])
    answers = _answer(request, context, parameters, digest, user, deviation, update)
    if not answers:
        return Message(Error(_SILENCE, "this node fell silent"), reply_to=message)
    return Message(RecordDict({**trained, **answers}), reply_to=message)


def _answer(
    request: Request,
    context: Context,
    parameters: RampKrumParameters,
    digest: str,
    user: int,
    deviation: Deviation | None,
    update: NDArray[np.int64] | None,
) -> dict[str, ConfigRecord | ArrayRecord]:
    state, kept = load_state(context.state)
    following, messages = answer_request(
        _schemes(parameters, digest),
        user,
        state,
        request,
        lambda: cast(NDArray[np.int64], kept),
        resources=Resources(device=read_text(context.run_config, "ramp-krum-device", "") or None),
        conduct=deviation or HONEST,
    )
    save_state(context.state, following, update)
    return message_to_records(messages[0]) if messages else {}


def _train(
    message: Message, context: Context, call_next: ClientAppCallable, parameters: RampKrumParameters
) -> tuple[Message, NDArray[np.int64] | None]:
    """Let the app train; return its reply and the quantized update, None if the app failed."""
    for name in (MESSAGE_RECORD, DATA_RECORD, SETTINGS_RECORD):
        message.content.pop(name, None)  # the app sees an ordinary train message
    seed = _seed_of(message)
    received = {name: array.numpy() for name, array in _arrays_of(message.content).items()}
    reply = call_next(message, context)
    if reply.has_error():
        return reply, None
    update = flatten_update(_arrays_of(reply.content), received)
    return reply, parameters.fixed_point.quantize(update, np.random.default_rng(seed)).integers


def _arrays_of(content: RecordDict) -> ArrayRecord:
    found = [record for name, record in content.array_records.items() if name != DATA_RECORD]
    if len(found) != 1:
        raise ParameterError("content", "must have exactly one ArrayRecord", list(content.array_records))
    return found[0]


def _seed_of(message: Message) -> int | None:
    """Return the seed that the strategy drew for this user and round; rounding needs no secret."""
    for record in message.content.config_records.values():
        if SEED_KEY in record:
            return cast(int, record[SEED_KEY])
    return None


@lru_cache(maxsize=4)
def _schemes(parameters: RampKrumParameters, digest: str) -> Schemes:
    """Return the commitment schemes; nodes that share a process share them."""
    reference = cached_reference_string(reference_size(parameters), digest=digest)
    return Schemes.create(parameters, reference)
