"""Adversarial training: the inner search where its answer is known, and what it does to a network."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from flower_coded.codes.output_code import OutputCode
from flower_coded.errors import ParameterError
from flower_coded.learning import build_model, get_state, load_images, train
from flower_coded.learning.adaptive_attack import AdaptiveBudget
from flower_coded.learning.adversarial import AttackBudget
from flower_coded.learning.adversarial_training import UNATTACKED, AdversarialTraining, adversarial_loss
from flower_coded.learning.class_scores import Scores, codeword_scores, softmax_scores, unsquashed_scores
from flower_coded.learning.contrastive_training import (
    ContrastiveSettings,
    fine_tune,
    pretrain,
    simclr_augmentation,
)
from flower_coded.learning.output_code_network import build_output_code_network
from flower_coded.learning.robustness import evaluate_robustness, margin_accuracy
from flower_coded.learning.training import TrainSettings

MADRY = AdversarialTraining("madry", epsilon=0.1, step_size=0.05, num_steps=5)
TRADES = AdversarialTraining("trades", epsilon=0.1, step_size=0.05, num_steps=5, beta=6.0)
IMAGES = torch.full((3, 1, 2, 2), 0.5)
CLASSES = torch.tensor([0, 1, 1])


def log_softmax(logits: Tensor) -> Tensor:
    return functional.log_softmax(logits, dim=1)


def linear_model() -> nn.Module:
    """Logits 0 and w . x + b, with |w|_1 = 4 and w . x + b = 0.2 at the gray image."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    with torch.no_grad():
        model[1].weight.copy_(torch.tensor([[0.0] * 4, [2.0, -1.0, 0.5, -0.5]]))
        model[1].bias.copy_(torch.tensor([0.0, -0.3]))
    return model.train()


def loss_under(settings: AdversarialTraining, model: nn.Module, seed: int = 0) -> float:
    torch.manual_seed(seed)
    loss = adversarial_loss(model, functional.cross_entropy, log_softmax, settings)(IMAGES, CLASSES)
    return float(loss.detach())


def test_madrys_loss_of_a_linear_model_is_that_of_the_margin_less_epsilon_times_the_dual_norm() -> None:
    # The worst image of class 1 has logit 0.2 - 0.1 * 4 = -0.2, that of class 0 has 0.6.
    expected = (np.log1p(np.exp(0.6)) + 2 * np.log1p(np.exp(0.2))) / 3
    assert loss_under(MADRY, linear_model()) == pytest.approx(expected, rel=1e-5)


def test_trades_adds_beta_times_the_divergence_at_the_edge_of_the_ball() -> None:
    def divergence(logit: float) -> float:
        p, q = 1 / (1 + np.exp(-0.2)), 1 / (1 + np.exp(-logit))
        return float(p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q)))

    # Either edge may be found: the divergence of a logit of 0.2 from 0.6 and from -0.2 is nearly the same.
    clean = (np.log1p(np.exp(0.2)) + 2 * np.log1p(np.exp(-0.2))) / 3
    low, high = sorted((divergence(0.6), divergence(-0.2)))
    assert clean + 6.0 * low <= loss_under(TRADES, linear_model()) + 1e-5 <= clean + 6.0 * high + 2e-5


def test_trades_without_weight_is_plain_training_and_so_is_no_method() -> None:
    weightless = AdversarialTraining("trades", epsilon=0.1, step_size=0.05, num_steps=5, beta=0.0)
    plain = float(functional.cross_entropy(linear_model()(IMAGES), CLASSES).detach())
    assert loss_under(weightless, linear_model()) == pytest.approx(plain)
    assert loss_under(UNATTACKED, linear_model()) == pytest.approx(plain)


@pytest.mark.parametrize("settings", [MADRY, TRADES])
def test_the_search_is_in_evaluation_mode_and_leaves_no_trace_in_the_model(
    settings: AdversarialTraining,
) -> None:
    modes: list[bool] = []

    class Watched(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = linear_model()

        def forward(self, images: Tensor) -> Tensor:
            modes.append(self.training)
            logits: Tensor = self.inner(images)
            return logits

    model = Watched().train()
    torch.manual_seed(0)
    loss = adversarial_loss(model, functional.cross_entropy, log_softmax, settings)(IMAGES, CLASSES)
    assert all(each.grad is None for each in model.parameters())
    assert model.training
    # Madry: five steps, one loss. TRADES: where it stands, five steps, clean, attacked.
    assert modes == [False] * 5 + [True] if settings is MADRY else [False] * 6 + [True] * 2
    loss.backward()
    assert all(each.grad is not None for each in model.parameters())


def test_what_is_trained_on_stays_in_the_ball_and_in_the_pixel_range() -> None:
    seen: list[Tensor] = []

    def remember(logits: Tensor, classes: Tensor) -> Tensor:
        return functional.cross_entropy(logits, classes)

    class Recorded(nn.Flatten):
        def forward(self, images: Tensor) -> Tensor:
            seen.append(images)
            return super().forward(images)

    model = nn.Sequential(Recorded(), nn.Linear(4, 2)).train()
    images = torch.tensor([0.02, 0.5, 0.99])[:, None, None, None].expand(3, 1, 2, 2)
    adversarial_loss(model, remember, log_softmax, MADRY)(images, CLASSES)
    for each in seen:
        assert (each - images).abs().max() <= 0.1 + 1e-6
        assert each.min() >= 0.0
        assert each.max() <= 1.0


DIGITS = load_images("digits", limit=400, test_limit=200)
BUDGET = AttackBudget(0.1, 0.025, 10)
TRAINING: dict[str, Any] = {"epochs": 10, "batch_size": 20, "learning_rate": 3e-3, "seed": 3}
ON_DIGITS = [AdversarialTraining(name, 0.1, 0.05, 4) for name in ("madry", "trades")]


def left_of(scores: Scores) -> float:
    return margin_accuracy(scores, DIGITS.test_images, DIGITS.test_labels, budget=BUDGET)


@functools.cache
def softmax_left(settings: AdversarialTraining) -> float:
    model = build_model("small-cnn", DIGITS.image_shape, 10, seed=1)
    train(model, DIGITS.train_images, DIGITS.train_labels, adversarial=settings, **TRAINING)
    return left_of(softmax_scores(model))


@functools.cache
def code_left(settings: AdversarialTraining) -> float:
    network = build_output_code_network("small-cnn", DIGITS.image_shape, 15, seed=1)
    book, _ = fine_tune(
        network,
        DIGITS.train_images,
        DIGITS.train_labels,
        OutputCode.hadamard(10).codewords,
        training=TrainSettings(**TRAINING),
        settings=ContrastiveSettings(probability_temperature=0.1),
        update_code_book=False,
        adversarial=settings,
    )
    return left_of(codeword_scores(network, book))


@pytest.mark.parametrize("settings", ON_DIGITS, ids=lambda each: each.method)
def test_what_is_trained_on_attacked_images_withstands_more(settings: AdversarialTraining) -> None:
    assert softmax_left(settings) > softmax_left(UNATTACKED) + 0.05
    assert code_left(settings) > code_left(UNATTACKED) + 0.05


@pytest.mark.parametrize(("settings", "of_clean_words"), [(MADRY, False), (TRADES, True)])
def test_a_code_book_that_follows_follows_the_words_that_the_loss_is_taken_of(
    settings: AdversarialTraining, of_clean_words: bool
) -> None:
    class Bright(nn.Flatten):  # one word per image: its pixels; the search makes class 0 brighter or darker
        num_bits = 4

    images = np.full((4, 1, 2, 2), 0.5, np.float32)
    labels = np.array([0, 0, 1, 1])
    network = nn.Sequential(Bright(), nn.Linear(4, 4, bias=False))
    network.num_bits = 4  # type: ignore[assignment]
    with torch.no_grad():
        network[1].weight.copy_(torch.eye(4))
    book = np.array([[1.0, 0.0, 0.2, 0.1], [0.1, 1.0, 0.0, 0.3]])
    moved, _ = fine_tune(
        network,  # type: ignore[arg-type]
        images,
        labels,
        book,
        training=TrainSettings(epochs=1, batch_size=4),
        settings=ContrastiveSettings(code_book_momentum=0.0),
        update_code_book=True,
        adversarial=settings,
    )
    assert np.allclose(moved, 0.5) == of_clean_words


def test_one_seed_gives_one_model_under_attack_too() -> None:
    def trained(seed: int) -> np.ndarray:
        model = build_model("small-cnn", DIGITS.image_shape, 10, seed=1)
        few = DIGITS.train_images[:60], DIGITS.train_labels[:60]
        train(model, *few, adversarial=MADRY, **{**TRAINING, "epochs": 1, "seed": seed})
        return get_state(model)["6.weight"]

    np.testing.assert_array_equal(trained(3), trained(3))
    assert not np.array_equal(trained(3), trained(4))


def test_cost_is_counted_in_passes() -> None:
    assert [each.passes_per_image for each in (UNATTACKED, MADRY, TRADES)] == [1, 6, 7]


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"method": "fgsm"}, "adversarial-training"),
        ({"epsilon": 0.0}, "adversarial-epsilon"),
        ({"epsilon": float("nan")}, "adversarial-epsilon"),
        ({"step_size": -0.1}, "adversarial-step-size"),
        ({"num_steps": 0}, "adversarial-steps"),
        ({"beta": -1.0}, "adversarial-beta"),
        ({"epsilon": 0.1, "step_size": 0.01, "num_steps": 9}, "adversarial-step-size must reach the radius"),
    ],
)
def test_settings_that_cannot_be_are_refused(wrong: dict[str, Any], named: str) -> None:
    with pytest.raises(ParameterError, match=f"^{named}"):
        AdversarialTraining(**{"method": "madry", **wrong})


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
@pytest.mark.parametrize("settings", ON_DIGITS, ids=lambda each: each.method)
def test_a_gpu_trains_on_attacked_images_and_is_attacked_adaptively(settings: AdversarialTraining) -> None:
    network = build_output_code_network("small-cnn", DIGITS.image_shape, 15, seed=1, has_predictor=True)
    pretrain(
        network,
        DIGITS.train_images,
        training=TrainSettings(**{**TRAINING, "epochs": 1}),
        settings=ContrastiveSettings(contrastive="byol"),
        augment=simclr_augmentation(DIGITS.image_shape, flip=False),
        device="cuda",
    )
    book, _ = fine_tune(
        network,
        DIGITS.train_images,
        DIGITS.train_labels,
        OutputCode.hadamard(10).codewords,
        training=TrainSettings(**TRAINING),
        settings=ContrastiveSettings(probability_temperature=0.1),
        update_code_book=False,
        adversarial=settings,
        device="cuda",
    )
    report = evaluate_robustness(
        codeword_scores(network, book, device="cuda"),
        DIGITS.test_images,
        DIGITS.test_labels,
        budget=BUDGET,
        adaptive=AdaptiveBudget(10, 1, 1),
        paths={"before tanh": unsquashed_scores(network, book, device="cuda")},
        device="cuda",
    )
    assert report.attacked.is_cuda
    assert report.accuracies["worst"] > 0.5
