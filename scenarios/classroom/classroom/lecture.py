"""What the run configuration says of the whole lecture, and what its acts make of it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from classroom.acts import ACTS, EXPECTED_ATTACKERS, TRIGGER, Act, Attack
from flower_coded.clients import AttackSettings
from flower_coded.clients.run_config import read_float, read_text
from flower_coded.errors import ParameterError
from flower_coded.experiment import Experiment
from flower_coded.strategies import RampSharedMultiKrum


@dataclass(frozen=True)
class Lecture(Experiment):
    """One configuration, read; images with the trigger of act 1 are shown to the models of every act."""

    @cached_property
    def attack(self) -> AttackSettings:
        """The attack with a trigger."""
        return self._settings_of(TRIGGER)

    @property
    def target(self) -> int:
        """The label that images with the trigger are to get."""
        assert self.backdoor is not None  # TRIGGER is an attack with one
        return self.backdoor.target

    def attackers_of(self, attack: Attack) -> tuple[int, ...]:
        """Users who attack: drawn from the seed, the two of one act among the three of another."""
        return self._settings_of(attack).attackers

    @cached_property
    def acts(self) -> tuple[Act, ...]:
        """The acts to show, in the play's order."""
        asked = read_text(self.config, "acts", "all")
        if asked == "all":
            return ACTS
        names = {
            "prologue" if word.strip() in {"0", "prologue"} else f"act_{word.strip()}"
            for word in asked.split(",")
        }
        known = [act.name for act in ACTS]
        if not names <= set(known):
            raise ParameterError("acts", "must be all, or some of prologue, 1, 2, 3, 4 with commas", asked)
        return tuple(act for act in ACTS if act.name in names)

    @property
    def pause(self) -> float:
        """Seconds to talk after an act, at most."""
        return read_float(self.config, "pause-seconds", 0.0)

    def check(self) -> None:
        """Refuse a configuration before anything is trained."""
        for name in ("num-server-rounds", "secret-rounds"):
            if int(self.config[name]) < 1:
                raise ParameterError(name, "must be at least 1", self.config[name])
        if not 0 <= self.pause <= 3600:
            raise ParameterError("pause-seconds", "must be from 0 to 3600", self.pause)
        for training in (training for act in self.acts for training in act.needed):
            self.attackers_of(training.attack)
        self.secret_strategy(EXPECTED_ATTACKERS)
        super().check()
        _ = self.code

    def secret_strategy(self, num_attackers: int) -> RampSharedMultiKrum:
        """Make the strategy of act 4; it holds the parameters of the protocol."""
        return RampSharedMultiKrum(
            self.num_users,
            num_attackers,
            num_dropouts=0,
            # Twelve users are too few for T = A = 3. With T = 1 three liars who complain together could have
            # an honest user's update left out; they still read none.
            num_colluders=1,
            waives_colluder_bound=True,
            seed=self.seed,
            fraction_evaluate=0.0,
        )

    def _settings_of(self, attack: Attack) -> AttackSettings:
        return AttackSettings.from_config({**self.config, **self.attack_settings(attack)}, self.num_users)

    def attack_settings(self, attack: Attack) -> dict[str, str | int | float]:
        """Return an act's attack as run-config keys, with the lecture's own attackers where it names some."""
        settings = attack.settings()
        own = read_text(self.config, "attackers", "")
        if own and attack.num_attackers:
            settings["attackers"] = own
        return settings
