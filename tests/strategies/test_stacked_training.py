"""Models trained one per message and models trained stacked are the same ensemble, up to rounding."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from flwr.app import ArrayRecord

from flower_coded.clients import training_client_app
from flower_coded.codes import backdoor_correction_code
from flower_coded.learning import initial_states, load_images
from flower_coded.strategies import CodedSubsetAggregation
from flower_coded.strategies.ensemble_states import select_models
from flower_coded.testing import InProcessGrid
from flower_coded.wire.model_state import to_array_record

CODE = backdoor_correction_code(1, 2, 4)
RUN_CONFIG = {
    "local-epochs": 1,
    "samples-per-user": 40,
    "model": "small-cnn",
    "attack": "none",
    "attackers": "",
}


def train_ensemble(*, stacked: bool) -> tuple[CodedSubsetAggregation, Any]:
    data = load_images("digits")
    own = initial_states("small-cnn", data.image_shape, data.num_classes, CODE.num_models, seed=1)
    strategy = CodedSubsetAggregation(CODE, initial_states=own, stacked=stacked)
    grid = InProcessGrid(training_client_app(), CODE.num_users, RUN_CONFIG)
    start: ArrayRecord = to_array_record(select_models(own, 0))
    return strategy, strategy.start(grid, start, num_rounds=2, timeout=600)


def test_both_paths_give_the_same_ensemble() -> None:
    (single, one_by_one), (together, at_once) = (train_ensemble(stacked=each) for each in (False, True))
    for strategy in (single, together):
        assert all(each.rejected == () for each in strategy.history)
        assert strategy.federation is not None
        assert len(strategy.federation.participants.identified) == CODE.num_users
    for name, array in one_by_one.arrays.items():
        np.testing.assert_allclose(at_once.arrays[name].numpy(), array.numpy(), atol=1e-4)
    losses = [result.train_metrics_clientapp[2]["train-loss"] for result in (one_by_one, at_once)]
    assert losses[0] == pytest.approx(losses[1], rel=0.05)  # a mean over models, and one over users of means
