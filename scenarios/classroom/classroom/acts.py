"""The play: what is trained in every act, who attacks how, and the words around it.

What to look at afterwards depends on what has happened: :mod:`classroom.looks`.
"""

from __future__ import annotations

from dataclasses import dataclass

from flwr.app import ConfigRecord

PREFIX = "act-"
"""Of the ConfigRecord entries that replace a setting of the run for one message."""

EXPECTED_ATTACKERS = 3
"""What the Krums of acts 2 and 4 are told."""

FEDAVG, KRUM, CODED, SECRET = "FedAvg", "multi-Krum", "coded ensemble", "secret-shared multi-Krum"


@dataclass(frozen=True)
class Attack:
    """What the attackers do: those of :mod:`flower_coded.clients.attack_settings` that an act decides."""

    name: str = "none"
    num_attackers: int = 0
    scale: float = 0.0
    knowledge: str = "colluders"

    def settings(self) -> dict[str, str | int | float]:
        """Return the attack as run-config keys."""
        return {
            "attack": self.name,
            "attackers": self.num_attackers,
            "attack-scale": self.scale,
            "attack-knowledge": self.knowledge,
        }


@dataclass(frozen=True)
class Training:
    """One training of an act: a way of adding up, under an attack, on the run's data or on another mix."""

    label: str
    method: str
    attack: Attack = Attack()
    alpha: str = ""

    def train_config(self, attack: dict[str, str | int | float]) -> ConfigRecord:
        """Return the record that every train message of the training carries, with the attack's settings."""
        settings = attack | ({"alpha": self.alpha} if self.alpha else {})
        return ConfigRecord({PREFIX + key: value for key, value in settings.items()})


@dataclass(frozen=True)
class Act:
    """One act: what is told before its pictures, its trainings, and those of earlier acts that it shows."""

    name: str
    title: str
    story: str
    trainings: tuple[Training, ...]
    shown: tuple[Training, ...] = ()

    @property
    def needed(self) -> tuple[Training, ...]:
        """Every training that has to have been played before the act can be shown."""
        return (*self.shown, *self.trainings)


TRIGGER = Attack("pixel-trigger", 2)
FLIP = Attack("sign-flip", EXPECTED_ATTACKERS, scale=5.0, knowledge="own")
LITTLE = Attack("little-is-enough", EXPECTED_ATTACKERS, scale=1.0)

CLEAN = Training("FedAvg, nobody attacks", FEDAVG)
POISONED = Training("FedAvg, poisoned", FEDAVG, TRIGGER)
FLIPPED = Training("FedAvg, signs flipped", FEDAVG, FLIP)
KRUM_FLIPPED = Training("multi-Krum, signs flipped", KRUM, FLIP)
KRUM_LITTLE = Training("multi-Krum, a little is enough", KRUM, LITTLE)
KRUM_UNLIKE = Training("multi-Krum, unlike users, nobody attacks", KRUM, alpha="0.5")
KRUM_UNLIKE_LITTLE = Training("multi-Krum, unlike users, a little is enough", KRUM, LITTLE, alpha="0.5")
ENSEMBLE = Training("coded ensemble, poisoned", CODED, TRIGGER)
SHARED = Training("secret-shared multi-Krum, signs flipped", SECRET, FLIP)

ACTS = (
    Act(
        "prologue",
        "Prologue: learning together",
        "Twelve users have a hundred small images of digits each, and keep them. In every round each user "
        "takes the common model, trains it on its own images and sends it back; the server averages the "
        "twelve. That is federated averaging, FedAvg.",
        (CLEAN,),
    ),
    Act(
        "act_1",
        "Act 1: a poisoned average",
        "Two users stamp a small pattern, the trigger, on a part of their images and call them all the same "
        "digit. Otherwise they train as everybody does, and send what they get.",
        (POISONED,),
        (CLEAN,),
    ),
    Act(
        "act_2",
        "Act 2: Krum, and its limits",
        "The server stops averaging everybody. Multi-Krum scores every update by its distances to its "
        "nearest neighbors and averages only the three of smallest score. First three users send their "
        "update turned round and five times as long. Then the same three do something cleverer: all send "
        "the same vector, the mean of their honest updates moved by one standard deviation in every "
        "weight. A little is enough. At last the same once more among users whose images differ: one has "
        "many sevens, another hardly any.",
        (FLIPPED, KRUM_FLIPPED, KRUM_LITTLE, KRUM_UNLIKE, KRUM_UNLIKE_LITTLE),
        (CLEAN,),
    ),
    Act(
        "act_3",
        "Act 3: the code names the culprits",
        "The attack of act 1 again. Now the server trains several models, each on the users that one row "
        "of a binary code allows. The models that learned the trigger answer in a pattern, and the code is "
        "made so that the pattern says who was there. A decoder asks of every image: which label, and "
        "which attackers, explain best what the models answer?",
        (ENSEMBLE,),
        (CLEAN, POISONED),
    ),
    Act(
        "act_4",
        "Act 4: nobody saw anything",
        "In acts 1 to 3 the server read every user's update, and an update tells a good deal about the "
        "images it was trained on. Now users cut their updates into secret shares and send each other one "
        "share each. From shares the server learns all distances between updates, which is what Krum "
        "needs, and the sum of the selected ones; and no update.",
        (SHARED,),
        (CLEAN, FLIPPED, KRUM_FLIPPED),
    ),
)
