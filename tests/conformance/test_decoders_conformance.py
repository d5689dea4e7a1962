"""One table of decoders; every decoder passes the same checks. A new decoder adds one row in the package."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from flower_coded.codes import (
    DECODER_NAMES,
    NOTHING_CERTIFIED,
    EnsembleDecoder,
    SubsetCode,
    backdoor_correction_code,
    backdoor_tracking_code,
    make_decoder,
    partition_code,
    random_code,
)
from flower_coded.errors import ParameterError

CODES = {
    "correction": backdoor_correction_code(2, 6, 12),
    "tracking": backdoor_tracking_code(2, 4, 10),
    "partition": partition_code(5, 10),
    "random": random_code(7, 3, 9, seed=1),
    "one model": SubsetCode(["11"]),
}
NUM_CLASSES = 5


@pytest.fixture(params=DECODER_NAMES, ids=str)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=CODES, ids=str)
def code(request: pytest.FixtureRequest) -> SubsetCode:
    return CODES[request.param]


def counts(code: SubsetCode) -> NDArray[np.int64]:
    return np.tile(96 * np.eye(NUM_CLASSES, dtype=np.int64) + 1, (code.num_models, 1, 1))


@pytest.fixture
def decoder(name: str, code: SubsetCode) -> EnsembleDecoder:
    return make_decoder(name, code, counts(code))


def some_answers(code: SubsetCode, seed: int = 0) -> NDArray[np.int64]:
    """Mostly agreeing answers, some noise, and one user's backdoor in half of the samples."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, NUM_CLASSES, 40)
    answers = np.tile(labels, (code.num_models, 1))
    is_wrong = generator.random(answers.shape) < 0.05
    answers[is_wrong] = generator.integers(0, NUM_CLASSES, int(is_wrong.sum()))
    answers[np.ix_(code.reach([0]), np.arange(0, 40, 2))] = 1
    return answers


def test_decoder__gives_a_well_formed_answer(decoder: EnsembleDecoder) -> None:
    answers = some_answers(decoder.code)
    before = answers.copy()
    decoded = decoder.decode(answers)
    assert np.array_equal(answers, before)
    number, num_users = answers.shape[1], decoder.code.num_users
    assert decoded.labels.dtype == np.int64
    assert decoded.labels.shape == (number,)
    np.testing.assert_allclose(decoded.label_probabilities.sum(axis=1), 1.0)
    assert np.array_equal(decoded.label_probabilities.argmax(axis=1), decoded.labels)
    assert ((decoded.label_probabilities >= 0) & (decoded.label_probabilities <= 1)).all()
    assert ((decoded.attack_probability >= 0) & (decoded.attack_probability <= 1)).all()
    assert decoded.suspects.shape == decoded.named.shape == (number, num_users)
    assert decoded.suspects.dtype == decoded.named.dtype == np.bool_
    assert (decoded.num_alternatives >= 1).all()
    assert (decoded.certified >= NOTHING_CERTIFIED).all()


def test_decoder__takes_any_batch_of_a_stream_alike(decoder: EnsembleDecoder) -> None:
    answers = some_answers(decoder.code)
    memory = decoder.observe(decoder.init(), answers)
    whole = decoder.decode(answers, memory)
    halves = [decoder.decode(half, memory) for half in (answers[:, :13], answers[:, 13:])]
    assert np.array_equal(whole.labels, np.concatenate([half.labels for half in halves]))
    assert np.array_equal(whole.named, np.concatenate([half.named for half in halves]))
    np.testing.assert_allclose(
        whole.label_probabilities, np.concatenate([half.label_probabilities for half in halves]), atol=1e-12
    )


def test_decoder__without_a_memory_learns_from_the_batch(decoder: EnsembleDecoder) -> None:
    answers = some_answers(decoder.code)
    alone = decoder.decode(answers)
    learned = decoder.decode(answers, decoder.observe(decoder.init(), answers))
    assert np.array_equal(alone.labels, learned.labels)
    assert np.array_equal(alone.attack_probability, learned.attack_probability)


def test_decoder__does_not_change_by_what_it_sees(decoder: EnsembleDecoder) -> None:
    answers, other = some_answers(decoder.code), some_answers(decoder.code, seed=1)
    memory = decoder.observe(decoder.init(), answers)
    first = decoder.decode(answers, memory)
    decoder.observe(memory, other)
    again = decoder.decode(answers, memory)
    assert np.array_equal(first.labels, again.labels)
    assert np.array_equal(first.label_probabilities, again.label_probabilities)


def test_decoder__agrees_with_models_that_agree(decoder: EnsembleDecoder) -> None:
    answers = np.tile(np.arange(NUM_CLASSES), (decoder.code.num_models, 1))
    decoded = decoder.decode(answers)
    assert decoded.labels.tolist() == list(range(NUM_CLASSES))
    assert not decoded.named.any()


def test_decoder__decodes_nothing_to_nothing(decoder: EnsembleDecoder) -> None:
    decoded = decoder.decode(np.empty((decoder.code.num_models, 0), dtype=np.int64))
    assert decoded.labels.shape == (0,)
    assert decoded.named.shape == (0, decoder.code.num_users)


def test_decoder__has_a_repr_that_names_the_code(decoder: EnsembleDecoder) -> None:
    assert decoder.code.name in repr(decoder)


@pytest.mark.parametrize(
    "predictions", [[[0]], [[0.5] * 2] * 6, [[7]] * 6, [[-1]] * 6, [0] * 6, np.zeros((5, 2), dtype=int)]
)
def test_decoder__refuses_what_its_models_cannot_have_answered(name: str, predictions: object) -> None:
    code = CODES["correction"]
    with pytest.raises(ParameterError):
        make_decoder(name, code, counts(code)).decode(predictions)  # type: ignore[arg-type]


@pytest.mark.parametrize("confusion", [np.ones((3, 5, 5)), np.ones((6, 5, 4)), np.ones((6, 5))])
def test_decoder__refuses_matrices_of_another_ensemble(name: str, confusion: NDArray[np.float64]) -> None:
    with pytest.raises(ParameterError, match="confusion must"):
        make_decoder(name, CODES["correction"], confusion)


def test_make_decoder__refuses_names_and_options_nobody_has(name: str) -> None:
    code = CODES["correction"]
    with pytest.raises(ParameterError, match="decoder must be one of"):
        make_decoder("fair", code, counts(code))
    with pytest.raises(ParameterError, match="decoder option colour must be among"):
        make_decoder(name, code, counts(code), {"colour": "red"})
