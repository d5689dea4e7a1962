"""Every attack that a run configuration can name: what it acts on, its classes, its options and their bounds.

A new attack is a class in a file of its own and a row here; nothing else names it. A row has up to three
parts. The part on *data* changes images and labels before the training, the part on *updates* crafts what is
sent from honest updates, the part on *replies* spoils the reply to a train message. An attack with a part on
data and one on updates trains its own update on poisoned data and crafts it afterwards.

Left out: the lies of one protocol only, which that protocol's clients read
(:mod:`~flower_coded.attacks.worker_errors`, :mod:`~flower_coded.attacks.analog_collusion`,
:mod:`~flower_coded.attacks.ramp_krum_deviations`, :mod:`~flower_coded.attacks.code_book_poisoning`).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from flower_coded.attacks.adversarial_trigger import AdversarialTrigger
from flower_coded.attacks.data import DataAttack, LabelFlip, draw_backdoor
from flower_coded.attacks.edge_case import EdgeCase
from flower_coded.attacks.krum_attack import KrumAttack
from flower_coded.attacks.mimic import Mimic
from flower_coded.attacks.optimized_factor import OptimizedInnerProduct, OptimizedLittleIsEnough
from flower_coded.attacks.optimized_perturbation import PERTURBATIONS, MinMax, MinSum
from flower_coded.attacks.options import Option, OptionValue
from flower_coded.attacks.poisoned_update import ModelReplacement, Neurotoxin, NormProjection
from flower_coded.attacks.rehearsal import RULE_NAMES, RuleAware
from flower_coded.attacks.replies import LateAnswer, MalformedArrays, MalformedMetrics, NoAnswer
from flower_coded.attacks.tailored_perturbation import TailoredPerturbation
from flower_coded.attacks.three_d_fed import ThreeDFed
from flower_coded.attacks.triggers import BlendedTrigger, DistributedTrigger, PixelTrigger, Trigger
from flower_coded.attacks.trimmed_mean_attack import TrimmedMeanAttack
from flower_coded.attacks.updates import (
    ALittleIsEnough,
    GaussianNoise,
    InnerProductManipulation,
    NotANumber,
    SignFlip,
)

__all__ = ["ATTACKS", "OPTIONS", "AttackRow", "Colluders", "DataTask", "Part"]

ActsOn = Literal["data", "updates", "replies"]


@dataclass(frozen=True)
class DataTask:
    """What an attack on data is made for.

    Attributes
    ----------
    image_shape : (int, int, int)
        Channels, height, width.
    num_classes : int
    seed : int
        The colluders' common seed, from which they draw trigger and target.
    colluder : (int, int)
        Rank among the colluders, and their number.
    backdoor : int
        Which of several backdoors, of an attack that has more than one.
    """

    image_shape: tuple[int, int, int]
    num_classes: int
    seed: int
    colluder: tuple[int, int] = (0, 1)
    backdoor: int = 0


@dataclass(frozen=True)
class Colluders:
    """What an attack on updates is made for: ``m`` attackers among ``n`` users.

    Attributes
    ----------
    num_users, num_attackers : int
        ``n`` and ``m``.
    attackers : tuple of int
        The attackers' positions among the users, where they are known.
    rank : int
        Which of the colluders crafts, from 0; most attacks send the same whoever does.
    """

    num_users: int
    num_attackers: int
    attackers: tuple[int, ...] = ()
    rank: int = 0


@dataclass(frozen=True)
class Part:
    """What an attack does to one thing.

    Attributes
    ----------
    kind : type
        The class that does it.
    options : tuple of Option
        What may be chosen; an option that is not set keeps the class's default.
    make : callable or None
        ``make(circumstances, **chosen)`` gives the attack; None is ``kind(**chosen)``, whatever the
        circumstances, which are a :class:`DataTask`, :class:`Colluders`, or None for replies.
    """

    kind: type
    options: tuple[Option, ...] = ()
    make: Callable[..., Any] | None = None

    def made(self, circumstances: object, values: Mapping[str, OptionValue]) -> Any:
        """Make the attack with option values by run-config key."""
        chosen = {
            option.parameter: values[option.key]
            for option in self.options
            if values.get(option.key, option.unset) != option.unset
        }
        return self.kind(**chosen) if self.make is None else self.make(circumstances, **chosen)


@dataclass(frozen=True)
class AttackRow:
    """One attack.

    Attributes
    ----------
    name : str
        In a run configuration.
    data, updates, replies : Part or None
        What it does to each; nothing where None.
    training : tuple of Option
        Options of how an attacker trains; an app reads them that can.
    trains_itself : bool
        Whether an attacker trains in a way of its own (:mod:`flower_coded.clients.attacker_training`), and
        not as everybody does on changed data. An app whose training nobody may edit cannot make such an
        attack.
    backdoors_by : str
        Where there are several backdoors, what decides which one is planted: ``"models"`` of an ensemble, or
        ``"users"``, who are groups that know nothing of each other.

    Examples
    --------
    >>> ATTACKS["neurotoxin"].acts_on, ATTACKS["sign-flip"].acts_on
    (('data', 'updates'), ('updates',))
    >>> ATTACKS["sign-flip"].updates.made(Colluders(12, 2), {"attack-scale": 3.0})
    SignFlip(scale=3.0, of_mean=False)
    """

    name: str
    data: Part | None = None
    updates: Part | None = None
    replies: Part | None = None
    training: tuple[Option, ...] = ()
    trains_itself: bool = False
    backdoors_by: Literal["", "models", "users"] = ""

    @property
    def acts_on(self) -> tuple[ActsOn, ...]:
        """What the attack changes."""
        names: tuple[ActsOn, ...] = ("data", "updates", "replies")
        return tuple(name for name in names if getattr(self, name) is not None)

    @property
    def options(self) -> tuple[Option, ...]:
        """Options of all parts."""
        parts = (part.options for part in (self.data, self.updates, self.replies) if part is not None)
        return (*itertools.chain(*parts), *self.training)


_RATE = Option(
    "poison-rate", "rate", float, 0.05, above=0, most=1, meaning="share of an attacker's samples poisoned"
)
_TARGET = Option("attack-target", "target", int, -1, above=-1, meaning="target class; -1 draws it")
_SOURCE = Option(
    "attack-source", "source", int, -1, above=-1, meaning="only images of this class are poisoned; -1: of any"
)
_DIRECTION = Option(
    "attack-perturbation", "perturbation", str, "deviation", choices=PERTURBATIONS, meaning="direction p"
)
_MODELS = Option(
    "attack-models",
    "models",
    str,
    "",
    meaning="models of an ensemble that attackers poison: 0,3,5, or with a trigger each: 0:0,3:1; a goal in "
    "a sweep; empty: all of theirs",
)
_BACKDOORS = Option(
    "attack-backdoors", "backdoors", int, 0, above=0, most=9, meaning="number of backdoors, 2"
)
_CONSTRAIN = Option(
    "attack-constrain", "constrain", float, 1.0, above=0, most=1, meaning="share of the training loss"
)
_RULE = Option(
    "attack-rule", "rule", str, "", choices=RULE_NAMES, meaning="the server's rule, as the attackers believe"
)


def _scale(
    meaning: str,
    parameter: str = "scale",
    *,
    above: float = 0,
    most: float = math.inf,
    below: float = math.inf,
) -> Option:
    """Make the option ``attack-scale``, an attack's own number; 0 is that attack's default."""
    return Option("attack-scale", parameter, float, 0.0, above=above, most=most, below=below, meaning=meaning)


def _backdoor(trigger: type[Trigger], *options: Option) -> Part:
    def draw(task: DataTask, **chosen: Any) -> DataAttack:
        return draw_backdoor(
            trigger,
            task.image_shape,
            task.num_classes,
            seed=task.seed,
            colluder=task.colluder,
            group=task.backdoor,
            **chosen,
        )

    return Part(trigger, (_RATE, _TARGET, _SOURCE, *options), draw)


def _model_trigger(task: DataTask, **chosen: Any) -> DataAttack:
    """Draw one of the colluders' triggers, which all ask for the same target."""
    common = draw_backdoor(PixelTrigger, task.image_shape, task.num_classes, seed=task.seed, **chosen)
    if not task.backdoor:
        return common
    chosen = {**chosen, "target": common.target}
    return draw_backdoor(
        PixelTrigger, task.image_shape, task.num_classes, seed=task.seed, group=task.backdoor, **chosen
    )


def _edge_case(task: DataTask, **chosen: Any) -> EdgeCase:
    return EdgeCase.draw(task.num_classes, seed=task.seed, **chosen)


def _label_flip(task: DataTask) -> LabelFlip:
    return LabelFlip(task.num_classes)


def _little_is_enough(colluders: Colluders, **chosen: Any) -> ALittleIsEnough:
    return ALittleIsEnough(colluders.num_users, colluders.num_attackers, **chosen)


def _rule_aware(kind: type[RuleAware], *options: Option) -> Part:
    def make(colluders: Colluders, **chosen: Any) -> RuleAware:
        numbers = (colluders.num_users, colluders.num_attackers)
        return kind(*numbers, attackers=colluders.attackers, **chosen)

    return Part(kind, options, make)


def _three_d_fed(colluders: Colluders, **chosen: Any) -> ThreeDFed:
    return ThreeDFed(colluders.num_attackers, colluders.rank, **chosen)


def _model_replacement(colluders: Colluders, **chosen: Any) -> ModelReplacement:
    # gamma = n / eta under a server learning rate of 1, shared by the m colluders
    return ModelReplacement(**({"scale": colluders.num_users / colluders.num_attackers} | chosen))


def _malformed(kind: type, fault: str) -> Part:
    return Part(kind, make=lambda _: kind(fault))


_ROWS = (
    AttackRow("none"),
    AttackRow("pixel-trigger", data=_backdoor(PixelTrigger)),
    AttackRow(
        "blended-trigger",
        data=_backdoor(BlendedTrigger, _scale("strength, 0.2", "strength", most=1)),
    ),
    AttackRow("distributed-trigger", data=_backdoor(DistributedTrigger)),
    AttackRow("selective-trigger", data=_backdoor(PixelTrigger), training=(_MODELS,)),
    AttackRow(
        "model-triggers",
        data=Part(PixelTrigger, (_RATE, _TARGET, _SOURCE), _model_trigger),
        training=(_MODELS, _BACKDOORS),
        backdoors_by="models",
    ),
    AttackRow(
        "independent-groups", data=_backdoor(PixelTrigger), training=(_BACKDOORS,), backdoors_by="users"
    ),
    AttackRow("label-flip", data=Part(LabelFlip, make=_label_flip)),
    AttackRow(
        "model-replacement",
        data=_backdoor(PixelTrigger),
        updates=Part(ModelReplacement, (_scale("γ, n / m"),), _model_replacement),
        training=(_CONSTRAIN,),
    ),
    AttackRow(
        "neurotoxin",
        data=_backdoor(PixelTrigger),
        updates=Part(Neurotoxin, (_scale("share of coordinates, 0.05", below=1),)),
    ),
    AttackRow(
        "edge-case",
        data=Part(EdgeCase, (_RATE, _TARGET), _edge_case),
        updates=Part(NormProjection, (_scale("radius, the largest known honest norm"),)),
    ),
    AttackRow(
        "3dfed",
        data=_backdoor(PixelTrigger),
        updates=Part(ThreeDFed, (_scale("a, 0.5", "strength", below=1),), _three_d_fed),
        training=(_CONSTRAIN,),
    ),
    AttackRow(
        "a3fl",
        data=_backdoor(AdversarialTrigger),
        training=(_scale("λ, 0.01"),),
        trains_itself=True,
    ),
    AttackRow(
        "chameleon",
        data=_backdoor(PixelTrigger),
        training=(_scale("weight of the target class, 2"),),
        trains_itself=True,
    ),
    AttackRow(
        "alternating-minimization",
        data=_backdoor(PixelTrigger),
        training=(_scale("λ, n / m"),),
        trains_itself=True,
    ),
    AttackRow("sign-flip", updates=Part(SignFlip, (_scale("c, 1"),))),
    AttackRow("gaussian", updates=Part(GaussianNoise, (_scale("s, 200"),))),
    AttackRow("inner-product", updates=Part(InnerProductManipulation, (_scale("e, 0.5"),))),
    AttackRow(
        "little-is-enough",
        updates=Part(ALittleIsEnough, (_scale("z, z_max", "z"),), _little_is_enough),
    ),
    AttackRow("min-max", updates=Part(MinMax, (_DIRECTION,))),
    AttackRow("min-sum", updates=Part(MinSum, (_DIRECTION,))),
    AttackRow("optimized-little-is-enough", updates=_rule_aware(OptimizedLittleIsEnough, _RULE)),
    AttackRow("optimized-inner-product", updates=_rule_aware(OptimizedInnerProduct, _RULE)),
    AttackRow("tailored-perturbation", updates=_rule_aware(TailoredPerturbation, _RULE, _DIRECTION)),
    AttackRow("krum-attack", updates=_rule_aware(KrumAttack)),
    AttackRow("trimmed-mean-attack", updates=Part(TrimmedMeanAttack, (_scale("b, 2", above=1),))),
    AttackRow("mimic", updates=Part(Mimic)),
    AttackRow("nan", updates=Part(NotANumber)),
    AttackRow("wrong-shape", replies=_malformed(MalformedArrays, "wrong-shape")),
    AttackRow("infinite", replies=_malformed(MalformedArrays, "infinite")),
    AttackRow("huge", replies=_malformed(MalformedArrays, "huge")),
    AttackRow("wrong-keys", replies=_malformed(MalformedArrays, "wrong-keys")),
    AttackRow("negative-num-examples", replies=_malformed(MalformedMetrics, "negative-num-examples")),
    AttackRow("no-num-examples", replies=_malformed(MalformedMetrics, "no-num-examples")),
    AttackRow("no-metrics", replies=_malformed(MalformedMetrics, "no-metrics")),
    AttackRow("silence", replies=_malformed(NoAnswer, "silence")),
    AttackRow("no-reply", replies=_malformed(NoAnswer, "no-reply")),
    AttackRow("exception", replies=_malformed(NoAnswer, "exception")),
    AttackRow("late", replies=Part(LateAnswer, (_scale("seconds, 5", "seconds"),))),
)

ATTACKS: dict[str, AttackRow] = {row.name: row for row in _ROWS}
"""Every attack by its name, honesty (``none``) among them."""

OPTIONS: dict[str, OptionValue] = {option.key: option.unset for row in _ROWS for option in row.options}
"""Every option's run-config key, and the value that leaves the choice to the attack."""
