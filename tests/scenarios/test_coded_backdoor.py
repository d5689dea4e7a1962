"""The main scenario: in this process on every path, and once through a real `flwr run`."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from coded_backdoor_scenario import SCENARIO, SHORT, SMALL, config_with, rows_of
from flwr.app import Context, RecordDict
from typer.testing import CliRunner

from flower_coded.cli import app as command
from flower_coded.errors import ParameterError
from flower_coded.experiment import Experiment
from flower_coded.learning import load_images
from flower_coded.learning.ensemble import CodedEnsemble
from flower_coded.testing import InProcessGrid

pytestmark = pytest.mark.usefixtures("coded_backdoor_on_the_path")


def run_in_process(out: Path, **changes: Any) -> None:
    from coded_backdoor.client_app import app
    from coded_backdoor.server_app import main

    config = config_with(**SHORT | {"out": str(out)} | changes)
    grid = InProcessGrid(app, config["num-clients"], config, wire=False)
    main(grid, Context(1, 1, {}, RecordDict(), config))


def test_a_run_leaves_tables_pictures_the_ensemble_and_a_report(tmp_path: Path) -> None:
    run_in_process(tmp_path, **SMALL | {"baseline": "fedavg", "under-attack": True})
    methods = [row["method"] for row in rows_of(tmp_path / "summary.csv")]
    assert methods == ["FedAvg", "BCC(1,2,4), majority vote", "BCC(1,2,4), decoder"]
    assert {path.stem for path in tmp_path.glob("*.png")} == {
        "under_attack",
        "accuracy",
        "triggered",
        "code",
        "suspicion",
        "detection",
        "reliability",
    }
    page = (tmp_path / "report.html").read_text()
    assert page.count("<img") == 7
    assert page.index("Which decoder holds?") < page.index("Accuracy by round")  # the first figure
    attacked = rows_of(tmp_path / "under_attack.csv")
    attacks = {
        "nobody",
        "plain",
        "few images",
        "one image",
        "selective",
        "framing",
        "model triggers",
        "two groups",
    }
    assert {row["attack"] for row in attacked} == attacks
    assert len(attacked) == len(attacks) * 5  # decoders
    assert all(
        (row["calibration error, attacks"] == "") == (row["poisoned models"] == "0") for row in attacked
    )
    ensemble = CodedEnsemble.load(tmp_path / "ensemble.npz")
    assert ensemble.predict(load_images("digits").test_images[:7]).shape == (7,)


def test_the_same_seed_gives_the_same_run(tmp_path: Path) -> None:
    for name in ("first", "second"):
        run_in_process(tmp_path / name, **SMALL)
    first, second = ((tmp_path / name / "metrics.csv").read_text() for name in ("first", "second"))
    assert first == second


def test_stacked_and_single_messages_train_the_same_ensemble(tmp_path: Path) -> None:
    for stacked in (True, False):
        run_in_process(tmp_path / str(stacked), **SMALL | {"stacked": stacked})
    states = [
        CodedEnsemble.load(tmp_path / name / "ensemble.npz").stacked_state for name in ("True", "False")
    ]
    for key in states[0]:
        np.testing.assert_allclose(states[0][key], states[1][key], atol=2e-4)


@pytest.mark.parametrize(
    ("attack", "told"),
    [
        ("none", "Nobody attacks."),
        ("label-flip", "they train on images with wrong labels."),
        ("sign-flip", "they train honestly and send a crafted update."),
    ],
)
def test_attacks_without_a_trigger_get_a_report_too(tmp_path: Path, attack: str, told: str) -> None:
    run_in_process(tmp_path, **SMALL | {"attack": attack})
    assert "attack success" in (tmp_path / "summary.csv").read_text()
    page = (tmp_path / "report.html").read_text()
    assert told in page
    assert "poison 20 %" not in page


@pytest.mark.parametrize(("attack", "has_trigger"), [("model-replacement", True), ("edge-case", False)])
def test_every_attack_that_plants_a_trigger_is_tested_with_it(attack: str, has_trigger: bool) -> None:

    assert (Experiment(config_with(attack=attack)).backdoor is not None) == has_trigger


def test_majority_vote_can_be_the_only_readout(tmp_path: Path) -> None:
    run_in_process(
        tmp_path,
        decoder="majority",
        baseline="none",
        code="partition",
        **{"num-models": 3, "num-clients": 6, "under-attack": False},
    )
    assert [row["method"] for row in rows_of(tmp_path / "summary.csv")] == ["partition 3x6, majority vote"]
    assert {path.stem for path in tmp_path.glob("*.png")} == {"accuracy", "triggered", "code"}
    page = (tmp_path / "report.html").read_text()
    assert "the label that most models answer is the ensemble&#x27;s" in page
    assert "the decoder then asks" not in page


def test_what_the_decoder_believes_is_drawn_of_images_that_have_not_calibrated_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from coded_backdoor import pictures

    drawn, original = [], pictures.attack_probabilities

    def watched(*probabilities: np.ndarray) -> Any:
        drawn.extend(probabilities)
        return original(*probabilities)

    monkeypatch.setattr(pictures, "attack_probabilities", watched)
    run_in_process(tmp_path, **SMALL)
    experiment = Experiment(config_with(**SHORT | SMALL))
    assert experiment.backdoor is not None
    _, labels = experiment.evaluator(experiment.code).measuring
    others = int((labels != experiment.backdoor.target).sum())
    assert [len(each) for each in drawn] == [others, others]
    assert others < len(experiment.data.test_labels) / 2


def test_suspicion__of_nobody_is_drawn_too() -> None:
    from coded_backdoor import pictures

    figure = pictures.suspicion(Experiment(config_with()).code, [0.0] * 12, [])
    assert figure.axes[0].get_ylabel() == "share of images held for attacked"


@pytest.mark.parametrize(
    "wrong",
    [
        {"decoder": "best"},
        {"baseline": "krum"},
        {"code": "perfect"},
        {"row-weight": 11},
        {"poison-rate": 0.0},
    ],
)
def test_a_bad_setting_is_refused_before_training(tmp_path: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises(ParameterError):
        run_in_process(tmp_path, **wrong)
    assert not list(tmp_path.iterdir())


def test_after_a_name_one_model_is_trained_without_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from coded_backdoor import server_app

    def as_if_named(experiment: Experiment, strategy: Any, grid: Any) -> list[dict]:
        last = strategy.history[-1]
        strategy.history[-1] = replace(last, reported={**last.reported, "named-users": [1]})
        return retrained(experiment, strategy, grid)

    retrained = server_app.retrained
    monkeypatch.setattr(server_app, "retrained", as_if_named)
    run_in_process(tmp_path, **SMALL | {"after-naming": "retrain", "retrain-rounds": 1})
    (row,) = rows_of(tmp_path / "after_naming.csv")
    assert "1" in row["left out"].split()
    assert row["backdoor"] in {"gone", "remains", "cannot tell"}
    assert "After the names" in (tmp_path / "report.html").read_text()


@pytest.mark.parametrize(
    "wrong", [{"after-naming": "punish"}, {"retrain-rounds": 0}, {"max-honest-lost": -1}]
)
def test_a_second_act_that_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    from coded_backdoor.experiment import prepare

    with pytest.raises(ParameterError, match=next(iter(wrong))):
        prepare(config_with(**wrong))


@pytest.mark.slow
def test_flwr_run_ends_to_end_with_the_table_of_a_run_in_this_process(tmp_path: Path) -> None:
    settings = (SHORT | SMALL).items()
    assignments = [f"{key}={str(value).lower()}" for key, value in settings]
    result = CliRunner().invoke(
        command, ["run", str(SCENARIO), *assignments, "--results", str(tmp_path), "--name", "real"]
    )
    assert result.exit_code == 0, result.output[-3000:]
    run_in_process(tmp_path / "here", **SMALL)
    real = json.loads((tmp_path / "coded-backdoor" / "real" / "metrics.json").read_text())
    here = json.loads((tmp_path / "here" / "metrics.json").read_text())
    assert [record["method"] for record in real] == [record["method"] for record in here]
    for one, other in zip(real, here, strict=True):
        assert one["accuracy"] == pytest.approx(other["accuracy"], abs=0.02)
