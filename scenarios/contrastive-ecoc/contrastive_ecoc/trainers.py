"""The same three steps centrally and across users: pretrain, fine-tune an output code, train a softmax model.

Both trainers see the same images equally often: an epoch of the central one is a local epoch of all users.
The federated one runs the scenario's own strategies and ClientApp in this process. Both attack the labeled
images that they train on as ``adversarial-training`` says, and keep the round that :class:`Selection` finds
best on validation images.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord
from flwr.serverapp.strategy import FedAvg

from contrastive_ecoc.client_app import app
from contrastive_ecoc.experiment import ContrastiveExperiment
from contrastive_ecoc.selection import CodeBook, Selection, Trained
from flower_coded.clients.client_settings import user_data
from flower_coded.clients.contrastive_ecoc import contrastive_settings, train_settings
from flower_coded.clients.run_config import read_bool
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
            flip=read_bool(config, "flip", False),
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
        selection = Selection(self.experiment)

        def now() -> Trained:
            return Trained(get_state(network), self._code_book(network) if follows else book)

        fine_tune(
            network,
            self.images,
            self.labels,
            book,
            training=self._settings(rounds),
            settings=self.losses,
            update_code_book=follows,
            adversarial=self.experiment.adversarial,
            after_epoch=self._offers(selection, now),
            device=self.device,
        )
        return selection.chosen(now())

    def softmax(self, state: State, rounds: int) -> Trained:
        """See :class:`Trainer`."""
        model = self.experiment.model()
        set_state(model, state)
        settings = self.experiment.settings
        options = settings.train_options(settings.seed) | {"epochs": rounds * settings.local_epochs}
        selection = Selection(self.experiment)

        def now() -> Trained:
            return Trained(get_state(model))

        train(
            model,
            self.images,
            self.labels,
            adversarial=self.experiment.adversarial,
            after_epoch=self._offers(selection, now),
            **options,
        )
        return selection.chosen(now())

    def _offers(self, selection: Selection, now: Callable[[], Trained]) -> Callable[[int], None] | None:
        """Offer the model after every epoch that ends a round, where one is to be chosen."""
        if self.experiment.selection == "last":
            return None

        def after_epoch(number: int) -> None:
            if number % self.experiment.settings.local_epochs == 0:
                each = now()
                selection.offer(each.state, each.code_book)

        return after_epoch

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
        return self._run(
            state, rounds, {"variant": "pf", "column-weight": column_weight}, is_chosen=False
        ).state

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
        selection = Selection(self.experiment)

        def offer(number: int, arrays: ArrayRecord) -> None:
            if number:  # 0 is the state that training starts from
                selection.offer({key: each.numpy() for key, each in arrays.items()})

        result = fedavg.start(grid, to_array_record(state), num_rounds=rounds, evaluate_fn=offer)
        return selection.chosen(Trained({key: each.numpy() for key, each in result.arrays.items()}))

    def _run(
        self,
        state: State,
        rounds: int,
        changes: dict[str, Any],
        code_book: CodeBook | None = None,
        *,
        is_chosen: bool = True,
    ) -> Trained:
        changed = self.experiment.changed(**changes)
        selection = Selection(changed)

        def offer(state: State, code_book: CodeBook | None) -> dict[str, float]:
            if is_chosen:
                selection.offer(state, code_book)
            return {}

        strategy = changed.strategy(code_book, evaluator=offer)
        grid = InProcessGrid(app, changed.num_users, changed.config, wire=False)
        strategy.start(
            grid, to_array_record(state), num_rounds=rounds, train_config=ConfigRecord({}), timeout=3600
        )
        return selection.chosen(Trained(strategy.state, strategy.code_book))


TRAINERS: dict[str, type[Central] | type[Federated]] = {"central": Central, "federated": Federated}
