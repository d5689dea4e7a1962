"""The adaptive attack on classifiers of which each hides from all parts but one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from flower_coded.errors import ParameterError
from flower_coded.learning.adaptive_attack import AdaptiveBudget, adaptive_attack
from flower_coded.learning.adversarial import AttackBudget
from flower_coded.learning.class_scores import codeword_scores, softened_scores, unsquashed_scores
from flower_coded.learning.output_code_network import OutputCodeNetwork
from flower_coded.learning.robustness import evaluate_robustness

LABELS = torch.zeros(3, dtype=torch.int64)
CLEAN = torch.full((3, 1, 2, 1), 0.4)


def attack(scores: object, *, targets: int = 3, **options: object) -> tuple[float, dict[str, int]]:
    found = adaptive_attack(
        scores,  # type: ignore[arg-type]
        {"clean": CLEAN},
        LABELS,
        epsilon=0.1002,
        budget=AdaptiveBudget(20, 1, targets),
        generator=torch.Generator().manual_seed(0),
        **options,  # type: ignore[arg-type]
    )
    assert (found.images - CLEAN).abs().max() <= 0.1002 + 1e-6
    with torch.no_grad():
        left = float((scores(found.images).argmax(dim=1) == LABELS).float().mean())  # type: ignore[operator]
    return left, found.felled


def test_a_target_is_reached_that_a_nearer_class_hides() -> None:
    # Class 1 is close and cannot be reached; class 2 wins from 0.47 on; 3 and 4 only fill the ratio.
    def scores(images: Tensor) -> Tensor:
        first, second = images[:, 0, 0, 0], images[:, 0, 1, 0]
        zero = torch.zeros_like(first)
        wall = -0.01 - (second - 0.4).abs() + 10.0 * (0.4 - first).clamp_max(0.0)
        return torch.stack([zero, wall, 50.0 * (first - 0.47), zero - 9.0, zero - 10.0], dim=1)

    left, felled = attack(scores)
    assert left == 0.0
    assert sum(felled.values()) == 3


def test_a_path_around_a_saturated_tanh_is_found() -> None:
    network = OutputCodeNetwork(nn.Flatten(), 2, num_bits=2)
    with torch.no_grad():
        network.encoder.weight.copy_(torch.tensor([[1e4, 0.0], [0.0, 0.0]]))
        network.encoder.bias.copy_(torch.tensor([-5e3, 5e3]))
    book = np.array([[-1.0, 1.0], [1.0, 1.0]])
    scores = codeword_scores(network, book)
    assert attack(scores)[0] == 1.0
    for path in (unsquashed_scores(network, book), softened_scores(network, book, temperature=1e4)):
        left, felled = attack(scores, paths={"around": path})
        assert left == 0.0
        assert sum(count for name, count in felled.items() if name.endswith("of around")) == 3
    # At temperature 1 a softened tanh is the decoder's own.
    torch.testing.assert_close(softened_scores(network, book, temperature=1.0)(CLEAN), scores(CLEAN))


def test_what_earlier_attacks_turned_is_not_attacked_again_and_stays_turned() -> None:
    def scores(images: Tensor) -> Tensor:  # nothing has a gradient
        value = (images[:, 0, 0, 0] - 0.5001).detach().sign()
        return torch.stack([-value, value], dim=1) + 0.0 * images[:, 0, :1, 0]

    earlier = CLEAN.clone()
    earlier[1] = 0.5002
    found = adaptive_attack(
        scores,
        {"clean": CLEAN, "elsewhere": earlier},
        LABELS,
        epsilon=0.1002,
        budget=AdaptiveBudget(2, 1, 1),
        generator=torch.Generator().manual_seed(0),
    )
    assert torch.equal(found.images[1], earlier[1])
    assert scores(found.images).argmax(dim=1).tolist() == [0, 1, 0]
    assert set(found.felled.values()) == {0}


def test_the_report_counts_it_in_the_worst_case_and_tells_who_felled_what() -> None:
    def saturated(images: Tensor) -> Tensor:  # float32's softmax is exactly 0 or 1, and the step too coarse
        value = images[:, 0, 0, 0] - 0.47
        return torch.stack([-value, value, value - 9.0], dim=1)

    budget = AttackBudget(0.1, 1e-6, 1)  # hardly an attack: starts alone may cross
    plain = evaluate_robustness(saturated, CLEAN.numpy(), LABELS.numpy(), budget=budget)
    report = evaluate_robustness(
        saturated, CLEAN.numpy(), LABELS.numpy(), budget=budget, adaptive=AdaptiveBudget(10, 1, 0)
    )
    assert "adaptive" not in plain.accuracies
    assert report.accuracies["adaptive"] == report.accuracies["worst"] == 0.0
    turned_before = round(3 * (1 - plain.accuracies["worst"]))
    assert sum(report.felled.values()) == 3 - turned_before


def test_bad_numbers_and_missing_images_are_refused() -> None:
    for name in ("num_steps", "num_restarts"):
        with pytest.raises(ParameterError, match=f"^{name} must be at least 1"):
            AdaptiveBudget(**{name: 0})
    with pytest.raises(ParameterError, match=r"^num_targets"):
        AdaptiveBudget(num_targets=-1)
    with pytest.raises(ParameterError, match=r"^attacked must hold the clean images"):
        adaptive_attack(
            lambda x: x[:, 0, :, 0],
            {},
            LABELS,
            epsilon=0.1,
            budget=AdaptiveBudget(),
            generator=torch.Generator(),
        )
