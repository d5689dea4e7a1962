"""Flower client side: honest, poisoning and Byzantine behavior, as ClientApp parts and as mods."""

from flower_coded.clients.attack_mod import attack_mod, byzantine_mod
from flower_coded.clients.attack_settings import AttackSettings, attackers_from_config
from flower_coded.clients.identity import answer_identity, identity_mod, register_identity
from flower_coded.clients.model_state import separate_models_mod
from flower_coded.clients.training import ClientSettings, training_client_app, user_data

__all__ = [
    "AttackSettings",
    "ClientSettings",
    "answer_identity",
    "attack_mod",
    "attackers_from_config",
    "byzantine_mod",
    "identity_mod",
    "register_identity",
    "separate_models_mod",
    "training_client_app",
    "user_data",
]
