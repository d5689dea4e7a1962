"""Every form of client that Flower's users have, under every strategy that takes FedAvg's place.

The table of docs/strategies.md says what these tests find; the last one compares the two.
"""

from __future__ import annotations

import importlib.util
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from flwr.app import ArrayRecord
from flwr.serverapp.strategy import FedAvg

from flower_coded.aggregation import get_aggregation_rule
from flower_coded.clients.ramp_krum import ramp_krum_mod
from flower_coded.codes import backdoor_correction_code
from flower_coded.crypto.srs_cache import CACHE_VARIABLE
from flower_coded.errors import NoRoundSucceededError, ParameterError
from flower_coded.strategies import (
    CodedSubsetAggregation,
    RampSharedMultiKrum,
    RuleAggregation,
    ValidatedReplies,
)
from flower_coded.testing import InProcessGrid


def _load(name: str) -> ModuleType:
    """Import a client's module from beside this file, as a project's own."""
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


forms, quickstart = _load("client_forms"), _load("quickstart_client")
PYTORCH = forms.ClientForm(
    "PyTorch quickstart",
    lambda: ArrayRecord(quickstart.Net().state_dict()),
    quickstart.train,
    quickstart.evaluate,
)
TRAINABLE = (PYTORCH, *forms.TRAINABLE)


@dataclass(frozen=True)
class DropIn:
    """A strategy in FedAvg's place, and what its clients need."""

    name: str
    make: Callable[[], Any]
    num_nodes: int = 4
    mods: tuple[Any, ...] = ()
    num_rounds: int = 2
    is_stacked: bool = False


def ramp_krum() -> RampSharedMultiKrum:
    # The smallest federation there is, without the protections that cost the most.
    return RampSharedMultiKrum(
        num_users=7,
        num_byzantine=1,
        num_dropouts=0,
        num_bits=12,
        clipping=2.0,
        is_blinded=False,
        hides_products=False,
        fraction_train=1.0,
    )


DROP_INS = (
    DropIn(
        "CodedSubsetAggregation",
        lambda: CodedSubsetAggregation(backdoor_correction_code(1, 2, 4)),
        is_stacked=True,
    ),
    DropIn(
        "RuleAggregation",
        lambda: RuleAggregation(get_aggregation_rule("median"), min_train_nodes=4, min_available_nodes=4),
    ),
    DropIn("ValidatedReplies", lambda: ValidatedReplies(FedAvg(min_train_nodes=4, min_available_nodes=4))),
    DropIn("RampSharedMultiKrum", ramp_krum, 7, (ramp_krum_mod,), num_rounds=1),
)
each_drop_in = pytest.mark.parametrize("drop_in", DROP_INS, ids=lambda each: each.name)


@pytest.fixture(autouse=True, scope="module")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(CACHE_VARIABLE, str(tmp_path_factory.mktemp("cache")))
        yield


def grid_of(form: Any, drop_in: DropIn) -> InProcessGrid:
    run_config = {"ramp-krum-protections": False} if drop_in.mods else {}
    return InProcessGrid(form.app(*drop_in.mods), drop_in.num_nodes, run_config)


@each_drop_in
@pytest.mark.parametrize("form", TRAINABLE, ids=lambda each: each.name)
def test_every_reply_is_used_and_every_array_moves(form: Any, drop_in: DropIn) -> None:
    strategy, before = drop_in.make(), form.start()
    result = strategy.start(grid_of(form, drop_in), before, num_rounds=drop_in.num_rounds, timeout=60)
    assert {each.stage for each in strategy.history} == {"train", "evaluate"}
    assert all(each.rejected == () and not each.is_unchanged for each in strategy.history)
    assert list(result.arrays) == list(before)
    for name, sent in before.items():
        given, expected = result.arrays[name].numpy(), sent.numpy()
        assert given.dtype == expected.dtype
        if drop_in.is_stacked:
            assert given.shape == (strategy.code.num_models, *expected.shape)
        else:
            assert given.shape == expected.shape
        if expected.dtype.kind == "f":
            assert np.isfinite(given).all()
            assert not np.array_equal(given, np.broadcast_to(expected, given.shape)), name
    # One client of Opacus reports a loss that is no number: it costs the loss, and not the arrays.
    last = result.train_metrics_clientapp[drop_in.num_rounds]
    assert math.isfinite(last[form.loss])
    assert last.get("metrics-left-out", 0) == (1 if form is forms.OPACUS else 0) * drop_in_copies(drop_in)


def drop_in_copies(drop_in: DropIn) -> int:
    """How many messages the client with the empty batch answers in a round."""
    if not drop_in.is_stacked:
        return 1
    return int(drop_in.make().code.matrix[:, forms.EMPTY_HANDED].sum())


@each_drop_in
def test_buffers_of_integers_and_masks_stay_what_they_are(drop_in: DropIn) -> None:
    for form, name in (
        (forms.HUGGING_FACE, "bert.embeddings.position_ids"),
        (forms.TABULAR, "is_categorical"),
    ):
        before = form.start()
        result = drop_in.make().start(grid_of(form, drop_in), before, num_rounds=1, timeout=60)
        given = result.arrays[name].numpy()
        np.testing.assert_array_equal(given, np.broadcast_to(before[name].numpy(), given.shape))


def test_running_statistics_are_not_cut_to_the_bound_of_the_weights() -> None:
    """Two running variances move by 90 and more in a round, with a bound of 2, and arrive."""
    [drop_in] = (each for each in DROP_INS if each.mods)
    for form in (forms.MONAI, forms.LIGHTNING):
        start = form.start()
        result = drop_in.make().start(grid_of(form, drop_in), start, num_rounds=1, timeout=60)
        assert result.train_metrics_clientapp[1]["clipped-share"] == 0.0
        variances = [name for name in start if name.endswith("running_var")]
        assert bool(variances) is (form is forms.MONAI)
        for name in variances:
            moved = result.arrays[name].numpy() - start[name].numpy()
            assert np.abs(moved).max() > 50


@each_drop_in
def test_bytes_of_trees_are_refused_before_anybody_trains(drop_in: DropIn) -> None:
    grid = grid_of(forms.XGBOOST, drop_in)
    with pytest.raises(ParameterError, match=r"floating-point numbers .* \{'0': 'uint8'\} .*FedXgbBagging"):
        drop_in.make().start(grid, forms.XGBOOST.start(), num_rounds=1)
    assert all(each.message_type != "train" for each in grid.traffic)


@each_drop_in
def test_clients_of_the_older_interface_are_told_what_to_change(drop_in: DropIn) -> None:
    with pytest.raises(NoRoundSucceededError, match=r"client_fn, NumPyClient.*@app\.train\(\)"):
        drop_in.make().start(grid_of(forms.OLDER, drop_in), forms.OLDER.start(), num_rounds=1, timeout=60)


def test_the_table_in_the_documentation_is_this_one() -> None:
    rows = [("form of client", *(f"`{each.name}`" for each in DROP_INS))]
    rows += [(form.name, *["yes"] * len(DROP_INS)) for form in TRAINABLE]
    rows += [(form.name, *["refused"] * len(DROP_INS)) for form in (forms.XGBOOST, forms.OLDER)]
    page = (Path(__file__).parents[2] / "docs" / "strategies.md").read_text(encoding="utf-8")
    written = [tuple(cell.strip() for cell in line.strip("|").split("|")) for line in page.splitlines()]
    assert [row for row in rows if row not in written] == []


def test_clients_say_what_share_of_their_weights_clipping_cut() -> None:
    form = PYTORCH
    strategy = ramp_krum()
    strategy.fixed_point = replace(strategy.fixed_point, clipping=1e-4)
    [drop_in] = (each for each in DROP_INS if each.mods)
    result = strategy.start(grid_of(form, drop_in), form.start(), num_rounds=1, timeout=60)
    assert 0.05 < result.train_metrics_clientapp[1]["clipped-share"] <= 1.0
