"""Chameleon's two stages, and its loss against a loop over the paper's formula."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from flower_coded.errors import ParameterError
from flower_coded.learning import TrainSettings, build_model
from flower_coded.learning.chameleon_training import supervised_contrastive_loss, train_chameleon


def naive_loss(features: np.ndarray, labels: np.ndarray, weights: np.ndarray, temperature: float) -> float:
    z = features / np.linalg.norm(features, axis=1, keepdims=True)
    total = 0.0
    for i in range(len(z)):
        others = [a for a in range(len(z)) if a != i]
        positives = [p for p in others if labels[p] == labels[i]]
        whole = sum(np.exp(z[i] @ z[a] / temperature) for a in others)
        for p in positives:
            total -= weights[i] / len(positives) * np.log(np.exp(z[i] @ z[p] / temperature) / whole)
    return total / len(z)


@pytest.mark.parametrize("seed", range(4))
def test_the_loss_is_that_of_the_formula(seed: int) -> None:
    generator = np.random.default_rng(seed)
    features, labels = generator.normal(size=(9, 5)), generator.integers(0, 4, 9)
    labels[0] = 7  # alone with its label
    weights = generator.random(9) + 0.5
    loss = supervised_contrastive_loss(
        torch.tensor(features), torch.tensor(labels), torch.tensor(weights), temperature=0.5
    )
    assert float(loss) == pytest.approx(naive_loss(features, labels, weights, 0.5))


def test_the_gradient_is_finite_where_a_label_stands_alone_or_a_batch_has_one_image() -> None:
    for count in (1, 2):
        features = torch.randn(count, 5, requires_grad=True)
        loss = supervised_contrastive_loss(features, torch.arange(count), torch.ones(count), temperature=0.07)
        loss.backward()
        assert float(loss.detach()) == 0.0
        assert torch.isfinite(features.grad).all()


def samples() -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    return generator.random((21, 1, 8, 8), dtype=np.float32), generator.integers(0, 10, 21)


@pytest.mark.parametrize("name", ["small-cnn", "cnn4", "small-cnn+hadamard"])
def test_the_features_are_trained_first_and_then_held(name: str) -> None:
    settings = TrainSettings(epochs=1, batch_size=7, learning_rate=0.05, optimizer="sgd")
    start = build_model(name, (1, 8, 8), 10).state_dict()
    *features, weight, bias = start

    def trained(feature_rate: float) -> dict[str, torch.Tensor]:
        model = build_model(name, (1, 8, 8), 10)
        train_chameleon(model, *samples(), 3, settings=settings, feature_rate=feature_rate)
        assert all(parameter.requires_grad for parameter in model.parameters())
        return model.state_dict()

    still, moved = trained(1e-30), trained(1.0)
    for key in features:  # the second stage leaves them alone
        torch.testing.assert_close(still[key], start[key], rtol=0, atol=0)
    assert any(not torch.equal(moved[key], start[key]) for key in features)
    assert not torch.equal(still[weight], start[weight])
    assert not torch.equal(still[bias], start[bias])


def test_the_target_class_pulls_harder_with_its_weight() -> None:
    settings = TrainSettings(epochs=1, batch_size=21, learning_rate=0.05, optimizer="sgd")
    images, labels = samples()
    target, states = int(np.bincount(labels).argmax()), []
    for weight in (1.0, 4.0):
        model = build_model("small-cnn", (1, 8, 8), 10)
        train_chameleon(model, images, labels, target, settings=settings, weight=weight)
        states.append(model.state_dict())
    assert any(not torch.equal(states[0][key], states[1][key]) for key in states[0])


def test_a_model_without_a_linear_layer_and_numbers_out_of_range_are_refused() -> None:
    settings = TrainSettings()
    with pytest.raises(ParameterError, match="linear layer"):
        train_chameleon(nn.Sequential(nn.Conv2d(1, 3, 8), nn.Flatten()), *samples(), 3, settings=settings)
    model = build_model("small-cnn", (1, 8, 8), 10)
    for name in ("weight", "temperature", "feature_rate"):
        with pytest.raises(ParameterError, match=name):
            train_chameleon(model, *samples(), 3, settings=settings, **{name: 0.0})
