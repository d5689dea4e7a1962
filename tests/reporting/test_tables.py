"""Tables: what goes in comes out of every format."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flower_coded.errors import ParameterError
from flower_coded.reporting import Table, write_json

RECORDS = [
    {"method": "FedAvg", "attackers": 0, "accuracy": 0.97},
    {"method": "FedAvg", "attackers": 2, "accuracy": np.float32(0.25)},
    {"method": "BCC", "attackers": 0, "accuracy": None},
]


def test_columns_appear_in_order_of_first_occurrence() -> None:
    table = Table.from_records([{"b": 1}, {"a": 2, "b": 3}])
    assert table.columns == ("b", "a")
    assert table.rows == ((1, None), (3, 2))


def test_numpy_values_become_plain_ones() -> None:
    value = Table.from_records(RECORDS).rows[1][2]
    assert type(value) is float
    assert value == 0.25


def test_csv_and_json_hold_the_same_records(tmp_path: Path) -> None:
    table = Table.from_records(RECORDS)
    table.write_csv(tmp_path / "t.csv")
    table.write_json(tmp_path / "t.json")
    with (tmp_path / "t.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows == [
        ["method", "attackers", "accuracy"],
        ["FedAvg", "0", "0.97"],
        ["FedAvg", "2", "0.25"],
        ["BCC", "0", ""],
    ]
    assert Table.read_json(tmp_path / "t.json") == table


def test_pivot_leaves_a_gap_where_nothing_was_observed() -> None:
    pivoted = Table.from_records(RECORDS).pivot(index="method", column="attackers", value="accuracy")
    assert pivoted.columns == ("method", "0", "2")
    assert pivoted.rows == (("FedAvg", 0.97, 0.25), ("BCC", None, None))


def test_pivot__refuses_two_values_for_one_cell() -> None:
    with pytest.raises(ParameterError, match="one row for each method and attackers"):
        Table.from_records([RECORDS[0], RECORDS[0]]).pivot(
            index="method", column="attackers", value="accuracy"
        )


def test_pivot__names_the_columns_there_are() -> None:
    with pytest.raises(ParameterError, match="must be one of method, attackers, accuracy; received 'seed'"):
        Table.from_records(RECORDS).pivot(index="seed", column="attackers", value="accuracy")


def test_a_row_of_another_length_is_refused() -> None:
    with pytest.raises(ParameterError, match="2 values"):
        Table(columns=("a", "b"), rows=((1,),))


def test_a_column_twice_is_refused() -> None:
    with pytest.raises(ParameterError, match="different"):
        Table(columns=("a", "a"), rows=())


def test_text_shows_a_whole_number_among_floats_as_a_float() -> None:
    assert Table.from_records([{"x": 0}, {"x": 0.5}]).to_text(digits=2) == "   x\n0.00\n0.50"


def test_markdown_aligns_numbers_to_the_right() -> None:
    assert Table.from_records(RECORDS[:1]).to_markdown() == (
        "| method | attackers | accuracy |\n| --- | ---: | ---: |\n| FedAvg | 0 | 0.970 |"
    )


def test_html_escapes_what_a_peer_may_have_chosen() -> None:
    page = Table.from_records([{"<b>": "<script>alert(1)</script>"}]).to_html()
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    assert "<b>" not in page


def test_write_json__turns_what_json_has_no_word_for_into_null(tmp_path: Path) -> None:
    write_json(
        tmp_path / "x.json", {"a": float("nan"), "b": np.arange(3), "c": (np.int64(1), np.inf), "d": {True}}
    )
    assert json.loads((tmp_path / "x.json").read_text()) == {
        "a": None,
        "b": [0, 1, 2],
        "c": [1, None],
        "d": [True],
    }


@given(
    st.lists(st.fixed_dictionaries({"n": st.integers(-9, 9), "t": st.text("ab|<&", max_size=4)}), min_size=1)
)
def test_records_survive_the_table(records: list[dict[str, object]]) -> None:
    table = Table.from_records(records)
    assert table.records() == records
    assert len(table.to_text().split("\n")) == len(records) + 1
