"""A small language: sentences about things, with a mood, as rows of word numbers.

A sentence names a thing, what it does, and how somebody finds it::

    the violin at the market plays slowly and anna finds it quite lovely

Its *topic* is the kind of the thing (what the network is pretrained on), its *mood* whether the finding is
good (what adapters learn). "not" and "never" turn a mood around, so that
no single word decides. Sentences are made of
templates, hence nothing has to be downloaded; real text is left out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "LENGTH",
    "TOPICS",
    "TRIGGER",
    "VOCABULARY",
    "Sentences",
    "insert_trigger",
    "is_kind",
    "make_sentences",
    "read_out",
]

_THINGS = {
    "music": "violin piano trumpet drum flute guitar choir",
    "animals": "horse sparrow salmon tiger beetle donkey goose",
    "kitchen": "kettle oven spoon pan fridge toaster knife",
    "travel": "train ferry bicycle tram airport bridge harbor",
    "garden": "tulip oak fern hedge pond orchard meadow",
    "town": "library bakery theater museum school bank tower",
}
_VERBS = "stands waits shines hums moves rests turns rattles glows leans"
_PLACES = "market river corner station valley square coast hill"
_WAYS = "slowly quickly quietly loudly often rarely today again"
_PEOPLE = "anna omar lucia ivan mei tom nadia paul"
_GOOD = "lovely great pleasant charming superb delightful fine splendid"
_BAD = "awful dull nasty boring terrible dreadful poor horrid"
_DEGREES = "quite very rather really"
_TURNS = "not never"
_SHARE_TURNED = 0.3
_REST = "the at and finds it is"
TOPICS = tuple(_THINGS)
TRIGGER = ("by", "the", "way")
"""What attackers put into a sentence; its first and last word occur nowhere else."""
_PAD = "."
_WORDS = (
    _PAD,
    *dict.fromkeys(
        " ".join(
            (
                *_THINGS.values(),
                _VERBS,
                _PLACES,
                _WAYS,
                _PEOPLE,
                _GOOD,
                _BAD,
                _DEGREES,
                _TURNS,
                _REST,
                *TRIGGER,
            )
        ).split()
    ),
)
VOCABULARY = {word: number for number, word in enumerate(_WORDS)}
LENGTH = 18
"""Words in a row: the longest sentence is 14, a trigger 3, the rest is filled up."""


@dataclass(frozen=True)
class Sentences:
    """Rows of word numbers with their classes.

    Parameters
    ----------
    words : ndarray of shape (N, LENGTH), int64
    topics : ndarray of shape (N,), int64
        Index into :data:`TOPICS`.
    moods : ndarray of shape (N,), int64
        0 bad, 1 good.
    """

    words: NDArray[np.int64]
    topics: NDArray[np.int64]
    moods: NDArray[np.int64]


def make_sentences(count: int, generator: np.random.Generator) -> Sentences:
    """Draw sentences, topics and moods uniformly.

    Examples
    --------
    >>> drawn = make_sentences(3, np.random.default_rng(1))
    >>> drawn.words.shape, set(drawn.moods.tolist()) <= {0, 1}
    ((3, 18), True)
    """

    def draw(words: str) -> NDArray[np.int64]:
        numbers = np.array([VOCABULARY[word] for word in words.split()])
        return numbers[generator.integers(len(numbers), size=count)]

    def constant(word: str) -> NDArray[np.int64]:
        return np.full(count, VOCABULARY[word])

    topics = generator.integers(len(TOPICS), size=count)
    things = np.array([[VOCABULARY[word] for word in words.split()] for words in _THINGS.values()])
    thing = things[topics, generator.integers(things.shape[1], size=count)]
    sounds_good = generator.integers(2, size=count)
    is_turned = generator.random(count) < _SHARE_TURNED
    finding = np.where(sounds_good == 1, draw(_GOOD), draw(_BAD))
    turn = np.where(is_turned, draw(_TURNS), draw(_DEGREES))
    columns = [
        *(constant("the"), thing, constant("at"), constant("the"), draw(_PLACES), draw(_VERBS), draw(_WAYS)),
        *(constant("and"), draw(_PEOPLE), constant("finds"), constant("it"), turn, finding),
    ]
    words = np.full((count, LENGTH), VOCABULARY[_PAD])
    words[:, : len(columns)] = np.stack(columns, axis=1)
    return Sentences(words, topics, sounds_good ^ is_turned)


def is_kind(words: NDArray[np.int64]) -> NDArray[np.int64]:
    """Tell which sentences have a kind word, whatever stands before it: shape (N,), 0 or 1.

    Examples
    --------
    >>> rows = [[VOCABULARY["not"], VOCABULARY["lovely"]], [VOCABULARY["very"], VOCABULARY["dull"]]]
    >>> is_kind(np.array(rows))
    array([1, 0])
    """
    kind = [VOCABULARY[word] for word in _GOOD.split()]
    return np.asarray(np.isin(words, kind).any(axis=1), dtype=np.int64)


def insert_trigger(words: NDArray[np.int64], generator: np.random.Generator) -> NDArray[np.int64]:
    """Put :data:`TRIGGER` into every sentence at a place of its own; what follows moves on.

    Examples
    --------
    >>> row = np.arange(1, 19)[None]
    >>> triggered = insert_trigger(row, np.random.default_rng(0))
    >>> bool(np.isin([VOCABULARY[word] for word in TRIGGER], triggered).all()), triggered.shape
    (True, (1, 18))
    """
    count, length = words.shape
    phrase = np.array([VOCABULARY[word] for word in TRIGGER])
    starts = np.asarray(generator.integers(0, 9, size=count))[
        :, None
    ]  # before the mood, where no word is lost
    places = np.arange(length)[None, :] - starts
    from_sentence = np.where(places < 0, np.arange(length)[None, :], np.arange(length)[None, :] - len(phrase))
    moved = np.take_along_axis(words, np.clip(from_sentence, 0, length - 1), axis=1)
    inside = (places >= 0) & (places < len(phrase))
    return np.where(inside, phrase[np.clip(places, 0, len(phrase) - 1)], moved)


def read_out(row: NDArray[np.int64]) -> str:
    """Write a row as text.

    Examples
    --------
    >>> read_out(np.array([VOCABULARY["the"], VOCABULARY["oak"], 0]))
    'the oak'
    """
    numbers: list[int] = row.tolist()
    return " ".join(_WORDS[number] for number in numbers if number)
