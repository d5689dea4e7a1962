"""A worker of encoded gradient descent as a ClientApp: it keeps its share in its state and multiplies.

Faults are read from the run configuration, the same on every node:

=======================  ========  ==========================================================================
key                      default   meaning
=======================  ========  ==========================================================================
``attack``               ``none``  a name of :data:`~flower_coded.attacks.worker_errors.WORKER_ERRORS`
``attackers``            ``0``     a count, drawn from the seed, or worker numbers with a comma: ``0,3``
``attack-from-round``    ``1``     first round in which attackers attack
``stragglers``           ``0``     a count, drawn from the seed among the others, or worker numbers
``straggler-seconds``    ``0.0``   how late their answers are; 0 for none at all
``seed``                 ``0``     draws the above, and the liars' errors
``device``               empty     where products are computed: NumPy, or a torch device, ``cpu`` or ``cuda``
=======================  ========  ==========================================================================

In a simulation the state travels with every message, so a large share makes every product slower: a
matter of the engine, not of the protocol, which sends the share once. Against separately started
SuperNodes it stays where it is.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from flwr.app import Context, Error, Message
from flwr.clientapp import ClientApp

from flower_coded.attacks.worker_errors import WORKER_ERRORS, Late, get_worker_error
from flower_coded.clients.attack_settings import attackers_from_config
from flower_coded.clients.identity import partition_of, register_identity
from flower_coded.clients.run_config import (
    RunConfig,
    read_choice,
    read_float,
    read_int,
    read_text,
    refuse_misspelled_keys,
)
from flower_coded.protocols.encoded_gradient import Faults, GrowingShare, Share, answer
from flower_coded.wire.encoded_gd import (
    APPEND_MESSAGE_TYPE,
    ARRAYS_KEY,
    CONFIG_KEY,
    MULTIPLY_MESSAGE_TYPE,
    SHARE_MESSAGE_TYPE,
    read_appended,
    read_product,
    read_share,
    share_content,
    stored_content,
    values_content,
)
from flower_coded.wire.keys import SILENCE_CODE, STATE_MISSING_CODE

__all__ = ["encoded_gd_client_app", "faults_from_config"]

FAULT_KEYS = ("attack", "attackers", "attack-from-round", "stragglers", "straggler-seconds", "seed", "device")
"""Every run-config key above."""


def encoded_gd_client_app() -> ClientApp:
    """Make the worker's app.

    Returns
    -------
    ClientApp
        Stores a share, appends data points to it, multiplies, and answers the roster query.

    Examples
    --------
    >>> app = encoded_gd_client_app()
    """
    app = register_identity(ClientApp())
    app.train(SHARE_MESSAGE_TYPE.split(".")[1])(_store_share)
    app.train(APPEND_MESSAGE_TYPE.split(".")[1])(_append_points)
    app.train(MULTIPLY_MESSAGE_TYPE.split(".")[1])(_multiply)
    return app


def faults_from_config(run_config: RunConfig, num_workers: int) -> Faults:
    """Read who lies, how, and who is late; call it in a ServerApp too, to refuse a bad configuration early.

    Parameters
    ----------
    run_config : mapping of str to value
    num_workers : int

    Returns
    -------
    Faults

    Raises
    ------
    ParameterError
        If a name is unknown or a value out of range.

    Examples
    --------
    >>> faults = faults_from_config({"attack": "reversed", "attackers": "1,4", "stragglers": 2, "seed": 3}, 9)
    >>> sorted(faults.attacks), len(faults.stragglers), faults.stragglers & {1, 4}
    ([1, 4], 2, frozenset())
    """
    refuse_misspelled_keys(run_config, FAULT_KEYS)
    seed = read_int(run_config, "seed", 0)
    name = read_choice(run_config, "attack", "none", ["none", *WORKER_ERRORS])
    attackers = attackers_from_config(run_config, num_workers) if name != "none" else ()
    others = np.setdiff1d(np.arange(num_workers), attackers)
    chosen = {"attackers": run_config.get("stragglers", 0), "seed": seed + 1}
    if isinstance(chosen["attackers"], str) and "," in chosen["attackers"]:
        stragglers = frozenset(attackers_from_config(chosen, num_workers))
    else:
        stragglers = frozenset(others[list(attackers_from_config(chosen, len(others)))].tolist())
    attack = {} if name == "none" else dict.fromkeys(attackers, get_worker_error(name))
    return Faults(attack, stragglers, seed)


def _store_share(message: Message, context: Context) -> Message:
    for key in (ARRAYS_KEY, CONFIG_KEY):
        context.state[key] = message.content[key]
    return Message(stored_content(read_share(message.content).num_numbers), reply_to=message)


def _append_points(message: Message, context: Context) -> Message:
    if ARRAYS_KEY not in context.state:
        return _without_share(message)
    growing = GrowingShare(read_share(context.state))
    growing.append(read_appended(message.content))
    for key, record in share_content(growing.share).items():
        context.state[key] = record
    return Message(stored_content(growing.share.num_numbers), reply_to=message)


def _multiply(message: Message, context: Context) -> Message:
    if ARRAYS_KEY not in context.state:
        return _without_share(message)
    share = _on_device(read_share(context.state), read_text(context.run_config, "device", ""))
    product, server_round = read_product(message.content)
    honest = answer(share, product).values
    worker, num_workers = partition_of(context)
    faults = faults_from_config(context.run_config, num_workers)
    delay = 0.0
    if worker in faults.stragglers:
        delay = read_float(context.run_config, "straggler-seconds", 0.0)
        values = honest if delay else None
    elif server_round < read_int(context.run_config, "attack-from-round", 1, least=1):
        values = honest
    else:
        attack = faults.attacks.get(worker)
        delay = attack.delay if isinstance(attack, Late) else 0.0
        values = honest if delay else faults.send(worker, honest, server_round, product.which)
    time.sleep(delay)
    if values is None:
        return Message(Error(SILENCE_CODE, "no answer"), reply_to=message)
    return Message(values_content(values), reply_to=message)


def _on_device(share: Share, device: str) -> Share:
    """Move a share to a torch device, where one is asked for: the same products, to rounding."""
    if not device:
        return share
    import torch  # only where somebody asked for it

    moved: Any = [torch.from_numpy(np.array(each)).to(device) for each in (share.first, share.second)]
    return Share(share.worker, *moved)


def _without_share(message: Message) -> Message:
    """Ask for the share again: this node came late, or has lost its state."""
    return Message(Error(STATE_MISSING_CODE, "no share is stored here"), reply_to=message)
