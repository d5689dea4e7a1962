"""A state per model: what an app remembers of one model of an ensemble never reaches another.

Flower gives a node one ``context.state`` per run. A user of a coded ensemble trains several models in it, one
message each, and an app that keeps something from one message to the next (an optimizer's momentum, a
personal head, control variates) would carry what an attacker planted in one model over to models that never
hear the attacker: the code's promise is gone, through an honest user. With this mod the app finds, under each
model, what it left there when it last had that model, and nothing else.

Around an app that keeps no state, and in runs of one model, the mod changes nothing. Models that come stacked
in one message (``coded-models``) share a state per stack, since the app trains them together anyway.
"""

from __future__ import annotations

from dataclasses import replace

from flwr.app import Context, Message, RecordDict
from flwr.clientapp.typing import ClientAppCallable

from flower_coded.wire.keys import MODEL_KEY, MODELS_KEY

__all__ = ["models_in", "separate_models_mod"]


def separate_models_mod(message: Message, context: Context, call_next: ClientAppCallable) -> Message:
    """Flower mod: let the app see the state of the message's model, and only that.

    It goes before every mod that keeps a state for a model: ``ClientApp(mods=[separate_models_mod, …])``.

    Examples
    --------
    >>> from flwr.clientapp import ClientApp
    >>> app = ClientApp(mods=[separate_models_mod])
    """
    models = models_in(message)
    if not models:
        return call_next(message, context)
    prefix = f"model {','.join(map(str, models))}: "
    own = {key.removeprefix(prefix): each for key, each in context.state.items() if key.startswith(prefix)}
    of_model = replace(context, state=RecordDict(own))
    reply = call_next(message, of_model)
    for key in own:
        del context.state[prefix + key]
    for key, record in of_model.state.items():
        context.state[prefix + key] = record
    return reply


def models_in(message: Message) -> list[int | str]:
    """Labels of the models of a coded ensemble in a message, or their numbers where the server tells them.

    Empty where the message is about no ensemble.
    """
    if not message.has_content():
        return []
    for record in message.content.config_records.values():
        models, model = record.get(MODELS_KEY), record.get(MODEL_KEY)
        if isinstance(models, list):
            return [each for each in models if isinstance(each, int | str)]
        if isinstance(model, int | str):
            return [model]
    return []
