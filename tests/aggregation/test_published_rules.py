"""Rules against the papers' definitions, written out slowly, and against answers of ByzFL."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from flower_coded.aggregation import (
    RoundContext,
    bulyan,
    clip_adaptively,
    clip_norms,
    covariance_filter,
    divide_and_conquer,
    flame,
    fools_gold,
    get_aggregation_rule,
    mean_around_median,
    minimum_diameter_averaging,
    minimum_diameter_subset,
    nearest_neighbor_mixing,
    norm_clipped_mean,
    sign_guard,
    smallest_eigenvalue_averaging,
    squared_distances,
    trusted_mean,
)
from flower_coded.aggregation.blocks import stored
from flower_coded.aggregation.bulyan import bulyan_selection
from flower_coded.aggregation.lazy_rows import mixtures
from flower_coded.aggregation.sybils import add_to_history
from flower_coded.codes.array_namespace import to_numpy
from flower_coded.errors import DecodingError, ParameterError

APART = np.array([[0.0, 0], [1, 10], [2, 6], [9, 2], [100, 3]])
VECTORS = Path(__file__).parents[1] / "vectors" / "aggregation" / "byzfl" / "vectors.json"
CASES = json.loads(VECTORS.read_text())["cases"]
seeds = given(seed=st.integers(0, 10_000))


def drawn(seed: int, count: int = 11, dimension: int = 4) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, dimension))


@pytest.mark.parametrize("case", range(len(CASES)))
@pytest.mark.parametrize("name", CASES[0]["results"])
def test_rules_give_what_byzfl_gives(name: str, case: int) -> None:
    vectors, f = np.array(CASES[case]["vectors"]), CASES[case]["num_byzantine"]
    steps: dict[str, Any] = {
        "nearest-neighbor-mixing": lambda: nearest_neighbor_mixing(vectors, f),
        "static-clipping": lambda: clip_norms(vectors, 2.5),
        "adaptive-clipping": lambda: clip_adaptively(vectors, f),
    }
    made = steps.get(name) or (lambda: get_aggregation_rule(name, num_byzantine=f).aggregate(vectors))
    np.testing.assert_allclose(made(), CASES[case]["results"][name], rtol=1e-12)


@settings(max_examples=40)
@given(seed=st.integers(0, 10_000), count=st.integers(1, 140), share=st.floats(0, 0.99), tied=st.booleans())
def test_mean_around_median__is_that_of_the_nearest_values(
    seed: int, count: int, share: float, tied: bool
) -> None:
    vectors = drawn(seed, count, 3)
    if tied:
        vectors = vectors.round(0)
    f = int(share * count / 2)
    expected = []
    for column in vectors.T:
        ascending = np.sort(column)  # stable below: of two as far the smaller is kept
        nearest = np.argsort(np.abs(ascending - np.median(column)), kind="stable")[: count - f]
        expected.append(ascending[nearest].mean())
    if 2 * f < count:
        np.testing.assert_allclose(mean_around_median(vectors, f), expected, rtol=1e-9, atol=1e-12)


def test_mean_around_median__of_numbers_worked_out_by_hand() -> None:
    # First coordinates 0 1 2 9 100, median 2: without 100, (0 + 1 + 2 + 9) / 4 = 3. Second 0 2 3 6 10,
    # median 3: 10 is 7 away, so (0 + 2 + 3 + 6) / 4 = 2.75.
    np.testing.assert_allclose(mean_around_median(APART, 1), [3.0, 2.75])


def slow_bulyan(vectors: np.ndarray, f: int) -> np.ndarray:
    left, chosen = list(range(len(vectors))), []
    while len(chosen) < len(vectors) - 2 * f:
        keys = []
        for row in left:
            apart = sorted(((vectors[row] - vectors[other]) ** 2).sum() for other in left if other != row)
            keys.append((sum(apart[: max(len(left) - f - 2, 1)]), sum(apart)))
        best = left[min(range(len(left)), key=keys.__getitem__)]
        chosen.append(best)
        left.remove(best)
    kept = vectors[chosen]
    nearest = np.argsort(np.abs(kept - np.median(kept, axis=0)), axis=0, kind="stable")[: len(kept) - 2 * f]
    return np.take_along_axis(kept, nearest, axis=0).mean(axis=0)


@pytest.mark.parametrize(("count", "f"), [(7, 1), (11, 2), (13, 2), (19, 4)])
def test_bulyan__follows_its_definition(count: int, f: int) -> None:
    for seed in range(10):
        vectors = drawn(seed, count)
        np.testing.assert_allclose(bulyan(vectors, f), slow_bulyan(vectors, f), rtol=1e-9, atol=1e-12)


def test_bulyan__sees_a_liar_who_hides_in_one_coordinate() -> None:
    honest = np.random.default_rng(0).normal(size=(9, 400))
    liar = honest.mean(axis=0)
    liar[0] += 15.0  # far closer to all honest vectors in total than they are to each other
    vectors = np.vstack([honest, [liar, liar]])
    assert get_aggregation_rule("krum", num_byzantine=2).aggregate(vectors)[0] > 10
    assert abs(bulyan(vectors, 2)[0]) < 1.5


def test_bulyan__refuses_fewer_than_four_f_and_three() -> None:
    with pytest.raises(ParameterError, match=r"n >= 4 f \+ 3 with n = 10"):
        bulyan(drawn(0, 10), 2)
    assert len(bulyan_selection(squared_distances(drawn(0, 11)), 2)) == 7


@settings(max_examples=60)
@given(seed=st.integers(0, 10_000), count=st.integers(1, 9), f=st.integers(0, 4), tied=st.booleans())
def test_minimum_diameter__is_the_best_of_all_subsets(seed: int, count: int, f: int, tied: bool) -> None:
    vectors = drawn(seed, count, 2)
    distances = squared_distances(vectors.round(0) if tied else vectors)
    if f >= count:
        return
    subsets = list(itertools.combinations(range(count), count - f))
    diameters = [distances[np.ix_(subset, subset)].max() for subset in subsets]
    assert tuple(minimum_diameter_subset(distances, f)) == subsets[int(np.argmin(diameters))]


def test_minimum_diameter__takes_many_vectors_and_says_when_the_search_is_too_long() -> None:
    honest = np.random.default_rng(0).normal(size=(160, 6))
    vectors = np.vstack([honest, honest[:40] + 50.0])
    np.testing.assert_allclose(minimum_diameter_averaging(vectors, 40), honest.mean(axis=0))
    with pytest.raises(ParameterError, match=r"exact search in 5 steps.*monna"):
        minimum_diameter_averaging(vectors, 40, max_steps=5)


def slow_covariance_filter(vectors: np.ndarray, f: int) -> np.ndarray:
    weights, smallest, best = np.ones(len(vectors)), np.inf, None
    while weights.sum() > len(vectors) - 2 * f:
        mean = weights @ vectors / weights.sum()
        apart = vectors - mean
        values, directions = np.linalg.eigh((weights[:, None] * apart).T @ apart / weights.sum())
        if values[-1] < smallest:
            smallest, best = values[-1], mean
        outlying = (apart @ directions[:, -1]) ** 2
        weights = weights * np.maximum(1 - outlying / outlying[weights > 0].max(), 0)
    assert best is not None
    return best


@seeds
@settings(max_examples=20)
def test_covariance_filter__follows_its_definition(seed: int) -> None:
    vectors = drawn(seed)
    vectors[:3] += 2.0
    expected = slow_covariance_filter(vectors, 3)
    np.testing.assert_allclose(covariance_filter(vectors, 3), expected, rtol=1e-6, atol=1e-8)


def test_covariance_filter__is_the_mean_without_faults() -> None:
    np.testing.assert_allclose(covariance_filter(APART, 0), APART.mean(axis=0))


@seeds
@settings(max_examples=10)
def test_smallest_eigenvalue__is_that_of_the_best_subset(seed: int) -> None:
    vectors = drawn(seed, 8)
    subsets = [vectors[list(rows)] for rows in itertools.combinations(range(8), 6)]
    largest = [np.linalg.eigvalsh(np.cov(subset.T, bias=True))[-1] for subset in subsets]
    expected = subsets[int(np.argmin(largest))].mean(axis=0)
    np.testing.assert_allclose(smallest_eigenvalue_averaging(vectors, 2), expected, rtol=1e-9)


def test_smallest_eigenvalue__refuses_more_subsets_than_it_can_try() -> None:
    with pytest.raises(ParameterError, match=r"at most 200000 subsets of 40 vectors.*covariance-filter"):
        smallest_eigenvalue_averaging(drawn(0, 40), 10)


@seeds
@settings(max_examples=20)
def test_divide_and_conquer__follows_its_definition(seed: int) -> None:
    vectors = drawn(seed, 12, 30)
    vectors[:2] += 3.0
    draw, good = np.random.default_rng(seed), set(range(12))
    for _ in range(3):
        columns = np.sort(draw.choice(30, 10, replace=False, shuffle=False))
        apart = vectors[:, columns] - vectors[:, columns].mean(axis=0)
        scores = (apart @ np.linalg.svd(apart, full_matrices=False)[2][0]) ** 2
        good &= set(np.argsort(scores)[:9].tolist())  # n - c f = 12 - 1.5 * 2
    result = divide_and_conquer(
        vectors, 2, np.random.default_rng(seed), num_iterations=3, num_coordinates=10, filter_factor=1.5
    )
    np.testing.assert_allclose(result, vectors[sorted(good)].mean(axis=0), rtol=1e-9, atol=1e-12)


def test_divide_and_conquer__leaves_out_liars_that_agree() -> None:
    honest = np.random.default_rng(0).normal(size=(16, 50))
    vectors = np.vstack([honest, np.tile(honest.mean(axis=0) + 2.0, (4, 1))])
    result = divide_and_conquer(vectors, 4, np.random.default_rng(0), num_coordinates=25)
    np.testing.assert_allclose(result, honest.mean(axis=0))


def test_divide_and_conquer__refuses_when_nobody_is_good_every_time() -> None:
    with pytest.raises(ParameterError, match="c f < n"):
        divide_and_conquer(APART, 2, np.random.default_rng(0), filter_factor=2.5)
    with pytest.raises(DecodingError, match="good in every iteration"):
        divide_and_conquer(
            drawn(1, 8, 400),
            3,
            np.random.default_rng(0),
            num_iterations=40,
            num_coordinates=1,
            filter_factor=2,
        )


def test_clipping__of_numbers_worked_out_by_hand() -> None:
    # Lengths 5, 1 and 10; the median is 5.
    vectors = np.array([[3.0, 4.0], [0.0, 1.0], [6.0, 8.0]])
    np.testing.assert_allclose(clip_norms(vectors), [[3, 4], [0, 1], [3, 4]])
    # f = 1 of 3: floor(2 / 3 * 2) = 1 vector is clipped to the next longest, 5.
    np.testing.assert_allclose(clip_adaptively(vectors, 1), [[3, 4], [0, 1], [3, 4]])
    np.testing.assert_allclose(clip_adaptively(vectors, 0), vectors)
    np.testing.assert_allclose(norm_clipped_mean(vectors, 1.0), [0.4, (0.8 + 1 + 0.8) / 3])


def test_norm_clipping__adds_noise_of_the_deviation() -> None:
    vectors = np.zeros((3, 20_000))
    noise = norm_clipped_mean(vectors, 1.0, 0.5, np.random.default_rng(0))
    assert abs(noise.std() - 0.5) < 0.01
    with pytest.raises(ParameterError, match="generator must be given where noise"):
        norm_clipped_mean(vectors, 1.0, 0.5)


def test_sign_guard__leaves_out_odd_lengths_and_odd_signs() -> None:
    generator = np.random.default_rng(0)
    honest = np.abs(generator.normal(size=(12, 600))) * np.where(generator.random(600) < 0.7, 1, -1)
    long, short, turned = 9 * honest[:1], 0.01 * honest[1:2], -honest[2:4]
    vectors = np.vstack([long, honest, short, turned])
    norms = np.linalg.norm(vectors, axis=1)
    clipped = honest * np.minimum(1, np.median(norms) / norms[1:13])[:, None]
    result = sign_guard(vectors, np.random.default_rng(1), coordinate_share=0.5)
    np.testing.assert_allclose(result, clipped.mean(axis=0))


def test_flame__keeps_the_majority_of_directions() -> None:
    generator = np.random.default_rng(0)
    honest = generator.normal(1.0, 0.3, (8, 60))
    liars = generator.normal(0.0, 1.0, 60) + generator.normal(0.0, 0.01, (4, 60))
    vectors = np.vstack([honest, 3 * liars])
    norms = np.linalg.norm(vectors, axis=1)
    clipped = honest * np.minimum(1, np.median(norms) / norms[:8])[:, None]
    result = flame(vectors, 0.0)
    # HDBSCAN may call an honest vector an outlier; no liar is in the cluster.
    assert np.linalg.norm(result - clipped.mean(axis=0)) < 0.2 * np.linalg.norm(honest[0] - honest[1])
    noisy = flame(vectors, 0.1, np.random.default_rng(3))
    assert 0.5 < np.std(noisy - result) / (0.1 * np.median(norms)) < 2.0


def test_flame__refuses_without_a_majority() -> None:
    with pytest.raises(DecodingError, match="majority"):
        flame(np.vstack([np.eye(3), np.full((4, 3), np.nan)]), 0.0)


def test_fl_trust__follows_its_definition() -> None:
    vectors, root = drawn(5, 9, 6), np.random.default_rng(1).normal(size=6)
    norms, length = np.linalg.norm(vectors, axis=1), np.linalg.norm(root)
    trust = np.maximum(vectors @ root / (norms * length), 0)
    expected = (trust * length / norms) @ vectors / trust.sum()
    np.testing.assert_allclose(trusted_mean(vectors, root), expected)


def test_fl_trust__stands_a_majority_of_liars_and_refuses_when_nobody_is_trusted() -> None:
    root = np.array([1.0, 0.0])
    liars = np.tile([-5.0, 0.0], (6, 1))
    np.testing.assert_allclose(trusted_mean(np.vstack([liars, [[2.0, 0.0]]]), root), root)
    with pytest.raises(DecodingError, match="no vector points"):
        trusted_mean(liars, root)
    with pytest.raises(DecodingError, match="no direction"):
        trusted_mean(liars, np.zeros(2))
    with pytest.raises(ParameterError, match="root_update must have shape"):
        trusted_mean(liars, np.zeros(3))


def slow_fools_gold_weights(sums: np.ndarray) -> np.ndarray:
    count = len(sums)
    lengths = np.linalg.norm(sums, axis=1)
    similar = sums @ sums.T / np.outer(lengths, lengths) - np.eye(count)
    most = similar.max(axis=1)
    for i, j in itertools.permutations(range(count), 2):
        if most[i] < most[j]:
            similar[i, j] *= most[i] / most[j]
    weights = np.clip(1 - similar.max(axis=1), 0, 1)
    weights = weights / weights.max()
    with np.errstate(divide="ignore"):
        return np.clip(np.log(weights / (1 - weights)) + 0.5, 0, 1)


@seeds
@settings(max_examples=20)
def test_fools_gold__follows_its_definition(seed: int) -> None:
    sums, vectors = drawn(seed, 6, 8) + 0.5, drawn(seed + 1, 6, 5)
    sums[1] = sums[0] + 0.01 * sums[2]
    weights = slow_fools_gold_weights(sums)
    expected = weights @ vectors / weights.sum()
    np.testing.assert_allclose(fools_gold(vectors, sums), expected, rtol=1e-8, atol=1e-10)


def test_fools_gold__knows_sybils_by_the_sum_of_their_rounds() -> None:
    generator = np.random.default_rng(0)
    direction, honest = generator.normal(size=200), 3 * generator.normal(size=(5, 200))
    rule, memory = get_aggregation_rule("fools-gold"), {}
    shares = []
    for _ in range(30):
        sybils = direction + 3 * generator.normal(size=(3, 200))  # alike on the average only
        updates = np.vstack([honest + 3 * generator.normal(size=(5, 200)), sybils])
        context = RoundContext(participants=tuple(range(10, 18)), memory=memory)
        result, memory = rule.aggregate_in_round(updates, context)
        shares.append(result @ direction / (direction @ direction))
    alone = rule.aggregate(updates) @ direction / (direction @ direction)
    assert shares[-1] < 0.4 * alone
    np.testing.assert_array_equal(memory["participants"], np.arange(10, 18))


def test_fools_gold__keeps_sums_of_the_last_coordinates_and_of_those_who_come_back() -> None:
    first, memory = add_to_history(np.array([[1.0, 2.0], [3.0, np.nan]], np.float32), (4, 7), {}, 1)
    assert first.dtype == np.float32
    before = memory["sums"].copy()
    second, memory_then = add_to_history(np.array([[1.0, 5.0], [1.0, 9.0]], np.float32), (7, 2), memory, 1)
    np.testing.assert_array_equal(stored(second), [[5.0], [9.0]])  # what was not finite added nothing
    np.testing.assert_array_equal(memory_then["participants"], [4, 7, 2])
    np.testing.assert_array_equal(memory["sums"], before)
    with pytest.raises(ParameterError, match="must have 1 entries"):
        add_to_history(np.ones((1, 2)), (4,), memory)
    with pytest.raises(ParameterError, match="different numbers"):
        add_to_history(np.ones((2, 2)), (4, 4), {})


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("kind", ["numpy", "torch", "device"])
def test_fools_gold__adds_blocks_of_lazy_and_stored_rows_of_any_kind(
    kind: str, dtype: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flower_coded.aggregation.blocks.BLOCK_BYTES", 1)  # 256 columns, the least there are
    if kind == "device":  # where there is no view for NumPy
        monkeypatch.setattr("flower_coded.aggregation.sybils.host_view", lambda _: None)
    generator = np.random.default_rng(3)
    drawn = [generator.integers(-9, 9, (3, 700)).astype(dtype) for _ in range(2)]  # sums are exact
    drawn[1][2, 5] = np.nan  # what is not finite adds nothing
    first, second = drawn if kind == "numpy" else [torch.from_numpy(each) for each in drawn]
    scales = np.array([0.5, 2.0, -1.0])
    _, memory = add_to_history(mixtures(scales, first), (4, 7, 2), {}, 600, num_threads=2)
    before = stored(memory["sums"]).copy() if kind == "numpy" else memory["sums"].clone()
    sums, _ = add_to_history(second, (7, 2, 9), memory, 600, num_threads=2)
    expected = scales[:, None] * drawn[0][:, 100:].astype(float)
    earlier = np.vstack([expected[1:], np.zeros(600)])
    added = np.nan_to_num(drawn[1][:, 100:].astype(float))
    added[2] = 0.0
    np.testing.assert_array_equal(to_numpy(stored(sums)), earlier + added)
    np.testing.assert_array_equal(to_numpy(memory["sums"]), to_numpy(before))
    assert to_numpy(memory["sums"]).dtype == (np.float64 if dtype is np.float64 else np.float32)


def test_centered_clipping__starts_where_the_last_round_ended_if_told() -> None:
    rule = get_aggregation_rule("centered-clipping", radius=1.0, starts_at_zero=True, starts_at_previous=True)
    far = np.full((4, 1), 10.0)
    first, memory = rule.aggregate_in_round(far, RoundContext())
    second, _ = rule.aggregate_in_round(far, RoundContext(memory=memory))
    assert (first, second) == (1.0, 2.0)


@pytest.mark.parametrize(
    ("name", "parameters", "named"),
    [
        ("monna", {"pivot": -1}, "pivot"),
        ("divide-and-conquer", {"num_coordinates": 0}, "num_coordinates"),
        ("divide-and-conquer", {"filter_factor": 0.0}, "filter_factor"),
        ("sign-guard", {"shortest": 2.0}, "shortest"),
        ("sign-guard", {"longest": 0.5}, "longest"),
        ("sign-guard", {"coordinate_share": 0.0}, "coordinate_share"),
        ("flame", {"noise_factor": -1.0}, "noise_factor"),
        ("norm-clipping", {"max_norm": 0.0}, "max_norm"),
        ("norm-clipping", {"noise_deviation": float("nan")}, "noise_deviation"),
        ("static-clipping+mean", {"max_norm": -1.0}, "max_norm"),
        ("fools-gold", {"last_coordinates": 0}, "last_coordinates"),
        ("smallest-eigenvalue", {"max_subsets": 0}, "max_subsets"),
    ],
)
def test_rules__refuse_parameters_out_of_range(name: str, parameters: dict[str, Any], named: str) -> None:
    with pytest.raises(ParameterError, match=named):
        get_aggregation_rule(name, num_byzantine=1, **parameters)


@pytest.mark.parametrize("name", ["divide-and-conquer", "sign-guard", "flame", "bucketing+mean"])
def test_rules__that_draw_ask_for_a_generator(name: str) -> None:
    with pytest.raises(ParameterError, match="generator must be given"):
        get_aggregation_rule(name, num_byzantine=1).aggregate(drawn(0))


def test_monna__refuses_a_pivot_that_is_no_vector() -> None:
    vectors = drawn(0)
    vectors[2] = np.nan
    with pytest.raises(DecodingError, match="pivot is not finite"):
        get_aggregation_rule("monna", num_byzantine=2, pivot=2).aggregate(vectors)
    with pytest.raises(ParameterError, match="pivot must be a row of 11"):
        get_aggregation_rule("monna", num_byzantine=2, pivot=11).aggregate(vectors)
