"""One object for what the scenarios and the sweep build from a run configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.serverapp.strategy import FedAvg

from flower_coded.clients import training_client_app
from flower_coded.codes import build_code
from flower_coded.errors import ParameterError
from flower_coded.experiment import ENSEMBLE_METRICS, SINGLE_METRICS, Experiment
from flower_coded.testing import InProcessGrid

CONFIG: dict[str, Any] = {
    "num-clients": 4,
    "num-server-rounds": 2,
    "samples-per-user": 20,
    "local-epochs": 1,
    "attack": "pixel-trigger",
    "attackers": "1,",
    "seed": 3,
}


def experiment(**changes: Any) -> Experiment:
    return Experiment({**CONFIG, **{key.replace("_", "-"): value for key, value in changes.items()}})


def grid_of(made: Experiment) -> InProcessGrid:
    return InProcessGrid(training_client_app(), made.num_users, made.config, wire=False)


def test_attackers_and_trigger_are_those_that_the_clients_read() -> None:
    made = experiment()
    assert (made.attackers, made.seed, made.num_rounds) == ((1,), 3, 2)
    assert made.backdoor is not None
    for nobody in (experiment(attack="none"), experiment(attack="sign-flip")):
        assert nobody.backdoor is None
    assert experiment(attack="none").attackers == ()


@pytest.mark.parametrize(
    ("changes", "num_models"),
    [
        ({"code": "partition", "num_models": 2}, 2),
        ({"code": "random", "num_models": 5, "row_weight": 2}, 5),
        ({"code": "correction", "tolerated_attackers": 1, "row_weight": 2}, 3),
    ],
)
def test_the_code_is_the_configurations(changes: dict[str, Any], num_models: int) -> None:
    code = experiment(**changes).code
    assert (code.num_users, code.num_models) == (4, num_models)
    if changes["code"] == "correction":
        np.testing.assert_array_equal(code.matrix, build_code("correction", 1, 2, 4).matrix)


def test_a_single_model_is_trained_and_told_of_every_round() -> None:
    made, told = experiment(), list[tuple[int, dict[str, Any]]]()
    state = made.train(
        grid_of(made), FedAvg(**made.everybody), on_round=lambda r, m: told.append((r, dict(m)))
    )
    assert [number for number, _ in told] == [1, 2]
    assert all(set(SINGLE_METRICS.values()) <= set(metrics) for _, metrics in told)
    assert all(array.shape[0] == 1 for array in state.values())
    first = made.untrained(FedAvg(**made.everybody))
    assert any((first[key] != state[key]).any() for key in state)
    single = {key: array[0] for key, array in state.items()}
    answers = made.predict(state, made.data.test_images)[0]
    assert made.accuracy(single) == pytest.approx(float((answers == made.data.test_labels).mean()))


def test_an_ensemble_is_trained_and_told_of_every_round() -> None:
    made, told = experiment(code="partition", num_models=2), list[dict[str, Any]]()
    state = made.train(grid_of(made), made.coded_strategy(), on_round=lambda r, m: told.append(dict(m)))
    assert len(told) == 2
    assert set(ENSEMBLE_METRICS.values()) <= set(told[0])
    assert all(array.shape[0] == 2 for array in state.values())


def test_results_go_where_the_configuration_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = experiment(out=str(tmp_path / "there")).run_directory("any")
    assert (run.path, run.config()["seed"]) == (tmp_path / "there", 3)
    monkeypatch.chdir(tmp_path)
    assert experiment().run_directory("any").path == tmp_path / "results" / "any"


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"num_server_rounds": 0}, "num-server-rounds"),
        ({"num_clients": "many"}, "num-clients"),
        ({"attack": "pixel-triger"}, "pixel-trigger"),
        ({"attackers": 5}, "attackers"),
        ({"dataset": "mist"}, "mist"),
        ({"model": "cnn5"}, "cnn5"),
        ({"attack_target": 10}, "target"),
        ({"local_epoch": 3}, "did you mean 'local-epochs'"),
        ({"poison_rat": 0.3}, "did you mean 'poison-rate'"),
    ],
)
def test_a_wrong_value_is_refused_before_anything_is_trained(changes: dict[str, Any], named: str) -> None:
    with pytest.raises(ParameterError, match=named):
        experiment(**changes).check()


@pytest.mark.parametrize(
    ("changes", "named"), [({"code": "perfect"}, "code must be one of"), ({"row_weight": 9}, "row_weight|r ")]
)
def test_a_code_that_there_is_not_is_refused(changes: dict[str, Any], named: str) -> None:
    with pytest.raises(ParameterError, match=named):
        _ = experiment(**changes).code


def test_the_text_false_is_false_and_stacked_models_are_not_trained_plainly_in_silence() -> None:
    assert not experiment(cyclic="false").coded_strategy(is_measured=False).cyclic
    assert experiment(cyclic="true").coded_strategy(is_measured=False).cyclic
    with pytest.raises(ParameterError, match=r"^cyclic must be true or false"):
        experiment(cyclic="no").check()
    attacked = experiment(adversarial_training="madry")
    with pytest.raises(ParameterError, match=r"^adversarial-training must be none where models are trained"):
        attacked.coded_strategy(is_measured=False)
    assert not attacked.coded_strategy(stacked=False, is_measured=False).stacked
