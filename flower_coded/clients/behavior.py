"""Who attacks, how, and from when: read from the run configuration, the same on every node.

Keys (all optional; without them everybody is honest):

=====================  =========  ==================================================================
key                    default    meaning
=====================  =========  ==================================================================
``attack``             ``none``   one of :data:`ATTACK_NAMES`
``attackers``          ``0``      a count, drawn from the seed; or partition ids with a comma: ``0,3``
                                  or ``3,`` for one
``attack-from-round``  ``1``      first server round in which attackers attack
``attack-target``      ``-1``     target class of a backdoor; -1 draws it from the seed
``attack-scale``       ``0.0``    the update attack's scale (``z`` of little-is-enough), the blended
                                  trigger's strength or the seconds of ``late``; 0 is that attack's default
``attack-perturbation``  ``deviation``  direction of min-max and min-sum: ``deviation``, ``sign``, ``unit``
``attack-constrain``   ``1.0``    share of the training loss in model replacement; the rest is the squared
                                  distance to the global model (constrain-and-scale)
``attack-knowledge``   ``colluders``  whose honest updates are known: ``own``, ``colluders``, ``all``
``attack-num-classes``  ``10``    classes, where only batches are seen (:func:`attack_mod`)
``attack-pixel-low``, ``attack-pixel-high``  ``0.0``, ``1.0``  black and white in those batches
``poison-rate``        ``0.05``   share of an attacker's samples that are poisoned
``seed``               ``0``      draws attackers, trigger and target
=====================  =========  ==================================================================
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from flower_coded.attacks import (
    PERTURBATIONS,
    POISONED_UPDATES,
    TRIGGER_NAMES,
    UPDATE_ATTACKS,
    Backdoor,
    EdgeCase,
    LabelFlip,
    UpdateAttack,
    draw_backdoor,
    get_update_attack,
)
from flower_coded.clients.malformed import MALFORMED_NAMES
from flower_coded.clients.run_config import (
    RunConfig,
    Value,
    read_choice,
    read_float,
    read_int,
    refuse_unknown_keys,
)
from flower_coded.errors import ParameterError

__all__ = [
    "ATTACK_KEYS",
    "ATTACK_NAMES",
    "DATA_ATTACKS",
    "Behavior",
    "attackers_from_config",
    "behavior_from_config",
]

DATA_ATTACKS = (*TRIGGER_NAMES, "label-flip", *POISONED_UPDATES)
ATTACK_NAMES = ("none", *DATA_ATTACKS, *UPDATE_ATTACKS, *MALFORMED_NAMES, "late")
LATE_SECONDS = 5.0
KNOWLEDGE = ("own", "colluders", "all")

ATTACK_KEYS = (
    "attack",
    "attackers",
    "attack-from-round",
    "attack-target",
    "attack-scale",
    "attack-perturbation",
    "attack-constrain",
    "attack-knowledge",
    "attack-num-classes",
    "attack-pixel-low",
    "attack-pixel-high",
)


@dataclass(frozen=True)
class Behavior:
    """What one node does in a run.

    Attributes
    ----------
    partition_id, num_users : int
        The node among ``n`` users.
    attack : str
        One of :data:`ATTACK_NAMES`.
    attackers : tuple of int
        Partition ids of all colluders, ascending.
    from_round : int
        First server round of the attack.
    poison_rate : float
        Share of poisoned samples.
    target : int or None
        Target class of a backdoor; None draws it.
    scale : float or None
        The attack's scale; None is its default.
    perturbation : str
        Direction of min-max and min-sum.
    constrain : float
        Share of the training loss in model replacement.
    knowledge : str
        ``"own"``, ``"colluders"`` or ``"all"``.
    num_classes : int
        Classes of the task, for a batch that does not say.
    pixel_low, pixel_high : float
        Values of black and white in batches that were normalized.
    seed : int
        The colluders' common seed.
    """

    partition_id: int
    num_users: int
    attack: str = "none"
    attackers: tuple[int, ...] = ()
    from_round: int = 1
    poison_rate: float = 0.05
    target: int | None = None
    scale: float | None = None
    perturbation: str = "deviation"
    constrain: float = 1.0
    knowledge: str = "colluders"
    num_classes: int = 10
    pixel_low: float = 0.0
    pixel_high: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.partition_id < self.num_users:
            raise ParameterError("partition-id", f"must lie below {self.num_users}", self.partition_id)
        if any(not 0 <= attacker < self.num_users for attacker in self.attackers):
            raise ParameterError("attackers", f"must be partition ids below {self.num_users}", self.attackers)
        if not self.pixel_low < self.pixel_high:
            raise ParameterError(
                "attack-pixel-low", f"must lie below attack-pixel-high ({self.pixel_high})", self.pixel_low
            )
        if not 0 < self.constrain <= 1:
            raise ParameterError("attack-constrain", "must lie in (0, 1]", self.constrain, hint="1, or 0.7")
        if self.attack in DATA_ATTACKS and self.attack != "label-flip" and not 0 < self.poison_rate <= 1:
            raise ParameterError("poison-rate", "must lie in (0, 1]", self.poison_rate, hint="0.05")
        if self.attack != "none" and self.attackers:
            self._check_attack()

    @property
    def is_attacker(self) -> bool:
        """Whether this node is one of the colluders of an attack."""
        return self.attack != "none" and self.partition_id in self.attackers

    def attacks_in(self, server_round: int) -> bool:
        """Whether this node attacks in that round."""
        return self.is_attacker and server_round >= self.from_round

    @property
    def late_seconds(self) -> float:
        """Delay of a late reply."""
        return LATE_SECONDS if self.scale is None else self.scale

    def data_attack(
        self, image_shape: tuple[int, int, int], num_classes: int
    ) -> Backdoor | LabelFlip | EdgeCase:
        """Draw the data attack for images of that shape.

        It is the same at every colluder but for the part of a distributed trigger that each trains with.
        """
        if self.attack == "label-flip":
            return LabelFlip(num_classes)
        if self.attack == "edge-case":
            return EdgeCase.draw(num_classes, seed=self.seed, rate=self.poison_rate, target=self.target)
        strength = self.scale if self.attack == "blended-trigger" else None
        ranks = {attacker: rank for rank, attacker in enumerate(self.attackers)}
        return draw_backdoor(
            "pixel-trigger" if self.attack in POISONED_UPDATES else self.attack,
            image_shape,
            num_classes,
            seed=self.seed,
            rate=self.poison_rate,
            target=self.target,
            colluder=(ranks.get(self.partition_id, 0), max(len(ranks), 1)),
            **({} if strength is None else {"strength": strength}),
        )

    def update_attack(self) -> UpdateAttack:
        """Make the update attack; of a data attack with one, what is done to the poisoned update."""
        parameters: dict[str, float | str] = {}
        if self.attack == "little-is-enough":
            parameters = {"num_users": self.num_users, "num_attackers": len(self.attackers)}
        elif self.attack in ("min-max", "min-sum"):
            parameters = {"perturbation": self.perturbation}
        elif self.attack == "model-replacement":
            parameters = {"scale": self.num_users / len(self.attackers)}
        if self.scale is not None and self.attack != "nan":
            parameters["z" if self.attack == "little-is-enough" else "scale"] = self.scale
        return get_update_attack(self.attack, **parameters)

    def _check_attack(self) -> None:
        """Make the attack once, so that a bad value is refused before the run and not in a client."""
        if self.attack in DATA_ATTACKS:
            self.data_attack((1, 8, 8), self.num_classes)
        if self.attack in {**UPDATE_ATTACKS, **POISONED_UPDATES}:
            self.update_attack()


def behavior_from_config(run_config: RunConfig, partition_id: int, num_users: int) -> Behavior:
    """Read this node's behavior; call it in a ServerApp too, to refuse a bad configuration at the start.

    Parameters
    ----------
    run_config : mapping of str to value
        ``context.run_config``.
    partition_id : int
        ``context.node_config["partition-id"]``; any user's, on the server.
    num_users : int
        ``context.node_config["num-partitions"]``.

    Returns
    -------
    Behavior

    Raises
    ------
    ParameterError
        If a name is unknown or misspelled, or a value outside its range.

    Examples
    --------
    >>> behavior = behavior_from_config({"attack": "sign-flip", "attackers": "0,3"}, 3, num_users=12)
    >>> behavior.is_attacker, behavior.attacks_in(1), behavior.update_attack()
    (True, True, SignFlip(scale=1.0, of_mean=False))
    """
    refuse_unknown_keys(run_config, "attack", ATTACK_KEYS)
    target = read_int(run_config, "attack-target", -1, least=-1)
    scale = read_float(run_config, "attack-scale", 0.0)
    return Behavior(
        partition_id=partition_id,
        num_users=num_users,
        attack=read_choice(run_config, "attack", "none", ATTACK_NAMES),
        attackers=attackers_from_config(run_config, num_users),
        from_round=read_int(run_config, "attack-from-round", 1, least=1),
        poison_rate=read_float(run_config, "poison-rate", 0.05, most=1.0),
        target=None if target < 0 else target,
        scale=scale or None,
        perturbation=read_choice(run_config, "attack-perturbation", "deviation", PERTURBATIONS),
        constrain=read_float(run_config, "attack-constrain", 1.0, most=1.0),
        knowledge=read_choice(run_config, "attack-knowledge", "colluders", KNOWLEDGE),
        num_classes=read_int(run_config, "attack-num-classes", 10, least=2),
        pixel_low=read_float(run_config, "attack-pixel-low", 0.0, least=-1e9),
        pixel_high=read_float(run_config, "attack-pixel-high", 1.0, least=-1e9),
        seed=read_int(run_config, "seed", 0),
    )


def attackers_from_config(run_config: RunConfig, num_users: int) -> tuple[int, ...]:
    """Partition ids of the attackers: listed with a comma, or as many as the count says, drawn from the seed.

    Examples
    --------
    >>> attackers_from_config({"attackers": "3,0"}, 12), attackers_from_config({"attackers": "3,"}, 12)
    ((0, 3), (3,))
    >>> len(attackers_from_config({"attackers": 2, "seed": 5}, 12))
    2
    """
    value = run_config.get("attackers", 0)
    if isinstance(value, str) and "," in value:
        return _listed(value, num_users)
    count = 0 if value == "" else read_int({"attackers": value}, "attackers", 0)
    if count > num_users:
        raise ParameterError(
            "attackers", f"must be at most {num_users}", count, hint=f"for one partition id write '{count},'"
        )
    generator = np.random.default_rng([read_int(run_config, "seed", 0), 0xA77AC])
    return tuple(sorted(generator.permutation(num_users)[:count].tolist()))


def _listed(value: Value, num_users: int) -> tuple[int, ...]:
    pieces = [piece.strip() for piece in str(value).split(",") if piece.strip()]
    if not all(piece.isdigit() and int(piece) < num_users for piece in pieces):
        raise ParameterError(
            "attackers", f"must list partition ids 0 to {num_users - 1}", value, hint="'0,3', or a count: 2"
        )
    return tuple(sorted({int(piece) for piece in pieces}))
