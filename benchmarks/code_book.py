"""One liar of ten against a federated code book: how far it moves it, and what accuracy is left.

The first table is relative to how far the same liar moves the mean. The second trains on the digits, in
process: accuracy on clean test images under each rule.
"""

from __future__ import annotations

import logging
from typing import Any

import numpy as np

from flower_coded.attacks.code_book_poisoning import CodeBookPoisoning
from flower_coded.clients.contrastive_ecoc import contrastive_client_app
from flower_coded.codes.output_code import OutputCode
from flower_coded.learning.code_book import aggregate_code_book
from flower_coded.learning.images import load_images
from flower_coded.learning.models import get_state, set_state
from flower_coded.learning.output_code_network import build_output_code_network
from flower_coded.learning.training import predict_logits
from flower_coded.reporting import Table
from flower_coded.strategies.contrastive_ecoc import ContrastiveECOC
from flower_coded.testing import InProcessGrid
from flower_coded.wire.model_state import to_array_record

NUM_CLIENTS, NUM_CLASSES, NUM_BITS, SCATTER = 10, 5, 24, 0.1
TRAINING = {"learning-rate": 0.003, "local-epochs": 2, "batch-size": 32, "images-per-draw": 10}
LIES: dict[str, dict[str, Any]] = {
    "nobody lies": {},
    "honest number": {"code-book-attackers": "3"},
    "10^6 samples": {"code-book-attackers": "3", "code-book-claim": 10**6},
}


def reports(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Class sums and counts of clients whose mean codewords scatter around common ones."""
    generator = np.random.default_rng(seed)
    book = np.tanh(2 * generator.normal(size=(NUM_CLASSES, NUM_BITS)))
    noise = SCATTER * generator.normal(size=(NUM_CLIENTS, NUM_CLASSES, NUM_BITS))
    counts = generator.integers(5, 40, size=(NUM_CLIENTS, NUM_CLASSES))
    return np.clip(book + noise, -1, 1) * counts[:, :, None], counts


def ratio(rule: str, kind: str, claim: int | None, seed: int) -> float:
    sums, counts = reports(seed)
    poisoned = sums.copy(), counts.copy()
    poisoned[0][3], poisoned[1][3] = CodeBookPoisoning(kind, claim).craft(sums[3], counts[3])  # type: ignore[arg-type]

    def moved(rule: str) -> float:
        before, after = (
            aggregate_code_book(*each, rule=rule, num_byzantine=1)  # type: ignore[arg-type]
            for each in ((sums, counts), poisoned)
        )
        return float(np.linalg.norm(after - before))

    return moved(rule) / moved("mean")


def clean_accuracy(rule: str, lie: dict[str, Any], kind: str) -> float:
    """Accuracy of a short CFPC training with that rule for the code book; updates are honest."""
    config = {**TRAINING, "code-book-attack": kind, **lie}
    data, network = load_images("digits"), build_output_code_network("small-cnn", (1, 8, 8), 32, seed=0)
    strategy = ContrastiveECOC(
        10,
        32,
        NUM_CLIENTS,
        pretrain_rounds=1,
        fine_tune_rounds=6,
        code_book_rule=rule,  # type: ignore[arg-type]
        num_byzantine=int(rule != "mean"),
        fraction_evaluate=0.0,
    )
    grid = InProcessGrid(contrastive_client_app(), NUM_CLIENTS, config, wire=False)
    strategy.start(grid, to_array_record(get_state(network)), num_rounds=strategy.num_rounds)
    assert strategy.code_book is not None
    set_state(network, strategy.state)
    answers = OutputCode(strategy.code_book).decode(predict_logits(network, data.test_images))
    return float((answers == data.test_labels).mean())


def main() -> None:
    logging.getLogger("flwr").setLevel(logging.ERROR)
    records = []
    for rule in ("median", "trimmed-mean", "multi-krum"):
        for name, claim in (("10^6 samples", 10**6), ("honest number", None)):
            found = [ratio(rule, kind, claim, s) for kind in ("negate", "swap", "collapse") for s in range(5)]
            records.append(
                {"rule": rule, "claims": name, "largest": max(found), "mean": float(np.mean(found))}
            )
    print(Table.from_records(records).to_text(digits=3))
    left = [
        {"rule": rule, "claims": name, "clean accuracy": clean_accuracy(rule, lie, "negate")}
        for rule in ("mean", "median")
        for name, lie in LIES.items()
    ]
    print(Table.from_records(left).to_text(digits=3))


if __name__ == "__main__":
    main()
