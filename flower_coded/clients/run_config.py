"""Reading a run configuration: one check per key, one form of message.

A value has the type of its default, or one that converts without loss (an integer where a number is expected,
digits in a string, because command lines deliver strings). Anything else is refused by name.
"""

from __future__ import annotations

import difflib
import functools
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, TypeVar

from flower_coded.errors import ParameterError

__all__ = [
    "RunConfig",
    "Value",
    "parsed_once",
    "read_bool",
    "read_choice",
    "read_float",
    "read_int",
    "read_text",
    "refuse_misspelled_keys",
    "refuse_unknown_keys",
]

Value = bool | int | float | str
RunConfig = Mapping[str, Value]
T = TypeVar("T")

_LIKENESS = (
    0.85  # of two spellings: above it, one key is a slip of the other (a missing letter in ten is .95)
)
_LONG_KEY = 7  # letters from which two keys are not that like by chance


def read_int(run_config: RunConfig, key: str, default: int, *, least: int = 0) -> int:
    """Read an integer of at least ``least``.

    Examples
    --------
    >>> read_int({"seed": "7"}, "seed", 0), read_int({}, "seed", 3)
    (7, 3)
    """
    value = run_config.get(key, default)
    try:
        number = int(value)
    except ValueError:
        number = least - 1
    if isinstance(value, bool) or (isinstance(value, float) and value != number) or number < least:
        raise ParameterError(key, f"must be an integer of at least {least}", value, hint=f"{default}, say")
    return number


def read_float(
    run_config: RunConfig, key: str, default: float, *, least: float = 0.0, most: float = float("inf")
) -> float:
    """Read a number in ``[least, most]``.

    Examples
    --------
    >>> read_float({"poison-rate": 1}, "poison-rate", 0.05, most=1.0)
    1.0
    """
    value = run_config.get(key, default)
    try:
        number = float(value)
    except ValueError:
        number = float("nan")
    if isinstance(value, bool) or not least <= number <= most:
        bounds = f"of at least {least:g}" if most == float("inf") else f"between {least:g} and {most:g}"
        raise ParameterError(key, f"must be a number {bounds}", value, hint=f"{default:g}, say")
    return number


def read_bool(run_config: RunConfig, key: str, default: bool) -> bool:
    """Read yes or no: a bool, or its name as text, however it is capitalized.

    Examples
    --------
    >>> read_bool({"flip": "false"}, "flip", True), read_bool({"flip": True}, "flip", False)
    (False, True)
    >>> read_bool({"flip": "no"}, "flip", False)
    Traceback (most recent call last):
        ...
    flower_coded.errors.ParameterError: flip must be true or false; received 'no' (false, say)
    """
    value = run_config.get(key, default)
    # Not bool(value): every text but the empty one is true, "false" among them.
    named = {"true": True, "false": False}.get(str(value).lower())
    if named is None:
        raise ParameterError(key, "must be true or false", value, hint=f"{str(default).lower()}, say")
    return named


def read_text(run_config: RunConfig, key: str, default: str) -> str:
    """Read a string.

    Examples
    --------
    >>> read_text({"device": "cuda"}, "device", "cpu")
    'cuda'
    """
    value = run_config.get(key, default)
    if not isinstance(value, str):
        raise ParameterError(key, "must be text", value, hint=f"{default!r}, say")
    return value


def read_choice(run_config: RunConfig, key: str, default: str, choices: Iterable[str]) -> str:
    """Read one of several words; a word that is close to one of them is named in the message.

    Examples
    --------
    >>> read_choice({"attack": "sign-flop"}, "attack", "none", ["none", "sign-flip"])
    Traceback (most recent call last):
        ...
    flower_coded.errors.ParameterError: attack must be one of none, sign-flip; received 'sign-flop' (...)
    """
    options = list(choices)
    value = read_text(run_config, key, default)
    if value not in options:
        raise ParameterError(
            key, f"must be one of {', '.join(options)}", value, hint=_closest(value, options)
        )
    return value


def refuse_unknown_keys(run_config: RunConfig, prefix: str, known: Iterable[str]) -> None:
    """Refuse a key that starts with ``prefix`` and is none of the known ones: a typing error.

    Examples
    --------
    >>> refuse_unknown_keys({"attack-sclae": 2.0}, "attack", ["attack", "attack-scale"])
    Traceback (most recent call last):
        ...
    flower_coded.errors.ParameterError: run configuration must have only the keys attack, attack-scale ...
    """
    options = list(known)
    for key in run_config:
        if key.startswith(prefix) and key not in options:
            raise ParameterError(
                "run configuration",
                f"must have only the keys {', '.join(options)} that start with {prefix!r}",
                key,
                hint=_closest(key, options),
            )


def refuse_misspelled_keys(run_config: RunConfig, known: Collection[str]) -> None:
    """Refuse a key that is nearly one of the known ones: it would be read by nobody, in silence.

    Other keys pass, since a ClientApp finds the server's and its author's in the configuration too. A key
    that is nearly a short one (``seeds``) passes where the short one is there as well.

    Examples
    --------
    >>> refuse_misspelled_keys({"local-epoch": 3, "num-server-rounds": 9}, ["local-epochs"])
    Traceback (most recent call last):
        ...
    flower_coded.errors.ParameterError: run configuration must spell its keys as they are read; received
    'local-epoch' (did you mean 'local-epochs'? ...)
    """
    for key in run_config.keys() - set(known):
        word = key.replace("_", "-").lower()
        swapped = [own for own in known if sorted(own) == sorted(word)]
        for own in [*swapped, *difflib.get_close_matches(word, known, cutoff=_LIKENESS)]:
            if len(own) >= _LONG_KEY or own not in run_config:
                raise ParameterError(
                    "run configuration",
                    "must spell its keys as they are read",
                    key,
                    hint=f"did you mean {own!r}? A key of your own needs a name that is less like it",
                )


def parsed_once(read: Callable[..., T]) -> Callable[..., T]:
    """Keep what ``read(run_config, *more)`` gives, so that a message's configuration is parsed once.

    Nodes that share a process share it too. What ``read`` raises is raised every time.

    Examples
    --------
    >>> parse = parsed_once(lambda run_config: print("parsed") or run_config["seed"])
    >>> parse({"seed": 7}), parse({"seed": 7}), parse({"seed": 7.0})
    parsed
    parsed
    (7, 7, 7.0)
    """

    @functools.lru_cache(maxsize=16)
    def parse(items: tuple[tuple[str, type, Value], ...], *more: Any) -> T:
        return read({key: value for key, _, value in items}, *more)

    @functools.wraps(read)
    def parse_once(run_config: RunConfig, *more: Any) -> T:
        # Types belong to the key: 7, 7.0 and True are refused or taken differently, and equal as keys.
        return parse(tuple((key, type(value), value) for key, value in sorted(run_config.items())), *more)

    return parse_once


def _closest(word: str, options: list[str]) -> str:
    close = difflib.get_close_matches(word, options, n=1)
    return f"did you mean {close[0]!r}?" if close else ""
