"""A mod that turns any ClientApp into an attacker, chosen per node by the run configuration.

``ClientApp(mods=[attack_mod])`` is all; :mod:`flower_coded.clients.attack_settings` lists the keys. Only
train messages are touched. Honest nodes, and attackers before ``attack-from-round``, pass through unchanged.

* Data attacks change the batches that the app's DataLoaders give (:mod:`flower_coded.clients.batches`).
* Update attacks let the app train, take its update (its arrays minus the arrays it was sent), and send the
  crafted one. Colluders share their data: each runs the app once for every colluder, with a context that
  carries that colluder's partition id, and so knows all their honest updates; with ``attack-knowledge =
  "all"`` every user's. The generator is seeded by (seed, round, model of an ensemble) and the known updates
  are ordered by partition id, so that all colluders send the same vector. An attack of ``k`` colluders costs
  each of them ``k`` trainings.
* ``model-replacement``, ``neurotoxin``, ``edge-case`` and ``3dfed`` do both: the own update is trained on
  poisoned data, the known ones honestly.
* ``a3fl``, ``chameleon`` and ``alternating-minimization`` train in a way of their own, with the model at
  hand: an app that trains by itself is told so (:mod:`flower_coded.clients.attacker_training` does it for
  ours).
* Attacks that learn over rounds (``mimic``, ``neurotoxin``, ``3dfed``) keep what they learn in the node's
  state, under :data:`MEMORY_KEY`.
* Malformed replies are made from the honest one (:mod:`flower_coded.clients.malformed`); ``late`` is the
  honest one after a pause, too late for a server that waits less.

An update has the model's floating-point arrays, 0-d ones included, and keeps their types; what a type cannot
hold becomes its largest number. Arrays of another kind (a batch counter, a mask) are sent as they were
trained.

Arrays that carry several models stacked (``coded-models``) are crafted model by model, each with the draws
that all colluders make for that model. What an attacker knows and assumes stays the whole federation: the
known updates of a model come from all colluders (or users), whether the code assigns it to them or not, and
``model-replacement`` boosts as if all ``n`` were averaged.
"""

from __future__ import annotations

import copy
import hashlib
from typing import Any, cast

import numpy as np
from flwr.app import Array, ArrayRecord, Context, Message, MessageType, RecordDict
from flwr.clientapp.typing import ClientAppCallable
from numpy.typing import NDArray

from flower_coded.attacks.crafting import Memory, StatefulAttack, as_type
from flower_coded.clients.attack_settings import AttackSettings, attack_settings_of
from flower_coded.clients.identity import partition_of
from flower_coded.clients.malformed import spoil
from flower_coded.clients.model_state import models_in
from flower_coded.errors import ParameterError
from flower_coded.wire.keys import SERVER_ROUND_KEY
from flower_coded.wire.model_state import State, is_floating, read_state, to_array_record

__all__ = ["MEMORY_KEY", "attack_in", "attack_mod", "backdoors_in", "byzantine_mod", "server_round_of"]

MEMORY_KEY = "flower-coded-attack-memory"


def attack_mod(message: Message, context: Context, call_next: ClientAppCallable) -> Message:
    """Flower mod: behave as the run configuration says; see the module.

    Raises
    ------
    ParameterError
        If the configuration is wrong, or the attack does not fit the app.
    """
    settings = _attack_in_training(message, context)
    if settings is None or "data" not in settings.row.acts_on:
        return byzantine_mod(message, context, call_next)
    if settings.option("attack-constrain") != 1:
        raise ParameterError(
            "attack-constrain",
            "must be 1 around an app whose loss nobody may edit",
            settings.option("attack-constrain"),
        )
    if settings.row.trains_itself:
        raise ParameterError(
            "attack",
            "must be one that this ClientApp allows: its training is its own",
            settings.attack,
            hint="training_client_app() trains so; in an app of your own, call the attack's function in "
            "flower_coded.learning where you train",
        )
    chosen = set(backdoors_in(message, settings))
    if len(chosen) > 1:
        raise ParameterError(
            "attack-models",
            "must treat all models of a message alike around an app that trains them together",
            str(settings.option("attack-models")),
            hint="one message per model: CodedSubsetAggregation(stacked=False)",
        )
    backdoor = chosen.pop()
    if backdoor is None:
        return call_next(message, context)
    poisoned = _poisoned(call_next, settings, backdoor)
    if "updates" in settings.row.acts_on:
        return _send_crafted(settings, message, context, call_next, poisoned)
    return poisoned(message, context)


def byzantine_mod(message: Message, context: Context, call_next: ClientAppCallable) -> Message:
    """Behave so in updates and replies only: for an app that poisons its data itself."""
    settings = _attack_in_training(message, context)
    if settings is None or settings.row.acts_on == ("data",):
        return call_next(message, context)
    if "replies" in settings.row.acts_on:
        reply = call_next(copy.deepcopy(message), context)
        # "no-reply" is None: Flower then delivers nothing, which its own types do not foresee.
        return cast(Message, spoil(settings.reply_attack(), reply, message))
    return _send_crafted(settings, message, context, call_next, call_next)


def attack_in(message: Message, context: Context) -> AttackSettings | None:
    """Give the attack that this node makes in the message's round; None where it is honest so far."""
    settings = attack_settings_of(context)
    return settings if settings.attacks(partition_of(context)[0], server_round_of(message)) else None


def backdoors_in(message: Message, settings: AttackSettings) -> list[int | None]:
    """Tell of every model in a message which backdoor attackers plant; one entry where none is named."""
    labels = models_in(message)
    return [settings.backdoor_of(model) for model in labels] if labels else [0]


def server_round_of(message: Message) -> int:
    """Server round from a ConfigRecord's ``server-round``, else from the group id; 1 where neither tells."""
    if message.has_content():
        for record in message.content.config_records.values():
            value = record.get(SERVER_ROUND_KEY)
            if isinstance(value, int):
                return value
    head = message.metadata.group_id.split("/")[0]
    return int(head) if head.isdigit() else 1


def _attack_in_training(message: Message, context: Context) -> AttackSettings | None:
    is_training = message.metadata.message_type.split(".")[0] == MessageType.TRAIN
    return attack_in(message, context) if is_training else None


def _poisoned(call_next: ClientAppCallable, settings: AttackSettings, backdoor: int) -> ClientAppCallable:
    """Let the app train on poisoned batches."""
    from flower_coded.clients.batches import PoisonedBatches

    def call(message: Message, context: Context) -> Message:
        user = partition_of(context)[0]
        entropy = [settings.seed, user, server_round_of(message), 0xDA7A]
        with PoisonedBatches(settings, user, np.random.default_rng(entropy), backdoor=backdoor):
            return call_next(message, context)

    return call


def _send_crafted(
    settings: AttackSettings,
    message: Message,
    context: Context,
    call_next: ClientAppCallable,
    call_own: ClientAppCallable,
) -> Message:
    """Run the app for the own update, poisoned where the attack says so, and honestly for the known ones."""
    reply = call_own(copy.deepcopy(message), context)
    if reply.has_error():
        return reply
    user, is_honest = partition_of(context)[0], "data" not in settings.row.acts_on
    name, record = _arrays_of(reply.content)
    reference = _reference_for(record, message.content)
    numbers = models_in(message)
    own = _update(record, reference, max(len(numbers), 1))
    known = np.stack(
        [
            own if known == user and is_honest else _honest_update(known, message, context, call_next)
            for known in settings.known_users(user)
        ]
    )
    crafted = _craft(settings, message, context, own, known, _flat(reference, len(own)))
    reply.content[name] = _record_with(record, reference, crafted)
    return reply


def _craft(
    settings: AttackSettings,
    message: Message,
    context: Context,
    own: NDArray[np.float64],
    known: NDArray[np.float64],
    models: NDArray[np.float64],
) -> NDArray[np.floating[Any]]:
    """Craft model by model, with the node's memory where the attack has one."""
    attack = settings.update_attack(partition_of(context)[0])
    labels = models_in(message)
    entropy = [settings.seed, server_round_of(message), 0xC0F]
    # Colluders who are not told its number recognize a model that they share by its weights.
    drawn = [
        _digest(model) if isinstance(label, str) else label
        for label, model in zip(labels, models, strict=False)
    ]
    generators = [np.random.default_rng([*entropy, *drawn[i : i + 1]]) for i in range(len(own))]
    if not isinstance(attack, StatefulAttack):
        return np.stack([attack.craft(own[i], known[:, i], generators[i]) for i in range(len(own))])
    remembered = context.state.array_records.get(MEMORY_KEY, ArrayRecord())
    crafted, kept = [], dict(remembered)
    for i, generator in enumerate(generators):
        model_key = f"{labels[i] if labels else i}."
        memory: Memory = {
            key.removeprefix(model_key): array.numpy()
            for key, array in remembered.items()
            if key.startswith(model_key)
        }
        update, memory = attack.craft_with_memory(own[i], known[:, i], models[i], memory, generator)
        crafted.append(update)
        kept |= {model_key + key: Array(value) for key, value in memory.items()}
    context.state[MEMORY_KEY] = ArrayRecord(kept)
    return np.stack(crafted)


def _digest(model: NDArray[np.float64]) -> int:
    """64 bits that tell one model's weights from another's."""
    return int.from_bytes(hashlib.blake2b(model.tobytes(), digest_size=8).digest(), "big")


def _honest_update(
    user: int, message: Message, context: Context, call_next: ClientAppCallable
) -> NDArray[np.float64]:
    """Honest update of a user: the app run on that user's partition, with a state of its own."""
    node_config = {**context.node_config, "partition-id": user}
    run_config = {**context.run_config, "attack": "none"}
    colluder = Context(context.run_id, context.node_id, node_config, RecordDict(), run_config)
    reply = call_next(copy.deepcopy(message), colluder)
    _, record = _arrays_of(reply.content)
    return _update(record, _reference_for(record, message.content), max(len(models_in(message)), 1))


def _arrays_of(content: RecordDict) -> tuple[str, ArrayRecord]:
    records = content.array_records
    if len(records) != 1:
        raise ParameterError("reply", "must have one ArrayRecord for an update attack", list(records))
    name, record = next(iter(records.items()))
    return name, record


def _reference_for(record: ArrayRecord, content: RecordDict) -> State:
    """Arrays that the app was sent, found by shape: legacy apps name records differently both ways."""
    trained = read_state(record)
    for candidate in content.array_records.values():
        sent = read_state(candidate)
        if not sent.keys() >= trained.keys() and len(sent) == len(trained):
            sent = dict(zip(trained, sent.values(), strict=True))
        if all(key in sent and sent[key].shape == array.shape for key, array in trained.items()):
            floating = {key: sent[key] for key, array in trained.items() if is_floating(array.dtype)}
            if floating:
                return floating
    raise ParameterError(
        "attack",
        "needs a reply with floating-point arrays, and arrays of the shapes that were sent",
        {key: (array.dtype, tuple(array.shape)) for key, array in record.items()},
        hint="a malformed attack such as wrong-shape works around any ClientApp",
    )


def _update(record: ArrayRecord, reference: State, num_models: int) -> NDArray[np.float64]:
    """Arrays minus reference as one row per model, (m, d)."""
    trained = read_state(record)
    return _flat(
        {key: trained[key].astype(np.float64) - sent.astype(np.float64) for key, sent in reference.items()},
        num_models,
    )


def _flat(arrays: State, num_models: int) -> NDArray[np.float64]:
    """Arrays of models as one row per model, (m, d); a 0-d array of one model is one entry."""
    rows = []
    for array in arrays.values():
        # Not -1: NumPy cannot tell how long the rows of an empty array are.
        rows.append(array.astype(np.float64).reshape(num_models, array.size // num_models))
    return np.concatenate(rows, axis=1)


def _record_with(record: ArrayRecord, reference: State, update: NDArray[np.floating[Any]]) -> ArrayRecord:
    """Add the update to the reference, in the keys, shapes and types of the record."""
    sizes = [sent.size // len(update) for sent in reference.values()]
    pieces = np.split(update, np.cumsum(sizes)[:-1], axis=1)
    state = read_state(record)
    for (key, sent), piece in zip(reference.items(), pieces, strict=True):
        # A sum of 0-d arrays is a NumPy scalar, which Flower does not take.
        moved = np.asarray(sent.astype(np.float64) + piece.reshape(sent.shape))
        state[key] = np.asarray(as_type(moved, state[key]))
    return to_array_record(state)
