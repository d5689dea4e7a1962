"""A3FL's search against gradients worked out for a linear model."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from flower_coded.attacks import AdversarialTrigger
from flower_coded.errors import ParameterError
from flower_coded.learning import build_model, get_state, load_images, predict_logits, set_state, train
from flower_coded.learning.trigger_search import TriggerSearch

SHAPE = (1, 4, 4)


def linear(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 3))


def samples() -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(3)
    return generator.random((6, *SHAPE), dtype=np.float32), np.array([0, 1, 2, 0, 1, 2])


def patch() -> AdversarialTrigger:
    return AdversarialTrigger(np.full((1, 2, 2), 0.5, np.float32), 1, 2)


def test_a_step_goes_against_the_sign_of_the_gradient_of_the_cross_entropy() -> None:
    model, (images, labels) = linear(), samples()
    found = TriggerSearch(num_epochs=1, step=0.1, batch_size=6).search(
        model, [get_state(model)], images, labels, patch(), target=2
    )
    marked = patch().apply(images)
    weights = model[1].weight.detach().numpy()
    logits = marked.reshape(6, -1) @ weights.T + model[1].bias.detach().numpy()
    excess = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True) - np.eye(3)[2]
    gradient = (excess @ weights).mean(axis=0).reshape(4, 4)[1:3, 2:4]  # d CE / d x = W^T (p - y)
    np.testing.assert_allclose(found.pattern[0], 0.5 - 0.1 * np.sign(gradient), rtol=1e-6)
    assert (found.row, found.column) == (1, 2)


def test_the_model_that_unlearns_weighs_in_by_its_likeness() -> None:
    model, (images, labels) = linear(), samples()
    state = get_state(model)
    options = {"num_epochs": 2, "unlearn_every": 1, "step": 1e-3, "batch_size": 6, "unlearning_epochs": 500}
    alone = TriggerSearch(weight=0.0, **options).search(model, [state], images, labels, patch(), 2)
    together = TriggerSearch(weight=1e6, **options).search(model, [state], images, labels, patch(), 2)
    # In the second epoch the heavy term decides alone: the gradient at the model that was trained to unlearn.
    first = TriggerSearch(num_epochs=1, step=1e-3, batch_size=6).search(
        model, [state], images, labels, patch(), 2
    )
    set_state(model, state)
    given = {"epochs": 500, "batch_size": 6, "learning_rate": 0.01, "weight_decay": 5e-4}
    train(model, first.apply(images), labels, **given, seed=1, optimizer="sgd")
    marked = torch.tensor(first.apply(images), requires_grad=True)
    functional.cross_entropy(model(marked), torch.full((6,), 2)).backward()
    step = -1e-3 * np.sign(marked.grad.sum(dim=0)[:, 1:3, 2:4].numpy())
    np.testing.assert_allclose(together.pattern, first.pattern + step, atol=1e-7)
    assert not np.array_equal(alone.pattern, together.pattern)


def test_a_searched_patch_does_more_than_a_gray_one_and_is_the_same_for_the_same_seed() -> None:
    data = load_images("digits")
    model = build_model("small-cnn", data.image_shape, data.num_classes)
    images, labels = data.train_images[:200], data.train_labels[:200]
    train(model, images, labels, epochs=3, learning_rate=0.05, optimizer="sgd", batch_size=20)
    state = get_state(model)
    gray = AdversarialTrigger.draw(data.image_shape, np.random.default_rng(1))
    first, again = (
        TriggerSearch().search(model, [state], images, labels, gray, target=4, seed=2) for _ in range(2)
    )
    np.testing.assert_array_equal(first.pattern, again.pattern)
    assert 0 <= first.pattern.min() <= first.pattern.max() <= 1
    set_state(model, state)
    others = data.test_images[data.test_labels != 4]
    logits = [predict_logits(model, each.apply(others)) for each in (gray, first)]
    losses = [np.mean(np.log(np.exp(each).sum(axis=1)) - each[:, 4]) for each in logits]
    assert losses[1] < losses[0] - 0.3


def test_an_ensemble_is_attacked_by_its_mean_loss() -> None:
    images, labels = samples()
    states = [get_state(linear(seed)) for seed in (0, 1)]
    search = TriggerSearch(num_epochs=1, step=0.1, batch_size=6)
    one = search.search(linear(), [states[0]], images, labels, patch(), 2)
    twice = search.search(linear(), [states[0], states[0]], images, labels, patch(), 2)
    both = search.search(linear(), states, images, labels, patch(), 2)
    np.testing.assert_array_equal(one.pattern, twice.pattern)
    assert both.pattern.shape == one.pattern.shape


@pytest.mark.parametrize(
    "parameters",
    [
        {"weight": -1.0},
        {"step": 0.0},
        {"step": 2.0},
        {"num_epochs": 0},
        {"batch_size": 0},
        {"weight": np.nan},
    ],
)
def test_numbers_outside_their_range_are_refused(parameters: dict[str, float]) -> None:
    with pytest.raises(ParameterError, match=next(iter(parameters))):
        TriggerSearch(**parameters)


def test_no_model_and_no_images_are_refused() -> None:
    images, labels = samples()
    with pytest.raises(ParameterError, match="states"):
        TriggerSearch().search(linear(), [], images, labels, patch(), 2)
    with pytest.raises(ParameterError, match="images"):
        TriggerSearch().search(linear(), [get_state(linear())], images[:0], labels[:0], patch(), 2)
