"""Twelve users, who behave in every act as the act's messages say.

In a deployment nobody is told to attack. Here the server directs the play: settings of the act travel in the
train message, and :func:`act_mod` puts them in the place of the run's own. That lets one run play all acts.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from flwr.app import Context, Message
from flwr.clientapp.typing import ClientAppCallable

from classroom.acts import PREFIX
from flower_coded.clients import training_client_app
from flower_coded.clients.ramp_krum import ramp_krum_mod


def act_mod(message: Message, context: Context, call_next: ClientAppCallable) -> Message:
    """Flower mod: for this message, let the settings that it carries replace those of the run."""
    settings: dict[str, Any] = {
        key.removeprefix(PREFIX): value
        for record in message.content.config_records.values()
        for key, value in record.items()
        if key.startswith(PREFIX)
    }
    if not settings:
        return call_next(message, context)
    return call_next(message, replace(context, run_config={**context.run_config, **settings}))


app = training_client_app(mods=[act_mod, ramp_krum_mod])
