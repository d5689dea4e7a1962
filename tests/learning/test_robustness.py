"""Robustness reports on a classifier whose robust accuracy is known, and the kept library's attack."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from flower_coded.learning.adversarial import AttackBudget
from flower_coded.learning.class_scores import codeword_scores, softmax_scores, unsquashed_scores
from flower_coded.learning.gradient_masking import MaskingSigns
from flower_coded.learning.output_code_network import OutputCodeNetwork
from flower_coded.learning.robustness import evaluate_robustness, robust_accuracy

BUDGET = AttackBudget(epsilon=0.1, step_size=0.02, num_steps=12)


def by_first_pixel(images: Tensor) -> Tensor:
    """Class 1 where the first pixel exceeds one half: scores -x, x."""
    value = images[:, 0, 0, 0] - 0.5
    return torch.stack([-value, value], dim=1)


def test_a_linear_classifier_keeps_what_lies_beyond_the_radius() -> None:
    # Distances from the threshold 0.3, 0.11, 0.09, 0.05 with radius 0.1: two samples survive every attack.
    images = np.full((4, 1, 2, 2), 0.5, np.float32)
    images[:, 0, 0, 0] = [0.2, 0.39, 0.59, 0.55]
    labels = np.array([0, 0, 1, 1])
    report = evaluate_robustness(by_first_pixel, images, labels, budget=BUDGET)
    assert report.accuracies == {"clean": 1.0, "fgsm": 0.5, "pgd": 0.5, "pgd-margin": 0.5, "worst": 0.5}
    assert not report.signs.any
    assert report.num_samples == 4


def test_transferred_images_count_in_the_worst_case_and_have_a_column() -> None:
    # Scores of which no gradient exists: no attack moves, but an image made elsewhere is across.
    def flat(batch: Tensor) -> Tensor:
        return by_first_pixel(batch).detach().sign() + 0.0 * batch[:, :1, 0, 0]

    images, labels = np.full((2, 1, 2, 2), 0.4, np.float32), np.array([0, 0])
    budget = AttackBudget(0.1002, 0.01, 2)  # a random start crosses the threshold with probability 0.001
    transferred = torch.full((2, 1, 2, 2), 0.4)
    transferred[0, 0, 0, 0] = 0.5001
    report = evaluate_robustness(flat, images, labels, budget=budget, transferred=transferred)
    assert report.accuracies["pgd"] == report.accuracies["pgd-margin"] == report.accuracies["fgsm"] == 1.0
    assert report.accuracies["transfer"] == report.accuracies["worst"] == 0.5
    assert report.signs.black_box_beats_white_box


def test_the_signs_are_judged_on_the_accuracies_that_are_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, float] = {}

    def watched(*arguments: object, **options: object) -> MaskingSigns:
        given.update({name: options[name] for name in ("many_steps", "one_step", "black_box")})  # type: ignore[misc]
        return MaskingSigns(False, False, False, False)

    monkeypatch.setattr("flower_coded.learning.robustness.masking_signs", watched)
    images = np.full((2, 1, 2, 2), 0.45, np.float32)
    found = evaluate_robustness(by_first_pixel, images, np.array([0, 0]), budget=BUDGET).accuracies
    assert given == {"many_steps": found["pgd"], "one_step": found["fgsm"], "black_box": None}


def test_the_margin_objective_gets_through_where_probabilities_saturate() -> None:
    def saturated(images: Tensor) -> Tensor:
        return 1e4 * by_first_pixel(images)  # the softmax is exactly 0 or 1 in float32: no gradient

    images = np.full((2, 1, 2, 2), 0.45, np.float32)
    report = evaluate_robustness(saturated, images, np.array([0, 0]), budget=AttackBudget(0.06, 0.01, 20))
    assert report.accuracies["pgd-margin"] == 0.0
    assert report.accuracies["worst"] == 0.0


def test_output_codes_are_scored_by_similarity() -> None:
    book = np.array([[1.0, 1.0], [1.0, -1.0]])
    network = nn.Flatten()
    images = torch.tensor([[[[0.9, 0.8]]], [[[0.9, 0.0]]]])
    assert codeword_scores(network, book)(images).argmax(dim=1).tolist() == [0, 0]
    model = nn.Sequential(nn.Flatten(), nn.Dropout(0.9))
    assert torch.equal(
        softmax_scores(model)(images), images.reshape(2, 2)
    )  # evaluation mode: nothing dropped


def test_a_saturated_tanh_hides_from_every_attack_but_the_one_on_its_input() -> None:
    # Words are tanh(+-1e4 (x - 1/2)): +-1 exactly in float32 away from 1/2, where the gradient is 0.
    network = OutputCodeNetwork(nn.Flatten(), 1, num_bits=2)
    with torch.no_grad():
        network.encoder.weight.copy_(torch.tensor([[1e4], [-1e4]]))
        network.encoder.bias.copy_(torch.tensor([-5e3, 5e3]))
    book = np.array([[-1.0, 1.0], [1.0, -1.0]])
    scores, surrogate = codeword_scores(network, book), unsquashed_scores(network, book)
    images, labels = np.full((3, 1, 1, 1), 0.4, np.float32), np.array([0, 0, 0])
    budget = AttackBudget(0.1002, 0.01, 20)  # a random start crosses 1/2 with probability 0.001
    blind = evaluate_robustness(scores, images, labels, budget=budget)
    assert blind.accuracies["pgd"] == blind.accuracies["pgd-margin"] == 1.0
    found = evaluate_robustness(scores, images, labels, budget=budget, surrogate=surrogate)
    assert found.accuracies["pgd-surrogate"] == found.accuracies["worst"] == 0.0
    assert robust_accuracy(scores, images, labels, budget=budget, surrogate=surrogate) == 0.0


@pytest.mark.skipif(importlib.util.find_spec("art") is None, reason="needs flower-coded[adversarial]")
@pytest.mark.filterwarnings("ignore")
def test_the_ensemble_attack_finds_what_a_linear_classifier_gives_away() -> None:
    images = np.full((4, 1, 8, 8), 0.5, np.float32)
    images[:, 0, 0, 0] = [0.2, 0.3, 0.59, 0.55]

    def scores(batch: Tensor) -> Tensor:  # the attack's second loss needs three classes
        return torch.cat([by_first_pixel(batch), torch.full((len(batch), 2), -2.0)], dim=1)

    report = evaluate_robustness(scores, images, np.array([0, 0, 1, 1]), budget=BUDGET, ensemble=True)
    assert report.accuracies["ensemble"] == 0.5
