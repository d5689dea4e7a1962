"""A part of a model is trained, under any strategy, with a ClientApp that knows nothing of it.

``ClientApp(mods=[frozen_mod(whole_model)])``: the server sends the arrays that are trained; the mod puts them
among the others, which the node has already, hands the whole to the app, and takes from its reply what the
server had sent. Frozen arrays never travel, in no message and no direction, and what an app does to them in a
round is forgotten. An app that loads and returns the trained part itself (``flower_coded.learning.get_state``
of a model with frozen parameters, a ``peft`` state dict) needs no mod.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from flwr.app import ArrayRecord, Context, Message, MessageType
from flwr.clientapp.typing import ClientAppCallable, Mod
from numpy.typing import NDArray

from flower_coded.errors import ParameterError
from flower_coded.wire.frozen import check_frozen, frozen_part, merge_frozen
from flower_coded.wire.model_state import read_state, to_array_record

__all__ = ["frozen_mod"]


def frozen_mod(whole_model: Callable[[], Mapping[str, NDArray[Any]]]) -> Mod:
    """Make the mod described in the module.

    Parameters
    ----------
    whole_model : callable
        Gives all arrays of the model by name, the frozen ones as every node has them. It is asked once per
        message: keep what is slow to load.

    Returns
    -------
    Mod
        Goes before the mods of a protocol: ``mods=[ramp_krum_mod, frozen_mod(whole_model)]`` shares the
        trained part alone.

    Examples
    --------
    >>> import numpy as np
    >>> from flwr.clientapp import ClientApp
    >>> app = ClientApp(mods=[frozen_mod(lambda: {"body": np.zeros(4), "head": np.zeros(1)})])
    """

    def mod(message: Message, context: Context, call_next: ClientAppCallable) -> Message:
        kind = message.metadata.message_type.split(".")[0]
        if kind not in {MessageType.TRAIN, MessageType.EVALUATE} or not message.content.array_records:
            return call_next(message, context)
        name, sent = _the_record(message)
        whole = whole_model()
        trained = read_state(sent)
        check_frozen(message.content, frozen_part(whole, trained))
        message.content[name] = to_array_record(merge_frozen(whole, trained))
        reply = call_next(message, context)
        if reply.has_content() and reply.content.array_records:
            answered, arrays = _the_record(reply)
            missing = [each for each in sent if each not in arrays]
            if missing:
                raise ParameterError("arrays", f"must hold {', '.join(sent)}", f"none named {missing[0]}")
            reply.content[answered] = ArrayRecord({each: arrays[each] for each in sent})
        return reply

    return mod


def _the_record(message: Message) -> tuple[str, ArrayRecord]:
    found = list(message.content.array_records.items())
    if len(found) != 1:
        raise ParameterError("content", "must have exactly one ArrayRecord", [name for name, _ in found])
    return found[0]
