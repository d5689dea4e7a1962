"""Who attacks, how, and from when: read from the run configuration, the same on every node.

Keys (all optional; without them everybody is honest):

=====================  =========  ==================================================================
key                    default    meaning
=====================  =========  ==================================================================
``attack``             ``none``   a name of :data:`flower_coded.attacks.ATTACKS`
``attackers``          ``0``      a count, drawn from the seed; or partition ids with a comma: ``0,3``
                                  or ``3,`` for one
``attack-from-round``  ``1``      first server round in which attackers attack
``attack-until-round``  ``0``     last one; 0: to the end. What stays of a backdoor shows in the rounds behind
``attack-knowledge``   ``colluders``  whose honest updates are known: ``own``, ``colluders``, ``all``
``attack-num-classes``  ``10``    classes, where only batches are seen (:func:`attack_mod`)
``attack-pixel-low``, ``attack-pixel-high``  ``0.0``, ``1.0``  black and white in those batches
``seed``               ``0``      draws attackers, trigger and target
=====================  =========  ==================================================================

The options of an attack, with their bounds, are in its row of the registry. Their keys are ``poison-rate``,
``attack-target``, ``attack-scale`` (the attack's own number; 0 is its default), ``attack-perturbation``,
``attack-source``, ``attack-constrain``, ``attack-rule``, ``attack-models`` and ``attack-backdoors``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from flwr.app import Context

from flower_coded.attacks.crafting import UpdateAttack
from flower_coded.attacks.data import DataAttack
from flower_coded.attacks.options import OptionValue
from flower_coded.attacks.registry import ATTACKS, OPTIONS, AttackRow, Colluders, DataTask
from flower_coded.attacks.replies import ReplyAttack
from flower_coded.attacks.selective_poisoning import GOALS
from flower_coded.clients.identity import partition_of
from flower_coded.clients.run_config import (
    RunConfig,
    Value,
    parsed_once,
    read_choice,
    read_float,
    read_int,
    refuse_misspelled_keys,
    refuse_unknown_keys,
)
from flower_coded.errors import ParameterError

__all__ = ["ATTACK_KEYS", "AttackSettings", "attack_settings_of", "attackers_from_config"]

KNOWLEDGE = ("own", "colluders", "all")
_DEFAULT_CLASSES = 10

ATTACK_KEYS = (
    "attack",
    "attackers",
    "attack-from-round",
    "attack-until-round",
    "attack-knowledge",
    "attack-num-classes",
    "attack-pixel-low",
    "attack-pixel-high",
    *OPTIONS,
)
"""Every run-config key above but ``seed``, which is not the attack's alone."""


@dataclass(frozen=True)
class AttackSettings:
    """What is done in a run, and by whom.

    Attributes
    ----------
    num_users : int
        ``n``, partitions ``0 .. n - 1``.
    attack : str
        A name of :data:`flower_coded.attacks.ATTACKS`.
    attackers : tuple of int
        Partition ids of all colluders, ascending.
    options : mapping of str to value
        Options of the attack by run-config key; one that is not there keeps the attack's default.
    from_round, until_round : int
        First and last server round of the attack; 0 for the last is to the end.
    knowledge : str
        ``"own"``, ``"colluders"`` or ``"all"``.
    num_classes : int or None
        Classes of the task, for a batch that does not say; None is 10.
    pixel_low, pixel_high : float
        Values of black and white in batches that were normalized.
    seed : int
        The colluders' common seed.
    """

    num_users: int
    attack: str = "none"
    attackers: tuple[int, ...] = ()
    options: Mapping[str, OptionValue] = field(default_factory=dict)
    from_round: int = 1
    until_round: int = 0
    knowledge: str = "colluders"
    num_classes: int | None = None
    pixel_low: float = 0.0
    pixel_high: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if any(not 0 <= attacker < self.num_users for attacker in self.attackers):
            raise ParameterError("attackers", f"must be partition ids below {self.num_users}", self.attackers)
        if 0 < self.until_round < self.from_round:
            raise ParameterError(
                "attack-until-round",
                f"must be 0 or at least attack-from-round ({self.from_round})",
                self.until_round,
            )
        if not self.pixel_low < self.pixel_high:
            raise ParameterError(
                "attack-pixel-low", f"must lie below attack-pixel-high ({self.pixel_high})", self.pixel_low
            )
        if self.attack != "none" and self.attackers:
            self._check_attack()

    @classmethod
    def from_config(cls, run_config: RunConfig, num_users: int) -> AttackSettings:
        """Read a run configuration; call it in a ServerApp too, to refuse a bad one at the start.

        Parameters
        ----------
        run_config : mapping of str to value
            ``context.run_config``.
        num_users : int
            ``context.node_config["num-partitions"]``.

        Raises
        ------
        ParameterError
            If a name is unknown or misspelled, or a value outside its range.

        Examples
        --------
        >>> settings = AttackSettings.from_config({"attack": "sign-flip", "attackers": "0,3"}, num_users=12)
        >>> settings.attacks(3, server_round=1), settings.attacks(4, server_round=1)
        (True, False)
        """
        refuse_unknown_keys(run_config, "attack", [key for key in ATTACK_KEYS if key.startswith("attack")])
        refuse_misspelled_keys(run_config, ATTACK_KEYS)
        attack = read_choice(run_config, "attack", "none", ATTACKS)
        num_classes = read_int(run_config, "attack-num-classes", _DEFAULT_CLASSES, least=2)
        return cls(
            num_users=num_users,
            attack=attack,
            attackers=attackers_from_config(run_config, num_users),
            options=_read_options(run_config, ATTACKS[attack]),
            from_round=read_int(run_config, "attack-from-round", 1, least=1),
            until_round=read_int(run_config, "attack-until-round", 0),
            knowledge=read_choice(run_config, "attack-knowledge", "colluders", KNOWLEDGE),
            num_classes=num_classes if "attack-num-classes" in run_config else None,
            pixel_low=read_float(run_config, "attack-pixel-low", 0.0, least=-1e9),
            pixel_high=read_float(run_config, "attack-pixel-high", 1.0, least=-1e9),
            seed=read_int(run_config, "seed", 0),
        )

    @property
    def row(self) -> AttackRow:
        """The attack's row in the registry."""
        return ATTACKS[self.attack]

    def attacks(self, user: int, server_round: int) -> bool:
        """Whether a user attacks in a round."""
        is_on = self.from_round <= server_round and (not self.until_round or server_round <= self.until_round)
        return is_on and self.attack != "none" and user in self.attackers

    def option(self, key: str) -> OptionValue:
        """Value of an option; what the key is where nobody set it."""
        return self.options.get(key, OPTIONS[key])

    def data_attack(
        self,
        image_shape: tuple[int, int, int],
        num_classes: int | None = None,
        *,
        user: int | None = None,
        backdoor: int = 0,
    ) -> DataAttack:
        """Draw the attack on data for images of that shape.

        It is the same at every colluder but for the part of a distributed trigger that the user trains with,
        and for the user's group. ``backdoor`` is one of :attr:`num_backdoors`, where there are several and
        no user's group decides.
        """
        ranks = {attacker: rank for rank, attacker in enumerate(self.attackers)}
        rank = 0 if user is None else ranks.get(user, 0)
        classes = num_classes or self.num_classes or _DEFAULT_CLASSES
        if user is not None and self.row.backdoors_by == "users":
            backdoor = rank % self.num_backdoors
        task = DataTask(image_shape, classes, self.seed, (rank, max(len(ranks), 1)), backdoor)
        assert self.row.data is not None, "asked of attacks on data only"
        attack: DataAttack = self.row.data.made(task, self.options)
        return attack

    @property
    def num_backdoors(self) -> int:
        """Backdoors that are planted: no more than there are attackers, where each group has its own."""
        if not self.row.backdoors_by:
            return 1
        number = int(self.option("attack-backdoors")) or 2
        return min(number, max(len(self.attackers), 1)) if self.row.backdoors_by == "users" else number

    def update_attack(self, user: int | None = None) -> UpdateAttack:
        """Make the attack on updates; of an attack on data too, what is done to the poisoned update.

        It is the same at every colluder but for what the user's rank among them decides.
        """
        assert self.row.updates is not None, "asked of attacks on updates only"
        rank = self.attackers.index(user) if user in self.attackers else 0
        colluders = Colluders(self.num_users, len(self.attackers), self.attackers, rank)
        attack: UpdateAttack = self.row.updates.made(colluders, self.options)
        return attack

    def reply_attack(self) -> ReplyAttack:
        """Make the attack on replies."""
        assert self.row.replies is not None, "asked of attacks on replies only"
        attack: ReplyAttack = self.row.replies.made(None, self.options)
        return attack

    def backdoor_of(self, model: int | str) -> int | None:
        """Which backdoor attackers plant in a model of an ensemble; None where they train honestly.

        Models without a trigger of their own in ``attack-models`` have the triggers in turn. Which models
        serve attackers best says :func:`flower_coded.attacks.plan_selective_poisoning`.

        Raises
        ------
        ParameterError
            If models are treated differently, and the server does not tell which one this is.
        """
        chosen = str(self.option("attack-models"))
        if chosen in GOALS:
            raise ParameterError(
                "attack-models", "must list models here: only a sweep plans them", chosen, hint="'0,3,5'"
            )
        if not self.needs_models:
            return 0
        if isinstance(model, str):
            raise ParameterError(
                "attack-models" if chosen else "attack",
                "must treat all models alike where clients are not told which ones they train",
                chosen or self.attack,
                hint="an experiment tells them: CodedSubsetAggregation(tell_models=True)",
            )
        in_turn = model % self.num_backdoors
        return _numbers(chosen, self.num_backdoors).get(model, None) if chosen else in_turn

    @property
    def needs_models(self) -> bool:
        """Whether attackers have to know which models they train: the server of an experiment then tells."""
        is_selective = self.option("attack-models") != OPTIONS["attack-models"]
        return is_selective or self.row.backdoors_by == "models"

    def known_users(self, user: int) -> tuple[int, ...]:
        """Partition ids, ascending, whose honest updates an attacker knows."""
        known = {"own": (user,), "colluders": self.attackers, "all": tuple(range(self.num_users))}
        return known[self.knowledge]

    def _check_attack(self) -> None:
        """Refuse options that it has not; make it once, so that a bad value is refused before the run."""
        own = {option.key for option in self.row.options}
        for key, value in self.options.items():
            # A scenario's defaults carry a poison rate whatever the attack is; the others are meant.
            if key.startswith("attack-") and key not in own and value != OPTIONS[key]:
                raise ParameterError(
                    key, f"must be {OPTIONS[key]} for {self.attack}, which has no such option", value
                )
        chosen = str(self.option("attack-models"))
        if chosen not in GOALS:
            _numbers(chosen, self.num_backdoors)
        acts_on = self.row.acts_on
        if "data" in acts_on:
            classes = (int(self.options.get(key, -1)) for key in ("attack-target", "attack-source"))
            least = max(classes) + 1
            self.data_attack((1, 8, 8), self.num_classes or max(_DEFAULT_CLASSES, least))
        if "updates" in acts_on:
            self.update_attack()
        if "replies" in acts_on:
            self.reply_attack()


def attack_settings_of(context: Context) -> AttackSettings:
    """Attack settings of a node's run, parsed once however many parts of an app ask for them."""
    return _parsed(context.run_config, partition_of(context)[1])


_parsed = parsed_once(AttackSettings.from_config)


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


def _numbers(text: str, num_backdoors: int) -> dict[int, int]:
    """Read models and the backdoor of each; without one, they have the backdoors in turn."""
    planted: dict[int, int] = {}
    for piece in filter(None, (piece.strip() for piece in text.split(","))):
        model, colon, backdoor = piece.partition(":")
        if not model.isdigit() or (colon and not (backdoor.isdigit() and int(backdoor) < num_backdoors)):
            hint = "'0,3,5'" if num_backdoors == 1 else f"'0,3,5' or '0:0,3:1', below {num_backdoors}"
            raise ParameterError("attack-models", "must list numbers of models", text, hint=hint)
        planted[int(model)] = int(backdoor) if colon else int(model) % num_backdoors
    return planted


def _listed(value: Value, num_users: int) -> tuple[int, ...]:
    pieces = [piece.strip() for piece in str(value).split(",") if piece.strip()]
    if not all(piece.isdigit() and int(piece) < num_users for piece in pieces):
        raise ParameterError(
            "attackers", f"must list partition ids 0 to {num_users - 1}", value, hint="'0,3', or a count: 2"
        )
    return tuple(sorted({int(piece) for piece in pieces}))


def _read_options(run_config: RunConfig, row: AttackRow) -> dict[str, OptionValue]:
    """Read every option that is there: by the attack's own bounds, or the widest where it is another's."""
    others = [option for each in ATTACKS.values() for option in each.options]
    others.sort(key=lambda option: (-option.above, option.most, option.below))  # the widest last
    bounds = {option.key: option for option in (*others, *row.options)}
    return {key: option.read(run_config[key]) for key, option in bounds.items() if key in run_config}
