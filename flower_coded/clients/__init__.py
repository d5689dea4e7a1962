"""Flower client side: honest, poisoning and Byzantine behavior, as ClientApp parts and as mods.

What trains is imported when it is first used. A deployment starts a process for every message, and a worker
that only multiplies should not load what a trainer needs: importing :mod:`flower_coded.clients.encoded_gd`
loads neither torch nor a strategy.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from flower_coded.clients.attack_mod import attack_mod, byzantine_mod
from flower_coded.clients.attack_settings import AttackSettings, attackers_from_config
from flower_coded.clients.frozen import frozen_mod
from flower_coded.clients.identity import answer_identity, identity_mod, register_identity
from flower_coded.clients.model_state import separate_models_mod

if TYPE_CHECKING:
    from flower_coded.clients.client_settings import ClientSettings, user_data
    from flower_coded.clients.training import training_client_app

__all__ = [
    "AttackSettings",
    "ClientSettings",
    "answer_identity",
    "attack_mod",
    "attackers_from_config",
    "byzantine_mod",
    "frozen_mod",
    "identity_mod",
    "register_identity",
    "separate_models_mod",
    "training_client_app",
    "user_data",
]

_NEED_TORCH = {
    "ClientSettings": "client_settings",
    "training_client_app": "training",
    "user_data": "client_settings",
}


def __getattr__(name: str) -> Any:
    if name in _NEED_TORCH:
        return getattr(import_module(f"flower_coded.clients.{_NEED_TORCH[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
