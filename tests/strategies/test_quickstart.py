"""Drop-in: a ClientApp that has never heard of this package trains a coded ensemble, unchanged."""

from __future__ import annotations

import ast
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from flwr.app import ArrayRecord
from flwr.serverapp.strategy import FedAvg

from flower_coded.codes import SubsetCode, backdoor_correction_code
from flower_coded.errors import ParameterError
from flower_coded.learning.ensemble import CodedEnsemble
from flower_coded.strategies import CodedSubsetAggregation, EnsembleEvaluator, model_predictor
from flower_coded.testing import InProcessGrid

CODE = backdoor_correction_code(2, 2, 6)
ROUNDS = 4


@pytest.fixture(scope="module")
def held_out(quickstart: ModuleType) -> tuple[np.ndarray, np.ndarray]:
    images, labels = quickstart.load_all()
    return images[1200:].numpy(), labels[1200:].numpy()


def initial(quickstart: ModuleType) -> ArrayRecord:
    torch.manual_seed(0)
    return ArrayRecord(quickstart.Net().state_dict())


@pytest.mark.parametrize("client", ["quickstart_client.py", "client_forms.py"])
def test_the_clients_of_others_know_nothing_of_us(client: str) -> None:
    tree = ast.parse(Path(__file__).with_name(client).read_text(encoding="utf-8"))
    imported = [ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    assert imported
    assert not any("flower_coded" in line for line in imported)


@pytest.fixture(scope="module")
def coded_run(quickstart: ModuleType, held_out: Any) -> Any:
    evaluator = EnsembleEvaluator(CODE, model_predictor(quickstart.Net()), *held_out, 10)
    strategy = CodedSubsetAggregation(CODE, evaluator=evaluator, evaluate_every=2)
    grid = InProcessGrid(quickstart.app, 6)
    return strategy, strategy.start(grid, initial(quickstart), num_rounds=ROUNDS)


def test_the_quickstart_client_trains_an_ensemble(quickstart: ModuleType, coded_run: Any) -> None:
    strategy, result = coded_run
    assert all(each.rejected == () for each in strategy.history)
    assert [each.stage for each in strategy.history] == ROUNDS * ["train", "evaluate"]
    last = result.train_metrics_clientapp[ROUNDS]
    assert last["ensemble-accuracy"] > 0.8
    assert last["train_loss"] < result.train_metrics_clientapp[1]["train_loss"]
    assert result.evaluate_metrics_clientapp[ROUNDS]["eval_acc"] > 0.7


def test_the_ensemble_is_measured_when_asked(coded_run: Any) -> None:
    _, result = coded_run
    measured = [r for r, each in result.train_metrics_clientapp.items() if "ensemble-accuracy" in each]
    assert measured == [2, 4]


def test_loading_the_ensemble_into_one_model_by_mistake_fails_loudly(
    quickstart: ModuleType, coded_run: Any
) -> None:
    _, result = coded_run
    with pytest.raises(RuntimeError, match="size mismatch"):
        quickstart.Net().load_state_dict(result.arrays.to_torch_state_dict())


def test_one_model_that_hears_everybody_is_fedavg(quickstart: ModuleType) -> None:
    """With the code of one all-ones row the strategy is FedAvg, up to the rounding of its float32 sums."""
    code = SubsetCode(np.ones((1, 6), dtype=bool))
    coded = CodedSubsetAggregation(code, fraction_evaluate=0.0)
    ours = coded.start(InProcessGrid(quickstart.app, 6), initial(quickstart), num_rounds=2)
    plain = FedAvg(fraction_evaluate=0.0, min_train_nodes=6, min_available_nodes=6)
    theirs = plain.start(InProcessGrid(quickstart.app, 6), initial(quickstart), num_rounds=2)
    for name, array in theirs.arrays.items():
        np.testing.assert_allclose(ours.arrays[name].numpy()[0], array.numpy(), atol=1e-5)
    assert ours.train_metrics_clientapp[2]["train_loss"] == pytest.approx(
        theirs.train_metrics_clientapp[2]["train_loss"], rel=1e-4
    )


def test_the_ensemble_is_one_classifier_in_one_file(
    quickstart: ModuleType, coded_run: Any, held_out: Any, tmp_path: Path
) -> None:
    strategy, result = coded_run
    images, labels = held_out
    path = strategy.ensemble(model=quickstart.Net()).save(tmp_path / "ensemble")
    loaded = CodedEnsemble.load(path, quickstart.Net())
    for name, array in result.arrays.items():
        np.testing.assert_array_equal(loaded.stacked_state[name], array.numpy())
    accuracy = float((loaded.predict(images) == labels).mean())
    assert accuracy == pytest.approx(result.train_metrics_clientapp[ROUNDS]["ensemble-accuracy"], abs=0.05)


def test_an_ensemble_needs_a_run_and_an_evaluator(quickstart: ModuleType, held_out: Any) -> None:
    with pytest.raises(ParameterError, match="evaluator must be given"):
        CodedSubsetAggregation(CODE).ensemble(model=quickstart.Net())
    evaluator = EnsembleEvaluator(CODE, model_predictor(quickstart.Net()), *held_out, 10)
    with pytest.raises(ParameterError, match=r"run start\(\) first"):
        CodedSubsetAggregation(CODE, evaluator=evaluator).ensemble(model=quickstart.Net())


def test_a_rerun_gives_the_same_ensemble(quickstart: ModuleType, coded_run: Any) -> None:
    """Without partition ids users are seated by node id, which a grid of the same seed repeats."""
    strategy = CodedSubsetAggregation(CODE, fraction_evaluate=0.0)
    grid = InProcessGrid(quickstart.app, 6, order="shuffled")
    again = strategy.start(grid, initial(quickstart), num_rounds=ROUNDS)
    for name, array in coded_run[1].arrays.items():
        np.testing.assert_array_equal(again.arrays[name].numpy(), array.numpy())
