"""Adapters: what is trained, what is frozen, and what their average is."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from flower_coded.errors import ParameterError
from flower_coded.learning import (
    add_adapters,
    build_model,
    federated_names,
    frozen_state,
    get_state,
    predict_stacked_logits,
    product_gap,
    set_state,
    stack_states,
    train,
    train_stacked,
)

IMAGES = np.random.default_rng(0).random((40, 1, 8, 8)).astype(np.float32)
LABELS = np.random.default_rng(1).integers(0, 10, 40)


def adapted(rank: int = 2, seed: int = 0, *, trains_down: bool = True) -> nn.Module:
    return add_adapters(
        build_model("small-cnn", (1, 8, 8), 10, seed=1), rank=rank, trains_down=trains_down, seed=seed
    )


def test_a_fresh_adapter_changes_nothing() -> None:
    plain = build_model("small-cnn", (1, 8, 8), 10, seed=1)
    with torch.no_grad():
        torch.testing.assert_close(adapted()(torch.tensor(IMAGES)), plain(torch.tensor(IMAGES)))


def test_an_adapter_is_a_change_of_low_rank_of_its_layer() -> None:
    layer = add_adapters(nn.Sequential(nn.Linear(5, 4)), rank=2, alpha=6.0)[0]
    nn.init.normal_(layer.up)
    whole = nn.Linear(5, 4)
    with torch.no_grad():
        whole.weight.copy_(layer.frozen.weight + 3.0 * layer.up @ layer.down)
        whole.bias.copy_(layer.frozen.bias)
        inputs = torch.randn(7, 5)
        torch.testing.assert_close(layer(inputs), whole(inputs))


def test_training_moves_the_adapters_and_nothing_else() -> None:
    model = adapted()
    before, frozen = get_state(model), frozen_state(model)
    train(model, IMAGES, LABELS, epochs=1, batch_size=10, learning_rate=0.1, weight_decay=1e-2, seed=1)
    assert set(before) | set(frozen) == set(model.state_dict())
    assert not set(before) & set(frozen)
    for name, array in frozen_state(model).items():
        np.testing.assert_array_equal(array, frozen[name])
    assert all(not np.array_equal(array, before[name]) for name, array in get_state(model).items())


def test_a_state_of_adapters_goes_into_a_model_and_a_whole_state_does_not() -> None:
    model, other = adapted(seed=0), adapted(seed=5)
    set_state(other, get_state(model))
    for name, array in get_state(other).items():
        np.testing.assert_array_equal(array, get_state(model)[name])
    with pytest.raises(ParameterError, match="keys"):
        set_state(model, get_state(build_model("small-cnn", (1, 8, 8), 10)))


def test_statistics_of_a_frozen_layer_are_frozen_and_of_a_trained_one_are_not() -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.BatchNorm1d(3), nn.Linear(3, 2))
    for frozen in (0, 1):
        model[frozen].requires_grad_(False)
    names = federated_names(model)
    assert names == [name for name in model.state_dict() if name[0] in "23"]


def test_a_model_with_nothing_to_train_is_refused() -> None:
    with pytest.raises(ParameterError, match="not frozen"):
        get_state(nn.Linear(2, 2).requires_grad_(False))


@pytest.mark.parametrize("pattern", ["nothing", "?"])
def test_a_pattern_that_meets_no_layer_is_refused_with_the_names(pattern: str) -> None:
    with pytest.raises(ParameterError, match="classifier"):
        add_adapters(nn.ModuleDict({"classifier": nn.Linear(3, 3)}), [pattern], rank=1)


def test_adapters_train_stacked_as_they_train_alone() -> None:
    """Fifteen adapters of one network: the network is there once."""
    options = {"epochs": 1, "batch_size": 10, "learning_rate": 0.05, "weight_decay": 0.0, "seed": 3}
    states = [get_state(adapted(seed=seed)) for seed in range(3)]
    stacked, _ = train_stacked(adapted(), stack_states(states), IMAGES, LABELS, **options)
    for index, state in enumerate(states):
        model = adapted()
        set_state(model, state)
        train(model, IMAGES, LABELS, **options)
        for name, array in get_state(model).items():
            np.testing.assert_allclose(stacked[name][index], array, atol=2e-5)
    assert predict_stacked_logits(adapted(), stacked, IMAGES).shape == (3, 40, 10)


def test_with_one_side_fixed_the_average_of_adapters_is_the_average_of_their_products() -> None:
    generator = np.random.default_rng(0)
    down = generator.normal(size=(2, 6))
    users = [{"w.down": down, "w.up": generator.normal(size=(5, 2))} for _ in range(7)]
    assert product_gap(users) < 1e-12
    assert product_gap([{"w.up": user["w.up"]} for user in users]) == 0.0
    apart = [{**user, "w.down": generator.normal(size=(2, 6))} for user in users]
    # Independent zero-mean factors: of the mean product only 1/n of the terms is in the product of the means.
    assert product_gap(apart) > 0.5


def test_with_one_side_fixed_about_half_is_sent() -> None:
    both, one = (sum(a.size for a in get_state(adapted(trains_down=t)).values()) for t in (True, False))
    assert one < 0.6 * both
