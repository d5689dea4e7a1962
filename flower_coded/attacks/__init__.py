"""Attacks on data, on updates and on protocols, each with its threat model."""

from flower_coded.attacks.data import (
    TRIGGER_NAMES,
    Backdoor,
    BlendedTrigger,
    DataAttack,
    LabelFlip,
    PixelTrigger,
    Poisoned,
    Trigger,
    draw_backdoor,
    poison,
)
from flower_coded.attacks.updates import (
    UPDATE_ATTACKS,
    ALittleIsEnough,
    GaussianNoise,
    InnerProductManipulation,
    NotANumber,
    SignFlip,
    UpdateAttack,
    VoidAttackWarning,
    get_update_attack,
    little_is_enough_z,
)

__all__ = [
    "TRIGGER_NAMES",
    "UPDATE_ATTACKS",
    "ALittleIsEnough",
    "Backdoor",
    "BlendedTrigger",
    "DataAttack",
    "GaussianNoise",
    "InnerProductManipulation",
    "LabelFlip",
    "NotANumber",
    "PixelTrigger",
    "Poisoned",
    "SignFlip",
    "Trigger",
    "UpdateAttack",
    "VoidAttackWarning",
    "draw_backdoor",
    "get_update_attack",
    "little_is_enough_z",
    "poison",
]
