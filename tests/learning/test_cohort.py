"""Clients of a round trained as one program: the same as one by one, whoever is in it."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from flower_coded.errors import ParameterError
from flower_coded.learning import (
    MODEL_NAMES,
    ModelState,
    TrainSettings,
    build_model,
    get_state,
    initial_states,
    set_state,
    train,
    unstack_states,
)
from flower_coded.learning.cohort import TrainJob, train_jobs
from flower_coded.learning.program_size import models_at_a_time
from flower_coded.learning.stacked_layers import stacked_layers

SHAPES = {"small-cnn": (1, 8, 8), "cnn4": (1, 10, 10), "resnet18": (3, 8, 8)}
BY_HAND = [name + head for name in ("small-cnn", "cnn4") for head in ("", "+hadamard")]


def jobs_of(
    name: str, sizes: Sequence[int], *, num_models: int = 1, own_states: bool = True
) -> tuple[nn.Module, list[TrainJob]]:
    shape = SHAPES[name.partition("+")[0]]
    draw = np.random.default_rng(7)
    jobs = []
    for user, size in enumerate(sizes):
        states = initial_states(name, shape, 4, num_models, seed=user if own_states else 0)
        images = draw.random((size, *shape), dtype=np.float32)
        jobs.append(TrainJob(states, images, draw.integers(0, 4, size), seed=3 + user))
    return build_model(name, shape, 4), jobs


def one_by_one(model: nn.Module, job: TrainJob, options: TrainSettings) -> list[tuple[ModelState, float]]:
    """By the module itself, model after model."""
    trained = []
    for state in unstack_states(job.state):
        set_state(model, state)
        report = train(
            model,
            job.images,
            job.labels,
            epochs=options.epochs,
            batch_size=options.batch_size,
            learning_rate=options.learning_rate,
            weight_decay=options.weight_decay,
            optimizer=options.optimizer,
            seed=job.seed,
        )
        trained.append((get_state(model), report.loss))
    return trained


def assert_as_one_by_one(model: nn.Module, jobs: Sequence[TrainJob], options: TrainSettings) -> None:
    found = train_jobs(model, jobs, settings=options)
    for job, (states, report) in zip(jobs, found, strict=True):
        assert report.num_examples == len(job.labels)
        expected = one_by_one(model, job, options)
        np.testing.assert_allclose(report.model_losses, [loss for _, loss in expected], rtol=1e-3)
        for own, (state, _) in zip(unstack_states(states), expected, strict=True):
            for key, values in state.items():
                np.testing.assert_allclose(own[key], values, rtol=1e-3, atol=2e-5, err_msg=key)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("name", BY_HAND)
def test_clients_trained_together_get_what_each_gets_alone(name: str, optimizer: str) -> None:
    # 33 and 20 images: three and two steps, last batches of one and four; one user has two models.
    model, jobs = jobs_of(name, [33, 20, 36])
    jobs[1] = jobs_of(name, [33, 20], num_models=2)[1][1]
    rate = 0.05 if optimizer == "sgd" else 1e-3
    assert_as_one_by_one(model, jobs, TrainSettings(2, 16, rate, 1e-3, 0, optimizer))


def test_a_residual_network_is_mapped_over_clients() -> None:
    model, jobs = jobs_of("resnet18", [5, 3])
    assert stacked_layers(model) is None
    assert_as_one_by_one(model, jobs, TrainSettings(1, 3, 1e-3, optimizer="sgd"))


def test_every_shipped_architecture_is_tested_above() -> None:
    assert set(MODEL_NAMES) == {*(name.partition("+")[0] for name in BY_HAND), "resnet18"}


@pytest.mark.usefixtures("one_thread_of_torch")
@pytest.mark.parametrize("name", BY_HAND)
def test_the_number_of_models_in_a_program_changes_no_bit(name: str) -> None:
    model, jobs = jobs_of(name, [33, 20, 40, 7, 33], num_models=2)
    options = TrainSettings(2, 16, 0.05, optimizer="sgd")
    one, three, ten = (train_jobs(model, jobs, settings=options, at_a_time=k) for k in (1, 3, 10))
    for first, other in itertools.chain(zip(one, three, strict=True), zip(one, ten, strict=True)):
        assert first[1] == other[1]
        for key, values in first[0].items():
            np.testing.assert_array_equal(values, other[0][key])


def test_two_threads_change_no_bit() -> None:
    model, jobs = jobs_of("small-cnn", [20, 33, 40])
    options = TrainSettings(1, 16, 0.05, optimizer="sgd")
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = train_jobs(model, jobs, settings=options)
        torch.set_num_threads(2)
        shared = train_jobs(model, jobs, settings=options, at_a_time=1)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    for first, other in zip(alone, shared, strict=True):
        for key, values in first[0].items():
            np.testing.assert_array_equal(values, other[0][key])


@settings(max_examples=15, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 12), min_size=1, max_size=5),
    batch_size=st.integers(1, 12),
    epochs=st.integers(1, 2),
    optimizer=st.sampled_from(["sgd", "adam"]),
)
def test_clients_of_any_sizes_get_what_each_gets_alone(
    sizes: list[int], batch_size: int, epochs: int, optimizer: str
) -> None:
    model, jobs = jobs_of("small-cnn", sizes)
    assert_as_one_by_one(model, jobs, TrainSettings(epochs, batch_size, 1e-3, 1e-3, 0, optimizer))


def test_a_constrained_client_is_held_back_and_nobody_beside_it() -> None:
    model, jobs = jobs_of("small-cnn", [20, 20], own_states=False)
    options = TrainSettings(1, 10, 0.05, optimizer="sgd")
    free = train_jobs(model, jobs, settings=options)
    held = train_jobs(model, [jobs[0], replace(jobs[1], loss_share=0.5)], settings=options)

    def distance(state: ModelState) -> float:
        return float(sum(((state[key] - start) ** 2).sum() for key, start in jobs[1].state.items()))

    assert distance(held[1][0]) < 0.7 * distance(free[1][0])
    for key, values in free[0][0].items():
        np.testing.assert_array_equal(held[0][0][key], values)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", [*BY_HAND, "resnet18"])
def test_a_gpu_trains_clients_together_as_the_cpu_does(name: str) -> None:
    model, jobs = jobs_of(name, [9, 6])
    options = TrainSettings(1, 4, 1e-3, optimizer="sgd")
    on_cpu = train_jobs(model, jobs, settings=options)
    on_gpu = train_jobs(model, jobs, settings=options, device="cuda")
    for (expected, _), (found, _) in zip(on_cpu, on_gpu, strict=True):
        for key, values in expected.items():
            np.testing.assert_allclose(found[key], values, rtol=1e-2, atol=1e-4)


def test_jobs_and_their_arrays_are_not_modified() -> None:
    model, jobs = jobs_of("cnn4", [12, 9])
    before = [{key: values.copy() for key, values in job.state.items()} for job in jobs]
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    train_jobs(model, jobs, settings=TrainSettings(1, 4))
    assert torch.equal(torch.rand(3), expected), "torch's generator was used"
    for job, state in zip(jobs, before, strict=True):
        for key, values in state.items():
            np.testing.assert_array_equal(job.state[key], values)


def test_a_module_that_draws_by_itself_is_trained_with_each_clients_own_seed() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.Dropout(0.5), nn.Linear(8, 4))
    state = {key: values[None] for key, values in get_state(model).items()}
    draw = np.random.default_rng(0)
    jobs = [
        TrainJob(state, draw.random((8, 1, 8, 8), np.float32), draw.integers(0, 4, 8), seed=seed)
        for seed in (1, 2)
    ]
    assert_as_one_by_one(model, jobs, TrainSettings(2, 4, 0.05, optimizer="sgd"))


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.Conv2d(3, 4, 3, stride=2, padding=1), (3, 9, 9)),
        (nn.Conv2d(4, 6, (3, 1), groups=2, bias=False), (4, 6, 6)),
        (nn.Conv2d(16, 5, 3, dilation=2), (16, 8, 8)),
        (nn.Sequential(nn.Conv2d(2, 3, 3), nn.Conv2d(3, 4, (1, 3))), (2, 7, 7)),
        (nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.MaxPool2d(2)), (1, 8, 8)),
        (nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.MaxPool2d(2)), (1, 9, 9)),
        (nn.MaxPool2d(3, stride=1), (2, 6, 6)),
        (nn.Sequential(nn.Flatten(), nn.Linear(18, 5, bias=False)), (2, 3, 3)),
    ],
    ids=str,
)
def test_a_stacked_layer_and_its_gradients_are_torchs_own(
    layer: nn.Module, shape: tuple[int, int, int]
) -> None:
    layers = stacked_layers(layer)
    assert layers is not None
    draw = torch.Generator().manual_seed(1)
    # Whole numbers, so that pooling meets ties.
    images = torch.randint(-2, 3, (3, 5, *shape), generator=draw).float().requires_grad_()
    own = {key: torch.randn(3, *value.shape, generator=draw) for key, value in layer.state_dict().items()}
    weights = {key: value.requires_grad_() for key, value in own.items()}
    values = images
    for stacked in layers:
        values = stacked(weights, values, None)
    expected = torch.stack(
        [
            torch.func.functional_call(layer, {key: each[i] for key, each in weights.items()}, (images[i],))
            for i in range(3)
        ]
    )
    torch.testing.assert_close(values, expected, rtol=1e-4, atol=1e-4)
    wanted = [images, *weights.values()]
    for found, right in zip(
        torch.autograd.grad((values**2).sum(), wanted),
        torch.autograd.grad((expected**2).sum(), wanted),
        strict=True,
    ):
        torch.testing.assert_close(found, right, rtol=1e-3, atol=1e-3)


def test_layers_that_are_not_known_are_left_to_vmap() -> None:
    class Twice(nn.Linear):
        """A layer of somebody else's."""

    for unknown in (Twice(2, 2), nn.GroupNorm(1, 2), nn.Conv2d(1, 1, 3, padding="same"), nn.Flatten(0)):
        assert stacked_layers(nn.Sequential(unknown)) is None


def test_the_choice_is_measured_once_and_again_where_more_models_might_be_better() -> None:
    asked: list[int] = []

    def two_steps(count: int) -> None:
        asked.append(count)
        sum(range(50_000))

    def choose(most: int) -> int:
        return models_at_a_time(two_steps, most, "a test of its own", is_cpu=True)

    assert choose(1) == 1
    assert not asked
    assert choose(4) == 4
    asked.clear()
    assert choose(3) == 3
    assert not asked
    assert choose(9) == 9
    assert max(asked) == 9


def test_bad_jobs_are_refused() -> None:
    model, (job,) = jobs_of("small-cnn", [6])
    with pytest.raises(ParameterError, match="N >= 1 labels"):
        replace(job, labels=job.labels[:5])
    with pytest.raises(ParameterError, match="loss_share must be above 0"):
        replace(job, loss_share=0.0)
    other = replace(job, images=np.zeros((6, 1, 9, 9), np.float32))
    with pytest.raises(ParameterError, match="images of one shape"):
        train_jobs(model, [job, other], settings=TrainSettings())
    with pytest.raises(ParameterError, match="at_a_time must not be negative"):
        train_jobs(model, [job], settings=TrainSettings(), at_a_time=-1)
    with pytest.raises(ParameterError, match="stacked_state must have the keys"):
        train_jobs(model, [replace(job, state={})], settings=TrainSettings())
    assert train_jobs(model, [], settings=TrainSettings()) == []
