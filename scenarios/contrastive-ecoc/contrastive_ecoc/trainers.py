"""The same three steps centrally and across users: pretrain, fine-tune an output code, train a softmax model.

Both trainers see the same images equally often: an epoch of the central one is a local epoch of all users.
The federated one runs the scenario's own strategies and ClientApp in this process.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from flwr.app import ConfigRecord
from flwr.serverapp.strategy import FedAvg
from numpy.typing import NDArray

from contrastive_ecoc.client_app import app
from contrastive_ecoc.experiment import ContrastiveExperiment
from flower_coded.clients.contrastive_ecoc import contrastive_settings, train_settings
from flower_coded.clients.training import user_data
from flower_coded.learning.code_book import code_book_from_sums
from flower_coded.learning.contrastive_training import (
    class_word_sums,
    fine_tune,
    pretrain,
    simclr_augmentation,
)
from flower_coded.learning.models import get_state, set_state
from flower_coded.learning.training import TrainSettings, train
from flower_coded.testing import InProcessGrid
from flower_coded.wire.model_state import State, to_array_record

CodeBook = NDArray[np.float64]


@dataclass(frozen=True)
class Trained:
    """A trained network and, for an output code, its code book."""

    state: State
    code_book: CodeBook | None = None


class Trainer(Protocol):
    """What the comparison asks of either place; a fixed ``code_book`` is neither made nor moved."""

    def pretrain(self, column_weight: float) -> State:
        """Pretrain a new network without labels."""
        ...

    def fine_tune(
        self, state: State, rounds: int, *, follows: bool = False, code_book: CodeBook | None = None
    ) -> Trained:
        """Fine-tune against a code book: a given one, one made now, or one that follows the weights."""
        ...

    def softmax(self, state: State, rounds: int) -> Trained:
        """Train a softmax model from a state."""
        ...


class Central:
    """Everybody's images in one place."""

    def __init__(self, experiment: ContrastiveExperiment) -> None:
        self.experiment, settings = experiment, experiment.settings
        shares = [user_data(settings, user, experiment.num_users) for user in range(experiment.num_users)]
        self.images, self.labels = (np.concatenate(parts) for parts in zip(*shares, strict=True))
        self.losses = contrastive_settings(experiment.config)
        self.device = settings.device

    def pretrain(self, column_weight: float) -> State:
        """See :class:`Trainer`."""
        config, network = self.experiment.config, self.experiment.network()
        augment = simclr_augmentation(
            self.experiment.data.image_shape,
            flip=bool(config["flip"]),
            images_per_draw=int(config["images-per-draw"]),
        )
        rounds = int(config["pretrain-rounds"])
        if rounds:
            pretrain(
                network,
                self.images,
                training=replace(self._settings(rounds), batch_size=int(config["pretrain-batch-size"])),
                settings=replace(self.losses, column_weight=column_weight),
                augment=augment,
                device=self.device,
            )
        return get_state(network)

    def fine_tune(
        self, state: State, rounds: int, *, follows: bool = False, code_book: CodeBook | None = None
    ) -> Trained:
        """See :class:`Trainer`."""
        network = self.experiment.network()
        set_state(network, state)
        book = self._code_book(network) if code_book is None else code_book
        fine_tune(
            network,
            self.images,
            self.labels,
            book,
            training=self._settings(rounds),
            settings=self.losses,
            update_code_book=follows,
            device=self.device,
        )
        return Trained(get_state(network), self._code_book(network) if follows else book)

    def softmax(self, state: State, rounds: int) -> Trained:
        """See :class:`Trainer`."""
        model = self.experiment.model()
        set_state(model, state)
        settings = self.experiment.settings
        options = settings.train_options(settings.seed) | {"epochs": rounds * settings.local_epochs}
        train(model, self.images, self.labels, **options)
        return Trained(get_state(model))

    def _settings(self, rounds: int) -> TrainSettings:
        one = train_settings(self.experiment.config, self.experiment.seed)
        return replace(one, epochs=rounds * one.epochs)

    def _code_book(self, network: Any) -> CodeBook:
        classes = self.experiment.data.num_classes
        return code_book_from_sums(
            *class_word_sums(network, self.images, self.labels, classes, device=self.device)
        )


class Federated:
    """Every user keeps its images; the server averages."""

    def __init__(self, experiment: ContrastiveExperiment) -> None:
        self.experiment = experiment

    def pretrain(self, column_weight: float) -> State:
        """See :class:`Trainer`."""
        rounds = int(self.experiment.config["pretrain-rounds"])
        state = get_state(self.experiment.network())
        if not rounds:
            return state
        return self._run(state, rounds, {"variant": "pf", "column-weight": column_weight}).state

    def fine_tune(
        self, state: State, rounds: int, *, follows: bool = False, code_book: CodeBook | None = None
    ) -> Trained:
        """See :class:`Trainer`."""
        variant = "fixed" if code_book is not None else "cfpc" if follows else "pf"
        changes = {"variant": variant, "pretrain-rounds": 0, "fine-tune-rounds": rounds}
        return self._run(state, rounds, changes, code_book)

    def softmax(self, state: State, rounds: int) -> Trained:
        """See :class:`Trainer`."""
        fedavg = FedAvg(**self.experiment.everybody)
        grid = InProcessGrid(app, self.experiment.num_users, self.experiment.config, wire=False)
        result = fedavg.start(grid, to_array_record(state), num_rounds=rounds)
        return Trained({key: each.numpy() for key, each in result.arrays.items()})

    def _run(
        self, state: State, rounds: int, changes: dict[str, Any], code_book: CodeBook | None = None
    ) -> Trained:
        changed = ContrastiveExperiment({**self.experiment.config, **changes})
        strategy = changed.strategy(code_book, with_evaluator=False)
        grid = InProcessGrid(app, changed.num_users, changed.config, wire=False)
        strategy.start(
            grid, to_array_record(state), num_rounds=rounds, train_config=ConfigRecord({}), timeout=3600
        )
        return Trained(strategy.state, strategy.code_book)
