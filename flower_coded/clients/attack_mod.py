"""A mod that turns any ClientApp into an attacker, chosen per node by the run configuration.

``ClientApp(mods=[attack_mod])`` is all; :mod:`flower_coded.clients.behavior` lists the keys. Only train
messages are touched. Honest nodes, and attackers before ``attack-from-round``, pass through unchanged.

* Data attacks change the batches that the app's DataLoaders give (:mod:`flower_coded.clients.batches`).
* Update attacks let the app train, take its update (its arrays minus the arrays it was sent), and send the
  crafted one. Colluders share their data: each runs the app once for every colluder, with a context that
  carries that colluder's partition id, and so knows all their honest updates; with ``attack-knowledge =
  "all"`` every user's. The generator is seeded by (seed, round, model of an ensemble) and the known updates
  are ordered by partition id, so that all colluders send the same vector. An attack of ``k`` colluders costs
  each of them ``k`` trainings.
* ``model-replacement``, ``neurotoxin`` and ``edge-case`` do both: the own update is trained on poisoned
  data, the known ones honestly.
* Attacks that learn over rounds (``mimic``, ``neurotoxin``) keep what they learn in the node's state, under
  :data:`MEMORY_KEY`.
* Malformed replies are made from the honest one (:mod:`flower_coded.clients.malformed`); ``late`` is the
  honest one after a pause, too late for a server that waits less.

Arrays that carry several models stacked (``coded-models``) are crafted model by model, each with the draws
that all colluders make for that model. What an attacker knows and assumes stays the whole federation: the
known updates of a model come from all colluders (or users), whether the code assigns it to them or not, and
``model-replacement`` boosts as if all ``n`` were averaged.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from typing import Any, cast

import numpy as np
from flwr.app import Array, ArrayRecord, Context, Message, MessageType, RecordDict
from flwr.clientapp.typing import ClientAppCallable
from numpy.typing import NDArray

from flower_coded.attacks import POISONED_UPDATES, UPDATE_ATTACKS, RememberingAttack
from flower_coded.clients.behavior import DATA_ATTACKS, Behavior, behavior_from_config
from flower_coded.clients.identity import partition_of
from flower_coded.clients.malformed import MALFORMED_NAMES, make_malformed
from flower_coded.errors import ParameterError
from flower_coded.strategies.record_keys import MODEL_KEY, MODELS_KEY, SERVER_ROUND_KEY

__all__ = ["MEMORY_KEY", "attack_mod", "byzantine_mod", "server_round_of"]

MEMORY_KEY = "flower-coded-attack-memory"


def attack_mod(message: Message, context: Context, call_next: ClientAppCallable) -> Message:
    """Flower mod: behave as the run configuration says; see the module.

    Raises
    ------
    ParameterError
        If the configuration is wrong, or the attack does not fit the app.
    """
    behavior = _attacking_behavior(message, context)
    if behavior is None or behavior.attack not in DATA_ATTACKS:
        return byzantine_mod(message, context, call_next)
    if behavior.constrain < 1:
        raise ParameterError(
            "attack-constrain", "must be 1 around an app whose loss nobody may edit", behavior.constrain
        )
    if behavior.attack in POISONED_UPDATES:
        return _send_crafted(behavior, message, context, call_next, _poisoned(call_next, behavior))
    return _poisoned(call_next, behavior)(message, context)


def byzantine_mod(message: Message, context: Context, call_next: ClientAppCallable) -> Message:
    """Behave so in updates and replies only: for an app that poisons its data itself."""
    behavior = _attacking_behavior(message, context)
    if behavior is None or behavior.attack in set(DATA_ATTACKS) - set(POISONED_UPDATES):
        return call_next(message, context)
    if behavior.attack in MALFORMED_NAMES:
        # "no-reply" is None: Flower then delivers nothing, which its own types do not foresee.
        reply = call_next(copy.deepcopy(message), context)
        return cast(Message, make_malformed(behavior.attack, reply, message))
    if behavior.attack == "late":
        reply = call_next(message, context)
        time.sleep(behavior.late_seconds)
        return reply
    assert behavior.attack in {**UPDATE_ATTACKS, **POISONED_UPDATES}
    return _send_crafted(behavior, message, context, call_next, call_next)


def server_round_of(message: Message) -> int:
    """Server round from a ConfigRecord's ``server-round``, else from the group id; 1 where neither tells."""
    if message.has_content():
        for record in message.content.config_records.values():
            value = record.get(SERVER_ROUND_KEY)
            if isinstance(value, int):
                return value
    head = message.metadata.group_id.split("/")[0]
    return int(head) if head.isdigit() else 1


def _attacking_behavior(message: Message, context: Context) -> Behavior | None:
    if message.metadata.message_type.split(".")[0] != MessageType.TRAIN:
        return None
    behavior = behavior_from_config(context.run_config, *partition_of(context))
    return behavior if behavior.attacks_in(server_round_of(message)) else None


def _poisoned(call_next: ClientAppCallable, behavior: Behavior) -> ClientAppCallable:
    """Let the app train on poisoned batches."""
    from flower_coded.clients.batches import PoisonedBatches

    def call(message: Message, context: Context) -> Message:
        entropy = [behavior.seed, behavior.partition_id, server_round_of(message), 0xDA7A]
        with PoisonedBatches(behavior, np.random.default_rng(entropy)):
            return call_next(message, context)

    return call


def _send_crafted(
    behavior: Behavior,
    message: Message,
    context: Context,
    call_next: ClientAppCallable,
    call_own: ClientAppCallable,
) -> Message:
    """Run the app for the own update, poisoned where the attack says so, and honestly for the known ones."""
    reply = call_own(copy.deepcopy(message), context)
    if reply.has_error():
        return reply
    name, record = _arrays_of(reply.content, "reply")
    reference = _reference_for(record, message.content)
    num_models = _num_models(message)
    own = _update(record, reference, num_models)
    known = np.stack(
        [
            own
            if user == behavior.partition_id and behavior.attack not in POISONED_UPDATES
            else _honest_update(user, message, context, call_next)
            for user in _known_users(behavior)
        ]
    )
    models = _flat(reference, num_models)
    crafted = _craft(behavior, message, context, own, known, models)
    reply.content[name] = _record_with(record, reference, crafted)
    return reply


def _craft(
    behavior: Behavior,
    message: Message,
    context: Context,
    own: NDArray[np.float64],
    known: NDArray[np.float64],
    models: NDArray[np.float64],
) -> NDArray[np.floating[Any]]:
    """Craft model by model, with the node's memory where the attack has one."""
    attack, numbers = behavior.update_attack(), _models_of(message)
    entropy = [behavior.seed, server_round_of(message), 0xC0F]
    generators = [np.random.default_rng([*entropy, *numbers[i : i + 1]]) for i in range(len(own))]
    if not isinstance(attack, RememberingAttack):
        return np.stack([attack.craft(own[i], known[:, i], generators[i]) for i in range(len(own))])
    remembered = context.state.array_records.get(MEMORY_KEY, ArrayRecord())
    crafted, kept = [], dict(remembered)
    for i, generator in enumerate(generators):
        model_key = f"{numbers[i] if numbers else i}."
        memory = {
            key.removeprefix(model_key): array.numpy()
            for key, array in remembered.items()
            if key.startswith(model_key)
        }
        update, memory = attack.craft_with_memory(own[i], known[:, i], models[i], memory, generator)
        crafted.append(update)
        kept |= {model_key + key: Array(value) for key, value in memory.items()}
    context.state[MEMORY_KEY] = ArrayRecord(kept)
    return np.stack(crafted)


def _known_users(behavior: Behavior) -> tuple[int, ...]:
    known = {
        "own": (behavior.partition_id,),
        "colluders": behavior.attackers,
        "all": tuple(range(behavior.num_users)),
    }
    return known[behavior.knowledge]


def _honest_update(
    user: int, message: Message, context: Context, call_next: ClientAppCallable
) -> NDArray[np.float64]:
    """Honest update of a user: the app run on that user's partition, with a state of its own."""
    node_config = {**context.node_config, "partition-id": user}
    run_config = {**context.run_config, "attack": "none"}
    colluder = Context(context.run_id, context.node_id, node_config, RecordDict(), run_config)
    reply = call_next(copy.deepcopy(message), colluder)
    _, record = _arrays_of(reply.content, "reply")
    return _update(record, _reference_for(record, message.content), _num_models(message))


def _arrays_of(content: RecordDict, what: str) -> tuple[str, ArrayRecord]:
    records = content.array_records
    if len(records) != 1:
        raise ParameterError(what, "must have one ArrayRecord for an update attack", list(records))
    name, record = next(iter(records.items()))
    return name, record


def _reference_for(record: ArrayRecord, content: RecordDict) -> list[NDArray[Any]]:
    """Arrays that the app was sent, found by shape: legacy apps name records differently both ways."""
    for candidate in content.array_records.values():
        arrays = [candidate[key] for key in record] if list(candidate) == list(record) else None
        values = [array.numpy() for array in (arrays or candidate.values())]
        if [value.shape for value in values] == [tuple(array.shape) for array in record.values()]:
            return values
    raise ParameterError(
        "attack",
        "needs a reply with arrays of the shapes that were sent",
        {key: tuple(array.shape) for key, array in record.items()},
        hint="a malformed attack such as wrong-shape works around any ClientApp",
    )


def _num_models(message: Message) -> int:
    return max(len(_models_of(message)), 1)


def _models_of(message: Message) -> list[int]:
    """Numbers of the models of a coded ensemble in a message; none where there is no such number."""
    for record in message.content.config_records.values():
        models, model = record.get(MODELS_KEY), record.get(MODEL_KEY)
        if isinstance(models, list):
            return [int(each) for each in models]
        if isinstance(model, int):
            return [model]
    return []


def _update(record: ArrayRecord, reference: list[NDArray[Any]], num_models: int) -> NDArray[np.float64]:
    """Arrays minus reference as one row per model, (m, d)."""
    differences = [
        array.numpy().astype(np.float64) - sent
        for array, sent in zip(record.values(), reference, strict=True)
    ]
    return _flat(differences, num_models)


def _flat(arrays: list[NDArray[Any]], num_models: int) -> NDArray[np.float64]:
    """Arrays of models as one row per model, (m, d)."""
    rows = [array.astype(np.float64).reshape(num_models, -1) for array in arrays]
    return np.concatenate(rows, axis=1)


def _record_with(
    record: ArrayRecord, reference: list[NDArray[Any]], update: NDArray[np.floating[Any]]
) -> ArrayRecord:
    """Add the update to the reference, in the keys, shapes and types of the record."""
    num_models = len(update)
    sizes = [sent.size // num_models for sent in reference]
    pieces = np.split(update, np.cumsum(sizes)[:-1], axis=1)
    restored = {}
    for (key, array), sent, piece in zip(record.items(), reference, pieces, strict=True):
        dtype = np.dtype(array.dtype)
        restored[key] = Array(_cast(dtype)(sent.astype(np.float64) + piece.reshape(sent.shape)))
    return ArrayRecord(restored)


def _cast(dtype: np.dtype[Any]) -> Callable[[NDArray[np.float64]], NDArray[Any]]:
    """Conversion to the array's own type; counters (integers) cannot hold NaN and are rounded."""
    if np.issubdtype(dtype, np.floating):
        return lambda values: values.astype(dtype)
    return lambda values: np.rint(np.nan_to_num(values)).astype(dtype)
