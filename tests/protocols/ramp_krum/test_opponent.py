"""Attacks by somebody who has read the code: each fails, and its author is named, at several sizes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from flower_coded.attacks.ramp_krum_deviations import FalseComplaints, SilentFrom
from flower_coded.attacks.ramp_krum_updates import (
    Deviation,
    HiddenElementUpdate,
    SpikeUpdate,
    field_square_root,
)
from flower_coded.crypto.field_vectors import (
    FIELD_MODULUS,
    FieldArray,
    add,
    from_ints,
    from_signed_int64,
    to_ints,
    to_signed_ints,
)
from flower_coded.crypto.ramp_sharing import RampSharing
from flower_coded.crypto.srs import ReferenceString
from flower_coded.errors import ParameterError
from flower_coded.protocols.ramp_krum.commitments import Schemes
from flower_coded.protocols.ramp_krum.dealing import draw_slack, update_to_parts
from flower_coded.protocols.ramp_krum.parameters import RampKrumParameters
from flower_coded.protocols.ramp_krum.range_check import (
    draw_range_masks,
    is_in_range,
    random_subsets,
    subset_sums,
)
from flower_coded.protocols.ramp_krum.server_result import RoundOutcome
from flower_coded.protocols.ramp_krum.simulation import run_round

# N, K, T, A, D, m: the sizes of the attacks as they were found, as far as T >= A allows, and others.
SIZES = [(12, 2, 2, 2, 1, 4), (11, 1, 1, 1, 2, 3), (18, 3, 3, 3, 1, 5)]


def make(size: tuple[int, ...], length: int) -> tuple[RampKrumParameters, dict[int, np.ndarray]]:
    """Parameters with every default, and updates whose entries have a tenth of the clipping bound."""
    n, k, t, a, d, m = size
    parameters = RampKrumParameters(
        RampSharing(n, k, t, a, d), num_selected=m, length=length, chunk_size=64, hides_products=False
    )
    limit = parameters.fixed_point.max_integer
    generator = np.random.default_rng(5)
    return parameters, {
        user: np.clip(np.rint(generator.normal(0, 0.1 * limit, length)), -limit, limit).astype(np.int64)
        for user in range(n)
    }


def play(
    parameters: RampKrumParameters,
    reference: ReferenceString,
    updates: dict[int, np.ndarray],
    deviations: dict[int, Deviation],
) -> RoundOutcome:
    outcome = run_round(Schemes.create(parameters, reference), updates, deviations=deviations).outcome
    assert outcome is not None
    assert (outcome.total == sum(updates[user] for user in outcome.selection.users)).all()
    return outcome


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("factor", [0.9, 1.1, 30.0])
def test_spike__of_about_m_clipping_bounds_is_named_before_selection(
    clear_reference: ReferenceString, size: tuple[int, ...], factor: float
) -> None:
    parameters, updates = make(size, 400)
    spike = SpikeUpdate(int(factor * parameters.num_selected * parameters.fixed_point.max_integer))
    author = size[0] - 1
    outcome = play(parameters, clear_reference, updates, {author: spike})
    assert outcome.status.liars == (author,)
    assert "norm of a block" in outcome.status.misbehavior[0].reason
    assert author not in outcome.selection.scores


@pytest.mark.parametrize("size", SIZES[:2])
def test_padding__or_two_canceling_elements_bring_nobody_nearer(
    clear_reference: ReferenceString, size: tuple[int, ...]
) -> None:
    parameters, updates = make(size, 41)
    pair = [HiddenElementUpdate(is_live=True), HiddenElementUpdate(is_live=True, sign=-1)]
    liars: dict[int, Deviation] = {size[0] - 1: HiddenElementUpdate()}
    for user, deviation in zip(range(size[3]), pair, strict=False):
        outcome = play(parameters, clear_reference, updates, {user: deviation})
        assert outcome.status.liars == (user,)
    outcome = play(parameters, clear_reference, updates, liars)
    assert outcome.status.liars == tuple(liars)


@pytest.mark.parametrize("size", [(9, 1, 2, 2, 0, 2), *SIZES])
def test_disputes__leave_every_update_unread_by_the_server(
    clear_reference: ReferenceString, monkeypatch: pytest.MonkeyPatch, size: tuple[int, ...]
) -> None:
    """Two liars complain about everybody: what the server is shown never rebuilds an update."""
    from flower_coded.protocols.ramp_krum import server_disputes

    parameters, updates = make(size, 40)
    seen: dict[int, set[int]] = {}
    real = server_disputes.reopen_box

    def reopen(box: bytes, opening: bytes, key: bytes, context: object) -> bytes:
        seen.setdefault(context.sender, set()).add(context.receiver)  # type: ignore[attr-defined]
        return real(box, opening, key, context)  # type: ignore[arg-type]

    monkeypatch.setattr(server_disputes, "reopen_box", reopen)
    liars = range(size[0] - size[3], size[0])
    outcome = play(parameters, clear_reference, updates, {user: FalseComplaints() for user in liars})
    assert outcome.status.liars == tuple(liars)
    assert max(map(len, seen.values())) <= parameters.sharing.num_colluders  # which tells nothing at all
    assert sum(map(len, seen.values())) <= size[3]


def test_disputes__are_why_t_is_at_least_a() -> None:
    with pytest.raises(ParameterError, match="more than T shares tell it something"):
        RampKrumParameters(RampSharing(9, 1, 1, 2, 0), num_selected=2, length=40)


@pytest.mark.parametrize("size", SIZES)
def test_silence__of_liars_beside_that_of_drop_outs_is_survived(
    clear_reference: ReferenceString, size: tuple[int, ...]
) -> None:
    parameters, updates = make(size, 40)
    mute = {user: SilentFrom("keys") for user in range(size[3] + size[4])}
    outcome = play(parameters, clear_reference, updates, dict(mute))
    assert outcome.status.absent == tuple(mute)
    assert outcome.num_attackers == 0  # whoever is silent beyond D is one of the A


def test_probe__reads_an_entry_of_every_honest_user_as_the_pages_say(
    clear_reference: ReferenceString,
) -> None:
    """Two colluders with 0 and c e_j: distances are measurements of their choice. No fault to mend."""
    parameters, updates = make(SIZES[0], 60)
    c = parameters.fixed_point.max_integer
    updates[10], updates[11] = np.zeros(60, dtype=np.int64), np.zeros(60, dtype=np.int64)
    updates[11][17] = c
    distances = play(parameters, clear_reference, updates, {}).distances
    read = [(distances[i, 10] - distances[i, 11] + c * c) // (2 * c) for i in range(10)]
    assert read == [int(updates[i][17]) for i in range(10)]


def craft(
    parameters: RampKrumParameters, honest: np.ndarray, generator: np.random.Generator
) -> tuple[FieldArray, FieldArray]:
    """An update of random dishonesty, and the slack that serves it best."""
    bounded = parameters.norm_check.bound_integers(honest)
    parts, slack = update_to_parts(parameters, bounded), draw_slack(parameters, bounded)
    k, columns = parts.shape[:2]
    number = int(generator.integers(1, 4))
    rows, places = generator.integers(k, size=number), generator.integers(columns, size=number)
    kind = int(generator.integers(6))
    if kind == 0:  # spikes around what a block may hold, up to where masks end
        sizes = np.exp(generator.uniform(np.log(0.5), np.log(2.0**40), number)) * parameters.largest_entry
        values = from_signed_int64(sizes.astype(np.int64) * generator.choice([-1, 1], number))
    elif kind == 1:  # fractions: short in another basis
        inverse = [pow(int(generator.integers(2, 1 << 20)), -1, FIELD_MODULUS) for _ in range(number)]
        values = from_ints(inverse)
    elif kind == 2:  # square roots of negative numbers, dead slots included
        rows[0], places[0] = k - 1, columns - 1
        roots = [field_square_root(-int(generator.integers(1, 1 << 60))) or 1 for _ in range(number)]
        values = from_ints(roots)
    elif kind == 3:  # one of a pair that cancels in a sum
        values = from_ints([int.from_bytes(generator.bytes(40), "little") % FIELD_MODULUS] * number)
    elif kind == 4:  # all of a block at the bound and a little beyond
        values = from_signed_int64(np.full(number, parameters.largest_entry + int(generator.integers(3))))
    else:  # nothing but wrong slack
        values = from_signed_int64(np.zeros(number, dtype=np.int64))
    altered = parts.copy()
    for row, place, value in zip(rows, places, values, strict=True):
        altered[row, place] = add(altered[row, place], value)
    return altered, _best_slack(parameters, altered, slack, generator)


def _best_slack(
    parameters: RampKrumParameters, parts: FieldArray, slack: FieldArray, generator: np.random.Generator
) -> FieldArray:
    """Complete every block to the bound in the field, or leave the honest slack."""
    if generator.random() < 0.3:
        return slack
    check, altered = parameters.norm_check, slack.copy()
    for block in range(check.num_blocks):
        energy = sum(v * v for v in to_ints(parts[:, block :: check.num_blocks].reshape(-1, 4)))
        own = to_ints(slack[:, block :: check.num_blocks].reshape(-1, 4))
        target = check.bound - energy
        if sum(v * v for v in own) % FIELD_MODULUS == target % FIELD_MODULUS:
            continue
        root = field_square_root(target - sum(v * v for v in own[1:]))
        while root is None:
            own[1] += 1
            root = field_square_root(target - sum(v * v for v in own[1:]))
        numbers = from_ints([root, *own[1:]])
        altered[:, block :: check.num_blocks] = numbers.reshape(altered[:, block :: check.num_blocks].shape)
    return altered


def passes(parameters: RampKrumParameters, parts: FieldArray, slack: FieldArray, seed: bytes) -> bool:
    """Both checks, on the rows themselves: what the server decodes is what they give here."""
    check = parameters.norm_check
    subsets = random_subsets(seed, num_subsets=parameters.num_range_checks, length=parameters.num_checked)
    masks = draw_range_masks(parameters)
    padded = np.zeros((len(parts), parameters.slack_length, 4), dtype=np.uint64)
    padded[: len(slack)] = slack
    opened = add(subset_sums(np.concatenate([parts, padded], axis=1), subsets), masks)
    if not all(is_in_range(value, parameters) for value in to_ints(opened.reshape(-1, 4))):
        return False
    weights = check.weights(seed)
    norms = check.evaluate(parts, None, padded, None, weights)
    return sum(to_ints(norms)) % FIELD_MODULUS == check.expected(weights)


def check_crafted_updates(count: int) -> int:
    """Whatever passes is within the stated bound, block by block; return how many passed."""
    num_passed = 0
    for seed in range(count):
        generator = np.random.default_rng(seed)
        size = SIZES[seed % 3]
        parameters, updates = _CRAFTED[size]
        parts, slack = craft(parameters, updates[seed % size[0]], generator)
        if not passes(parameters, parts, slack, seed.to_bytes(32, "little")):
            continue
        num_passed += 1
        integers = np.array(to_signed_ints(parts.reshape(-1, 4)), dtype=object).reshape(parts.shape[:2])
        blocks = parameters.norm_check.num_blocks
        for block in range(blocks):
            assert (integers[:, block::blocks] ** 2).sum() <= parameters.norm_check.bound
    return num_passed


_CRAFTED = {size: make(size, 90) for size in SIZES}


def test_updates__that_pass_are_within_the_stated_bound() -> None:
    num_passed = check_crafted_updates(60)
    assert 0 < num_passed < 60


@pytest.mark.experiment
def test_updates__that_pass_are_within_the_stated_bound_ten_thousand_times() -> None:
    num_passed = check_crafted_updates(10_000)
    print(f"{num_passed} of 10,000 passed, all within the bound")


def test_updates__of_honest_users_always_pass(make_updates: Callable[..., dict[int, np.ndarray]]) -> None:
    for size, (parameters, updates) in _CRAFTED.items():
        for user in range(size[0]):
            bounded = parameters.norm_check.bound_integers(updates[user])
            parts, slack = update_to_parts(parameters, bounded), draw_slack(parameters, bounded)
            assert passes(parameters, parts, slack, bytes([user]) * 32)
