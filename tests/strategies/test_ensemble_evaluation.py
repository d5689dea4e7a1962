"""The server's measurement of an ensemble, on models whose answers are known."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from flower_coded.codes import backdoor_correction_code, backdoor_tracking_code
from flower_coded.errors import ParameterError
from flower_coded.strategies import CodedSubsetAggregation, EnsembleEvaluator, model_predictor

CODE = backdoor_correction_code(1, 3, 4)  # 4 models; user j feeds all but one
LABELS = np.arange(1000) % 5
PAPER: dict[str, Any] = {"decoder": "posterior", "decoder_options": {"attacker_prior": [0, 1]}}
IMAGES = np.repeat(LABELS[:, None] / 10, 4, axis=1).astype(np.float32).reshape(-1, 1, 2, 2)


class Mark:
    """A trigger that turns the last pixel white."""

    def apply(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        marked = images.copy()
        marked[..., -1, -1] = 1.0
        return marked


def poisoned_models(code: Any, attackers: list[int], target: int = 0) -> Any:
    """Models that read the label off the first pixel; those an attacker feeds answer the target to a mark."""
    obeys = code.matrix[:, attackers].any(axis=1) if attackers else np.zeros(code.num_models, bool)

    def predict(state: Mapping[str, Any], images: NDArray[np.float32]) -> NDArray[np.int64]:
        labels = np.rint(images[:, 0, 0, 0] * 10).astype(np.int64)
        marked = images[:, 0, -1, -1] == 1.0
        return np.stack([np.where(marked & obeys[i], target, labels) for i in range(code.num_models)])

    return predict


def test_honest_models_score_one_and_nobody_is_suspected() -> None:
    evaluator = EnsembleEvaluator(CODE, poisoned_models(CODE, []), IMAGES, LABELS, 5, **PAPER)
    measured = evaluator.evaluate({})
    assert measured.metrics["ensemble-accuracy"] == 1.0
    assert measured.metrics["majority-accuracy"] == 1.0
    assert measured.metrics["model-accuracies"] == [1.0] * CODE.num_models
    # Unanimity: attacked with probability about A / 5 against 1 - A, as only one of 5 targets explains it.
    assert measured.metrics["attack-probability-clean"] == pytest.approx(1 / 6, abs=0.04)
    assert measured.metrics["suspect-rates"] == [0.0] * 4
    assert "suspected-users" not in measured.metrics
    assert "accuracy-under-attack" not in measured.metrics
    assert measured.metrics["framed-rate"] == 0.0


def test_the_confusion_is_counted_on_the_calibration_half_only() -> None:
    evaluator = EnsembleEvaluator(CODE, poisoned_models(CODE, []), IMAGES, LABELS, 5, calibration_share=0.25)
    counts = evaluator.evaluate({}).confusion
    assert counts.shape == (CODE.num_models, 5, 5)
    assert (counts.sum(axis=(1, 2)) == 250).all()
    assert (counts == counts * np.eye(5, dtype=int)).all()


def test_the_measuring_half_is_disjoint_from_the_calibration_half() -> None:
    numbered = np.arange(1000, dtype=np.float32).reshape(-1, 1, 1, 1)
    seen: list[float] = []

    def watching(state: Mapping[str, Any], images: NDArray[np.float32]) -> NDArray[np.int64]:
        seen.extend(images.ravel().tolist())
        return np.zeros((CODE.num_models, len(images)), dtype=np.int64)

    evaluator = EnsembleEvaluator(CODE, watching, numbered, LABELS, 5, calibration_share=0.4)
    evaluator.confusion({})
    images, labels = evaluator.measuring
    assert len(images) == len(labels) == 600
    assert sorted([*seen, *images.ravel().tolist()]) == numbered.ravel().tolist()
    assert (labels == LABELS[images.ravel().astype(int)]).all()


@pytest.mark.parametrize("attacker", range(6))
def test_users_the_code_cannot_tell_apart_are_suspected_together(attacker: int) -> None:
    code = backdoor_correction_code(1, 4, 6)  # three columns, each for two users
    alike = [user for user in range(6) if (code.matrix[:, user] == code.matrix[:, attacker]).all()]
    assert len(alike) == 2
    marked = {"trigger": Mark(), "target": 0, **PAPER}
    evaluator = EnsembleEvaluator(code, poisoned_models(code, [attacker]), IMAGES, LABELS, 5, **marked)
    assert evaluator.evaluate({}).metrics["suspected-users"] == alike


def test_the_decoder_withstands_and_names_the_attacker_where_the_majority_falls() -> None:
    """User 2 feeds 3 of 4 models of a (1, 3, 4) code: the majority answers the target, always."""
    code = backdoor_tracking_code(1, 3, 4)
    attacker = 2
    evaluator = EnsembleEvaluator(
        code,
        poisoned_models(code, [attacker]),
        IMAGES,
        LABELS,
        5,
        trigger=Mark(),
        target=0,
        attackers=[attacker],
        **PAPER,
    )
    metrics = evaluator.evaluate({}).metrics
    assert metrics["ensemble-accuracy"] == 1.0
    assert metrics["accuracy-under-attack"] == 1.0
    assert metrics["attack-success-rate"] == 0.0
    assert metrics["majority-attack-success-rate"] == 1.0
    assert metrics["majority-accuracy-under-attack"] == pytest.approx(0.2, abs=0.1)  # the target's own class
    assert metrics["attack-probability-triggered"] > 0.5 > metrics["attack-probability-clean"]
    assert metrics["suspected-users"] == [attacker]
    assert metrics["suspect-rates"][attacker] > 0.9
    # On samples of the target's own class all models agree, and anybody may be suspected: they do not count.
    assert metrics["suspected-attackers"] == metrics["run-suspected-attackers"] == 1.0
    assert metrics["suspected-innocents"] == metrics["run-suspected-innocents"] == 0.0


def test_the_default_decoder_learns_from_the_stream_and_names_by_proof() -> None:
    code = backdoor_correction_code(4, 4, 12, rows="paper")
    guilty = [1, 2, 7, 8]  # users 6 apart have equal columns
    evaluator = EnsembleEvaluator(
        code,
        poisoned_models(code, [1, 2]),
        IMAGES,
        LABELS,
        5,
        trigger=Mark(),
        target=0,
        attackers=[1, 2],
        triggered_images=100,
    )
    metrics = evaluator.evaluate({}).metrics
    assert metrics["ensemble-accuracy"] == metrics["accuracy-under-attack"] == 1.0
    assert metrics["majority-attack-success-rate"] == 1.0
    assert metrics["named-users"] == guilty
    # Two accusations, of users 1 or 7 and of 2 or 8; samples of the target's own class tell of nobody, and
    # the two twins are not two more.
    assert metrics["true-positives"] == metrics["suspected-attackers"] == 2.0
    assert metrics["false-positives"] == metrics["run-suspected-innocents"] == 0.0
    assert metrics["run-suspected-attackers"] == 2.0
    assert metrics["framed-rate"] == 0.0
    assert max(metrics["label-calibration-error"], metrics["attack-calibration-error"]) < 0.02


@pytest.mark.parametrize("attackers", [[], [1, 2]])
def test_calibration_is_measured_of_attacks_only_where_there_are_attackers(attackers: list[int]) -> None:
    code = backdoor_correction_code(4, 4, 12, rows="paper")
    told: dict[str, Any] = {"trigger": Mark(), "target": 0, "attackers": attackers, "decoder": "majority"}
    metrics = EnsembleEvaluator(code, poisoned_models(code, attackers), IMAGES, LABELS, 5, **told)
    measured = metrics.evaluate({}).metrics
    assert ("attack-calibration-error" in measured) == bool(attackers)
    if attackers:
        # The vote says "no attack" with certainty: wrong on all triggered samples of four classes in five.
        assert measured["attack-calibration-error"] == pytest.approx(4 / 9, abs=0.02)
        # 9 of 15 models obey: the vote is .6 sure of a label that is wrong in four cases of five.
        assert measured["label-calibration-error"] == pytest.approx(0.6 * 0.8 / 2, abs=0.02)
    else:
        assert measured["label-calibration-error"] == 0.0


def test_samples_decoded_alone_name_nobody_and_still_get_their_labels() -> None:
    code = backdoor_correction_code(4, 4, 12, rows="paper")
    models = poisoned_models(code, [1, 2])
    told: dict[str, Any] = {"trigger": Mark(), "target": 0, "attackers": [1, 2]}
    evaluator = EnsembleEvaluator(code, models, IMAGES, LABELS, 5, **told)
    together, alone = (evaluator.evaluate({}, alone=alone).metrics for alone in (False, True))
    assert together["named-users"] == [1, 2, 7, 8]
    assert "named-users" not in alone  # one sample proves nothing
    assert alone["majority-attack-success-rate"] == 1.0
    assert alone["accuracy-under-attack"] == 1.0


def test_the_split_is_drawn_from_the_seed() -> None:
    def noisy(state: Mapping[str, Any], images: NDArray[np.float32]) -> NDArray[np.int64]:
        labels = np.rint(images[:, 0, 0, 0] * 10).astype(np.int64)
        wrong = np.arange(len(labels)) % 7 == 0
        return np.tile(np.where(wrong, (labels + 1) % 5, labels), (CODE.num_models, 1))

    def confusion(seed: int) -> list[Any]:
        return EnsembleEvaluator(CODE, noisy, IMAGES, LABELS, 5, seed=seed).confusion({}).tolist()

    assert confusion(1) == confusion(1) != confusion(2)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("images", {"images": IMAGES[:-1]}),
        ("images", {"images": IMAGES[:1], "labels": LABELS[:1]}),
        ("calibration_share", {"calibration_share": 1.0}),
        ("target", {"trigger": Mark()}),
        ("target", {"target": 1}),
        ("attackers", {"attackers": [4]}),
        ("decoder", {"decoder": "fair"}),
        ("decoder option attack_rate", {"decoder_options": {"attack_rate": 0.5}}),
        ("triggered_images", {"triggered_images": 0}),
    ],
)
def test_bad_parameters_are_refused(name: str, options: dict[str, Any]) -> None:
    arguments = {"images": IMAGES, "labels": LABELS, "num_classes": 5} | options
    with pytest.raises(ParameterError, match=f"^{name} must"):
        EnsembleEvaluator(CODE, poisoned_models(CODE, []), **arguments)


def test_an_evaluator_of_another_code_is_refused() -> None:
    evaluator = EnsembleEvaluator(CODE, poisoned_models(CODE, []), IMAGES, LABELS, 5)
    with pytest.raises(ParameterError, match="same code"):
        CodedSubsetAggregation(backdoor_correction_code(2, 2, 4), evaluator=evaluator)


def test_model_predictor__answers_with_each_state_in_turn_batch_normalization_included() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.BatchNorm1d(3))
    states = [{k: v.numpy().copy() for k, v in model.state_dict().items()} for _ in range(2)]
    states[1]["1.bias"] = np.float32([0, 0, 100])
    stacked = {name: np.stack([state[name] for state in states]) for name in states[0]}
    answers = model_predictor(model, batch_size=64)(stacked, IMAGES)
    assert answers.shape == (2, 1000)
    assert (answers[1] == 2).all()
    with torch.no_grad():
        model.load_state_dict({k: torch.tensor(v) for k, v in states[0].items()})
        expected = model.eval()(torch.tensor(IMAGES)).argmax(dim=1).numpy()
    np.testing.assert_array_equal(answers[0], expected)
