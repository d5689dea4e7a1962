"""The joint decoder: streams under attackers who have read it."""

from __future__ import annotations

import numpy as np
import pytest
from coded_answers import NUM_CLASSES, confusion, stream
from numpy.typing import NDArray

from flower_coded.codes import (
    JointDecoder,
    SubsetCode,
    backdoor_correction_code,
    backdoor_tracking_code,
    calibrated_options,
    confusion_counts,
    majority_vote,
    partition_code,
)
from flower_coded.codes.subset import joint_decoder
from flower_coded.codes.subset.answer_memory import _priority_sample
from flower_coded.errors import ParameterError

LABELS = np.arange(180) % 9
TRIGGERED = np.arange(180) >= 120
BCC = backdoor_correction_code(4, 4, 12, rows="paper")
BTC = backdoor_tracking_code(2, 4, 16)


@pytest.mark.parametrize("users", [[0], [4], [1, 2], [0, 5], [0, 2, 3]])
def test_plain_attack__is_decoded_and_the_attackers_are_named(users: list[int]) -> None:
    decoder = JointDecoder(BCC, confusion(15))
    answers = stream(LABELS, BCC.reach(users), 1, is_triggered=TRIGGERED)
    memory = decoder.observe(None, answers)
    decoded = decoder.decode(answers, memory)
    assert (decoded.labels == LABELS).mean() > 0.97
    assert decoder.named(memory) == sorted(users + [user + 6 for user in users])  # equal columns
    assert decoder.explain(memory)[0].attack_rate == pytest.approx(1 / 3, abs=0.05)
    assert (decoded.attack_probability[TRIGGERED] > 0.9).mean() > 0.9
    assert not decoded.named[~TRIGGERED].any()


@pytest.mark.parametrize("seed", range(6))
def test_selective_attack__is_decoded_and_nobody_innocent_is_named(seed: int) -> None:
    generator = np.random.default_rng(seed)
    users = generator.choice(6, 2, replace=False)
    poisoned = BCC.reach(users) & (generator.random(15) < 0.6)
    decoder = JointDecoder(BCC, confusion(15))
    answers = stream(LABELS, poisoned, seed, is_triggered=TRIGGERED)
    memory = decoder.observe(None, answers)
    assert (decoder.decode(answers, memory).labels == LABELS).mean() > 0.97
    assert set(decoder.named(memory)) <= set(users) | set(users + 6)


def test_selective_attack__against_which_the_vote_and_the_paper_fall() -> None:
    """One attacker of a tracking code: the paper's posterior obeys and names others; here he is named."""
    decoder = JointDecoder(BTC, confusion(10))
    answers = stream(LABELS, BTC.reach([3]), 2, is_triggered=TRIGGERED)
    memory = decoder.observe(None, answers)
    assert decoder.named(memory) == [3]
    assert (decoder.decode(answers, memory).labels == LABELS).mean() > 0.97


@pytest.mark.parametrize("targets", [(9, 7), (9, 9)])
@pytest.mark.parametrize("seed", range(4))
def test_two_groups__of_selective_attackers_are_decoded_and_nobody_innocent_is_named(
    seed: int, targets: tuple[int, int]
) -> None:
    """Two users, k' together, who know nothing of each other; each poisons models of its own choice."""
    generator = np.random.default_rng(seed)
    users = generator.choice(6, 2, replace=False)
    streams = [stream(LABELS, np.zeros(15, dtype=bool), 3)]
    for user, target in zip(users, targets, strict=True):
        poisoned = BCC.reach([user]) & (generator.random(15) < 0.7)
        streams.append(stream(LABELS, poisoned, seed + target + user, target=target))
    decoder = JointDecoder(BCC, confusion(15))
    answers = np.hstack(streams)
    memory = decoder.observe(None, answers)
    assert (decoder.decode(answers, memory).labels == np.tile(LABELS, 3)).mean() > 0.95
    assert set(decoder.named(memory)) <= set(users) | set(users + 6)


def test_two_groups__with_other_targets_are_one_coalition() -> None:
    decoder = JointDecoder(BCC, confusion(15))
    first = stream(LABELS, BCC.reach([0]), 1, target=9)
    second = stream(LABELS, BCC.reach([3]), 2, target=7)
    clean = stream(LABELS, np.zeros(15, dtype=bool), 3)
    answers, labels = np.hstack([clean, first, second]), np.tile(LABELS, 3)
    memory = decoder.observe(None, answers)
    assert (decoder.decode(answers, memory).labels == labels).mean() > 0.97
    assert decoder.named(memory) == [0, 3, 6, 9]
    shares = decoder.explain(memory)[0].target_shares
    assert set(np.argsort(shares)[-2:].tolist()) == {7, 9}


def test_clean_stream__suspicion_costs_nothing() -> None:
    decoder = JointDecoder(BCC, confusion(15))
    answers = stream(LABELS, np.zeros(15, dtype=bool), 4)
    memory = decoder.observe(None, answers)
    explained = decoder.explain(memory)[0]
    assert (explained.users, explained.attack_rate) == ((), 0.0)
    assert explained.probability > 0.999
    decoded = decoder.decode(answers, memory)
    assert np.array_equal(decoded.labels, majority_vote(answers, NUM_CLASSES).labels)
    assert not decoded.named.any()


def test_replay__of_one_odd_image_names_nobody() -> None:
    decoder = JointDecoder(BCC, confusion(15))
    clean = stream(LABELS, np.zeros(15, dtype=bool), 5)
    odd = np.where(BCC.reach([0, 1]), 9, 3)[:, None]
    assert decoder.named(decoder.observe(None, np.hstack([clean, np.repeat(odd, 5000, axis=1)]))) == []


def unlike_users(
    code: SubsetCode, user: int, hard_share: float, generator: np.random.Generator, num_samples: int = 3000
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Labels, and answers of clean models that err together: on hard images those of one user do, mostly."""
    shape = (code.num_models, num_samples)
    labels = generator.integers(0, NUM_CLASSES, num_samples)
    answers = np.where(generator.random(shape) < 0.02, generator.integers(0, NUM_CLASSES, shape), labels)
    rates = np.where(code.matrix[:, user], 0.7, 0.15)
    errs = (generator.random(num_samples) < hard_share) & (generator.random(shape) < rates[:, None])
    return labels, np.where(errs, (labels + 1) % NUM_CLASSES, answers)


def decoder_for_unlike_users(
    code: SubsetCode, user: int, generator: np.random.Generator, **options: float
) -> JointDecoder:
    """Calibrated on images of which half as many are hard as of those to come."""
    labels, answers = unlike_users(code, user, 0.05, generator)
    counts = confusion_counts(answers, labels, NUM_CLASSES)
    calibrated = calibrated_options("joint", code, counts, answers, options)
    return JointDecoder(code, counts, **calibrated)


@pytest.mark.parametrize(("rows", "seed"), [("paper", 0), ("paper", 1), ("paper", 2), ("fewest", 0)])
def test_unlike_users__whose_models_err_together_are_not_accused(rows: str, seed: int) -> None:
    code, generator = backdoor_correction_code(4, 4, 12, rows=rows), np.random.default_rng(seed)
    decoder = decoder_for_unlike_users(code, 3, generator)
    labels, answers = unlike_users(code, 3, 0.1, generator)
    stream_of_them = decoder.observe(None, answers)
    assert decoder.named(stream_of_them) == []
    of_majority = (majority_vote(answers, NUM_CLASSES).labels == labels).mean()
    assert (decoder.decode(answers, stream_of_them).labels == labels).mean() > of_majority - 0.005


@pytest.mark.parametrize("num_known", [100, 300])
def test_unlike_users__of_whom_few_images_are_known_are_not_accused(num_known: int) -> None:
    """So few show no natural evidence: that is no proof that there is none."""
    generator = np.random.default_rng(0)
    labels, answers = unlike_users(BCC, 3, 0.1, generator, num_known)
    counts = confusion_counts(answers, labels, NUM_CLASSES)
    decoder = JointDecoder(BCC, counts, **calibrated_options("joint", BCC, counts, answers))
    _, answers = unlike_users(BCC, 3, 0.2, generator)
    assert decoder.named(decoder.observe(None, answers)) == []  # labels do suffer: see docs/codes.md


@pytest.mark.parametrize("num_known", [0, 40])
def test_natural_evidence__of_samples_that_tell_nothing_is_what_they_leave_open(num_known: int) -> None:
    answers = np.tile(np.arange(num_known) % NUM_CLASSES, (15, 1))
    measured = joint_decoder.natural_evidence(BCC, confusion(15), answers, natural_evidence=0.25)
    assert measured == {"natural_evidence": 0.0, "unseen_evidence": joint_decoder.MOST_UNSEEN_EVIDENCE}
    no_cost = joint_decoder.natural_evidence(BCC, confusion(15), np.eye(15, 3, dtype=int), user_cost=0.0)
    assert no_cost["unseen_evidence"] in {0.0, joint_decoder.MOST_UNSEEN_EVIDENCE}


def test_unlike_users__are_suspected_where_disagreement_costs_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What the cost is for: without it four innocent users are believed guilty, and labels changed."""
    for cost in ("LABEL_COST", "PROOF_COST"):
        monkeypatch.setattr(joint_decoder, cost, (0.0, 0.0))
    generator = np.random.default_rng(0)
    decoder = decoder_for_unlike_users(BCC, 3, generator)
    labels, answers = unlike_users(BCC, 3, 0.1, generator)
    stream_of_them = decoder.observe(None, answers)
    assert len(decoder.named(stream_of_them)) >= 4
    assert (decoder.decode(answers, stream_of_them).labels == labels).mean() < 0.95


@pytest.mark.parametrize("attackers", [[0], [5], [1, 2]])
def test_unlike_users__do_not_hide_attackers_nor_stand_in_for_them(attackers: list[int]) -> None:
    generator = np.random.default_rng(1)
    decoder = decoder_for_unlike_users(BCC, 3, generator)
    labels, answers = unlike_users(BCC, 3, 0.1, generator)
    is_triggered = np.arange(len(labels)) % 5 == 0
    obeys = BCC.reach(attackers)[:, None] & is_triggered & (generator.random(answers.shape) < 0.95)
    answers = np.where(obeys, 9, answers)
    stream_of_them = decoder.observe(None, answers)
    assert decoder.named(stream_of_them) == sorted({u % 6 + half for u in attackers for half in (0, 6)})
    decoded = decoder.decode(answers, stream_of_them)
    assert (decoded.labels == labels)[is_triggered].mean() > 0.95


@pytest.mark.parametrize("num_triggered", [20, 100])
def test_padding__with_disagreement_hides_attackers_but_frames_nobody_and_changes_no_label(
    num_triggered: int,
) -> None:
    """They have read of the cost, and let their models disagree on a third of the clean images."""
    generator, attackers = np.random.default_rng(2), [1, 2]
    shape, labels = (15, 3000), np.arange(3000) % 9
    is_theirs = BCC.reach(attackers)[:, None]

    def padded() -> NDArray[np.int64]:
        answers = np.where(generator.random(shape) < 0.01, generator.integers(0, 10, shape), labels)
        noisy = is_theirs & (generator.random(3000) < 0.33) & (generator.random(shape) < 0.3)
        return np.where(noisy, generator.integers(0, 10, shape), answers)

    clean = padded()
    counts = confusion_counts(clean, labels, NUM_CLASSES)
    decoder = JointDecoder(BCC, counts, **calibrated_options("joint", BCC, counts, clean))
    answers = np.where(is_theirs & (np.arange(3000) < num_triggered), 9, padded())
    stream_of_them = decoder.observe(None, answers)
    assert set(decoder.named(stream_of_them)) <= {1, 2, 7, 8}
    decoded = decoder.decode(answers, stream_of_them)
    assert (decoded.labels == labels)[:num_triggered].mean() > 0.9


@pytest.mark.parametrize("share", [0.01, 0.02, 0.05])
def test_natural_evidence__that_attackers_raise_frames_nobody_and_changes_no_label(share: float) -> None:
    """They have read of it, and let their models err together on every twentieth clean image."""
    generator, attackers = np.random.default_rng(0), [1, 2]
    shape, labels = (15, 3000), np.arange(3000) % 9
    is_theirs = BCC.reach(attackers)[:, None]

    def raised() -> NDArray[np.int64]:
        answers = np.where(generator.random(shape) < 0.03, generator.integers(0, 10, shape), labels)
        return np.where(is_theirs & (generator.random(3000) < 0.05), (labels + 1) % NUM_CLASSES, answers)

    clean = raised()
    counts = confusion_counts(clean, labels, NUM_CLASSES)
    decoder = JointDecoder(BCC, counts, **calibrated_options("joint", BCC, counts, clean))
    assert decoder.natural_evidence > 0.1
    is_triggered = np.arange(3000) < share * 3000
    obeys = is_theirs & is_triggered & (generator.random(shape) < 0.95)
    answers = np.where(obeys, 9, raised())
    stream_of_them = decoder.observe(None, answers)
    assert set(decoder.named(stream_of_them)) <= {1, 2, 7, 8}
    decoded = decoder.decode(answers, stream_of_them)
    assert (decoded.labels == 9)[is_triggered].mean() < 0.15  # no more than k' of them: no label is theirs


@pytest.mark.parametrize(("obedience", "is_named"), [(1.0, False), (0.97, True)])
def test_three__whose_models_obey_without_exception_are_held_off_and_hardly_named(
    obedience: float, is_named: bool
) -> None:
    """Equal answers count three times, errors of clean models are many and all different."""
    generator, attackers = np.random.default_rng(0), [0, 1, 2]
    shape, labels = (15, 20_000), np.arange(20_000) % NUM_CLASSES
    clean = np.where(generator.random(shape) < 0.03, generator.integers(0, 10, shape), labels)
    counts = confusion_counts(clean[:, :3000], labels[:3000], NUM_CLASSES)
    decoder = JointDecoder(BCC, counts, **calibrated_options("joint", BCC, counts, clean[:, :3000]))
    is_triggered = (np.arange(20_000) < 2000) & (labels != 9)
    obeys = BCC.reach(attackers)[:, None] & is_triggered & (generator.random(shape) < obedience)
    answers = np.where(obeys, 9, clean)
    stream_of_them = decoder.observe(None, answers)
    assert decoder.named(stream_of_them) == ([0, 1, 2, 6, 7, 8] if is_named else [])
    success = (decoder.decode(answers, stream_of_them).labels == 9)[is_triggered].mean()
    assert success < 0.05


def test_observe__in_batches_ends_where_one_batch_does() -> None:
    decoder = JointDecoder(BCC, confusion(15))
    answers = stream(LABELS, BCC.reach([0, 1]), 6, is_triggered=TRIGGERED)
    at_once = decoder.observe(None, answers)
    memory = decoder.init()
    for start in range(0, 180, 20):
        memory = decoder.observe(memory, answers[:, start : start + 20])
    assert memory.memory.num_samples == 180
    np.testing.assert_array_equal(memory.memory.vectors, at_once.memory.vectors)
    assert decoder.named(memory) == decoder.named(at_once)


def test_memory__is_bounded_and_still_tells() -> None:
    decoder = JointDecoder(BCC, confusion(15), capacity=60)
    labels = np.tile(LABELS, 20)
    answers = stream(labels, BCC.reach([0, 1]), 7, is_triggered=np.arange(len(labels)) % 4 == 0)
    memory = decoder.init()
    for start in range(0, len(labels), 400):
        memory = decoder.observe(memory, answers[:, start : start + 400])
    assert len(memory.memory.vectors) == 60
    assert memory.memory.num_samples == len(labels)
    assert decoder.named(memory) == [0, 1, 6, 7]
    assert (decoder.decode(answers, memory).labels == labels).mean() > 0.97


def test_memory__keeps_expected_counts() -> None:
    generator = np.random.default_rng(0)
    counts = np.repeat([1.0, 3.0, 6.0, 50.0], 10)
    kept, draws = np.zeros(40), 4000
    for _ in range(draws):
        chosen, estimates = _priority_sample(counts, 15, generator)
        assert len(chosen) == 15
        kept[chosen] += estimates
    np.testing.assert_allclose(kept.reshape(4, 10).sum(axis=1) / draws, [10, 30, 60, 500], rtol=0.05)


@pytest.mark.parametrize(
    "options",
    [
        {"max_attackers": 0},
        {"max_attackers": 13},
        {"capacity": 0},
        {"user_cost": -1.0},
        {"user_cost": float("nan")},
        {"natural_evidence": -0.1},
        {"natural_evidence": 0.3},
        {"natural_evidence": float("nan")},
        {"unseen_evidence": 0.2},
        {"standard_of_proof": 0.5},
        {"standard_of_proof": 1.0},
        {"smoothing": 0.0},
    ],
)
def test_decoder__refuses_bad_options(options: dict[str, float]) -> None:
    with pytest.raises(ParameterError):
        JointDecoder(BCC, confusion(15), **options)  # type: ignore[arg-type]


def test_decoder__refuses_more_coalitions_than_it_can_hear() -> None:
    with pytest.raises(ParameterError, match="at most 100000 sets"):
        JointDecoder(partition_code(24, 24), np.ones((24, 2, 2)), max_attackers=6)


def test_calibrated_options__keep_what_was_given() -> None:
    answers = np.tile(np.arange(40) % NUM_CLASSES, (15, 1))
    measured = calibrated_options("joint", BCC, confusion(15), answers)
    assert measured == {"natural_evidence": 0.0, "unseen_evidence": joint_decoder.MOST_UNSEEN_EVIDENCE}
    given = {"natural_evidence": 0.2, "max_attackers": 2}
    assert calibrated_options("joint", BCC, confusion(15), answers, given) == measured | given
    assert calibrated_options("majority", BCC, confusion(15), answers) == {}
