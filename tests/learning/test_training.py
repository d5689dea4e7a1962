"""Models, training one by one and stacked, prediction."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from flower_coded.errors import ParameterError
from flower_coded.learning import (
    MODEL_NAMES,
    ModelState,
    build_model,
    choose_device,
    get_state,
    initial_states,
    load_images,
    predict_labels,
    predict_logits,
    predict_stacked,
    predict_stacked_logits,
    set_state,
    stack_states,
    train,
    train_stacked,
    unstack_states,
)

DATA = load_images("digits", limit=60, test_limit=40)
SHAPES = {"small-cnn": (1, 8, 8), "cnn4": (1, 12, 12), "resnet18": (3, 8, 8)}


def samples(shape: tuple[int, int, int], count: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(8)
    return generator.random((count, *shape), dtype=np.float32), generator.integers(0, 10, count)


def one_by_one(
    model: nn.Module, stacked: ModelState, x: np.ndarray, y: np.ndarray, **options: object
) -> ModelState:
    trained = []
    for state in unstack_states(stacked):
        set_state(model, state)
        train(model, x, y, **options)  # type: ignore[arg-type]
        trained.append(get_state(model))
    return stack_states(trained)


@pytest.mark.parametrize("name", MODEL_NAMES)
def test_models_answer_with_one_logit_per_class(name: str) -> None:
    model = build_model(name, SHAPES[name], 7, seed=1)
    x, _ = samples(SHAPES[name], 3)
    assert predict_logits(model, x).shape == (3, 7)


def test_resnet18_has_the_published_size_and_keeps_the_first_resolution() -> None:
    # Torchvision's 11,689,512 weights, less the 7x7 stem (9,408) and the 1000-class head (513,000), plus the
    # 3x3 stem (1,728) and the 10-class head (5,130); group and batch normalization have equally many.
    model = build_model("resnet18", (3, 32, 32), 10)
    assert sum(each.numel() for each in model.parameters()) == 11_689_512 - 9_408 - 513_000 + 1_728 + 5_130
    first = model[1].maxpool(model[1].conv1(torch.zeros(1, 3, 32, 32)))
    assert first.shape == (1, 64, 32, 32)


def test_cnn4_is_the_papers() -> None:
    # 32 and 64 3x3 convolutions, 2x2 pool of 24x24, 128 units, 10 classes.
    model = build_model("cnn4", (1, 28, 28), 10)
    expected = 32 * 10 + 64 * (32 * 9 + 1) + 128 * (64 * 144 + 1) + 10 * 129
    assert sum(each.numel() for each in model.parameters()) == expected


def test_build_model__draws_from_the_seed_and_leaves_the_global_generator_alone() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first, again, other = (build_model("cnn4", (1, 12, 12), 10, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
    assert not torch.equal(next(first.parameters()), next(other.parameters()))


def test_initial_states__give_every_model_weights_of_its_own() -> None:
    states = initial_states("small-cnn", (1, 8, 8), 10, 3, seed=0)
    weights = states["1.weight"]
    assert len(weights) == 3
    assert not np.array_equal(weights[0], weights[1])


@pytest.mark.parametrize(
    ("name", "optimizer"), [("small-cnn", "sgd"), ("small-cnn", "adam"), ("cnn4", "sgd")]
)
def test_stacked_training_equals_training_one_by_one(name: str, optimizer: str) -> None:
    # The paper's CNN has dropout: equal results mean equal masks.
    shape = SHAPES[name]
    x, y = samples(shape, 22)
    model, states = build_model(name, shape, 10), initial_states(name, shape, 10, 3, seed=4)
    options = {"epochs": 2, "batch_size": 8, "learning_rate": 0.01, "seed": 9, "optimizer": optimizer}
    together, report = train_stacked(model, states, x, y, **options)  # type: ignore[arg-type]
    expected = one_by_one(model, states, x, y, **options)
    assert list(together) == list(states)
    for key in expected:
        np.testing.assert_allclose(together[key], expected[key], rtol=1e-4, atol=2e-5)
        assert not np.array_equal(together[key], states[key])
    assert len(report.model_losses) == 3
    assert report.num_examples == 22


def test_a_residual_network_is_trained_stacked_too() -> None:
    shape = SHAPES["resnet18"]
    x, y = samples(shape, 2)
    model, states = build_model("resnet18", shape, 10), initial_states("resnet18", shape, 10, 2)
    options = {"learning_rate": 0.01, "seed": 9, "optimizer": "sgd"}
    together, _ = train_stacked(model, states, x, y, **options)  # type: ignore[arg-type]
    expected = one_by_one(model, states, x, y, **options)
    for key in expected:
        np.testing.assert_allclose(together[key], expected[key], rtol=1e-3, atol=1e-4)


def test_dropout_masks_follow_the_seed() -> None:
    x, y = samples(SHAPES["cnn4"], 16)
    states = []
    for seed in (1, 1, 2):
        model = build_model("cnn4", SHAPES["cnn4"], 10, seed=0)
        train(model, x, y, batch_size=16, seed=seed)  # one batch: its order matters by rounding only
        states.append(get_state(model)["8.weight"])
    np.testing.assert_array_equal(states[0], states[1])
    assert np.abs(states[0] - states[2]).max() > 1e-4


def test_training_leaves_torchs_generator_and_the_arrays_alone() -> None:
    torch.manual_seed(5)
    before, x = torch.get_rng_state(), DATA.train_images.copy()
    model = build_model("small-cnn", (1, 8, 8), 10)
    train(model, x, DATA.train_labels, batch_size=20, seed=3)
    assert torch.equal(before, torch.get_rng_state())
    np.testing.assert_array_equal(x, DATA.train_images)


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_training_learns_the_digits(optimizer: str) -> None:
    data = load_images("digits")
    model = build_model("small-cnn", (1, 8, 8), 10, seed=0)
    rate = 0.005 if optimizer == "adam" else 0.05
    train(
        model,
        data.train_images,
        data.train_labels,
        epochs=4,
        batch_size=32,
        learning_rate=rate,
        optimizer=optimizer,
    )
    accuracy = (predict_labels(model, data.test_images) == data.test_labels).mean()
    assert accuracy > 0.9


def test_reported_loss_is_the_mean_cross_entropy() -> None:
    # One batch of everything: the loss is met before the step, so it is the untrained model's.
    x, y = samples(SHAPES["small-cnn"], 10)
    model = build_model("small-cnn", (1, 8, 8), 10, seed=0)
    logits = predict_logits(model, x).astype(np.float64)
    expected = float(np.mean(np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(10), y]))
    report = train(model, x, y, batch_size=10)
    assert report.loss == pytest.approx(expected, rel=1e-5)
    assert report.num_examples == 10


def test_predict_stacked__equals_prediction_one_by_one_in_any_batches() -> None:
    states = initial_states("small-cnn", (1, 8, 8), 10, 4, seed=2)
    model = build_model("small-cnn", (1, 8, 8), 10)
    logits = predict_stacked_logits(model, states, DATA.test_images, batch_size=7)
    for row, state in enumerate(unstack_states(states)):
        set_state(model, state)
        np.testing.assert_allclose(logits[row], predict_logits(model, DATA.test_images), rtol=1e-4, atol=1e-5)
    labels = predict_stacked(model, states, DATA.test_images, batch_size=11)
    np.testing.assert_array_equal(labels, logits.argmax(axis=2))
    assert labels.dtype == np.int64


def test_set_state__refuses_other_keys_and_stacked_states() -> None:
    model = build_model("small-cnn", (1, 8, 8), 10)
    state = get_state(model)
    with pytest.raises(ParameterError, match="keys"):
        set_state(model, {"wrong": state["1.weight"]})
    with pytest.raises(ParameterError, match="must have shape"):
        set_state(model, stack_states([state, state]))


def test_get_state__gives_copies() -> None:
    model = build_model("small-cnn", (1, 8, 8), 10)
    get_state(model)["1.weight"][:] = 0.0
    assert get_state(model)["1.weight"].any()


def test_stack_states__refuses_nothing_and_differing_keys() -> None:
    with pytest.raises(ParameterError, match="at least one"):
        stack_states([])
    with pytest.raises(ParameterError, match="same keys"):
        stack_states([{"a": np.zeros(2)}, {"b": np.zeros(2)}])
    with pytest.raises(ParameterError, match="leading axis"):
        unstack_states({"a": np.zeros((2, 1)), "b": np.zeros((3, 1))})


def test_train_stacked__refuses_batch_normalization_and_single_states() -> None:
    x, y = samples(SHAPES["small-cnn"], 10)
    with_batch_norm = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(72, 10))
    state = stack_states([get_state(with_batch_norm)] * 2)
    with pytest.raises(ParameterError, match="batch normalization"):
        train_stacked(with_batch_norm, state, x, y)
    model = build_model("small-cnn", (1, 8, 8), 10)
    with pytest.raises(ParameterError, match="leading axis"):
        train_stacked(model, get_state(model), x, y)


@pytest.mark.parametrize(
    "options",
    [
        {"epochs": 0},
        {"batch_size": 0},
        {"learning_rate": 0.0},
        {"weight_decay": -1.0},
        {"optimizer": "adamw"},
        {"seed": -1},
    ],
)
def test_settings_outside_their_range_are_refused(options: dict[str, object]) -> None:
    x, y = samples(SHAPES["small-cnn"], 4)
    with pytest.raises(ParameterError):
        train(build_model("small-cnn", (1, 8, 8), 10), x, y, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["resnet", "", "CNN4"])
def test_unknown_models_are_refused(name: str) -> None:
    with pytest.raises(ParameterError, match="one of small-cnn"):
        build_model(name, (1, 8, 8), 10)


@pytest.mark.parametrize("device", ["gpu", "cuda:x", "mps", ""])
def test_unknown_devices_are_refused(device: str) -> None:
    with pytest.raises(ParameterError, match="device"):
        choose_device(device)


def test_an_absent_gpu_is_refused_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ParameterError, match="set device to 'cpu'"):
        choose_device("cuda")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_gpu_and_cpu_train_the_same_model() -> None:
    x, y = samples(SHAPES["cnn4"], 32)
    trained = {}
    for device in ("cpu", "cuda"):
        model = build_model("cnn4", SHAPES["cnn4"], 10, seed=0)
        train(model, x, y, batch_size=8, learning_rate=0.01, optimizer="sgd", device=device)
        trained[device] = get_state(model)
    for key, value in trained["cpu"].items():
        np.testing.assert_allclose(trained["cuda"][key], value, rtol=1e-2, atol=1e-3)
