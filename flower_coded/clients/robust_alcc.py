"""A worker of robust analog Lagrange coded computing as a ClientApp: keeps a share, computes; or lies.

Faults are read from the run configuration, the same on every node:

============================  ==========  ==================================================================
key                           default     meaning
============================  ==========  ==================================================================
``attack``                    ``none``    one of :data:`ANALOG_ATTACK_NAMES`, or a malformed reply
``attackers``                 ``0``       a count, drawn from the seed, or worker numbers with a comma
``attack-from-round``         ``1``       first round in which attackers attack
``attack-mean``               ``10.0``    mean of the colluders' errors
``attack-variance``           ``1000.0``  their variance
``attack-probability``        ``-1.0``    of leaving an entry alone; below 0: the paper's best, ``p*``
``attack-constraint-length``  ``10``      the decoder's, as the colluders believe
``attack-noise-variance``     ``0.1``     the precision noise, as the colluders believe
``stragglers``                ``0``       a count, drawn from the seed among the others, or worker numbers
``seed``                      ``0``       draws the above, and is the colluders' channel
``device``                    ``cpu``     where the share is computed on: NumPy, or a torch device (``cuda``)
============================  ==========  ==================================================================

Threat model: colluders know the code and each other, share one source of randomness, and see nothing of the
honest workers' shares.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from flwr.app import Context, Error, Message
from flwr.clientapp import ClientApp

from flower_coded.attacks.analog_collusion import (
    AnalogAttack,
    ConstraintLengthAware,
    FullNoise,
    StrongCollusion,
    WeakCollusion,
)
from flower_coded.clients.attack_settings import attackers_from_config
from flower_coded.clients.identity import partition_of, register_identity
from flower_coded.clients.malformed import MALFORMED, spoil
from flower_coded.clients.run_config import (
    RunConfig,
    read_choice,
    read_float,
    read_int,
    refuse_misspelled_keys,
    refuse_unknown_keys,
)
from flower_coded.protocols.analog_computing import AnalogWorker
from flower_coded.wire.keys import SILENCE_CODE, STATE_MISSING_CODE
from flower_coded.wire.robust_alcc import (
    COMPUTE_MESSAGE_TYPE,
    SHARE_CONFIG_KEY,
    SHARE_KEY,
    read_request,
    read_share,
    result_content,
)

__all__ = ["ANALOG_ATTACK_NAMES", "AnalogFaults", "analog_faults_from_config", "robust_alcc_client_app"]

ANALOG_ATTACK_NAMES = ("full-noise", "strong-collusion", "weak-collusion", "constraint-length")

_KEYS = (
    "attack",
    "attackers",
    "attack-from-round",
    "attack-mean",
    "attack-variance",
    "attack-probability",
    "attack-constraint-length",
    "attack-noise-variance",
)


@dataclass(frozen=True)
class AnalogFaults:
    """Who lies, how, and who is silent.

    Parameters
    ----------
    name : str
        The attack's name; ``"none"`` for no attack.
    attack : AnalogAttack or None
        What is added to results; None for no attack and for malformed replies.
    attackers, stragglers : tuple of int
        Workers who lie, and who do not answer.
    from_round : int
        First round of the attack.
    seed : int
        The colluders' common source.
    """

    name: str
    attack: AnalogAttack | None
    attackers: tuple[int, ...]
    stragglers: tuple[int, ...]
    from_round: int
    seed: int

    def corrupt(self, worker: int, values: np.ndarray[Any, Any], server_round: int) -> np.ndarray[Any, Any]:
        """Add this worker's part of the colluders' errors; honest workers' values stay as they are."""
        if self.attack is None or worker not in self.attackers or server_round < self.from_round:
            return values
        generator = np.random.default_rng([self.seed, server_round])
        errors = self.attack.craft((len(self.attackers), values.size), generator)
        corrupted: np.ndarray[Any, Any] = values + errors[self.attackers.index(worker)].reshape(values.shape)
        return corrupted


def robust_alcc_client_app() -> ClientApp:
    """Make the worker's app.

    Returns
    -------
    ClientApp
        Keeps its share in its state, evaluates the function asked for, and answers the roster query.

    Examples
    --------
    >>> app = robust_alcc_client_app()
    """
    app = register_identity(ClientApp())
    app.train(COMPUTE_MESSAGE_TYPE.split(".")[1])(_compute)
    return app


def analog_faults_from_config(run_config: RunConfig, num_workers: int) -> AnalogFaults:
    """Read the faults; call it in a ServerApp too, to refuse a bad configuration early.

    Parameters
    ----------
    run_config : mapping of str to value
        ``context.run_config``.
    num_workers : int
        ``N``.

    Returns
    -------
    AnalogFaults

    Raises
    ------
    ParameterError
        If a name is unknown or a value out of range.

    Examples
    --------
    >>> faults = analog_faults_from_config({"attack": "strong-collusion", "attackers": 8, "seed": 1}, 31)
    >>> len(faults.attackers), faults.attack
    (8, StrongCollusion(mean=10.0, variance=1000.0, num_ones=None))
    """
    refuse_unknown_keys(run_config, "attack", _KEYS)
    # A server's setting of a like name is none of this side's.
    refuse_misspelled_keys(run_config, [*_KEYS, "stragglers", "seed", "device", "num-stragglers"])
    seed = read_int(run_config, "seed", 0)
    name = read_choice(run_config, "attack", "none", ["none", *ANALOG_ATTACK_NAMES, *MALFORMED])
    attackers = attackers_from_config(run_config, num_workers) if name != "none" else ()
    others = [worker for worker in range(num_workers) if worker not in attackers]
    silent: RunConfig = {"attackers": run_config.get("stragglers", 0), "seed": seed + 1}
    chosen = silent["attackers"]
    if isinstance(chosen, str) and "," in chosen:
        stragglers = attackers_from_config(silent, num_workers)
    else:
        stragglers = tuple(others[place] for place in attackers_from_config(silent, len(others)))
    attack = _make_attack(name, run_config, num_workers)
    from_round = read_int(run_config, "attack-from-round", 1, least=1)
    return AnalogFaults(name, attack, attackers, stragglers, from_round, seed)


def _make_attack(name: str, run_config: RunConfig, num_workers: int) -> AnalogAttack | None:
    mean = read_float(run_config, "attack-mean", 10.0, least=-1e300)
    variance = read_float(run_config, "attack-variance", 1e3)
    if name == "full-noise":
        return FullNoise(mean, variance)
    if name == "strong-collusion":
        return StrongCollusion(mean, variance)
    if name == "weak-collusion":
        probability = read_float(run_config, "attack-probability", -1.0, least=-1.0, most=1.0)
        return WeakCollusion(mean, variance, None if probability < 0 else probability)
    if name == "constraint-length":
        return ConstraintLengthAware(
            mean,
            variance,
            num_workers,
            read_int(run_config, "attack-constraint-length", 10, least=1),
            read_float(run_config, "attack-noise-variance", 0.1),
        )
    return None


def _compute(message: Message, context: Context) -> Message:
    worker, num_workers = partition_of(context)
    for key in (SHARE_KEY, SHARE_CONFIG_KEY):
        if key in message.content:
            context.state[key] = message.content[key]
    if SHARE_KEY not in context.state:
        reason = "this node has no share: it comes with the first request"
        return Message(Error(STATE_MISSING_CODE, reason), reply_to=message)
    faults = analog_faults_from_config(context.run_config, num_workers)
    if worker in faults.stragglers:
        return Message(Error(SILENCE_CODE, "silent on purpose"), reply_to=message)
    request, server_round = read_request(message.content)
    device = str(context.run_config.get("device", "cpu"))
    values = AnalogWorker(read_share(context.state), device).compute(request).values
    reply = Message(result_content(faults.corrupt(worker, values, server_round)), reply_to=message)
    is_malformed = faults.name in MALFORMED and worker in faults.attackers
    if is_malformed and server_round >= faults.from_round:
        # None is no reply at all, which is what the behavior "no-reply" is.
        return cast(Message, spoil(MALFORMED[faults.name], reply, message))
    return reply
