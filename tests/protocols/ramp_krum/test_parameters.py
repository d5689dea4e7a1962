from __future__ import annotations

from typing import Any

import pytest

from flower_coded.crypto.fixed_point import FixedPoint
from flower_coded.crypto.ramp_sharing import RampSharing
from flower_coded.errors import ParameterError
from flower_coded.protocols.ramp_krum.commitments import Schemes
from flower_coded.protocols.ramp_krum.families import Family
from flower_coded.protocols.ramp_krum.parameters import RampKrumParameters
from flower_coded.protocols.ramp_krum.planner import best_plans, measure_unit_costs, plan_groups, plans

SHARING = RampSharing(20, 5, 2, 2, 2)


def make(**options: Any) -> RampKrumParameters:
    return RampKrumParameters(SHARING, **({"num_selected": 11, "length": 1000} | options))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"num_selected": 12},
            r"2 <= m <= N - 2A - D - 3 = 20 - 4 - 2 - 3 = 11; received 12 \(the largest .* is 11\)",
        ),
        ({"num_selected": 1}, "received 1"),
        ({"length": 0}, "length must be at least 1"),
        ({"chunk_size": 0}, "chunk_size must be at least 1, or None"),
        ({"soundness_bits": 1}, "soundness_bits must be from 40 to 128: below, an update that is not short"),
        ({"soundness_bits": 39}, "received 39"),
        ({"block_norm": 0.5}, "block_norm must be at least the clipping bound"),
        ({"fixed_point": FixedPoint(32), "length": 10**9, "num_selected": 2}, None),
        ({"fixed_point": FixedPoint(32), "length": 10**17}, "masks 40 bits wider than the sums they hide"),
    ],
)
def test_parameters__are_refused_with_the_inequality_and_the_numbers(
    options: dict[str, Any], message: str | None
) -> None:
    if message is None:
        make(**options)
        return
    with pytest.raises(ParameterError, match=message):
        make(**options)


def test_parameters__with_too_few_users_for_any_selection_say_how_many_are_needed() -> None:
    with pytest.raises(ParameterError, match="9 users are needed"):
        RampKrumParameters(RampSharing(8, 1, 1, 2, 0), num_selected=2, length=1)


def test_parameters__need_as_many_colluders_as_liars_or_a_waiver() -> None:
    """Each of A liars can have one share of an honest dealer opened, so the server may get A."""
    sharing = RampSharing(12, 3, 1, 2, 1)
    with pytest.raises(ParameterError, match="at least num_attackers = 2: each of A liars"):
        RampKrumParameters(sharing, num_selected=4, length=10)
    RampKrumParameters(sharing, num_selected=4, length=10, waives_colluder_bound=True)


def test_range_checks__are_as_many_as_the_failure_probability_takes() -> None:
    assert make().num_range_checks == 41  # 2**-40 for two liars together
    assert make(soundness_bits=60).num_range_checks == 61


def test_sizes__follow_the_paper_when_nothing_is_added() -> None:
    bare = make(is_blinded=False, hides_products=False, is_paper_form=True, chunk_size=None)
    assert bare.part_length == 200
    assert bare.num_commitments == 5 + 2 * 2
    assert bare.share_bytes == 32 * 2 * 200
    powers = [tuple((0,) * exponent + (1,)) for exponent in range(7)]
    assert [polynomial.basis for polynomial in bare.polynomials] == [
        tuple(powers),
        (*powers[4::-1], *powers[5:]),
    ]
    assert bare.polynomials[1].rows == (0, 1, 2, 3, 4, 7, 8)


def test_sizes__outside_of_the_papers_form_have_no_second_share() -> None:
    usual = make(is_blinded=False, hides_products=False, chunk_size=None)
    assert [polynomial.name for polynomial in usual.polynomials] == ["first", "slack", "range"]
    assert usual.families["update"].num_rows == 5 + 2
    assert usual.share_bytes == 32 * (200 + usual.slack_length + 41)
    single = RampKrumParameters(RampSharing(9, 1, 2, 1, 1), num_selected=2, length=10, hides_products=False)
    assert [polynomial.name for polynomial in single.polynomials] == ["first", "slack", "range"]
    assert single.families["update"].num_rows == 3


def test_product_masks__in_the_papers_form_have_every_exponent_but_the_distances() -> None:
    hiding = make(is_paper_form=True).embedding.hiding
    assert hiding == tuple((0,) * exponent + (1,) for exponent in range(13) if exponent != 4)


def test_family__counts_chunks_and_blinding_factors() -> None:
    family = Family("update", num_rows=3, length=10, chunk=4, is_blinded=True)
    assert (family.num_chunks, family.row_length, family.num_commitments) == (3, 13, 9)


def test_schemes__need_a_reference_string_as_long_as_a_chunk(reference: Any) -> None:
    with pytest.raises(ParameterError, match="must have at least 210 powers; received 64"):
        Schemes.create(make(chunk_size=None), reference)


SIZES = {"num_attackers": 2, "num_dropouts": 2, "num_colluders": 2}


def test_plans__cover_every_feasible_choice_and_the_longest_ramp_is_fastest() -> None:
    found = plans(num_users=20, length=131_072, **SIZES)
    assert [plan.parameters.sharing.num_parts for plan in found] == [1, 2, 3, 4, 5]
    assert best_plans(found)[0].parameters.sharing.num_parts == 5
    with pytest.raises(ParameterError, match="no K works below"):
        plans(num_users=6, num_attackers=2, num_dropouts=0, num_colluders=2, length=10)


def test_plan__counts_what_the_server_relays_beside_table_one() -> None:
    """At N = 20 and L = 120,000 Table I counts 8.6 MB for the server; it passes on 300 and more."""
    (plan,) = (p for p in plans(num_users=20, length=120_000, **SIZES) if p.parameters.sharing.num_parts == 5)
    assert 32 * float(plan.formulas.server) == pytest.approx(8.55e6, rel=0.01)
    assert 300e6 < plan.relayed_bytes < 350e6
    assert plan.wall_clock(1e6) > plan.wall_clock(1e7) > plan.user_seconds


def test_plan_groups__advises_groups_where_one_protocol_is_absurd() -> None:
    options = {"num_attackers": 10, "num_dropouts": 2, "num_colluders": 10, "length": 11_700_000}
    everybody = best_plans(plans(num_users=500, **options))[0]
    assert len(everybody.warnings(1e7)) == 4
    found = plan_groups(num_users=500, **options)
    assert found is not None
    num_groups, plan = found
    assert num_groups * plan.parameters.sharing.num_users >= 500
    assert plan.wall_clock(1e7) < everybody.wall_clock(1e7) / 2
    assert plan_groups(num_users=20, length=131_072, **SIZES) is None


def test_measure_unit_costs__finds_long_scalars_dearer_than_short_ones() -> None:
    costs = measure_unit_costs(num_entries=256)
    assert costs.long_point > costs.short_point > 0
    assert min(costs.share, costs.combine, costs.multiply, costs.carry, costs.read_point) > 0


@pytest.mark.parametrize("num_parts", [1, 2, 4, 5, 12])
def test_norm_check__refuses_a_spike_of_nine_tenths_of_m_whatever_m_is(num_parts: int) -> None:
    sharing = RampSharing(num_users=40, num_parts=num_parts, num_colluders=2, num_attackers=2)
    parameters = RampKrumParameters(sharing, num_selected=2, length=100_000)
    clipping = parameters.fixed_point.max_integer
    assert clipping <= parameters.largest_entry < 0.9 * 2 * clipping
    # Entries of a sixth of the clipping bound each are within it, whatever the blocks are.
    entries = num_parts * parameters.norm_check.block_columns
    assert parameters.norm_check.bound >= entries * (clipping / 6) ** 2


def test_norm_check__bounds_chosen_blocks_in_proportion_to_their_size() -> None:
    sharing = RampSharing(num_users=12, num_parts=2, num_colluders=2, num_attackers=2)
    whole = RampKrumParameters(sharing, num_selected=2, length=100_000, block_columns=100_000)
    assert whole.norm_check.num_blocks == 1
    assert whole.largest_entry == pytest.approx(100_000**0.5 / 4 * whole.fixed_point.max_integer, rel=1e-3)
