"""Alternating minimization against its two steps written out."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from flower_coded.errors import ParameterError
from flower_coded.learning import TrainSettings, train
from flower_coded.learning.alternating_minimization import train_alternating

ONE_STEP = TrainSettings(epochs=1, batch_size=8, learning_rate=0.1, weight_decay=0.0, optimizer="sgd")


def model() -> nn.Module:
    torch.manual_seed(4)
    return nn.Sequential(nn.Flatten(), nn.Linear(36, 3))


def samples(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    return generator.random((count, 1, 6, 6), dtype=np.float32), generator.integers(0, 3, count)


def gradients(of: nn.Module, images: np.ndarray, labels: np.ndarray) -> list[torch.Tensor]:
    loss = functional.cross_entropy(of(torch.tensor(images)), torch.tensor(labels))
    return list(torch.autograd.grad(loss, list(of.parameters())))


def test_a_stealth_step_is_followed_by_a_malicious_one_whose_weights_are_boosted() -> None:
    honest, poisoned = samples(8, 1), samples(2, 2)
    expected = model()
    for boosts in (None, (6.0, 1.0)):  # the honest step, then the malicious one: weights boosted, biases not
        images, labels = honest if boosts is None else poisoned
        for parameter, gradient, boost in zip(
            expected.parameters(), gradients(expected, images, labels), boosts or (1.0, 1.0), strict=True
        ):
            parameter.data -= 0.1 * boost * gradient
    trained = model()
    train_alternating(trained, honest, poisoned, settings=ONE_STEP, boost=6.0, distance_weight=0.0)
    for one, other in zip(trained.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(one, other)


def test_without_poisoned_samples_and_where_all_have_the_target_it_is_honest_training() -> None:
    honest = samples(8, 1)
    plain = model()
    train(plain, *honest, epochs=3, batch_size=4, learning_rate=0.1, weight_decay=0.0, optimizer="sgd")
    settings = TrainSettings(epochs=3, batch_size=4, learning_rate=0.1, weight_decay=0.0, optimizer="sgd")
    easy = model()
    easy[1].bias.data[2] = 50.0  # everything is class 2
    alike = copy.deepcopy(easy)
    options = {"settings": settings, "boost": 6.0, "distance_weight": 0.0}
    nobody = model()
    train_alternating(nobody, honest, (honest[0][:0], honest[1][:0]), **options)
    torch.testing.assert_close(nobody.state_dict(), plain.state_dict())
    train_alternating(easy, honest, (honest[0][:2], np.array([2, 2])), **options)
    train(alike, *honest, epochs=3, batch_size=4, learning_rate=0.1, weight_decay=0.0, optimizer="sgd")
    torch.testing.assert_close(easy.state_dict(), alike.state_dict())


def test_the_distance_pulls_towards_the_own_honest_model() -> None:
    honest, poisoned = samples(40, 1), samples(4, 2)
    settings = TrainSettings(epochs=10, batch_size=4, learning_rate=0.05, optimizer="sgd")
    example = model()
    train(example, *honest, epochs=10, batch_size=4, learning_rate=0.05, optimizer="sgd")

    def distance(weight: float) -> float:
        trained = model()
        options = {"settings": settings, "boost": 20.0, "num_stealth_steps": 10, "distance_weight": weight}
        train_alternating(trained, honest, poisoned, **options)
        apart = [a - b for a, b in zip(trained.parameters(), example.parameters(), strict=True)]
        return float(sum((each.detach() ** 2).sum() for each in apart))

    assert distance(0.3) < 0.8 * distance(0.0)


@pytest.mark.parametrize(
    "parameters", [{"boost": 0.0}, {"boost": np.inf}, {"distance_weight": -1.0}, {"num_stealth_steps": 0}]
)
def test_numbers_outside_their_range_are_refused(parameters: dict[str, float]) -> None:
    options = {"boost": 6.0, **parameters}
    with pytest.raises(ParameterError, match=next(iter(parameters))):
        train_alternating(model(), samples(8, 1), samples(2, 2), settings=ONE_STEP, **options)
