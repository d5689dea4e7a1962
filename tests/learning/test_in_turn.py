"""A model passes through its users' batches in turn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from flower_coded.errors import ParameterError
from flower_coded.learning import build_model, get_state, predict_labels
from flower_coded.learning.in_turn import _batches, train_in_turn
from flower_coded.learning.training import TrainSettings


def squares(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Images of one bright corner, which is the class."""
    labels = np.random.default_rng(seed).integers(0, 4, count)
    images = np.zeros((count, 1, 8, 8), dtype=np.float32)
    for image, label in zip(images, labels, strict=True):
        row, column = divmod(int(label), 2)
        image[0, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4] = 1
    return images, labels


def test_batches__never_mix_users_and_leave_nothing_out() -> None:
    settings = TrainSettings(epochs=2, batch_size=4, seed=3)
    seen = list(_batches([5, 9], settings))
    for epoch in range(2):
        for user, size in ((0, 5), (1, 9)):
            indices = np.concatenate([each for when, who, each in seen if (when, who) == (epoch, user)])
            assert sorted(indices.tolist()) == list(range(size))
    assert max(len(each) for _, _, each in seen) == 4
    # A batch of one user comes between those of another somewhere: they take turns.
    order = [user for epoch, user, _ in _batches([40, 40], settings) if epoch == 0]
    assert order != sorted(order)


def test_train_in_turn__learns_what_every_user_knows() -> None:
    model = build_model("small-cnn", (1, 8, 8), 4, seed=0)
    users = [squares(40, seed) for seed in range(3)]
    report = train_in_turn(model, users, settings=TrainSettings(epochs=6, batch_size=10, learning_rate=0.01))
    assert report.num_examples == 120
    assert report.loss < 0.1
    images, labels = squares(50, 9)
    assert (predict_labels(model, images) == labels).mean() > 0.95


def test_train_in_turn__depends_on_the_seed_alone() -> None:
    states = []
    for disturbance in (0, 5):
        torch.manual_seed(disturbance)
        model = build_model("small-cnn", (1, 8, 8), 4, seed=0)
        train_in_turn(model, [squares(20, 1), squares(20, 2)], settings=TrainSettings(seed=7, batch_size=8))
        states.append(get_state(model))
    assert all(np.array_equal(states[0][key], states[1][key]) for key in states[0])


def test_train_in_turn__needs_somebody() -> None:
    with pytest.raises(ParameterError, match="users must hold at least one"):
        train_in_turn(nn.Linear(1, 1), [], settings=TrainSettings())
