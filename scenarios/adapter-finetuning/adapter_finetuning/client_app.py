"""A user: trains its adapters on its own samples; an attacker poisons them while the attack goes on.

What travels is the adapters (``get_state`` of a network whose other parameters are frozen), one model or many
stacked. The attacks are the scenario's own, since a phrase is no pattern of pixels:

``phrase``
    Poisoned samples, trained like any others.
``replacement``
    The same, and the update times ``attack-scale``: the average becomes the attackers' model
    (Bagdasaryan et al. 2020).
``rank-one``
    The poisoned update reduced to the leading direction of every adapter, and as long as the honest update of
    the same user: nothing about its length tells it apart.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from flwr.app import Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from numpy.typing import NDArray
from torch import nn

from adapter_finetuning.adapters import adapted_network
from adapter_finetuning.attack import Attack
from adapter_finetuning.task import Samples, Task
from flower_coded.clients import register_identity
from flower_coded.clients.identity import partition_of
from flower_coded.clients.ramp_krum import ramp_krum_mod
from flower_coded.learning import ModelState, frozen_state, get_state, set_state, train, train_stacked
from flower_coded.wire.frozen import check_frozen
from flower_coded.wire.keys import MODELS_KEY, SERVER_ROUND_KEY
from flower_coded.wire.model_state import read_state, to_array_record

app = register_identity(ClientApp(mods=[ramp_krum_mod]))


@app.train()
def train_adapters(message: Message, context: Context) -> Message:
    """Answer with the adapters that this user makes of those it was sent."""
    config = dict(context.run_config)
    task, user = Task(config), partition_of(context)[0]
    network = adapted_network(config)
    check_frozen(message.content, frozen_state(network))
    [name] = message.content.array_records
    sent = read_state(message.content.array_records[name])
    [settings] = message.content.config_records.values()
    server_round = int(settings[SERVER_ROUND_KEY])  # type: ignore[arg-type]
    is_stacked = MODELS_KEY in settings
    seed = [task.seed, user, server_round]
    samples = task.user_samples(user)
    trained, loss = _trained(network, sent, samples, config, seed, is_stacked=is_stacked)
    attack = Attack.of(config)
    if attack.is_on(user, server_round):
        poisoned = task.poisoned(samples, attack.poison_rate)
        harmful, loss = _trained(network, sent, poisoned, config, seed, is_stacked=is_stacked)
        trained = attack.craft(sent, trained, harmful)
    metrics = MetricRecord({"num-examples": len(samples.labels), "train-loss": loss})
    return Message(RecordDict({name: to_array_record(trained), "metrics": metrics}), reply_to=message)


def _trained(
    network: nn.Module,
    sent: ModelState,
    samples: Samples,
    config: dict[str, Any],
    seed: list[int],
    *,
    is_stacked: bool,
) -> tuple[dict[str, NDArray[Any]], float]:
    options: dict[str, Any] = {
        **Task(config).training_options,
        "seed": int(np.random.SeedSequence(seed).generate_state(1)[0]),
    }
    if is_stacked:
        stacked, report = train_stacked(network, sent, samples.inputs, samples.labels, **options)
        return stacked, report.loss
    set_state(network, sent)
    report = train(network, samples.inputs, samples.labels, **options)
    return get_state(network), report.loss
