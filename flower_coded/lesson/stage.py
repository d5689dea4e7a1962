"""The lesson's four parts as a page shows them: words, controls, and the blocks that answer a setting.

A block is what JSON can hold: ``text`` (with ``**bold**`` and `` `code` ``), ``table`` (columns and rows), or
``matrix`` (which user belongs to which model). The page draws them and knows nothing else of the lesson, so a
browser that runs this module and a test that runs it here see the same.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from flower_coded.errors import FlowerCodedError, ParameterError
from flower_coded.lesson.breaking import break_a_code
from flower_coded.lesson.controls import Choice, Control, IndexSet, Number, Slider
from flower_coded.lesson.secret import NUM_COLLUDERS, NUM_SHARERS, share_a_number
from flower_coded.lesson.vote import lesson_code, models_of, take_a_vote
from flower_coded.lesson.worker import NUM_WORKERS, Product, ask_workers

__all__ = ["PARTS", "Block", "Part", "described_lesson", "respond"]

Block = dict[str, Any]

_MOST_CHARACTERS = 500  # of one part's settings; the longest that a page sends has about 200


@dataclass(frozen=True)
class Part:
    """One part of the lesson.

    Attributes
    ----------
    name, title : str
    minutes : int
    text : str
        What is played, before anything is moved.
    question : str
        To ask the class.
    controls : tuple of Control
    answer : callable
        Takes the checked settings as keywords, returns the blocks.
    """

    name: str
    title: str
    minutes: int
    text: str
    question: str
    controls: tuple[Control, ...]
    answer: Callable[..., list[Block]]

    def respond(self, settings: Mapping[str, Any]) -> list[Block]:
        """Answer settings as they come from a page; what is left out has its first value.

        Raises
        ------
        ParameterError
            If there is no such setting, or no such value.
        """
        known = {control.name: control for control in self.controls}
        unknown = sorted(set(settings) - set(known))
        if unknown:
            raise ParameterError(unknown[0], f"must be one of {', '.join(known)}", settings[unknown[0]])
        given = {name: control.described()["value"] for name, control in known.items()} | dict(settings)
        return self.answer(**{name: known[name].check(value) for name, value in given.items()})


def respond(part: str, settings: str) -> str:
    """Answer one part's settings, from JSON to JSON: ``{"blocks": …}``, or ``{"refusal": …}`` in words.

    Parameters
    ----------
    part : str
        Its name.
    settings : str
        A JSON object.

    Examples
    --------
    >>> respond("secret", '{"together": 9}')
    '{"refusal": "together must be a whole number from 1 to 7; received 9"}'
    """
    try:
        found = next((each for each in PARTS if each.name == part), None)
        if found is None:
            raise ParameterError("part", f"must be one of {', '.join(each.name for each in PARTS)}", part)
        return json.dumps({"blocks": found.respond(_object(settings))})
    except FlowerCodedError as refusal:
        return json.dumps({"refusal": str(refusal)})


def described_lesson() -> list[dict[str, Any]]:
    """Return all that a page draws before anybody moves anything, as JSON has it."""
    return [
        {
            "name": part.name,
            "title": part.title,
            "minutes": part.minutes,
            "text": part.text,
            "question": part.question,
            "controls": [control.described() for control in part.controls],
            "blocks": part.respond({}),
        }
        for part in PARTS
    ]


def _object(text: str) -> dict[str, Any]:
    if len(text) > _MOST_CHARACTERS:  # before it is read: a long text may be nested deeper than the stack
        raise ParameterError("settings", f"must have at most {_MOST_CHARACTERS} characters", len(text))
    try:
        settings = json.loads(text)
    except ValueError as error:
        raise ParameterError("settings", "must be JSON", text, hint=str(error)) from error
    if not isinstance(settings, dict):
        raise ParameterError("settings", "must be a JSON object", text)
    return settings


def _text(text: str) -> Block:
    return {"kind": "text", "text": text}


def _table(columns: tuple[str, ...], rows: list[tuple[Any, ...]]) -> Block:
    return {"kind": "table", "columns": list(columns), "rows": [list(map(str, row)) for row in rows]}


def _listed(numbers: tuple[int, ...]) -> str:
    return ", ".join(map(str, numbers)) or "nobody"


def _vote(
    code: str, liars: tuple[int, ...], spared: tuple[int, ...], mistakes: float, seed: int
) -> list[Block]:
    subset_code = lesson_code(code)
    reached = models_of(subset_code, liars)
    poisoned = tuple(model for model in reached.tolist() if model not in spared)
    readouts = take_a_vote(subset_code, liars, poisoned, mistakes=mistakes, seed=seed)
    rows = [
        (
            readout.decoder,
            f"{readout.accuracy:.3f}",
            f"{readout.accuracy_under_attack:.3f}",
            f"{readout.attack_success:.3f}",
            _listed(readout.accused),
            len(set(readout.accused) - set(liars)),
        )
        for readout in readouts
    ]
    matrix = {
        "kind": "matrix",
        "rows": subset_code.matrix.astype(int).tolist(),
        "liars": list(liars),
        "reached": reached.tolist(),
        "poisoned": list(poisoned),
    }
    margin = subset_code.num_models - 2 * len(poisoned)
    majority = (
        "a majority of them is **clean**"
        if margin > 0
        else "the vote is **lost**"
        if margin < 0
        else "the vote is **tied**, and the smaller label wins"
    )
    promises = subset_code.guarantees
    told = (
        f"{len(poisoned)} of {subset_code.num_models} models are poisoned, so {majority}. "
        f"The code promises to hold against {promises.corrected} liars who poison all that they reach, and "
        f"against {promises.corrected_selective} who choose."
    )
    columns = ("decoder", "accuracy", "with the trigger", "attack succeeds", "accused users", "innocents")
    return [matrix, _text(told), _table(columns, rows)]


def _break(liars: tuple[int, ...]) -> list[Block]:
    code = lesson_code("correction")
    broken = break_a_code(code, liars)
    rows = list(broken.fooled.items())
    told = "No choice fools the paper's decoder here. Try other liars."
    if broken.example:
        models = f"model{'s' * (len(broken.example) > 1)} {_listed(broken.example)}"
        innocents = sum(user not in liars for user in broken.blamed)
        told = (
            f"Poisoning only {models} fools the paper's decoder, and it blames {_listed(broken.blamed)}: "
            f"**{innocents} innocent**."
        )
    kept = (
        f"This code promises to hold against {code.guarantees.corrected_selective} liars who choose, whoever "
        "they are, and the covering decoder keeps that promise."
    )
    return [
        _table(("decoder", f"choices that fool it, of {broken.num_subsets}"), rows),
        _text(f"{told} {kept}"),
    ]


def _secret(number: int, together: int) -> list[Block]:
    shared = share_a_number(number, together)
    rows = [(f"user {user}", share) for user, share in enumerate(shared.shares)]
    told = (
        f"Refused: {shared.refusal}. And rightly so: for **every** number there are masks that give exactly "
        "these shares, each as likely as any other. Move the slider to and fro: the shares are drawn anew, "
        "the secret stays."
        if shared.rebuilt is None
        else f"Together they know the number: **{shared.rebuilt}**."
    )
    return [_table(("who", "share"), rows), _text(told)]


def _worker(liars: int, lie: int) -> list[Block]:
    products = ask_workers(liars, 10.0**lie)
    rows = [
        ("with keys", _listed(products.caught), _product(products.by_keys)),
        ("the code alone", "", _product(products.by_code)),
    ]
    return [_table(("who finds the liars", "caught", "the product"), rows)]


def _product(product: Product) -> str:
    return f"refused: {product.refusal}" if product.error is None else f"right to {product.error:.0e}"


PARTS = (
    Part(
        "vote",
        "A vote and its limits",
        12,
        "A row is a model, a filled cell a user whom it learns from. Liars teach a trigger to the models "
        "that they reach: such a model answers 8 to every triggered image, whatever it shows. Click a "
        "**user's number** to make a liar of him or honest again, and the word **poisoned** to have the "
        "liars spare a model.",
        "With how many liars does the vote fall? Whom do the decoders accuse if the liars spare half of "
        "their models? Can you have somebody innocent accused?",
        (
            Choice(
                "code",
                "code",
                "correction",
                (
                    ("correction: 12 users, k = 4", "correction"),
                    ("tracking: 16 users, k = 2", "tracking"),
                ),
            ),
            IndexSet("liars", "liars", (0, 1), most=15),
            IndexSet("spared", "models the liars spare", (), most=15),
            Slider("mistakes", "mistakes of clean models", 0.03, least=0.0, most=0.2, step=0.01),
            Slider("seed", "seed", 1, least=1, most=20),
        ),
        _vote,
    ),
    Part(
        "break",
        "Break a code",
        10,
        "The paper's decoder believes that a liar spoils **every** model that he belongs to. Whoever has "
        "read it spoils only some. Here all choices among the liars' models are tried, with models that "
        "never err.",
        "Which pair of liars has most choices that work? What do three liars need?",
        (IndexSet("liars", "the liars are users", (0, 1), most=11, num_shown=12),),
        _break,
    ),
    Part(
        "secret",
        "Share a secret",
        10,
        f"Seven users get a share each; any {NUM_COLLUDERS} learn nothing, any {NUM_COLLUDERS + 1} know the "
        "number.",
        "What do two shares tell about the number? What does the third?",
        (
            Number("number", "a secret number", "2026", most_digits=70),
            Slider("together", "users who put their shares together", 2, least=1, most=NUM_SHARERS),
        ),
        _secret,
    ),
    Part(
        "worker",
        "Make a worker lie",
        10,
        "Seven workers multiply a table by a vector. The code has room for two liars, if it has to find "
        "them by itself. With **keys**, a secret check of every answer, a liar is only somebody whose answer "
        "is missing.",
        "How many liars does each stand? How small a lie does a key notice?",
        (
            Slider("liars", "workers that lie", 2, least=0, most=NUM_WORKERS),
            Slider("lie", "size of the lie, power of ten", 0, least=-15, most=3),
        ),
        _worker,
    ),
)
