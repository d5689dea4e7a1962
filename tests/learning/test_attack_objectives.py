"""Losses that attacks climb: by hand, and under what must not change them."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from flower_coded.errors import ParameterError
from flower_coded.learning.attack_objectives import (
    cross_entropy,
    dlr,
    margin,
    on_scores,
    prediction,
    targeted_dlr,
    targeted_margin,
)

SCORES = torch.tensor([[5.0, 1.0, 3.0, 2.0], [0.0, 4.0, 3.0, 1.0]])
LABELS = torch.tensor([0, 2])


def test_the_losses_are_those_of_the_formulas() -> None:
    torch.testing.assert_close(margin(SCORES, LABELS), torch.tensor([-2.0, 1.0]))
    # Divided by first minus third: 5 - 2 and 4 - 1.
    torch.testing.assert_close(dlr(SCORES, LABELS), torch.tensor([-2 / 3, 1 / 3]))
    targets = torch.tensor([1, 3])
    torch.testing.assert_close(targeted_margin(targets)(SCORES, LABELS), torch.tensor([-4.0, -2.0]))
    # Divided by first minus the mean of third and fourth: 5 - 1.5 and 4 - 0.5.
    torch.testing.assert_close(targeted_dlr(targets)(SCORES, LABELS), torch.tensor([-4 / 3.5, -2 / 3.5]))
    assert cross_entropy(SCORES, LABELS)[0] == pytest.approx(0.185, abs=1e-3)


@given(st.floats(0.1, 50), st.floats(-50, 50))
def test_ratios_do_not_see_how_scores_are_scaled_or_shifted(scale: float, shift: float) -> None:
    changed = SCORES.double() * scale + shift
    torch.testing.assert_close(dlr(changed, LABELS), dlr(SCORES.double(), LABELS), rtol=1e-6, atol=1e-9)
    aimed = targeted_dlr(torch.tensor([1, 3]))
    torch.testing.assert_close(aimed(changed, LABELS), aimed(SCORES.double(), LABELS), rtol=1e-6, atol=1e-9)


def test_the_margin_is_positive_exactly_where_the_answer_is_wrong() -> None:
    scores = torch.randn(200, 5, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(200) % 5
    images = torch.zeros(200, 1, 1, 1)
    is_wrong = prediction(lambda _: scores)(images) != labels
    assert torch.equal(on_scores(lambda _: scores, margin)(images, labels) > 0, is_wrong)
    assert torch.equal(dlr(scores, labels) > 0, is_wrong)


def test_equal_scores_have_no_spread_and_still_a_finite_ratio() -> None:
    assert torch.isfinite(dlr(torch.zeros(1, 4), torch.tensor([0]))).all()


def test_too_few_classes_are_refused_with_what_works() -> None:
    with pytest.raises(ParameterError, match=r"at least 3 classes; received 2 \(take the margin\)"):
        dlr(torch.zeros(1, 2), torch.tensor([0]))
    with pytest.raises(ParameterError, match="at least 4 classes"):
        targeted_dlr(torch.tensor([1]))(torch.zeros(1, 3), torch.tensor([0]))
