"""BYOL's loss, its moving target, and pretraining with it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from flower_coded.errors import ParameterError
from flower_coded.learning.byol import TargetNetwork, byol_loss, momentum_at
from flower_coded.learning.codeword_losses import column_separation
from flower_coded.learning.contrastive_training import ContrastiveSettings, pretrain, simclr_augmentation
from flower_coded.learning.output_code_network import OutputCodeNetwork
from flower_coded.learning.training import TrainSettings


def network(*, has_predictor: bool = True) -> OutputCodeNetwork:
    torch.manual_seed(0)
    features = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU())
    return OutputCodeNetwork(features, 32, num_bits=8, num_projections=6, has_predictor=has_predictor)


def test_the_loss_is_zero_for_one_direction_two_across_and_four_for_opposite_ones() -> None:
    first = torch.tensor([[2.0, 0.0], [0.0, 3.0], [1.0, 1.0]])
    second = torch.tensor([[5.0, 0.0], [1.0, 0.0], [-2.0, -2.0]])
    for row, value in enumerate((0.0, 2.0, 4.0)):
        assert float(byol_loss(first[row : row + 1], second[row : row + 1])) == pytest.approx(value, abs=1e-6)


def test_the_gradient_is_that_of_the_formula_and_none_reaches_the_targets() -> None:
    generator = torch.Generator().manual_seed(1)
    predictions = torch.randn(4, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    targets = torch.randn(4, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    byol_loss(predictions, targets).backward()
    assert targets.grad is None
    # d(2 - 2 q.z / |q| |z|)/dq = -2 (z' - (q'.z') q') / |q|, primes for directions; the mean divides by 4.
    q, z = predictions.detach().numpy(), targets.detach().numpy()
    length = np.linalg.norm(q, axis=1, keepdims=True)
    q_direction, z_direction = q / length, z / np.linalg.norm(z, axis=1, keepdims=True)
    along = (q_direction * z_direction).sum(axis=1, keepdims=True)
    expected = -2.0 * (z_direction - along * q_direction) / length / 4.0
    assert predictions.grad is not None
    np.testing.assert_allclose(predictions.grad.numpy(), expected, atol=1e-9)


def test_the_target_is_the_moving_average_of_the_online_network() -> None:
    online = network()
    target = TargetNetwork(online, momentum=0.9, num_steps=4)
    began = {key: value.clone() for key, value in online.state_dict().items()}
    expected = dict(began)
    for step in range(3):
        with torch.no_grad():
            for each in online.parameters():
                each.add_(1.0)
        target.follow()
        share = 1 - 0.1 * (np.cos(np.pi * step / 4) + 1) / 2
        expected = {
            key: share * value + (1 - share) * (began[key] + step + 1) for key, value in expected.items()
        }
    for key, value in target.network.state_dict().items():
        torch.testing.assert_close(value, expected[key])
    assert momentum_at(4, 4, 0.9) == 1.0


def test_only_the_online_network_learns_from_the_loss() -> None:
    online = network()
    target = TargetNetwork(online, momentum=0.9, num_steps=4)
    views = torch.rand(5, 1, 8, 8), torch.rand(5, 1, 8, 8)
    target.loss((online(views[0]), online(views[1])), views).backward()
    assert all(each.grad is not None for each in online.parameters())
    assert all(each.grad is None for each in target.network.parameters())


def test_each_view_is_compared_with_the_other_one() -> None:
    online = network()
    target = TargetNetwork(online, momentum=0.9, num_steps=4)
    first, second = torch.rand(5, 1, 8, 8), torch.rand(5, 1, 8, 8)
    with torch.no_grad():
        words = online(first), online(second)
        loss = target.loss(words, (first, second))
        ahead = [online.predict(online.project(each)) for each in words]
        behind = [online.project(each) for each in words]
        expected = byol_loss(ahead[0], behind[1]) + byol_loss(ahead[1], behind[0])
    torch.testing.assert_close(loss, expected)


def striped() -> np.ndarray:
    generator = np.random.default_rng(3)
    labels = generator.integers(0, 4, 120)
    images = generator.uniform(0, 0.4, (120, 1, 8, 8)).astype(np.float32)
    images[np.arange(120), 0, 2 * labels + 1] += 0.5
    return images


def correlation_after(column_weight: float) -> float:
    """Mean squared correlation of two bits after pretraining: 1 where all words have become one."""
    online, images = network(), striped()
    augment = simclr_augmentation((1, 8, 8), flip=False, images_per_draw=20)
    before = online.state_dict()["predictor.0.weight"].clone()
    pretrain(
        online,
        images,
        training=TrainSettings(epochs=8, batch_size=20, learning_rate=5e-3, seed=3),
        settings=ContrastiveSettings(contrastive="byol", column_weight=column_weight),
        augment=augment,
    )
    assert not torch.equal(before, online.state_dict()["predictor.0.weight"])
    with torch.no_grad():
        return float(column_separation(online(torch.tensor(images)))) / 28


def test_the_decorrelation_of_bits_keeps_byol_from_making_all_words_one() -> None:
    assert correlation_after(0.0) > 0.9
    assert correlation_after(5.0) < 0.4


def test_a_network_without_a_predictor_is_refused() -> None:
    plain = network(has_predictor=False)
    assert not [key for key in plain.state_dict() if key.startswith("predictor")]
    with pytest.raises(ParameterError, match=r"^network must have a predictor"):
        TargetNetwork(plain, momentum=0.9, num_steps=4)
    with pytest.raises(ParameterError, match=r"^network must have a predictor"):
        plain.predict(torch.zeros(1, 6))
    with pytest.raises(ParameterError, match=r"^target_momentum"):
        TargetNetwork(network(), momentum=1.0, num_steps=4)
    with pytest.raises(ParameterError, match=r"^contrastive must be one of simclr, byol"):
        ContrastiveSettings(contrastive="moco")
    with pytest.raises(ParameterError, match=r"^target_momentum"):
        ContrastiveSettings(target_momentum=1.0)
