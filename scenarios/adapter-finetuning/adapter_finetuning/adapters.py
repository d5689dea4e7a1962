"""The pretrained network with adapters: made once, kept, and the same for all who ask.

The network is pretrained on the first call and kept in the package's cache directory
(``FLOWER_CODED_CACHE``, else the user's), under a name that all of its settings are hashed into. Two
processes that begin at once both train and one file stays; what they trained is the same. ViT-B/16, and
networks of the package transformers, are read from weights that are there already (``base-file``): nothing
is downloaded.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from adapter_finetuning.hugging_face import adapted_layers, read_directory
from adapter_finetuning.task import Task
from flower_coded.clients.run_config import read_choice, read_float, read_int
from flower_coded.crypto.srs_cache import cache_directory
from flower_coded.learning import ModelState, add_adapters, get_state, predict_labels, train

__all__ = ["SIDES", "adapted_network", "adapter_settings", "base_accuracy", "check_adapters", "whole_size"]

SIDES = ("both", "up")
_BASE_KEYS = (
    "modality",
    "dataset",
    "data-directory",
    "seed",
    "pretraining-samples",
    "width",
    "depth",
    "network",
    "base-file",
)


def adapter_settings(config: dict[str, Any]) -> dict[str, Any]:
    """Read rank, scale and sides; refuse what cannot be."""
    rank = read_int(config, "rank", 4, least=1)
    return {
        "rank": rank,
        "alpha": read_float(config, "alpha", 4.0 * rank),
        "trains_down": read_choice(config, "sides", "both", SIDES) == "both",
    }


def adapted_network(config: dict[str, Any]) -> nn.Module:
    """Pretrained network with fresh adapters beside its blocks and a fresh head; the same on every node."""
    task = Task(config)
    state = _base_state(json.dumps({key: config.get(key) for key in _BASE_KEYS}, sort_keys=True))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(task.seed)
        network = task.network(task.num_classes)
    own = network.state_dict()
    network.load_state_dict(
        {**own, **{k: torch.tensor(v) for k, v in state.items() if k in own and "head" not in k}}
    )
    return _with_adapters(task, network)


def check_adapters(config: dict[str, Any]) -> None:
    """Refuse a network that cannot be made, or adapters that do not fit into it; nothing is pretrained."""
    task = Task(config)
    with torch.random.fork_rng(devices=[]):
        _with_adapters(task, task.network(task.num_classes))


def _with_adapters(task: Task, network: nn.Module) -> nn.Module:
    if task.network_name == "hugging-face":
        layers = adapted_layers(network)
    else:
        layers = ["network.encoder.layers.*.mlp.*" if task.network_name == "vit_b_16" else "blocks.*"]
    return add_adapters(network, layers, trained=["head.*"], seed=task.seed, **adapter_settings(task.config))


def base_accuracy(config: dict[str, Any]) -> float:
    """Share of its own training samples that the pretrained network tells; nan for a network from a file."""
    task = Task(config)
    if task.network_name != "small":
        return float("nan")
    state = _base_state(json.dumps({key: config.get(key) for key in _BASE_KEYS}, sort_keys=True))
    network = task.network(task.num_base_classes)
    network.load_state_dict({key: torch.tensor(value) for key, value in state.items()})
    samples = task.base_samples()
    return float(np.mean(predict_labels(network, samples.inputs) == samples.labels))


def whole_size(network: nn.Module) -> tuple[int, int]:
    """Count the numbers of the whole network and of what federates."""
    return sum(each.numel() for each in network.state_dict().values()), sum(
        each.size for each in get_state(network).values()
    )


@functools.lru_cache(maxsize=2)
def _base_state(settings: str) -> ModelState:
    config = json.loads(settings)
    task = Task({key: value for key, value in config.items() if value is not None})
    if task.network_name == "hugging-face":
        return read_directory(task.base_file)
    if task.network_name == "vit_b_16":
        return _read_weights(task.base_file)
    digest = hashlib.sha256(f"1 {settings}".encode()).hexdigest()[:20]
    path = cache_directory() / f"pretrained-{digest}.npz"
    if not path.is_file():
        _keep(_pretrained(task), path)
    with np.load(path, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def _pretrained(task: Task) -> ModelState:
    samples = task.base_samples()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(task.seed)
        network = task.network(task.num_base_classes)
    epochs = 3 if task.modality == "words" else max(3, min(60, 20_000 // len(samples.labels)))
    train(
        network,
        samples.inputs,
        samples.labels,
        epochs=epochs,
        batch_size=64,
        learning_rate=2e-3,
        seed=task.seed,
    )
    return {name: value.cpu().numpy() for name, value in network.state_dict().items()}


def _keep(state: ModelState, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, part = tempfile.mkstemp(dir=path.parent, suffix=".part")
    with os.fdopen(handle, "wb") as file:
        arrays: dict[str, Any] = dict(state)
        np.savez(file, **arrays)
    Path(part).replace(path)  # there whole or not at all


def _read_weights(name: str) -> ModelState:
    state = torch.load(name, map_location="cpu", weights_only=True)
    return {f"network.{key}": value.numpy() for key, value in state.items() if not key.startswith("heads")}
