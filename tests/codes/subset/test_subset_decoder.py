"""The posterior decoder against the paper's formulas written out, and against all that could break it."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from flower_coded.codes import (
    Decoded,
    SubsetCode,
    SubsetDecoder,
    backdoor_correction_code,
    backdoor_tracking_code,
    confusion_counts,
)
from flower_coded.codes.subset.attack_patterns import attack_patterns
from flower_coded.codes.subset.confusion import log_confusion_rates
from flower_coded.errors import ParameterError


def load_reference() -> ModuleType:
    path = Path(__file__).with_name("naive_subset_decoder.py")
    spec = importlib.util.spec_from_file_location("naive_subset_decoder", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


naive_decode = load_reference().naive_decode


@st.composite
def cases(draw: st.DrawFn) -> tuple[SubsetDecoder, NDArray[np.int64]]:
    generator = np.random.default_rng(draw(st.integers(0, 2**32)))
    num_models, num_users, num_classes = (
        draw(st.integers(1, 7)),
        draw(st.integers(1, 6)),
        draw(st.integers(1, 4)),
    )
    matrix = generator.random((num_models, num_users)) < 0.5
    matrix[~matrix.any(axis=1), 0] = True
    counts = generator.integers(0, 60, (num_models, num_classes, num_classes))
    counts[generator.random(counts.shape) < 0.4] = 0
    decoder = SubsetDecoder(
        SubsetCode(matrix),
        counts,
        attack_rate=draw(st.floats(0.0, 1.0)),
        success_rate=draw(st.floats(0.0, 0.999)),
        attacker_prior=generator.random(draw(st.integers(1, min(4, num_users + 1)))).tolist(),
        device=draw(st.sampled_from([None, "cpu"])),
    )
    return decoder, generator.integers(0, num_classes, (num_models, 4))


@settings(max_examples=25)
@given(cases())
def test_decode__equals_the_papers_formulas(case: tuple[SubsetDecoder, NDArray[np.int64]]) -> None:
    decoder, predictions = case
    decoded = decoder.decode(predictions)
    for sample, answers in enumerate(predictions.T):
        labels, attack, by_attackers = naive_decode(
            decoder.code.matrix,
            decoder.confusion_rates,
            answers,
            decoder.attack_rate,
            decoder.success_rate,
            decoder.attacker_prior,
        )
        np.testing.assert_allclose(decoded.label_probabilities[sample], labels, rtol=0, atol=1e-9)
        assert decoded.attack_probability[sample] == pytest.approx(attack, abs=1e-9)
        likeliest = max(by_attackers.values())
        first = next(users for users, mass in by_attackers.items() if mass >= likeliest * (1 - 1e-9))
        assert (
            tuple(np.flatnonzero(decoded.suspects[sample])) == first
        )  # fewest, then lexicographically first


def counts_of_good_models(num_models: int, num_classes: int = 10, size: int = 5000) -> NDArray[np.int64]:
    rates = np.full((num_classes, num_classes), 0.02 / (num_classes - 1))
    np.fill_diagonal(rates, 0.98)
    return np.tile(np.rint(rates * size / num_classes).astype(np.int64), (num_models, 1, 1))


def attacked(code: SubsetCode, users: list[int], label: int, target: int) -> NDArray[np.int64]:
    return np.where(code.reach(users), target, label)[:, None]


@pytest.mark.parametrize("users", [[], [0], [3], [0, 7], [2, 5], [1, 4, 9]])
def test_decode__restores_the_label_under_any_attack_of_three(users: list[int]) -> None:
    code = backdoor_correction_code(4, 4, 12, rows="paper")
    decoded = SubsetDecoder(code, counts_of_good_models(15)).decode(attacked(code, users, 3, 8))
    assert decoded.labels.tolist() == [3]
    # Clean: an attack by nobody has prior 1/4, one by anybody to the true label 3/40; 0.325/1.325 = 0.245.
    assert decoded.attack_probability[0] > 0.99 if users else 0.2 < decoded.attack_probability[0] < 0.26
    # Users 6 apart have the same column here: suspects reach the same models, and are as few as can be.
    assert np.array_equal(code.reach(np.flatnonzero(decoded.suspects[0])), code.reach(users))


def test_decode__names_every_single_and_every_pair_of_attackers_under_a_tracking_code() -> None:
    code = backdoor_tracking_code(2, 4, 16)
    decoder = SubsetDecoder(code, counts_of_good_models(code.num_models))
    pairs = [[one, other] for one in range(16) for other in range(one, 16)]
    decoded = decoder.decode(np.hstack([attacked(code, users, 1, 6) for users in pairs]))
    named = [np.flatnonzero(row).tolist() for row in decoded.suspects]
    assert named == [sorted(set(users)) for users in pairs]
    assert (decoded.num_alternatives == 1).all()
    assert (decoded.labels == 1).all()


def test_decode__counts_the_sets_that_it_cannot_tell_apart() -> None:
    code = backdoor_correction_code(4, 4, 12, rows="paper")  # user j and user j + 6 have the same column
    decoded = SubsetDecoder(code, counts_of_good_models(15)).decode(attacked(code, [0, 7], 3, 8))
    assert np.flatnonzero(decoded.suspects[0]).tolist() == [0, 1]
    assert decoded.num_alternatives.tolist() == [4]


def test_decode__prefers_the_fewest_attackers_among_equals() -> None:
    # Users 0 and 1 together reach what user 2 reaches alone; Q is uniform over sets, so sizes 1 and 2 tie.
    code = SubsetCode(["101", "011", "001", "110"])
    decoder = SubsetDecoder(code, counts_of_good_models(4, 3), attacker_prior=[0.0, 0.5, 0.5])
    assert np.flatnonzero(decoder.decode(np.array([[1], [1], [1], [0]])).suspects[0]).tolist() == [2]


def check_well_formed(decoded: Decoded) -> None:
    for values in (decoded.label_probabilities, decoded.attack_probability, decoded.num_alternatives):
        assert np.isfinite(values).all()
    np.testing.assert_allclose(decoded.label_probabilities.sum(axis=1), 1.0)
    assert ((decoded.attack_probability >= 0) & (decoded.attack_probability <= 1)).all()
    assert (decoded.num_alternatives >= 1).all()


@pytest.mark.parametrize("device", [None, "cpu"])
@pytest.mark.parametrize("smoothing", [1e-300, 1e-9, 1.0, 1e6])
@pytest.mark.parametrize(
    "confusion",
    [
        np.zeros((15, 10, 10)),  # no validation data at all
        np.tile(np.eye(10)[:, :1] @ np.ones((1, 10)), (15, 1, 1)),  # only class 0 was ever seen
        np.tile(np.eye(10)[0], (15, 10, 1)) * 1e12,  # every model answers class 0, always
        np.tile(np.eye(10), (15, 1, 1)) * 1e300,  # perfect, and enormous counts
        np.tile(np.roll(np.eye(10), 1, axis=1), (15, 1, 1)) * 1000,  # always wrong
    ],
    ids=["no data", "one class seen", "one-class models", "enormous", "always wrong"],
)
def test_decode__is_never_nan(confusion: NDArray[np.float64], smoothing: float, device: str | None) -> None:
    code = backdoor_correction_code(4, 4, 12, rows="paper")
    generator = np.random.default_rng(0)
    predictions = np.hstack([generator.integers(0, 10, (15, 20)), np.tile(np.arange(10), (15, 1))])
    for attack_rate, success_rate in [(0.5, 0.99), (0.0, 0.0), (1.0, 1 - 1e-16), (0.5, 0.0)]:
        decoder = SubsetDecoder(
            code,
            confusion,
            attack_rate=attack_rate,
            success_rate=success_rate,
            smoothing=smoothing,
            device=device,
        )
        check_well_formed(decoder.decode(predictions))


def test_decode__survives_a_hundred_models_that_all_contradict() -> None:
    code = SubsetCode(np.eye(100, dtype=bool))
    decoder = SubsetDecoder(code, counts_of_good_models(100), attacker_prior=[0.5, 0.5])
    check_well_formed(decoder.decode(np.random.default_rng(0).integers(0, 10, (100, 3))))


def test_decode__knows_only_one_class() -> None:
    decoded = SubsetDecoder(SubsetCode(["10", "01"]), np.array([[[5]], [[0]]])).decode([[0, 0], [0, 0]])
    assert decoded.labels.tolist() == [0, 0]
    check_well_formed(decoded)


def test_decode__accepts_an_empty_batch() -> None:
    decoded = SubsetDecoder(SubsetCode(["10", "01"]), np.ones((2, 3, 3))).decode(np.zeros((2, 0), dtype=int))
    assert decoded.label_probabilities.shape == (0, 3)
    assert decoded.suspects.shape == (0, 2)


def test_decode__does_not_depend_on_the_batch() -> None:
    code = backdoor_correction_code(2, 6, 12)
    generator = np.random.default_rng(1)
    decoder = SubsetDecoder(code, generator.integers(0, 100, (6, 10, 10)))
    predictions = generator.integers(0, 4, (6, 300))
    together = decoder.decode(predictions)
    for sample in (0, 17, 299):
        alone = decoder.decode(predictions[:, sample : sample + 1])
        np.testing.assert_allclose(
            alone.label_probabilities[0], together.label_probabilities[sample], atol=1e-12
        )
        assert np.array_equal(alone.suspects[0], together.suspects[sample])


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_decode__gives_on_torch_what_it_gives_on_numpy(device: str) -> None:
    torch = pytest.importorskip("torch")
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device here")
    code = backdoor_correction_code(4, 4, 12, rows="paper")
    generator = np.random.default_rng(2)
    confusion = generator.integers(0, 100, (15, 10, 10))
    predictions = generator.integers(0, 10, (15, 200))
    one = SubsetDecoder(code, confusion).decode(predictions)
    other = SubsetDecoder(code, confusion, device=device).decode(predictions)
    assert np.array_equal(one.labels, other.labels)
    assert np.array_equal(one.suspects, other.suspects)
    np.testing.assert_allclose(one.label_probabilities, other.label_probabilities, rtol=0, atol=1e-9)
    np.testing.assert_allclose(one.attack_probability, other.attack_probability, rtol=0, atol=1e-9)


def test_decoder__refuses_a_device_that_is_not_there() -> None:
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("a CUDA device is here")
    with pytest.raises(ParameterError, match="device must be available; received 'cuda'"):
        SubsetDecoder(SubsetCode(["10", "01"]), np.ones((2, 3, 3)), device="cuda")


def test_smoothing__reads_counts_and_rates() -> None:
    code = SubsetCode(["10", "01"])
    counts = np.array([[[8, 0], [0, 0]], [[1, 3], [2, 2]]])
    # Laplace: (8+1)/(8+2), (0+1)/(8+2); a class without samples is uniform.
    expected = [[[0.9, 0.1], [0.5, 0.5]], [[2 / 6, 4 / 6], [0.5, 0.5]]]
    np.testing.assert_allclose(SubsetDecoder(code, counts).confusion_rates, expected)
    rates = np.array([[[0.75, 0.25], [0.5, 0.5]], [[0.75, 0.25], [0.0, 0.0]]])
    # Rates count as 1000 samples: (750 + 1) / 1002.
    smoothed = SubsetDecoder(code, rates).confusion_rates
    np.testing.assert_allclose(smoothed[:, 0, 0], 751 / 1002)
    np.testing.assert_allclose(smoothed[1, 1], [0.5, 0.5])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"attack_rate": 1.5}, "attack_rate must lie in"),
        ({"attack_rate": float("nan")}, "attack_rate must lie in"),
        ({"success_rate": 1.0}, "success_rate must lie in"),
        ({"success_rate": -0.1}, "success_rate must lie in"),
        ({"smoothing": 0.0}, "smoothing must be above 0"),
        ({"smoothing": float("inf")}, "smoothing must be above 0"),
        ({"attacker_prior": []}, "attacker_prior must list"),
        ({"attacker_prior": [1, 1, 1, 1]}, "attacker_prior must list"),
        ({"attacker_prior": [0.0, 0.0]}, "attacker_prior must be non-negative"),
        ({"attacker_prior": [1.0, -0.5]}, "attacker_prior must be non-negative"),
        ({"confusion": np.ones((3, 3, 3))}, "confusion must have shape"),
        ({"confusion": np.ones((2, 3, 4))}, "confusion must have shape"),
        ({"confusion": np.ones((2, 0, 0))}, "confusion must have at least one class"),
        ({"confusion": np.full((2, 3, 3), np.nan)}, "confusion must be finite"),
        ({"confusion": -np.ones((2, 3, 3))}, "confusion must be finite and non-negative"),
    ],
)
def test_decoder__refuses_bad_parameters(options: dict[str, object], message: str) -> None:
    arguments: dict[str, object] = {"confusion": np.ones((2, 3, 3))} | options
    with pytest.raises(ParameterError, match=message):
        SubsetDecoder(SubsetCode(["10", "01"]), arguments.pop("confusion"), **arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "predictions", [[[0], [3]], [[0], [-1]], [[0.0], [1.0]], [[0], [1], [2]], [0, 1]], ids=str
)
def test_decode__refuses_predictions_that_do_not_fit(predictions: object) -> None:
    decoder = SubsetDecoder(SubsetCode(["10", "01"]), np.ones((2, 3, 3)))
    with pytest.raises(ParameterError, match="predictions must"):
        decoder.decode(predictions)  # type: ignore[arg-type]


@settings(max_examples=25)
@given(st.integers(0, 2**32), st.integers(1, 4), st.integers(1, 6), st.integers(0, 12))
def test_confusion_counts__counts(seed: int, num_models: int, num_classes: int, num_samples: int) -> None:
    generator = np.random.default_rng(seed)
    predictions = generator.integers(0, num_classes, (num_models, num_samples))
    labels = generator.integers(0, num_classes, num_samples)
    counts = confusion_counts(predictions, labels, num_classes)
    expected = np.zeros((num_models, num_classes, num_classes), dtype=np.int64)
    for model in range(num_models):
        for label, answer in zip(labels, predictions[model], strict=True):
            expected[model, label, answer] += 1
    assert np.array_equal(counts, expected)


def test_confusion_counts__refuses_labels_that_do_not_fit() -> None:
    for labels in ([0], [0, 3], [0.5, 1.0]):
        with pytest.raises(ParameterError, match="labels must"):
            confusion_counts([[0, 1]], labels, 3)


def test_attack_patterns__group_all_sets_with_their_prior() -> None:
    code = backdoor_correction_code(4, 4, 12, rows="paper")
    prior = [0.1, 0.2, 0.3, 0.4]
    patterns = attack_patterns(code, prior)
    assert np.exp(patterns.log_prior).sum() == pytest.approx(1.0)
    assert len(patterns.models) == 42  # 1 + 6 + 15 + 20 sums of six distinct columns
    for models, users, size in zip(patterns.models, patterns.users, patterns.num_users, strict=True):
        assert users.sum() == size
        assert np.array_equal(code.reach(np.flatnonzero(users)), models)
    assert patterns.num_users.tolist() == sorted(patterns.num_users.tolist())


def test_attack_patterns__drop_what_has_no_prior() -> None:
    patterns = attack_patterns(SubsetCode(["110", "101", "011"]), [0.0, 1.0])
    assert patterns.num_users.tolist() == [1, 1, 1]
    assert np.isfinite(patterns.log_prior).all()


def test_confusion__is_counts_or_rates_and_nothing_between() -> None:
    almost = np.full((3, 4, 4), 0.02)
    almost[:, np.arange(4), np.arange(4)] = 0.97  # rows sum to 1.03: a few samples to a reader of counts
    with pytest.raises(ParameterError, match=r"whole counts, or rates.*1\.03"):
        log_confusion_rates(almost, 3, 1.0)
    exact = np.tile(np.eye(4), (3, 1, 1))
    assert np.exp(log_confusion_rates(exact, 3, 1.0))[0, 0, 0] > 0.99
    assert np.exp(log_confusion_rates(exact.astype(int), 3, 1.0))[0, 0, 0] == pytest.approx(0.4)
