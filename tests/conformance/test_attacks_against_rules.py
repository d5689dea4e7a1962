"""Every attack on updates against every rule, one round: it ends, with a vector of the right shape.

Both sides come from the registries: a new attack and a new rule meet here without a line. Attacks on data and
on replies meet the rules in whole trainings (``tests/sweep/test_execution.py``).
"""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from flower_coded.aggregation import (
    AGGREGATION_RULES,
    PRE_AGGREGATIONS,
    RoundContext,
    get_aggregation_rule,
)
from flower_coded.attacks.crafting import IneffectiveAttackWarning, StatefulAttack
from flower_coded.attacks.registry import ATTACKS, Colluders
from flower_coded.errors import DecodingError

NUM_USERS, NUM_ATTACKERS, DIMENSION = (
    18,
    2,
    40,
)  # buckets of two are nine: enough for Krum and for Bulyan with f = 1
RULES = (*AGGREGATION_RULES, *(f"{step}+{rule}" for step in PRE_AGGREGATIONS for rule in ("median", "krum")))
ON_UPDATES = [name for name, row in ATTACKS.items() if row.updates is not None]
# Refusals that an attack may bring about, by what the rule says; whatever else is raised fails.
REFUSALS = {
    "fools-gold": "alike",
    "fl-trust": "no vector points",
    "flame": "majority",
    "sign-guard": "no vector",
}


def crafted(attack: str, rule: str, honest: np.ndarray) -> np.ndarray:
    """Give what the attackers send, in the two rounds before which they remember nothing and something."""
    part = ATTACKS[attack].updates
    assert part is not None
    knows_rule = any(option.key == "attack-rule" for option in part.options)
    attackers = tuple(range(NUM_USERS - NUM_ATTACKERS, NUM_USERS))
    values = {"attack-rule": rule} if knows_rule else {}
    made = part.made(Colluders(NUM_USERS, NUM_ATTACKERS, attackers, 0), values)
    known = np.vstack([honest, honest[:NUM_ATTACKERS]])
    draw = np.random.default_rng(5)
    if not isinstance(made, StatefulAttack):
        return np.asarray(made.craft(known[-1], known, draw))
    _, memory = made.craft_with_memory(known[-1], known, np.zeros(DIMENSION), {}, draw)
    return np.asarray(made.craft_with_memory(known[-1], known, np.ones(DIMENSION), memory, draw)[0])


@pytest.mark.parametrize("rule_name", RULES)
@pytest.mark.parametrize("attack", ON_UPDATES)
def test_a_round_under_attack_ends_with_a_vector(attack: str, rule_name: str) -> None:
    honest = np.random.default_rng(0).normal(0.2, 0.1, (NUM_USERS - NUM_ATTACKERS, DIMENSION))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", IneffectiveAttackWarning)
        sent = crafted(attack, rule_name, honest)
    assert sent.shape == (DIMENSION,)
    rule = get_aggregation_rule(rule_name, num_byzantine=NUM_ATTACKERS)
    updates = np.vstack([honest, np.tile(sent, (NUM_ATTACKERS, 1))])
    context = RoundContext(np.random.default_rng(1), root_update=honest[0])
    try:
        result, _ = rule.aggregate_in_round(updates, context)
    except DecodingError as error:
        if REFUSALS.get(rule_name, "none of its kind") not in str(error):
            raise
        return
    assert result.shape == (DIMENSION,)
    assert np.isfinite(result).all() or rule_name in ("mean", "fools-gold")
