"""Models of which a part is trained: what is frozen is not sent, and both sides know that it is the same.

A strategy works on the arrays it is given. Given the trained part of a model alone, it sends, shares, clips,
counts and averages nothing else; the frozen part stays where it is. What could go wrong is that two sides
hold different ones: the server may say which one it means, by digest, in the train configuration::

    config = ConfigRecord({FROZEN_DIGEST_KEY: state_digest(frozen)})
    strategy.start(grid, to_array_record(trained), train_config=config, evaluate_config=config)
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from flwr.app import RecordDict
from numpy.typing import NDArray

from flower_coded.errors import ParameterError
from flower_coded.wire.model_state import State

__all__ = ["FROZEN_DIGEST_KEY", "check_frozen", "frozen_part", "merge_frozen", "state_digest"]

FROZEN_DIGEST_KEY = "frozen-digest"
"""str: digest of the arrays that are not sent, in a ConfigRecord of the server's."""


def state_digest(state: Mapping[str, NDArray[Any]]) -> str:
    """Hash arrays by name, type, shape and bytes, whatever their order.

    Returns
    -------
    str
        32 hexadecimal digits of SHA-256.

    Examples
    --------
    >>> one = {"a": np.zeros(2), "b": np.ones(1)}
    >>> state_digest(one) == state_digest(dict(reversed(one.items())))
    True
    >>> state_digest(one) == state_digest({"a": np.zeros(2, np.float32), "b": np.ones(1)})
    False
    """
    digest = hashlib.sha256()
    for name in sorted(state):
        array = np.asarray(state[name])
        digest.update(f"{len(name)} {name} {array.dtype} {array.shape} ".encode())
        digest.update(np.ascontiguousarray(array).data)  # in C order, whatever the layout; no copy if it is
    return digest.hexdigest()[:32]


def check_frozen(content: RecordDict, frozen: Mapping[str, NDArray[Any]]) -> None:
    """Refuse to train on another network than the server means, where it says which.

    Raises
    ------
    ParameterError
        With both digests.
    """
    for record in content.config_records.values():
        wanted = record.get(FROZEN_DIGEST_KEY)
        if wanted is not None and wanted != (own := state_digest(frozen)):
            raise ParameterError(
                FROZEN_DIGEST_KEY,
                f"must be that of this node's frozen arrays, {own}",
                wanted,
                hint="both sides have to begin from the same pretrained network",
            )


def frozen_part(whole: Mapping[str, NDArray[Any]], trained: Mapping[str, Any]) -> State:
    """Return the arrays of ``whole`` that are not among ``trained``.

    Raises
    ------
    ParameterError
        If ``trained`` has a name that ``whole`` does not have.

    Examples
    --------
    >>> list(frozen_part({"body": np.zeros(2), "head": np.zeros(1)}, {"head": np.ones(1)}))
    ['body']
    """
    unknown = [name for name in trained if name not in whole]
    if unknown:
        raise ParameterError("arrays", f"must be among {', '.join(whole)}", ", ".join(unknown))
    return {name: array for name, array in whole.items() if name not in trained}


def merge_frozen(whole: Mapping[str, NDArray[Any]], trained: Mapping[str, NDArray[Any]]) -> State:
    """Put trained arrays in their places among all of a model, in the order of ``whole``.

    Raises
    ------
    ParameterError
        If a name or a shape is not one of ``whole``.

    Examples
    --------
    >>> merge_frozen({"body": np.zeros(1), "head": np.zeros(1)}, {"head": np.ones(1)})
    {'body': array([0.]), 'head': array([1.])}
    """
    frozen_part(whole, trained)
    for name, array in trained.items():
        if array.shape != whole[name].shape:
            raise ParameterError(name, f"must have shape {whole[name].shape}", array.shape)
    return {name: trained.get(name, array) for name, array in whole.items()}
