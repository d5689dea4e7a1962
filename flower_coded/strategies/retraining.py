"""The second act of coded subset aggregation: train on without the users that the decoder has named.

No ensemble is needed any more: one model learns from everybody who is left. It starts from the best model
that nobody left out has trained (or, where they reach every model, from untrained weights), and the ensemble
judges the outcome (:mod:`flower_coded.codes.subset.after_naming`). What it leaves out: winning back the
honest users who share a column with an attacker, and attackers who were never named, of whom the referee may
tell.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from flwr.app import ConfigRecord
from flwr.serverapp import Grid

from flower_coded.codes import SubsetCode
from flower_coded.codes.subset.after_naming import Exclusion, Verdict, exclude_named
from flower_coded.errors import ParameterError
from flower_coded.strategies.coded_subset import CodedSubsetAggregation
from flower_coded.strategies.rounds import RoundRecord
from flower_coded.wire.model_state import State, to_array_record

__all__ = ["Retrained", "retrain_without"]


@dataclass(frozen=True)
class Retrained:
    """A model trained on without the named users.

    Attributes
    ----------
    exclusion : Exclusion
        Who was left out, and what it may cost.
    start : int or None
        The model of the ensemble that training went on from; None for untrained weights.
    state : dict of str to ndarray of shape (1, ...)
        The model, as an ensemble of one.
    verdict : Verdict
        The ensemble's.
    history : tuple of RoundRecord
        The rounds.
    """

    exclusion: Exclusion
    start: int | None
    state: State
    verdict: Verdict
    history: tuple[RoundRecord, ...]


def retrain_without(
    ensemble: CodedSubsetAggregation,
    grid: Grid,
    named: Sequence[int],
    *,
    max_honest_lost: int,
    num_rounds: int = 5,
    max_obedience: float = 0.1,
    timeout: float = 3600,
    train_config: ConfigRecord | None = None,
) -> Retrained:
    """Leave out the named users and train one model with all others.

    Parameters
    ----------
    ensemble : CodedSubsetAggregation
        After its rounds, with an evaluator; not changed.
    grid : Grid
        The same nodes.
    named : sequence of int
        Users, such as the ``named-users`` of the last round's metrics.
    max_honest_lost : int
        Honest users who may be left out with them, at most; names that would cost more are not acted upon.
    num_rounds : int
        Rounds of training, at least 1.
    max_obedience : float
        See :func:`~flower_coded.codes.subset.after_naming.judge_retrained`.
    timeout : float
        Seconds for a round.
    train_config : ConfigRecord, optional
        Sent with every train message.

    Returns
    -------
    Retrained

    Raises
    ------
    ParameterError
        If the ensemble has no evaluator or was not trained, a named user is none of the code's, nobody would
        be left, or nothing clean is there to start from.
    NodesMissingError, NoRoundSucceededError
        As from :meth:`~flower_coded.strategies.CodedSubsetAggregation.start`.
    """
    if ensemble.evaluator is None:
        raise ParameterError("evaluator", "must be given: it is the referee", None)
    if not ensemble.states:
        raise ParameterError("states", "must be there", ensemble.states, hint="run start() first")
    if num_rounds < 1:
        raise ParameterError("num_rounds", "must be at least 1", num_rounds)
    exclusion = exclude_named(ensemble.code, named, max_honest_lost=max_honest_lost)
    start, state = _clean_start(ensemble, exclusion)
    strategy = _without(ensemble, exclusion)
    strategy.start(grid, to_array_record(state), num_rounds, timeout, train_config)
    trained = dict(strategy.states)
    verdict = ensemble.evaluator.judge(ensemble.states, trained, max_obedience=max_obedience)
    return Retrained(exclusion, start, trained, verdict, tuple(strategy.history))


def _clean_start(ensemble: CodedSubsetAggregation, exclusion: Exclusion) -> tuple[int | None, State]:
    """Take the most accurate model that nobody left out has trained, or untrained weights."""
    if exclusion.clean_models:
        assert ensemble.evaluator is not None
        counts = ensemble.evaluator.confusion(ensemble.states)
        # On calibration images: the measuring half must not choose what it then measures.
        right = np.trace(counts, axis1=1, axis2=2)[list(exclusion.clean_models)]
        best = exclusion.clean_models[int(right.argmax())]
        return best, {name: each[best : best + 1] for name, each in ensemble.states.items()}
    if ensemble.initial_states is None:
        raise ParameterError(
            "named",
            "must leave a model that they do not reach, where the strategy has no initial_states",
            exclusion.users,
        )
    return None, {name: np.asarray(each)[:1] for name, each in ensemble.initial_states.items()}


def _without(ensemble: CodedSubsetAggregation, exclusion: Exclusion) -> CodedSubsetAggregation:
    """Make the strategy that trains one model with everybody who is left."""
    max_claim_ratio = ensemble.max_claim_ratio
    assert max_claim_ratio is not None, "a coded ensemble counts examples"
    asked = ~np.isin(np.arange(ensemble.code.num_users), exclusion.users)
    return CodedSubsetAggregation(
        SubsetCode(asked[None], name=f"without {len(exclusion.users)} of {len(asked)} users"),
        initial_arrays="stacked",
        stacked=ensemble.stacked,
        seed=ensemble.seed,
        connect_timeout=ensemble.connect_timeout,
        max_claim_ratio=max_claim_ratio,
        fraction_evaluate=0.0,
        weighted_by_key=ensemble.weighted_by_key,
        arrayrecord_key=ensemble.arrayrecord_key,
        configrecord_key=ensemble.configrecord_key,
    )
