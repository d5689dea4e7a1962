"""How far the average of adapters is from the average of what they do."""

from __future__ import annotations

import numpy as np

from adapter_finetuning.adapters import adapted_network
from adapter_finetuning.experiment import Experiment
from flower_coded.learning import get_state, product_gap, train

__all__ = ["measured_gap"]


def measured_gap(experiment: Experiment) -> float:
    """Train every user once from the start, honestly; see :func:`flower_coded.learning.product_gap`."""
    states, config = [], experiment.config
    for user in range(experiment.task.num_users):
        network, samples = adapted_network(config), experiment.task.user_samples(user)
        train(
            network,
            samples.inputs,
            samples.labels,
            seed=int(np.random.SeedSequence([experiment.task.seed, user]).generate_state(1)[0]),
            **experiment.task.training_options,
        )
        states.append(get_state(network.cpu()))
    return product_gap(states)
