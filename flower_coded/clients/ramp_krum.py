"""The client side of ramp-shared multi-Krum, as a mod around any ClientApp that trains.

``ClientApp(mods=[ramp_krum_mod])`` is all. The app's own train function runs once per round, in the first
phase; its arrays never leave the node. The update (arrays sent back minus arrays received, floating-point
ones only) is quantized and kept until shares are asked for; only its commitments, encrypted shares of it, and
what follows from others' shares are sent. Train messages of other strategies pass through. The metrics that
the app reports travel in the clear as ever; to them is added ``clipped-share``, the share of the weights'
entries that were cut to the clipping bound, without which a bound too small goes unnoticed. Running
statistics of batch normalization travel in units of their own (:mod:`flower_coded.wire.running_statistics`).

The server sets a round's parameters; a node takes part if they satisfy its own policy
(:class:`flower_coded.protocols.ramp_krum.policy.UserPolicy`) and do not change within the round. Keys of the
node's configuration, or else of the run's:

================================  ==========  ============================================================
key                               default     meaning
================================  ==========  ============================================================
``ramp-krum-fewest-colluders``    ``1``       the least T that this node accepts
``ramp-krum-fewest-selected``     ``2``       the least m
``ramp-krum-protections``         ``true``    whether commitments must be blinded and products hidden
``reference-digest``              empty       the only reference string that this node takes, see
                                              :mod:`flower_coded.clients.reference_string`
``ramp-krum-device``              empty       ``cpu`` or ``cuda``: products over the field by torch on that
                                              device, with the same results; empty stays in NumPy
================================  ==========  ============================================================
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import lru_cache
from typing import cast

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Context, Error, Message, MessageType, RecordDict
from flwr.clientapp.typing import ClientAppCallable
from numpy.typing import NDArray

from flower_coded.clients.ramp_krum_state import load_state, save_state
from flower_coded.clients.reference_string import reference_for
from flower_coded.clients.run_config import RunConfig, read_int, read_text, refuse_misspelled_keys
from flower_coded.crypto.srs import ReferenceString
from flower_coded.errors import MissingReferenceError, ParameterError, RoundRefusedError
from flower_coded.protocols.ramp_krum.clipping_ballot import EDGES, ballot
from flower_coded.protocols.ramp_krum.commitments import Schemes
from flower_coded.protocols.ramp_krum.conduct import HONEST, Conduct
from flower_coded.protocols.ramp_krum.dealing import Resources
from flower_coded.protocols.ramp_krum.messages import KeyRequest
from flower_coded.protocols.ramp_krum.parameters import RampKrumParameters
from flower_coded.protocols.ramp_krum.party import REQUEST_PHASES, answer_request
from flower_coded.protocols.ramp_krum.policy import UserPolicy
from flower_coded.wire.keys import SEED_KEY, SILENCE_CODE, STATE_MISSING_CODE
from flower_coded.wire.model_state import flatten_update, read_state
from flower_coded.wire.ramp_krum import (
    DATA_RECORD,
    MESSAGE_RECORD,
    SETTINGS_RECORD,
    Limits,
    message_to_records,
    records_to_message,
    settings_to_parameters,
)
from flower_coded.wire.running_statistics import is_weight, to_bounded_units

__all__ = ["policy_of", "ramp_krum_mod", "take_part"]

CLIPPED_SHARE = "clipped-share"

_POLICY_KEYS = ("ramp-krum-fewest-colluders", "ramp-krum-fewest-selected", "ramp-krum-protections")


def ramp_krum_mod(message: Message, context: Context, call_next: ClientAppCallable) -> Message:
    """Flower mod: take part in ramp-shared multi-Krum where the server asks for it."""
    return take_part(message, context, call_next, HONEST)


def policy_of(context: Context) -> UserPolicy:
    """Read what a node insists on; see the module for the keys."""
    own: RunConfig = {**context.run_config, **context.node_config}
    refuse_misspelled_keys(own, [*_POLICY_KEYS, "ramp-krum-device"])
    requires_protections = own.get(_POLICY_KEYS[2], True)
    if not isinstance(requires_protections, bool):
        raise ParameterError(_POLICY_KEYS[2], "must be true or false", requires_protections)
    return UserPolicy(
        fewest_colluders=read_int(own, _POLICY_KEYS[0], 1),
        fewest_selected=read_int(own, _POLICY_KEYS[1], 2),
        requires_protections=requires_protections,
    )


def take_part(message: Message, context: Context, call_next: ClientAppCallable, conduct: Conduct) -> Message:
    """Answer a message of the protocol, or pass another one on.

    Parameters
    ----------
    message, context, call_next
        As for any Flower mod.
    conduct : Conduct
        Honest, but for experiments.

    Raises
    ------
    RoundRefusedError
        If the node's policy, or its state, refuses what is asked; Flower reports it to the server.
    """
    kind = message.metadata.message_type.split(".")[0]
    if kind != MessageType.TRAIN or MESSAGE_RECORD not in message.content.config_records:
        return call_next(message, context)
    settings = message.content.config_records[SETTINGS_RECORD]
    parameters, user = settings_to_parameters(settings), cast(int, settings["user"])
    policy_of(context).check(parameters)
    if parameters.is_ballot and parameters.length != len(EDGES):
        raise RoundRefusedError("keys", "the server asks for ballots of another grid")
    try:
        reference = reference_for(settings["reference-digest"], message.content, context)
    except MissingReferenceError as error:
        return Message(Error(STATE_MISSING_CODE, str(error)), reply_to=message)
    request = records_to_message(message.content, list(REQUEST_PHASES), Limits.of(parameters))
    state, update, terms = load_state(context.state)
    trained: Mapping[str, ConfigRecord | ArrayRecord] = {}
    own_terms = _terms(parameters, reference.digest, user)
    if isinstance(request, KeyRequest):
        save_state(context.state, None)  # whatever an earlier round left behind
        reply, update = _train(message, context, call_next, parameters)
        if update is None:
            return reply
        trained = dict(reply.content.metric_records)  # type: ignore[arg-type]
    elif state is not None and terms != own_terms:
        raise RoundRefusedError(REQUEST_PHASES[type(request)], "the server changed the round's parameters")
    integers = update
    following, messages = answer_request(
        _schemes(parameters, reference),
        user,
        state,
        request,
        lambda: cast(NDArray[np.int64], integers),
        resources=Resources(device=read_text(context.run_config, "ramp-krum-device", "") or None),
        conduct=conduct,
    )
    save_state(context.state, following, update if isinstance(request, KeyRequest) else None, own_terms)
    if not messages:
        return Message(Error(SILENCE_CODE, "this node fell silent"), reply_to=message)
    return Message(RecordDict({**trained, **message_to_records(messages[0])}), reply_to=message)


def _train(
    message: Message, context: Context, call_next: ClientAppCallable, parameters: RampKrumParameters
) -> tuple[Message, NDArray[np.int64] | None]:
    """Let the app train; return its reply and the quantized update, None if the app failed."""
    for name in (MESSAGE_RECORD, DATA_RECORD, SETTINGS_RECORD):
        message.content.pop(name, None)  # the app sees an ordinary train message
    seed = _seed_of(message)
    received = read_state(_arrays_of(message.content))
    reply = call_next(message, context)
    if reply.has_error():
        return reply, None
    update = flatten_update(_arrays_of(reply.content), received)
    if parameters.ballot_share is not None:  # asked for its size, not for the update
        return reply, ballot(update[is_weight(received)], parameters.ballot_share)
    bound = parameters.fixed_point.clipping
    quantized = parameters.fixed_point.quantize(
        to_bounded_units(update, received, bound), np.random.default_rng(seed)
    )
    weights = update[is_weight(received)]
    share = float(np.mean(np.abs(weights) > bound)) if len(weights) else 0.0
    for metrics in reply.content.metric_records.values():
        metrics[CLIPPED_SHARE] = share
    return reply, quantized.integers


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


def _terms(parameters: RampKrumParameters, digest: str, user: int) -> bytes:
    """Hash what must not change within a round."""
    return hashlib.sha256(f"{parameters!r} {digest} {user}".encode()).digest()


@lru_cache(maxsize=4)
def _schemes(parameters: RampKrumParameters, reference: ReferenceString) -> Schemes:
    """Return the commitment schemes; nodes that share a process share them."""
    return Schemes.create(parameters, reference)
