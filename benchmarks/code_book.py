"""How far one liar of ten moves a federated code book, by rule, relative to how far it moves the mean."""

from __future__ import annotations

import numpy as np

from flower_coded.attacks.code_book_poisoning import CodeBookPoisoning
from flower_coded.learning.code_book import aggregate_code_book
from flower_coded.reporting import Table

NUM_CLIENTS, NUM_CLASSES, NUM_BITS, SCATTER = 10, 5, 24, 0.1


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


def main() -> None:
    records = []
    for rule in ("median", "trimmed-mean", "multi-krum"):
        for name, claim in (("10^6 samples", 10**6), ("honest number", None)):
            found = [ratio(rule, kind, claim, s) for kind in ("negate", "swap", "collapse") for s in range(5)]
            records.append(
                {"rule": rule, "claims": name, "largest": max(found), "mean": float(np.mean(found))}
            )
    print(Table.from_records(records).to_text(digits=3))


if __name__ == "__main__":
    main()
