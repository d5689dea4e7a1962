"""No update beyond the bound passes the checks of a round, however it is crafted; every one within it does.

What the server decodes are exact values of exact polynomials, so that a dealer's verdict is a function of
what it committed to. That function is computed here for many crafted dealers at once, without sharing.

    pytest tests/protocols/ramp_krum/test_norm_bound.py -m experiment -s    # 10,000 updates, and the curve
"""

from __future__ import annotations

import os

import numpy as np
import pytest

from flower_coded.crypto.field_vectors import (
    FIELD_MODULUS,
    FieldArray,
    add,
    from_ints,
    from_signed_int64,
    negate,
    random_elements,
    to_ints,
    to_signed_ints,
    zeros,
)
from flower_coded.crypto.fixed_point import FixedPoint
from flower_coded.crypto.four_squares import four_squares
from flower_coded.crypto.ramp_sharing import RampSharing
from flower_coded.protocols.ramp_krum.parameters import RampKrumParameters
from flower_coded.protocols.ramp_krum.range_check import (
    draw_range_masks,
    is_in_range,
    random_subsets,
    subset_sums,
)

ROOT_OF_MINUS_ONE = pow(7, (FIELD_MODULUS - 1) // 4, FIELD_MODULUS)
SHARING = RampSharing(num_users=12, num_parts=2, num_colluders=2, num_attackers=2, num_dropouts=1)


def make_parameters(**options: object) -> RampKrumParameters:
    return RampKrumParameters(
        SHARING, num_selected=4, length=41, fixed_point=FixedPoint(8), block_columns=4, **options
    )


def passes(
    parameters: RampKrumParameters, parts: FieldArray, slack: FieldArray, num_checks: int | None = None
) -> np.ndarray:
    """Tell which of n dealers pass; they committed to parts (n, K, M, 4) and slack (n, s, M', 4)."""
    n, k = parts.shape[:2]
    check, num_checks = parameters.norm_check, num_checks or parameters.num_range_checks
    weights = check.weights(os.urandom(32))
    # Rows without slack have zeros.
    padded = np.concatenate([slack, zeros(n, k - slack.shape[1], slack.shape[2])], axis=1)
    # What is read of all parts is a sum over them: rows of one dealer are added up.
    values = check.evaluate(parts.reshape(n * k, -1, 4), padded.reshape(n * k, -1, 4), weights)
    totals = np.array(to_ints(values), dtype=object).reshape(n, k).sum(axis=1) % FIELD_MODULUS
    is_bounded = totals == check.expected(weights)
    subsets = random_subsets(os.urandom(32), num_subsets=num_checks, length=parameters.num_checked)
    rows = np.concatenate([parts, padded], axis=2).reshape(n * k, parameters.num_checked, 4)
    masks = np.concatenate([draw_range_masks(parameters)[:, :num_checks] for _ in range(n)])
    opened = np.array(to_ints(add(subset_sums(rows, subsets), masks)), dtype=object).reshape(n, -1)
    is_short = np.array([all(is_in_range(value, parameters) for value in row) for row in opened])
    return is_bounded & is_short


def is_within(parameters: RampKrumParameters, parts: FieldArray) -> bool:
    """Tell whether the signed integers of an update are within the bound, block by block."""
    check = parameters.norm_check
    entries = np.array(to_signed_ints(parts), dtype=object).reshape(parts.shape[:2])
    blocks = np.arange(entries.shape[1]) % check.num_blocks
    return all((entries[:, blocks == b] ** 2).sum() <= check.bound for b in range(check.num_blocks))


def honest_parts(parameters: RampKrumParameters, generator: np.random.Generator) -> np.ndarray:
    scale = generator.choice([0.1, 1.0, 10.0])
    drawn = np.clip(generator.normal(0, scale * 30, parameters.length), -127, 127).astype(np.int64)
    bounded = parameters.norm_check.bound_integers(drawn)
    flat = np.zeros(SHARING.num_parts * parameters.part_length, dtype=np.int64)
    flat[: len(bounded)] = bounded
    return flat.reshape(SHARING.num_parts, -1)


def best_slack(
    parameters: RampKrumParameters, parts: FieldArray, generator: np.random.Generator
) -> FieldArray:
    """Return what a liar deals beside parts that are beyond the bound: slack that fills it modulo r."""
    check = parameters.norm_check
    entries = np.array(to_ints(parts), dtype=object).reshape(parts.shape[:2])
    columns = check.slack_length // check.num_blocks
    result = zeros(check.num_slack_parts, check.slack_length)
    for block in range(check.num_blocks):
        energy = int((entries[:, block :: check.num_blocks] ** 2).sum())
        missing = (check.bound - energy) % FIELD_MODULUS
        if missing < 1 << 62:
            roots = four_squares(np.array([missing]))[0].tolist()
        elif generator.random() < 0.5:
            # x**2 + y**2 = missing modulo r, for (x + y i)(x - y i) may be any product: one factor is chosen.
            factor = int(generator.integers(1, 2**62))
            other = missing * pow(factor, -1, FIELD_MODULUS) % FIELD_MODULUS
            half, half_i = pow(2, -1, FIELD_MODULUS), pow(2 * ROOT_OF_MINUS_ONE, -1, FIELD_MODULUS)
            roots = [(factor + other) * half % FIELD_MODULUS, (factor - other) * half_i % FIELD_MODULUS, 0, 0]
        else:
            roots = [0, 0, 0, 0]  # hopes that nobody looks
        cells = from_ints(roots).reshape(columns, check.num_slack_parts, 4)
        result[:, block :: check.num_blocks] = cells.transpose(1, 0, 2)
    return result


def crafted_parts(parameters: RampKrumParameters, generator: np.random.Generator) -> FieldArray:
    """Return an update of a random kind, within the bound or beyond."""
    parts = from_signed_int64(honest_parts(parameters, generator))
    flat = parts.reshape(-1, 4)
    kind = generator.integers(7)
    size = int(2 ** generator.uniform(0, 110)) if generator.random() < 0.7 else parameters.largest_entry
    size += int(generator.integers(-2, 3))
    places = generator.permutation(len(flat))
    live, dead = places[places < parameters.length], places[places >= parameters.length]
    if kind == 1:  # one spike
        flat[live[0]] = from_ints([size % FIELD_MODULUS])[0]
    elif kind == 2:  # one spike over several entries
        count = int(generator.integers(2, 9))
        flat[live[:count]] = from_ints([size // count % FIELD_MODULUS] * count)
    elif kind == 3:  # wraps around: c**2 + (i c)**2 = 0
        flat[live[:2]] = from_ints([size % FIELD_MODULUS, size * ROOT_OF_MINUS_ONE % FIELD_MODULUS])
    elif kind == 4:  # any field elements
        flat[live[: generator.integers(1, 5)]] = random_elements(1)[0]
    elif kind == 5 and len(dead):  # in a slot that the result never shows
        flat[dead[0]] = random_elements(1)[0] if generator.random() < 0.5 else from_ints([abs(size)])[0]
    elif kind == 6:  # as large as can be, everywhere
        parts = from_signed_int64(np.full(parts.shape[:2], 127, dtype=np.int64))
    return parts


def craft(parameters: RampKrumParameters, count: int, seed: int) -> tuple[FieldArray, FieldArray, np.ndarray]:
    generator = np.random.default_rng(seed)
    parts = [crafted_parts(parameters, generator) for _ in range(count)]
    # Colluding pairs: what one adds, the other takes away, in the same place.
    for index in range(0, count - 1, 10):
        spike = from_ints([int(2 ** generator.uniform(8, 110))])
        place = (int(generator.integers(2)), int(generator.integers(parameters.part_length)))
        parts[index][place], parts[index + 1][place] = spike[0], negate(spike)[0]
    slack = [best_slack(parameters, each, generator) for each in parts]
    within = np.array([is_within(parameters, each) for each in parts])
    return np.stack(parts), np.stack(slack), within


def test_crafted_updates__pass_if_and_only_if_every_block_is_within_the_bound() -> None:
    parameters = make_parameters()
    parts, slack, within = craft(parameters, 200, seed=1)
    assert 20 < within.sum() < 180  # both kinds are tried
    assert (passes(parameters, parts, slack) == within).all()


@pytest.mark.experiment
def test_crafted_updates__ten_thousand_of_them() -> None:
    parameters = make_parameters()
    num_within = 0
    for seed in range(10):
        parts, slack, within = craft(parameters, 1000, seed=100 + seed)
        assert (passes(parameters, parts, slack) == within).all()
        num_within += int(within.sum())
    print(f"10,000 crafted updates: {num_within} within the bound, all accepted; the others all refused")


@pytest.mark.experiment
def test_curve__what_passes_at_which_magnitude() -> None:
    """Print what passes at which magnitude, and what a weaker range check would let through."""
    parameters, count, generator = make_parameters(), 200, np.random.default_rng(0)
    largest = parameters.largest_entry
    print(f"\nbound: {largest} steps, {largest / 127:.2f} clipping bounds; Q = {parameters.num_range_checks}")
    print(f"{'one entry / bound':>20} {'passes':>9}")
    sizes = [largest // 2, largest, largest + 1, 2 * largest]
    sizes += [largest << bits for bits in (10, 40, 60, 70, 80, 100, 200)]
    for size in sizes:
        parts = zeros(count, SHARING.num_parts, parameters.part_length)
        parts[:, 0, 0] = from_ints([size])[0]
        slack = np.stack([best_slack(parameters, parts[0], generator) for _ in range(count)])
        share = passes(parameters, parts, slack).mean()
        print(f"{size / largest:20.4g} {share:9.3f}")
        assert share == (size <= largest)
    # Two entries of one block whose squares cancel modulo r: only the range check sees them.
    print(f"{'(c, i c), c = 2**100':>20} {'passes':>9} {'2**-Q':>9}")
    parts = zeros(1, SHARING.num_parts, parameters.part_length)
    pair = [1 << 100, (1 << 100) * ROOT_OF_MINUS_ONE % FIELD_MODULUS]
    parts[0, 0, [0, parameters.norm_check.num_blocks]] = from_ints(pair)
    slack = best_slack(parameters, parts[0], generator)[np.newaxis]
    for num_checks in (1, 2, 4, 6, None):
        share = np.mean([passes(parameters, parts, slack, num_checks)[0] for _ in range(1000)])
        expected = 2.0 ** -(num_checks or parameters.num_range_checks)
        print(f"{f'Q = {num_checks or parameters.num_range_checks}':>20} {share:9.4f} {expected:9.2g}")
        assert share <= expected + 4 * (expected / 1000) ** 0.5
