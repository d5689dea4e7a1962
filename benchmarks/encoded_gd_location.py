"""How often the liars are located: codes, decoders and kinds of errors side by side.

Run: ``python benchmarks/encoded_gd_location.py --trials 2000``; ``--shapes 15,5 31,10`` for some of them. A
trial encodes 20 blocks of Gaussian data (40 for t > 20), lets t workers picked at random lie, and counts as a
success if exactly those are named. The last columns are for t + 1 liars: ``a/b/c`` counts refusals, correct
products and wrong ones; the code promises that c is 0.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

from flower_coded.codes import RealErrorLocatingCode
from flower_coded.errors import DecodingError
from flower_coded.reporting import Table

SHAPES = [(15, 5), (31, 10), (31, 15), (51, 25)]
KINDS = ["independent", "proportional"]
DECODERS = {
    "DFT, all blocks": ("dft", None, "all"),
    "DFT, one combination": ("dft", None, "one"),
    "Vandermonde (Chebyshev), all blocks": ("vandermonde", None, "all"),
    "Vandermonde (Chebyshev), one combination": ("vandermonde", None, "one"),
    "Vandermonde (1..m), one combination": ("vandermonde", "integers", "one"),
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--trials", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--shapes", nargs="*", default=[f"{m},{t}" for m, t in SHAPES], help="m,t …")
    arguments = parser.parse_args()
    records = []
    for text in arguments.shapes:
        shape = int(text.split(",")[0]), int(text.split(",")[1])
        for name, (locator, nodes, decoder) in DECODERS.items():
            code = make_code(shape, locator, nodes)
            record = {"m": shape[0], "t": shape[1], "decoder": name}
            for kind in KINDS:
                generator = np.random.default_rng([arguments.seed, *shape, KINDS.index(kind)])
                hits = sum(succeeds(code, kind, decoder, generator) for _ in range(arguments.trials))
                record[kind] = hits / arguments.trials
            if name == "DFT, all blocks":
                for kind in KINDS:
                    generator = np.random.default_rng([arguments.seed, *shape, 7])
                    outcomes = [past_radius(code, kind, generator) for _ in range(arguments.trials)]
                    record[f"t + 1 {kind}"] = "/".join(
                        str(outcomes.count(o)) for o in ("refused", "right", "wrong")
                    )
            records.append(record)
            print(record, flush=True)
    print(Table.from_records(records).to_text(digits=4))


def make_code(shape: tuple[int, int], locator: Any, nodes: str | None) -> RealErrorLocatingCode:
    chosen = tuple(float(i) for i in range(1, shape[0] + 1)) if nodes else None
    return RealErrorLocatingCode(*shape, locator=locator, nodes=chosen)


def draw(
    code: RealErrorLocatingCode, count: int, kind: str, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    blocks = 20 if code.num_errors <= 20 else 40
    truth = generator.standard_normal(blocks * code.block_size)
    words = code.encode(truth)
    liars = np.sort(generator.permutation(code.num_workers)[:count])
    rank = count if kind == "independent" else 1
    words[liars] += generator.standard_normal((count, rank)) @ generator.standard_normal((rank, blocks))
    return truth, words, liars


def succeeds(code: RealErrorLocatingCode, kind: str, decoder: str, generator: np.random.Generator) -> bool:
    _, words, liars = draw(code, code.num_errors, kind, generator)
    try:
        found = code.locate_single(words, generator) if decoder == "one" else code.locate(words).corrupt
    except DecodingError:
        return False
    return np.array_equal(np.flatnonzero(found), liars)


def past_radius(code: RealErrorLocatingCode, kind: str, generator: np.random.Generator) -> str:
    truth, words, _ = draw(code, code.num_errors + 1, kind, generator)
    try:
        values = code.decode(words, len(truth)).values
    except DecodingError:
        return "refused"
    return "right" if np.linalg.norm(values - truth) <= 1e-9 * np.linalg.norm(truth) else "wrong"


if __name__ == "__main__":
    main()
