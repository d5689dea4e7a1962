"""ClientApp of contrastive output codes: pretrain, fine-tune, class sums, evaluation, on any backbone.

:func:`contrastive_client_app` answers what :class:`~flower_coded.strategies.contrastive_ecoc.ContrastiveECOC`
asks. Two functions make it yours: one that loads this node's images, one that builds the network on any
backbone. Left alone it trains on :mod:`flower_coded.learning`'s data sets and models by the run
configuration's keys, those of :mod:`flower_coded.clients.client_settings`, those of
:mod:`flower_coded.clients.adversarial_settings` and these. A node that the keys of
:mod:`flower_coded.clients.attack_settings` make an attacker poisons its images before it trains and before it
sums, or crafts its update.

==========================  ========  ===============================================================
key                         default   meaning
==========================  ========  ===============================================================
``optimizer``               ``adam``  ``adam``, or ``sgd`` with momentum 0.9
``learning-rate``           ``0.001``  the optimizer's step; with ``sgd``, 0.1 is usual
``num-bits``                ``32``    length of a codeword
``pretrain-batch-size``     ``100``   images per step while pretraining
``images-per-draw``         ``4``     images that share one random view; more is faster
``flip``                    ``false``  whether mirror images belong to the same class
``temperature``             ``0.5``   τ of eqs. 2 and 4
``column-weight``           ``1.0``   λ of eq. 8
``margin``                  ``0.5``   margin of eq. 7
``probability-temperature``  ``1.0``  of eq. 5
``code-book-momentum``      ``0.5``   share of its last mean that a class keeps per batch
``contrastive``             ``simclr``  what pretraining minimizes: ``simclr`` or ``byol``
``target-momentum``         ``0.99``  of BYOL's target network at a round's first step
``code-book-attack``        ``none``  ``negate``, ``swap``, ``collapse`` or ``oversize``
``code-book-attackers``     empty     partition ids that send poisoned class sums: ``"0,3"``
``code-book-claim``         ``0``     samples they claim per class; 0 claims the honest number
==========================  ========  ===============================================================

Optimizer and learning rate have defaults of their own here, the paper's.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from flwr.app import ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from numpy.typing import NDArray

from flower_coded.attacks.code_book_poisoning import CodeBookPoisoning
from flower_coded.clients.adversarial_settings import adversarial_training
from flower_coded.clients.attack_mod import byzantine_mod
from flower_coded.clients.attack_settings import attack_settings_of
from flower_coded.clients.attacker_training import poisoned_samples
from flower_coded.clients.client_settings import CLIENT_KEYS, ClientSettings, client_settings_of, user_data
from flower_coded.clients.identity import partition_of, register_identity
from flower_coded.clients.run_config import (
    RunConfig,
    read_bool,
    read_choice,
    read_float,
    read_int,
    read_text,
    refuse_misspelled_keys,
)
from flower_coded.codes.output_code import OutputCode
from flower_coded.errors import ParameterError
from flower_coded.learning.contrastive_training import (
    CONTRASTIVE_METHODS,
    ContrastiveSettings,
    class_word_sums,
    fine_tune,
    pretrain,
    simclr_augmentation,
)
from flower_coded.learning.models import ModelState, get_state, set_state
from flower_coded.learning.output_code_network import OutputCodeNetwork, build_output_code_network
from flower_coded.learning.training import OPTIMIZER_NAMES, TrainReport, TrainSettings, predict_logits
from flower_coded.wire.contrastive_ecoc import (
    CODE_BOOK_KEY,
    CODE_BOOK_MESSAGE_TYPE,
    CODEWORDS_KEY,
    COUNT_NAME_KEY,
    COUNTS_KEY,
    FOLLOW_KEY,
    PHASE_KEY,
    SUMS_KEY,
)
from flower_coded.wire.frozen import check_frozen
from flower_coded.wire.keys import NUM_EXAMPLES_KEY, SEED_KEY
from flower_coded.wire.model_state import read_state, to_array_record

__all__ = [
    "UserImages",
    "code_book_attack",
    "contrastive_client_app",
    "contrastive_settings",
    "train_settings",
]

_CODE_BOOK_ATTACKS = ("none", "negate", "swap", "collapse", "oversize")

CONTRASTIVE_KEYS = (
    "num-bits",
    "pretrain-batch-size",
    "images-per-draw",
    "flip",
    *(each.name.replace("_", "-") for each in dataclasses.fields(ContrastiveSettings)),
    "code-book-attack",
    "code-book-attackers",
    "code-book-claim",
    *CLIENT_KEYS,
)
"""Every run-config key above, and those of the training."""


@dataclass(frozen=True)
class UserImages:
    """Images of one node.

    Attributes
    ----------
    images : ndarray of shape (N, C, H, W), float32
        Pixels in [0, 1], for training and for class sums.
    labels : ndarray of shape (N,), int64
    num_classes : int
    """

    images: NDArray[np.float32]
    labels: NDArray[np.int64]
    num_classes: int


def contrastive_settings(run_config: RunConfig) -> ContrastiveSettings:
    """Read the weights and temperatures of the losses from a run configuration.

    Examples
    --------
    >>> contrastive_settings({"temperature": 0.2}).temperature
    0.2
    """
    default = ContrastiveSettings()
    refuse_misspelled_keys(run_config, CONTRASTIVE_KEYS)
    numbers = {
        each.name: read_float(
            run_config, each.name.replace("_", "-"), getattr(default, each.name), least=-1.0
        )
        for each in dataclasses.fields(default)
        if isinstance(each.default, float)
    }
    method = read_choice(run_config, "contrastive", default.contrastive, CONTRASTIVE_METHODS)
    return ContrastiveSettings(contrastive=method, **numbers)


def train_settings(run_config: RunConfig, seed: int) -> TrainSettings:
    """Read the numbers of the training loop; optimizer and learning rate default to the paper's.

    Examples
    --------
    >>> settings = train_settings({"local-epochs": 2}, seed=7)
    >>> settings.optimizer, settings.learning_rate, settings.epochs, settings.seed
    ('adam', 0.001, 2, 7)
    """
    common = ClientSettings.from_config(run_config)
    return TrainSettings(
        epochs=common.local_epochs,
        batch_size=common.batch_size,
        learning_rate=read_float(run_config, "learning-rate", TrainSettings.learning_rate),
        weight_decay=common.weight_decay,
        seed=seed,
        optimizer=read_choice(run_config, "optimizer", TrainSettings.optimizer, OPTIMIZER_NAMES),
    )


def code_book_attack(run_config: RunConfig, partition_id: int, num_users: int) -> CodeBookPoisoning | None:
    """Read what a node does to its class sums; call it in a ServerApp too, to refuse bad values at the start.

    Parameters
    ----------
    run_config : mapping of str to value
        ``context.run_config``.
    partition_id, num_users : int
        The node; any user's, on the server.

    Returns
    -------
    CodeBookPoisoning or None
        None where the node is honest.

    Raises
    ------
    ParameterError
        If the attack is unknown, an attacker is no partition id, or the claim is negative.

    Examples
    --------
    >>> liar = {"code-book-attack": "negate", "code-book-attackers": "3"}
    >>> code_book_attack(liar, 3, num_users=10), code_book_attack(liar, 4, num_users=10)
    (CodeBookPoisoning(kind='negate', claimed_count=None), None)
    """
    kind = read_choice(run_config, "code-book-attack", "none", _CODE_BOOK_ATTACKS)
    named = read_text(run_config, "code-book-attackers", "")
    pieces = [piece.strip() for piece in named.split(",") if piece.strip()]
    if not all(piece.isdigit() and int(piece) < num_users for piece in pieces):
        raise ParameterError(
            "code-book-attackers", f"must be partition ids 0 to {num_users - 1}", named, hint="'0,3', say"
        )
    claim = read_int(run_config, "code-book-claim", 0)
    if kind == "none" or partition_id not in map(int, pieces):
        return None
    return CodeBookPoisoning(kind, claim or None)  # type: ignore[arg-type]


def contrastive_client_app(
    load_user: Callable[[Context], UserImages] | None = None,
    build_network: Callable[[Context, UserImages], OutputCodeNetwork] | None = None,
) -> ClientApp:
    """Make the ClientApp described in the module.

    Parameters
    ----------
    load_user : callable, optional
        This node's images; by default a share of the data set that the run configuration names.
    build_network : callable, optional
        A network with any weights; by default a model of this package.

    Returns
    -------
    ClientApp
        To be the ``clientapp`` component of a Flower app.

    Examples
    --------
    >>> from torch import nn
    >>> def build_network(context, user):
    ...     return OutputCodeNetwork(nn.Flatten(), 64, num_bits=16)  # features: any module
    >>> app = contrastive_client_app(build_network=build_network)
    """
    handlers = _Handlers(load_user or _load_user, build_network or _build_network)
    app = ClientApp()
    app.train(mods=[byzantine_mod])(handlers.train)
    app.evaluate()(handlers.evaluate)
    app.query(CODE_BOOK_MESSAGE_TYPE.split(".")[1])(handlers.report_class_sums)
    return register_identity(app)


@dataclass(frozen=True)
class _Handlers:
    """What a node does with each kind of message."""

    load: Callable[[Context], UserImages]
    build: Callable[[Context, UserImages], OutputCodeNetwork]

    def train(self, message: Message, context: Context) -> Message:
        user, network = self._prepare_to_teach(message, context)
        report = _learn(network, user, message, context)
        metrics = MetricRecord({_count_name(message): report.num_examples, "train-loss": report.loss})
        arrays = to_array_record(get_state(network))
        return Message(RecordDict({"arrays": arrays, "metrics": metrics}), reply_to=message)

    def evaluate(self, message: Message, context: Context) -> Message:
        user, network = self._prepare(message, context)
        words = predict_logits(network, user.images, device=_device(context))
        is_right = OutputCode(_code_book(message)).decode(words) == user.labels
        counted = {_count_name(message): len(user.labels)}
        metrics = MetricRecord({**counted, "train-accuracy": float(is_right.mean())})
        return Message(RecordDict({"metrics": metrics}), reply_to=message)

    def report_class_sums(self, message: Message, context: Context) -> Message:
        user, network = self._prepare_to_teach(message, context)
        sums, counts = class_word_sums(
            network, user.images, user.labels, user.num_classes, device=_device(context)
        )
        attack = code_book_attack(context.run_config, *partition_of(context))
        if attack is not None:
            sums, counts = attack.craft(sums, counts)
        record = to_array_record({SUMS_KEY: sums, COUNTS_KEY: counts})
        return Message(RecordDict({CODE_BOOK_KEY: record}), reply_to=message)

    def _prepare(self, message: Message, context: Context) -> tuple[UserImages, OutputCodeNetwork]:
        user = self.load(context)
        network = self.build(context, user)
        set_state(network, _network_state(message))
        return user, network

    def _prepare_to_teach(self, message: Message, context: Context) -> tuple[UserImages, OutputCodeNetwork]:
        user, network = self._prepare(message, context)
        constrain = attack_settings_of(context).option("attack-constrain")
        if constrain != 1:
            raise ParameterError("attack-constrain", "must be 1 where an output code is trained", constrain)
        taught = poisoned_samples((user.images, user.labels), user.num_classes, message, context)
        return UserImages(*taught, user.num_classes), network


def _learn(network: OutputCodeNetwork, user: UserImages, message: Message, context: Context) -> TrainReport:
    """Pretrain, or fine-tune against the code book, as the strategy says."""
    config, run_config = _config(message), context.run_config
    training = train_settings(run_config, _seed_of(config.get(SEED_KEY)))
    losses = contrastive_settings(run_config)
    if config[PHASE_KEY] == "pretrain":
        batch_size = read_int(run_config, "pretrain-batch-size", 100, least=2)
        augment = simclr_augmentation(
            _image_shape(user),
            flip=read_bool(run_config, "flip", False),
            images_per_draw=read_int(run_config, "images-per-draw", 4, least=1),
        )
        return pretrain(
            network,
            user.images,
            training=dataclasses.replace(training, batch_size=batch_size),
            settings=losses,
            augment=augment,
            device=_device(context),
        )
    _, report = fine_tune(
        network,
        user.images,
        user.labels,
        _code_book(message),
        training=training,
        settings=losses,
        update_code_book=config[FOLLOW_KEY] is True,
        adversarial=adversarial_training(run_config),
        device=_device(context),
    )
    return report


def _device(context: Context) -> str:
    return ClientSettings.from_config(context.run_config).device


def _load_user(context: Context) -> UserImages:
    settings = client_settings_of(context)
    images, labels = user_data(settings, *partition_of(context))
    return UserImages(images, labels, settings.load().num_classes)


def _build_network(context: Context, user: UserImages) -> OutputCodeNetwork:
    settings = client_settings_of(context)
    num_bits = read_int(context.run_config, "num-bits", 32, least=1)
    return build_output_code_network(
        settings.model,
        _image_shape(user),
        num_bits,
        seed=settings.seed,
        has_predictor=contrastive_settings(context.run_config).contrastive == "byol",
    )


def _image_shape(user: UserImages) -> tuple[int, int, int]:
    channels, height, width = user.images.shape[1:]
    return channels, height, width


def _network_state(message: Message) -> ModelState:
    records = [record for key, record in message.content.array_records.items() if key != CODE_BOOK_KEY]
    if len(records) != 1:
        raise ParameterError(
            "message", "must have one ArrayRecord besides the code book", list(message.content)
        )
    check_frozen(message.content, {})  # nothing is frozen in the networks that are built here
    return read_state(records[0])


def _config(message: Message) -> ConfigRecord:
    """Return what the strategy says of this round; the record's name is the server's to choose."""
    for record in message.content.config_records.values():
        if PHASE_KEY in record:
            return record
    raise ParameterError(
        "message", f"must carry {PHASE_KEY!r}", list(message.content), hint="send it with ContrastiveECOC"
    )


def _count_name(message: Message) -> str:
    return str(_config(message).get(COUNT_NAME_KEY, NUM_EXAMPLES_KEY))


def _code_book(message: Message) -> NDArray[np.float64]:
    records = message.content.array_records
    if CODE_BOOK_KEY not in records:
        raise ParameterError("message", f"must hold {CODE_BOOK_KEY!r} in this phase", list(message.content))
    return np.asarray(records[CODE_BOOK_KEY][CODEWORDS_KEY].numpy(), dtype=np.float64)


def _seed_of(given: object) -> int:
    if not isinstance(given, int):
        raise ParameterError(
            "message", f"must carry {SEED_KEY!r}", given, hint="send it with ContrastiveECOC"
        )
    return given
