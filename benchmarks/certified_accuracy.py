"""Certified accuracy against the number of attackers: vote, covering, FLCert-D and FLCert-P, on digits.

Twelve users of 100 digits; every model is trained on its users' batches in turn (20 epochs of Adam), without
an attack, as certificates speak of what an attack could have done. FLCert-D is the vote over 12 single users.
FLCert-P is a vote over 200 random sets of two users, at 99.9 % for all samples together. "Together" is the
collective certificate: the same k users for all samples. Run with
``python benchmarks/certified_accuracy.py [SEED]``.
"""

from __future__ import annotations

import sys

import numpy as np
from numpy.typing import NDArray

from flower_coded.codes import (
    SubsetCode,
    backdoor_correction_code,
    collective_certificate,
    covering_certificates,
    flcert_random,
    majority_vote,
    partition_code,
    random_code,
    vote_certificates,
)
from flower_coded.learning import build_model, load_images, predict_labels, user_indices
from flower_coded.learning.in_turn import train_in_turn
from flower_coded.learning.training import TrainSettings
from flower_coded.reporting import Table

NUM_USERS, MOST = 12, 5


def answers_of(code: SubsetCode, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Train every model of a code; answers (m, B) and labels of the test images."""
    data = load_images("digits", seed=seed)
    shares = user_indices(data.train_labels, NUM_USERS, "iid", seed, 100)
    samples = [(data.train_images[share], data.train_labels[share]) for share in shares]
    answers = []
    for row in range(code.num_models):
        model = build_model("small-cnn", data.image_shape, data.num_classes, seed=seed * 1000 + row)
        users = [samples[user] for user in code.users_of(row)]
        train_in_turn(model, users, settings=TrainSettings(20, 20, 1e-3, seed=seed * 1000 + row))
        answers.append(predict_labels(model, data.test_images))
    return np.stack(answers), data.test_labels


def row_of(name: str, models: int, shares: list[float]) -> dict[str, object]:
    return {"method": name, "models": models} | {f"k={k}": f"{share:.3f}" for k, share in enumerate(shares)}


def main() -> None:
    seed = int(sys.argv[1]) if len(sys.argv) > 1 else 1
    rows = []
    codes = {
        "12 groups of 1 (FLCert-D)": partition_code(12, NUM_USERS),
        "6 groups of 2 (FLCert-D)": partition_code(6, NUM_USERS),
        "BCC(4,4,12), 15 rows": backdoor_correction_code(4, 4, NUM_USERS, rows="paper"),
        "BCC(4,4,12), 14 rows": backdoor_correction_code(4, 4, NUM_USERS),
        "BCC(2,6,12)": backdoor_correction_code(2, 6, NUM_USERS),
    }
    for name, code in codes.items():
        answers, labels = answers_of(code, seed)
        right = majority_vote(answers, 10).labels == labels
        alone = vote_certificates(answers, 10, code, MOST)
        rows.append(
            row_of(f"{name}, vote", code.num_models, [(right & (alone >= k)).mean() for k in range(MOST + 1)])
        )
        together = [
            collective_certificate(answers, labels, 10, code, k, time_limit=20.0).certified_accuracy
            for k in range(MOST + 1)
        ]
        rows.append(row_of(f"{name}, vote together", code.num_models, together))
        covering = covering_certificates(answers, 10, code)
        right = covering.labels == labels
        rows.append(
            row_of(
                f"{name}, covering",
                code.num_models,
                [(right & (covering.certified >= k)).mean() for k in range(MOST + 1)],
            )
        )
    code = random_code(200, 2, NUM_USERS, seed)
    answers, labels = answers_of(code, seed)
    certified = flcert_random(answers, 10, NUM_USERS, 2)
    right = majority_vote(answers, 10).labels == labels
    rows.append(
        row_of(
            "200 random of 2 (FLCert-P)", 200, [(right & (certified >= k)).mean() for k in range(MOST + 1)]
        )
    )
    print(Table.from_records(rows).to_text())


if __name__ == "__main__":
    main()
