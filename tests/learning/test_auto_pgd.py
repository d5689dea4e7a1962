"""Auto-PGD on objectives whose maximum is known, and beside the kept library's."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
import torch
from torch import Tensor

from flower_coded.errors import ParameterError
from flower_coded.learning import build_model, load_images, train
from flower_coded.learning.attack_objectives import dlr, on_scores, prediction
from flower_coded.learning.auto_pgd import auto_pgd, checkpoints
from flower_coded.learning.class_scores import softmax_scores


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def never(images: Tensor) -> Tensor:
    return torch.zeros(len(images), dtype=torch.int64)


def test_checkpoints_are_the_papers() -> None:
    # p = 0.22, 0.41, 0.57, 0.70, 0.80, 0.87, 0.93, 0.99 of the steps (its Section 3).
    assert checkpoints(100) == [22, 41, 57, 70, 80, 87, 93, 99]
    assert checkpoints(10) == [3, 5, 6, 7, 8, 9, 10]


def test_a_linear_objective_is_taken_to_the_corner_of_the_ball() -> None:
    images = torch.tensor([[0.5, 0.02, 0.97, 0.3]]).reshape(1, 1, 2, 2)
    slope = torch.tensor([1.0, -2.0, 0.5, -1e-6]).reshape(1, 1, 2, 2)
    found = auto_pgd(
        lambda batch, _: (slope * batch).sum(dim=(1, 2, 3)),
        images,
        torch.zeros(1, dtype=torch.int64),
        epsilon=0.1,
        num_steps=5,
        generator=seeded(),
        predict=never,
    )
    torch.testing.assert_close(found.reshape(-1), torch.tensor([0.6, 0.0, 1.0, 0.2]))


def test_halving_steps_find_a_maximum_that_lies_between_large_ones() -> None:
    # The maximum is at 0.53 in every pixel; steps of 0.2 alone would bounce around it.
    images, labels = torch.full((8, 1, 3, 3), 0.5), torch.zeros(8, dtype=torch.int64)

    def hill(batch: Tensor, _: Tensor) -> Tensor:
        return -(batch - 0.53).abs().sum(dim=(1, 2, 3))

    def height(num_steps: int) -> float:
        options = {"epsilon": 0.1, "num_steps": num_steps, "generator": seeded(), "predict": never}
        return float(hill(auto_pgd(hill, images, labels, **options), labels).min())  # type: ignore[arg-type]

    assert height(100) > -0.05
    assert height(100) > height(5)


def test_what_is_misclassified_on_the_way_is_kept_though_the_objective_climbs_on() -> None:
    # Wrong only between 0.52 and 0.54, which the objective passes on its way up.
    images, labels = torch.full((16, 1, 1, 1), 0.45), torch.zeros(16, dtype=torch.int64)

    def predict(batch: Tensor) -> Tensor:
        value = batch[:, 0, 0, 0]
        return ((value > 0.52) & (value < 0.54)).long()

    def peak(batch: Tensor, _: Tensor) -> Tensor:
        return -(batch[:, 0, 0, 0] - 0.53).square()

    found = auto_pgd(peak, images, labels, epsilon=0.1, num_steps=60, generator=seeded(), predict=predict)
    assert predict(found).all()
    assert (found - images).abs().max() <= 0.1 + 1e-6


def test_samples_are_attacked_independently_of_their_batch() -> None:
    images = torch.rand(6, 1, 3, 3, generator=seeded(1))
    labels = torch.zeros(6, dtype=torch.int64)
    goals = torch.rand(6, 1, 3, 3, generator=seeded(2))

    def hill(batch: Tensor, _: Tensor) -> Tensor:
        return -(batch - goals[: len(batch)]).square().sum(dim=(1, 2, 3))

    def found(count: int) -> Tensor:
        # The same starts: those of the first samples are drawn first.
        return auto_pgd(
            hill,
            images[:count],
            labels[:count],
            epsilon=0.2,
            num_steps=20,
            generator=seeded(3),
            predict=never,
        )

    torch.testing.assert_close(found(6)[:2], found(2))


def test_numbers_out_of_range_are_refused() -> None:
    images, labels = torch.zeros(1, 1, 1, 1), torch.zeros(1, dtype=torch.int64)
    options = {"generator": seeded(), "predict": never}
    with pytest.raises(ParameterError, match=r"^epsilon"):
        auto_pgd(lambda x, _: x.sum(), images, labels, epsilon=0.0, num_steps=5, **options)  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match=r"^num_steps"):
        auto_pgd(lambda x, _: x.sum(), images, labels, epsilon=0.1, num_steps=0, **options)  # type: ignore[arg-type]


@pytest.mark.skipif(importlib.util.find_spec("art") is None, reason="needs flower-coded[adversarial]")
@pytest.mark.filterwarnings("ignore")
def test_it_leaves_as_little_as_the_kept_librarys_auto_pgd() -> None:
    from art.attacks.evasion import AutoProjectedGradientDescent
    from art.estimators.classification import PyTorchClassifier

    data = load_images("digits", limit=400, test_limit=120)
    model = build_model("small-cnn", data.image_shape, 10, seed=1)
    train(model, data.train_images, data.train_labels, epochs=6, learning_rate=3e-3, batch_size=32)
    scores = softmax_scores(model)
    images, labels = torch.tensor(data.test_images), torch.tensor(data.test_labels)
    estimator = PyTorchClassifier(
        model,
        loss=torch.nn.CrossEntropyLoss(),
        input_shape=data.image_shape,
        nb_classes=10,
        clip_values=(0.0, 1.0),
        device_type="cpu",
    )
    theirs = AutoProjectedGradientDescent(
        estimator,
        eps=0.08,
        eps_step=0.16,
        max_iter=30,
        nb_random_init=1,
        batch_size=120,
        loss_type="difference_logits_ratio",
        verbose=False,
    ).generate(data.test_images, np.eye(10, dtype=np.float32)[data.test_labels])
    ours = auto_pgd(
        on_scores(scores, dlr),
        images,
        labels,
        epsilon=0.08,
        num_steps=30,
        generator=seeded(),
        predict=prediction(scores),
    )

    def left(attacked: Tensor) -> int:
        with torch.no_grad():
            return int((scores(attacked).argmax(dim=1) == labels).sum())

    assert left(images) > 100
    assert left(ours) <= left(torch.tensor(theirs)) + 2
    assert left(ours) < left(images) - 10
