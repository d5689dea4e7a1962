"""ClientApps in the forms that Flower's users have, nothing of ours in them.

What tells these forms apart for a strategy is not the training library. It is how arrays are named and typed,
what travels beside them, and which metrics come back when. So each is a few lines of NumPy with the names,
types, shapes and metrics of its library, in our own words; ``quickstart_client.py`` beside this file trains
with torch itself. This file must never import flower_coded.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.client import NumPyClient
from flwr.clientapp import ClientApp

State = dict[str, np.ndarray]
Metrics = dict[str, Any]
EMPTY_HANDED = 2  # the partition whose Poisson batch is empty


@dataclass(frozen=True)
class ClientForm:
    """One form.

    Parameters
    ----------
    name : str
        As in the table of docs/strategies.md.
    start : callable
        Gives the arrays that a ServerApp starts from.
    train, evaluate : callable or None
        Handlers of the Message API.
    loss : str
        The metric that training reports.
    client_fn : callable or None
        Of the older interface, in place of the handlers.
    """

    name: str
    start: Callable[[], ArrayRecord]
    train: Callable[[Message, Context], Message] | None = None
    evaluate: Callable[[Message, Context], Message] | None = None
    loss: str = "train_loss"
    client_fn: Callable[..., Any] | None = None

    def app(self, *mods: Any) -> ClientApp:
        """Make the ClientApp, as a project writes it."""
        if self.client_fn is not None:
            return ClientApp(client_fn=self.client_fn, mods=list(mods))
        app = ClientApp(mods=list(mods))
        app.train()(self.train)
        app.evaluate()(self.evaluate)
        return app


def _partition(context: Context) -> int:
    return int(context.node_config["partition-id"])


def _of_state(
    name: str,
    start: State,
    step: Callable[[State, int], tuple[State, Metrics]],
    evaluation: Callable[[int], Metrics],
    loss: str = "train_loss",
) -> ClientForm:
    """Make a form whose arrays have names, like a ``state_dict``."""

    def train(message: Message, context: Context) -> Message:
        received = {key: each.numpy() for key, each in message.content["arrays"].items()}
        state, metrics = step(received, _partition(context))
        arrays = ArrayRecord({key: Array(np.asarray(each)) for key, each in state.items()})
        return Message(RecordDict({"arrays": arrays, "metrics": MetricRecord(metrics)}), reply_to=message)

    def evaluate(message: Message, context: Context) -> Message:
        metrics = MetricRecord(evaluation(_partition(context)))
        return Message(RecordDict({"metrics": metrics}), reply_to=message)

    return ClientForm(
        name,
        lambda: ArrayRecord({key: Array(np.asarray(each)) for key, each in start.items()}),
        train,
        evaluate,
        loss,
    )


# Plain NumPy: a list of arrays, which Flower names "0", "1", ...; a line is fitted by least squares.


def _line_of(partition: int) -> tuple[np.ndarray, np.ndarray]:
    inputs = np.linspace(-1, 1, 20 + partition)[:, None] * [1.0, 0.5]
    return inputs, inputs @ [0.6, -0.2] + 0.1 * partition


def _train_list(message: Message, context: Context) -> Message:
    weights, bias = message.content["arrays"].to_numpy_ndarrays()
    inputs, targets = _line_of(_partition(context))
    errors = inputs @ weights + bias - targets
    trained = [weights - 0.3 * inputs.T @ errors / len(errors), bias - 0.3 * errors.mean(keepdims=True)]
    metrics = MetricRecord({"num-examples": len(errors), "mse": float(np.mean(errors**2))})
    return Message(RecordDict({"arrays": ArrayRecord(trained), "metrics": metrics}), reply_to=message)


def _evaluate_list(message: Message, context: Context) -> Message:
    weights, bias = message.content["arrays"].to_numpy_ndarrays()
    inputs, targets = _line_of(_partition(context))
    loss = float(np.mean((inputs @ weights + bias - targets) ** 2))
    return Message(
        RecordDict({"metrics": MetricRecord({"num-examples": len(targets), "mse": loss})}), reply_to=message
    )


NUMPY = ClientForm(
    "plain NumPy", lambda: ArrayRecord([np.zeros(2), np.zeros(1)]), _train_list, _evaluate_list, "mse"
)

# scikit-learn: coef_ and intercept_ of a linear model in float64, two arrays in a list.


def _probabilities(coef: np.ndarray, intercept: np.ndarray, inputs: np.ndarray) -> np.ndarray:
    scores = np.exp(inputs @ coef.T + intercept)
    return np.asarray(scores / scores.sum(axis=1, keepdims=True))


def _flowers_of(partition: int) -> tuple[np.ndarray, np.ndarray]:
    """Three classes of four features, of which a partition may lack one."""
    labels = np.arange(12) % (2 + partition % 2)
    return np.eye(4)[labels] + 0.05 * partition, labels


def _fit_classifier(message: Message, context: Context) -> Message:
    coef, intercept = message.content["arrays"].to_numpy_ndarrays()
    inputs, labels = _flowers_of(_partition(context))
    slopes = _probabilities(coef, intercept, inputs) - np.eye(3)[labels]
    arrays = ArrayRecord([coef - slopes.T @ inputs / 12, intercept - slopes.mean(axis=0)])
    metrics = MetricRecord({"num-examples": 12, "train_logloss": float(np.abs(slopes).mean())})
    return Message(RecordDict({"arrays": arrays, "metrics": metrics}), reply_to=message)


def _score_classifier(message: Message, context: Context) -> Message:
    coef, intercept = message.content["arrays"].to_numpy_ndarrays()
    inputs, labels = _flowers_of(_partition(context))
    predicted = _probabilities(coef, intercept, inputs).argmax(axis=1)
    names = ("accuracy", "precision", "recall", "f1")
    values = dict.fromkeys(names, float(np.mean(predicted == labels)))
    return Message(RecordDict({"metrics": MetricRecord({"num-examples": 12, **values})}), reply_to=message)


SCIKIT_LEARN = ClientForm(
    "scikit-learn",
    lambda: ArrayRecord([np.zeros((3, 4)), np.zeros(3)]),
    _fit_classifier,
    _score_classifier,
    "train_logloss",
)

# Opacus: names with "_module.", Poisson batches. An empty batch leaves noise alone, no examples, and a loss
# that is the mean of nothing.


def _noisy_step(state: State, partition: int) -> tuple[State, Metrics]:
    is_empty = partition == EMPTY_HANDED
    noise = np.random.default_rng(partition)
    trained = {
        name: (each + 0.05 * (not is_empty) + 0.01 * noise.normal(size=each.shape)).astype(each.dtype)
        for name, each in state.items()
    }
    loss = math.nan if is_empty else 0.7
    count = 0 if is_empty else 9 + partition
    return trained, {"num-examples": count, "train_loss": loss, "epsilon": 1.5 + partition}


OPACUS = _of_state(
    "Opacus",
    {
        "_module.conv1.weight": np.zeros((2, 1, 3, 3), np.float32),
        "_module.conv1.bias": np.zeros(2, np.float32),
        "_module.fc.weight": np.zeros((2, 8), np.float32),
    },
    _noisy_step,
    lambda partition: {"num-examples": 8, "eval_loss": 0.6, "eval_acc": 0.5},
)

# Hugging Face: nested names, half precision beside float32, positions as an int64 buffer, long metric names.


def _fine_tune(state: State, partition: int) -> tuple[State, Metrics]:
    trained = {
        name: each if each.dtype.kind == "i" else (each + 0.125 + 0.002 * partition).astype(each.dtype)
        for name, each in state.items()
    }
    return trained, {"num-examples": 16, "train_loss": 0.69, "train_samples_per_second": 31.5 + partition}


HUGGING_FACE = _of_state(
    "Hugging Face",
    {
        "bert.embeddings.position_ids": np.arange(8, dtype=np.int64)[None],
        "bert.embeddings.word_embeddings.weight": np.full((5, 4), 0.25, np.float16),
        "bert.encoder.layer.0.attention.self.query.weight": np.eye(4, dtype=np.float16),
        "bert.encoder.layer.0.attention.output.LayerNorm.weight": np.ones(4, np.float32),
        "classifier.bias": np.zeros(2, np.float16),
    },
    _fine_tune,
    lambda partition: {"num-examples": 16, "val_loss": 0.68, "val_accuracy": 0.55},
)

# Lightning: a prefix for the module inside the LightningModule, metrics that count epochs and steps.


def _fit_module(state: State, partition: int) -> tuple[State, Metrics]:
    trained = {name: each - np.float32(0.1 + 0.01 * partition) for name, each in state.items()}
    return trained, {"num-examples": 55 + partition, "train_loss": 0.05, "epoch": 1, "global_step": 7}


LIGHTNING = _of_state(
    "Lightning",
    {
        "model.encoder.0.weight": np.ones((3, 4), np.float32),
        "model.encoder.0.bias": np.zeros(3, np.float32),
        "model.decoder.0.weight": np.ones((4, 3), np.float32),
    },
    _fit_module,
    lambda partition: {"num-examples": 10, "test_loss": 0.04},
)

# MONAI: five-dimensional weights, BatchNorm3d with its statistics and its counter of no dimension, one Dice
# score per class. The inputs are not normalized, so that the running variance goes far in a round.


def _segment(state: State, partition: int) -> tuple[State, Metrics]:
    trained = {
        name: each + np.float32(0.02 + 0.001 * partition)
        for name, each in state.items()
        if each.dtype.kind == "f"
    }
    trained["norm.running_var"] = state["norm.running_var"] + np.float32(90 + partition)
    trained["norm.num_batches_tracked"] = state["norm.num_batches_tracked"] + 4
    # The order of a state_dict is kept.
    return {name: trained[name] for name in state}, {
        "num-examples": 4,
        "train_loss": 0.8,
        "dice": [0.5, 0.25 + 0.01 * partition],
    }


MONAI = _of_state(
    "MONAI",
    {
        "conv.weight": np.zeros((2, 1, 3, 3, 3), np.float32),
        "norm.weight": np.ones(2, np.float32),
        "norm.bias": np.zeros(2, np.float32),
        "norm.running_mean": np.zeros(2, np.float32),
        "norm.running_var": np.ones(2, np.float32),
        "norm.num_batches_tracked": np.array(0, np.int64),
    },
    _segment,
    lambda partition: {"num-examples": 4, "dice": [0.5, 0.3]},
)

# Tabular: float64 beside float32, a mask of columns, partitions of very unequal size.


def _fit_table(state: State, partition: int) -> tuple[State, Metrics]:
    trained = {
        name: each if each.dtype.kind == "b" else (each + 0.1 + 0.01 * partition).astype(each.dtype)
        for name, each in state.items()
    }
    return trained, {"num-examples": 3 * 4**partition, "train_loss": 0.4}


TABULAR = _of_state(
    "tabular",
    {
        "layer1.weight": np.zeros((4, 6), np.float32),
        "layer1.bias": np.zeros(4, np.float32),
        "feature_means": np.zeros(6, np.float64),
        "is_categorical": np.array([True, False, False, True, False, False]),
    },
    _fit_table,
    lambda partition: {"num-examples": 5, "val_loss": 0.4, "accuracy": 0.8},
)

# XGBoost: the bytes of a tree model in one uint8 array, empty at first and longer in every round.


def _boost(message: Message, context: Context) -> Message:
    [model] = message.content["arrays"].to_numpy_ndarrays()
    grown = np.frombuffer(model.tobytes() + b'{"trees": 1}', np.uint8)
    metrics = MetricRecord({"num-examples": 30})
    return Message(RecordDict({"arrays": ArrayRecord([grown]), "metrics": metrics}), reply_to=message)


XGBOOST = ClientForm("XGBoost", lambda: ArrayRecord([np.zeros(0, np.uint8)]), _boost, _evaluate_list)

# Flower's older interface, which many tutorials still teach.


class OlderClient(NumPyClient):
    """A NumPyClient."""

    def fit(self, parameters: Any, config: Any) -> Any:
        """Train."""
        return [each + 0.1 for each in parameters], 10, {}

    def evaluate(self, parameters: Any, config: Any) -> Any:
        """Evaluate."""
        return 0.5, 10, {"accuracy": 0.5}


OLDER = ClientForm(
    "`NumPyClient`, `client_fn`",
    lambda: ArrayRecord([np.zeros(2)]),
    client_fn=lambda context: OlderClient().to_client(),
)

TRAINABLE = (NUMPY, SCIKIT_LEARN, OPACUS, HUGGING_FACE, LIGHTNING, MONAI, TABULAR)
