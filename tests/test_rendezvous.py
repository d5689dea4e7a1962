"""Calls that wait for one another: order, owners, faults, and what is left when a meeting breaks off."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flower_coded.errors import ParameterError
from flower_coded.rendezvous import meet, together


def squares(questions: Sequence[int], notes: dict[Any, Any]) -> list[int]:
    notes.setdefault("asked", []).append(list(questions))
    return [question**2 for question in questions]


def asked_in_turn(questions: Sequence[int], notes: dict[Any, Any]) -> list[Any]:
    """How the questions of this work came so far: everybody is told the same list."""
    notes.setdefault("waves", []).append(list(questions))
    return [notes["waves"]] * len(questions)


def test_everybody_gets_the_own_answer_in_the_order_of_the_calls() -> None:
    ended = meet((i, lambda i=i: together(squares, i)) for i in range(10))  # type: ignore[misc]
    assert [each.value for each in ended] == [i**2 for i in range(10)]
    assert all(each.error is None and each.seconds > 0 for each in ended)


def test_several_questions_of_a_call_are_met_in_waves() -> None:
    def asks(times: int) -> Callable[[], Any]:
        return lambda: [together(asked_in_turn, 10 * times + i) for i in range(times)][-1]

    ended = meet([(0, asks(1)), (1, asks(3)), (2, asks(2))])
    assert ended[1].value == [[10, 30, 20], [31, 21], [32]]


def test_calls_of_one_owner_run_one_behind_the_other() -> None:
    events = []

    def call(name: str) -> Callable[[], None]:
        def run() -> None:
            events.append(f"{name} begins")
            together(squares, 1)
            events.append(f"{name} ends")

        return run

    meet([("a", call("a1")), ("a", call("a2")), ("b", call("b1"))])
    assert events.index("a1 ends") < events.index("a2 begins")
    assert events.index("b1 begins") < events.index("a1 ends")


def test_no_more_calls_are_under_way_than_allowed() -> None:
    ended = meet(((i, lambda i=i: together(asked_in_turn, i)) for i in range(5)), most=2)  # type: ignore[misc]
    assert ended[-1].value == [[0, 1], [2, 3], [4]]


@given(st.lists(st.integers(0, 3), max_size=6), st.integers(1, 4))
def test_only_one_call_runs_at_any_time(counts: list[int], most: int) -> None:
    running = threading.Lock()

    def call(count: int) -> int:
        total = 0
        for i in range(count):
            assert running.acquire(blocking=False)
            running.release()
            total += together(squares, i)
        return total

    ended = meet(((i, lambda n=n: call(n)) for i, n in enumerate(counts)), most=most)  # type: ignore[misc]
    assert [each.value for each in ended] == [sum(i**2 for i in range(n)) for n in counts]


def test_an_exception_ends_its_own_call_only() -> None:
    def fails() -> None:
        raise SystemExit(3)

    ended = meet([(0, fails), (1, lambda: together(squares, 4))])
    assert isinstance(ended[0].error, SystemExit)
    assert ended[1].value == 16


def test_a_question_that_cannot_be_answered_costs_nobody_else_an_answer() -> None:
    def inverses(questions: Sequence[int], notes: dict[Any, Any]) -> list[float]:
        return [1 / question for question in questions]

    ended = meet((i, lambda i=i: together(inverses, i)) for i in (2, 0, 4))  # type: ignore[misc]
    assert [each.value for each in ended] == [0.5, None, 0.25]
    assert isinstance(ended[1].error, ZeroDivisionError)


def test_a_call_may_live_with_a_failure_and_ask_again() -> None:
    def positive(questions: Sequence[int], notes: dict[Any, Any]) -> list[int]:
        if min(questions) < 0:
            raise ValueError("negative")
        return list(questions)

    def stubborn() -> int:
        try:
            return together(positive, -1)
        except ValueError:
            return together(positive, 1)

    assert [each.value for each in meet([(0, stubborn), (1, stubborn)])] == [1, 1]


def test_no_thread_is_left_waiting_when_a_meeting_is_broken_off() -> None:
    def interrupt(questions: Sequence[int], notes: dict[Any, Any]) -> list[int]:
        raise KeyboardInterrupt

    before = threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        meet((i, lambda i=i: together(interrupt, i)) for i in range(4))  # type: ignore[misc]
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and thread.daemon and thread.name.startswith("Thread-"):
            thread.join(timeout=1)
    assert threading.active_count() <= before


def test_outside_of_a_meeting_a_question_is_answered_at_once() -> None:
    assert together(squares, 3) == 9


def test_bad_parameters_are_refused() -> None:
    with pytest.raises(ParameterError, match="most must be at least 1"):
        meet([], most=0)
    assert meet([]) == []
