"""Output-code heads under the other strategies: a model name and a mod, nothing else."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flower_coded.clients.ramp_krum import ramp_krum_mod
from flower_coded.clients.training import training_client_app
from flower_coded.codes import SubsetCode, majority_vote
from flower_coded.crypto.srs_cache import CACHE_VARIABLE
from flower_coded.learning import build_model, initial_states, load_images, predict_labels, set_state
from flower_coded.learning.models import get_state
from flower_coded.learning.stacked import predict_stacked
from flower_coded.strategies import CodedSubsetAggregation, RampSharedMultiKrum
from flower_coded.testing import InProcessGrid
from flower_coded.wire.model_state import to_array_record

PAGE = Path(__file__).parents[2] / "docs" / "contrastive_ecoc.md"
MODEL, SHAPE = "small-cnn+hadamard", (1, 8, 8)
CONFIG: dict[str, Any] = {
    "model": MODEL,
    "optimizer": "adam",
    "learning-rate": 0.005,
    "local-epochs": 5,
    "attack": "sign-flip",
    "attack-scale": 30.0,
    "attackers": "2,",
    "seed": 1,
}


def accuracy(state: dict[str, np.ndarray]) -> float:
    model, data = build_model(MODEL, SHAPE, 10), load_images("digits", seed=1)
    set_state(model, state)
    return float((predict_labels(model, data.test_images) == data.test_labels).mean())


def test_coded_subset_aggregation_outvotes_an_attacker_on_output_codes() -> None:
    # Every user trains one of five models, so one attacker spoils one vote of five.
    code, data = SubsetCode(np.eye(5, dtype=bool)), load_images("digits", seed=1)
    states = initial_states(MODEL, SHAPE, 10, 5, seed=1)
    strategy = CodedSubsetAggregation(code, initial_states=states, stacked=True, fraction_evaluate=0.0)
    start = to_array_record({key: array[0] for key, array in states.items()})
    grid = InProcessGrid(training_client_app(), 5, CONFIG)
    arrays = strategy.start(grid, start, num_rounds=2, timeout=60).arrays
    stacked = {key: array.numpy() for key, array in arrays.items()}
    answers = predict_stacked(build_model(MODEL, SHAPE, 10), stacked, data.test_images)
    each = (answers == data.test_labels).mean(axis=1)
    assert each[2] < 0.5, "the attacker's model is spoilt"
    assert np.delete(each, 2).min() > 0.8
    assert (majority_vote(answers, 10).labels == data.test_labels).mean() > 0.9


def test_secret_shared_krum_leaves_an_attacker_out_on_output_codes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    strategy = RampSharedMultiKrum(
        7,
        1,
        num_parts=2,
        is_blinded=False,
        hides_products=False,
        num_bits=10,
        num_dropouts=0,
        fraction_evaluate=0.0,
    )
    start = to_array_record(get_state(build_model(MODEL, SHAPE, 10, seed=1)))
    grid = InProcessGrid(
        training_client_app(mods=[ramp_krum_mod]),
        9,
        {**CONFIG, "local-epochs": 10, "ramp-krum-protections": False},
        wire=False,
    )
    result = strategy.start(grid, start, num_rounds=1, timeout=600)
    (record,) = strategy.history
    assert record.selected
    assert 2 not in record.selected
    assert accuracy({key: array.numpy() for key, array in result.arrays.items()}) > 0.8


def test_the_combination_on_the_page_runs(capsys: pytest.CaptureFixture[str]) -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.S)
    (example,) = [block for block in blocks if "+hadamard" in block]
    exec(compile(example, PAGE.name, "exec"), {})
    assert float(capsys.readouterr().out.split()[-1]) > 0.8
