"""What a client that trains is told: data, division among users, model, training loop; and its own samples.

Run-config keys, besides those of :mod:`flower_coded.clients.attack_settings` and
:mod:`flower_coded.clients.adversarial_settings`:

=====================  =============  ===============================================================
key                    default        meaning
=====================  =============  ===============================================================
``dataset``            ``digits``     a name that :func:`~flower_coded.learning.load_images` knows
``data-directory``     empty          where its files are; empty: ``FLOWER_CODED_DATA``, else ``data``
``image-channels``     ``0``          3 repeats the channel of gray images three times; 0 leaves them
``validation-images``  ``0``          training images set aside before the users' division
``model``              ``small-cnn``  a name that :func:`~flower_coded.learning.build_model` knows
``partition``          (see there)    a rule of :mod:`flower_coded.learning.partition`
``alpha``              ``iid``        class mix per user, a number or ``iid``
``pieces-per-user``    ``0``          classes, shards or ids per user, of the rules that count them
``samples-per-user``   ``0``          images per user; 0 divides all
``local-epochs``       ``5``          passes over the own data in a round
``batch-size``         ``20``         images per step
``optimizer``          ``sgd``        ``sgd`` (with momentum 0.9) or ``adam``
``learning-rate``      ``0.1``        the optimizer's step; with ``adam``, 0.001 is usual
``weight-decay``       ``0.0001``     its L2 term
``seed``               ``0``          divides the data, orders it, draws masks
``device``             ``cpu``        ``cpu``, ``cuda`` or ``cuda:0``
=====================  =============  ===============================================================

Data sets and divisions are cached per process and read-only, so that the virtual clients of one simulation
worker share them.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from flwr.app import Context
from numpy.typing import NDArray

from flower_coded.clients.adversarial_settings import ADVERSARIAL_KEYS
from flower_coded.clients.attack_settings import ATTACK_KEYS
from flower_coded.clients.run_config import (
    RunConfig,
    parsed_once,
    read_choice,
    read_float,
    read_int,
    read_text,
    refuse_misspelled_keys,
)
from flower_coded.learning import (
    OPTIMIZER_NAMES,
    Division,
    ImageData,
    TrainSettings,
    check_partition,
    load_images,
    user_indices,
)
from flower_coded.learning.partition import DEFAULT_PARTITION

__all__ = [
    "CLIENT_KEYS",
    "TRAINING_KEYS",
    "ClientSettings",
    "PartitionSettings",
    "Samples",
    "client_settings_of",
    "own_data",
    "user_data",
    "user_division",
]

Samples = tuple[NDArray[np.float32], NDArray[np.int64]]


@dataclass(frozen=True)
class PartitionSettings:
    """How the images are divided among users: see :func:`~flower_coded.learning.user_indices`."""

    partition: str = DEFAULT_PARTITION
    alpha: str | float = "iid"
    pieces_per_user: int = 0
    samples_per_user: int = 0

    @classmethod
    def from_config(cls, run_config: RunConfig) -> PartitionSettings:
        """Read a run configuration; refuse what the rule does not read."""
        alpha = run_config.get("alpha", cls.alpha)
        found = cls(
            partition=read_text(run_config, "partition", cls.partition),
            alpha=alpha if isinstance(alpha, str | bool) else float(alpha),
            pieces_per_user=read_int(run_config, "pieces-per-user", cls.pieces_per_user),
            samples_per_user=read_int(run_config, "samples-per-user", cls.samples_per_user),
        )
        check_partition(found.partition, found.alpha, found.pieces_per_user)
        return found


@dataclass(frozen=True)
class ClientSettings:
    """The run-config keys above, as attributes; those of the division among users in one object."""

    dataset: str = "digits"
    data_directory: str = ""
    image_channels: int = 0
    validation_images: int = 0
    model: str = "small-cnn"
    division: PartitionSettings = PartitionSettings()
    local_epochs: int = 5
    batch_size: int = 20
    optimizer: str = "sgd"
    learning_rate: float = 0.1
    weight_decay: float = 1e-4
    seed: int = 0
    device: str = "cpu"
    models_at_a_time: int = 0

    @classmethod
    def from_config(cls, run_config: RunConfig) -> ClientSettings:
        """Read a run configuration; keys that are not there keep their default.

        Examples
        --------
        >>> settings = ClientSettings.from_config({"local-epochs": 2, "alpha": "0.1"})
        >>> settings.local_epochs, settings.division.alpha
        (2, '0.1')
        """
        refuse_misspelled_keys(run_config, CLIENT_KEYS)
        return cls(
            dataset=read_text(run_config, "dataset", cls.dataset),
            data_directory=read_text(run_config, "data-directory", cls.data_directory),
            image_channels=read_int(run_config, "image-channels", cls.image_channels),
            validation_images=read_int(run_config, "validation-images", cls.validation_images),
            model=read_text(run_config, "model", cls.model),
            division=PartitionSettings.from_config(run_config),
            local_epochs=read_int(run_config, "local-epochs", cls.local_epochs, least=1),
            batch_size=read_int(run_config, "batch-size", cls.batch_size, least=1),
            optimizer=read_choice(run_config, "optimizer", cls.optimizer, OPTIMIZER_NAMES),
            learning_rate=read_float(run_config, "learning-rate", cls.learning_rate),
            weight_decay=read_float(run_config, "weight-decay", cls.weight_decay),
            seed=read_int(run_config, "seed", cls.seed),
            device=read_text(run_config, "device", cls.device),
            models_at_a_time=read_int(run_config, "models-at-a-time", cls.models_at_a_time),
        )

    def load(self) -> ImageData:
        """Load the data set, from the process's cache where it is there."""
        return load_images(
            self.dataset,
            self.data_directory or None,
            seed=self.seed,
            num_validation=self.validation_images,
            channels=self.image_channels,
        )

    def train_options(self, seed: int) -> dict[str, Any]:
        """Keyword arguments of :func:`~flower_coded.learning.train` for a round of that seed."""
        return {
            "epochs": self.local_epochs,
            "batch_size": self.batch_size,
            "learning_rate": self.learning_rate,
            "weight_decay": self.weight_decay,
            "seed": seed,
            "optimizer": self.optimizer,
            "device": self.device,
        }

    @property
    def train_settings(self) -> TrainSettings:
        """Numbers of the training loop; each round has a seed of its own."""
        return TrainSettings(
            self.local_epochs,
            self.batch_size,
            self.learning_rate,
            self.weight_decay,
            optimizer=self.optimizer,
        )


TRAINING_KEYS = tuple(
    each.name.replace("_", "-")
    for each in (*fields(ClientSettings), *fields(PartitionSettings))
    if each.name != "division"
)
"""Run-config keys that :meth:`ClientSettings.from_config` reads."""

CLIENT_KEYS = (*TRAINING_KEYS, *ADVERSARIAL_KEYS, *ATTACK_KEYS)
"""Run-config keys of an app that trains, those of its attack among them; other keys are the server's."""

_parsed = parsed_once(ClientSettings.from_config)


def client_settings_of(context: Context) -> ClientSettings:
    """Training settings of a node's run, parsed once however many parts of an app ask for them."""
    return _parsed(context.run_config)


def user_data(settings: ClientSettings, partition_id: int, num_users: int) -> Samples:
    """Honest training images and labels of one user, the same in every process.

    Parameters
    ----------
    settings : ClientSettings
        Data set, partition and seed are used.
    partition_id, num_users : int
        The user among ``n``.

    Returns
    -------
    images : ndarray of shape (N, C, H, W), float32
    labels : ndarray of shape (N,), int64

    Examples
    --------
    >>> images, labels = user_data(ClientSettings(), 3, 12)
    >>> images.shape, labels.shape
    ((100, 1, 8, 8), (100,))
    """
    data = settings.load()
    own = user_division(settings, num_users)[partition_id]
    return data.train_images[own], data.train_labels[own]


@functools.lru_cache(maxsize=8)
def user_division(settings: ClientSettings, num_users: int) -> Division:
    """Which training images each user has, the same in every process.

    Parameters
    ----------
    settings : ClientSettings
        Data set, partition and seed are used.
    num_users : int
        ``n``.

    Returns
    -------
    Division

    Examples
    --------
    >>> settings = ClientSettings.from_config({"partition": "shards", "samples-per-user": 50})
    >>> user_division(settings, 12).describe()
    '12 users have 50 of 1,200 samples each; 600 go to nobody'
    """
    data, division = settings.load(), settings.division
    return user_indices(
        data.train_labels,
        num_users,
        division.alpha,
        settings.seed,
        division.samples_per_user or None,
        groups=data.train_groups,
        partition=division.partition,
        pieces_per_user=division.pieces_per_user,
        ids=data.train_ids,
    )


@functools.lru_cache(maxsize=256)
def own_data(settings: ClientSettings, partition_id: int, num_users: int) -> Samples:
    """Honest images of one user, the same read-only arrays in every round."""
    images, labels = user_data(settings, partition_id, num_users)
    images.flags.writeable = labels.flags.writeable = False
    return images, labels
