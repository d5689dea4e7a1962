from __future__ import annotations

from typing import Any

import pytest

from flower_coded.crypto.fixed_point import FixedPoint
from flower_coded.crypto.ramp_sharing import RampSharing
from flower_coded.errors import ParameterError
from flower_coded.protocols.ramp_krum.commitments import Schemes
from flower_coded.protocols.ramp_krum.parameters import Family, RampKrumParameters
from flower_coded.protocols.ramp_krum.planner import best_plan, measure_unit_costs, plans

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
        ({"num_range_checks": -1}, "num_range_checks must not be negative"),
        ({"num_per_element": 2}, "must be 0 where several weights share an element; received 40"),
        ({"num_per_element": 9, "num_range_checks": 0}, "within 254 bits"),
        ({"fixed_point": FixedPoint(32), "length": 10**9, "num_range_checks": 0, "num_selected": 2}, None),
        ({"fixed_point": FixedPoint(32), "length": 10**45}, "need masks of 40 bits more"),
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


def test_sizes__follow_the_paper_when_nothing_is_added() -> None:
    bare = make(is_blinded=False, hides_products=False, num_range_checks=0, chunk_size=None)
    assert bare.part_length == 200
    assert bare.num_commitments == 5 + 2 * 2
    assert bare.share_bytes == 32 * 2 * 200
    assert [polynomial.exponents for polynomial in bare.polynomials] == [
        (0, 1, 2, 3, 4, 5, 6),
        (4, 3, 2, 1, 0, 5, 6),
    ]
    assert bare.polynomials[1].rows == (0, 1, 2, 3, 4, 7, 8)


def test_sizes__for_one_part_have_no_second_share() -> None:
    single = RampKrumParameters(RampSharing(9, 1, 2, 1, 1), num_selected=2, length=10, hides_products=False)
    assert [polynomial.name for polynomial in single.polynomials] == ["first", "range"]
    assert single.families["update"].num_rows == 3


def test_product_masks__have_every_exponent_but_the_distances() -> None:
    assert make().product_mask_exponents == tuple(e for e in range(13) if e != 4)


def test_family__counts_chunks_and_blinding_factors() -> None:
    family = Family("update", num_rows=3, length=10, chunk=4, is_blinded=True)
    assert (family.num_chunks, family.row_length, family.num_commitments) == (3, 13, 9)


def test_schemes__need_a_reference_string_as_long_as_a_chunk(reference: Any) -> None:
    with pytest.raises(ParameterError, match="must have at least 200 powers; received 64"):
        Schemes.create(make(chunk_size=None), reference)


def test_plans__cover_every_feasible_choice_and_the_best_is_among_them() -> None:
    found = plans(num_users=20, num_attackers=2, num_dropouts=2, num_colluders=2, length=131_072)
    assert [(p.parameters.sharing.num_parts, p.parameters.num_per_element) for p in found] == [
        (k, s) for k in range(1, 6) for s in (1, 2)
    ]
    assert best_plan(found).parameters.sharing.num_parts == 5
    assert best_plan(found).parameters.num_per_element == 1
    assert best_plan(found, allow_packing=True).parameters.num_per_element == 2
    with pytest.raises(ParameterError, match="no K works below"):
        plans(num_users=6, num_attackers=2, num_dropouts=0, num_colluders=1, length=10)
    with pytest.raises(ParameterError, match="must hold a plan"):
        best_plan([])


def test_measure_unit_costs__finds_long_scalars_dearer_than_short_ones() -> None:
    costs = measure_unit_costs(num_entries=256)
    assert costs.long_point > costs.short_point > 0
    assert min(costs.share, costs.combine, costs.multiply, costs.carry, costs.read_point) > 0
