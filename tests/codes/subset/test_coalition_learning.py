"""Likelihoods against their formulas, and what is learned of a stream: in parts, in either precision."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from coded_answers import NUM_CLASSES, confusion, stream
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from flower_coded.codes import JointDecoder, SubsetCode, backdoor_correction_code
from flower_coded.codes.subset import answer_likelihood as likelihoods
from flower_coded.codes.subset import coalition_learning, joint_decoder
from flower_coded.codes.subset.answer_memory import AnswerMemory
from flower_coded.codes.subset.attacker_sets import attacker_sets
from flower_coded.codes.subset.coalition_learning import _Stream


def load_naive() -> ModuleType:
    path = Path(__file__).with_name("naive_answer_likelihood.py")
    spec = importlib.util.spec_from_file_location("naive_answer_likelihood", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


naive = load_naive()


def small_ensemble(seed: int) -> tuple[SubsetCode, NDArray[np.float64], NDArray[np.int64]]:
    """A code whose columns differ, rates, and answers (m, B) with c = 3."""
    generator = np.random.default_rng(seed)
    while True:
        matrix = generator.random((5, 4)) < 0.5
        if matrix.any(axis=1).all() and len(np.unique(matrix.T, axis=0)) == 4:
            break
    rates = generator.dirichlet([0.5] * 3, (5, 3)) + 0.02
    return SubsetCode(matrix), rates / rates.sum(axis=2, keepdims=True), generator.integers(0, 3, (5, 6))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32))
def test_likelihoods__equal_the_formulas(seed: int) -> None:
    code, rates, answers = small_ensemble(seed)
    values = np.array([0.0, 0.5, 0.9])
    likelihood = likelihoods.AnswerLikelihood(np.log(rates), attacker_sets(code, 2), values)
    clean = likelihood.log_clean(answers.T)
    blocks = likelihood.blocks(answers.T, clean)
    new, hard = likelihood.log_new_attack(blocks, 6), likelihood.log_hard(blocks, 6)
    chosen = np.random.default_rng(seed).integers(0, 3, 5)
    reach = code.reach([1])
    for target, block in enumerate(blocks):
        shares = np.eye(3)[chosen][None, :, :, None]  # one trigger, one set
        terms = likelihood.attack_terms(block, target, reach[None].astype(float), shares)
        for place, sample in enumerate(block.index):
            for label in range(3):
                expected = naive.attack_likelihood(
                    rates, answers[:, sample], label, target, reach, values[chosen]
                )
                assert np.exp(terms[0, label, place, 0]) == pytest.approx(expected, rel=1e-9)
    for sample in range(6):
        for label in range(3):
            y = answers[:, sample]
            expected = naive.new_attack_likelihood(code.matrix, rates, y, label, 2)
            assert np.exp(new[sample, label]) == pytest.approx(expected, rel=1e-9)
            expected = naive.hard_likelihood(rates, y, label, likelihoods._HARD_RATES)
            assert np.exp(hard[sample, label]) == pytest.approx(expected, rel=1e-9)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32))
def test_learning__never_lowers_the_evidence(seed: int) -> None:
    code, rates, answers = small_ensemble(seed)
    sets = attacker_sets(code, 2)
    likelihood = likelihoods.AnswerLikelihood(np.log(rates), sets, np.array([0.0, 0.5, 0.9]))
    memory = AnswerMemory.empty(5).extended(answers, num_classes=3, capacity=100)
    stream, reach = _Stream(likelihood, memory), sets.reach.astype(float)
    climb = stream.step(stream.start(reach), reach)
    for _ in range(8):
        further = stream.step(climb, reach)
        assert (further.evidence >= climb.evidence - 1e-4).all()  # the large arrays have single precision
        climb = further


TOLERANCES = {  # nats, and shares
    "log_evidence": 0.02,
    "log_proof": 0.02,
    "model_evidence": 0.02,
    "shares": 1e-5,
    "obedience_shares": 1e-4,
}


def test_learning__in_parts_is_learning_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    code = backdoor_correction_code(4, 4, 12)  # no two users alike: 794 coalitions
    decoder = JointDecoder(code, confusion(14))
    answers = stream(np.arange(200) % NUM_CLASSES, code.reach([2, 7]), 3)
    memory, learned = decoder.observe(None, answers).memory, []
    for entries, most in ((1 << 60, None), (1 << 18, 10), (1, 1)):
        monkeypatch.setattr(coalition_learning, "_BLOCK_ENTRIES", entries)
        at_once = _Stream(decoder._likelihood, memory).coalitions_at_once()
        assert at_once >= 794 if most is None else at_once <= most
        learned.append(decoder.observe(None, answers).coalitions)
    for in_parts in learned[1:]:
        assert_alike(in_parts, learned[0])


@pytest.mark.parametrize("is_empty", [False, True])
def test_learning__in_single_precision_is_that_in_double(
    monkeypatch: pytest.MonkeyPatch, is_empty: bool
) -> None:
    code = backdoor_correction_code(4, 4, 12, rows="paper")
    decoder = JointDecoder(code, confusion(15))
    answers = stream(np.arange(0 if is_empty else 600) % NUM_CLASSES, code.reach([1, 2]), 5)
    single = decoder.observe(None, answers).coalitions
    monkeypatch.setattr(likelihoods.TargetBlock, "astype", lambda block, dtype: block)
    assert_alike(single, decoder.observe(None, answers).coalitions)


def test_learning__keeps_the_best_of_either_prior_and_nobody() -> None:
    code = backdoor_correction_code(4, 4, 12)
    decoder = JointDecoder(code, confusion(14))
    memory = decoder.observe(None, stream(np.arange(200) % NUM_CLASSES, code.reach([2, 7]), 3)).memory
    sets = decoder._sets
    unlikely = -1e4 * np.isin(sets.size, [1, 2])  # for labels; for accusations nobody else is likely
    kept = coalition_learning.learn_coalitions(
        decoder._likelihood, sets.reach, unlikely, -1e4 * (sets.size > 2), memory
    ).kept
    assert kept[0] > 0
    assert set(sets.size[kept]) >= {0, 2, 3}


def assert_alike(found: coalition_learning.Coalitions, expected: coalition_learning.Coalitions) -> None:
    orders = [np.argsort(each.kept) for each in (found, expected)]  # of equals either may come first
    np.testing.assert_array_equal(found.kept[orders[0]], expected.kept[orders[1]])
    assert found.kept[0] == expected.kept[0]
    for name, tolerance in TOLERANCES.items():
        pair = (getattr(found, name), getattr(expected, name))
        if not name.startswith("log"):  # a row for each that is kept
            pair = (pair[0][orders[0]], pair[1][orders[1]])
        np.testing.assert_allclose(*pair, rtol=1e-5, atol=tolerance, err_msg=name)


def test_learning__of_few_vectors_is_in_parts_too() -> None:
    decoder = JointDecoder(backdoor_correction_code(4, 4, 12), confusion(14))
    nothing = AnswerMemory.empty(14)
    copies = 12 * coalition_learning.TRIGGERS * NUM_CLASSES * 14 * len(joint_decoder.OBEDIENCE)
    at_once = _Stream(decoder._likelihood, nothing).coalitions_at_once()
    assert at_once * copies <= coalition_learning._BLOCK_ENTRIES
