"""Calls that run one at a time, and may wait for one another to have a piece of work done together.

A simulation asks fifty clients to train. Each is a call of its own, with mods around it that may train
several times or not at all; yet all their trainings are one stacked program that takes a fraction of the
time. So a client does not train: it asks for it (:func:`together`), and waits. When nobody runs any more, the
questions that wait are answered in one go, and everybody goes on. Calls that ask nothing run as they always
did, one after another.

Where nobody else can be waited for (a real node, a simulation engine's worker), a question is answered at
once. What it leaves out: parallelism. Exactly one call runs at any time, so that no code needs to know of the
others.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable, Iterable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from flower_coded.errors import ParameterError

__all__ = ["Ended", "meet", "together"]

T = TypeVar("T")
Q = TypeVar("Q")
A = TypeVar("A")
Work = Callable[[Sequence[Q], dict[Any, Any]], Sequence[A]]

_seat: ContextVar[_Seat | None] = ContextVar("seat", default=None)


@dataclass(frozen=True)
class Ended(Generic[T]):
    """How a call ended.

    Attributes
    ----------
    value
        What it returned; None if it raised.
    error : BaseException or None
        What it raised.
    seconds : float
        Its own running time, and its share of what was done for several.
    """

    value: T | None
    error: BaseException | None
    seconds: float


def together(work: Work[Q, A], question: Q) -> A:
    """Have a question answered, with those of all other calls that wait for the same work.

    Parameters
    ----------
    work : callable
        ``work(questions, notes)`` gives one answer per question. ``notes`` is a dictionary for whatever it
        wants to find again when it is called the next time in the same meeting.
    question
        What this call asks.

    Returns
    -------
    answer
        As if the question had been the only one.

    Examples
    --------
    >>> def double(questions, notes):
    ...     print("asked", questions)
    ...     return [2 * each for each in questions]
    >>> together(double, 4)
    asked [4]
    8
    >>> calls = [("a", lambda: together(double, 1) + 1), ("b", lambda: "nothing asked"),
    ...          ("c", lambda: together(double, 3))]
    >>> [ended.value for ended in meet(calls)]
    asked [1, 3]
    [3, 'nothing asked', 6]
    """
    seat = _seat.get()
    if seat is None:
        return work([question], {})[0]
    answer: A = seat.ask(work, question)
    return answer


def meet(calls: Iterable[tuple[Hashable, Callable[[], T]]], *, most: int = 64) -> list[Ended[T]]:
    """Run calls, and answer together what several of them ask.

    Parameters
    ----------
    calls : iterable of (hashable, callable)
        Whom a call belongs to, and the call. Those of one owner run one behind the other, as each may change
        what the next finds.
    most : int
        Calls under way at a time.

    Returns
    -------
    list of Ended
        One per call, in order. An exception ends its own call only.

    Raises
    ------
    ParameterError
        If ``most`` is below 1.
    """
    if most < 1:
        raise ParameterError("most", "must be at least 1", most)
    waiting = [_Seat(owner, call) for owner, call in calls]
    seats = list(waiting)
    notes: dict[Any, Any] = {}
    under_way: list[_Seat] = []
    try:
        while waiting or under_way:
            # In their order, as far as there is room and their owner has no other call under way.
            taken = {seat.owner for seat in under_way}
            for seat in list(waiting):
                if len(under_way) < most and seat.owner not in taken:
                    taken.add(seat.owner)
                    waiting.remove(seat)
                    under_way.append(seat)
                    seat.advance()
                    if seat.is_done:
                        under_way.remove(seat)
                        taken.discard(seat.owner)
            _answer(under_way, notes)
            for seat in list(under_way):
                seat.advance()
                if seat.is_done:
                    under_way.remove(seat)
    finally:
        for seat in under_way:  # not reached in peace: let their threads end
            seat.failure = InterruptedError("the meeting was broken off")
            seat.advance()
    return [Ended(seat.value, seat.error, seat.seconds) for seat in seats]


class _Seat:
    """One call, in a thread of its own that runs only while everybody else stands still."""

    def __init__(self, owner: Hashable, call: Callable[[], Any]) -> None:
        self.owner, self.call = owner, call
        self.value: Any = None
        self.error: BaseException | None = None
        self.is_done, self.seconds = False, 0.0
        self.work: Work[Any, Any] | None = None
        self.question: Any = None
        self.answer: Any = None
        self.failure: Exception | None = None
        self._goes, self._stands = threading.Semaphore(0), threading.Semaphore(0)
        self._thread = threading.Thread(target=self._run, daemon=True)

    def advance(self) -> None:
        """Let the call run until it asks something or ends."""
        start = time.perf_counter()
        if self._thread.ident is None:
            self._thread.start()
        else:
            self._goes.release()
        self._stands.acquire()
        self.seconds += time.perf_counter() - start

    def ask(self, work: Work[Any, Any], question: Any) -> Any:
        """Wait, in the call's own thread, for an answer."""
        self.work, self.question = work, question
        self._stands.release()
        self._goes.acquire()
        self.work = self.question = None
        answer, failure, self.answer, self.failure = self.answer, self.failure, None, None
        if failure is not None:
            raise failure
        return answer

    def _run(self) -> None:
        _seat.set(self)
        try:
            self.value = self.call()
        except BaseException as error:  # noqa: BLE001 # a handler that exits ends itself, not the simulation
            self.error = error
        self.is_done = True
        self._stands.release()


def _answer(seats: Sequence[_Seat], notes: dict[Any, Any]) -> None:
    """Answer all that wait, those who want the same work in one go."""
    for work in dict.fromkeys(seat.work for seat in seats):
        asking = [seat for seat in seats if seat.work is work]
        assert work is not None  # whoever is not done has asked
        if len(asking) > 1 and _is_answered(work, asking, notes):
            continue
        for seat in asking:  # one question that cannot be answered costs nobody else an answer
            try:
                (seat.answer,) = _timed(work, [seat], notes)
            except Exception as failure:  # noqa: BLE001 # raised where it was asked
                seat.failure = failure


def _is_answered(work: Work[Any, Any], seats: Sequence[_Seat], notes: dict[Any, Any]) -> bool:
    try:
        answers = _timed(work, seats, notes)
    except Exception:  # noqa: BLE001 # whose fault it is shows when they are asked one by one
        return False
    for seat, answer in zip(seats, answers, strict=True):
        seat.answer = answer
    return True


def _timed(work: Work[Any, Any], seats: Sequence[_Seat], notes: dict[Any, Any]) -> Sequence[Any]:
    start = time.perf_counter()
    answers = work([seat.question for seat in seats], notes)
    share = (time.perf_counter() - start) / len(seats)
    for seat in seats:
        seat.seconds += share
    return answers
