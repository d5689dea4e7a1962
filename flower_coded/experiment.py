"""One experiment as its run configuration says: users with images, attackers, a model, and how to measure.

The scenarios and the sweep train different things on the same ground. What they share is here, read once and
checked before anything is trained; what is theirs (a strategy, a report) they add. Run-config keys are those
of the clients (:mod:`flower_coded.clients.client_settings`, :mod:`flower_coded.clients.attack_settings`) and
these:

==========================  ==============  ===============================================================
key                         default         meaning
==========================  ==============  ===============================================================
``num-clients``                             users, which are the simulation's nodes
``num-server-rounds``       ``1``           rounds of training
``out``                     empty           directory for results; empty: ``results/`` and the scenario's name
``test-images``             ``0``           held-out images that are measured on; 0 takes all
``code``                    ``correction``  one of :data:`CODE_KINDS`
``tolerated-attackers``     ``1``           k, users that the code withstands
``row-weight``              ``1``           r, users that each model learns from, at least
``num-models``              ``1``           of a partition or a random code
``cyclic``                  ``false``       a model visits one of its users a round, without averaging
``code-rows``               ``paper``       of a detection or correction code: ``paper`` or ``fewest``
``decoder``                 ``joint``       one of :data:`flower_coded.codes.DECODER_NAMES`
``decoder-max-attackers``   ``-1``          most attackers; -1: what the code promises
``decoder-smoothing``       ``0.3``         pseudo-counts per entry of a confusion matrix
``decoder-attack-rate``     ``-1``          of a posterior: prior probability of a trigger; -1: 0.5
``decoder-success-rate``    ``-1``          of the paper's posterior: how often models obey; -1: 0.99
``triggered-images``        ``0``           images shown with the trigger too; 0: all that are judged
==========================  ==============  ===============================================================
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Strategy
from numpy.typing import NDArray
from torch import nn

from flower_coded.attacks import Backdoor, SelectivePlan, TriggersInTurn, plan_selective_poisoning
from flower_coded.clients import AttackSettings, ClientSettings
from flower_coded.clients.adversarial_settings import adversarial_training
from flower_coded.clients.attacker_training import adapted_backdoor
from flower_coded.clients.client_settings import user_data, user_division
from flower_coded.clients.run_config import RunConfig, read_bool, read_choice, read_float, read_int
from flower_coded.codes import (
    DECODER_NAMES,
    DEFAULT_DECODER,
    SubsetCode,
    build_code,
    make_decoder,
    partition_code,
    random_code,
)
from flower_coded.codes.subset.constructions import ROWS
from flower_coded.codes.subset.decoders import check_decoder
from flower_coded.errors import ParameterError
from flower_coded.learning import (
    Division,
    ImageData,
    ModelState,
    build_model,
    check_partition,
    choose_device,
    get_state,
    initial_states,
    predict_labels,
    predict_stacked,
    set_state,
    unstack_states,
)
from flower_coded.reporting import RunDirectory
from flower_coded.strategies import CodedSubsetAggregation, EnsembleEvaluator
from flower_coded.wire.model_state import read_state, to_array_record

__all__ = ["ENSEMBLE_METRICS", "SINGLE_METRICS", "Experiment"]

CODE_KINDS = ("detection", "correction", "tracking", "partition", "random")
"""How a code is made: against k attackers in three degrees, or for comparison."""

SINGLE_METRICS = {
    "accuracy": "majority-accuracy",
    "accuracy under attack": "majority-accuracy-under-attack",
    "attack success": "majority-attack-success-rate",
}
"""What is told of a single model, or of an ensemble's majority, and the evaluator's names for it."""

ENSEMBLE_METRICS = {
    "accuracy": "ensemble-accuracy",
    "accuracy under attack": "accuracy-under-attack",
    "attack success": "attack-success-rate",
}
"""What is told of a decoded ensemble, and the evaluator's names for it."""


@dataclass(frozen=True)
class Experiment:
    """What a run configuration describes.

    Attributes
    ----------
    config : mapping of str to bool, int, float or str
        Every setting of the run.

    Examples
    --------
    >>> experiment = Experiment({"num-clients": 12, "attack": "pixel-trigger", "attackers": "0,3"})
    >>> experiment.attackers, experiment.data.image_shape
    ((0, 3), (1, 8, 8))
    """

    config: RunConfig

    @property
    def num_users(self) -> int:
        """Users, which are the simulation's nodes."""
        return read_int(self.config, "num-clients", 12, least=1)

    @property
    def num_rounds(self) -> int:
        """Rounds of training."""
        return read_int(self.config, "num-server-rounds", 1, least=1)

    @property
    def seed(self) -> int:
        """Seed of data, attackers, trigger, models and code."""
        return self.settings.seed

    @cached_property
    def settings(self) -> ClientSettings:
        """What the clients read of their training."""
        return ClientSettings.from_config(self.config)

    @cached_property
    def attack(self) -> AttackSettings:
        """What the attackers do."""
        return AttackSettings.from_config(self.config, self.num_users)

    @cached_property
    def data(self) -> ImageData:
        """Training and test images."""
        return self.settings.load()

    @property
    def division(self) -> Division:
        """Which training images each user has."""
        return user_division(self.settings, self.num_users)

    @property
    def described_division(self) -> str:
        """Who has how many images, by which rule, and what goes to nobody: a sentence for log and report."""
        asked = self.settings.division
        rule = check_partition(asked.partition, asked.alpha, asked.pieces_per_user)
        mix = f", alpha {asked.alpha}" if rule.reads_alpha else ""
        return f"{self.settings.dataset}, {asked.partition}{mix}: {self.division.describe()}"

    @property
    def attackers(self) -> tuple[int, ...]:
        """Users who attack."""
        return self.attack.attackers if self.attack.attack != "none" else ()

    @cached_property
    def backdoor(self) -> Backdoor | None:
        """The trigger to test with: also without attackers, to see what it does to a clean model."""
        if "data" not in self.attack.row.acts_on:
            return None
        attack = self.attack.data_attack(self.data.image_shape, self.data.num_classes)
        return attack if isinstance(attack, Backdoor) else None

    @cached_property
    def backdoors(self) -> tuple[Backdoor, ...]:
        """All triggers to test with, of attackers who have several; their target classes may differ."""
        if self.backdoor is None:
            return ()
        shape, classes = self.data.image_shape, self.data.num_classes
        drawn = [
            self.attack.data_attack(shape, classes, backdoor=each)
            for each in range(self.attack.num_backdoors)
        ]
        return tuple(each for each in drawn if isinstance(each, Backdoor))

    @property
    def everybody(self) -> dict[str, Any]:
        """Arguments with which one of Flower's strategies asks all users to train, and none to evaluate."""
        number = self.num_users
        return {"fraction_evaluate": 0.0, "min_train_nodes": number, "min_available_nodes": number}

    @cached_property
    def code(self) -> SubsetCode:
        """Which user trains which model of an ensemble."""
        kind = read_choice(self.config, "code", "correction", CODE_KINDS)
        row_weight = read_int(self.config, "row-weight", 1, least=1)
        num_models = read_int(self.config, "num-models", 1, least=1)
        if kind == "partition":
            return partition_code(num_models, self.num_users)
        if kind == "random":
            return random_code(num_models, row_weight, self.num_users, self.seed)
        tolerated = read_int(self.config, "tolerated-attackers", 1)
        rows = read_choice(self.config, "code-rows", "paper", ROWS)
        return build_code(kind, tolerated, row_weight, self.num_users, rows=rows)

    @property
    def decoder(self) -> str:
        """What reads an ensemble out."""
        return read_choice(self.config, "decoder", DEFAULT_DECODER, DECODER_NAMES)

    @property
    def decoder_options(self) -> dict[str, Any]:
        """What the decoder is told; an option that is left at -1 is the decoder's own."""
        options: dict[str, Any] = {}
        if self.decoder not in {"majority", "covering"}:
            options["smoothing"] = read_float(self.config, "decoder-smoothing", 0.3)
        for key in ("decoder-attack-rate", "decoder-success-rate"):
            rate = read_float(self.config, key, -1.0, least=-1.0, most=1.0)
            if rate >= 0:
                options[key.removeprefix("decoder-").replace("-", "_")] = rate
        most = read_int(self.config, "decoder-max-attackers", -1, least=-1)
        if most >= 0 and self.decoder in {"posterior", "unknown-obedience"}:
            options["attacker_prior"] = [1.0] * (most + 1)
        elif most >= 0 and self.decoder != "majority":
            options["max_attackers"] = max(most, 1)
        return options

    def check(self) -> None:
        """Refuse a configuration before anything is trained.

        Raises
        ------
        ParameterError
            If a client, an attacker or this object would refuse it, or the data cannot be loaded.
        """
        choose_device(self.settings.device)
        _ = self.num_users, self.num_rounds, self.attack, self.backdoor, self.model()
        user_data(self.settings, 0, self.num_users)  # every client divides the data, and would refuse alike
        check_decoder(self.decoder, self.decoder_options)
        read_bool(self.config, "cyclic", False)
        adversarial_training(self.config)

    def model(self, *, seed: int | None = None) -> nn.Module:
        """Make the architecture, with the weights that a single model starts from."""
        data = self.data
        return build_model(
            self.settings.model, data.image_shape, data.num_classes, seed=self.seed if seed is None else seed
        )

    def initial_arrays(self) -> ArrayRecord:
        """Weights that a single model starts from."""
        return to_array_record(get_state(self.model()))

    def accuracy(self, state: ModelState) -> float:
        """Share of all held-out images that a single model gets right."""
        model = self.model()
        set_state(model, state)
        answers = predict_labels(model, self.data.test_images, device=self.settings.device)
        return float((answers == self.data.test_labels).mean())

    def predict(self, stacked_state: Mapping[str, NDArray[Any]], images: NDArray[np.float32]) -> Any:
        """Answers (m, B) of models whose states are stacked."""
        return predict_stacked(self.model(), stacked_state, images, device=self.settings.device)

    def backdoor_against(self, stacked_state: Mapping[str, NDArray[Any]]) -> Backdoor | None:
        """Give the trigger that attackers show to these models: another for every model where they search it.

        Who searches a trigger (``a3fl``) is sent the model that is measured, as any user is.
        """
        backdoor, data = self.backdoor, self.data
        if backdoor is None or not self.attack.row.trains_itself:
            return backdoor
        first = user_data(self.settings, min(self.attack.attackers, default=0), self.num_users)
        model = build_model(self.settings.model, data.image_shape, data.num_classes)
        states = unstack_states(stacked_state)
        return adapted_backdoor(self.attack, backdoor, model, states, first, device=self.settings.device)

    def evaluator(
        self, code: SubsetCode | None = None, *, against: Mapping[str, NDArray[Any]] | None = None
    ) -> EnsembleEvaluator:
        """Measure an ensemble on held-out images: half of them calibrate its decoder, the others are judged.

        Without a code, a single model: an ensemble of one that everybody trains, judged on the same images.
        ``against`` are the models that will be measured, where attackers fit their trigger to them.
        """
        backdoors, data = self.backdoors, self.data
        if against is not None and self.attack.row.trains_itself and self.backdoor is not None:
            adapted = self.backdoor_against(against)
            backdoors = () if adapted is None else (adapted,)
        if code is None and self.attack.row.backdoors_by == "models":
            backdoors = backdoors[:1]  # of a single model, which is none of an ensemble's
        measured = slice(read_int(self.config, "test-images", 0) or None)
        return EnsembleEvaluator(
            SubsetCode(np.ones((1, self.num_users), dtype=bool)) if code is None else code,
            self.predict,
            data.test_images[measured],
            data.test_labels[measured],
            data.num_classes,
            trigger=TriggersInTurn(tuple(each.trigger for each in backdoors)) if backdoors else None,
            target=[each.target for each in backdoors] if backdoors else None,
            source=backdoors[0].source if backdoors else None,
            attackers=self.attackers,
            seed=self.seed,
            decoder=self.decoder,
            decoder_options=self.decoder_options,
            triggered_images=read_int(self.config, "triggered-images", 0) or None,
        )

    def selective_plan(self, goal: str) -> SelectivePlan:
        """Plan what attackers poison who have code and decoder before them; the same for the same seed.

        See :func:`~flower_coded.attacks.plan_selective_poisoning` for goals. Attackers with triggers that
        differ from model to model choose these too. They guess that models are right in 96 of 100 cases, on
        50 images of every class.
        """
        code, c = self.code, self.data.num_classes
        rates = np.full((c, c), 0.04 / max(c - 1, 1))
        np.fill_diagonal(rates, 0.96)
        draw = np.random.default_rng([self.seed, 0x6E5])
        guessed = np.array([[draw.multinomial(50, row) for row in rates] for _ in range(code.num_models)])
        decoder = make_decoder(self.decoder, code, guessed, self.decoder_options)
        draw = np.random.default_rng([self.seed, 0x5E1])
        by_model = self.attack.row.backdoors_by == "models"
        num_triggers = self.attack.num_backdoors if by_model else 1
        return plan_selective_poisoning(
            decoder, self.attackers, draw, goal=goal, max_trials=100, num_triggers=num_triggers
        )

    def coded_strategy(self, *, stacked: bool = True, is_measured: bool = True) -> CodedSubsetAggregation:
        """Make the strategy that trains the ensemble of :attr:`code`, every model from weights of its own."""
        data, code = self.data, self.code
        adversarial = adversarial_training(self.config).method
        if stacked and adversarial != "none":
            raise ParameterError(
                "adversarial-training", "must be none where models are trained stacked", adversarial
            )
        start = initial_states(
            self.settings.model, data.image_shape, data.num_classes, code.num_models, self.seed
        )
        return CodedSubsetAggregation(
            code,
            initial_states=start,
            stacked=stacked,
            cyclic=read_bool(self.config, "cyclic", False),
            tell_models=self.attack.needs_models,
            evaluator=self.evaluator(code) if is_measured else None,
            seed=self.seed,
            fraction_evaluate=0.0,
        )

    def train(
        self,
        grid: Grid,
        strategy: Strategy,
        *,
        num_rounds: int | None = None,
        on_round: Callable[[int, Mapping[str, Any]], None] | None = None,
        train_config: ConfigRecord | None = None,
        timeout: float = 3600.0,
    ) -> ModelState:
        """Run a strategy to its end.

        Parameters
        ----------
        grid : Grid
        strategy : Strategy
            A coded one must have an evaluator if its rounds are to be told.
        num_rounds : int, optional
            Instead of the configuration's.
        on_round : callable, optional
            ``on_round(server_round, metrics)`` is told, after every round, what the evaluator measured.
        train_config : ConfigRecord, optional
            Sent with every train message.
        timeout : float
            Seconds for a round.

        Returns
        -------
        dict of str to ndarray of shape (m, ...)
            The last model, as an ensemble of one, or the ensemble.
        """
        is_ensemble = isinstance(strategy, CodedSubsetAggregation)
        evaluator = None if is_ensemble or on_round is None else self.evaluator()

        def tell(server_round: int, arrays: ArrayRecord) -> None:
            if not server_round:
                return
            assert on_round is not None
            if isinstance(strategy, CodedSubsetAggregation):
                metrics: Mapping[str, Any] = strategy.history[-1].reported
            else:
                assert evaluator is not None
                state = _stacked(arrays)
                judge = self.evaluator(against=state) if self.attack.row.trains_itself else evaluator
                metrics = judge.evaluate(state).metrics
            on_round(server_round, metrics)

        initial = self.initial_arrays()
        result = strategy.start(
            grid,
            initial,
            self.num_rounds if num_rounds is None else num_rounds,
            timeout=timeout,
            train_config=train_config,
            evaluate_fn=None if on_round is None else tell,
        )
        if isinstance(strategy, CodedSubsetAggregation):
            return dict(strategy.states)
        return _stacked(result.arrays or initial)  # empty where Flower's own strategy refused every round

    def untrained(self, strategy: Strategy) -> ModelState:
        """Give what :meth:`train` starts from, in the form of what it returns."""
        if isinstance(strategy, CodedSubsetAggregation):
            return dict(strategy.states)
        return _stacked(self.initial_arrays())

    def run_directory(self, scenario: str) -> RunDirectory:
        """Make the directory for results, and write the settings and every user's class counts into it."""
        out = str(self.config.get("out", ""))
        path = Path(out) if out else Path.cwd() / "results" / scenario
        path.mkdir(parents=True, exist_ok=True)
        run = RunDirectory(path)
        run.write_config(self.config)
        counts = self.division.class_counts(self.data.train_labels)
        run.write_metrics(
            [
                {"user": user, "samples": int(row.sum())} | {f"class {c}": int(n) for c, n in enumerate(row)}
                for user, row in enumerate(counts)
            ],
            name="users",
        )
        return run


def _stacked(arrays: ArrayRecord) -> ModelState:
    return {key: array[None] for key, array in read_state(arrays).items()}
