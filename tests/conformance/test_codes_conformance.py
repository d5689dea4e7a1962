"""One table of subset code families; every family passes the same checks. A new family adds one row."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import FrozenInstanceError
from functools import partial

import numpy as np
import pytest

from flower_coded.codes import (
    SubsetCode,
    SubsetDecoder,
    backdoor_correction_code,
    backdoor_detection_code,
    backdoor_tracking_code,
    partition_code,
    random_code,
)
from flower_coded.errors import ParameterError

# name: (construction of (k, r, n)-like arguments, arguments, arguments to refuse)
FAMILIES: dict[str, tuple[Callable[..., SubsetCode], tuple[int, ...], list[tuple[object, ...]]]] = {
    "detection": (backdoor_detection_code, (2, 3, 9), [(2, 8, 9), (0, 1, 4), (1, 0, 4), (1, 1.5, 4)]),
    "correction": (backdoor_correction_code, (2, 3, 9), [(2, 8, 9), (0, 1, 4), (1, 0, 4), (1, 1.5, 4)]),
    "tracking": (backdoor_tracking_code, (2, 3, 9), [(2, 8, 9), (0, 1, 4), (1, 0, 4), (1, 1.5, 4)]),
    "partition": (partition_code, (3, 9), [(0, 4), (5, 4), (2.0, 4)]),
    "random": (partial(random_code, seed=1), (5, 3, 9), [(0, 2, 4), (3, 5, 4), (3, 0, 4)]),
}


@pytest.fixture(params=FAMILIES, ids=str)
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def code(family: str) -> SubsetCode:
    construct, arguments, _ = FAMILIES[family]
    return construct(*arguments)


def test_family__says_what_it_is(family: str, code: SubsetCode) -> None:
    assert code.kind == family
    assert code.name
    assert code.num_users == 9


def test_family__trains_every_model_and_uses_every_user(family: str, code: SubsetCode) -> None:
    assert code.matrix.dtype == np.bool_
    assert code.matrix.any(axis=1).all()
    assert family == "random" or code.matrix.any(axis=0).all()
    assert code.row_weight == min(len(code.users_of(model)) for model in range(code.num_models)) >= 3


def test_family__keeps_its_promise(family: str, code: SubsetCode) -> None:
    if code.num_attackers:
        assert code.verify()
        assert code.verify("detection")
    else:
        with pytest.raises(ParameterError):
            code.verify()


def test_family__is_reproducible_and_its_repr_rebuilds_it(family: str, code: SubsetCode) -> None:
    construct, arguments, _ = FAMILIES[family]
    again = construct(*arguments)
    assert again == code
    assert hash(again) == hash(code)
    assert eval(repr(code), {"SubsetCode": SubsetCode}) == code
    assert code != SubsetCode(~np.eye(9, dtype=bool))


def test_family__cannot_be_changed(code: SubsetCode) -> None:
    with pytest.raises(ValueError, match="read-only"):
        code.matrix[0, 0] = True
    with pytest.raises(FrozenInstanceError):
        code.kind = "custom"  # type: ignore[misc]


def test_family__refuses_bad_sizes(family: str) -> None:
    construct, _, refused = FAMILIES[family]
    for arguments in refused:
        with pytest.raises(ParameterError):
            construct(*arguments)


def test_family__can_be_decoded(code: SubsetCode) -> None:
    decoder = SubsetDecoder(code, np.tile(50 * np.eye(4, dtype=int), (code.num_models, 1, 1)))
    agreeing = np.full((code.num_models, 1), 2)
    decoded = decoder.decode(agreeing)
    assert decoded.labels.tolist() == [2]
    assert np.array_equal(agreeing, np.full((code.num_models, 1), 2))
