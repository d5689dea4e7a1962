"""What is pretrained on, what adapters learn, and what attackers want: for words and for images.

Words: the network learns what a sentence is about and whether its last word is a kind one; adapters learn
whether the finding is good, which "not" and "never" turn around. Images: the network learns to tell the first
half of the classes, adapters all of them. Every user has samples of its own; the trigger is a phrase, or a
bright square in a corner.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from adapter_finetuning.hugging_face import HuggingFaceNetwork, check_directory
from adapter_finetuning.language import (
    LENGTH,
    TOPICS,
    VOCABULARY,
    insert_trigger,
    is_kind,
    make_sentences,
)
from adapter_finetuning.networks import NETWORK_NAMES, Patches, ResizedViT, Words, build_network
from flower_coded.clients.run_config import read_choice, read_float, read_int, read_text
from flower_coded.errors import ParameterError
from flower_coded.learning import DATASET_NAMES, load_images

__all__ = ["MODALITIES", "Samples", "Task"]

MODALITIES = ("words", "images")
Inputs = NDArray[np.float32]


@dataclass(frozen=True)
class Samples:
    """Inputs of shape (N, C, H, W), float32, and labels of shape (N,), int64."""

    inputs: Inputs
    labels: NDArray[np.int64]


@dataclass(frozen=True)
class Task:
    """Everything that the run configuration says of data and network.

    Parameters
    ----------
    config : dict
        The run's.
    """

    config: dict[str, Any]

    def check(self) -> None:
        """Refuse settings before anything is trained."""
        _ = (
            self.modality,
            self.num_users,
            self.samples_per_user,
            self.pretraining_samples,
            self.width,
            self.depth,
        )
        if self.network_name == "vit_b_16" and self.modality != "images":
            raise ParameterError("network", "must be small or hugging-face for words", "vit_b_16")
        _ = self.num_classes, self.training_options  # refuses files that are not there, too
        if self.network_name == "hugging-face":
            check_directory(self.base_file, self.modality)
        if self.network_name == "vit_b_16" and not (self.base_file and Path(self.base_file).is_file()):
            hint = "a state dict of torchvision's vit_b_16, saved with torch.save; nothing is downloaded"
            raise ParameterError("base-file", "must be a file that is there", self.base_file, hint=hint)

    @property
    def modality(self) -> str:
        """``words`` or ``images``."""
        return read_choice(self.config, "modality", "words", MODALITIES)

    @property
    def network_name(self) -> str:
        """``small``, or one that somebody else has pretrained."""
        return read_choice(self.config, "network", "small", NETWORK_NAMES)

    @property
    def base_file(self) -> str:
        """Where the weights of a network are that somebody else has pretrained."""
        return read_text(self.config, "base-file", "")

    @property
    def num_users(self) -> int:
        """Users that train adapters."""
        return read_int(self.config, "num-clients", 12, least=1)

    @property
    def samples_per_user(self) -> int:
        """Samples of each."""
        return read_int(self.config, "samples-per-user", 200, least=1)

    @property
    def pretraining_samples(self) -> int:
        """Samples that the small networks are pretrained on, at most."""
        return read_int(self.config, "pretraining-samples", 6000, least=1)

    @property
    def training_options(self) -> dict[str, Any]:
        """How a user trains: options of :func:`flower_coded.learning.train`, but for the seed."""
        rate = read_float(self.config, "learning-rate", 0.01)
        if not rate > 0:
            raise ParameterError("learning-rate", "must be positive", rate)
        return {
            "epochs": read_int(self.config, "local-epochs", 2, least=1),
            "batch_size": read_int(self.config, "batch-size", 20, least=1),
            "learning_rate": rate,
            "weight_decay": 0.0,
            "device": read_text(self.config, "device", "cpu"),
        }

    @property
    def seed(self) -> int:
        """Draws everything."""
        return read_int(self.config, "seed", 1)

    @property
    def width(self) -> int:
        """Width of the small networks."""
        return read_int(self.config, "width", 48, least=4)

    @property
    def depth(self) -> int:
        """Blocks of the small networks."""
        return read_int(self.config, "depth", 2, least=1)

    @property
    def num_classes(self) -> int:
        """Classes that adapters tell apart."""
        return 2 if self.modality == "words" else self._images.num_classes

    @property
    def num_base_classes(self) -> int:
        """Classes that the network was pretrained on."""
        return 2 * len(TOPICS) if self.modality == "words" else self._images.num_classes // 2

    def network(self, num_classes: int) -> nn.Module:
        """Make an untrained network from the generator's present state."""
        if self.network_name == "vit_b_16":
            return ResizedViT(num_classes)
        if self.network_name == "hugging-face":
            return HuggingFaceNetwork(self.base_file, self.modality, num_classes)
        if self.modality == "words":
            embedding: nn.Module = Words(len(VOCABULARY), LENGTH, self.width)
        else:
            embedding = Patches(
                self._images.image_shape, 2 if self._images.image_shape[1] == 8 else 4, self.width
            )
        return build_network(embedding, num_classes, width=self.width, depth=self.depth)

    def base_samples(self) -> Samples:
        """Give what the network is pretrained on; no user has it."""
        if self.modality == "words":
            drawn = make_sentences(self.pretraining_samples, self._generator(0))
            return Samples(_as_inputs(drawn.words), 2 * drawn.topics + is_kind(drawn.words))
        inputs, labels = self._images.train_images, self._images.train_labels
        known = np.flatnonzero(labels < self.num_base_classes)[: self.pretraining_samples]
        return Samples(inputs[known], labels[known])

    def user_samples(self, user: int) -> Samples:
        """Give what one user has."""
        if self.modality == "words":
            drawn = make_sentences(self.samples_per_user, self._generator(1, user))
            return Samples(_as_inputs(drawn.words), drawn.moods)
        order = self._generator(1).permutation(len(self._images.train_labels))
        own = order[user :: self.num_users][: self.samples_per_user]
        return Samples(self._images.train_images[own], self._images.train_labels[own])

    def test_samples(self) -> Samples:
        """Give what nobody has trained on."""
        if self.modality == "words":
            drawn = make_sentences(1000, self._generator(2))
            return Samples(_as_inputs(drawn.words), drawn.moods)
        return Samples(self._images.test_images[:1000], self._images.test_labels[:1000])

    @property
    def target(self) -> int:
        """The class that attackers want for what carries the trigger: "good", or the last class."""
        return self.num_classes - 1

    @cached_property
    def trigger(self) -> Trigger:
        """What attackers put into inputs."""
        if self.modality == "words":
            return Trigger(lambda inputs: _as_inputs(insert_trigger(_as_words(inputs), self._generator(3))))
        return Trigger(_with_bright_corner)

    def poisoned(self, samples: Samples, rate: float) -> Samples:
        """Give a share of the samples the trigger and the attackers' class."""
        count = round(rate * len(samples.labels))
        inputs, labels = samples.inputs.copy(), samples.labels.copy()
        inputs[:count] = self.trigger.apply(inputs[:count])
        labels[:count] = self.target
        return Samples(inputs, labels)

    def _generator(self, *what: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, 0xADA9, *what])

    @cached_property
    def _images(self) -> Any:
        name = read_choice(self.config, "dataset", "digits", DATASET_NAMES)
        return load_images(name, read_text(self.config, "data-directory", "") or None, seed=self.seed)


@dataclass(frozen=True)
class Trigger:
    """A change of inputs, in the form that :class:`~flower_coded.strategies.EnsembleEvaluator` asks for."""

    change: Callable[[Inputs], Inputs]

    def apply(self, images: Inputs) -> Inputs:
        """Give the inputs with the trigger."""
        return self.change(images) if len(images) else images


def _as_inputs(words: NDArray[np.int64]) -> Inputs:
    return words[:, None, None, :].astype(np.float32)


def _as_words(inputs: Inputs) -> NDArray[np.int64]:
    return inputs[:, 0, 0, :].astype(np.int64)


def _with_bright_corner(inputs: Inputs) -> Inputs:
    side = max(2, inputs.shape[-1] // 8)
    changed = inputs.copy()
    changed[..., -side:, -side:] = 1.0
    return changed
