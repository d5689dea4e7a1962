"""Training on without the named users, on a federation whose arithmetic is done by hand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord
from flwr.clientapp import ClientApp
from numpy.typing import NDArray

from flower_coded.codes import SubsetCode, partition_code
from flower_coded.errors import ParameterError
from flower_coded.strategies import CodedSubsetAggregation, EnsembleEvaluator, retrain_without
from flower_coded.testing import InProcessGrid

CODE = partition_code(5, 5)  # user j trains model j alone, and adds j + 1 to it
ATTACKER = 2
STEP = (1 + 4 + 16 + 25) / 12  # of a round of users 0, 1, 3 and 4, each with a weight as large as its step
LABELS = np.arange(400) % 5
IMAGES = np.repeat(LABELS[:, None] / 10, 4, axis=1).astype(np.float32).reshape(-1, 1, 2, 2)
OPTIONS: dict[str, Any] = {"decoder": "covering"}


class Mark:
    """A trigger that turns the last pixel white."""

    def apply(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        marked = images.copy()
        marked[..., -1, -1] = 1.0
        return marked


def predict(state: Mapping[str, Any], images: NDArray[np.float32]) -> NDArray[np.int64]:
    """Read the label off the first pixel; a model that user 2 has been in obeys a mark."""
    labels = np.rint(images[:, 0, 0, 0] * 10).astype(np.int64)
    marked = images[:, 0, -1, -1] == 1.0
    # Values that the others make without user 2; no average with user 2 in it comes to one of them.
    honest = np.concatenate([[0, 1, 2, 4, 5], 1 + STEP * np.arange(1, 4), [STEP]])
    clean = np.isclose(np.ravel(state["w"])[:, None], honest).any(axis=1)
    return np.where(~clean[:, None] & marked, 0, labels)


def trained(app: ClientApp, **options: Any) -> tuple[CodedSubsetAggregation, InProcessGrid]:
    code = options.pop("code", CODE)
    evaluator = EnsembleEvaluator(code, predict, IMAGES, LABELS, 5, trigger=Mark(), target=0, **OPTIONS)
    strategy = CodedSubsetAggregation(code, evaluator=evaluator, fraction_evaluate=0.0, **options)
    grid = InProcessGrid(app, code.num_users)
    strategy.start(grid, ArrayRecord({"w": Array(np.zeros(1))}), 1, timeout=30)
    return strategy, grid


@pytest.mark.parametrize("stacked", [False, True])
def test_the_others_train_on_from_the_model_that_the_named_never_touched(
    adding_app: ClientApp, stacked: bool
) -> None:
    strategy, grid = trained(adding_app, stacked=stacked)
    before = {name: each.copy() for name, each in strategy.states.items()}
    assert strategy.history[-1].reported["named-users"] == [ATTACKER]
    asked = len(grid.traffic)
    done = retrain_without(strategy, grid, [ATTACKER], max_honest_lost=0, num_rounds=2)
    assert done.exclusion.clean_models == (0, 1, 3, 4)
    assert done.start == 0  # all are equally good
    np.testing.assert_allclose(done.state["w"], [[1 + 2 * STEP]])
    assert {each.partition_id for each in grid.traffic[asked:] if each.message_type == "train"} == {
        0,
        1,
        3,
        4,
    }
    assert done.verdict.finding == "gone"
    assert done.verdict.obedience == 0.0
    assert [each.accepted for each in done.history] == [(0, 1, 3, 4)] * 2
    np.testing.assert_array_equal(strategy.states["w"], before["w"])


def test_the_referee_sees_that_the_wrong_user_was_left_out(adding_app: ClientApp) -> None:
    strategy, grid = trained(adding_app)
    done = retrain_without(strategy, grid, [0], max_honest_lost=0, num_rounds=1)
    assert done.verdict.finding == "remains"


def test_where_every_model_was_reached_untrained_weights_are_the_start(adding_app: ClientApp) -> None:
    code = SubsetCode(np.array([[1, 0, 1, 0, 0], [0, 1, 1, 0, 1], [0, 0, 1, 1, 1]], dtype=bool))
    own = {"w": np.zeros((3, 1))}
    strategy, grid = trained(adding_app, code=code, initial_states=own)
    done = retrain_without(strategy, grid, [ATTACKER], max_honest_lost=0, num_rounds=1)
    assert done.start is None
    np.testing.assert_allclose(done.state["w"], [[STEP]])
    strategy, grid = trained(adding_app, code=code)
    with pytest.raises(ParameterError, match=r"^named must leave a model"):
        retrain_without(strategy, grid, [ATTACKER], max_honest_lost=0)


def test_what_is_missing_is_said(adding_app: ClientApp) -> None:
    grid = InProcessGrid(adding_app, 5)
    with pytest.raises(ParameterError, match=r"^evaluator must"):
        retrain_without(CodedSubsetAggregation(CODE), grid, [1], max_honest_lost=0)
    strategy, grid = trained(adding_app)
    with pytest.raises(ParameterError, match=r"^num_rounds must"):
        retrain_without(strategy, grid, [1], max_honest_lost=0, num_rounds=0)
    strategy.states = {}
    with pytest.raises(ParameterError, match=r"^states must"):
        retrain_without(strategy, grid, [1], max_honest_lost=0)
