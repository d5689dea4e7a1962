"""FGSM and PGD on toy classifiers whose answer is known, and the checks for masked gradients."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from flower_coded.errors import ParameterError
from flower_coded.learning.adversarial import AttackBudget, Objective, accuracy, fgsm, pgd, worst_case
from flower_coded.learning.gradient_masking import MaskingSigns, masking_signs

BUDGET = AttackBudget(epsilon=0.1, step_size=0.02, num_steps=10)
LABELS = torch.zeros(4, dtype=torch.int64)


def images_with_first_pixel(*values: float) -> torch.Tensor:
    images = torch.full((len(values), 1, 2, 2), 0.5)
    images[:, 0, 0, 0] = torch.tensor(values)
    return images


def threshold(images: torch.Tensor) -> torch.Tensor:
    """Class 1 where the first pixel exceeds one half."""
    return (images[:, 0, 0, 0] > 0.5).long()


def linear_objective(images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return images[:, 0, 0, 0] * (1.0 - 2.0 * labels)


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_fgsm_moves_every_pixel_with_a_gradient_by_epsilon() -> None:
    attacked = fgsm(linear_objective, images_with_first_pixel(0.3, 0.95), LABELS[:2], epsilon=0.1)
    torch.testing.assert_close(attacked, images_with_first_pixel(0.4, 1.0))  # the second one stops at white


def test_pgd_crosses_the_threshold_exactly_where_the_ball_reaches_it() -> None:
    # First pixels 0.39, 0.41: with radius 0.1 only the second can pass one half.
    images = images_with_first_pixel(0.2, 0.39, 0.41, 0.45)
    attacked = pgd(linear_objective, images, LABELS, budget=BUDGET, generator=seeded(), predict=threshold)
    assert threshold(attacked).tolist() == [0, 0, 1, 1]
    assert (attacked - images).abs().max() <= 0.1 + 1e-6
    assert accuracy(threshold, attacked, LABELS) == 0.5


def test_restarts_find_what_one_start_misses() -> None:
    # The objective is flat except within 0.01 of a pixel value of 0.58: a start must fall near it.
    def narrow(images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return (0.01 - (images[:, 0, 0, 0] - 0.58).abs()).clamp_min(0.0)

    def predict(images: torch.Tensor) -> torch.Tensor:
        return ((images[:, 0, 0, 0] - 0.58).abs() < 0.01).long()

    images = torch.full((64, 1, 2, 2), 0.5)
    labels = torch.zeros(64, dtype=torch.int64)

    def left(num_restarts: int) -> float:
        budget = AttackBudget(epsilon=0.1, step_size=0.002, num_steps=3, num_restarts=num_restarts)
        attacked = pgd(narrow, images, labels, budget=budget, generator=seeded(), predict=predict)
        return accuracy(predict, attacked, labels)

    assert left(1) > 0.8 > 0.3 > left(20)  # a start succeeds with probability 0.02 / 0.2


def test_attacks_leave_their_input_alone() -> None:
    images = images_with_first_pixel(0.2, 0.3, 0.4, 0.45)
    before = images.clone()
    fgsm(linear_objective, images, LABELS, epsilon=0.1)
    pgd(linear_objective, images, LABELS, budget=BUDGET, generator=seeded())
    assert (images == before).all()
    assert not images.requires_grad


def test_worst_case_counts_a_sample_only_if_it_survives_every_attack() -> None:
    attacked = {
        "a": images_with_first_pixel(0.9, 0.1, 0.1, 0.1),
        "b": images_with_first_pixel(0.1, 0.9, 0.1, 0.1),
    }
    assert worst_case(threshold, attacked, LABELS) == 0.5  # each alone leaves 0.75


def signs_of(
    objective: Objective, images: torch.Tensor, budget: AttackBudget, **accuracies: Any
) -> MaskingSigns:
    return masking_signs(
        objective, threshold, images, LABELS, budget=budget, generator=seeded(), **accuracies
    )


def test_a_sound_classifier_shows_no_sign_of_masking() -> None:
    images = images_with_first_pixel(0.2, 0.39, 0.41, 0.45)
    signs = signs_of(linear_objective, images, BUDGET, many_steps=0.5, one_step=0.5, black_box=1.0)
    assert not signs.any


@pytest.mark.parametrize(
    ("accuracies", "sign"),
    [
        ({"one_step": 0.25, "black_box": None}, "one_step_beats_many"),
        ({"one_step": 0.5, "black_box": 0.25}, "black_box_beats_white_box"),
    ],
)
def test_signs_are_judged_on_the_accuracies_of_the_evaluation(accuracies: dict, sign: str) -> None:
    images = images_with_first_pixel(0.2, 0.39, 0.41, 0.45)
    signs = signs_of(linear_objective, images, BUDGET, many_steps=0.5, **accuracies)
    assert {name for name, seen in vars(signs).items() if seen} == {sign}


def test_a_classifier_without_gradient_is_found_out() -> None:
    def flat(images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return images.sum(dim=(1, 2, 3)) * 0.0

    images = images_with_first_pixel(0.45, 0.45, 0.45, 0.45)
    no_random_luck = AttackBudget(epsilon=0.051, step_size=0.001, num_steps=1)
    signs = signs_of(flat, images, no_random_luck, many_steps=1.0, one_step=1.0, black_box=0.0)
    assert signs.black_box_beats_white_box
    assert signs.unbounded_attack_survives
    assert signs.any


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"epsilon": 0.0}, "epsilon must be positive; received 0.0"),
        ({"step_size": -1.0}, "step_size must be positive"),
        ({"num_steps": 0}, "num_steps must be at least 1"),
        ({"num_restarts": 0}, "num_restarts must be at least 1"),
    ],
)
def test_impossible_budgets_are_refused(arguments: dict[str, float], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        AttackBudget(**arguments)  # type: ignore[arg-type]


def test_worst_case_of_no_attack_is_refused() -> None:
    with pytest.raises(ParameterError, match="at least one attack"):
        worst_case(threshold, {}, LABELS)
