"""A complete ClientApp on :mod:`flower_coded.learning`: one model or many stacked, honest or not.

:func:`training_client_app` answers ``train``, ``evaluate`` and the roster query. A train message with
``coded-models`` in its ConfigRecord carries that many models stacked along the leading axis of every array,
any other carries one model. Both give the same models for the same seed up to rounding. In one process
(:class:`~flower_coded.testing.InProcessGrid`) the models of all nodes are trained as one program, see
:mod:`flower_coded.clients.cohort`.

Run-config keys are those of :mod:`flower_coded.clients.client_settings`,
:mod:`flower_coded.clients.attack_settings` and :mod:`flower_coded.clients.adversarial_settings`.

No global random state is touched: a round is seeded by the message's ``coded-seed``, or
by (seed, partition, round) where the message has none.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.clientapp.typing import Mod
from numpy.typing import NDArray
from torch import nn

from flower_coded.clients.adversarial_settings import adversarial_training
from flower_coded.clients.attack_mod import attack_in, backdoors_in, byzantine_mod, server_round_of
from flower_coded.clients.attack_settings import AttackSettings
from flower_coded.clients.attacker_training import AttackerTraining, poisoned_samples
from flower_coded.clients.client_settings import ClientSettings, Samples, client_settings_of, own_data
from flower_coded.clients.cohort import Trained, Training, train_together
from flower_coded.clients.identity import partition_of, register_identity
from flower_coded.clients.kept import KeptByIdentity
from flower_coded.errors import ParameterError
from flower_coded.learning import (
    ModelState,
    TrainReport,
    build_model,
    get_state,
    predict_stacked,
    set_state,
    train,
    user_indices,
)
from flower_coded.learning.adversarial_training import AdversarialTraining
from flower_coded.learning.cohort import TrainJob
from flower_coded.wire.frozen import check_frozen
from flower_coded.wire.keys import MODELS_KEY, SEED_KEY

__all__ = [
    "poisoned_samples",
    "training_client_app",
]

_decoded: KeptByIdentity[ModelState] = KeptByIdentity(4)  # a round's nodes are often sent the same bytes
_poisoned_data: KeptByIdentity[dict[int, Samples]] = KeptByIdentity(64)  # by backdoor


def training_client_app(mods: Sequence[Mod] = ()) -> ClientApp:
    """Make the ClientApp described in the module.

    Parameters
    ----------
    mods : sequence of Mod
        Around train and evaluate, the first outermost: a protocol's client side.

    Returns
    -------
    ClientApp
        To be the ``clientapp`` component of a Flower app.

    Examples
    --------
    >>> app = training_client_app()
    """
    app = ClientApp(mods=list(mods))
    app.train(mods=[byzantine_mod])(_train)
    app.evaluate()(_evaluate)
    return register_identity(app)


def _train(message: Message, context: Context) -> Message:
    settings = client_settings_of(context)
    name, state, config = _read(message)
    is_stacked, share = MODELS_KEY in config, _constrain(message, context)
    if is_stacked and share < 1:
        raise ParameterError("attack-constrain", "must be 1 where models are trained stacked", share)
    seed = _round_seed(settings, config, message, context)
    attack = attack_in(message, context)
    if attack is not None and attack.row.trains_itself:
        malicious = _trained_as_attacker(
            settings, attack, state if is_stacked else _alone(state), context, seed
        )
        return _reply(message, name, malicious[0], [malicious[1]], is_stacked=is_stacked)
    parts = _parts(settings, message, context, is_stacked=is_stacked)
    adversarial = adversarial_training(context.run_config)
    if adversarial.method == "none":
        stacked = state if is_stacked else _alone(state)
        jobs = [TrainJob(_chosen(stacked, which), *samples, seed, share) for which, samples in parts]
        sent = tuple(array.data for array in message.content.array_records[name].values())
        origins = [(sent, None if which is None else which.tobytes()) for which, _ in parts]
        answers = train_together(
            Training(
                _model(settings),
                settings.train_settings,
                settings.device,
                settings.models_at_a_time,
                jobs,
                origins,
            )
        )
    elif is_stacked or share < 1:
        raise ParameterError(
            "adversarial-training",
            "must be none where models are trained stacked, or an attacker constrains its loss",
            adversarial.method,
        )
    else:
        answers = [_trained_adversarially(settings, state, parts[0][1], adversarial, seed)]
    together, reports = _put_together(parts, answers), [report for _, report in answers]
    return _reply(message, name, together, reports, is_stacked=is_stacked)


def _reply(
    message: Message, name: str, stacked: ModelState, reports: Sequence[TrainReport], *, is_stacked: bool
) -> Message:
    trained = stacked if is_stacked else {key: values[0] for key, values in stacked.items()}
    arrays = ArrayRecord({key: Array(np.ascontiguousarray(values)) for key, values in trained.items()})
    loss = float(np.mean([loss for report in reports for loss in report.model_losses]))
    metrics = MetricRecord({"num-examples": reports[0].num_examples, "train-loss": loss})
    return Message(RecordDict({name: arrays, "metrics": metrics}), reply_to=message)


def _trained_adversarially(
    settings: ClientSettings, state: ModelState, samples: Samples, adversarial: AdversarialTraining, seed: int
) -> Trained:
    """Train one model on images that it is attacked with: by itself, for its steps are many."""
    model = copy.deepcopy(_model(settings))
    set_state(model, state)
    report = train(model, *samples, adversarial=adversarial, **settings.train_options(seed))
    return _alone(get_state(model)), report


def _trained_as_attacker(
    settings: ClientSettings, attack: AttackSettings, stacked: ModelState, context: Context, seed: int
) -> Trained:
    """Train models as an attack does that has a training of its own: by itself, one after another."""
    user, num_users = partition_of(context)
    training = AttackerTraining(
        attack,
        user,
        own_data(settings, user, num_users),
        own_data(settings, attack.attackers[0], num_users),
        settings.load().num_classes,
        replace(settings.train_settings, seed=seed),
        settings.device,
    )
    return training.train(copy.deepcopy(_model(settings)), stacked)


_Part = tuple[NDArray[np.bool_] | None, Samples]
"""Which models of a message (None: all) are trained on which samples."""


def _parts(settings: ClientSettings, message: Message, context: Context, *, is_stacked: bool) -> list[_Part]:
    """Divide a message's models between honest samples and those of every backdoor."""
    honest = own_data(settings, *partition_of(context))
    attack = attack_in(message, context)
    if attack is None or "data" not in attack.row.acts_on:
        return [(None, honest)]
    planted = backdoors_in(message, attack)
    num_classes = settings.load().num_classes
    known = _poisoned_data.get([*honest, attack], dict)
    parts: list[_Part] = []
    for backdoor in dict.fromkeys(planted):
        samples = honest  # of models that attackers spare
        if backdoor is not None:
            if backdoor not in known:
                known[backdoor] = poisoned_samples(honest, num_classes, message, context, backdoor=backdoor)
            samples = known[backdoor]
        parts.append((np.array([each == backdoor for each in planted]), samples))
    return parts if is_stacked and len(parts) > 1 else [(None, parts[0][1])]


def _chosen(state: ModelState, which: NDArray[np.bool_] | None) -> ModelState:
    return state if which is None else {key: values[which] for key, values in state.items()}


def _alone(state: ModelState) -> ModelState:
    return {key: values[np.newaxis] for key, values in state.items()}


def _put_together(parts: Sequence[_Part], answers: Sequence[Trained]) -> ModelState:
    """Trained models in the order in which they were sent."""
    if len(parts) == 1:
        return answers[0][0]
    together = {}
    for key, values in answers[0][0].items():
        total = sum(len(trained[key]) for trained, _ in answers)
        together[key] = np.empty((total, *values.shape[1:]), values.dtype)
        for (which, _), (trained, _) in zip(parts, answers, strict=True):
            together[key][which] = trained[key]
    return together


def _evaluate(message: Message, context: Context) -> Message:
    """Accuracy on this user's share of the test images; the mean over models where they are stacked."""
    settings = client_settings_of(context)
    _, state, config = _read(message)
    partition_id, num_users = partition_of(context)
    data = settings.load()
    own = user_indices(data.test_labels, num_users, "iid", settings.seed)[partition_id]
    images, labels = data.test_images[own], data.test_labels[own]
    model = _model(settings)
    stacked = state if MODELS_KEY in config else _alone(state)
    answers = predict_stacked(model, stacked, images, device=settings.device)
    metrics = MetricRecord({"num-examples": len(labels), "eval-acc": float((answers == labels).mean())})
    return Message(RecordDict({"metrics": metrics}), reply_to=message)


def _constrain(message: Message, context: Context) -> float:
    """Share of the training loss: less than 1 for an attacker who constrains and scales."""
    attack = attack_in(message, context)
    return 1.0 if attack is None else float(attack.option("attack-constrain"))


def _read(message: Message) -> tuple[str, ModelState, ConfigRecord]:
    """Name and content of the message's arrays, and its ConfigRecord."""
    arrays, configs = message.content.array_records, message.content.config_records
    if len(arrays) != 1 or len(configs) > 1:
        raise ParameterError(
            "message", "must have one ArrayRecord and at most one ConfigRecord", list(message.content)
        )
    check_frozen(message.content, {})  # nothing is frozen in the models that are built here
    name, record = next(iter(arrays.items()))
    sent = [array.data for array in record.values()]
    state = _decoded.get(sent, lambda: {key: array.numpy() for key, array in record.items()})
    if list(state) != list(record):  # the same bytes under other names
        state = dict(zip(record, state.values(), strict=True))
    return name, state, next(iter(configs.values()), ConfigRecord())


@functools.lru_cache(maxsize=8)
def _model(settings: ClientSettings) -> nn.Module:
    """Architecture whose own weights nobody uses; one object for all nodes of a process."""
    data = settings.load()
    return build_model(settings.model, data.image_shape, data.num_classes)


def _round_seed(settings: ClientSettings, config: ConfigRecord, message: Message, context: Context) -> int:
    given = config.get(SEED_KEY)
    if isinstance(given, int):
        return given
    entropy = [settings.seed, partition_of(context)[0], server_round_of(message)]
    return int(np.random.SeedSequence(entropy).generate_state(1)[0])
