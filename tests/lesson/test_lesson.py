"""The lesson's four experiments: what they find, and that nothing a page sends can break them."""

from __future__ import annotations

import json
from math import comb
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flower_coded.codes import SubsetCode
from flower_coded.errors import ParameterError
from flower_coded.lesson import (
    PARTS,
    Part,
    ask_workers,
    break_a_code,
    lesson_code,
    models_of,
    respond,
    share_a_number,
    take_a_vote,
)
from flower_coded.lesson.controls import Choice, IndexSet, Number, Slider

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)
ENDS = [
    (part, control.name, value)
    for part in PARTS
    for control in part.controls
    for value in (
        (control.least, control.most)
        if isinstance(control, Slider)
        else [sent for _, sent in control.options]
        if isinstance(control, Choice)
        else ("0", "9" * control.most_digits)
        if isinstance(control, Number)
        else ((control.value, control.value[:1]) if isinstance(control, IndexSet) else ())
    )
]


@pytest.mark.parametrize(
    ("part", "name", "value"), ENDS, ids=lambda value: getattr(value, "name", str(value))
)
def test_a_control_can_be_moved_to_its_ends(part: Part, name: str, value: Any) -> None:
    answer = json.loads(respond(part.name, json.dumps({name: value})))
    assert {block["kind"] for block in answer["blocks"]} <= {"text", "table", "matrix"}
    for block in answer["blocks"]:
        if block["kind"] == "table":
            assert block["rows"]
            assert all(len(row) == len(block["columns"]) for row in block["rows"])


@settings(deadline=None, max_examples=30)
@given(part=st.sampled_from([*(part.name for part in PARTS), "nothing"]), data=st.data())
def test_whatever_a_link_says_is_answered_or_refused_in_words(part: str, data: st.DataObject) -> None:
    names = [control.name for each in PARTS if each.name == part for control in each.controls]
    keys = st.sampled_from([*names, "else"])
    text = data.draw(st.dictionaries(keys, JSON, max_size=2).map(json.dumps) | st.text(max_size=9))
    answer = json.loads(respond(part, text))
    assert set(answer) <= {"blocks", "refusal"}
    assert len(answer) == 1


@pytest.mark.parametrize(
    ("part", "sent", "named"),
    [
        ("vote", {"liars": [0, 0]}, "liars"),
        ("vote", {"liars": [12]}, "liars"),  # a user of the other code
        ("vote", {"mistakes": "0.1"}, "mistakes"),
        ("vote", {"mistakes": 0.21}, "mistakes"),
        ("vote", {"seed": 1.5}, "seed"),
        ("vote", {"seed": True}, "seed"),
        ("vote", {"code": "detection"}, "code"),
        ("break", {"liars": []}, "liars"),
        ("break", {"liars": [0, 1, 2, 3, 4, 5]}, "liars"),
        ("secret", {"number": "-1"}, "number"),
        ("secret", {"number": "٣"}, "number"),
        ("secret", {"number": "1" * 71}, "number"),
        ("worker", {"liar": 3}, "liar"),
    ],
)
def test_a_refusal_names_the_setting(part: str, sent: dict[str, Any], named: str) -> None:
    assert json.loads(respond(part, json.dumps(sent)))["refusal"].startswith(named)


@pytest.mark.parametrize("depth", [1, 200, 240, 1000, 100_000, 10_000_000])
def test_a_setting_however_deep_is_refused_in_words(depth: int) -> None:
    assert set(json.loads(respond("break", '{"liars":' + "[" * depth + "]" * depth + "}"))) == {"refusal"}


@pytest.mark.parametrize(
    ("spared", "told", "least", "most"),
    [
        ((), "the vote is **lost**", 1.0, 1.0),
        ((1, 4), "**tied**", 0.01, 0.3),
        ((1, 4, 9), "is **clean**", 0.0, 0.0),
    ],
)
def test_what_is_told_of_the_vote_is_what_the_vote_does(
    spared: tuple[int, ...], told: str, least: float, most: float
) -> None:
    """In a tie the smaller label wins: only images of a 9 are answered with the liars' 8."""
    _, text, table = json.loads(respond("vote", json.dumps({"spared": spared, "mistakes": 0})))["blocks"]
    assert told in text["text"]
    [majority] = [row for row in table["rows"] if row[0] == "majority"]
    assert least <= float(majority[3]) <= most


@pytest.mark.parametrize("name", ["correction", "tracking"])
def test_nobody_is_accused_where_nobody_lies(name: str) -> None:
    for readout in take_a_vote(lesson_code(name), [], []):
        assert readout.accused == ()
        assert readout.attack_success < 0.02
        assert readout.accuracy > 0.98


def test_two_who_poison_all_win_the_vote_and_are_named() -> None:
    code = lesson_code("correction")
    readouts = {each.decoder: each for each in take_a_vote(code, [0, 1], models_of(code, [0, 1]))}
    assert readouts["majority"].attack_success == 1
    assert readouts["joint"].attack_success == 0
    assert readouts["joint"].accused == (0, 1)


def test_only_models_that_a_liar_belongs_to_can_be_poisoned() -> None:
    code = lesson_code("correction")
    unreached = sorted(set(range(code.num_models)) - set(models_of(code, [0]).tolist()))
    with pytest.raises(ParameterError, match="poisoned"):
        take_a_vote(code, [0], unreached[:1])


def test_a_majority_is_fooled_by_the_choices_that_are_more_than_half_of_the_models() -> None:
    """A known answer: users 0 and 1 reach nine of fourteen models, and a tie keeps the smaller class."""
    broken = break_a_code(lesson_code("correction"), [0, 1])
    assert broken.num_subsets == 2**9 - 1
    assert broken.fooled["majority"] == sum(comb(9, size) for size in (8, 9))


@pytest.mark.parametrize("liars", [(0, 1), (2, 7), (10, 11)])
def test_the_covering_decoder_keeps_the_codes_promise(liars: tuple[int, int]) -> None:
    assert break_a_code(lesson_code("correction"), liars).fooled["covering"] == 0


def test_the_example_fools_the_papers_decoder() -> None:
    """Told again by the vote: the same choice, models that never err."""
    code: SubsetCode = lesson_code("correction")
    broken = break_a_code(code, [0, 1])
    readouts = take_a_vote(code, [0, 1], broken.example, mistakes=0.001)
    assert {each.decoder: each.attack_success for each in readouts}["posterior"] > 0.5


@pytest.mark.parametrize("together", range(1, 8))
def test_three_shares_tell_the_number_and_two_do_not(together: int) -> None:
    shared = share_a_number(2026, together)
    assert shared.rebuilt == (2026 if together >= 3 else None)
    assert len(shared.shares) == together
    assert share_a_number(2026, together).shares != shared.shares


@pytest.mark.parametrize("num_liars", range(8))
def test_keys_stand_four_liars_of_seven_and_the_code_alone_two(num_liars: int) -> None:
    products = ask_workers(num_liars, 1.0)
    assert products.caught == tuple(range(num_liars))
    for product, most in ((products.by_keys, 4), (products.by_code, 2)):
        if num_liars <= most:
            assert product.error is not None
            assert product.error < 1e-12
        else:
            assert product.error is None
            assert product.refusal


def test_a_lie_of_a_billionth_is_caught_by_a_key() -> None:
    assert ask_workers(2, 1e-9).caught == (0, 1)


@settings(max_examples=50)
@given(value=JSON)
def test_a_control_takes_only_what_it_can_send(value: Any) -> None:
    slider = Slider("x", "", 1, least=0, most=5)
    try:
        assert slider.check(value) in range(6)
    except ParameterError:
        assert not (isinstance(value, int | float) and not isinstance(value, bool) and value in range(6))


def test_a_set_comes_back_in_order() -> None:
    assert IndexSet("x", "", (), most=9).check([3, 1]) == (1, 3)
    assert np.array_equal(Slider("x", "", 0, least=0, most=9).check(4.0), 4)
