"""Agreement with Flower's and ByzFL's rules on random inputs, where those are right."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp.strategy import FedMedian, FedTrimmedAvg, MultiKrum

from flower_coded.aggregation import (
    centered_clipping,
    coordinate_median,
    geometric_median,
    krum,
    mean,
    multi_krum,
    nearest_neighbor_mixing,
    trimmed_mean,
)
from flower_coded.aggregation.byzfl_adapter import ByzflRule
from flower_coded.errors import ParameterError
from flower_coded.testing import InProcessGrid

sizes = pytest.mark.parametrize(("count", "num_byzantine"), [(9, 2), (20, 4), (20, 8)])


@pytest.fixture(autouse=True)
def run() -> InProcessGrid:
    """Messages can be made only within a run."""
    return InProcessGrid(ClientApp(), 1)


def vectors(count: int) -> np.ndarray:
    """A cluster, its spread and a few far out, in float32 as models are."""
    generator = np.random.default_rng(count)
    drawn = generator.normal(size=(count, 301))
    drawn[::6] += generator.normal(0, 3, size=301)
    return drawn.astype(np.float32)


def replies(updates: np.ndarray) -> list[Message]:
    """What clients answer, two arrays each."""
    made = []
    for row in updates:
        arrays = ArrayRecord({"weight": Array(row[:300].reshape(30, 10)), "bias": Array(row[300:])})
        content = RecordDict({"arrays": arrays, "metrics": MetricRecord({"num-examples": 10})})
        made.append(Message(content, reply_to=Message(RecordDict(), 1, "train")))
    return made


def flower(strategy: Any, updates: np.ndarray) -> np.ndarray:
    record, _ = strategy.aggregate_train(1, replies(updates))
    assert record is not None
    return np.concatenate([record["weight"].numpy().ravel(), record["bias"].numpy()])


@sizes
def test_median_and_trimmed_mean_agree_with_flower(count: int, num_byzantine: int) -> None:
    updates = vectors(count)
    np.testing.assert_allclose(coordinate_median(updates), flower(FedMedian(), updates), rtol=1e-6, atol=1e-7)
    expected = flower(FedTrimmedAvg(beta=num_byzantine / count), updates)
    np.testing.assert_allclose(trimmed_mean(updates, num_byzantine), expected, rtol=1e-5, atol=1e-6)


@sizes
@pytest.mark.parametrize("num_selected", [1, 3, 5])
def test_multi_krum_agrees_with_flower(count: int, num_byzantine: int, num_selected: int) -> None:
    updates = vectors(count)
    expected = flower(MultiKrum(num_malicious_nodes=num_byzantine, num_nodes_to_select=num_selected), updates)
    np.testing.assert_allclose(
        multi_krum(updates, num_byzantine, num_selected), expected, rtol=1e-5, atol=1e-6
    )


def test_multi_krum_is_right_where_flower_loses_the_distances() -> None:
    # Weights of size 30 that differ by 1e-2: the expanded square in float32 is all rounding.
    generator = np.random.default_rng(0)
    updates = (30 * generator.normal(size=1000) + 1e-2 * generator.normal(size=(9, 1000))).astype(np.float32)
    updates[2] += np.float32(0.05) * generator.normal(size=1000).astype(np.float32)
    exact = updates.astype(np.float64)
    distances = ((exact[:, None] - exact[None]) ** 2).sum(axis=-1)
    scores = np.sort(distances, axis=1)[:, 1:6].sum(axis=1)  # n - f - 2 = 5 neighbors
    np.testing.assert_array_equal(krum(updates, 2), exact[scores.argmin()])
    with np.errstate(invalid="ignore"):
        by_flower = flower(MultiKrum(num_malicious_nodes=2, num_nodes_to_select=1), updates)
    assert not np.allclose(by_flower, exact[scores.argmin()], atol=1e-4)


@sizes
@pytest.mark.filterwarnings("ignore")
def test_rules_agree_with_byzfl(count: int, num_byzantine: int) -> None:
    pytest.importorskip("byzfl")
    updates = vectors(count)
    f = {"f": num_byzantine}
    # ByzFL's Krum sums over n - f - 1 neighbors, ours and the paper's over n - f - 2.
    more = {"f": num_byzantine + 1}
    pairs = [
        (mean(updates), ByzflRule("Average")),
        (coordinate_median(updates), ByzflRule("Median")),
        (trimmed_mean(updates, num_byzantine), ByzflRule("TrMean", f)),
        (krum(updates, num_byzantine), ByzflRule("Krum", more)),
        (multi_krum(updates, num_byzantine, count - num_byzantine - 1), ByzflRule("MultiKrum", more)),
        (
            geometric_median(updates),
            ByzflRule("GeometricMedian", {"nu": 1e-6, "T": 200}),
        ),
        (
            centered_clipping(updates, start=np.zeros(updates.shape[1]), radius=2.0, num_iterations=3),
            ByzflRule("CenteredClipping", {"L": 3, "tau": 2.0}),
        ),
    ]
    for ours, theirs in pairs:
        np.testing.assert_allclose(ours, theirs.aggregate(updates), rtol=1e-4, atol=1e-5, err_msg=str(theirs))


@sizes
def test_mixing_agrees_with_byzfl(count: int, num_byzantine: int) -> None:
    byzfl = pytest.importorskip("byzfl")
    updates = vectors(count).astype(np.float64)
    expected = byzfl.NNM(num_byzantine)(updates)
    np.testing.assert_allclose(nearest_neighbor_mixing(updates, num_byzantine), expected, rtol=1e-9)


@pytest.mark.parametrize("aggregator", ["TrMean", "Krum", "MultiKrum", "Meamed", "MDA"])
def test_byzfl_rules_survive_rows_that_are_not_finite(aggregator: str) -> None:
    pytest.importorskip("byzfl")
    updates = vectors(9)
    updates[0] = np.nan
    # The row that is removed is one of the two faults: one is left among eight vectors.
    expected = ByzflRule(aggregator, {"f": 1}).aggregate(updates[1:])
    np.testing.assert_array_equal(ByzflRule(aggregator, {"f": 2}).aggregate(updates), expected)
    assert np.isfinite(expected).all()


@pytest.mark.parametrize(
    ("aggregator", "parameters", "named"),
    [
        ("Krumm", {}, "aggregator of byzfl"),
        ("NNM", {}, "aggregator of byzfl"),
        ("Krum", {"f": -1}, "non-negative"),
        ("Krum", {"g": 1}, "unexpected keyword"),
    ],
)
def test_byzfl_rules_refuse_mistakes(aggregator: str, parameters: dict[str, int], named: str) -> None:
    pytest.importorskip("byzfl")
    with pytest.raises(ParameterError, match=named):
        ByzflRule(aggregator, parameters)


def test_byzfl_rules_refuse_too_few_vectors() -> None:
    pytest.importorskip("byzfl")
    with pytest.raises(ParameterError, match="Cannot tolerate"):
        ByzflRule("Krum", {"f": 3}).aggregate(vectors(9)[:5])


def test_byzfl_that_is_absent_is_named_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "byzfl", None)
    with pytest.raises(ParameterError, match=r"pip install 'flower-coded\[byzfl\]'"):
        ByzflRule("Median")
